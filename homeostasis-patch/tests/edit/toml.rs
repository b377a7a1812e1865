use homeostasis_patch::Format::Toml;
use serde_json::{Value, json};

use crate::{changes, refuses};

const SOURCE: &str = r#"# service
name = "shop"

[server] # web
  timeout_ms = 1_500   # since May
  url='http://a'
  log.level = "info"
  log.file = "x"
  since = 2024-05-01

[limits]
# nothing yet

[server.tls]
on = true
ports = [ 80, 443 ] # both
cert = { path = "/a", days = 30 }
lines = [
  "a", # first
  "b",
]

[[upstreams]]
url = "u0"

[[upstreams]]
url = "u1"
"#;

#[test]
fn only_the_value_changes() {
    changes(
        Toml,
        SOURCE,
        &[
            ("set", "server.timeout_ms", json!(3000), "1_500", "3000"),
            ("set", "server.timeout_ms", json!(2.5), "1_500", "2.5"),
            (
                "set",
                "server.url",
                json!("http://b"),
                "'http://a'",
                "'http://b'",
            ),
            ("set", "server.url", json!("it's"), "'http://a'", "\"it's\""),
            (
                "set",
                "server.log.level",
                json!("debug"),
                "\"info\"",
                "\"debug\"",
            ),
            ("set", "server.since", json!("now"), "2024-05-01", "\"now\""),
            ("set", "server.tls.ports[1]", json!(8443), "443", "8443"),
            ("set", "server.tls.ports", json!([1]), "[ 80, 443 ]", "[1]"),
            ("set", "server.tls.cert.days", json!(90), "30", "90"),
            ("set", "upstreams[1].url", json!("v1"), "\"u1\"", "\"v1\""),
            (
                "set",
                "name",
                json!({"a b": 1}),
                "\"shop\"",
                "{ \"a b\" = 1 }",
            ),
        ],
    );
}

#[test]
fn new_keys_go_below_the_last_of_their_own_table() {
    changes(
        Toml,
        SOURCE,
        &[
            (
                "insert",
                "port",
                json!(80),
                "\"shop\"\n",
                "\"shop\"\nport = 80\n",
            ),
            (
                "insert",
                "server.port",
                json!(80),
                "05-01\n",
                "05-01\n  port = 80\n",
            ),
            (
                "insert",
                "limits.rate",
                json!(5),
                "[limits]\n",
                "[limits]\nrate = 5\n",
            ),
            (
                "insert",
                "upstreams[0].w",
                json!(1),
                "\"u0\"\n",
                "\"u0\"\nw = 1\n",
            ),
            (
                "insert",
                "server.tls.cert.k",
                json!("v"),
                "days = 30",
                "days = 30, k = \"v\"",
            ),
            (
                "insert",
                "server.tls.ports[2]",
                json!(8),
                "443 ]",
                "443, 8 ]",
            ),
            (
                "insert",
                "server.tls.lines[2]",
                json!("c"),
                "\"b\",\n",
                "\"b\",\n  \"c\",\n",
            ),
            (
                "insert",
                "server.tls.'q k'",
                json!(1),
                "\"b\",\n]\n",
                "\"b\",\n]\n\"q k\" = 1\n",
            ),
        ],
    );
    changes(
        Toml,
        "# c\n[a]\n",
        &[("insert", "k", json!(1), "# c\n", "k = 1\n# c\n")],
    );
    changes(
        Toml,
        "[a]\nk = 1",
        &[("insert", "a.l", json!(2), "k = 1", "k = 1\nl = 2")],
    );
}

#[test]
fn removed_keys_take_their_line() {
    changes(
        Toml,
        SOURCE,
        &[
            (
                "remove",
                "server.timeout_ms",
                Value::Null,
                "  timeout_ms = 1_500   # since May\n",
                "",
            ),
            (
                "remove",
                "server.log.file",
                Value::Null,
                "  log.file = \"x\"\n",
                "",
            ),
            ("remove", "server.tls.ports[0]", Value::Null, "80, ", ""),
            (
                "remove",
                "server.tls.cert.days",
                Value::Null,
                ", days = 30",
                "",
            ),
            (
                "remove",
                "server.tls.lines[0]",
                Value::Null,
                "  \"a\", # first\n",
                "",
            ),
            (
                "remove",
                "server.tls.lines",
                Value::Null,
                "lines = [\n  \"a\", # first\n  \"b\",\n]\n",
                "",
            ),
        ],
    );
}

#[test]
fn carriage_returns_stay() {
    let source = "a = 1 # x\r\nb = 2\r\n";
    changes(
        Toml,
        source,
        &[
            ("set", "a", json!(5), "1", "5"),
            ("insert", "c", json!(3), "2\r\n", "2\r\nc = 3\r\n"),
            ("remove", "a", Value::Null, "a = 1 # x\r\n", ""),
        ],
    );
}

#[test]
fn refusals_name_place_value_and_expectation() {
    let cases: [(&str, &str, Value, &[&str]); 8] = [
        (
            "set",
            "server.timeout",
            json!(1),
            &["server.timeout", "\"timeout_ms\""],
        ),
        (
            "set",
            "server.tls",
            json!({}),
            &["server.tls", "lines of its own"],
        ),
        ("set", "name", Value::Null, &["name", "null", "TOML"]),
        (
            "set",
            "name",
            json!(u64::MAX),
            &["name", "18446744073709551615", "at most"],
        ),
        (
            "remove",
            "upstreams[0]",
            json!(1),
            &["upstreams[0]", "clear place"],
        ),
        (
            "remove",
            "limits",
            json!(1),
            &["limits", "lines of its own"],
        ),
        (
            "insert",
            "server.log.x",
            json!(1),
            &["server.log.x", "clear place"],
        ),
        ("insert", "name", json!(1), &["name", "exists already"]),
    ];
    for (verb, path, value, words) in cases {
        refuses(Toml, SOURCE, verb, path, value, words);
    }
    refuses(
        Toml,
        "a.b = 1\n",
        "remove",
        "a.b",
        json!(1),
        &["a.b", "only key of a dotted table"],
    );
    refuses(
        Toml,
        "a = 1\na = 2\n",
        "set",
        "a",
        json!(1),
        &["line 2", "TOML"],
    );
}
