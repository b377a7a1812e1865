//! What a log says becomes one checked argument, or no plan.

use std::sync::Arc;

use homeostasis_core::port::NoHttp;
use homeostasis_core::record::{
    Category, Diagnosis, Finding, Hypothesis, Plan, PlanStep, Proof, RiskLevel, Role,
};
use homeostasis_core::stage::{PlanRequest, Remediator};
use homeostasis_core::testing::remediator::RunHarness;
use homeostasis_core::{
    Confidence, ConfigError, Context, IncidentId, ManualClock, PlanId, Target, Timestamp, Topology,
};
use serde_json::{Value, json};

use super::PlaybookRemediator;
use crate::action::{
    ActionRegistry, ActionSpec, CallFunction, Capture, HttpRequestAction, Param, ParamKind,
};
use crate::playbook::{Captures, CheckRegistry, PlanBinding, PlaybookSet};

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn actions() -> ActionRegistry {
    let spec = ActionSpec::new("rebuild a table")
        .with_params([
            Param::required("job", ParamKind::Name, "which job"),
            Param::optional("args", ParamKind::list_of(ParamKind::Text), "its arguments")
                .taking(Capture::Word { max: 20 }),
        ])
        .with_risk(RiskLevel::Low);
    let job = CallFunction::new("job", spec, |_| {
        Box::pin(std::future::ready(Ok(Value::Null)))
    });
    let mut actions = ActionRegistry::default();
    actions.register(job).unwrap();
    let http = HttpRequestAction::new(Arc::new(NoHttp), ["http://db:80"]).unwrap();
    actions.register(http).unwrap();
    actions
}

fn read(trigger: &str, step: &str) -> Result<PlaybookSet, ConfigError> {
    let text = format!(
        "playbook_id: rebuild\nname: rebuild\nversion: '1'\ntrigger: {trigger}\n\
         remediation_steps:\n  - {step}\n"
    );
    let (actions, checks) = (actions(), CheckRegistry::default());
    PlaybookSet::parse([("rebuild.yaml", text.as_str())], &actions, &checks)
}

const STEP: &str = "{action: job, job: rebuild, args: ['--table=${cause.capture.table}']}";

fn diagnosis(tables: &[&str]) -> Diagnosis {
    let orders = Target::service("orders").unwrap();
    let evidence = tables.iter().map(|table| {
        let (cause, category) = ("bad_migration", Category::Configuration);
        let proof = |kind: &str, reference: &str| Proof {
            kind: kind.to_owned(),
            reference: reference.to_owned(),
            at: None,
            statement: (*table).to_owned(),
        };
        Finding::new("rules", orders.clone(), cause, category, Role::Cause, 4.0)
            .proven_by(proof("log", "table_missing"))
            .proven_by(proof("capture", "table"))
    });
    Diagnosis {
        hypotheses: vec![Hypothesis {
            target: orders.clone(),
            cause: "bad_migration".to_owned(),
            category: Category::Configuration,
            confidence: Confidence::ONE,
            evidence: evidence.collect(),
            explanation: String::new(),
        }],
        abstained: None,
        chain: None,
    }
}

async fn plans(step: &str, diagnosis: &Diagnosis) -> Vec<Plan> {
    let set = read("{cause: bad_migration}", step).unwrap();
    let remediator = PlaybookRemediator::new(set, actions(), CheckRegistry::default());
    let target = Target::service("orders").unwrap();
    let mut plan = Plan::new(
        PlanId::from_u128(1),
        IncidentId::from_u128(2),
        "x",
        "x",
        target.clone(),
    );
    plan.steps.push(PlanStep::new("x", "x", target));
    let incident = RunHarness::new(plan, NOW).incident();
    let cx = Context::new(Arc::new(ManualClock::new(NOW)), 1).for_incident(incident.id);
    let request = PlanRequest::new(&incident, diagnosis);
    remediator.plan(&cx, request).await.unwrap()
}

#[tokio::test]
async fn a_capture_becomes_a_part_of_one_argument() {
    let found = plans(STEP, &diagnosis(&["prices"])).await;
    assert_eq!(found[0].steps[0].args["args"], json!(["--table=prices"]));
    // Two lines that say the same say one thing.
    assert_eq!(
        plans(STEP, &diagnosis(&["prices", "prices"])).await.len(),
        1
    );
    let step = "{action: http_request, url: 'http://db/rebuild?t=${cause.capture.table}', \
                json: {why: ['${cause.capture.table} $${x}']}}";
    let found = plans(&step.replace("db/", "db:80/"), &diagnosis(&["prices"])).await;
    assert_eq!(
        found[0].steps[0].args["url"],
        "http://db:80/rebuild?t=prices"
    );
    assert_eq!(
        found[0].steps[0].args["json"],
        json!({"why": ["prices ${x}"]})
    );
}

#[tokio::test]
async fn what_is_no_word_no_one_value_or_unknown_gives_no_plan() {
    for evil in [
        "prices; rm -rf /",
        "--all",
        "../../etc/passwd",
        "$(reboot)",
        "`reboot`",
        "prices\nDROP TABLE rows",
        "${target}",
        "${cause.capture.table}",
        "prices\0",
        "prices\u{202E}",
        "[redacted:password]",
        "",
        "a_table_whose_name_is_too_long",
    ] {
        let found = plans(STEP, &diagnosis(&[evil])).await;
        assert_eq!(found, [], "{evil:?}");
    }
    assert_eq!(plans(STEP, &diagnosis(&["prices", "rows"])).await, []);
    assert_eq!(plans(STEP, &diagnosis(&[])).await, []);
}

#[tokio::test]
async fn a_text_in_json_stays_a_text() {
    let step =
        "{action: http_request, url: 'http://db:80/', json: {why: '${cause.capture.table}'}}";
    let evil = r#"x"}, "admin": true, "${target}": {"y": "z"#;
    let found = plans(step, &diagnosis(&[evil])).await;
    assert_eq!(found[0].steps[0].args["json"], json!({"why": evil}));
}

#[tokio::test]
async fn within_a_longer_text_that_somebody_parses_only_a_word_stands() {
    let step = "{action: http_request, url: 'http://db:80/', \
                json: {query: 'DROP INDEX ${cause.capture.table}'}}";
    for evil in ["x; DROP TABLE orders", "x' OR '1", "@everyone", "x y"] {
        assert_eq!(plans(step, &diagnosis(&[evil])).await, [], "{evil}");
    }
    let found = plans(step, &diagnosis(&["prices"])).await;
    assert_eq!(
        found[0].steps[0].args["json"],
        json!({"query": "DROP INDEX prices"})
    );
}

#[test]
fn an_escaped_placeholder_is_no_capture_of_a_host() {
    let step = |host: &str| {
        format!("{{action: http_request, url: 'http://db:80/$${{cause.capture.x}}{host}'}}")
    };
    let spec = |url: &str| {
        let args = json!({ "url": url });
        let actions = actions();
        let action = actions.get("http_request").unwrap();
        action.spec().problems(args.as_object().unwrap(), true)
    };
    read("{cause: bad_migration}", &step("")).unwrap();
    // No placeholder, and so not refused as one: the origin is what the action refuses later.
    let told = |url: &str| {
        let problems = spec(url).into_iter().map(|problem| problem.expected);
        problems.collect::<Vec<_>>().join("; ")
    };
    let escaped = told("http://h$${cause.capture.x}/");
    assert!(!escaped.contains("takes nothing from a log"), "{escaped}");
    let captured = told("http://h${cause.capture.x}/");
    assert!(captured.contains("takes nothing from a log"), "{captured}");
}

#[test]
fn the_error_names_playbook_step_and_capture() {
    let set = read("{cause: bad_migration}", STEP).unwrap();
    let playbook = set.get("rebuild").unwrap();
    let (target, topology) = (Target::service("orders").unwrap(), Topology::default());
    let error = |diagnosis: &Diagnosis| {
        let binding = PlanBinding {
            id: PlanId::from_u128(1),
            incident: IncidentId::from_u128(2),
            remediator: "x",
            target: &target,
            topology: &topology,
            fitness: 1.0,
            captures: Captures::Of(diagnosis),
        };
        playbook
            .to_plan(&actions(), binding)
            .unwrap_err()
            .to_string()
    };
    let unknown = error(&Diagnosis::abstain("nobody knows"));
    assert!(
        unknown.contains("rebuild.remediation_steps[0].args"),
        "{unknown}"
    );
    assert!(
        unknown.contains("a capture `table` of the diagnosed cause, which has none"),
        "{unknown}"
    );
    let evil = error(&diagnosis(&["--all"]));
    assert!(
        evil.contains("the capture `table` = \"--all\" to be a word"),
        "{evil}"
    );
    let twice = error(&diagnosis(&["prices", "rows"]));
    assert!(
        twice.contains("logs say \"prices\" and \"rows\""),
        "{twice}"
    );
    // The dry run shows what it would be like.
    let dry_run = playbook.dry_run(&actions(), &target, &topology).unwrap();
    assert_eq!(dry_run.plan.steps[0].args["args"], json!(["--table=table"]));
}

#[test]
fn captures_stand_only_where_a_parameter_takes_them_and_a_cause_is_named() {
    let cause = "{cause: bad_migration}";
    for (trigger, step, expected) in [
        (
            cause,
            "{action: job, job: '${cause.capture.table}'}",
            "this takes nothing from a log",
        ),
        (
            cause,
            "{action: http_request, url: 'http://db:80/', headers: {x: '${cause.capture.table}'}}",
            "remediation_steps[0].headers.x",
        ),
        (
            cause,
            "{action: http_request, url: 'http://${cause.capture.table}/'}",
            "remediation_steps[0].url",
        ),
        (
            cause,
            "{action: '${cause.capture.table}'}",
            "remediation_steps[0].action",
        ),
        (
            cause,
            "{action: job, job: x, target: '${cause.capture.table}'}",
            "remediation_steps[0].target",
        ),
        (
            cause,
            "{action: job, job: x, args: ['${cause.capture.a b}']}",
            "the name of a rule's group",
        ),
        (
            cause,
            "{action: job, job: x, args: ['${cause.table}']}",
            "`${cause.capture.NAME}`",
        ),
        ("{service: orders}", STEP, "takes `${cause.capture.table}`"),
    ] {
        let error = read(trigger, step).unwrap_err().to_string();
        assert!(error.contains(expected), "{step}: {error}");
    }
}
