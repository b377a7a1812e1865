use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::condition::Truth;
use homeostasis_core::record::{Criterion, EffectClass, Inverse, RadiusLevel, RiskLevel, Severity};
use homeostasis_core::{Context, IncidentId, PlanId, ServiceFacts, Target, Topology};
use serde_json::{Map, Value, json};

use super::*;
use crate::action::{
    Action, ActionCall, ActionError, ActionRegistry, ActionSpec, ArgumentProblem, Param, ParamKind,
};

const DISK: &str = include_str!("../../testdata/playbooks/disk-space-cleanup.yaml");
const LEAK: &str = include_str!("../../testdata/playbooks/restart-leaking-service.yaml");

/// An action that must not be called: reading, linting and dry-running touch nothing.
#[derive(Debug)]
struct Untouchable(&'static str, ActionSpec);

#[async_trait]
impl Action for Untouchable {
    fn name(&self) -> &str {
        self.0
    }

    fn spec(&self) -> &ActionSpec {
        &self.1
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        if args.get("process") == Some(&json!("gateway")) {
            return vec![ArgumentProblem::new(
                "/process",
                "one of `catalog`, `orders`",
            )];
        }
        Vec::new()
    }

    async fn capture(&self, _: &Context, _: &ActionCall<'_>) -> Result<Value, ActionError> {
        panic!("it was asked for the state before");
    }

    async fn perform(&self, _: &Context, _: &ActionCall<'_>) -> Result<Value, ActionError> {
        panic!("it was performed");
    }
}

fn actions() -> ActionRegistry {
    let any_time = ParamKind::Duration {
        min: Duration::ZERO,
        max: Duration::from_secs(30 * 24 * 3600),
    };
    let paths = || Param::required("paths", ParamKind::list_of(ParamKind::Text), "where");
    let keep = ParamKind::Integer { min: 1, max: 100 };
    let mut actions = ActionRegistry::default();
    for action in [
        Untouchable(
            "cleanup_temp_files",
            ActionSpec::new("delete old files")
                .with_params([
                    paths(),
                    Param::required("age_threshold", any_time.clone(), "how old"),
                ])
                .with_effect(EffectClass::Idempotent)
                .with_risk(RiskLevel::Low),
        ),
        Untouchable(
            "rotate_logs",
            ActionSpec::new("rotate logs").with_params([
                paths(),
                Param::optional("compress", ParamKind::Bool, "compress").or(false),
                Param::optional("keep_last", keep, "how many").or(10),
            ]),
        ),
        Untouchable(
            "restart",
            ActionSpec::new("restart a process")
                .with_params([
                    Param::required("process", ParamKind::Name, "which"),
                    Param::optional("tag", ParamKind::Text, "a note"),
                    Param::optional("grace", any_time, "how long it may take to stop").or("10s"),
                ])
                .with_effect(EffectClass::Probeable)
                .with_risk(RiskLevel::Medium)
                .with_inverse(Inverse::Captured("the process".to_owned())),
        ),
    ] {
        actions.register(action).unwrap();
    }
    actions
}

fn checks() -> CheckRegistry {
    let mut checks = CheckRegistry::default();
    for name in ["writable_filesystem", "no_active_backups"] {
        checks.register_fn(name, |_, _| Truth::True).unwrap();
    }
    checks
}

fn read(text: &str) -> Result<Playbook, String> {
    Playbook::parse("p.yaml", text, &actions(), &checks()).map_err(|error| error.to_string())
}

fn topology() -> Topology {
    let mut topology = Topology::default();
    for service in ["catalog", "orders"] {
        topology.insert(service, ServiceFacts::default());
    }
    topology
}

fn plan(playbook: &Playbook, target: &str) -> homeostasis_core::record::Plan {
    playbook
        .to_plan(
            &actions(),
            PlanBinding {
                id: PlanId::from_u128(1),
                incident: IncidentId::from_u128(2),
                remediator: "playbooks",
                target: &target.parse().unwrap(),
                topology: &topology(),
                fitness: 1.0,
                captures: Captures::Sample,
            },
        )
        .unwrap()
}

#[test]
fn the_source_documents_example_is_read_field_by_field() {
    let playbook = read(DISK).unwrap();
    assert_eq!(playbook.id(), "disk-space-cleanup-001");
    assert_eq!(playbook.severity(), Some(Severity::Sev1));
    assert_eq!(playbook.trigger().duration, Duration::from_secs(300));
    let condition = playbook.trigger().condition.as_ref().unwrap();
    assert_eq!(condition.to_string(), "disk_usage_percent > 85");
    assert_eq!(playbook.pre_conditions().len(), 3);
    let [clean, rotate] = playbook.steps() else {
        panic!("{:?}", playbook.steps());
    };
    assert_eq!(clean.args["paths"], json!(["/tmp/app", "/var/tmp/app"]));
    assert_eq!(clean.args["age_threshold"], "7_days");
    assert!(!clean.args.contains_key("step") && !clean.args.contains_key("expected_recovery"));
    assert_eq!(clean.expected_recovery.as_deref(), Some("5-10%"));
    assert_eq!((clean.retry.attempts, rotate.retry.attempts), (2, 2));
    let verification = playbook.verification().unwrap();
    assert_eq!(verification.wait, Duration::from_secs(120));
    assert_eq!(verification.watch, Duration::from_secs(360));
    assert_eq!(
        playbook.safety().blast_radius,
        Some(RadiusLevel::SingleInstance)
    );
    assert_eq!(playbook.escalation().notify.len(), 2);
    assert_eq!(playbook.metadata()["success_rate"], 0.94);
}

#[test]
fn every_mistake_is_named_with_its_line_and_column() {
    let text = "\
playbook_id: ../x
name: Bad
version: '1'
trigger:
  duration: 5m
pre_conditions:
  - check: no_such_check
  - disk_usage_percent >
remediation_steps:
  - step: 2
    action: restart
    process: ${HOME}
    grace: 5x
    timout: 5s
  - action: no_such_action
  - action: restart
    timeout: 5h
    retry: {attempts: 9}
  - action: restart
    process: gateway
verification: {wait_time: 5s}
rollback: {available: false}
safety: {max_retries: 1, blast_radius: world}
";
    let error = read(text).unwrap_err();
    let places: Vec<&str> = error
        .lines()
        .filter(|line| line.starts_with("p.yaml:"))
        .map(|line| line.split(' ').nth(1).unwrap())
        .collect();
    let expected = [
        ("playbook_id", "p.yaml:1:14:"),
        ("trigger", "p.yaml:5:3:"),
        ("pre_conditions[0].check", "p.yaml:7:12:"),
        ("pre_conditions[1]", "p.yaml:8:5:"),
        ("remediation_steps[0].process", "p.yaml:12:14:"),
        ("remediation_steps[0].grace", "p.yaml:13:12:"),
        ("remediation_steps[0].timout", "p.yaml:14:13:"),
        ("remediation_steps[1].action", "p.yaml:15:13:"),
        ("remediation_steps[2].process", "p.yaml:16:5:"),
        ("remediation_steps[2].timeout", "p.yaml:17:14:"),
        ("remediation_steps[3].process", "p.yaml:20:14:"),
        ("verification", "p.yaml:21:15:"),
        ("rollback.reason", "p.yaml:22:11:"),
        ("safety.blast_radius", "p.yaml:23:40:"),
    ];
    for (path, place) in expected {
        assert!(
            error.contains(&format!("{place} {path} ")),
            "{place} {path} is not among\n{error}"
        );
    }
    assert_eq!(places.len(), expected.len(), "{error}");
    assert!(error.contains("`${target.service}`") && error.contains("`process`, `tag`, `grace`"));
}

#[test]
fn steps_count_from_one_and_retries_stay_below_the_limit() {
    let steps = "trigger: {cause: x}\nplaybook_id: a\nname: a\nversion: '1'\nsafety: {max_retries: 1}\n\
        remediation_steps:\n  - {step: 1, action: restart, process: a, retry: {attempts: 3}}\n  \
        - {step: 3, action: restart, process: a}\n";
    let error = read(steps).unwrap_err();
    assert!(
        error.contains("p.yaml:7:51: remediation_steps[0].retry"),
        "{error}"
    );
    let error = read(&steps.replace(", retry: {attempts: 3}", "")).unwrap_err();
    assert!(
        error.contains("p.yaml:8:12: remediation_steps[1].step = 3, expected 2"),
        "{error}"
    );
}

#[test]
fn a_plan_has_typed_values_the_actions_promises_and_the_playbooks_hash() {
    let playbook = read(LEAK).unwrap();
    let plan = plan(&playbook, "catalog/0");
    let step = &plan.steps[0];
    assert_eq!(step.args["process"], "catalog");
    assert_eq!(
        step.args["tag"],
        format!("incident {}", IncidentId::from_u128(2))
    );
    assert_eq!(step.effect, EffectClass::Probeable);
    assert_eq!(step.inverse, Inverse::Captured("the process".to_owned()));
    assert_eq!(plan.radius.level, RadiusLevel::SingleInstance);
    assert!(!plan.require_approval && plan.violation().is_none());
    assert_eq!(plan.playbook.as_ref().unwrap().hash, playbook.hash());
    let target: Target = "catalog/0".parse().unwrap();
    let criteria = &plan.verification.criteria;
    assert!(
        matches!(&criteria[0], Criterion::Metric { target: t, consecutive: 3, .. } if *t == target)
    );
    assert!(matches!(&criteria[1], Criterion::Health { pass_rate, .. } if pass_rate.get() == 1.0));
    assert!(matches!(&criteria[2], Criterion::Comparison { target: t, .. } if *t == target));
}

#[test]
fn a_changed_text_is_another_playbook() {
    let (one, other) = (
        read(LEAK).unwrap(),
        read(&format!("{LEAK}# later\n")).unwrap(),
    );
    assert_ne!(one.hash(), other.hash());
    assert_ne!(plan(&one, "catalog").hash(), plan(&other, "catalog").hash());
}

#[test]
fn reaching_further_than_meant_or_an_unknown_reach_asks_for_approval() {
    let mut wide = topology();
    wide.insert(
        "catalog",
        ServiceFacts {
            instances: 3,
            ..ServiceFacts::default()
        },
    );
    let playbook = read(LEAK).unwrap();
    let ask = |target: &str, topology: &Topology| {
        let target: Target = target.parse().unwrap();
        let binding = PlanBinding {
            id: PlanId::from_u128(1),
            incident: IncidentId::from_u128(2),
            remediator: "playbooks",
            target: &target,
            topology,
            fitness: 1.0,
            captures: Captures::Sample,
        };
        playbook
            .to_plan(&actions(), binding)
            .unwrap()
            .require_approval
    };
    assert!(!ask("catalog/0", &wide));
    assert!(ask("catalog", &wide));
    assert!(ask("catalog/0", &Topology::default()));
}

#[test]
fn an_author_who_says_that_nothing_can_be_taken_back_is_believed() {
    let text = format!("{LEAK}rollback: {{available: false, reason: caches are lost}}\n");
    let plan = plan(&read(&text).unwrap(), "catalog");
    assert_eq!(
        plan.steps[0].inverse,
        Inverse::Irreversible("caches are lost".to_owned())
    );
}

#[test]
fn what_a_placeholder_becomes_is_checked_again() {
    let playbook = read(LEAK).unwrap();
    let hostile = Target::service("a b; rm").unwrap();
    let binding = PlanBinding {
        id: PlanId::from_u128(1),
        incident: IncidentId::from_u128(2),
        remediator: "playbooks",
        target: &hostile,
        topology: &topology(),
        fitness: 1.0,
        captures: Captures::Sample,
    };
    let error = playbook
        .to_plan(&actions(), binding)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("restart-leaking-service.remediation_steps[0].process = \"a b; rm\""),
        "{error}"
    );
}

#[test]
fn a_dry_run_says_everything_and_touches_nothing() {
    let playbook = read(DISK).unwrap();
    let target = Target::service("catalog").unwrap();
    let dry = playbook.dry_run(&actions(), &target, &topology()).unwrap();
    let text = dry.to_string();
    for said in [
        "Disk Space Cleanup on catalog: single instance",
        "only if check writable_filesystem",
        "only if disk_write_errors == 0 (values of the last 10m)",
        "1. Clean temporary files (delete old files)",
        "argument age_threshold = \"7_days\"",
        "effect   idempotent, risk low, at most 2 × 5m",
        "expected 5-10%",
        "argument keep_last = 5",
        "effect   opaque, risk high",
        "undo     impossible",
        "then wait 2m and watch at most 6m: 1 criteria",
    ] {
        assert!(text.contains(said), "{said:?} is not in\n{text}");
    }
}

#[test]
fn lints_find_what_is_allowed_but_not_meant() {
    let rules = |text: &str| -> Vec<LintRule> {
        let minutes = Duration::from_secs(900);
        let lints = read(text).unwrap().lint(&actions(), minutes);
        lints.iter().map(|lint| lint.rule).collect()
    };
    assert_eq!(rules(LEAK), []);
    // Both steps are irreversible; the second starts after 2 × 5 min, within the permit.
    assert_eq!(
        rules(DISK),
        [
            LintRule::TimeoutsBeyondPermit,
            LintRule::IrreversibleWithoutApproval,
            LintRule::IrreversibleWithoutApproval,
            LintRule::RetriedOpaqueStep,
        ]
    );
    let approved = DISK.replace("require_approval: false", "require_approval: true");
    assert_eq!(
        rules(&approved),
        [LintRule::TimeoutsBeyondPermit, LintRule::RetriedOpaqueStep]
    );
    let slow = approved.replace("timeout: 5m", "timeout: 8m");
    assert_eq!(
        rules(&slow),
        [LintRule::UnreachableStep, LintRule::RetriedOpaqueStep]
    );
    let wild = LEAK.replace("tag: \"incident ${incident.id}\"", "tag: /tmp/*");
    assert_eq!(rules(&wild), [LintRule::UnboundedTarget]);
    let bare = "trigger: {cause: x}\nplaybook_id: a\nname: a\nversion: '1'\n\
        remediation_steps: [{action: rotate_logs, paths: [a]}]\nrollback: {available: true}\n";
    assert_eq!(
        rules(bare),
        [
            LintRule::UnboundedTarget,
            LintRule::MissingVerification,
            LintRule::RollbackPromised,
            LintRule::IrreversibleWithoutApproval,
        ]
    );
    let short = LEAK.replace("watch: 30s", "watch: 1s");
    assert_eq!(rules(&short), [LintRule::WatchTooShort]);
}

#[test]
fn a_folder_is_read_as_a_whole_and_ids_are_unique() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/playbooks");
    let set = PlaybookSet::load_dir(&folder, &actions(), &checks()).unwrap();
    assert_eq!(set.len(), 2);
    assert!(set.get("restart-leaking-service").is_some());

    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("a.yaml", LEAK),
        ("b.yml", LEAK),
        ("c.yaml", "playbook_id: c"),
        (".hidden.yaml", "not read"),
        ("notes.txt", "not read"),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("d.yaml")).unwrap();
    let error = PlaybookSet::load_dir(dir.path(), &actions(), &checks())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("b.yml") && error.contains("a.yaml has the same"),
        "{error}"
    );
    assert!(
        error.contains("c.yaml:1:1: remediation_steps is missing"),
        "{error}"
    );
    assert!(
        error.contains("d.yaml") && error.contains("no regular file"),
        "{error}"
    );
    assert!(!error.contains("not read"), "{error}");
    let missing = dir.path().join("none");
    assert!(PlaybookSet::load_dir(&missing, &actions(), &checks()).is_err());
}

#[test]
fn steps_at_once_are_read_placed_and_planned_as_one_group() {
    let text = "trigger: {cause: x, service: catalog}\nplaybook_id: a\nname: a\nversion: '1'\n\
        remediation_steps:\n  - {step: 1, action: restart, process: a}\n  - step: 2\n    parallel:\n      \
        - {action: restart, process: b}\n      - {action: restart, process: c}\n  \
        - {step: 3, action: restart, process: d}\n";
    let playbook = read(text).unwrap();
    let paths: Vec<_> = playbook.steps().iter().map(|step| &*step.path).collect();
    assert_eq!(
        paths,
        [
            "remediation_steps[0]",
            "remediation_steps[1].parallel[0]",
            "remediation_steps[1].parallel[1]",
            "remediation_steps[2]"
        ]
    );
    assert_eq!(plan(&playbook, "catalog").groups(), [0..1, 1..3, 3..4]);
    for (wrong, expected) in [
        (
            "- {action: restart, process: c}",
            "p.yaml:10:16: remediation_steps[1].parallel[1].step",
        ),
        (
            "- {parallel: [{action: restart, process: c}]}",
            "p.yaml:10:20: remediation_steps[1].parallel[1].parallel",
        ),
    ] {
        let wrong = if wrong.contains("parallel") {
            wrong.to_owned()
        } else {
            wrong.replace("{action", "{step: 1, action")
        };
        let text = text.replace("- {action: restart, process: c}", &wrong);
        let error = read(&text).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let one = text.replace("      - {action: restart, process: c}\n", "");
    let error = read(&one).unwrap_err();
    assert!(error.contains("remediation_steps[1].parallel"), "{error}");
    let extra = text.replace("    parallel:", "    timeout: 5s\n    parallel:");
    let error = read(&extra).unwrap_err();
    assert!(
        error.contains("p.yaml:8:5: remediation_steps[1].timeout"),
        "{error}"
    );
}

#[test]
fn the_source_documents_whole_example_is_read_as_it_stands() {
    // Four actions and three checks by the names of the document.
    let mut actions = ActionRegistry::default();
    for name in [
        "cleanup_temp_files",
        "rotate_logs",
        "package_manager_clean",
        "archive_to_s3",
    ] {
        let any = |name| Param::optional(name, ParamKind::Any, "as written");
        let params = [
            "paths",
            "age_threshold",
            "compress",
            "keep_last",
            "package_managers",
            "source",
        ];
        let spec = ActionSpec::new("as the document says").with_params(params.map(any));
        actions.register(Untouchable(name, spec)).unwrap();
    }
    let mut checks = CheckRegistry::default();
    for name in [
        "writable_filesystem",
        "no_active_backups",
        "sufficient_permissions",
    ] {
        checks.register_fn(name, |_, _| Truth::True).unwrap();
    }
    let text = include_str!("../../testdata/source-document.yaml");
    let playbook = Playbook::parse("c31.yaml", text, &actions, &checks).unwrap();
    let names: Vec<_> = playbook.steps().iter().map(|step| &*step.action).collect();
    assert_eq!(
        names,
        [
            "cleanup_temp_files",
            "rotate_logs",
            "package_manager_clean",
            "archive_to_s3"
        ]
    );
    let recovery: Vec<_> = playbook
        .steps()
        .iter()
        .map(|step| step.expected_recovery.as_deref().unwrap())
        .collect();
    assert_eq!(recovery, ["5-10%", "10-20%", "5-15%", "20-40%"]);
    assert_eq!(playbook.steps()[3].timeout, Duration::from_secs(30 * 60));
    assert_eq!(playbook.metadata()["total_executions"], 1247);
    assert_eq!(&**playbook.text(), text);
}
