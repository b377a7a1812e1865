//! How Homeostasis is embedded in the shop.
//!
//! The seam: [`tend`] gets the [`Shop`] and nothing else. The [`Deployment`](crate::deployment)
//! in it names what a stranger would be told: health and metrics pages, JSON logs, pid files,
//! deployment slots, flags. About faults it knows nothing.

mod actions;
mod events;
mod hiding;
mod labels;
mod pager;
mod probes;
mod releases;
mod replay;
mod swap;

use std::sync::Arc;
use std::time::Duration;

use homeostasis::core::{ConfigError, Target};
use homeostasis::detect::{
    Alerting, AlertingConfig, Amount, PerSeries, Selector, Trend, TrendConfig,
};
use homeostasis::{Builder, ConfigSource, Homeostasis};
use serde_json::json;

use self::labels::Labels;
use crate::BoxError;
use crate::deployment::{ServiceName, Slot};
use crate::desk;
use crate::front::{Front, Served, Traffic};
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
        if shop.deployment.labels.is_some() {
            let labels = Slot::Blue.process_of(ServiceName::Labels);
            supervisor.start(&labels).await?;
        }
    }
    let traffic = Traffic::default();
    let quotes = &shop.deployment.quotes;
    let served = quotes.workers.iter().map(|worker| Served {
        slot: worker.slot,
        address: worker.service.address,
        is_running: worker.service.running().is_some(),
    });
    let served: Vec<_> = served.collect();
    let front = Front::new(ServiceName::Quotes, quotes.front, &served, &traffic)?;
    let labels = shop.deployment.labels.as_ref();
    let labels = labels.map(|spec| Labels::new(spec, &traffic)).transpose()?;
    let mut config = ConfigSource::new(include_str!("homeostasis.yaml"))
        .named("homeostasis.yaml")
        .read()?;
    let rules = shop.deployment.run_dir.join("labels-rules.yaml");
    std::fs::write(&rules, include_str!("rules/labels.yaml"))?;
    config.rules.push(rules);
    let builder = Homeostasis::builder().config(config);
    let builder = builder.store(Arc::new(homeostasis::store::RedbStore::open(
        &shop.deployment.journal_file,
    )?));
    let builder = builder.notifier(Arc::new(pager::Pager::new(shop.log.clone())));
    let builder = watch_memory(builder)?;
    let builder = releases::register(builder, &traffic, &supervisor)?;
    let builder = match &labels {
        Some(labels) => labels.register(builder, &traffic, &supervisor, &shop.log)?,
        None => builder,
    };
    let builder = actions::register(builder, &shop.deployment, supervisor)?;
    let builder = probes::register(builder, &shop.deployment)?;
    let healer = builder.start().await?;
    shop.log.info(
        "tending the shop",
        json!({"kind": "tend", "resumed": healer.recovered().resumed.len()}),
    );
    tokio::select! {
        written = events::write(&healer, &shop.deployment.events_file) => written,
        served = front.serve() => served,
        served = desk::serve(shop.deployment.desk, &healer, Arc::clone(&traffic.router)) => served,
        () = releases::watch(&healer, &shop.deployment) => Ok(()),
        served = Labels::tend(labels.as_ref(), &healer) => served,
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
