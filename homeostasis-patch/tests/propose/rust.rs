//! Programs of Rust, compiled and run.

use homeostasis_core::testing::engine;

use super::*;

/// Name, source and what it must print when healed. Each checks itself beyond the failing call.
const PROGRAMS: [(&str, &str); 10] = [
    (
        "an index beyond the end",
        "fn at(v: &[i32], i: usize) -> Option<i32> {
    if v.is_empty() {
        return None;
    }
    Some(v[i] * 2)
}
fn main() {
    assert_eq!(at(&[1, 2], 1), Some(4));
    assert_eq!(at(&[], 0), None);
    assert_eq!(at(&[1, 2], 5), None);
}
",
    ),
    (
        "a length less one",
        "fn last(v: &[u8]) -> usize {
    let end = v.len() - 1;
    end
}
fn main() {
    assert_eq!(last(&[1, 2, 3]), 2);
    assert_eq!(last(&[]), 0);
}
",
    ),
    (
        "a missing value",
        "use std::collections::BTreeMap;
fn price(all: &BTreeMap<&str, u32>, name: &str) -> Option<u32> {
    let one = all.get(name).unwrap();
    Some(one + 1)
}
fn main() {
    let all = BTreeMap::from([(\"a\", 1)]);
    assert_eq!(price(&all, \"a\"), Some(2));
    assert_eq!(price(&all, \"b\"), None);
}
",
    ),
    (
        "a text that is no number",
        "#[derive(Debug, PartialEq)]
enum Bad { Empty, Odd }
fn read(s: &str) -> Result<u32, Bad> {
    if s.is_empty() {
        return Err(Bad::Empty);
    }
    let n: u32 = s.parse().unwrap();
    if n % 2 == 1 {
        return Err(Bad::Odd);
    }
    Ok(n)
}
fn main() {
    assert_eq!(read(\"4\"), Ok(4));
    assert_eq!(read(\"3\"), Err(Bad::Odd));
    assert!(read(\"x\").is_err());
}
",
    ),
    (
        "a character cut in two",
        "fn short(s: &str, n: usize) -> String {
    if s.len() <= n {
        return s.to_owned();
    }
    println!(\"{}\", &s[..n]);
    String::from(\"cut\")
}
fn main() {
    assert_eq!(short(\"abc\", 2), \"cut\");
    assert_eq!(short(\"a\u{e9}b\", 2), \"cut\");
    assert_eq!(short(\"a\", 2), \"a\");
}
",
    ),
    (
        "a division by zero",
        "fn mean(v: &[u32]) -> u32 {
    let sum: u32 = v.iter().sum();
    sum / v.len() as u32
}
fn main() {
    assert_eq!(mean(&[2, 4]), 3);
    assert_eq!(mean(&[]), 0);
}
",
    ),
    (
        "a part of a condition",
        "fn is_utc(s: &str) -> bool {
    s.len() >= 3 && s[..3].eq_ignore_ascii_case(\"utc\")
}
fn main() {
    assert!(is_utc(\"UTC+1\"));
    assert!(!is_utc(\"ab\"));
    assert!(!is_utc(\"\u{e9}\u{e9}\"));
}
",
    ),
    (
        "the least value with the other sign",
        "fn flipped(n: i32) -> Option<i32> {
    Some(-n)
}
fn main() {
    assert_eq!(flipped(-3), Some(3));
    assert_eq!(flipped(i32::MIN), None);
}
",
    ),
    (
        "a step of nothing",
        "fn ticks(total: usize, step: usize) -> Vec<usize> {
    let mut out = Vec::new();
    for n in 0..(total / step) {
        out.push(n * step);
    }
    out
}
fn main() {
    assert_eq!(ticks(4, 2), [0, 2]);
    assert_eq!(ticks(0, 0), [0; 0]);
}
",
    ),
    (
        "one element that is not known",
        "fn prices(names: &[&str]) -> Vec<u32> {
    names
        .iter()
        .map(|name| [(\"a\", 1), (\"b\", 2)].iter().find(|p| p.0 == *name).expect(\"known\"))
        .map(|price| price.1)
        .collect()
}
fn main() {
    assert_eq!(prices(&[\"a\", \"b\"]), [1, 2]);
    assert_eq!(prices(&[\"x\", \"b\"]), [2]);
}
",
    ),
];

/// The panic that a program printed.
fn panic_of(printed: &str) -> ErrorEvent {
    let (place, message) = printed
        .split_once("panicked at ")
        .unwrap()
        .1
        .split_once(":\n")
        .unwrap();
    let mut parts = place.rsplitn(3, ':');
    let column = parts.next().unwrap().parse().unwrap();
    let line = parts.next().unwrap().parse().unwrap();
    let message = message.lines().next().unwrap();
    let mut error = ErrorEvent::new("rust", "panic", message);
    error
        .frames
        .push(frame(parts.next().unwrap(), line, column));
    error
}

/// Compiles and runs; `Ok` if it ends well, else what it or the compiler printed.
fn outcome(rustc: &Path, folder: &Path) -> Result<(), String> {
    let printed = |output: Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let arguments = [
        "--edition=2021",
        "-Coverflow-checks=on",
        "-Cdebuginfo=0",
        "-o",
        "program",
        "main.rs",
    ];
    let compiled = run(rustc, &arguments, folder);
    if !compiled.status.success() {
        return Err(printed(compiled));
    }
    let ran = run(&folder.join("program"), &[], folder);
    if ran.status.success() {
        Ok(())
    } else {
        Err(printed(ran))
    }
}

#[test]
fn rust_programs_are_healed_within_five_candidates() {
    let home = std::env::var("CARGO_HOME").unwrap_or_default() + "/bin";
    let Some(rustc) = engine::find("rustc", &["/opt/cargo/bin", "/usr/local/cargo/bin", &home])
    else {
        return;
    };
    for (name, source) in PROGRAMS {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("main.rs"), source).unwrap();
        let failed = outcome(&rustc, folder.path()).unwrap_err();
        let error = panic_of(&failed);
        let proposal = propose(folder.path(), &error);
        let mut tried = Vec::new();
        let healed = proposal.candidates.iter().take(5).position(|candidate| {
            apply(folder.path(), candidate, source);
            let outcome = outcome(&rustc, folder.path());
            tried.push(format!(
                "{}\n{}\n{:?}",
                candidate.template, candidate.diff, outcome
            ));
            outcome.is_ok()
        });
        assert!(
            healed.is_some(),
            "{name}: {error:?}\n{}\n{:?}",
            tried.join("\n"),
            proposal.dropped
        );
        eprintln!("{name}: candidate {}", healed.unwrap() + 1);
    }
}

#[test]
fn the_template_of_the_guide_is_read_and_proven() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/patching.md");
    let guide = fs::read_to_string(guide).unwrap();
    let (_, rest) = guide.split_once("let text = r#\"").unwrap();
    let (text, _) = rest.split_once("\"#;").unwrap();
    let read = |text: &str| {
        TemplateSet::built_in()
            .unwrap()
            .with_document("guide", text)
    };
    assert!(read(text).unwrap().ids().contains(&"shop/rate-clamped"));
    let wrong = text.replace("clamp(0.0, 1.0))\\n", "abs())\\n");
    let refused = read(&wrong).unwrap_err().to_string();
    assert!(refused.contains("shop/rate-clamped"), "{refused}");
}
