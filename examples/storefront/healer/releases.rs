//! How a new version of the quotes comes to its traffic: what a rollout may do, who decides, and
//! what is watched of the workers.

use std::sync::Arc;
use std::time::Duration;

use homeostasis::core::signal::SeriesKey;
use homeostasis::remediate::action::{
    AwaitCanary, AwaitDrained, ProcessSupervisor, ShiftTraffic, StartProcess, StopProcess,
};
use homeostasis::verify::{CanaryConfig, CanaryJudges};
use homeostasis::{Builder, Homeostasis};

use crate::BoxError;
use crate::deployment::{Deployment, ServiceName};
use crate::front::Traffic;
use crate::http::{Call, Client};
use crate::service::quotes::Known;

/// How often the workers are looked at.
const INTERVAL: Duration = Duration::from_millis(250);

/// Registers what rollouts are made of.
pub(super) fn register(
    builder: Builder,
    traffic: &Traffic,
    supervisor: &ProcessSupervisor,
) -> Result<Builder, BoxError> {
    let (router, arms) = (Arc::clone(&traffic.router), Arc::clone(&traffic.arms));
    // Seconds instead of minutes, as everywhere in this shop; one failure in a hundred is no harm.
    let judges = CanaryJudges::new(CanaryConfig {
        warm_up: Duration::from_secs(1),
        horizon: Duration::from_secs(10),
        negligible: 0.01,
        ..CanaryConfig::default()
    })?;
    let drained = AwaitDrained::new(Arc::clone(&arms) as Arc<_>);
    Ok(builder
        .action(StartProcess::new(supervisor.clone()))
        .action(StopProcess::new(supervisor.clone()))
        .action(ShiftTraffic::new(Arc::clone(&router) as Arc<_>))
        .action(AwaitCanary::new(arms, Arc::new(judges)))
        .action(drained.with_router(router)))
}

/// Records how old the surcharge of each worker is that answers, for good.
pub(super) async fn watch(healer: &Homeostasis, deployment: &Deployment) {
    let recorder = healer.recorder();
    let client = Client::default();
    let workers = deployment.quotes.workers.iter().map(|worker| {
        let key = SeriesKey::new("surcharge_age_seconds")
            .with("service", ServiceName::Quotes.as_str())
            .with("instance", worker.slot.as_str());
        let call = Call::get(worker.service.address, "/surcharge").within(INTERVAL);
        (call, recorder.series(&key))
    });
    let workers: Vec<_> = workers.collect();
    loop {
        for (call, gauge) in &workers {
            if let Ok(answer) = client.send(call).await
                && let Ok(known) = answer.json::<Known>()
            {
                gauge.record(known.age_seconds);
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
