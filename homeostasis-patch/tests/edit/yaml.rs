use homeostasis_patch::ConfigEdit;
use homeostasis_patch::Format::Yaml;
use serde_json::{Value, json};

use crate::{changes, refuses};

const SOURCE: &str = r#"# service
server:
  timeout_ms: 500  # too low
  host: 'a'   # single
  name: "b"
  mode: fast
  empty:
  unset:   # later
  text: |
    one
    two

  long: two
    lines
upstreams:
  - url: http://u0
    weight: 1
  # second
  - url: http://u1
    weight: 2
flat:
- x
- y # why

flow: {a: 1, b: [1, 2], c: }
"q k":
    nested:
        deep: yes
8080: port
last: end
"#;

#[test]
fn only_the_value_changes_and_quotes_stay() {
    changes(
        Yaml,
        SOURCE,
        &[
            ("set", "server.timeout_ms", json!(2000), "500", "2000"),
            ("set", "server.host", json!("it's"), "'a'", "'it''s'"),
            ("set", "server.host", json!(5), "'a'", "5"),
            ("set", "server.name", json!("x\ty"), "\"b\"", "\"x\\ty\""),
            ("set", "server.mode", json!("slow"), "fast", "slow"),
            ("set", "server.mode", json!("no"), "fast", "\"no\""),
            ("set", "server.empty", json!(1), "empty:", "empty: 1"),
            (
                "set",
                "server.unset",
                json!(1),
                "unset:   #",
                "unset: 1   #",
            ),
            ("set", "server.long", json!("one"), "two\n    lines", "one"),
            (
                "set",
                "upstreams[1].weight",
                json!(3),
                "weight: 2",
                "weight: 3",
            ),
            ("set", "flat[1]", json!("z"), "- y #", "- z #"),
            ("set", "flow.b[0]", json!(9), "[1, 2]", "[9, 2]"),
            ("set", "flow.b", json!(["p"]), "[1, 2]", "[\"p\"]"),
            ("set", "'q k'.nested.deep", json!(true), "yes", "true"),
            ("set", "8080", json!("http"), "port", "http"),
            ("set", "last", json!(1e20), "end", "1.0e+20"),
        ],
    );
}

#[test]
fn blocks_are_replaced_by_blocks_of_the_same_indentation() {
    changes(
        Yaml,
        SOURCE,
        &[
            (
                "set",
                "upstreams[0]",
                json!({"url": "v", "w": [1]}),
                "url: http://u0\n    weight: 1",
                "url: v\n    w: [1]",
            ),
            ("set", "flat", json!(["p", "q"]), "- x\n- y", "- p\n- q"),
            ("set", "flat", json!(null), "flat:\n- x\n- y", "flat: null"),
            (
                "set",
                "'q k'",
                json!({}),
                "\"q k\":\n    nested:\n        deep: yes",
                "\"q k\": {}",
            ),
        ],
    );
}

#[test]
fn new_keys_and_items_are_indented_like_their_siblings() {
    changes(
        Yaml,
        SOURCE,
        &[
            (
                "insert",
                "server.port",
                json!(80),
                "    lines\n",
                "    lines\n  port: 80\n",
            ),
            (
                "insert",
                "upstreams[0].z",
                json!("s"),
                "weight: 1\n",
                "weight: 1\n    z: s\n",
            ),
            (
                "insert",
                "upstreams[2]",
                json!({"u": 1}),
                "weight: 2\n",
                "weight: 2\n  - {u: 1}\n",
            ),
            ("insert", "flat[0]", json!("w"), "- x\n", "- w\n- x\n"),
            (
                "insert",
                "flat[2]",
                json!("no"),
                "- y # why\n",
                "- y # why\n- \"no\"\n",
            ),
            ("insert", "flow.d", json!(4), "c: }", "c:, d: 4 }"),
            ("insert", "flow.b[1]", json!(4), "[1, 2]", "[1, 4, 2]"),
            (
                "insert",
                "'q k'.nested.b",
                json!(1),
                "yes\n",
                "yes\n        b: 1\n",
            ),
            ("insert", "z", json!(1), "end\n", "end\nz: 1\n"),
        ],
    );
    changes(
        Yaml,
        "a: 1",
        &[("insert", "b", json!(2), "a: 1", "a: 1\nb: 2")],
    );
    changes(
        Yaml,
        "\"a\": 1\n",
        &[("insert", "b", json!(2), "1\n", "1\n\"b\": 2\n")],
    );
    changes(
        Yaml,
        "a: |\n  x\n\n\nb: 1\n",
        &[("insert", "c", json!(2), "b: 1\n", "b: 1\nc: 2\n")],
    );
    changes(
        Yaml,
        "a: {}\n",
        &[("insert", "a.b", json!(2), "{}", "{b: 2}")],
    );
}

#[test]
fn removed_entries_take_their_lines() {
    changes(
        Yaml,
        SOURCE,
        &[
            (
                "remove",
                "server.timeout_ms",
                Value::Null,
                "  timeout_ms: 500  # too low\n",
                "",
            ),
            ("remove", "server.empty", Value::Null, "  empty:\n", ""),
            (
                "remove",
                "server.unset",
                Value::Null,
                "  unset:   # later\n",
                "",
            ),
            (
                "remove",
                "server.text",
                Value::Null,
                "  text: |\n    one\n    two\n",
                "",
            ),
            (
                "remove",
                "server.long",
                Value::Null,
                "  long: two\n    lines\n",
                "",
            ),
            (
                "remove",
                "upstreams[0]",
                Value::Null,
                "  - url: http://u0\n    weight: 1\n",
                "",
            ),
            (
                "remove",
                "upstreams[1].url",
                Value::Null,
                "url: http://u1\n    ",
                "",
            ),
            ("remove", "flat[1]", Value::Null, "- y # why\n", ""),
            ("remove", "flow.a", Value::Null, "a: 1, ", ""),
            ("remove", "flow.b[1]", Value::Null, ", 2]", "]"),
            (
                "remove",
                "upstreams",
                Value::Null,
                "upstreams:\n  - url: http://u0\n    weight: 1\n  # second\n  - url: http://u1\n    weight: 2\n",
                "",
            ),
            ("remove", "last", Value::Null, "last: end\n", ""),
        ],
    );
}

#[test]
fn carriage_returns_and_byte_order_mark_stay() {
    let source = "\u{feff}a: 1\r\nb:\r\n  - é\r\n  - 2\r\n";
    changes(
        Yaml,
        source,
        &[
            ("set", "b[1]", json!(5), "2", "5"),
            ("set", "b[0]", json!("x"), "é", "x"),
            ("insert", "b[2]", json!(3), "- 2\r\n", "- 2\r\n  - 3\r\n"),
            ("remove", "b[0]", Value::Null, "  - é\r\n", ""),
            ("remove", "a", Value::Null, "a: 1\r\n", ""),
        ],
    );
}

#[test]
fn flow_over_several_lines_keeps_comments() {
    let source = "k: [\n  1, # one\n  2 # two\n]\n";
    changes(
        Yaml,
        source,
        &[
            ("insert", "k[2]", json!(3), "2 # two\n", "2, # two\n  3\n"),
            ("remove", "k[0]", Value::Null, "  1, # one\n", ""),
            (
                "remove",
                "k[1]",
                Value::Null,
                "1, # one\n  2 # two\n",
                "1 # one\n",
            ),
        ],
    );
}

#[test]
fn shared_values_are_refused() {
    let source = "base: &b\n  t: 1\nuse: *b\nmix:\n  <<: *b\n  own: 1\ntag: !x 5\none: &o 1\n";
    let cases: [(&str, &str, &[&str]); 8] = [
        ("set", "base.t", &["base", "an anchor"]),
        ("set", "use", &["use", "an alias"]),
        ("set", "use.t", &["use", "an alias"]),
        ("set", "mix.t", &["mix.t", "merge key"]),
        ("insert", "mix.u", &["mix.u", "merge key"]),
        ("remove", "mix.own", &["mix.own", "merge key"]),
        ("set", "tag", &["tag", "a tag"]),
        ("remove", "one", &["one", "an anchor"]),
    ];
    for (verb, path, words) in cases {
        refuses(Yaml, source, verb, path, json!(2), words);
    }
    changes(
        Yaml,
        source,
        &[("set", "mix.own", json!(2), "own: 1", "own: 2")],
    );
}

#[test]
fn refusals_name_place_value_and_expectation() {
    let cases: [(&str, &str, &[&str]); 6] = [
        ("set", "server.text", &["server.text", "a block scalar"]),
        (
            "set",
            "server.tiemout_ms",
            &["server.tiemout_ms", "\"timeout_ms\""],
        ),
        (
            "remove",
            "'q k'.nested.deep",
            &["\"q k\".nested.deep", "only entry"],
        ),
        ("insert", "server.mode", &["server.mode", "exists already"]),
        ("insert", "flat[3]", &["flat[3]", "index 1"]),
        (
            "insert",
            "server.empty.x",
            &["server.empty", "null", "a mapping"],
        ),
    ];
    for (verb, path, words) in cases {
        refuses(Yaml, SOURCE, verb, path, json!(1), words);
    }
    refuses(Yaml, "a: 1\na: 2\n", "set", "a", json!(1), &["a", "twice"]);
    refuses(
        Yaml,
        "a: 1\n---\nb: 1\n",
        "set",
        "a",
        json!(1),
        &["second document on line 2"],
    );
    refuses(Yaml, "a: [1\n", "set", "a", json!(1), &["YAML", "line"]);
}

#[test]
fn precondition_holds_by_value_not_by_spelling() {
    let edit = ConfigEdit::set("a".parse().unwrap(), 2).expecting(16);
    assert_eq!(edit.apply("a: 0x10\n", Yaml).unwrap(), "a: 2\n");
    let error = edit.apply("a: 17\n", Yaml).unwrap_err().to_string();
    assert_eq!(error, "a: found the value 17, expected 16");
}

#[test]
fn comments_around_nested_blocks_keep_their_place() {
    let source = "\
a: # of a
  # before b
  b: # of b
    t: |
      x

  # c: disabled

z: # of z
  - \"q\" # of q
  # between
  - 'r' # of r
  # after
end: {k: \"v\", # of k
  l: 'w' } # of end
# tail
";
    changes(
        Yaml,
        source,
        &[
            ("insert", "a.q", json!(1), "      x\n", "      x\n  q: 1\n"),
            (
                "insert",
                "a.b.q",
                json!(1),
                "      x\n",
                "      x\n    q: 1\n",
            ),
            ("insert", "z[0]", json!(1), "  - \"q\"", "  - 1\n  - \"q\""),
            ("set", "z[0]", json!("s"), "\"q\"", "\"s\""),
            ("set", "z[1]", json!("s"), "'r'", "'s'"),
            ("remove", "z[1]", Value::Null, "  - 'r' # of r\n", ""),
            ("set", "end.k", json!("s"), "\"v\"", "\"s\""),
            ("insert", "end.m", json!(1), "'w' }", "'w', m: 1 }"),
            ("insert", "w", json!(1), "# of end\n", "# of end\nw: 1\n"),
        ],
    );
    refuses(
        Yaml,
        source,
        "remove",
        "a.b",
        Value::Null,
        &["a.b", "only entry"],
    );
    refuses(
        Yaml,
        source,
        "set",
        "z",
        json!(1),
        &["z", "a comment before its first line"],
    );
}

#[test]
fn compact_nesting_is_kept() {
    let source = "m:\n- - a\n  - b\n-\n  c: 1\n  d: 2\n- ? k\n  : v\n  e: 3\n";
    changes(
        Yaml,
        source,
        &[
            ("set", "m[0][0]", json!("x"), "a\n", "x\n"),
            ("remove", "m[0][0]", Value::Null, "- - a\n  - b", "- - b"),
            ("remove", "m[0][1]", Value::Null, "  - b\n", ""),
            ("insert", "m[0][0]", json!("x"), "- - a\n", "- - x\n  - a\n"),
            ("insert", "m[0][2]", json!("x"), "  - b\n", "  - b\n  - x\n"),
            ("remove", "m[1].c", Value::Null, "  c: 1\n", ""),
            ("remove", "m[1]", Value::Null, "-\n  c: 1\n  d: 2\n", ""),
            ("set", "m[2].e", json!(4), "e: 3", "e: 4"),
        ],
    );
}
