//! Every analyzer of this crate keeps the contract, and finds what the suite's world holds for it.

use homeostasis_core::record::Role;
use homeostasis_core::stage::Analyzer;
use homeostasis_core::testing::analyzer::conformance;
use homeostasis_rca::{
    ChangeAnalyzer, DownAnalyzer, EnvironmentAnalyzer, FusionAnalyzer, RuleAnalyzer,
    SaturationAnalyzer, TopologyWalk, TrendAnalyzer,
};

async fn check(analyzer: impl Analyzer, role: Role, expected: &[&str]) {
    let findings = conformance(&analyzer).await;
    let mut found: Vec<String> = findings
        .iter()
        .filter(|finding| finding.role == role)
        .map(|finding| format!("{} {}", finding.target, finding.cause))
        .collect();
    found.sort();
    assert_eq!(found, expected, "{findings:#?}");
}

#[tokio::test]
async fn rules_conform() {
    // The `KeyError` of the record that tells of the full disk is left to the fallback, which is silent.
    let expected = [
        "catalog disk_full",
        "catalog error_rate",
        "orders connection_refused",
    ];
    check(RuleAnalyzer::furnished().unwrap(), Role::Cause, &expected).await;
}

#[tokio::test]
async fn down_conforms() {
    let expected = ["db slow_response", "orders process_down"];
    check(DownAnalyzer, Role::Cause, &expected).await;
}

#[tokio::test]
async fn saturation_conforms() {
    let expected = [
        "catalog cpu_saturation",
        "catalog slow_response",
        "db disk_full",
        "gateway error_rate",
        "gateway slow_response",
        // From the anomaly alone: the world holds no series behind it.
        "orders slow_response",
    ];
    check(SaturationAnalyzer, Role::Cause, &expected).await;
}

#[tokio::test]
async fn trend_conforms() {
    check(TrendAnalyzer, Role::Cause, &["catalog/0 memory_leak"]).await;
}

#[tokio::test]
async fn change_conforms() {
    let expected = ["db configuration_error", "gateway bad_deploy"];
    check(ChangeAnalyzer::default(), Role::Context, &expected).await;
}

#[tokio::test]
async fn environment_conforms() {
    let expected = ["catalog cpu_saturation", "db disk_full"];
    check(EnvironmentAnalyzer, Role::Context, &expected).await;
}

#[tokio::test]
async fn topology_conforms() {
    let expected = ["gateway slow_dependency", "orders slow_dependency"];
    check(TopologyWalk, Role::Symptom, &expected).await;
}

#[tokio::test]
async fn fusion_conforms() {
    // Of a ranking the first alone is a finding.
    let expected = ["catalog cpu_saturation"];
    check(FusionAnalyzer::default(), Role::Cause, &expected).await;
}

#[cfg(feature = "classifier")]
#[tokio::test]
async fn the_classifier_conforms() {
    // The rules are sure of every error of that world but one, and the classifier of none.
    let analyzer = homeostasis_rca::ClassifierAnalyzer::shipped().unwrap();
    check(analyzer, Role::Cause, &[]).await;
}
