//! The labels as the healer sees them: what is watched, and how their source may be patched.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use homeostasis::core::record::{RiskLevel, VerificationSpec};
use homeostasis::core::signal::SeriesKey;
use homeostasis::patch::{LiveTree, PatchValidator, TemplatePatcher};
use homeostasis::remediate::action::ProcessSupervisor;
use homeostasis::signals::{
    HttpProbe, HttpProbeConfig, HyperClient, LogLinesConfig, LogTail, LogTailConfig, LogTailProbe,
    StartAt,
};
use homeostasis::{Builder, Homeostasis, Patching, SystemClock};
use serde_json::Map;

use super::hiding::HidingPatcher;
use super::replay::replay;
use super::swap::SwapWorker;
use super::target;
use crate::BoxError;
use crate::deployment::ServiceName;
use crate::front::{Front, Served, Traffic};
use crate::json_log::JsonLog;
use crate::labels::LabelsSpec;
use crate::process::PidFile;

/// How often everything is looked at.
const INTERVAL: Duration = Duration::from_millis(250);

/// A failure counts for so many looks.
const LOOKS: usize = 20;

/// The labels behind their front.
#[derive(Debug)]
pub(super) struct Labels<'a> {
    spec: &'a LabelsSpec,
    front: Front,
}

impl<'a> Labels<'a> {
    pub(super) fn new(spec: &'a LabelsSpec, traffic: &Traffic) -> Result<Self, BoxError> {
        let served = spec.workers.iter().map(|worker| Served {
            slot: worker.slot,
            address: worker.address,
            is_running: PidFile::read(&worker.pid_file).is_some(),
        });
        let served: Vec<_> = served.collect();
        let front = Front::new(ServiceName::Labels, spec.front, &served, traffic)?;
        Ok(Self { spec, front })
    }

    /// Registers the probes, and what patches of the source must pass.
    ///
    /// Proposed is what the templates know, and what a hasty person would do; handed over is what
    /// answers the request that failed and passes the tests, in place of the old source.
    pub(super) fn register(
        &self,
        builder: Builder,
        traffic: &Traffic,
        supervisor: &ProcessSupervisor,
        log: &JsonLog,
    ) -> Result<Builder, BoxError> {
        let spec = self.spec;
        let labels = target(ServiceName::Labels)?;
        let health = HttpProbeConfig {
            interval: INTERVAL,
            ..HttpProbeConfig::new(
                "labels-http",
                labels.clone(),
                format!("http://{}/healthz", spec.front),
            )
        };
        let client = Arc::new(HyperClient::new(Arc::new(SystemClock)));
        let lines = LogTailConfig {
            start_at: StartAt::Beginning,
            lines: LogLinesConfig {
                target: Some(labels),
                ..LogLinesConfig::default()
            },
            ..LogTailConfig::new(&spec.log_file)
        };
        let tail = LogTail::new(lines, Arc::new(SystemClock))?;
        let tree = LiveTree::new(&spec.project, &spec.sessions);
        let watch = VerificationSpec {
            wait: Duration::from_millis(500),
            interval: INTERVAL,
            watch: Duration::from_secs(20),
            ..VerificationSpec::default()
        };
        let patching = Patching::new(&spec.project, tree)
            .patcher(HidingPatcher)
            .patcher(TemplatePatcher::built_in()?)
            .check(PatchValidator::default())
            .check(replay(spec, log)?)
            .then(SwapWorker::NAME, Map::new())
            .max_risk(RiskLevel::Medium)
            .verified_by(watch);
        Ok(builder
            .action(SwapWorker::new(spec, traffic, supervisor))
            .probe(HttpProbe::new(health, client)?)
            .probe(LogTailProbe::new("labels-log", tail).every(INTERVAL))
            .patching(patching))
    }

    /// Serves customers and records what they were refused, for good.
    pub(super) async fn tend(labels: Option<&Self>, healer: &Homeostasis) -> Result<(), BoxError> {
        let Some(labels) = labels else {
            return std::future::pending().await;
        };
        tokio::select! {
            served = labels.front.serve() => served,
            () = labels.record_failures(healer) => Ok(()),
        }
    }

    async fn record_failures(&self, healer: &Homeostasis) {
        let key = SeriesKey::new("front_failures_5s").with("service", ServiceName::Labels.as_str());
        let gauge = healer.recorder().series(&key);
        let mut looks = VecDeque::from([self.front.n_failed()]);
        loop {
            let n_failed = self.front.n_failed();
            let before = looks.front().copied().unwrap_or(n_failed);
            gauge.record((n_failed - before) as f64);
            looks.push_back(n_failed);
            if looks.len() > LOOKS {
                looks.pop_front();
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}
