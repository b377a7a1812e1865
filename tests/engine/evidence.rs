//! The evidence of an analysis: bounded, saved and looked at again, and not worked through twice
//! where nothing is new.

use std::sync::Arc;
use std::time::Duration;

use homeostasis::core::record::{Diagnosis, Finding, HealEvent};
use homeostasis::core::signal::{
    Change, ChangeKind, ErrorEvent, HealthReport, HealthState, Level, LogRecord, SeriesKey, Signal,
    SpanRecord,
};
use homeostasis::core::stage::{AnalyzeError, Analyzer, Evidence};
use homeostasis::core::{Context, IncidentId, Target, async_trait};
use homeostasis::{Builder, Config, Homeostasis, IncidentEvidence, SimulatedClock};

use crate::world::{START, is, pass, until};

const SHOP: &str = "
services:
  gateway: { depends_on: [orders] }
  orders: {}
  billing: {}
flags: { heal: true }
conditions:
  - { name: refused, condition: error_ratio > 10%, for: 3s }
";

fn builder(engine: &str) -> Builder {
    let config = Config::parse(&format!("engine: {{ {engine} }}{SHOP}")).unwrap();
    Homeostasis::builder().config(config).seed(7)
}

async fn shop(engine: &str) -> Homeostasis {
    let clock = SimulatedClock::starting_at(START);
    let builder = builder(engine).clock(Arc::new(clock));
    builder.start().await.unwrap()
}

fn target(name: &str) -> Target {
    name.parse().unwrap()
}

fn gauge(healer: &Homeostasis, metric: &str, service: &str, value: f64) {
    let key = SeriesKey::new(metric).with("service", service);
    healer.recorder().series(&key).record(value);
}

fn log(healer: &Homeostasis, service: &str, message: &str) -> LogRecord {
    let at = healer.recorder().now();
    LogRecord::new(at, Level::Error, message).of(target(service))
}

/// Two calm minutes, then orders dies and the gateway fails where it needs it.
async fn orders_die(healer: &Homeostasis) -> Arc<HealEvent> {
    let recorder = healer.recorder();
    let mut events = healer.subscribe();
    for second in 0..140 {
        let ill = second >= 120;
        for service in ["gateway", "billing"] {
            let failing = if ill && service == "gateway" {
                0.4
            } else {
                0.001
            };
            gauge(healer, "error_ratio", service, failing);
            gauge(healer, "process_up", service, 1.0);
        }
        // What no JSON number can be is evidence, too.
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.1 + 0.2][second % 4];
        gauge(healer, "oddity", "orders", odd);
        gauge(healer, "process_up", "orders", f64::from(u8::from(!ill)));
        if ill {
            let line = "http://orders:80: connection refused, password=swordfish99";
            let mut record = log(healer, "gateway", line);
            let mut error = ErrorEvent::new("rust", "reqwest::Error", "connection refused");
            error
                .environment
                .insert("host_memory_used_ratio".to_owned(), 0.3);
            error.environment.insert("oddity".to_owned(), f64::INFINITY);
            record.error = Some(Box::new(error));
            recorder.log(record);
            let now = recorder.now();
            let report = HealthReport::new(now, target("orders"), "http", HealthState::Unhealthy);
            recorder.signal(Signal::Health(report.saying("connection refused")));
            let span =
                SpanRecord::new(now, Duration::from_millis(3), "GET /").of(target("gateway"));
            recorder.span(span);
        } else if second == 60 {
            let now = recorder.now();
            let change = Change::new(now, ChangeKind::Deploy, target("billing"), "v1 -> v2");
            recorder.signal(Signal::Change(change));
        }
        pass(healer, 1).await;
    }
    until(healer, &mut events, is("diagnosed")).await
}

async fn diagnosis_of(healer: &Homeostasis, id: IncidentId) -> Diagnosis {
    healer.incident(id).await.unwrap().diagnosis.unwrap()
}

#[tokio::test(start_paused = true)]
async fn saved_evidence_is_looked_at_again_to_the_same_diagnosis() {
    let healer = shop("").await;
    let id = orders_die(&healer).await.incident;
    let said = diagnosis_of(&healer, id).await;
    assert_eq!(said.root_cause().unwrap().cause, "process_down");
    assert!(said.root_cause().unwrap().evidence.len() > 1, "{said:#?}");
    let saved = healer.evidence(id).await.unwrap();
    healer.shutdown().await;

    let text = saved.to_json().unwrap();
    assert!(!text.contains("swordfish99"), "a secret in the file");
    let read = IncidentEvidence::from_json(&text).unwrap();
    assert_eq!(read, saved);
    assert_eq!(read.to_json().unwrap(), text);
    let again = builder("").diagnose(&read).await.unwrap();
    assert_eq!(again, said);
    let bits = |diagnosis: &Diagnosis| {
        let nats = diagnosis.hypotheses.iter().flat_map(|h| &h.evidence);
        nats.map(|f| f.log_likelihood_ratio.to_bits())
            .collect::<Vec<_>>()
    };
    assert_eq!(bits(&again), bits(&said));
    // Without the rules nobody would read the line: what decides is the evidence and who looks.
    let nobody = Homeostasis::empty().diagnose(&read).await.unwrap();
    assert_eq!(nobody.root_cause(), None);
}

#[tokio::test(start_paused = true)]
async fn evidence_that_cannot_be_is_refused_with_its_place() {
    let healer = shop("").await;
    let id = orders_die(&healer).await.incident;
    let text = healer.evidence(id).await.unwrap().to_json().unwrap();
    let other = IncidentId::from_u128(9);
    assert!(healer.evidence(other).await.is_err());
    healer.shutdown().await;
    let opened = text.find(r#""events":["#).unwrap() + r#""events":["#.len();
    let end = text.find(r#"],"from""#).unwrap();
    for (changed, expected) in [
        (
            text.replace(r#""format":1"#, r#""format":2"#),
            "format = 2, expected 1",
        ),
        (
            text.replace(r#""to":""#, r#""to":"1999-01-01T00:00:00Z","x":""#),
            "unknown field `x`",
        ),
        (text.replace("NaN", "nan"), "a number, NaN, inf or -inf"),
        (text[..text.len() / 2].to_owned(), "line 1 column"),
        (
            format!("{}{}", &text[..opened], &text[end..]),
            "events = none",
        ),
        (
            text.replace(r#""points":[["#, r#""points":[[9000000000000000000,1.0],["#),
            "points by time",
        ),
    ] {
        let error = IncidentEvidence::from_json(&changed)
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}, not {expected}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_beyond_the_budget_is_left_out_counted_and_said() {
    let healer = shop("evidence_bytes: 64KiB").await;
    // Somebody else's lines, many times the budget.
    for n in 0..1_000 {
        let line = format!("row {n} of {}", "x".repeat(500));
        healer.recorder().log(log(&healer, "billing", &line));
    }
    let id = orders_die(&healer).await.incident;
    let said = diagnosis_of(&healer, id).await;
    let cause = said.root_cause().unwrap();
    assert_eq!(
        (&*cause.cause, cause.target.to_string()),
        ("process_down", "orders".to_owned())
    );
    let left_out = healer.evidence(id).await.unwrap().left_out();
    // What was sampled of them is more than the budget; nothing of the services in question went.
    assert!(
        left_out.logs > 100 && left_out.measurements < 10,
        "{left_out:?}"
    );
    let others = (left_out.spans, left_out.changes, left_out.health);
    assert_eq!(others, (0, 0, 0), "{left_out:?}");
    assert!(
        cause.explanation.ends_with(&format!("({left_out})")),
        "{}",
        cause.explanation
    );
    let health = healer.health();
    assert!(health.left_out_evidence >= left_out.total(), "{health:?}");
    healer.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_large_lines_hides_neither_the_change_nor_the_calm() {
    let healer = shop("evidence_bytes: 64KiB").await;
    let recorder = healer.recorder();
    let mut events = healer.subscribe();
    for second in 0..70 {
        let ill = second >= 60;
        gauge(
            &healer,
            "error_ratio",
            "orders",
            if ill { 0.5 } else { 0.001 },
        );
        if second == 40 {
            let change = Change::new(recorder.now(), ChangeKind::Deploy, target("orders"), "v2");
            recorder.signal(Signal::Change(change));
        }
        for n in 0..if ill { 60 } else { 0 } {
            let line = format!("row {n} of {second}: {}", "x".repeat(900));
            recorder.log(log(&healer, "orders", &line));
        }
        pass(&healer, 1).await;
    }
    let id = until(&healer, &mut events, is("diagnosed")).await.incident;
    let saved = healer.evidence(id).await.unwrap();
    let left_out = saved.left_out();
    assert!(left_out.logs > 100, "{left_out:?}");
    assert_eq!((left_out.measurements, left_out.changes), (0, 0));
    let said = diagnosis_of(&healer, id).await;
    let blamed = said.hypotheses.iter().flat_map(|h| &h.evidence);
    let mut deploys = blamed
        .filter(|finding| finding.cause == "bad_deploy")
        .peekable();
    assert!(deploys.peek().is_some(), "{said:#?}");
    assert!(deploys.all(|finding| finding.log_likelihood_ratio > 0.0));
    healer.shutdown().await;
    assert_eq!(builder("").diagnose(&saved).await.unwrap(), said);
}

/// Waits for time to pass.
#[derive(Debug)]
struct Patient;

#[async_trait]
impl Analyzer for Patient {
    fn name(&self) -> &'static str {
        "patient"
    }

    async fn analyze(&self, cx: &Context, _: &Evidence<'_>) -> Result<Vec<Finding>, AnalyzeError> {
        cx.clock().sleep(Duration::from_millis(500)).await;
        Ok(Vec::new())
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_while_time_stands_still_is_an_error_and_no_number_overflows() {
    let healer = shop("").await;
    let id = orders_die(&healer).await.incident;
    let saved = healer.evidence(id).await.unwrap();
    healer.shutdown().await;
    let stuck = Homeostasis::empty().analyzer(Patient).diagnose(&saved);
    let error = tokio::time::timeout(Duration::from_secs(3600), stuck).await;
    let error = error.unwrap().unwrap_err().to_string();
    assert!(error.contains("patient"), "{error}");

    let text = saved.to_json().unwrap();
    let (before, rest) = text.split_once(r#""left_out":{"#).unwrap();
    let (_, after) = rest.split_once('}').unwrap();
    let most = u64::MAX;
    let hostile = format!(
        r#"{before}"left_out":{{"measurements":{most},"logs":{most},"spans":1,"changes":0,"health":0}}{after}"#
    );
    let hostile = IncidentEvidence::from_json(&hostile).unwrap();
    let said = builder("").diagnose(&hostile).await.unwrap();
    let cause = said.root_cause().unwrap();
    assert!(cause.explanation.contains(&format!("{most} measurements")));
}

/// Looks at an incident without a cause while `meanwhile` happens each second.
async fn looks(engine: &str, meanwhile: impl Fn(&Homeostasis)) -> (u64, u64) {
    let healer = shop(engine).await;
    let mut events = healer.subscribe();
    for _ in 0..6 {
        gauge(&healer, "error_ratio", "billing", 0.5);
        pass(&healer, 1).await;
    }
    let over = until(&healer, &mut events, is("diagnosed"));
    let busy = async {
        loop {
            meanwhile(&healer);
            pass(&healer, 1).await;
        }
    };
    let diagnosed = tokio::select! {
        diagnosed = over => diagnosed,
        () = busy => unreachable!("it goes on"),
    };
    assert_eq!(
        diagnosis_of(&healer, diagnosed.incident).await.root_cause(),
        None
    );
    let health = healer.health();
    healer.shutdown().await;
    (health.analyses, health.reused_diagnoses)
}

#[tokio::test(start_paused = true)]
async fn looks_at_which_nothing_is_new_need_no_analysis() {
    let storm = |healer: &Homeostasis| {
        for _ in 0..3 {
            healer
                .recorder()
                .log(log(healer, "billing", "nothing anybody knows"));
        }
    };
    // Every two seconds for half a minute, and each lives ten seconds.
    let (analyses, reused) = looks("", |_| {}).await;
    assert!(
        (3..=5).contains(&analyses) && reused >= 10,
        "{analyses} and {reused}"
    );
    // A storm of one error is news when it is twice as large.
    let (stormy, reused) = looks("", storm).await;
    assert!(
        (4..=9).contains(&stormy) && reused >= 6,
        "{stormy} and {reused}"
    );
    let (all, none) = looks("diagnosis_cache: 0", storm).await;
    assert_eq!((all, none), (stormy + reused, 0));
    // A measurement is always news.
    let measured = |healer: &Homeostasis| gauge(healer, "rows", "billing", 1.0);
    let (all, none) = looks("", measured).await;
    assert!(all >= 14 && none <= 1, "{all} and {none}");
}
