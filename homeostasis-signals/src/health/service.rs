//! The health endpoint.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use homeostasis_core::{Clock, Target};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tower_service::Service;

use super::board::HealthBoard;
use super::snapshot::HealthStatus;

/// Answers `GET` and `HEAD` for health.
///
/// | path | says | status |
/// |---|---|---|
/// | `/health` | every component, and the worst state of all | 200 if that is *healthy* or *degraded*, else 503 |
/// | `/health/ready` | the worst state of what this process needs ([`ready_about`](Self::ready_about)) | the same |
/// | `/health/live` | that the process answers | 200 |
///
/// `/health/live` looks at no check: who restarts a process because a neighbor is ill makes it
/// worse. *Unknown* (nothing reported, or nothing for too long) is 503: no data is not health.
/// Other methods get 405, other paths 404. Mounted below a path of its own, such as with axum's
/// `nest_service("/health", service)`, it answers to `/`, `/ready` and `/live`.
///
/// Bodies are `application/json`, a [`HealthSnapshot`](super::HealthSnapshot) or its `state` alone:
/// `{"state":"degraded","at":"…","components":[{"target":"shop","check":"http","tier":"shallow",
/// "state":"degraded","since":"…","at":"…","latency_ms":1204.5,"attempts":1}]}`. It is not
/// `application/health+json`, whose draft expired and knows three states. Nothing is cached.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use homeostasis::SystemClock;
/// use homeostasis::core::Target;
/// use homeostasis::signals::{HealthBoard, HealthService};
///
/// let board = HealthBoard::default();
/// let service = HealthService::new(board, Arc::new(SystemClock))
///     .ready_about([Target::service("shop")?]);
/// let router: axum::Router = axum::Router::new().nest_service("/health", service);
/// # let _ = router;
/// # Ok::<(), homeostasis::core::NameError>(())
/// ```
#[derive(Debug, Clone)]
pub struct HealthService {
    board: HealthBoard,
    clock: Arc<dyn Clock>,
    ready_about: Option<Arc<[Target]>>,
}

impl HealthService {
    /// Shows `board`.
    pub fn new(board: HealthBoard, clock: Arc<dyn Clock>) -> Self {
        Self {
            board,
            clock,
            ready_about: None,
        }
    }

    /// The same, ready if all is well with these targets, their services and their instances. By
    /// default every component counts, those of neighbors too.
    pub fn ready_about(mut self, targets: impl IntoIterator<Item = Target>) -> Self {
        self.ready_about = Some(targets.into_iter().collect());
        self
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let path = path.strip_prefix("/health").unwrap_or(path);
        let now = self.clock.now();
        let (state, body) = match path.trim_end_matches('/') {
            "" => {
                let snapshot = self.board.snapshot(now);
                // Names, numbers and texts: there is nothing JSON cannot hold.
                let body = serde_json::to_vec(&snapshot).unwrap_or_default();
                (snapshot.state, body)
            }
            "/ready" => {
                let snapshot = self.board.snapshot(now);
                let state = match &self.ready_about {
                    Some(targets) => snapshot.state_of(targets),
                    None => snapshot.state,
                };
                (state, brief(state))
            }
            "/live" => (HealthStatus::Healthy, brief(HealthStatus::Healthy)),
            _ => return plain(StatusCode::NOT_FOUND),
        };
        if method != Method::GET && method != Method::HEAD {
            let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED);
            let allowed = HeaderValue::from_static("GET, HEAD");
            refused.headers_mut().insert(ALLOW, allowed);
            return refused;
        }
        let status = if state.is_up() {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        let mut answer = plain(status);
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        if method == Method::GET {
            *answer.body_mut() = Full::new(Bytes::from(body));
        }
        answer
    }
}

fn brief(state: HealthStatus) -> Vec<u8> {
    json!({ "state": state }).to_string().into_bytes()
}

fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

impl<B> Service<Request<B>> for HealthService {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.answer(request.method(), request.uri().path())))
    }
}

#[cfg(test)]
mod tests;
