//! The shop's programs. They know nothing about Homeostasis: what they offer is what any service
//! offers, a health page, metrics, logs, and a few operator's endpoints.

pub(crate) mod catalog;
pub(crate) mod gateway;
mod metrics;
pub(crate) mod order_log;
mod orders;
pub(crate) mod quotes;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};

use crate::BoxError;
use crate::args::ServiceOptions;
use crate::deployment::ServiceName;
use crate::files::write_atomically;
use crate::http::REQUEST_ID;
use crate::json_log::JsonLog;
use crate::process::PidFile;
use metrics::Metrics;

/// How long a new process waits for its predecessor to let go of the pid file and the port.
const HANDOVER: Duration = Duration::from_secs(3);

/// Runs one service until SIGTERM.
pub(crate) async fn run(options: ServiceOptions) -> Result<ExitCode, BoxError> {
    let _pid_file = retry(|| async { PidFile::claim(&options.pid_file) }).await?;
    let log = JsonLog::open(&options.log_file, options.name.as_str())?;
    let outcome = serve(&options, &log).await;
    match &outcome {
        Ok(()) => log.info("stopped", json!({"kind": "stop"})),
        Err(error) => log.error("cannot run", json!({"error": error.to_string()})),
    }
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn serve(options: &ServiceOptions, log: &JsonLog) -> Result<(), BoxError> {
    let metrics = Arc::new(Metrics::new(options.name));
    let (router, version) = match options.name {
        ServiceName::Gateway => gateway::router(options, log, &metrics)?,
        ServiceName::Orders => (
            orders::router(options, log)?,
            env!("CARGO_PKG_VERSION").into(),
        ),
        ServiceName::Catalog => (catalog::router(log), env!("CARGO_PKG_VERSION").into()),
        ServiceName::Quotes => quotes::router(options, log)?,
        ServiceName::Labels => return Err("labels is a program in Python".into()),
    };
    let router = router
        .layer(middleware::from_fn_with_state(
            Arc::clone(&metrics),
            metrics::record,
        ))
        .merge(
            Router::new()
                .route("/healthz", get(|| async { "ok\n" }))
                .route("/metrics", get(show_metrics))
                .with_state(Arc::clone(&metrics)),
        );
    let listener = retry(|| async { listen(options.listen) }).await?;
    metrics.set_version(&version);
    record_start(options, log, &version)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let drained = axum::serve(listener, router).with_graceful_shutdown(async move {
        terminate.recv().await;
    });
    drained.await?;
    Ok(())
}

async fn show_metrics(State(metrics): State<Arc<Metrics>>) -> String {
    metrics.render()
}

/// A listening socket; an address in `TIME_WAIT` is no obstacle.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

/// Tries for [`HANDOVER`], because a predecessor may still be on its way out.
pub(crate) async fn retry<T, F: Future<Output = io::Result<T>>>(
    attempt: impl Fn() -> F,
) -> io::Result<T> {
    let started = std::time::Instant::now();
    loop {
        match attempt().await {
            Err(error)
                if started.elapsed() < HANDOVER
                    && matches!(
                        error.kind(),
                        io::ErrorKind::AddrInUse | io::ErrorKind::WouldBlock
                    ) =>
            {
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            outcome => return outcome,
        }
    }
}

/// Logs a deployment if this version never ran here before or another ran last, else a start.
fn record_start(options: &ServiceOptions, log: &JsonLog, version: &str) -> io::Result<()> {
    let remembered = options.data_dir.join("version");
    let previous = fs::read_to_string(&remembered).ok();
    if previous.as_deref() == Some(version) {
        log.info("started", json!({"kind": "start", "version": version}));
        return Ok(());
    }
    log.info(
        "deployed",
        json!({"kind": "deploy", "version": version, "previous": previous}),
    );
    write_atomically(&remembered, version.as_bytes())
}

/// The id that follows a request through the services.
fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .unwrap_or("-")
        .to_owned()
}

/// An answer in JSON that says what went wrong.
pub(crate) fn problem(status: StatusCode, error: impl Into<String>) -> Response {
    (status, axum::Json(json!({"error": error.into()}))).into_response()
}
