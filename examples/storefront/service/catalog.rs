//! The catalog: products in memory, and two ways to fall ill that a restart cures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Mutex;

use super::problem;
use crate::json_log::JsonLog;

/// Products have the ids `1..=PRODUCTS`.
pub(crate) const PRODUCTS: u64 = 500;

/// The leak stops here: the example must not harm the machine it runs on.
const LEAK_LIMIT_BYTES: usize = 768 * 1024 * 1024;

/// How often the leak grows.
const LEAK_STEP: Duration = Duration::from_millis(100);

/// A product as the catalog tells it; prices are in tenths of a cent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Product {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) price_mills: u64,
}

/// Illnesses as the conductor orders them; a field left out stays as it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultOrder {
    leak_bytes_per_second: Option<u64>,
    slow_ms: Option<u64>,
}

#[derive(Debug)]
struct Catalog {
    products: Vec<Product>,
    /// Every lookup takes its turn here; as long as `slow_ms` is zero it is over at once.
    stock: Mutex<()>,
    slow_ms: AtomicU64,
    leak_bytes_per_second: AtomicU64,
}

pub(super) fn router(log: &JsonLog) -> Router {
    let catalog = Arc::new(Catalog {
        products: (1..=PRODUCTS)
            .map(|id| Product {
                id,
                name: format!("Product {id}"),
                price_mills: 995 + id * 7919 % 90_000,
            })
            .collect(),
        stock: Mutex::default(),
        slow_ms: AtomicU64::new(0),
        leak_bytes_per_second: AtomicU64::new(0),
    });
    tokio::spawn(leak(Arc::clone(&catalog), log.clone()));
    Router::new()
        .route("/products/{id}", get(product))
        .route("/admin/fault", post(fall_ill))
        .with_state(catalog)
}

async fn product(State(catalog): State<Arc<Catalog>>, Path(id): Path<u64>) -> Response {
    let _turn = catalog.stock.lock().await;
    let slow = catalog.slow_ms.load(Ordering::Relaxed);
    if slow > 0 {
        // The turn is kept: whoever comes next waits, and the queue grows.
        tokio::time::sleep(Duration::from_millis(slow)).await;
    }
    match catalog.products.iter().find(|product| product.id == id) {
        Some(product) => Json(product).into_response(),
        None => problem(StatusCode::NOT_FOUND, format!("no product {id}")),
    }
}

async fn fall_ill(
    State(catalog): State<Arc<Catalog>>,
    Json(order): Json<FaultOrder>,
) -> StatusCode {
    if let Some(slow_ms) = order.slow_ms {
        catalog.slow_ms.store(slow_ms, Ordering::Relaxed);
    }
    if let Some(rate) = order.leak_bytes_per_second {
        catalog.leak_bytes_per_second.store(rate, Ordering::Relaxed);
    }
    StatusCode::NO_CONTENT
}

/// Keeps allocating as long as it is told to; what it got it never gives back.
async fn leak(catalog: Arc<Catalog>, log: JsonLog) {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let mut kept_bytes = 0;
    let mut tick = tokio::time::interval(LEAK_STEP);
    loop {
        tick.tick().await;
        let rate = catalog.leak_bytes_per_second.load(Ordering::Relaxed);
        let step = usize::try_from(rate / 10).unwrap_or(usize::MAX);
        if step == 0 {
            continue;
        }
        if step > LEAK_LIMIT_BYTES - kept_bytes {
            log.warn("memory is short", json!({"cached_bytes": kept_bytes}));
            return;
        }
        // Bytes other than zero: the pages are touched and so really there.
        kept.push(vec![0xA5; step]);
        kept_bytes += step;
    }
}
