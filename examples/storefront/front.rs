//! The front of the quotes: it lives in the shop and shares the requests among the workers of both
//! slots, by weights that the healer shifts. An operator orders releases here.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
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
use crate::deployment::{QuotesSpec, ServiceName, Slot};
use crate::http::{Call, Client};
use crate::service::{listen, problem, retry};

/// Chance of the front's draws.
const SEED: u64 = 7;

/// Routes requests, and counts what each slot answers.
#[derive(Debug)]
pub(crate) struct Front {
    address: SocketAddr,
    pub(crate) router: Arc<MemoryRouter>,
    pub(crate) arms: Arc<MemoryArms>,
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
    pub(crate) fn new(spec: &QuotesSpec) -> Result<Self, BoxError> {
        let router = Arc::new(MemoryRouter::default());
        let arms = Arc::new(MemoryArms::default());
        let client = Arc::new(Client::default());
        let slots = spec.workers.iter().map(|worker| {
            let served = Worker {
                slot: worker.slot,
                address: worker.service.address,
                client: Arc::clone(&client),
                arms: Arc::clone(&arms),
            };
            (worker.slot.as_str(), served)
        });
        let mut running = spec
            .workers
            .iter()
            .filter(|it| it.service.running().is_some());
        let first = running.next().map_or(Slot::Blue, |worker| worker.slot);
        let all = Weights::new(Slot::ALL.map(|slot| (slot.as_str(), u32::from(slot == first))))?;
        let name = ServiceName::Quotes.as_str();
        let clock = Arc::new(SystemClock);
        let service = WeightedService::new(&router, name, slots, &all, clock, SEED)?;
        Ok(Self {
            address: spec.front,
            router,
            arms,
            service: service.failing_when(|answer: &Response| answer.status().is_server_error()),
        })
    }

    /// Serves customers, and operators under `/admin`, for good.
    pub(crate) async fn serve(&self, healer: &Homeostasis) -> Result<(), BoxError> {
        let admin = Router::new()
            .route("/admin/rollouts", post(roll_out))
            .route("/admin/incidents/{id}/close", post(close))
            .with_state(healer.clone());
        let weights = Router::new()
            .route("/admin/weights", get(weights))
            .with_state(Arc::clone(&self.router));
        let router = admin.merge(weights).fallback_service(self.service.clone());
        let listener = retry(|| async { listen(self.address) }).await?;
        Ok(axum::serve(listener, router).await?)
    }
}

async fn weights(State(router): State<Arc<MemoryRouter>>) -> Response {
    match router.weights(ServiceName::Quotes.as_str()).await {
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

/// Passes requests on to the worker of one slot.
#[derive(Debug, Clone)]
struct Worker {
    slot: Slot,
    address: SocketAddr,
    client: Arc<Client>,
    arms: Arc<MemoryArms>,
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
            let arm = (ServiceName::Quotes.as_str(), worker.slot.as_str());
            worker
                .arms
                .record(&SystemClock, arm, started.elapsed(), is_failed);
            Ok(answer)
        })
    }
}
