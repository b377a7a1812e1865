//! The carrier: somebody else's service, of which the shop only knows the address. It lives in the
//! conductor, who has it fall silent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use crate::BoxError;
use crate::service::listen;
use crate::service::quotes::Surcharge;

/// Answers until it is told not to; ends with the conductor.
#[derive(Debug)]
pub(crate) struct Carrier {
    answers: Arc<AtomicBool>,
}

impl Carrier {
    pub(crate) fn start(address: SocketAddr) -> Result<Self, BoxError> {
        let answers = Arc::new(AtomicBool::new(true));
        let router = Router::new()
            .route("/surcharge", get(surcharge))
            .with_state(Arc::clone(&answers));
        let listener = listen(address)?;
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { answers })
    }

    /// From now on it answers, or does not.
    pub(crate) fn set_answering(&self, answers: bool) {
        self.answers.store(answers, Ordering::Relaxed);
    }
}

async fn surcharge(State(answers): State<Arc<AtomicBool>>) -> Response {
    if answers.load(Ordering::Relaxed) {
        Json(Surcharge { percent: 7 }).into_response()
    } else {
        StatusCode::SERVICE_UNAVAILABLE.into_response()
    }
}
