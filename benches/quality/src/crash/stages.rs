//! The stages around the playbooks: illness is detected, named and verified by the gauge `ill`.

use std::sync::Arc;
use std::time::Duration;

use homeostasis::core::record::{
    Anomaly, Category, Finding, Proof, Role, Subject, Verdict, VerdictKind,
};
use homeostasis::core::signal::SignalBatch;
use homeostasis::core::stage::{
    AnalyzeError, Analyzer, DetectError, Detector, Evidence, Verifier, VerifyError, VerifyRequest,
};
use homeostasis::core::{Context, async_trait};

use super::clock::SPEED;
use super::playbooks::Illness;
use super::world::{World, give_up};

/// What the gauge is called.
pub(crate) const GAUGE: &str = "ill";

/// How long a remedy is watched.
const WATCH: Duration = Duration::from_millis(8);

#[derive(Debug)]
pub(crate) struct IllnessDetector;

#[async_trait]
impl Detector for IllnessDetector {
    fn name(&self) -> &str {
        "illness"
    }

    async fn detect(
        &mut self,
        _: &Context,
        batch: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        let mut found: Vec<Anomaly> = Vec::new();
        for sample in batch.samples.iter().filter(|sample| sample.value > 0.5) {
            let Some(key) = batch.catalog.key(sample.series) else {
                continue;
            };
            let Some(target) = key.target().filter(|_| key.metric == GAUGE) else {
                continue;
            };
            if found.iter().any(|known| known.target == target) {
                continue;
            }
            let subject = Subject::Series((*key).clone());
            let mut anomaly = Anomaly::new("illness", target, subject, sample.at);
            anomaly.observed = Some(sample.value);
            found.push(anomaly.saying("it is ill"));
        }
        Ok(found)
    }
}

#[derive(Debug)]
pub(crate) struct IllnessAnalyzer;

#[async_trait]
impl Analyzer for IllnessAnalyzer {
    fn name(&self) -> &str {
        "illness"
    }

    async fn analyze(
        &self,
        _: &Context,
        evidence: &Evidence<'_>,
    ) -> Result<Vec<Finding>, AnalyzeError> {
        let anomaly = &evidence.incident.anomalies[0];
        let Some(illness) = anomaly.observed.and_then(Illness::shown) else {
            return Ok(Vec::new());
        };
        let proof = Proof {
            kind: "series".to_owned(),
            reference: anomaly.subject.to_string(),
            at: Some(anomaly.at),
            statement: anomaly.explanation.clone(),
        };
        let finding = Finding::new(
            "illness",
            anomaly.target.clone(),
            illness.name(),
            Category::ApplicationError,
            Role::Cause,
            5.0,
        );
        Ok(vec![finding.proven_by(proof)])
    }
}

#[derive(Debug)]
pub(crate) struct CureVerifier(pub(crate) Arc<World>);

#[async_trait]
impl Verifier for CureVerifier {
    fn name(&self) -> &str {
        "cure"
    }

    async fn verify(
        &self,
        cx: &Context,
        request: VerifyRequest<'_>,
    ) -> Result<Verdict, VerifyError> {
        cx.clock().sleep(WATCH * SPEED).await;
        let service = request.plan.target.service_name();
        let illness = self.0.illness(service);
        let (kind, reason) = match illness.unwrap_or_else(|error| give_up(&error)) {
            Some(_) => (VerdictKind::Failed, "still ill"),
            None => (VerdictKind::Success, "cured"),
        };
        Ok(Verdict::new(kind, cx.now(), reason))
    }
}
