//! Orders: accepts them, keeps them on its own disk, and tells which there are.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::order_log::{Order, OrderLog};
use super::{problem, request_id};
use crate::BoxError;
use crate::args::ServiceOptions;
use crate::json_log::JsonLog;

#[derive(Debug)]
struct Orders {
    log: Mutex<OrderLog>,
    events: JsonLog,
}

/// Which orders are asked for; the newest come last.
#[derive(Debug, Deserialize)]
struct Wanted {
    product: Option<u64>,
    /// Without it: all.
    limit: Option<usize>,
}

/// An order as the client places it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOrder {
    product: u64,
    quantity: u32,
}

pub(super) fn router(options: &ServiceOptions, events: &JsonLog) -> Result<Router, BoxError> {
    let (log, cut) = OrderLog::open(&options.data_dir.join("orders.log"))?;
    if cut > 0 {
        events.warn(
            "cut a torn record off the order log",
            json!({"cut_bytes": cut, "orders": log.orders().len()}),
        );
    }
    let orders = Orders {
        log: Mutex::new(log),
        events: events.clone(),
    };
    Ok(Router::new()
        .route("/orders", get(list).post(accept))
        .with_state(Arc::new(orders)))
}

async fn list(State(orders): State<Arc<Orders>>, Query(wanted): Query<Wanted>) -> Json<Vec<Order>> {
    let log = orders.log.lock().unwrap_or_else(PoisonError::into_inner);
    let mut found: Vec<Order> = log
        .orders()
        .iter()
        .rev()
        .filter(|order| {
            wanted
                .product
                .is_none_or(|product| order.product == product)
        })
        .take(wanted.limit.unwrap_or(usize::MAX))
        .cloned()
        .collect();
    found.reverse();
    Json(found)
}

async fn accept(
    State(orders): State<Arc<Orders>>,
    headers: HeaderMap,
    Json(order): Json<NewOrder>,
) -> Response {
    if order.quantity == 0 {
        return problem(
            StatusCode::UNPROCESSABLE_ENTITY,
            "quantity is 0, expected 1 or more",
        );
    }
    let writer = Arc::clone(&orders);
    let kept = tokio::task::spawn_blocking(move || {
        let mut log = writer.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.append(order.product, order.quantity)
    })
    .await;
    let error = match kept {
        Ok(Ok(order)) => return (StatusCode::CREATED, Json(order)).into_response(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    orders.events.error(
        "cannot keep an order",
        json!({"request_id": request_id(&headers), "error": error}),
    );
    problem(StatusCode::INTERNAL_SERVER_ERROR, "the order was not kept")
}
