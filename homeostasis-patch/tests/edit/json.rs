use homeostasis_patch::Format::Json;
use serde_json::{Value, json};

use crate::{changes, refuses};

const SOURCE: &str = r#"// service
{
  "server": {
    "timeout_ms": 500, // low
    "host"  :  "a\u00e9b" /* why */
  },
  "tags": ["x", "y", "z"],
  "one": [1],
  "lines": [
    1, // first
    2, // second
    3
  ],
  "none": {}, "tight":{"a":1}, "open": {
  }, "said": [ /* nothing */ ]
}
"#;

#[test]
fn only_the_value_changes() {
    changes(
        Json,
        SOURCE,
        &[
            ("set", "server.timeout_ms", json!(2000), "500", "2000"),
            ("set", "server.timeout_ms", json!(1.5), "500", "1.5"),
            (
                "set",
                "server.host",
                json!("ü\"\n"),
                r#""a\u00e9b""#,
                r#""ü\"\n""#,
            ),
            (
                "set",
                "tags[1]",
                json!({"k": [null, true]}),
                r#""y""#,
                r#"{"k": [null, true]}"#,
            ),
            (
                "set",
                "none",
                json!({"a": 1}),
                r#""none": {}"#,
                r#""none": {"a": 1}"#,
            ),
        ],
    );
}

#[test]
fn new_keys_and_items_follow_their_siblings() {
    changes(
        Json,
        SOURCE,
        &[
            (
                "insert",
                "server.port",
                json!(80),
                "\"a\\u00e9b\" /* why */\n",
                "\"a\\u00e9b\", /* why */\n    \"port\"  :  80\n",
            ),
            ("insert", "tags[3]", json!("w"), r#""z"]"#, r#""z", "w"]"#),
            ("insert", "tags[0]", json!("w"), r#"["x""#, r#"["w", "x""#),
            (
                "insert",
                "lines[1]",
                json!(9),
                "2, // second",
                "9,\n    2, // second",
            ),
            ("insert", "lines[3]", json!(9), "3\n", "3,\n    9\n"),
            (
                "insert",
                "none.a",
                json!(1),
                r#""none": {}"#,
                r#""none": {"a": 1}"#,
            ),
            (
                "insert",
                "tight.b",
                json!(2),
                r#"{"a":1}"#,
                r#"{"a":1, "b":2}"#,
            ),
            (
                "insert",
                "open.a",
                json!(1),
                "{\n  }, \"said\"",
                "{\n    \"a\": 1\n  }, \"said\"",
            ),
        ],
    );
}

#[test]
fn removed_entries_take_their_comma_and_line() {
    changes(
        Json,
        SOURCE,
        &[
            (
                "remove",
                "server.timeout_ms",
                Value::Null,
                "    \"timeout_ms\": 500, // low\n",
                "",
            ),
            (
                "remove",
                "server.host",
                Value::Null,
                "500, // low\n    \"host\"  :  \"a\\u00e9b\" /* why */\n",
                "500 // low\n",
            ),
            ("remove", "tags[0]", Value::Null, r#""x", "#, ""),
            ("remove", "tags[2]", Value::Null, r#", "z""#, ""),
            ("remove", "one[0]", Value::Null, "[1]", "[]"),
            ("remove", "lines[1]", Value::Null, "    2, // second\n", ""),
            (
                "remove",
                "lines[2]",
                Value::Null,
                "2, // second\n    3\n",
                "2 // second\n",
            ),
        ],
    );
}

#[test]
fn trailing_commas_stay_the_house_style() {
    let source = "{\n  \"a\": 1, // one\n  \"b\": [1, 2,],\n}\n";
    changes(
        Json,
        source,
        &[
            ("insert", "c", json!(3), "2,],\n", "2,],\n  \"c\": 3,\n"),
            ("insert", "b[2]", json!(3), "2,]", "2, 3,]"),
            ("remove", "b", Value::Null, "  \"b\": [1, 2,],\n", ""),
            ("remove", "b[1]", Value::Null, "1, 2,", "1,"),
        ],
    );
}

#[test]
fn byte_order_mark_and_carriage_returns_stay() {
    let source = "\u{feff}{\r\n\t\"a\": 1,\r\n\t\"b\": 2\r\n}\r\n";
    changes(
        Json,
        source,
        &[
            ("set", "a", json!(5), "1", "5"),
            ("insert", "c", json!(3), "2\r\n", "2,\r\n\t\"c\": 3\r\n"),
            ("remove", "a", Value::Null, "\t\"a\": 1,\r\n", ""),
            ("remove", "b", Value::Null, "1,\r\n\t\"b\": 2\r\n", "1\r\n"),
        ],
    );
}

#[test]
fn refusals_name_place_value_and_expectation() {
    let cases: [(&str, &str, &[&str]); 6] = [
        (
            "set",
            "server.timeout",
            &["server.timeout", "not found", "\"timeout_ms\""],
        ),
        ("set", "server.hots.x", &["server.hots:", "\"host\""]),
        ("set", "tags[3]", &["tags[3]", "index 2"]),
        ("set", "tags.x", &["tags", "a sequence", "a mapping"]),
        ("insert", "server.host", &["server.host", "exists already"]),
        ("insert", "said[0]", &["said[0]", "clear place"]),
    ];
    for (verb, path, words) in cases {
        refuses(Json, SOURCE, verb, path, json!(1), words);
    }
    refuses(
        Json,
        "{\"a\": {\"b\": 1, \"b\": 2}}",
        "set",
        "a.b",
        json!(1),
        &["a.b", "twice"],
    );
    refuses(
        Json,
        "{\"a\" 1}",
        "set",
        "a",
        json!(1),
        &["line 1, column 6", "JSON", "`:`"],
    );
}
