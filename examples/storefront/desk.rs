//! The operator's desk: where people order releases, close incidents and look things up, on an address
//! that customers do not have. One half is served by the shop, the other is how the conductor asks.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use homeostasis::Homeostasis;
use homeostasis::core::IncidentId;
use homeostasis::core::port::{MemoryRouter, TrafficRouter, Weights};
use homeostasis::remediate::rollout::Rollout;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::BoxError;
use crate::deployment::ServiceName;
use crate::http::Call;
use crate::service::{listen, problem, retry};
use crate::world::World;

/// An order to close an incident, with what the person says about it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Close {
    note: String,
}

/// What became of an order.
#[derive(Debug, Serialize, Deserialize)]
struct Ordered {
    incident: String,
}

/// Serves operators for good.
pub(crate) async fn serve(
    address: SocketAddr,
    healer: &Homeostasis,
    router: Arc<MemoryRouter>,
) -> Result<(), BoxError> {
    let healing = Router::new()
        .route("/rollouts", post(take_order))
        .route("/incidents/{id}/close", post(take_close))
        .route("/incidents/{id}/healing", get(tell_healing))
        .with_state(healer.clone());
    let traffic = Router::new()
        .route("/weights/{service}", get(tell_weights))
        .with_state(router);
    let listener = retry(|| async { listen(address) }).await?;
    Ok(axum::serve(listener, healing.merge(traffic)).await?)
}

async fn take_order(State(healer): State<Homeostasis>, Json(rollout): Json<Rollout>) -> Response {
    match healer.roll_out(&rollout, "operator").await {
        Ok(incident) => Json(Ordered {
            incident: incident.to_string(),
        })
        .into_response(),
        Err(error) => problem(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
    }
}

async fn take_close(
    State(healer): State<Homeostasis>,
    Path(id): Path<IncidentId>,
    Json(order): Json<Close>,
) -> Response {
    match healer.close_incident(id, "operator", order.note).await {
        Ok(()) => Json(json!({})).into_response(),
        Err(error) => problem(StatusCode::CONFLICT, error.to_string()),
    }
}

async fn tell_healing(State(healer): State<Homeostasis>, Path(id): Path<IncidentId>) -> Response {
    match healer.healing_events(id).await {
        Ok(documents) => Json(documents).into_response(),
        Err(error) => problem(StatusCode::NOT_FOUND, error.to_string()),
    }
}

async fn tell_weights(
    State(router): State<Arc<MemoryRouter>>,
    Path(service): Path<String>,
) -> Response {
    match router.weights(&service).await {
        Ok(weights) => Json(weights).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// Orders a release; returns its incident.
pub(crate) async fn order(world: &World, rollout: &Rollout) -> Result<String, BoxError> {
    let desk = world.deployment.desk;
    let call = Call::post(desk, "/rollouts", serde_json::to_value(rollout)?);
    let answer = world.ask(call).await?;
    Ok(answer.json::<Ordered>()?.incident)
}

/// Closes an incident, with what the person says about it.
pub(crate) async fn close(world: &World, id: &str, note: String) -> Result<(), BoxError> {
    let path = format!("/incidents/{id}/close");
    let order = serde_json::to_value(Close { note })?;
    let call = Call::post(world.deployment.desk, path, order);
    world.command(call).await
}

/// The documents of the patches of an incident.
pub(crate) async fn healing(world: &World, id: &str) -> Result<Value, BoxError> {
    let path = format!("/incidents/{id}/healing");
    let call = Call::get(world.deployment.desk, path);
    Ok(world.ask(call).await?.json()?)
}

/// How the requests of a service are shared among its slots.
pub(crate) async fn weights(world: &World, service: ServiceName) -> Result<Weights, BoxError> {
    let call = Call::get(world.deployment.desk, format!("/weights/{service}"));
    Ok(world.ask(call).await?.json()?)
}
