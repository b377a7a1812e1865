//! Rust: all programs are one binary, run without, with short and with full backtraces; and what
//! the compiler itself complains about.

use std::fmt::Write;
use std::fs;

use homeostasis::core::testing::engine::{self, Scratch};

use crate::{Examination, Program, printed, program, run, whole};

/// Modules with a function `run`.
const PROGRAMS: &[Program] = &[
    program(
        "pub fn run() { panic!(\"no tea\"); } //#1",
        "panic: no tea @programs::NAME::run#1",
    ),
    program(
        "fn f(v: &[i32], n: usize) -> i32 { v[n] } //#1\npub fn run() { f(&[1, 2, 3], 7); }",
        "panic: index out of bounds: the len is 3 but the index is 7 @programs::NAME::f#1",
    ),
    program(
        "pub fn run() { None::<i32>.unwrap(); } //#1",
        "panic: called `Option::unwrap()` on a `None` value @programs::NAME::run#1",
    ),
    program(
        "pub fn run() { \"x\".parse::<u16>().expect(\"PORT\"); } //#1",
        "panic: PORT: ParseIntError { kind: InvalidDigit } @programs::NAME::run#1",
    ),
    program(
        "pub fn run() { assert_eq!(1 + 1, 3, \"sums\"); } //#1",
        "panic: assertion `left == right` failed: sums\n  left: 2\n right: 3 @programs::NAME::run#1",
    ),
    program(
        "fn f(n: i32) -> i32 { 1 / n } //#1\npub fn run() { f(std::hint::black_box(0)); }",
        "panic: attempt to divide by zero @programs::NAME::f#1",
    ),
    program(
        "pub fn run() { let n = std::hint::black_box(255_u8); let _ = n + 1; } //#1",
        "panic: attempt to add with overflow @programs::NAME::run#1",
    ),
    program(
        "pub fn run() { [1].iter().for_each(|_| panic!(\"closure\")); } //#1",
        "panic: closure @programs::NAME::run::{{closure}}#1",
    ),
    program(
        "pub fn run() { let _ = std::thread::Builder::new().name(\"worker 1\".into()).spawn(|| panic!(\"thread\")).unwrap().join(); } //#1",
        "panic: thread @programs::NAME::run::{{closure}}#1",
    ),
    program(
        "struct S;\nimpl Drop for S { fn drop(&mut self) { panic!(\"drop\"); } } //#1\npub fn run() { let _s = S; }",
        "panic: drop @<programs::NAME::S as core::ops::drop::Drop>::drop#1",
    ),
    program(
        "trait T { fn f(&self); }\nimpl T for u8 { fn f(&self) { todo!(\"later\") } } //#1\npub fn run() { 7_u8.f(); }",
        "panic: not yet implemented: later @<u8 as programs::NAME::T>::f#1",
    ),
    program(
        "pub fn run() { unreachable!(\"state {}\", 3); } //#1",
        "panic: internal error: entered unreachable code: state 3 @programs::NAME::run#1",
    ),
    program(
        "pub fn run() { panic!(\"one\\ntwo\"); } //#1",
        "panic: one\ntwo @programs::NAME::run#1",
    ),
    program(
        "use std::cell::RefCell;\npub fn run() { let c = RefCell::new(1); let _a = c.borrow_mut(); let _b = c.borrow_mut(); } //#1",
        "panic: RefCell already borrowed @programs::NAME::run#1",
    ),
    program(
        "pub fn run() { let _ = &\"h\u{e9}llo\"[..2]; } //#1",
        "panic: end byte index 2 is not a char boundary; it is inside '\u{e9}' (bytes 1..3) of `h\u{e9}llo` @programs::NAME::run#1",
    ),
    program(
        "pub fn run() { std::fs::read(\"/no/such/file\").unwrap(); } //#1",
        "panic: called `Result::unwrap()` on an `Err` value: Os { code: 2, kind: NotFound, message: \"No such file or directory\" } @programs::NAME::run#1",
    ),
    program(
        "fn f<T: std::fmt::Debug>(x: T) { panic!(\"generic {x:?}\"); } //#1\npub fn run() { f(7_i64); }",
        "panic: generic 7 @programs::NAME::f::<i64>#1",
    ),
    program(
        "#[track_caller]\nfn check(ok: bool) { assert!(ok); } //#1\npub fn run() { check(false); } //#1",
        "panic: assertion failed: ok @programs::NAME::check#1",
    ),
    program(
        "pub fn run() { let _ = std::panic::catch_unwind(|| std::panic::panic_any(7_i32)); } //#1",
        "panic: Box<dyn Any> @programs::NAME::run::{{closure}}#1",
    ),
    program(
        "pub fn run() { std::sync::Mutex::new(Vec::<u8>::new()).lock().unwrap().remove(4); } //#1",
        "panic: removal index (is 4) should be < len (is 0) @programs::NAME::run#1",
    ),
    program(
        "pub fn run() { [1, 2].copy_from_slice(&[1]); } //#1",
        "panic: copy_from_slice: source slice length (1) does not match destination slice length (2) @programs::NAME::run#1",
    ),
    program(
        "pub fn run() { f(0); }\nfn f(n: u64) -> u64 { if n == u64::MAX { 0 } else { f(std::hint::black_box(n + 1)) + 1 } }",
        "abort: thread 'main' has overflowed its stack",
    ),
];

/// What the compiler says to whole files.
const REFUSED: &[Program] = &[
    program(
        "fn main() {\n    let x: i32 = \"\"; //#1\n}",
        "error[E0308]: mismatched types @#1",
    ),
    program(
        "fn main() {\n    missing(); //#1\n}",
        "error[E0425]: cannot find function `missing` in this scope @#1",
    ),
    program(
        "fn main() { //#1\n    let s = String::new(); drop(s); drop(s); //#2\n}",
        "error[E0382]: use of moved value: `s` @#2",
    ),
    program(
        "fn main() {\n    let x = ; //#1\n}",
        "error: expected expression, found `;` @#1",
    ),
];

/// Without a backtrace nobody knows the function; the id of a thread differs.
fn without_functions(outline: &str) -> String {
    let (before, place) = outline.split_once(" @").unwrap_or((outline, ""));
    let place = place.rsplit_once('#').map_or(place, |(_, mark)| mark);
    format!("{} @{place}", without_ids(before))
}

/// The id of a thread differs, and how the names of functions are written changed over time.
fn without_ids(outline: &str) -> String {
    let (before, rest) = match outline.split_once("thread 'main' (") {
        Some((before, rest)) => (before, rest.split_once(") ").map_or("", |(_, rest)| rest)),
        None => return outline.replace("f::<i64>", "f"),
    };
    format!("{before}thread 'main' {rest}")
}

#[test]
fn what_rust_raises_is_read() {
    let Some(rustc) = engine::find("rustc", &["/usr/bin"]) else {
        return;
    };
    let scratch = Scratch::new();
    let folder = scratch.path();
    let (mut modules, mut cases) = (String::new(), String::new());
    for (n, program) in PROGRAMS.iter().enumerate() {
        let name = format!("c{n:02}");
        fs::write(folder.join(format!("{name}.rs")), program.source).unwrap();
        let _ = writeln!(modules, "mod {name};");
        let _ = writeln!(cases, "Some(\"{name}\") => {name}::run(),");
    }
    let main = format!(
        "#![allow(warnings)]\n{modules}\nfn main() {{ match std::env::args().nth(1).as_deref() {{ {cases} _ => (), }} }}"
    );
    fs::write(folder.join("programs.rs"), main).unwrap();
    let built = run(
        &rustc,
        &["-g", "--edition", "2021", "programs.rs"],
        folder,
        &[],
    );
    assert!(built.status.success(), "{}", printed(&built));
    let mut examination = Examination::of("rust");
    for (n, program) in PROGRAMS.iter().enumerate() {
        let name = format!("c{n:02}");
        for (backtrace, shown) in [
            ("0", without_functions as fn(&str) -> String),
            ("1", without_ids),
            ("full", without_ids),
        ] {
            let output = run(
                &folder.join("programs"),
                &[&name],
                folder,
                &[("RUST_BACKTRACE", backtrace)],
            );
            examination.examine(&format!("{name}.rs"), program, &printed(&output), shown);
        }
    }
    for (n, program) in REFUSED.iter().enumerate() {
        let file = format!("r{n:02}.rs");
        fs::write(folder.join(&file), program.source).unwrap();
        let output = run(&rustc, &["--edition", "2021", &file], folder, &[]);
        examination.examine(&file, program, &printed(&output), whole);
    }
    examination.pass(3 * 20);
}

/// What `main` returned; the chains of `anyhow` stand in the unit tests.
#[test]
fn what_main_returns_is_read() {
    let Some(rustc) = engine::find("rustc", &["/usr/bin"]) else {
        return;
    };
    let returned = program(
        "fn main() -> Result<(), std::num::ParseIntError> { \"x\".parse::<u16>().map(|_| ()) }",
        "error: ParseIntError { kind: InvalidDigit }",
    );
    let scratch = Scratch::new();
    let folder = scratch.path();
    fs::write(folder.join("returned.rs"), returned.source).unwrap();
    let built = run(&rustc, &["--edition", "2021", "returned.rs"], folder, &[]);
    assert!(built.status.success(), "{}", printed(&built));
    let output = run(&folder.join("returned"), &[], folder, &[]);
    let mut examination = Examination::of("rust");
    examination.examine("returned.rs", &returned, &printed(&output), whole);
    examination.pass(1);
}
