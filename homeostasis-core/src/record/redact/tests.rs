use serde_json::Value;

use super::{secret_of_scenario, secret_within};
use crate::record::{HealEvent, Scenario};
use crate::testing::MaskRedactor;

/// One event of every kind.
const STORED: &str = include_str!("../../../testdata/events-v1.jsonl");

const SECRET: &str = "hunter2";

/// Fields that stay as they are: names of parts of the system, and what is executed. For the
/// latter `secret_parameter` must speak.
const NAMES: [&str; 22] = [
    "schema_version",
    "node",
    "event",
    "tenant",
    "detector",
    "target",
    "playbook_hint",
    "stage",
    "plugin",
    "analyzer",
    "remediator",
    "playbook",
    "action",
    "metric",
    "condition",
    "policy",
    "trigger",
    "channels",
    "to",
    "key",
    "id",
    "version",
];

/// Every place of a string in `value`, as JSON pointers.
fn strings(value: &Value, at: &str, places: &mut Vec<String>) {
    match value {
        Value::String(_) => places.push(at.to_owned()),
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                strings(item, &format!("{at}/{i}"), places);
            }
        }
        Value::Object(fields) => {
            for (name, item) in fields {
                strings(item, &format!("{at}/{name}"), places);
            }
        }
        _ => {}
    }
}

/// A secret planted in any text of any event is gone, or refused, or it is a name.
#[test]
fn no_text_of_an_event_keeps_its_secret() {
    let redactor = MaskRedactor(SECRET);
    let (mut redacted, mut refused) = (0, 0);
    for line in STORED.lines() {
        let stored: Value = serde_json::from_str(line).unwrap();
        let mut places = Vec::new();
        strings(&stored, "", &mut places);
        for place in places {
            let mut planted = stored.clone();
            let text = planted.pointer_mut(&place).unwrap();
            *text = Value::String(format!("{} {SECRET}", text.as_str().unwrap()));
            let Ok(mut event) = HealEvent::from_json(planted.to_string()) else {
                // An id, a hash or a word of a closed vocabulary.
                continue;
            };
            if event.kind.secret_parameter(&redactor).is_some() {
                assert!(
                    place.contains("/args/") || place.contains("/captured"),
                    "{place}"
                );
                refused += 1;
                continue;
            }
            event.kind.redact(&redactor);
            let text = serde_json::to_string(&event).unwrap();
            let name = place
                .rsplit('/')
                .find(|part| part.parse::<u32>().is_err())
                .unwrap();
            let stays = (NAMES.contains(&name) && !place.contains("/subject/"))
                || place.contains("/playbook/")
                // The id of a playbook, or the names of a remediator and its action.
                || (place.starts_with("/considered/") && name == "name");
            assert_eq!(text.contains(SECRET), stays, "{place} in {text}");
            redacted += usize::from(!stays);
        }
    }
    assert!(
        redacted > 40 && refused > 1,
        "{redacted} redacted, {refused} refused"
    );
}

#[test]
fn redaction_changes_nothing_without_secrets_and_nothing_the_second_time() {
    let redactor = MaskRedactor("restart");
    for line in STORED.lines() {
        let event = HealEvent::from_json(line).unwrap();
        let mut clean = event.clone();
        clean.kind.redact(&MaskRedactor(SECRET));
        assert_eq!(clean, event);
        let mut once = event;
        once.kind.redact(&redactor);
        let mut twice = once.clone();
        twice.kind.redact(&redactor);
        assert_eq!(twice, once);
    }
}

#[test]
fn a_number_can_be_a_secret_parameter() {
    let value = serde_json::json!({ "port": 5432, "login": [{ "pin": 12_345_678 }] });
    let place = secret_within("", &value, &MaskRedactor("12345678"));
    assert_eq!(place.as_deref(), Some("/login/0/pin"));
    assert_eq!(secret_within("", &value, &MaskRedactor("87654321")), None);
}

#[test]
fn the_features_of_an_anomaly_keep_no_secret() {
    let target = crate::Target::service("orders").unwrap();
    let subject = crate::record::Subject::Health("live".to_owned());
    let mut anomaly = crate::record::Anomaly::new("test", target, subject, crate::Timestamp::EPOCH)
        .due_to([(format!("queue of {SECRET}"), 1.0)]);
    anomaly.redact(&MaskRedactor(SECRET));
    let feature = &anomaly.contributions[0].feature;
    assert!(
        feature.starts_with("queue of ") && !feature.contains(SECRET),
        "{feature}"
    );
}

#[test]
fn a_scenario_holds_no_secret() {
    let place = |call: Value, expect: Value| {
        let scenario: Scenario = serde_json::from_value(serde_json::json!({
            "name": "log in",
            "steps": [{
                "name": "page", "call": call, "expect": expect,
                "timeout": {"secs": 1, "nanos": 0},
            }],
        }))
        .unwrap();
        secret_of_scenario(&scenario, &MaskRedactor(SECRET))
    };
    let http =
        |url: &str, json| serde_json::json!({"http": {"method": "GET", "url": url, "json": json}});
    let none = serde_json::json!({});
    assert_eq!(place(http("http://a/", None::<&str>), none.clone()), None);
    let url = format!("http://a/?key={SECRET}");
    let body = serde_json::json!({"login": [SECRET]});
    let args = serde_json::json!({"function": {"name": "f", "args": {"token": SECRET}}});
    for (call, expect, end) in [
        (http(&url, None), none.clone(), "/url"),
        (
            serde_json::json!({"http": {"method": "GET", "url": "http://a/", "json": body}}),
            none.clone(),
            "/json/login/0",
        ),
        (args, none, "/args/token"),
        (
            http("http://a/", None),
            serde_json::json!({"contains": SECRET}),
            "/expect/contains",
        ),
        (
            http("http://a/", None),
            serde_json::json!({"json": {"/user/key": SECRET}}),
            "/expect/json/user/key",
        ),
    ] {
        assert_eq!(
            place(call, expect),
            Some(format!("step 1 of a scenario: {end}"))
        );
    }
}
