use proptest::prelude::*;

use super::*;

fn canonical(text: &str) -> String {
    Condition::parse(text)
        .unwrap_or_else(|e| panic!("{e}"))
        .to_string()
}

fn error(text: &str) -> (Range<usize>, String) {
    let error = Condition::parse(text).unwrap_err();
    let first = error.to_string().lines().next().unwrap().to_owned();
    (error.span, first)
}

#[test]
fn conditions_of_the_playbooks_parse() {
    for (text, expected) in [
        ("disk_usage_percent > 85", "disk_usage_percent > 85"),
        ("memory_available>100MB", "memory_available > 100MB"),
        ("p95_latency < 500ms", "p95_latency < 500ms"),
        (
            "error_rate{service='gateway',zone=\"a\"} < 0.1%",
            "error_rate{service=\"gateway\", zone=\"a\"} < 0.1%",
        ),
        ("up{}", "up"),
        (
            "time_since_detection > 1_hour AND state == \"degraded\"",
            "time_since_detection > 1h and state == \"degraded\"",
        ),
        (
            "affected_services > initial_count * 2",
            "affected_services > initial_count * 2",
        ),
        (
            "customer_reports > 10 OR vip_customer_affected",
            "customer_reports > 10 or vip_customer_affected",
        ),
        ("not (a and b) or c", "not (a and b) or c"),
        ("(a or b) and ((c))", "(a or b) and c"),
        ("a - (b - c) - -d > 0", "a - (b - c) - -d > 0"),
        ("(a + b) * 2 / c >= 1e3", "(a + b) * 2 / c >= 1000"),
        (
            "state not in ['a', \"b\\\"\"]",
            "state not in [\"a\", \"b\\\"\"]",
        ),
        ("code in [500, -1, 5e20]", "code in [500, -1, 5e20]"),
        ("rate > 10/s and x / s > 1", "rate > 10/s and x / s > 1"),
        ("not not a", "not not a"),
        ("maintenance == true", "maintenance == true"),
    ] {
        assert_eq!(canonical(text), expected);
        assert_eq!(Condition::parse(text), Condition::parse(expected));
    }
}

#[test]
fn every_mistake_is_named_with_its_place() {
    for (text, span, message) in [
        (
            "",
            0..0,
            "found the end, expected a variable, a number, a string in quotes or `(`",
        ),
        (
            "a > ",
            4..4,
            "found the end, expected a variable, a number, a string in quotes or `(`",
        ),
        (
            "a > 5 5",
            6..7,
            "found a number, expected an operator or the end",
        ),
        (
            "a < b < c",
            6..7,
            "found `<`, expected an operator or the end",
        ),
        ("(a > 5", 6..6, "found the end, expected an operator or `)`"),
        ("a = 5", 2..3, "found `=`, expected `==` to compare"),
        (
            "5",
            0..1,
            "found a number, expected a comparison such as `x > 5`, or a boolean variable",
        ),
        (
            "a and 5 + b",
            6..11,
            "found a number, expected a comparison such as `x > 5`, or a boolean variable",
        ),
        (
            "(a > 1) + 1 > 2",
            0..7,
            "found a condition, expected a number",
        ),
        ("a > (b or c)", 4..12, "found a condition, expected a value"),
        (
            "a < \"x\"",
            4..7,
            "found a string, expected a number (others are compared by `==` and `!=`)",
        ),
        (
            "5 == \"x\"",
            5..8,
            "found a string, expected a number like on the left",
        ),
        ("-\"x\" > 1", 1..4, "found a string, expected a number"),
        (
            "a in 5",
            5..6,
            "found a number, expected a list such as [\"a\", \"b\"]",
        ),
        (
            "a in []",
            6..7,
            "found `]`, expected a number or a string in quotes",
        ),
        (
            "a in [1, 'x']",
            9..12,
            "found a string, expected a number like the others",
        ),
        ("a not b", 6..7, "found `b`, expected `in`"),
    ] {
        assert_eq!(error(text), (span, message.to_owned()), "{text}");
    }
}

#[test]
fn every_bad_word_is_named_with_its_place() {
    for (text, span, message) in [
        (
            "a{x=1} > 1",
            4..5,
            "found a number, expected the value of the label, in quotes",
        ),
        (
            "a{x='1', x='2'}",
            9..10,
            "found `x`, expected each label once",
        ),
        (
            "a > 5x",
            4..6,
            "found `5x`, expected a unit such as %, ms, s, m, h, d, kB, MB, GiB or /s after the number, or a space",
        ),
        (
            "a > 1e999",
            4..9,
            "found `1e999`, expected a number below 1.8e308",
        ),
        (
            "a == 'x",
            5..7,
            "found a string without end, expected a closing `'`",
        ),
        (
            "a == 'é\\q'",
            8..10,
            "found `\\\\q`, expected an escape: \\\\, \\\", \\', \\n or \\t",
        ),
        (
            "a && b",
            2..3,
            "found `&`, expected a variable, a number, a string in quotes or an operator (`and`, `or`, `not`, `==`, …)",
        ),
    ] {
        assert_eq!(error(text), (span, message.to_owned()), "{text}");
    }
}

#[test]
fn the_error_shows_a_caret_under_its_place() {
    let error = Condition::parse("é > 5").unwrap_err();
    assert!(error.to_string().ends_with("\n  é > 5\n  ^"), "{error}");
    let error = Condition::parse("x == 'é' and > 5").unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("\n  x == 'é' and > 5\n               ^"),
        "{error}"
    );
}

#[test]
fn length_and_depth_are_bounded() {
    assert!(Condition::parse(&format!("{}a{}", "(".repeat(32), ")".repeat(32))).is_ok());
    for deep in ["(", "not ", "-"] {
        let text = format!("{}a", deep.repeat(33));
        assert!(
            error(&text)
                .1
                .ends_with("expected at most 32 levels of nesting"),
            "{text}"
        );
    }
    assert!(error(&"a".repeat(4097)).1.contains("4097 bytes"));
    assert!(Condition::parse(&vec!["a"; 800].join(" or ")).is_ok());
    let grows = format!("a>0{}", "+a".repeat(2000));
    assert!(
        error(&grows).1.contains("expected at most 4096"),
        "canonical text is bounded too"
    );
}

#[test]
fn variables_are_listed_once() {
    let condition = Condition::parse("a > b + a and (not c{x='1'} or c in [1]) and b > 0").unwrap();
    let names: Vec<_> = condition.variables().map(ToString::to_string).collect();
    assert_eq!(names, ["a", "b", "c{x=\"1\"}", "c"]);
}

#[test]
fn serde_writes_and_reads_the_text() {
    let condition = Condition::parse("a>5%  and b").unwrap();
    let json = serde_json::to_string(&condition).unwrap();
    assert_eq!(json, "\"a > 5% and b\"");
    assert_eq!(serde_json::from_str::<Condition>(&json).unwrap(), condition);
    assert!(serde_json::from_str::<Condition>("\"a >\"").is_err());
}

fn any_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[a-d]",
        Just("m{k=\"v\\\\\\\"\", l='é'}".to_owned()),
        (0.0..1e18_f64).prop_map(|v| v.to_string()),
        (
            0_u32..9999,
            prop::sample::select(vec!["%", "ms", "_days", "MiB", "/s", "B/s", "rps"])
        )
            .prop_map(|(v, unit)| format!("{v}{unit}")),
    ];
    leaf.prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            (
                inner.clone(),
                prop::sample::select(vec!["+", "-", "*", "/"]),
                inner.clone()
            )
                .prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            inner.clone().prop_map(|a| format!("({a})")),
            inner.prop_map(|a| format!("-({a})")),
        ]
    })
}

fn any_condition() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[p-s]",
        (
            any_value(),
            prop::sample::select(vec!["<", "<=", ">", ">=", "==", "!="]),
            any_value()
        )
            .prop_map(|(a, op, b)| format!("{a}{op}{b}")),
        "[a-d] (NOT )?in \\[\"[a-z ]{0,3}\", '[a-z]'\\]",
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} and {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} OR {b}")),
            inner.clone().prop_map(|a| format!("not {a}")),
            inner.prop_map(|a| format!("({a})")),
        ]
    })
}

proptest! {
    #[test]
    fn display_parses_to_the_same(text in any_condition()) {
        // Random units rarely fit, so the grammar is tested below the check of units.
        let root = parse(&text).unwrap();
        let shown = root.to_string();
        let again = parse(&shown).unwrap();
        prop_assert_eq!(&again, &root);
        prop_assert_eq!(again.to_string(), shown);
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = Condition::parse(&text).map_err(|e| e.to_string());
    }

    #[test]
    fn no_text_of_words_panics(text in "([a-z0-9.eE_é%/<>=!()\\[\\]{}'\",+*\\\\ -]|and |not |in | or ){0,30}") {
        if let Err(error) = Condition::parse(&text) {
            prop_assert!(text.get(error.span.clone()).is_some());
            prop_assert!(error.to_string().ends_with('^'));
        }
    }
}
