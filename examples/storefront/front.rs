//! The fronts of the quotes and the labels: they live in the shop and share the requests among the
//! workers of both slots, by weights that the healer shifts.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use homeostasis::SystemClock;
use homeostasis::core::port::{MemoryArms, MemoryRouter, Weights};
use homeostasis::remediate::traffic::WeightedService;
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
    n_failed: Arc<AtomicU64>,
    service: WeightedService<Worker, Request<Body>>,
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
            n_failed,
            service: service.failing_when(|answer: &Response| answer.status().is_server_error()),
        })
    }

    /// How many requests failed so far.
    pub(crate) fn n_failed(&self) -> u64 {
        self.n_failed.load(Ordering::SeqCst)
    }

    /// Serves customers for good.
    pub(crate) async fn serve(&self) -> Result<(), BoxError> {
        let router = Router::new().fallback_service(self.service.clone());
        let listener = retry(|| async { listen(self.address) }).await?;
        Ok(axum::serve(listener, router).await?)
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
