use super::super::builder::RedactionConfig;
use super::super::samples::{Sample, samples};
use super::*;
use homeostasis_core::testing::processor_time;
use proptest::prelude::*;

fn redactor() -> SecretRedactor {
    SecretRedactor::default()
}

#[test]
fn every_row_of_the_table_compiles_and_every_kind_has_a_sample() {
    for (row, kind) in KINDS.iter().enumerate() {
        compiled(row, kind);
        assert!(marker::is_name(kind.name), "{}", kind.name);
        assert!(kind.literals.iter().all(|literal| literal.len() > 1));
    }
    let samples = samples();
    for (kind, _) in SecretRedactor::kinds() {
        assert!(samples.iter().any(|sample| sample.kind == kind), "{kind}");
    }
}

#[test]
fn every_sample_is_redacted_as_its_kind_and_what_is_around_it_stays() {
    let redactor = redactor();
    for sample in samples() {
        let Sample { kind, secret, text } = &sample;
        let redacted = redactor.text(text);
        for needle in sample.needles() {
            assert!(!redacted.contains(needle), "{kind}: {text} -> {redacted}");
        }
        let marker = format!("[redacted:{kind}]");
        assert!(redacted.contains(&marker), "{kind}: {text} -> {redacted}");
        let (before, _) = text.split_once(secret.as_str()).unwrap();
        assert!(
            redacted.starts_with(before.trim_end())
                || *kind == "private-key"
                || *kind == "authorization",
            "{text} -> {redacted}"
        );
        let again = redactor.text(&redacted);
        assert_eq!(again, redacted, "{kind}");
        assert!(matches!(again, Cow::Borrowed(_)));
    }
}

/// As `{:?}` writes it, and as a string within JSON.
#[test]
fn every_sample_is_found_when_it_is_escaped() {
    let redactor = redactor();
    let all: Vec<_> = samples().into_iter().map(|sample| sample.text).collect();
    for text in all.iter().cloned().chain([all.join("\n\n")]) {
        for escaped in [format!("{text:?}"), serde_json::to_string(&text).unwrap()] {
            let redacted = redactor.text(&escaped);
            for sample in samples() {
                for needle in sample.needles() {
                    assert!(
                        !redacted.contains(needle),
                        "{}: {escaped} -> {redacted}",
                        sample.kind
                    );
                }
            }
        }
    }
}

#[test]
fn a_secret_inside_of_another_leaves_nothing_for_a_second_time() {
    let token = format!("xoxb-{}", "0123456789-abcdefghijkl");
    for text in [
        format!("Authorization: .{token}"),
        format!("Cookie: a={token}; b=.{token}"),
        format!("password = .{token}.{token} and more"),
        // Each time one of them is taken out, the next one shows.
        format!(
            "api_key:{}",
            "$6$pi_key:$6$hvs.xoxb-,host?api_key7$6$hvs.xoxb-".repeat(40)
        ),
        format!(
            "api_key:.{token},{}",
            format!("$6$$6$pi_key:$6$.{token},").repeat(40)
        ),
    ] {
        let once = redactor().text(&text).into_owned();
        assert!(!once.contains("abcdefghijkl"), "{once}");
        assert_eq!(redactor().text(&once), once);
    }
}

#[test]
fn texts_without_secrets_come_back_borrowed() {
    let redactor = redactor();
    for text in [
        "",
        "Failed password for root from 10.0.0.1 port 22 ssh2",
        "pam_unix(sshd:session): session opened for user root",
        "Accepted publickey for git from 10.0.0.1 port 4 ssh2: RSA SHA256:h0Z1Vn3bq6wGnZ3G0xVJ8o3vP1b2c3d4e5f6g7h8i9j",
        "Invalid token: expected a number",
        "unexpected token: foo",
        "token_count=17 max_tokens=4096 tokens_per_second=33.1",
        "password_policy=strict secret_name=orders author=ann",
        "password: required",
        "password=${DB_PASSWORD} token=$TOKEN secret={{ vault }} api_key=<key>",
        "the password is wrong",
        "authorization: denied by policy",
        "Bearer authentication is required",
        "http://host:8080/path?email=a@b.example",
        "commit 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
        "blk_-1608999687919862906 terminating",
        "Established session 0x14f05578bd80006 with timeout 10000",
        "2025-11-22T05:20:09.123Z INFO served GET /orders in 12 ms",
        "PWD=/home/ann",
        "next_token=AbCdEfGh12345678",
        "key: value",
        "secret not found: path /run/secrets/db",
        "risk-assessment-of-the-day task-1234567890",
        "Token::parse failed at 12:30",
        "[redacted:jwt] token [redacted:password]",
    ] {
        assert!(
            matches!(redactor.text(text), Cow::Borrowed(_)),
            "{text} -> {}",
            redactor.text(text)
        );
    }
}

/// No part of a secret stays beside the marker that says it is gone.
#[test]
fn the_whole_value_of_a_sure_name_goes() {
    let redactor = redactor();
    for (text, expected) in [
        (
            r#"C { password: Some("hunter2") }"#,
            r#"C { password: Some("[redacted:password]") }"#,
        ),
        (
            r#"C { token: Some("abc123def") }"#,
            r#"C { token: Some("[redacted:token]") }"#,
        ),
        (
            "{'password': b'hunter2'}",
            "{'password': b'[redacted:password]'}",
        ),
        (
            r#"{"passwords": ["hunter2","abc"]}"#,
            r#"{"passwords": ["[redacted:password]"]}"#,
        ),
        (
            "'set-cookie': [ 'auth=abc123; Path=/' ]",
            "'set-cookie': [ '[redacted:cookie]' ]",
        ),
        (
            "password: correct horse battery",
            "password: [redacted:password]",
        ),
        (
            "password=[redacted:x]hunter2",
            "password=[redacted:password]",
        ),
        ("password=hun;ter2", "password=[redacted:password]"),
        ("password=hun<ter2", "password=[redacted:password]"),
        (
            r#"{\"password\":\"hun\\\"ter2\"}"#,
            r#"{\"password\":\"[redacted:password]\"}"#,
        ),
    ] {
        assert_eq!(redactor.text(text), expected, "{text}");
        assert_eq!(redactor.text(expected), expected);
    }
}

#[test]
fn names_and_values_are_paired_in_the_notations_of_configurations_and_commands() {
    let redactor = redactor();
    for text in [
        "SECRET_KEY_BASE=hunter2",
        "user%5Bpassword%5D=hunter2&x=1",
        r#"{"name":"DB_PASSWORD","value":"hunter2"}"#,
        r#"<entry key="password" value="hunter2"/>"#,
        r#"("X-Api-Key", "hunter2")"#,
        r#"["--password","hunter2"]"#,
        "ALTER ROLE app WITH PASSWORD 'hunter2'",
        "GET /?user=a&pass=hunter2",
        "api_key_live=hunter2",
        "PASSWORD_DB=hunter2",
        "a:\n  password: |\n    hunter2\n  b: 1",
    ] {
        let redacted = redactor.text(text);
        assert_ne!(redacted, text);
        assert!(!redacted.contains("hunter2"), "{redacted}");
        assert_eq!(redactor.text(&redacted), redacted);
        let (before, after) = text.split_once("hunter2").unwrap();
        assert!(
            redacted.starts_with(before) && redacted.ends_with(after),
            "{redacted}"
        );
    }
    assert_eq!(redactor.text("otp=493817 ok"), "otp=[redacted:otp-code] ok");
    assert_eq!(
        redactor.text(r#"{"pin": 1234}"#),
        r#"{"pin": [redacted:otp-code]}"#
    );
    for text in [
        r#"["password", "username"]"#,
        "pass=17 fail=3",
        "pass=3.5ms",
        "pin=17",
        "pass=skipped",
        "wrong password 'required'",
    ] {
        assert_eq!(redactor.text(text), text);
    }
}

#[test]
fn passwords_of_urls_hold_any_sign() {
    let redactor = redactor();
    for (text, expected) in [
        (
            "postgres://shop:p@ss@db:5432/o",
            "postgres://shop:[redacted:url-password]@db:5432/o",
        ),
        (
            "postgres://shop:pa/ss@db/o",
            "postgres://shop:[redacted:url-password]@db/o",
        ),
        ("redis://:12345@db", "redis://:[redacted:url-password]@db"),
        ("redis://:12345@6@db", "redis://:[redacted:url-password]@db"),
        (
            "root:hunter2@tcp(127.0.0.1:3306)/db",
            "root:[redacted:url-password]@tcp(127.0.0.1:3306)/db",
        ),
        (
            "dsn=ö:hunt/er2@unix(/run/my.sock)/db",
            "dsn=ö:[redacted:url-password]@unix(/run/my.sock)/db",
        ),
        (
            r"http:\/\/u:hunter2@host\/a",
            r"http:\/\/u:[redacted:url-password]@host\/a",
        ),
    ] {
        assert_eq!(redactor.text(text), expected, "{text}");
        assert_eq!(redactor.text(expected), expected);
    }
    for text in [
        "http://host:8080/path?email=a@b.example",
        r"http:\/\/host:80\/a@b",
        "http://host:80?a@b",
    ] {
        assert_eq!(redactor.text(text), text);
    }
}

#[test]
fn a_field_is_judged_by_its_name_and_by_its_value() {
    let redactor = redactor();
    for (name, value, expected) in [
        ("password", "swordfish", "[redacted:password]"),
        ("db.password", "[redacted:password]", "[redacted:password]"),
        (
            "password",
            "[redacted:password] tail",
            "[redacted:password]",
        ),
        ("password", "null", "null"),
        ("password", "${DB_PASSWORD}", "${DB_PASSWORD}"),
        ("password", "%s3cret!", "[redacted:password]"),
        ("password", "$ABC123", "[redacted:password]"),
        ("password", "<hunter2>", "[redacted:password]"),
        ("password", "{}hunter", "[redacted:password]"),
        ("password", "***", "***"),
        ("token_count", "17", "17"),
        ("user", "ann", "ann"),
        ("session", "abc", "[redacted:session]"),
        ("key", "user:17", "user:17"),
        (
            "http.request.header.authorization",
            "Token abc",
            "[redacted:authorization]",
        ),
        (
            "error",
            "password=swordfish",
            "password=[redacted:password]",
        ),
    ] {
        assert_eq!(redactor.field(name, value), expected, "{name}={value}");
    }
}

#[test]
fn hosts_add_patterns_and_names_and_take_kinds_away() {
    let redactor = SecretRedactor::builder()
        .pattern("badge", "BADGE-(?P<secret>[0-9]{8})")
        .name("door-code")
        .innocent_name("push_token")
        .allow("^sw[a-z]+fish$")
        .without("payment-card")
        .build()
        .unwrap();
    assert_eq!(
        redactor.text("at BADGE-12345678"),
        "at BADGE-[redacted:badge]"
    );
    assert_eq!(redactor.text("doorCode=kx99"), "doorCode=[redacted:secret]");
    assert_eq!(redactor.field("push_token", "abc"), "abc");
    assert_eq!(redactor.text("password=swordfish"), "password=swordfish");
    assert_eq!(redactor.text("4111111111111111"), "4111111111111111");
}

#[test]
fn a_mistake_of_the_host_names_its_place() {
    let error = SecretRedactor::builder()
        .pattern("ok", "[")
        .pattern("Not Ok", "a*")
        .name("--")
        .allow("(")
        .without("nothing")
        .build()
        .unwrap_err();
    let paths: Vec<_> = error
        .violations()
        .iter()
        .map(|violation| violation.path.clone())
        .collect();
    assert_eq!(
        paths,
        [
            "redaction.patterns[0].regex",
            "redaction.patterns[1].name",
            "redaction.patterns[1].regex",
            "redaction.allow[0]",
            "redaction.names[0]",
            "redaction.without[0]",
        ]
    );
}

#[test]
fn a_value_of_many_closing_brackets_takes_time_in_proportion_to_its_length() {
    let text = format!("key={}{}", "a".repeat(500_000), ")".repeat(500_000));
    let redactor = redactor();
    let (_, took) = processor_time(|| redactor.text(&text));
    assert!(took < std::time::Duration::from_secs(5), "{took:?}");
}

/// Texts that make a careless search look at the same bytes again and again.
#[test]
fn hostile_texts_take_time_in_proportion_to_their_length() {
    let redactor = redactor();
    let pieces = [
        "token={{",
        "-----BEGIN PRIVATE KEY",
        "://",
        "eyJ",
        "sk-",
        "key",
        "password: ",
        "4 ",
        "4111 ",
        "curl -u ",
        "[redacted:",
        "token=\"",
        "token=\\\"",
        "authorization: ",
        "-us",
        "AA:AA",
        "secret ",
        "A",
        "digest username=",
        "datadog ",
        "token",
        "://a:",
        "password='",
        "mysql ",
        "auth\\\"",
        "key:",
        "sid=",
        "session=",
        "pass:",
        "cookie:",
        "://a:@",
        ":\\/\\/a:b",
        "@tcp(",
        "a:@tcp(",
    ];
    for piece in pieces {
        let time = |n: usize| {
            let text = piece.repeat(n / piece.len());
            processor_time(|| redactor.text(&text)).1
        };
        let (short, long) = (time(20_000), time(320_000));
        // Sixteen times the text: quadratic work would take 256 times as long.
        let bound = short.max(std::time::Duration::from_millis(10)) * 80;
        assert!(long < bound, "{piece:?}: {short:?}, then {long:?}");
    }
}

proptest! {
    #[test]
    fn redacting_twice_changes_nothing(
        picks in proptest::collection::vec((0_usize..1000, "[ -~\n]{0,12}"), 0..6),
    ) {
        let redactor = redactor();
        let samples = samples();
        let mut text = String::new();
        for (pick, between) in picks {
            text.push_str(&between);
            text.push_str(&samples[pick % samples.len()].text);
        }
        let once = redactor.text(&text);
        prop_assert_eq!(redactor.text(&once), once.clone(), "from {:?}", text);
    }

    #[test]
    fn any_text_is_taken(text in "\\PC{0,200}") {
        let redactor = redactor();
        let once = redactor.text(&text);
        prop_assert_eq!(redactor.text(&once), once.clone());
        redactor.field(&text, &once);
    }
}

#[test]
fn more_names_than_the_search_was_made_for_are_refused() {
    let config = |n: usize| RedactionConfig {
        names: (0..n).map(|i| format!("name{i}")).collect(),
        ..RedactionConfig::default()
    };
    let error = SecretRedactor::new(config(1001)).unwrap_err().to_string();
    assert!(error.contains("redaction.names = 1001"), "{error}");
    assert!(SecretRedactor::new(config(1000)).is_ok());
}
