//! Each rule finds what it is for, says where, and can be allowed by name.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::Context;
use homeostasis_core::record::{EffectClass, Inverse};
use serde_json::Value;

use super::*;
use crate::action::{
    Action, ActionCall, ActionError, ActionRegistry, ActionSpec, Capture, Param, ParamKind,
};

const SOUND: &str = "\
playbook_id: sound
name: Sound
version: '1'
trigger:
  cause: memory_leak
  service: orders
remediation_steps:
  - step: 1
    action: restore
    what: a
    timeout: 1m
verification:
  check: heap_bytes < 5
  watch: 30s
";

const TTL: Duration = Duration::from_secs(900);

/// An action that is only looked at.
#[derive(Debug)]
struct Looked(&'static str, ActionSpec);

#[async_trait]
impl Action for Looked {
    fn name(&self) -> &str {
        self.0
    }

    fn spec(&self) -> &ActionSpec {
        &self.1
    }

    async fn perform(&self, _: &Context, _: &ActionCall<'_>) -> Result<Value, ActionError> {
        panic!("it was performed");
    }
}

fn actions() -> ActionRegistry {
    let mut actions = ActionRegistry::default();
    for (name, effect, inverse) in [
        (
            "restore",
            EffectClass::Idempotent,
            Inverse::Captured("it".to_owned()),
        ),
        ("clear", EffectClass::Idempotent, Inverse::Nothing),
        (
            "burn",
            EffectClass::Opaque,
            Inverse::Irreversible("ashes".to_owned()),
        ),
    ] {
        let what =
            Param::optional("what", ParamKind::Text, "what").taking(Capture::Word { max: 64 });
        let spec = ActionSpec::new("a test")
            .with_params([what])
            .with_effect(effect)
            .with_inverse(inverse);
        actions.register(Looked(name, spec)).unwrap();
    }
    actions
}

fn causes() -> BTreeMap<String, BTreeSet<String>> {
    let groups = BTreeSet::from(["table".to_owned()]);
    BTreeMap::from([("memory_leak".to_owned(), groups)])
}

fn lints(text: &str) -> Vec<Lint> {
    let (actions, causes) = (actions(), causes());
    let playbook = Playbook::parse("p.yaml", text, &actions, &CheckRegistry::default()).unwrap();
    playbook.lint_knowing(&LintFacts::new(&actions, TTL).knowing_causes(&causes))
}

/// What is changed in the sound playbook, and where the finding is placed then.
fn cases() -> Vec<(LintRule, String, &'static str, (u32, u32))> {
    let with = |old: &str, new: &str| {
        assert!(SOUND.contains(old), "{old}");
        SOUND.replace(old, new)
    };
    let and = |more: &str| format!("{SOUND}{more}\n");
    vec![
        (
            LintRule::IrreversibleWithoutApproval,
            with("action: restore", "action: burn"),
            "remediation_steps[0]",
            (8, 5),
        ),
        (
            LintRule::MissingVerification,
            SOUND[..SOUND.find("verification").unwrap()].to_owned(),
            "verification",
            (1, 1),
        ),
        (
            LintRule::UnboundedTarget,
            with("what: a", "what: /tmp/*"),
            "remediation_steps[0]",
            (8, 5),
        ),
        (
            LintRule::UnreachableStep,
            with(
                "timeout: 1m",
                "timeout: 15m\n  - {step: 2, action: restore, what: b}",
            ),
            "remediation_steps[1]",
            (12, 5),
        ),
        (
            LintRule::TimeoutsBeyondPermit,
            with("timeout: 1m", "timeout: 16m"),
            "remediation_steps",
            (8, 3),
        ),
        (
            LintRule::RollbackPromised,
            with("action: restore", "action: burn")
                + "safety: {require_approval: true}\nrollback: {available: true}\n",
            "remediation_steps[0]",
            (8, 5),
        ),
        (
            LintRule::EmptyRollback,
            with("action: restore", "action: clear") + "rollback: {available: true}\n",
            "rollback.available",
            (15, 23),
        ),
        (
            LintRule::RetriedOpaqueStep,
            with("action: restore", "action: burn\n    retry: {attempts: 2}")
                + "safety: {require_approval: true}\n",
            "remediation_steps[0]",
            (8, 5),
        ),
        (
            LintRule::WatchTooShort,
            and("  consecutive: 60"),
            "verification.watch",
            (14, 10),
        ),
        (
            LintRule::ImpossibleCondition,
            with("heap_bytes < 5", "heap_bytes < 5 and heap_bytes > 6"),
            "verification.check",
            (13, 10),
        ),
        (
            LintRule::VerifiedWhileIll,
            with("  cause:", "  condition: heap_bytes > 4\n  cause:"),
            "verification.check",
            (14, 10),
        ),
        (
            LintRule::UnknownCapture,
            with("what: a", "what: '${cause.capture.column}'"),
            "remediation_steps[0].what",
            (10, 11),
        ),
        (
            LintRule::UnknownCause,
            with("memory_leak", "bad_mood"),
            "trigger.cause",
            (5, 10),
        ),
        (
            LintRule::ParallelSameTarget,
            with(
                "  - step: 1\n    action: restore\n    what: a\n    timeout: 1m\n",
                "  - parallel:\n      - {action: restore, what: a}\n      - {action: restore, what: b}\n",
            ),
            "remediation_steps[0].parallel[1]",
            (10, 9),
        ),
        (
            LintRule::NeedlessAllow,
            and("lint: {allow: [unbounded-target]}"),
            "lint.allow",
            (15, 15),
        ),
    ]
}

#[test]
fn each_rule_finds_its_case_alone_says_where_and_can_be_allowed() {
    assert_eq!(lints(SOUND), []);
    let mut covered = BTreeSet::from([LintRule::UnregisteredName]);
    for (rule, text, path, place) in cases() {
        let found = lints(&text);
        let [lint] = &found[..] else {
            panic!("{}: {found:#?}", rule.name());
        };
        assert_eq!(
            (lint.rule, &*lint.path, lint.place),
            (rule, path, place),
            "{lint}"
        );
        let said = lint.to_string();
        assert!(
            said.contains(rule.mend()) && said.ends_with(&format!("[{}]", rule.name())),
            "{said}"
        );
        if rule != LintRule::NeedlessAllow {
            let allowed = format!("{text}lint: {{allow: [{}]}}\n", rule.name());
            assert_eq!(lints(&allowed), [], "{}", rule.name());
        }
        covered.insert(rule);
    }
    assert_eq!(covered, LintRule::ALL.iter().copied().collect());
}

#[test]
fn an_action_that_is_gone_since_it_was_read_is_named() {
    let all = actions();
    let playbook = Playbook::parse("p.yaml", SOUND, &all, &CheckRegistry::default()).unwrap();
    let found = playbook.lint(&ActionRegistry::default(), TTL);
    let rules: Vec<_> = found.iter().map(|lint| (lint.rule, lint.place)).collect();
    assert_eq!(rules, [(LintRule::UnregisteredName, (9, 13))]);
}

#[test]
fn a_rule_that_does_not_exist_cannot_be_allowed() {
    let text = format!("{SOUND}lint: {{allow: [unbounded-targets]}}\n");
    let error = Playbook::parse("p.yaml", &text, &actions(), &CheckRegistry::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("p.yaml:15:16: lint.allow[0]") && error.contains("unbounded-target"),
        "{error}"
    );
}

#[test]
fn the_documented_rules_are_the_rules() {
    let page = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/how-to/write-a-playbook.md"
    );
    let page = std::fs::read_to_string(page).unwrap();
    let table: BTreeMap<&str, &str> = page
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let name = cells.next()?.strip_suffix('`')?;
            let mend = cells.nth(1)?.strip_suffix(" |")?;
            Some((name, mend))
        })
        .collect();
    let rules: BTreeMap<&str, &str> = LintRule::ALL
        .iter()
        .map(|rule| (rule.name(), rule.mend()))
        .collect();
    assert_eq!(table, rules);
}
