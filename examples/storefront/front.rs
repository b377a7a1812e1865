//! The fronts of the quotes and the labels: they live in the shop and share the requests among the
//! workers of both slots, by weights that the healer shifts. An operator orders releases here.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use homeostasis::core::IncidentId;
use homeostasis::core::port::{MemoryArms, MemoryRouter, TrafficRouter, Weights};
use homeostasis::remediate::rollout::Rollout;
use homeostasis::remediate::traffic::WeightedService;
use homeostasis::{Homeostasis, SystemClock};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tower_service::Service;

use crate::BoxError;
use crate::deployment::{ServiceName, Slot};
use crate::http::{Call, Client};
use crate::service::{listen, problem, retry};

/// Chance of the front's draws.
const SEED: u64 = 7;

/// What fronts share: where the traffic goes, and what each slot answered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traffic {
    pub(crate) router: Arc<MemoryRouter>,
    pub(crate) arms: Arc<MemoryArms>,
}

/// Who serves in a slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Served {
    pub(crate) slot: Slot,
    pub(crate) address: SocketAddr,
    pub(crate) is_running: bool,
}

/// Routes requests, and counts what each slot answers.
#[derive(Debug)]
pub(crate) struct Front {
    address: SocketAddr,
    traffic: Traffic,
    n_failed: Arc<AtomicU64>,
    service: WeightedService<Worker, Request<Body>>,
}

/// An order to close an incident, with what the person says about it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Close {
    pub(crate) note: String,
}

/// What became of an order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ordered {
    pub(crate) incident: String,
}

impl Front {
    /// The slot whose worker runs has the traffic.
    pub(crate) fn new(
        name: ServiceName,
        address: SocketAddr,
        served: &[Served],
        traffic: &Traffic,
    ) -> Result<Self, BoxError> {
        let client = Arc::new(Client::default());
        let n_failed = Arc::new(AtomicU64::new(0));
        let slots = served.iter().map(|served| {
            let worker = Worker {
                name,
                slot: served.slot,
                address: served.address,
                client: Arc::clone(&client),
                arms: Arc::clone(&traffic.arms),
                n_failed: Arc::clone(&n_failed),
            };
            (served.slot.as_str(), worker)
        });
        let mut running = served.iter().filter(|it| it.is_running);
        let first = running.next().map_or(Slot::Blue, |worker| worker.slot);
        let all = Weights::new(Slot::ALL.map(|slot| (slot.as_str(), u32::from(slot == first))))?;
        let (router, name) = (&traffic.router, name.as_str());
        let clock = Arc::new(SystemClock);
        let service = WeightedService::new(router, name, slots, &all, clock, SEED)?;
        Ok(Self {
            address,
            traffic: traffic.clone(),
            n_failed,
            service: service.failing_when(|answer: &Response| answer.status().is_server_error()),
        })
    }

    /// How many requests failed so far.
    pub(crate) fn n_failed(&self) -> u64 {
        self.n_failed.load(Ordering::SeqCst)
    }

    /// Serves customers for good.
    pub(crate) async fn serve_customers(&self) -> Result<(), BoxError> {
        let router = Router::new().fallback_service(self.service.clone());
        let listener = retry(|| async { listen(self.address) }).await?;
        Ok(axum::serve(listener, router).await?)
    }

    /// Serves customers, and operators under `/admin`, for good.
    pub(crate) async fn serve(&self, healer: &Homeostasis) -> Result<(), BoxError> {
        let admin = Router::new()
            .route("/admin/rollouts", post(roll_out))
            .route("/admin/incidents/{id}/close", post(close))
            .route("/admin/incidents/{id}/healing", get(healing))
            .with_state(healer.clone());
        let weights = Router::new()
            .route("/admin/weights/{service}", get(weights))
            .with_state(Arc::clone(&self.traffic.router));
        let router = admin.merge(weights).fallback_service(self.service.clone());
        let listener = retry(|| async { listen(self.address) }).await?;
        Ok(axum::serve(listener, router).await?)
    }
}

async fn weights(State(router): State<Arc<MemoryRouter>>, Path(service): Path<String>) -> Response {
    match router.weights(&service).await {
        Ok(weights) => Json(weights).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn roll_out(State(healer): State<Homeostasis>, Json(rollout): Json<Rollout>) -> Response {
    match healer.roll_out(&rollout, "operator").await {
        Ok(incident) => Json(Ordered {
            incident: incident.to_string(),
        })
        .into_response(),
        Err(error) => problem(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
    }
}

async fn close(
    State(healer): State<Homeostasis>,
    Path(id): Path<IncidentId>,
    Json(order): Json<Close>,
) -> Response {
    match healer.close_incident(id, "operator", order.note).await {
        Ok(()) => Json(json!({})).into_response(),
        Err(error) => problem(StatusCode::CONFLICT, error.to_string()),
    }
}

/// The documents of the patches of an incident.
async fn healing(State(healer): State<Homeostasis>, Path(id): Path<IncidentId>) -> Response {
    match healer.healing_events(id).await {
        Ok(documents) => Json(documents).into_response(),
        Err(error) => problem(StatusCode::NOT_FOUND, error.to_string()),
    }
}

/// Passes requests on to the worker of one slot.
#[derive(Debug, Clone)]
struct Worker {
    name: ServiceName,
    slot: Slot,
    address: SocketAddr,
    client: Arc<Client>,
    arms: Arc<MemoryArms>,
    n_failed: Arc<AtomicU64>,
}

impl Service<Request<Body>> for Worker {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let worker = self.clone();
        let call = Call {
            method: request.method().clone(),
            ..Call::get(self.address, request.uri().path())
        };
        Box::pin(async move {
            let started = Instant::now();
            let answer = match worker.client.send(&call).await {
                Ok(answer) => (answer.status, answer.body).into_response(),
                Err(error) => problem(StatusCode::BAD_GATEWAY, crate::chain(&error)),
            };
            let is_failed = answer.status().is_server_error();
            if is_failed {
                worker.n_failed.fetch_add(1, Ordering::SeqCst);
            }
            let arm = (worker.name.as_str(), worker.slot.as_str());
            worker
                .arms
                .record(&SystemClock, arm, started.elapsed(), is_failed);
            Ok(answer)
        })
    }
}
