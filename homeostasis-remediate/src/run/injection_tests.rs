//! Hostile strings through every place of a whole playbook, through names of targets, what logs say, and
//! labels: nothing runs that was not declared, and nothing outside the roots changes.

use std::sync::{Arc, Mutex};

use homeostasis_core::condition::Truth;
use homeostasis_core::port::HttpClient;
use homeostasis_core::record::{
    Category, Diagnosis, Expectation, Finding, Hypothesis, Outcome, Plan, PlanStep, Proof, Role,
    Subject,
};
use homeostasis_core::signal::SeriesKey;
use homeostasis_core::stage::{PlanRequest, Remediator};
use homeostasis_core::testing::remediator::{Crash, RunHarness};
use homeostasis_core::{Confidence, Incident, IncidentId, PlanId, Target, Topology};
use serde_json::{Value, json};

use super::PlaybookRemediator;
use crate::action::injection_tests::{Fake, Playground, Recorder, Tree, hostile, later};
use crate::action::{
    ActionRegistry, CleanFiles, HttpRequestAction, Program, RunProgram, SetFlag, Systemctl,
};
use crate::playbook::{CheckRegistry, PlaybookSet};

/// Folders, a program and a unit manager that record what they are given, a gateway and a switch.
struct World {
    place: Playground,
    outside: Tree,
    before: (Tree, Tree),
    program: Fake,
    systemctl: Fake,
    gateway: Arc<Recorder>,
    switched: Arc<Mutex<Vec<bool>>>,
    actions: Arc<ActionRegistry>,
    checks: CheckRegistry,
}

/// The file that the playbook cleans away.
const OLD: &str = "sub/old.tmp";

impl World {
    fn new() -> Self {
        let place = Playground::new();
        for name in [OLD, "sub/kept.log", "a.log", "b.tmp"] {
            place.write(name, "x");
        }
        std::os::unix::fs::symlink(place.outside().path(), place.path("link")).unwrap();
        let canary = place.outside().path().join("canary");
        std::os::unix::fs::symlink(canary, place.path("alias")).unwrap();
        let (program, systemctl) = (Fake::new("exit 0", &[]), Fake::new("exit 0", &[]));
        let mut record = Program::new("/bin/sh");
        record.fixed_args = vec![program.script()];
        let gateway = Arc::new(Recorder::default());
        let client: Arc<dyn HttpClient> = Arc::<Recorder>::clone(&gateway);
        let switched = Arc::<Mutex<Vec<bool>>>::default();
        let switch = Arc::clone(&switched);
        let web = Target::service("web").unwrap();
        let flags = SetFlag::default();
        let flags = flags.flag(
            "fallback",
            web,
            || false,
            move |on| {
                switch.lock().unwrap().push(on);
            },
        );
        let units = Systemctl::new(systemctl.tool(), ["*"]).unwrap();
        let mut actions = ActionRegistry::default();
        let programs = RunProgram::default().allow("record", record);
        actions.register(programs.unwrap()).unwrap();
        actions.register(CleanFiles::new(place.roots())).unwrap();
        actions.register(flags.unwrap()).unwrap();
        actions.register(units.restart_unit()).unwrap();
        let http = HttpRequestAction::new(client, ["http://gateway:80"]);
        actions.register(http.unwrap()).unwrap();
        let mut checks = CheckRegistry::default();
        checks.register_fn("ready", |_, _| Truth::True).unwrap();
        Self {
            outside: place.outside().tree(),
            before: place.tree(),
            place,
            program,
            systemctl,
            gateway,
            switched,
            actions: Arc::new(actions),
            checks,
        }
    }

    fn read(&self, playbook: &Value) -> Result<PlaybookSet, String> {
        let text = playbook.to_string();
        let texts = [("heal.json", text.as_str())];
        PlaybookSet::parse(texts, &self.actions, &self.checks).map_err(|error| error.to_string())
    }

    /// The plans for an incident of this cause; what the anomaly holds is the caller's.
    async fn plans(
        &self,
        set: &PlaybookSet,
        incident: &Incident,
        diagnosis: &Diagnosis,
    ) -> Vec<Plan> {
        let remediator = self.remediator(set);
        let request = PlanRequest::new(incident, diagnosis);
        let mut plans = remediator.plan(&later(2), request).await.unwrap();
        // It is made of the time, too.
        for plan in &mut plans {
            plan.id = PlanId::from_u128(1);
        }
        // The engine looks at this before anything else.
        plans
            .into_iter()
            .filter(|plan| plan.violation().is_none())
            .collect()
    }

    fn remediator(&self, set: &PlaybookSet) -> PlaybookRemediator {
        PlaybookRemediator::new(set.clone(), Arc::clone(&self.actions), self.checks.clone())
    }

    /// Reads it, shows it, plans with it and runs the plan; whether there was one.
    async fn heal(
        &self,
        playbook: &Value,
        target: &Target,
        diagnosis: &Diagnosis,
    ) -> Option<Outcome> {
        let set = self.read(playbook).ok()?;
        for playbook in set.iter() {
            let dry = playbook.dry_run(&self.actions, target, &Topology::default());
            if let Ok(dry) = dry {
                assert!(!dry.to_string().is_empty());
            }
            playbook.lint(&self.actions, std::time::Duration::from_secs(60));
        }
        assert_eq!(
            self.seen(),
            Seen::default(),
            "reading, linting and a dry run touch nothing"
        );
        let plan = self.plans(&set, &incident(target), diagnosis).await.pop()?;
        let cx = later(2);
        let harness = RunHarness::new(plan, cx.now());
        let remediator = self.remediator(&set);
        Some(
            harness
                .execute(&remediator, &cx, Crash::Never)
                .await
                .unwrap(),
        )
    }

    /// What was done since this was asked last; files are put back.
    fn seen(&self) -> Seen {
        let now = self.place.tree();
        let gone = self
            .before
            .0
            .keys()
            .filter(|name| !now.0.contains_key(*name));
        let gone: Vec<_> = gone.cloned().collect();
        let mut root = now.0;
        for name in &gone {
            root.insert(name.clone(), self.before.0[name].clone());
            self.place.write(name, "x");
        }
        // What is left is as it was, and nothing came.
        assert_eq!((&root, &now.1), (&self.before.0, &self.before.1));
        assert_eq!(self.place.outside().tree(), self.outside);
        let sent = std::mem::take(&mut *self.gateway.0.lock().unwrap());
        for request in &sent {
            assert!(request.url.starts_with("http://gateway:80/"), "{request:?}");
            let is_clean = |text: &str| !text.chars().any(char::is_control);
            let headers = request.headers.iter();
            assert!(
                headers
                    .clone()
                    .all(|(name, value)| is_clean(name) && is_clean(value)),
                "{request:?}"
            );
        }
        Seen {
            gone,
            arguments: self.program.calls(),
            units: self.systemctl.calls(),
            switched: std::mem::take(&mut *self.switched.lock().unwrap()),
            n_sent: sent.len(),
        }
    }
}

#[derive(Debug, Default, PartialEq)]
struct Seen {
    gone: Vec<String>,
    arguments: Vec<Vec<String>>,
    units: Vec<Vec<String>>,
    switched: Vec<bool>,
    n_sent: usize,
}

impl Seen {
    /// Holds it to what the playbook declares, where one argument of the program may be another.
    #[track_caller]
    fn is_declared(&self, other: Option<&str>, what: &str) {
        const GOOD: [&str; 3] = ["--table=prices", "--service=web", "plain"];
        assert!(self.gone.iter().all(|name| name == OLD), "{what}: {self:?}");
        assert!(
            self.arguments.len() <= 1 && self.n_sent <= 1,
            "{what}: {self:?}"
        );
        assert!(self.units.is_empty(), "{what}: {self:?}");
        assert!(
            self.switched.is_empty() || self.switched == [true],
            "{what}: {self:?}"
        );
        for call in &self.arguments {
            assert_eq!(call.len(), GOOD.len(), "{what}: {self:?}");
            for (argument, good) in call.iter().zip(GOOD) {
                assert!(
                    argument == good || Some(argument.as_str()) == other,
                    "{what}: {self:?}"
                );
            }
        }
    }
}

fn playbook() -> Value {
    json!({
        "playbook_id": "heal-web", "name": "Heal", "version": "1.0.0", "category": "application",
        "severity": "high",
        "trigger": {"cause": "bad_disk", "category": "resource_exhaustion", "service": "web"},
        "pre_conditions": [{"check": "ready"}],
        "remediation_steps": [
            {"step": 1, "name": "Tell", "action": "run_program", "program": "record",
             "args": ["--table=${cause.capture.table}", "--service=${target.service}", "plain"],
             "timeout": "30s", "retry": {"attempts": 1, "backoff": "1s", "max_backoff": "2s"},
             "expected_recovery": "5-10%"},
            {"step": 2, "name": "Clean", "action": "clean_files", "target": "web", "root": "tmp",
             "folder": "sub", "pattern": "*.tmp", "older_than": "1h"},
            {"step": 3, "parallel": [
                {"name": "Fall back", "action": "set_flag", "flag": "fallback", "value": true},
                {"name": "Ask", "action": "http_request", "method": "PUT",
                 "url": "http://gateway:80/heal?service=${target.service}&table=${cause.capture.table}",
                 "headers": {"x-why": "disk"}, "json": {"why": "${cause.capture.line}"}},
            ]},
        ],
        "verification": {"check": "x < 1", "wait_time": "1s", "watch": "5s", "interval": "1s",
            "window": "60s", "comparison": [{"metric": "m", "at_most": 1.2, "target": "web"}]},
        "rollback": {"available": false, "reason": "files are gone"},
        "escalation": {"on_failure": true, "notify": ["ann"]},
        "safety": {"max_retries": 0, "blast_radius": "single_service"},
        "lint": {"allow": ["unbounded-target"]},
        "metadata": {"author": "ann", "note": {"deep": ["x"]}},
    })
}

fn incident(target: &Target) -> Incident {
    let id = IncidentId::from_u128(9);
    let mut plan = Plan::new(PlanId::from_u128(1), id, "x", "x", target.clone());
    plan.steps.push(PlanStep::new("x", "x", target.clone()));
    RunHarness::new(plan, later(2).now()).incident()
}

/// What a rule made of a log line.
fn diagnosis(target: &Target, table: &str, line: &str) -> Diagnosis {
    let category = Category::ResourceExhaustion;
    let mut finding = Finding::new(
        "rules",
        target.clone(),
        "bad_disk",
        category,
        Role::Cause,
        4.0,
    );
    for (group, said) in [("table", table), ("line", line)] {
        for (kind, reference) in [("log", "disk"), ("capture", group)] {
            finding = finding.proven_by(Proof {
                kind: kind.to_owned(),
                reference: reference.to_owned(),
                at: None,
                statement: said.to_owned(),
            });
        }
    }
    Diagnosis {
        hypotheses: vec![Hypothesis {
            target: target.clone(),
            cause: "bad_disk".to_owned(),
            category,
            confidence: Confidence::ONE,
            evidence: vec![finding],
            explanation: line.to_owned(),
        }],
        abstained: None,
        chain: None,
    }
}

fn web() -> Target {
    Target::service("web").unwrap()
}

/// Where the strings of a document stand.
fn strings(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(path.to_owned()),
        Value::Array(items) => {
            for (idx, item) in items.iter().enumerate() {
                strings(item, &format!("{path}/{idx}"), found);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                strings(field, &format!("{path}/{name}"), found);
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn the_playbook_does_all_it_declares_when_nobody_attacks() {
    let world = World::new();
    let set = world.read(&playbook()).unwrap();
    assert_eq!(set.len(), 1);
    let diagnosis = diagnosis(&web(), "prices", "disk sda1 is full");
    let outcome = world.heal(&playbook(), &web(), &diagnosis).await;
    assert_eq!(outcome, Some(Outcome::Completed));
    let seen = world.seen();
    seen.is_declared(None, "nobody attacks");
    assert_eq!((seen.gone.len(), seen.arguments.len()), (1, 1), "{seen:?}");
    assert_eq!((seen.switched.len(), seen.n_sent), (1, 1), "{seen:?}");
}

#[tokio::test]
async fn no_string_of_a_playbook_does_what_another_place_of_it_did_not_declare() {
    let world = World::new();
    let good = playbook();
    let mut places = Vec::new();
    strings(&good, "", &mut places);
    assert!(places.len() > 45, "{places:?}");
    let diagnosis = diagnosis(&web(), "prices", "disk sda1 is full");
    let (mut n_run, mut n_refused) = (0, 0);
    for text in hostile(world.place.outside().path()) {
        for place in &places {
            // These mean other files of the root, and say so.
            let is_all = place.ends_with("/pattern") && text == "*";
            if is_all || place.ends_with("/folder") && text.is_empty() {
                continue;
            }
            let mut evil = good.clone();
            *evil.pointer_mut(place).unwrap() = text.clone().into();
            let ran = world.heal(&evil, &web(), &diagnosis).await.is_some();
            let is_argument = place.contains("/args/");
            let what = format!("{place} = {text:?}");
            world
                .seen()
                .is_declared(is_argument.then_some(text.as_str()), &what);
            if ran { n_run += 1 } else { n_refused += 1 }
        }
    }
    assert!(n_run > 300 && n_refused > 1000, "{n_run} {n_refused}");
}

#[tokio::test]
async fn no_key_of_a_playbook_brings_anything_about() {
    let world = World::new();
    let good = playbook();
    let diagnosis = diagnosis(&web(), "prices", "disk sda1 is full");
    for text in hostile(world.place.outside().path()) {
        for place in [
            "",
            "/trigger",
            "/remediation_steps/0",
            "/remediation_steps/1",
            "/verification",
            "/remediation_steps/2/parallel/1/headers",
            "/metadata",
        ] {
            let mut evil = good.clone();
            let fields = evil.pointer_mut(place).unwrap().as_object_mut().unwrap();
            fields.insert(text.clone(), text.clone().into());
            let ran = world.heal(&evil, &web(), &diagnosis).await;
            let what = format!("{place} has {text:?}");
            world.seen().is_declared(None, &what);
            let is_free = place.ends_with("/headers") || place == "/metadata";
            assert!(is_free || ran.is_none(), "{what}");
        }
    }
}

/// A playbook of one step.
fn one(step: &Value) -> Value {
    let mut playbook = playbook();
    playbook["trigger"] = json!({"cause": "bad_disk"});
    playbook["remediation_steps"] = json!([step]);
    playbook
}

#[tokio::test]
async fn no_name_of_a_target_is_more_than_a_name() {
    let world = World::new();
    let steps = [
        json!({"action": "run_program", "program": "record",
            "args": ["--table=prices", "--service=web", "${target.service}"]}),
        json!({"action": "run_program", "program": "record",
            "args": ["--table=prices", "--service=${target.service}", "plain"]}),
        json!({"action": "clean_files", "root": "tmp", "folder": "${target.service}",
            "pattern": "*", "older_than": "1h", "recursive": true}),
        json!({"action": "clean_files", "root": "tmp", "folder": "sub/${target.service}",
            "pattern": "*", "older_than": "1h", "recursive": true}),
        json!({"action": "clean_files", "root": "tmp", "pattern": "${target.service}*",
            "older_than": "1h", "recursive": true}),
        json!({"action": "restart_unit", "unit": "${target.service}"}),
        json!({"action": "http_request", "url": "http://gateway:80/${target.service}",
            "headers": {"x-who": "${target}"}, "body": "${target.service}"}),
        json!({"action": "http_request", "url": "http://${target.service}:80/"}),
        json!({"action": "set_flag", "flag": "${target.service}", "value": true}),
    ];
    let (mut n_run, mut n_refused) = (0, 0);
    for text in hostile(world.place.outside().path()) {
        // Names like any other, of a unit as well.
        let is_word = matches!(text.as_str(), "link" | "alias");
        let both = Target::instance(text.as_str(), text.as_str());
        for target in [Target::service(text.as_str()), both].into_iter().flatten() {
            for step in &steps {
                let diagnosis = diagnosis(&target, "prices", "x");
                let ran = world.heal(&one(step), &target, &diagnosis).await.is_some();
                let mut seen = world.seen();
                let what = format!("{step} of {target:?}");
                if is_word {
                    seen.units.clear();
                }
                assert!(seen.gone.is_empty(), "{what}: {seen:?}");
                let within = format!("--service={text}");
                let is_within = step.to_string().contains("--service=$");
                seen.is_declared(Some(if is_within { &within } else { &text }), &what);
                let is_option = |argument: &String| argument.starts_with('-') && argument == &text;
                assert!(
                    !seen.arguments.iter().flatten().any(is_option),
                    "{what}: {seen:?}"
                );
                if ran { n_run += 1 } else { n_refused += 1 }
            }
        }
    }
    assert!(n_run > 100 && n_refused > 100, "{n_run} {n_refused}");
}

#[tokio::test]
async fn nothing_that_a_log_says_is_more_than_one_word_of_one_argument() {
    let world = World::new();
    let mut n_refused = 0;
    for text in hostile(world.place.outside().path()) {
        for (table, line) in [
            (text.as_str(), "x"),
            ("prices", text.as_str()),
            (&text, &text),
        ] {
            let diagnosis = diagnosis(&web(), table, line);
            let ran = world.heal(&playbook(), &web(), &diagnosis).await;
            let what = format!("{table:?} {line:?}");
            world
                .seen()
                .is_declared(Some(&format!("--table={text}")), &what);
            let is_word = matches!(table, "prices" | "link" | "alias");
            assert!(is_word || ran.is_none(), "{what}");
            n_refused += usize::from(ran.is_none());
        }
    }
    assert!(n_refused > 80, "{n_refused}");
}

#[tokio::test]
async fn labels_and_words_of_an_anomaly_change_no_plan() {
    let world = World::new();
    let set = world.read(&playbook()).unwrap();
    let diagnosis = diagnosis(&web(), "prices", "disk sda1 is full");
    let harmless = world.plans(&set, &incident(&web()), &diagnosis).await;
    assert_eq!(harmless.len(), 1);
    for text in hostile(world.place.outside().path()) {
        let key = SeriesKey::new(text.as_str())
            .with("path", text.as_str())
            .with(text.as_str(), "x");
        for subject in [
            Subject::Series(key),
            Subject::Logs(text.clone()),
            Subject::Operation(text.clone()),
            Subject::Health(text.clone()),
            Subject::Condition(text.clone()),
        ] {
            let mut incident = incident(&web());
            let anomaly = &mut incident.anomalies[0];
            anomaly.subject = subject;
            anomaly.detector.clone_from(&text);
            anomaly.explanation.clone_from(&text);
            anomaly.expected = Expectation::Words(text.clone());
            anomaly.playbook_hint = Some(text.clone());
            let plans = world.plans(&set, &incident, &diagnosis).await;
            assert_eq!(plans, harmless, "{text:?}");
        }
    }
    assert_eq!(world.seen(), Seen::default());
}
