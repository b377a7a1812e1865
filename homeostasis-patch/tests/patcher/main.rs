//! The configuration patcher on real files.
// Helpers of tests are tests, which the lint cannot see.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::record::{
    Category, Diagnosis, Hypothesis, PatchCandidate, PatchKind, RiskLevel,
};
use homeostasis_core::stage::{PatchError, PatchRequest, Patcher};
use homeostasis_core::testing::patcher::{conformance, incident_of};
use homeostasis_core::{
    Cancellation, Confidence, Context, Digest, ErrorKind, ManualClock, Target, Timestamp,
};
use homeostasis_patch::{ConfigEdit, ConfigPatcher, ConfigRemedy};
use tempfile::TempDir;

const ORDERS: &str = "# orders\n[server]\ntimeout_ms = 500 # low\n";

const REMEDIES: &str = "\
remedies:
  - cause: slow_dependency
    service: orders
    file: deploy/orders/config.toml
    edits: [{set: server.timeout_ms, to: 1000}]
    explanation: the database answers within 800 ms after a failover
    risk: low
";

fn project() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("deploy/orders")).unwrap();
    fs::write(root.path().join("deploy/orders/config.toml"), ORDERS).unwrap();
    root
}

fn hypothesis(target: &str, cause: &str, confidence: f64) -> Hypothesis {
    Hypothesis {
        target: target.parse().unwrap(),
        cause: cause.to_owned(),
        category: Category::DependencyFailure,
        confidence: Confidence::new(confidence).unwrap(),
        evidence: Vec::new(),
        explanation: String::new(),
    }
}

fn diagnosis(hypotheses: Vec<Hypothesis>) -> Diagnosis {
    Diagnosis {
        hypotheses,
        abstained: None,
        chain: None,
    }
}

fn slow_orders() -> Diagnosis {
    diagnosis(vec![hypothesis("orders/0", "slow_dependency", 0.8)])
}

fn context() -> Context {
    Context::new(Arc::new(ManualClock::new(Timestamp::from_secs(5))), 1)
}

async fn propose(
    patcher: &ConfigPatcher,
    diagnosis: &Diagnosis,
    root: &Path,
) -> Result<Vec<PatchCandidate>, PatchError> {
    let incident = incident_of(Target::service("orders").unwrap());
    let request = PatchRequest::new(&incident, diagnosis, root);
    patcher.propose(&context(), request).await
}

fn written() -> ConfigPatcher {
    ConfigPatcher::from_document("remedies.yaml", REMEDIES).unwrap()
}

/// A remedy of `slow_dependency` on any service that sets the time limit in `file`.
fn remedy(file: &str, timeout_ms: u64) -> ConfigRemedy {
    let edit = ConfigEdit::set("server.timeout_ms".parse().unwrap(), timeout_ms);
    ConfigRemedy::new("slow_dependency", file, [edit])
}

fn patcher(remedies: impl IntoIterator<Item = ConfigRemedy>) -> ConfigPatcher {
    ConfigPatcher::new(remedies).unwrap()
}

#[tokio::test]
async fn candidate_names_old_and_new_value_and_is_bound_to_the_text() {
    let root = project();
    let found = propose(&written(), &slow_orders(), root.path())
        .await
        .unwrap();
    let [candidate] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(candidate.patcher, "config");
    assert_eq!(candidate.kind, PatchKind::Configuration);
    assert_eq!(candidate.path, "deploy/orders/config.toml");
    assert_eq!(candidate.base, Digest::of_bytes(ORDERS.as_bytes()));
    assert_eq!(
        candidate.explanation,
        "set server.timeout_ms from 500 to 1000 in deploy/orders/config.toml, because of \
         slow_dependency of orders/0: the database answers within 800 ms after a failover"
    );
    assert_eq!(candidate.risk, RiskLevel::Low);
    assert_eq!(candidate.confidence.get(), 0.8);
    assert!(
        candidate
            .diff
            .ends_with("-timeout_ms = 500 # low\n+timeout_ms = 1000 # low\n"),
        "{}",
        candidate.diff
    );
}

#[tokio::test]
async fn patcher_passes_the_suite() {
    let (root, empty) = (project(), tempfile::tempdir().unwrap());
    let incident = incident_of(Target::service("orders").unwrap());
    let diagnosis = slow_orders();
    let request = PatchRequest::new(&incident, &diagnosis, root.path());
    conformance(written, request, empty.path()).await;
}

#[tokio::test]
async fn other_cause_other_service_and_abstention_give_nothing() {
    let root = project();
    let mut abstained = slow_orders();
    abstained.abstained = Some("two causes explain it alike".to_owned());
    for diagnosis in [
        diagnosis(vec![hypothesis("orders", "memory_leak", 0.9)]),
        diagnosis(vec![hypothesis("payments", "slow_dependency", 0.9)]),
        Diagnosis::abstain("no evidence"),
        abstained,
    ] {
        assert_eq!(
            propose(&written(), &diagnosis, root.path()).await.unwrap(),
            []
        );
    }
}

#[tokio::test]
async fn remedy_that_is_in_place_gives_nothing_and_no_error() {
    let root = project();
    let healed = ORDERS.replace("500", "1_000");
    fs::write(root.path().join("deploy/orders/config.toml"), healed).unwrap();
    assert_eq!(
        propose(&written(), &slow_orders(), root.path())
            .await
            .unwrap(),
        []
    );
    // Nor is it an error that another remedy has no file.
    let both = patcher([
        remedy("deploy/orders/config.toml", 1000),
        remedy("deploy/missing.toml", 1),
    ]);
    assert_eq!(
        propose(&both, &slow_orders(), root.path()).await.unwrap(),
        []
    );
}

#[tokio::test]
async fn missing_file_is_an_error_only_if_every_matching_remedy_fails() {
    let root = project();
    let missing = || remedy("deploy/missing.toml", 1);
    let typo = ConfigRemedy::new(
        "slow_dependency",
        "deploy/orders/config.toml",
        [ConfigEdit::set("server.timeout".parse().unwrap(), 1)],
    );
    let error = propose(&patcher([missing(), typo]), &slow_orders(), root.path())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent);
    assert_eq!(
        error.report().to_string(),
        "each of the 2 matching remedies failed: \
         remedies[0]: deploy/missing.toml: no such file, expected one below the root; \
         remedies[1]: deploy/orders/config.toml: edit refused: \
         server.timeout: not found, nearest existing is \"timeout_ms\""
    );

    let works = remedy("deploy/orders/config.toml", 1000);
    let found = propose(&patcher([missing(), works]), &slow_orders(), root.path()).await;
    assert_eq!(found.unwrap().len(), 1);
}

#[cfg(unix)]
#[tokio::test]
async fn links_out_of_the_project_are_denied() {
    use std::os::unix::fs::symlink;

    let (root, outside) = (project(), project());
    let target = outside.path().join("deploy/orders/config.toml");
    symlink(&target, root.path().join("file.toml")).unwrap();
    symlink(outside.path().join("deploy"), root.path().join("folder")).unwrap();
    symlink("deploy/orders/config.toml", root.path().join("inside.toml")).unwrap();
    for (file, step) in [
        ("file.toml", "file.toml"),
        ("folder/orders/config.toml", "folder"),
        ("inside.toml", "inside.toml"),
    ] {
        let error = propose(&patcher([remedy(file, 1)]), &slow_orders(), root.path())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        let expected = format!("{file}: found a symbolic link at {step:?}");
        assert!(error.report().to_string().contains(&expected), "{error:?}");
    }
}

#[test]
fn path_out_of_the_project_is_refused_before_anything_is_read() {
    let error = ConfigPatcher::new([
        remedy("../config.toml", 1),
        remedy("/etc/config.toml", 1),
        remedy("deploy/../../config.toml", 1),
        ConfigRemedy::new("c", "a.toml", []),
    ])
    .unwrap_err();
    let paths: Vec<_> = error.violations().iter().map(|v| v.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "remedies[0].file",
            "remedies[1].file",
            "remedies[2].file",
            "remedies[3].edits"
        ]
    );
}

#[tokio::test]
async fn best_confidence_then_least_risk_comes_first_and_twenty_are_the_most() {
    let root = project();
    let file = "deploy/orders/config.toml";
    let mut remedies: Vec<_> = (0..30).map(|n| remedy(file, 2000 + n)).collect();
    remedies.push(remedy(file, 3000).with_risk(RiskLevel::Low));
    let mut leak = remedy(file, 4000);
    leak.cause = "memory_leak".to_owned();
    remedies.push(leak);
    let both = diagnosis(vec![
        hypothesis("orders", "memory_leak", 0.9),
        hypothesis("orders", "slow_dependency", 0.4),
    ]);
    let found = propose(&patcher(remedies), &both, root.path())
        .await
        .unwrap();
    assert_eq!(found.len(), 20);
    for (candidate, value) in found.iter().zip(["4000", "3000", "2000", "2001"]) {
        let new = format!("from 500 to {value} ");
        assert!(
            candidate.explanation.contains(&new),
            "{}",
            candidate.explanation
        );
    }
}

#[tokio::test]
async fn same_change_of_two_remedies_is_proposed_once() {
    let root = project();
    let twice = [0, 1].map(|_| remedy("deploy/orders/config.toml", 900));
    let found = propose(&patcher(twice), &slow_orders(), root.path()).await;
    assert_eq!(found.unwrap().len(), 1);
}

#[tokio::test]
async fn cancellation_and_deadline_stop_it() {
    let root = project();
    let incident = incident_of(Target::service("orders").unwrap());
    let diagnosis = slow_orders();
    let request = PatchRequest::new(&incident, &diagnosis, root.path());
    let cancellation = Cancellation::default();
    cancellation.cancel();
    for (cx, kind) in [
        (context().cancelled_by(cancellation), ErrorKind::Cancelled),
        (context().within(Duration::ZERO), ErrorKind::Timeout),
    ] {
        let error = written().propose(&cx, request).await.unwrap_err();
        assert_eq!(error.kind(), kind);
    }
}
