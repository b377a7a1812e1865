//! Errors as text, of all languages: what every run can check without them installed.

use homeostasis_core::Timestamp;
use homeostasis_core::port::Enricher;
use homeostasis_core::signal::{CauseRelation, ErrorEvent, Level, LogRecord};
use proptest::prelude::*;

use super::*;

fn parsed(text: &str) -> ErrorEvent {
    let error = ErrorNormalizer::default().parse(text);
    error.unwrap_or_else(|| panic!("no error in {text:?}"))
}

/// The tree of causes on one line, with the innermost frame in the project of each error.
fn outline(error: &ErrorEvent) -> String {
    let frame = error.innermost_in_project();
    let place = frame.map(|frame| format!(" @{} {}:{}", frame.function, frame.file, frame.line));
    let causes: Vec<String> = error
        .causes
        .iter()
        .map(|cause| format!("{:?} {}", cause.relation, outline(&cause.error)))
        .collect();
    let causes = if causes.is_empty() {
        String::new()
    } else {
        format!(" <{}>", causes.join("; "))
    };
    format!(
        "{}: {}{}{causes}",
        error.kind,
        error.message,
        place.unwrap_or_default()
    )
}

#[test]
fn a_panic_below_a_line_for_users_is_the_error() {
    let text = "error: the argument '-c' cannot be used with '-a'\n\nthread 'main' (7) panicked at src/command.rs:35:64:\nan argument that is unknown\nnote: run with `RUST_BACKTRACE=1`";
    let found = outline(&parsed(text));
    assert_eq!(
        found,
        "panic: an argument that is unknown @ src/command.rs:35"
    );
    let alone = "error: the argument '-c' cannot be used with '-a'";
    let of_rust = ErrorNormalizer::default().parse(alone);
    assert!(of_rust.is_none_or(|error| error.kind == "error"));
}

const PYTHON_GROUP: &str = r#"  + Exception Group Traceback (most recent call last):
  |   File "/srv/app/a.py", line 20, in <module>
  |     raise ExceptionGroup("two", [a, b])
  | ExceptionGroup: two (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/srv/app/a.py", line 3, in f
    |     {}["x"]
    |     ~~^^^^^
    | KeyError: 'x'
    | 
    | The above exception was the direct cause of the following exception:
    | 
    | Traceback (most recent call last):
    |   File "/srv/app/a.py", line 5, in g
    |     raise ValueError("no") from e
    | ValueError: no
    | a note
    +---------------- 2 ----------------
    | ExceptionGroup: inner (1 sub-exception)
    +-+---------------- 1 ----------------
      | TypeError: bare
      +------------------------------------

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/srv/app/a.py", line 22, in <module>
    last()
  File "/usr/lib/python3.11/json/decoder.py", line 9, in last
RuntimeError: last
"#;

const JAVA: &str = "12:00:01 [main] ERROR shop.Orders - cannot book
java.util.concurrent.ExecutionException: java.lang.IllegalStateException: no price
of tea
\tat java.base/java.util.concurrent.FutureTask.report(FutureTask.java:122)
\tat app//shop.Orders.lambda$book$0(Orders.java:17) ~[app.jar:1.0]
\tat shop.Orders$$Lambda$14/0x0000000800c03000.run(Unknown Source)
\tSuppressed: java.io.IOException: close
\t\tat shop.Db.close(Db.java:9)
\tCaused by: java.io.IOException: deeper
\t\tat shop.Db.flush(Db.java:5)
\t\t... 2 more
Caused by: java.lang.IllegalStateException: no price
\tat shop.Prices.of(Prices.java:3)
\t... 1 more
Caused by: [CIRCULAR REFERENCE: java.util.concurrent.ExecutionException: x]
";

const NODE: &str = "/srv/app/a.js:7
    throw new AggregateError([a, b], 'all failed', { cause });
    ^

AggregateError: all failed
in two lines
    at book (/srv/app/a.js:7:11)
    at async Promise.all (index 0)
    at node:internal/main/run_main_module:28:49 {
  code: 'E_ALL',
  [cause]: TypeError [ERR_X]: no cause
      at file:///srv/app/b.mjs:2:3 {
    [cause]: 'just text'
  },
  [errors]: [
    Error: a
        at eval (eval at load (/srv/app/c.js:4:5), <anonymous>:1:1),
    [RangeError: b]
  ]
}

Node.js v20.20.2
";

const GO: &str = "panic: first
of two lines [recovered]
\tpanic: runtime error: index out of range [5] with length 3
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x48]

goroutine 1 [running]:
panic({0x45e0a0, 0xc0000160d8})
\t/usr/lib/go-1.19/src/runtime/panic.go:884 +0x212
main.(*Store).Get(0xc00001, {0x1, 0x2})
\t/srv/app/main.go:12 +0x1d
main.main()
\t/srv/app/main.go:8 +0x65

goroutine 6 [chan receive]:
main.other()
\t/srv/app/main.go:99 +0x1d
created by main.main
\t/srv/app/main.go:7 +0x3
exit status 2
";

const RUST: &str = "
thread 'worker-1' (4242) panicked at src/shop.rs:9:5:
called `Result::unwrap()` on an `Err` value: cannot start

Caused by:
    0: cannot read config
       in two lines
    1: No such file (os error 2)

Stack backtrace:
   0: 0x55d0c0de - core[0123456789abcdef]::panicking::panic::h0123456789abcdef
             at /rustc/0a1b2c/library/core/src/panicking.rs:80:14
   1:     0x55d0c0df - shop::start::{{closure}}::h0123456789abcdef
             at ./src/shop.rs:9:5
                 - shop::inlined
             at ./src/shop.rs:12
   2: __libc_start_main
note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.
";

#[test]
fn every_language_gives_kind_message_place_and_causes() {
    for (text, language, expected) in [
        (
            PYTHON_GROUP,
            "python",
            "RuntimeError: last @<module> /srv/app/a.py:22 <During ExceptionGroup: two (2 sub-exceptions) @<module> /srv/app/a.py:20 <Member ValueError: no\na note @g /srv/app/a.py:5 <CausedBy KeyError: 'x' @f /srv/app/a.py:3>; Member ExceptionGroup: inner (1 sub-exception) <Member TypeError: bare>>>",
        ),
        (
            JAVA,
            "java",
            "java.util.concurrent.ExecutionException: java.lang.IllegalStateException: no price\nof tea @shop.Orders.lambda$book$0 Orders.java:17 <Suppressed java.io.IOException: close @shop.Db.close Db.java:9 <CausedBy java.io.IOException: deeper @shop.Db.flush Db.java:5>; CausedBy java.lang.IllegalStateException: no price @shop.Prices.of Prices.java:3 <CausedBy java.util.concurrent.ExecutionException: x>>",
        ),
        (
            NODE,
            "javascript",
            "AggregateError: all failed\nin two lines @book /srv/app/a.js:7 <CausedBy TypeError: no cause @ /srv/app/b.mjs:2 <CausedBy throw: just text>; Member Error: a @eval /srv/app/c.js:4; Member RangeError: b>",
        ),
        (
            GO,
            "go",
            "panic: runtime error: index out of range [5] with length 3 @main.(*Store).Get /srv/app/main.go:12 <During panic: first\nof two lines>",
        ),
        (
            RUST,
            "rust",
            "panic: called `Result::unwrap()` on an `Err` value: cannot start @shop::start::{{closure}} src/shop.rs:9 <CausedBy error: cannot read config\nin two lines <CausedBy error: No such file (os error 2)>>",
        ),
    ] {
        let error = parsed(text);
        assert_eq!(outline(&error), expected);
        assert_eq!(error.language, language);
        assert_eq!(error.fingerprint.len(), 16);
    }
}

#[test]
fn the_less_usual_forms_are_read_too() {
    for (text, expected) in [
        (
            "thread 'main' panicked at 'no\nway, src/x.rs:1:1', src/main.rs:2:5\nnote: run",
            "panic: no\nway, src/x.rs:1:1 @ src/main.rs:2",
        ),
        (
            "thread 'main' panicked at 'no', src/main.rs:2:5",
            "panic: no @ src/main.rs:2",
        ),
        (
            "Error: ParseIntError { kind: InvalidDigit }",
            "error: ParseIntError { kind: InvalidDigit }",
        ),
        (
            "Error: cannot start\n\nCaused by:\n    gone\n    for good\n\nLocation:\n    src/main.rs:10:5",
            "error: cannot start @ src/main.rs:10 <CausedBy error: gone\nfor good>",
        ),
        (
            "Error: \n   0: cannot start\n   1: gone\n\nLocation:\n   src/main.rs:10",
            "error: cannot start @ src/main.rs:10 <CausedBy error: gone>",
        ),
        (
            "error[E0308]: mismatched types\n --> src/main.rs:2:18\n  |\n2 |     let x: i32 = \"\";",
            "error[E0308]: mismatched types @ src/main.rs:2",
        ),
        (
            "  File \"/srv/a.py\", line 1\n    def f(:\n          ^\nSyntaxError: invalid syntax",
            "SyntaxError: invalid syntax @ /srv/a.py:1",
        ),
        (
            "ERROR:root:no\nTraceback (most recent call last):\n  File \"/srv/a.py\", line 1, in f\n    f()\n  [Previous line repeated 996 more times]\nRecursionError: maximum",
            "RecursionError: maximum @f /srv/a.py:1",
        ),
        (
            "Exception in thread \"main\" Custom\n\tat Main.main(Main.java:3)",
            "Custom:  @Main.main Main.java:3",
        ),
        (
            "2026-11-22 ERROR failed: java.io.IOException: gone\n\tat shop.A.f(A.java:3)",
            "java.io.IOException: gone @shop.A.f A.java:3",
        ),
        (
            "failed to book Error: gone\n    at f (C:\\app\\a.js:3:1)",
            "Error: gone @f C:/app/a.js:3",
        ),
        (
            "node:internal/process/promises:288\n            triggerUncaughtException(err, true);\n            ^\n\n[UnhandledPromiseRejection: reason \"boom\".] {\n  code: 'ERR_UNHANDLED_REJECTION'\n}\n\nNode.js v20",
            "UnhandledPromiseRejection: reason \"boom\".",
        ),
        (
            "2026/11/22 01:00:00 http: panic serving 127.0.0.1:1: boom\ngoroutine 19 [running]:\nmain.h(0x1)\n\t/srv/main.go:3 +0x1",
            "panic: boom @main.h /srv/main.go:3",
        ),
        (
            "open x: gone\nmain.load\n\t/srv/main.go:12\nmain.main\n\t/srv/main.go:3",
            "error: open x: gone @main.load /srv/main.go:12",
        ),
        (
            "fatal error: all goroutines are asleep - deadlock!\n\ngoroutine 1 [chan receive]:\nmain.main()\n\t/srv/main.go:3 +0x1",
            "fatal error: all goroutines are asleep - deadlock! @main.main /srv/main.go:3",
        ),
        (
            "Error: no\n\nError: gone\n    at f (/srv/a.js:3:1)\nCaused by:",
            "Error: no\n\nError: gone @f /srv/a.js:3",
        ),
        ("ValueError: bad", "ValueError: bad"),
        (
            "java.lang.IllegalStateException: no",
            "java.lang.IllegalStateException: no",
        ),
        (
            "ReferenceError: x is not defined",
            "ReferenceError: x is not defined",
        ),
    ] {
        assert_eq!(outline(&parsed(text)), expected, "{text}");
    }
}

#[test]
fn ordinary_text_holds_no_error() {
    for text in [
        "",
        "order 7 booked",
        "Errors: 0",
        "0 errors, look at 10:00",
        "ErrorBudget: 12 %",
        "the meeting is\n    at noon\n    at the office",
        "no panic: all is well",
        "the Exception proves the rule: always",
        "GET /orders 200",
    ] {
        assert_eq!(ErrorNormalizer::default().parse(text), None, "{text:?}");
    }
}

#[test]
fn records_are_enriched_from_fields_or_message_and_only_once() {
    let normalizer = ErrorNormalizer::default();
    let stack = "Error: gone\n    at f (/srv/a.js:3:1)";
    let enriched = |record: LogRecord| {
        let mut record = record;
        normalizer.enrich(&mut record);
        let once = record.clone();
        normalizer.enrich(&mut record);
        assert_eq!(record, once);
        record.error.map(|error| outline(&error))
    };
    let log = |message: &str| LogRecord::new(Timestamp::EPOCH, Level::Error, message);
    let expected = Some("Error: gone @f /srv/a.js:3".to_owned());
    assert_eq!(enriched(log(stack)), expected);
    assert_eq!(enriched(log("no").with("stack", stack)), expected);
    assert_eq!(
        enriched(log("no").with("exc_info", stack.replace('\n', "\\n"))),
        expected
    );
    let json = serde_json::json!({"type": "Error", "message": "gone", "stack": stack});
    assert_eq!(enriched(log("no").with("err", json.to_string())), expected);
    let otel = log("no")
        .with("exception.type", "shop.Gone")
        .with("exception.message", "gone");
    assert_eq!(enriched(otel.clone()).as_deref(), Some("shop.Gone: gone"));
    let otel = otel.with("exception.stacktrace", stack);
    assert_eq!(
        enriched(otel).as_deref(),
        Some("shop.Gone: gone @f /srv/a.js:3")
    );
    assert_eq!(enriched(log("order 7 booked")), None);
    let mut given = log("no");
    given.error = Some(Box::new(ErrorEvent::new("rust", "panic", "no")));
    normalizer.enrich(&mut given);
    assert_eq!(given.error.unwrap().fingerprint.len(), 16);
}

#[test]
fn everything_is_bounded() {
    let lines =
        |n: u32, line: &dyn Fn(u32) -> String| (0..n).map(line).collect::<Vec<_>>().concat();
    let frames = lines(5000, &|i| {
        format!("  File \"/srv/a.py\", line {i}, in f{i}\n")
    });
    let deep = parsed(&format!(
        "Traceback (most recent call last):\n{frames}KeyError: 1"
    ));
    assert_eq!((deep.kind.as_str(), deep.frames.len()), ("KeyError", 256));
    assert_eq!(deep.frames[0].function, "f4999");
    let causes = lines(500, &|i| {
        format!("Caused by: a.E{i}: x\n\tat a.B.c(B.java:1)\n")
    });
    let mut error = &parsed(&format!("a.E: x\n\tat a.B.c(B.java:1)\n{causes}"));
    let mut depth = 0;
    while let Some(cause) = error.causes.first() {
        assert_eq!(cause.relation, CauseRelation::CausedBy);
        (error, depth) = (&cause.error, depth + 1);
    }
    assert_eq!(depth, 16);
    assert!(
        parsed(&format!("panic: {}", "x".repeat(1 << 20)))
            .message
            .len()
            <= 64 * 1024 + 1
    );
}

#[test]
fn empty_roots_and_packages_are_named() {
    let config: ErrorNormalizerConfig =
        serde_json::from_str(r#"{"project_roots":["/srv",""],"packages":[" "]}"#).unwrap();
    let error = ErrorNormalizer::new(&config).unwrap_err().to_string();
    assert!(
        error.contains("project_roots[1]") && error.contains("packages[0]"),
        "{error}"
    );
}

/// Lines of real traces and garbage in any order, cut anywhere.
fn garbage() -> impl Strategy<Value = String> {
    let lines: Vec<String> = [PYTHON_GROUP, JAVA, NODE, GO, RUST]
        .iter()
        .flat_map(|text| text.lines().map(|line| format!("{line}\n")))
        .collect();
    let part = prop_oneof![
        4 => prop::sample::select(lines),
        1 => prop::sample::select(vec![PYTHON_GROUP, JAVA, NODE, GO, RUST]).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    (prop::collection::vec((part, 0_usize..200, 1_usize..3), 0..24)).prop_map(|parts| {
        let mut text = String::new();
        for (part, cut, times) in parts {
            let kept: String = part.chars().skip(cut.saturating_sub(150)).collect();
            text.push_str(&kept.repeat(times));
        }
        text
    })
}

proptest! {
    #[test]
    fn no_text_is_too_strange(text in garbage()) {
        let mut record = LogRecord::new(Timestamp::EPOCH, Level::Error, text);
        let normalizer = ErrorNormalizer::default();
        normalizer.enrich(&mut record);
        let once = record.clone();
        normalizer.enrich(&mut record);
        prop_assert_eq!(&once, &record);
        if let Some(error) = &record.error {
            prop_assert!(error.frames.len() <= 256);
            let text = serde_json::to_string(error).unwrap();
            prop_assert_eq!(&serde_json::from_str::<ErrorEvent>(&text).unwrap(), &**error);
        }
    }

    #[test]
    fn line_drift_does_not_change_the_fingerprint(which in 0_usize..5, by in 1_u32..5000) {
        let text = [PYTHON_GROUP, JAVA, NODE, GO, RUST][which];
        let mut error = parsed(text);
        let before = error_fingerprint(&error);
        for frame in &mut error.frames {
            frame.line += by;
            frame.column += by;
        }
        prop_assert_eq!(error_fingerprint(&error), before);
    }
}
