//! Reading, picking and filling templates.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::condition::Truth;
use homeostasis_core::document::Parser;
use homeostasis_core::signal::{HealthReport, HealthState};
use homeostasis_core::testing::RecordedObservations;
use homeostasis_core::{Context, ManualClock, Target, Timestamp};
use serde_json::json;

use super::shipped::FILES;
use super::{NotRecovered, PlaybookLibrary};
use crate::playbook::PreCheck;

const TEMPLATE: &str = r#"playbook_id: mend
name: Mend it
category: tests
trigger:
  cause: ${host.cause}
remediation_steps:
  - action: set
    text: "${host.text}"
    again: "${host.text}"
    list: "${host.list}"
    prefix: "${host.cause}*"
metadata:
  about: It mends.
  parameters:
    cause: { about: of what, default: memory_leak }
    text: { about: the text, example: x }
    list: { about: the list, default: [1, two] }
"#;

fn library() -> PlaybookLibrary {
    PlaybookLibrary::read([("mend.yaml", TEMPLATE)]).unwrap()
}

#[test]
fn every_file_of_the_folder_is_shipped_and_nothing_else() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks");
    let names = |folder: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let there: Vec<String> = names(&folder)
        .iter()
        .flat_map(|category| {
            let files = names(&folder.join(category)).into_iter();
            files.map(move |file| format!("{category}/{file}"))
        })
        .collect();
    let listed: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
    assert_eq!(listed, there, "FILES is not the folder, sorted");
    let library = PlaybookLibrary::shipped().unwrap();
    let named: Vec<_> = library
        .iter()
        .map(|it| format!("{}/{}.yaml", it.category(), it.name()))
        .collect();
    assert_eq!(named, there, "a file is called and stands as its playbook");
}

#[test]
fn a_value_stays_one_value_whatever_it_holds() {
    let evil = "a\"\n\tx: y # ${target} é\u{7f}";
    let pick = library().pick("mend").unwrap();
    let texts = pick
        .with("text", evil)
        .with("list", json!([true, 2]))
        .texts();
    let (source, text) = texts.unwrap().remove(0);
    assert_eq!(source, "mend.yaml");
    let step = Parser::new().parse(&text).unwrap().to_json()["remediation_steps"][0].clone();
    assert_eq!(
        step,
        json!({"action": "set", "text": evil, "again": evil, "list": [true, 2], "prefix": "memory_leak*"})
    );
    // Lines stay lines, so that places in errors are those of the shipped file.
    assert_eq!(text.lines().count(), TEMPLATE.lines().count());
}

#[test]
fn what_is_unset_unknown_or_misplaced_is_named_all_at_once() {
    let pick = library().pick("mend").unwrap();
    let refusal = pick
        .with("cause", "a: b")
        .with("txet", "x")
        .with("list", json!([null]))
        .texts()
        .unwrap_err();
    let found: Vec<_> = refusal
        .violations()
        .iter()
        .map(ToString::to_string)
        .collect();
    let has = |text: &str| found.iter().filter(|line| line.contains(text)).count();
    assert_eq!(
        has("mend.text is missing, expected the text"),
        1,
        "{found:#?}"
    );
    assert_eq!(
        has("parameters = txet, expected one of cause, list, text"),
        1,
        "{found:#?}"
    );
    assert_eq!(has("mend.list = [null], expected a text"), 1, "{found:#?}");
    // It is misplaced twice: as a cause and as a prefix.
    assert_eq!(
        has("mend.cause = \"a: b\", expected a word"),
        2,
        "{found:#?}"
    );
    assert_eq!(found.len(), 5, "{found:#?}");
    let unknown = library().pick("mand").unwrap_err().to_string();
    assert!(unknown.contains("expected one of mend"), "{unknown}");
    assert!(library().pick_category("databases").is_err());
}

#[test]
fn one_playbook_serves_several_services_and_several_have_no_common_name() {
    let pick = library().pick("mend").unwrap().with("text", "x");
    let (_, text) = pick
        .clone()
        .called("mend-orders")
        .texts()
        .unwrap()
        .remove(0);
    assert!(
        text.starts_with("playbook_id: \"mend-orders\"\nname: "),
        "{text}"
    );
    let library = PlaybookLibrary::shipped().unwrap();
    let all = library.pick_category("network").unwrap();
    assert!(all.templates().len() >= 4);
    let refusal = all.called("one").texts().unwrap_err().to_string();
    assert!(
        refusal.contains("several playbooks were picked"),
        "{refusal}"
    );
}

#[test]
fn a_text_that_is_no_template_is_refused_with_its_place() {
    for (from, to, expected) in [
        (
            "playbook_id: mend\nname: Mend it\n",
            "name: Mend it\nplaybook_id: mend\n",
            "bad.yaml:1:1: playbook_id",
        ),
        (
            "text: \"${host.text}\"",
            "text: \"${host.texd}\"",
            "bad.yaml:8:11: parameters = texd",
        ),
        ("  about: It mends.\n", "", "metadata.about is missing"),
        (
            "    list: { about: the list, default: [1, two] }\n",
            "    list: { about: the list }\n",
            "or an `example`",
        ),
        ("    list: \"${host.list}\"\n", "", "used as `${host.list}`"),
    ] {
        assert!(TEMPLATE.contains(from), "{from}");
        let text = TEMPLATE.replacen(from, to, 1);
        let error = PlaybookLibrary::read([("bad.yaml", text.as_str())])
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{expected} is not in {error}");
    }
    let twice = PlaybookLibrary::read([("a.yaml", TEMPLATE), ("b.yaml", TEMPLATE)]).unwrap_err();
    assert!(twice.to_string().contains("a.yaml has the same"), "{twice}");
}

#[test]
fn shipped_templates_say_what_a_host_may_set() {
    let mut wrong = Vec::new();
    for template in PlaybookLibrary::shipped().unwrap().iter() {
        for (name, parameter) in template.parameters() {
            let about = &parameter.about;
            if about.is_empty() || about.ends_with('.') || about.starts_with(char::is_uppercase) {
                wrong.push(format!(
                    "{}.{name}: {about:?} is no clause",
                    template.name()
                ));
            }
        }
        if !template.parameters().contains_key("service") {
            wrong.push(format!(
                "{} does not say for which service",
                template.name()
            ));
        }
        let comments = template
            .text()
            .lines()
            .filter(|line| line.trim_start().starts_with('#'));
        if comments.into_iter().any(|line| line.contains("${host.")) {
            wrong.push(format!("{} has a parameter in a comment", template.name()));
        }
        // An exception from the linter is explained right above it.
        let lines: Vec<&str> = template.text().lines().collect();
        let lint = lines.iter().position(|line| *line == "lint:");
        if lint.is_some_and(|at| !lines[at - 1].starts_with("# ")) {
            wrong.push(format!(
                "{} allows a finding without a reason",
                template.name()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_was_ill_and_is_well_again_is_left_alone_and_nothing_else() {
    use HealthState::{Degraded, Healthy, Unhealthy};

    let now = Timestamp::from_secs(1_000_000);
    let target = Target::service("shop").unwrap();
    let answers = |reports: &[(u64, HealthState)]| {
        let mut world = RecordedObservations::new();
        for (age, state) in reports {
            let at = now - Duration::from_secs(*age);
            world = world.with_health(HealthReport::new(at, target.clone(), "ping", *state));
        }
        let cx = Context::new(Arc::new(ManualClock::new(now)), 1).observing(Arc::new(world));
        let target = target.clone();
        async move { NotRecovered.check(&cx, &target).await }
    };
    for (reports, expected) in [
        (&[] as &[_], Truth::True),
        // No check of health sees a leak.
        (&[(300, Healthy), (10, Healthy)], Truth::True),
        (&[(300, Unhealthy), (40, Healthy)], Truth::True),
        (&[(300, Unhealthy), (10, Healthy)], Truth::False),
        (&[(300, Degraded), (10, Healthy)], Truth::False),
        (
            &[(300, Unhealthy), (10, Healthy), (5, Unhealthy)],
            Truth::True,
        ),
        (&[(10, Unhealthy), (5, Healthy)], Truth::True),
        (&[(2000, Unhealthy), (5, Healthy)], Truth::True),
    ] {
        assert_eq!(answers(reports).await, expected, "{reports:?}");
    }
}
