//! How Homeostasis is embedded in the shop.
//!
//! The seam: [`tend`] gets the [`Shop`] and nothing else. The [`Deployment`](crate::deployment)
//! in it names what a stranger would be told: health and metrics pages, JSON logs, pid files,
//! deployment slots, flags. About faults it knows nothing.

mod actions;
mod events;
mod pager;
mod probes;
mod releases;

use std::time::Duration;

use homeostasis::core::{ConfigError, Target};
use homeostasis::detect::{
    Alerting, AlertingConfig, Amount, PerSeries, Selector, Trend, TrendConfig,
};
use homeostasis::{Builder, ConfigSource, Homeostasis};
use serde_json::json;

use crate::BoxError;
use crate::deployment::{ServiceName, Slot};
use crate::front::Front;
use crate::shop::Shop;

/// Opens the shop, or adopts what an earlier shop left running, and keeps it for good.
pub(crate) async fn tend(shop: &Shop) -> Result<(), BoxError> {
    let first_life = !shop.deployment.journal_file.exists();
    let supervisor = actions::supervisor(&shop.deployment)?;
    if first_life {
        for service in &shop.deployment.services {
            supervisor.start(service.name.as_str()).await?;
        }
        supervisor.start(&Slot::Blue.process()).await?;
    }
    let front = Front::new(&shop.deployment.quotes)?;
    let config = ConfigSource::new(include_str!("homeostasis.yaml"))
        .named("homeostasis.yaml")
        .read()?;
    let builder = Homeostasis::builder().config(config);
    let builder = builder.store(std::sync::Arc::new(homeostasis::store::RedbStore::open(
        &shop.deployment.journal_file,
    )?));
    let builder = builder.notifier(std::sync::Arc::new(pager::Pager::new(shop.log.clone())));
    let builder = watch_memory(builder)?;
    let builder = releases::register(builder, &front, &supervisor)?;
    let builder = actions::register(builder, &shop.deployment, supervisor)?;
    let builder = probes::register(builder, &shop.deployment)?;
    let healer = builder.start().await?;
    shop.log.info(
        "tending the shop",
        json!({"kind": "tend", "resumed": healer.recovered().resumed.len()}),
    );
    tokio::select! {
        written = events::write(&healer, &shop.deployment.events_file) => written,
        served = front.serve(&healer) => served,
        () = releases::watch(&healer, &shop.deployment) => Ok(()),
    }
}

/// Memory that grows by more than this within the window is a leak.
const LEAK_BYTES: f64 = 20e6;

fn watch_memory(builder: Builder) -> Result<Builder, ConfigError> {
    let template = Trend::new(TrendConfig {
        window: Duration::from_secs(6),
        n_buckets: 12,
        min_points: 8,
        min_growth: Amount::Absolute(LEAK_BYTES),
        ..TrendConfig::default()
    })?;
    let selector = Selector::metric("process_resident_memory_bytes");
    let growth = PerSeries::new("memory_leak", selector, move |_| template.clone())?;
    // As long as it leaks it is said again; its silence would be taken for recovery.
    let alerting = Alerting::new(AlertingConfig {
        reraise: Some(Duration::from_secs(3)),
        ..AlertingConfig::default()
    })?;
    Ok(builder.detector(growth.with_alerting(alerting)))
}

fn target(name: ServiceName) -> Result<Target, BoxError> {
    Ok(Target::service(name.as_str())?)
}
