//! Where this is going: an axum service that heals itself, with 25 lines of our API.
//!
//! The service's cache falls ill and its health page says so; Homeostasis, embedded in the same
//! process, notices, asks its gate, clears the cache, and proves that it helped.
//! The same code stands in the README. `cargo run --example embed` shows it in a few seconds.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "an example speaks to its user, and the host spawns its own tasks"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::{Router, http::StatusCode, routing::get};
use homeostasis::core::{Target, record::EventKind};
use homeostasis::remediate::action::ClearCache;
use homeostasis::signals::{HttpProbe, HttpProbeConfig, HyperClient};
use homeostasis::{Config, Homeostasis, SystemClock};
use tracing_subscriber::prelude::*;

const CONFIG: &str = "
mode: auto                                  # the default only observes
policy: { pre_approved: [clear-cache] }
services: { shop: {} }
";

const PLAYBOOK: &str = "
playbook_id: clear-cache
name: Clear the cache
version: 1.0.0
trigger: { condition: up == 0, duration: 500ms, service: shop }
remediation_steps:
  - { action: clear_cache, cache: products }
verification: { check: up == 1, consecutive: 3, wait_time: 200ms, interval: 200ms, watch: 10s }
";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A service of yours, with a cache that can fall ill.
    let poisoned = Arc::new(AtomicBool::new(false));
    let cache = Arc::clone(&poisoned);
    let health = move || async move {
        if cache.load(Ordering::SeqCst) {
            StatusCode::INTERNAL_SERVER_ERROR
        } else {
            StatusCode::OK
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/healthz", listener.local_addr()?);
    tokio::task::spawn(
        axum::serve(listener, Router::new().route("/healthz", get(health))).into_future(),
    );

    // Homeostasis: what to watch, what may be done, when to do it.
    let (shop, cache) = (Target::service("shop")?, Arc::clone(&poisoned));
    let clear = ClearCache::default().cache("products", shop.clone(), move || {
        let dropped = u64::from(cache.swap(false, Ordering::SeqCst));
        Box::pin(async move { Ok(dropped) })
    })?;
    let client = Arc::new(HyperClient::new(Arc::new(SystemClock)));
    let probe = HttpProbeConfig {
        interval: Duration::from_millis(200),
        ..HttpProbeConfig::new("shop-http", shop, url)
    };
    let healer = Homeostasis::builder()
        .config(Config::parse(CONFIG)?)
        .probe(HttpProbe::new(probe, client)?)
        .action(clear)
        .playbook("clear-cache.yaml", PLAYBOOK)
        .start()
        .await?;
    tracing_subscriber::registry()
        .with(healer.tracing_layer("shop")?)
        .init();

    // It falls ill, and is healed.
    let mut events = healer.subscribe();
    poisoned.store(true, Ordering::SeqCst);
    tracing::error!("the cache returned a product of another shop");
    while let Some(event) = events.next().await {
        println!("{event}");
        if matches!(event.kind, EventKind::Closed { .. }) {
            break;
        }
    }
    healer.shutdown().await;
    assert!(!poisoned.load(Ordering::SeqCst), "the cache is still ill");
    Ok(())
}
