//! The validator against a corpus of changes, and against anything at all.
#![cfg(feature = "code")]

mod corpus;
mod templates;

use std::fmt::Write as _;

use homeostasis_core::Digest;
use homeostasis_core::record::{PatchCandidate, PatchKind, RiskLevel};
use homeostasis_patch::{
    FilePatch, Flag, PatchValidator, RefusalReason, TextSide, UnifiedDiff, ValidatorConfig,
};
use proptest::prelude::*;

use corpus::{Case, cases};

const HARMLESS: &str = include_str!("harmless.txt");
const HARMFUL: &str = include_str!("harmful.txt");
const EVASIONS: &str = include_str!("evasions.txt");
const EVASIONS_HELD_OUT: &str = include_str!("evasions_held_out.txt");
const EVASIONS_GUARDS: &str = include_str!("evasions_guards.txt");
const HARMLESS_GUARDS: &str = include_str!("harmless_guards.txt");

fn judged(case: &Case) -> homeostasis_patch::Validation {
    let validator = PatchValidator::default();
    match &case.diff {
        None => validator.validate(&case.path, &case.old, &case.new),
        Some(diff) => {
            let source = "x = 1\n";
            let base = Digest::of_bytes(source.as_bytes());
            let candidate = PatchCandidate::new(
                "test",
                PatchKind::Code,
                case.path.as_str(),
                base,
                diff.as_str(),
            );
            validator.validate_candidate(&candidate, source)
        }
    }
}

#[test]
fn harmful_changes_are_refused_for_the_right_reason() {
    are_refused("harmful", &cases(HARMFUL), 120);
}

#[test]
fn evasions_are_refused_or_flagged() {
    are_refused("evasions", &cases(EVASIONS), 110);
}

#[test]
fn held_out_evasions_are_refused_or_flagged_by_now() {
    are_refused("held-out evasions", &cases(EVASIONS_HELD_OUT), 60);
}

#[test]
fn guards_without_their_force_are_refused_or_flagged() {
    are_refused("guards without force", &cases(EVASIONS_GUARDS), 55);
}

#[expect(clippy::print_stdout, reason = "the numbers of docs/patching.md")]
fn are_refused(corpus: &str, cases: &[Case], at_least: usize) {
    let mut missed = String::new();
    let mut n_missed = 0;
    for case in cases {
        let validation = judged(case);
        let expected = case
            .reason
            .as_deref()
            .expect("a harmful case names its reason");
        if let Some(flag) = expected.strip_prefix("flag ") {
            let is_flagged = validation
                .factors
                .iter()
                .any(|f| f.flag.to_string() == flag);
            if !is_flagged || !validation.is_accepted() {
                n_missed += 1;
                let _ = writeln!(
                    missed,
                    "## {} (expected {expected})\n{validation}",
                    case.name
                );
            }
            continue;
        }
        let is_known = RefusalReason::ALL
            .iter()
            .any(|reason| reason.code() == expected);
        assert!(is_known, "{}: unknown reason {expected}", case.name);
        let is_right = validation
            .refusals
            .iter()
            .any(|refusal| refusal.reason.code() == expected);
        if !is_right {
            n_missed += 1;
            let _ = writeln!(
                missed,
                "## {} (expected {expected})\n{validation}",
                case.name
            );
        }
    }
    println!(
        "{corpus}: {} as expected of {}",
        cases.len() - n_missed,
        cases.len()
    );
    assert!(cases.len() >= at_least, "{} cases", cases.len());
    assert!(missed.is_empty(), "{n_missed} missed:\n{missed}");
}

#[test]
fn harmless_changes_are_let_through() {
    are_let_through("harmless", &cases(HARMLESS), 120);
}

#[test]
fn small_repairs_near_the_rules_are_let_through() {
    are_let_through("harmless near the rules", &cases(HARMLESS_GUARDS), 40);
}

#[expect(clippy::print_stdout, reason = "the numbers of docs/patching.md")]
fn are_let_through(corpus: &str, cases: &[Case], at_least: usize) {
    let mut refused = String::new();
    let mut n_refused = 0;
    let mut risks = [0; 3];
    for case in cases {
        let validation = judged(case);
        if !validation.is_accepted() {
            n_refused += 1;
            let _ = writeln!(refused, "## {}\n{validation}", case.name);
        }
        let class = match validation.risk {
            RiskLevel::Low => 0,
            RiskLevel::Medium => 1,
            _ => 2,
        };
        risks[class] += 1;
    }
    println!(
        "{corpus}: {n_refused} refused of {}; low, medium, high risk: {risks:?}",
        cases.len()
    );
    println!("{refused}");
    assert!(cases.len() >= at_least, "{} cases", cases.len());
    assert_eq!(n_refused, 0, "{refused}");
}

#[test]
fn what_was_there_before_may_stay() {
    for case in [HARMFUL, EVASIONS, EVASIONS_HELD_OUT, EVASIONS_GUARDS]
        .map(cases)
        .concat()
        .iter()
        .filter(|case| case.diff.is_none())
    {
        let expected = case.reason.as_deref().unwrap_or_default();
        let by_file = [
            "path_escape",
            "protected_file",
            "unknown_language",
            "unchanged",
            "syntax_error",
        ];
        if by_file.contains(&expected) {
            continue;
        }
        // The harm is done already; a line is added at the end.
        let note = match case.path.rsplit('.').next() {
            Some("py" | "toml" | "yaml") => "# a note\n",
            Some("json") => " ",
            _ => "// a note\n",
        };
        let new = format!("{}{note}", case.new);
        let validation = PatchValidator::default().validate(&case.path, &case.new, &new);
        assert!(validation.is_accepted(), "{}: {validation}", case.name);
    }
}

#[test]
fn refusal_names_place_text_and_what_was_expected() {
    let old = "import os\ndef f(x):\n    return x\n";
    let new = "import os\ndef f(x):\n    os.system(x)\n    return x\n";
    let validation = PatchValidator::default().validate("app/a.py", old, new);
    assert_eq!(
        validation.to_string(),
        "app/a.py: refused for 1 reason, risk medium (4 = 1 code + 3 near_danger)\n\
         app/a.py:3: process: \"os.system(x\", expected no new process"
    );
    let validation = PatchValidator::default().validate("app/a.py", new, old);
    assert!(validation.is_accepted(), "{validation}");
    let old = "def f(x):\n    assert x > 0\n    return x\n";
    let validation =
        PatchValidator::default().validate("app/a.py", old, "def f(x):\n    return x\n");
    assert_eq!(
        (validation.refusals[0].line, validation.refusals[0].side),
        (2, TextSide::Old)
    );
}

#[test]
fn secrets_are_not_repeated() {
    let token = format!("gh{}_a8Xk2LmQ9vTz4RbNc7YwPd1Hs6JfUe3GoKi5", 'p');
    let validation =
        PatchValidator::default().validate("a.py", "x = 1\n", &format!("x = '{token}'\n"));
    assert!(validation.is_refused_for(RefusalReason::Secret));
    let json = serde_json::to_string(&validation).expect("serializes");
    assert!(!json.contains(&token[..12]), "{json}");
}

#[test]
fn size_is_bounded_at_the_limit() {
    let config = ValidatorConfig {
        max_bytes: 64 * 1024,
        ..ValidatorConfig::default()
    };
    let validator = PatchValidator::new(config).expect("in range");
    let text = |line: &dyn Fn(usize) -> usize| {
        let lines: Vec<_> = (0..100).map(|n| format!("a{n} = {}\n", line(n))).collect();
        lines.concat()
    };
    let old = text(&|n| n);
    let with = |lines: &[usize], width: usize| {
        let changed = |n: usize| lines.iter().any(|line| (*line..line + width).contains(&n));
        text(&|n| if changed(n) { n + 1000 } else { n })
    };
    assert!(
        validator
            .validate("a.py", &old, &with(&[5], 20))
            .is_accepted()
    );
    assert!(
        validator
            .validate("a.py", &old, &with(&[5], 21))
            .is_refused_for(RefusalReason::TooManyLines)
    );
    assert!(
        validator
            .validate("a.py", &old, &with(&[5, 25, 45], 1))
            .is_accepted()
    );
    assert!(
        validator
            .validate("a.py", &old, &with(&[5, 25, 45, 65], 1))
            .is_refused_for(RefusalReason::TooManyHunks)
    );
    let large = format!("# {}\n", "x".repeat(64 * 1024));
    let validation = validator.validate("a.py", &old, &large);
    assert!(validation.is_refused_for(RefusalReason::TooLarge));
    assert_eq!(validation.refusals[0].expected, "at most 65536 bytes");
}

#[test]
fn candidate_is_judged_on_the_source_it_was_made_for() {
    let (old, new) = (
        "def f(d):\n    return d['a']\n",
        "def f(d):\n    return d.get('a')\n",
    );
    let patch = FilePatch::from_texts("app/a.py", old, new).expect("a patch");
    let validator = PatchValidator::default();
    assert!(validator.validate_patch(&patch, old).is_accepted());
    assert!(
        validator
            .validate_patch(&patch, new)
            .is_refused_for(RefusalReason::Drifted)
    );
    let candidate = PatchCandidate::new(
        "test",
        PatchKind::Code,
        "app/a.py",
        patch.base_hash,
        patch.diff.to_string(),
    );
    assert!(validator.validate_candidate(&candidate, old).is_accepted());
    assert!(
        validator
            .validate_candidate(&candidate, new)
            .is_refused_for(RefusalReason::Drifted)
    );
    let other = UnifiedDiff::between("app/b.py", Some(old), Some(new), 3).expect("a diff");
    let candidate = PatchCandidate::new(
        "test",
        PatchKind::Code,
        "app/a.py",
        patch.base_hash,
        other.to_string(),
    );
    assert!(
        validator
            .validate_candidate(&candidate, old)
            .is_refused_for(RefusalReason::PathEscape)
    );
}

#[test]
fn risk_is_the_sum_of_what_was_found() {
    for (path, old, new, flag, risk) in [
        (
            "src/a.rs",
            "fn f(a: u8) -> u8 { a + 1 }\n",
            "fn f(a: u8) -> u8 { a.wrapping_add(1) }\n",
            Flag::WrappingArithmetic,
            RiskLevel::Medium,
        ),
        (
            "src/pay.rs",
            "fn balance(a: Option<u8>) -> u8 { a.unwrap() }\n",
            "fn balance(a: Option<u8>) -> u8 { a.unwrap_or_default() }\n",
            Flag::SensitiveDefault,
            RiskLevel::High,
        ),
        (
            "src/a.rs",
            "pub fn f(a: u8) {}\n",
            "pub fn f(a: u16) {}\n",
            Flag::PublicSignature,
            RiskLevel::Medium,
        ),
        (
            "src/a.rs",
            "fn f(l: &Mutex<u8>) { l.lock().unwrap(); }\n",
            "fn f(l: &Mutex<u8>) { l.lock().unwrap_or_else(PoisonError::into_inner); }\n",
            Flag::PoisonIgnored,
            RiskLevel::Medium,
        ),
        (
            "src/a.rs",
            "fn f() { for i in 0..9 { g(i); } }\n",
            "fn f() { for i in 0..8 { g(i); } }\n",
            Flag::LoopBounds,
            RiskLevel::Medium,
        ),
        (
            "src/a.rs",
            "fn f(p: *const u8) { unsafe { *p; } }\n",
            "fn f(p: *const u8) { g(); unsafe { *p; } }\n",
            Flag::NearDanger,
            RiskLevel::Medium,
        ),
        (
            "a.yaml",
            "http:\n  timeout: 5\n",
            "http:\n  timeout: 9\n",
            Flag::TimeLimit,
            RiskLevel::Low,
        ),
    ] {
        let validation = PatchValidator::default().validate(path, old, new);
        assert!(validation.is_accepted(), "{validation}");
        assert!(
            validation.factors.iter().any(|f| f.flag == flag),
            "{flag}: {validation}"
        );
        assert_eq!(validation.risk, risk, "{validation}");
        assert_eq!(
            validation.score,
            validation.factors.iter().map(|f| f.points).sum::<u32>()
        );
    }
}

#[test]
fn deep_nesting_is_judged_without_overflow() {
    let n = 5_000;
    for (path, open, close) in [
        ("a.rs", "fn f() { x(", ""),
        ("a.py", "x = ", "\n"),
        ("a.js", "x = ", ";"),
        ("a.go", "package a\nvar x = ", "\n"),
        ("A.java", "class A { int x = ", "; }"),
        ("a.json", "", ""),
        ("a.yaml", "a: ", "\n"),
    ] {
        let (left, right) = if path.ends_with('n') || path.ends_with('l') {
            ("[", "]")
        } else {
            ("(", ")")
        };
        let text = format!("{open}{}1{}{close}", left.repeat(n), right.repeat(n));
        // Such a line cannot be added, but a project may hold one.
        let added = PatchValidator::default().validate(path, "", &text);
        assert!(
            added.is_refused_for(RefusalReason::TooLarge),
            "{path}: {added}"
        );
        let validation = PatchValidator::default().validate(path, &text, &format!("\n{text}"));
        assert_eq!(validation.file, path);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn no_escape_makes_it_panic(
        path in r"a\.(py|js|ts|rs|go|java)",
        text in r#"(\\N\{|\\u\{|\\x|\\u|\\U|\\[07]|[}{'"`a4é€\u{1f600}\n]){1,8}"#,
    ) {
        let validator = PatchValidator::default();
        for quote in ["\"", "'", "`"] {
            for close in ["", "}", quote] {
                let new = format!("x = {quote}{text}{close}{quote}\n");
                prop_assert_eq!(validator.validate(&path, "", &new).file, path.as_str());
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(
        idx in 0_usize..10_000,
        cuts in proptest::collection::vec((0.0_f64..1.0, "\\PC{0,6}|[(){}\\[\\]'\"`#@:;=,.!?*+\\\\/\n]{0,8}"), 1..6),
    ) {
        let all: Vec<Case> = [HARMFUL, EVASIONS, EVASIONS_GUARDS, HARMLESS, HARMLESS_GUARDS].into_iter().flat_map(cases).collect();
        let case = &all[idx % all.len()];
        let mut new = case.new.clone();
        for (at, insert) in &cuts {
            let n = new.chars().count();
            let at = (0..n).find(|k| f64::from(u32::try_from(*k).unwrap_or(0)) >= at * f64::from(u32::try_from(n).unwrap_or(0))).unwrap_or(0);
            let head: String = new.chars().take(at).collect();
            let tail: String = new.chars().skip(at + insert.len() % 3).collect();
            new = format!("{head}{insert}{tail}");
        }
        let validator = PatchValidator::default();
        for (old, new) in [(&case.old, &new), (&new, &case.old)] {
            let validation = validator.validate(&case.path, old, new);
            prop_assert!(validation.refusals.iter().all(|r| r.text.chars().count() <= 80));
        }
        let base = Digest::of_bytes(case.old.as_bytes());
        let candidate = PatchCandidate::new("test", PatchKind::Code, case.path.as_str(), base, new.as_str());
        prop_assert!(!validator.validate_candidate(&candidate, &case.old).file.is_empty());
    }
}
