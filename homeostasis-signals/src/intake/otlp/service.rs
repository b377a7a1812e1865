//! The intake as a service of HTTP.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::Read;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll};

use bytes::BufMut;
use flate2::read::MultiGzDecoder;
use homeostasis_core::signal::{Signal, SignalSink};
use homeostasis_core::{BoxError, BoxFuture, Clock, ConfigError, timeout};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use http::{Method, Request, Response, StatusCode, request};
use http_body::Body;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_service::Service;

use super::config::OtlpIntakeConfig;
use super::decode::{self, OtlpEncoding, OtlpError, OtlpKind, OtlpRequest};
use super::metrics::MetricsFollower;
use super::origin::OtlpOutcome;
use super::reply::{OtlpReply, Refusal, taken};
use super::{logs, traces};

/// The most bytes of a request, once it is decompressed, that are read by a task of the host.
const MAX_INLINE: usize = 64 << 10;
/// The most bytes that one byte of gzip can become; a little more than Deflate allows.
const MAX_GROWTH: usize = 1040;

/// Takes what OpenTelemetry SDKs and collectors export over OTLP/HTTP, and turns it into signals.
///
/// It is a [`tower_service::Service`] that a host mounts beside its own routes, and answers
/// `POST /v1/logs`, `/v1/metrics` and `/v1/traces` in Protocol Buffers and JSON, plain or `gzip`:
///
/// | status | when |
/// |---|---|
/// | 200 | taken; `partial_success` says how many items were refused and why |
/// | 400 | not a message of this kind, with the place and what was expected |
/// | 404, 405, 415 | another path, method, encoding or compression |
/// | 408 | the body took longer than `body_timeout` |
/// | 413 | above `max_body`, `max_decompressed` or `max_decoded` |
/// | 503 | `max_concurrent` requests are being read, or as many times `max_body` bytes have arrived for others; with `retry-after` |
///
/// A refused request has left no signal behind. Clones share everything. A body that is slow to
/// arrive keeps nobody else out. Reading takes time in proportion to the request: that of a small
/// one is done by the task that polls the answer, that of a large one (above 64 KiB once it is
/// decompressed) on the threads that Tokio keeps for what blocks, if it runs on Tokio.
///
/// # Mapping
/// | in OTLP | here |
/// |---|---|
/// | resource `service.name`, `service.instance.id` | target, and the labels `service` and `instance` of series |
/// | other attributes of resource and scope | labels of series and fields of records, if `keep_attributes` names them |
/// | name of the scope | component of log records, field `otel.scope.name` of spans |
/// | `LogRecord` severity number 1–24 | level, in steps of four; without a number its text, or else info |
/// | body | message: text as it is, all else as JSON; without one, the event's name or the exception's message |
/// | attributes | fields, as text: numbers and structures as JSON, bytes in Base64 |
/// | trace id | correlation of log records, trace of spans |
/// | span id | field `span_id` of log records, 16 hexadecimal digits; as number in spans |
/// | attributes `exception.type`, `.message` | error event; the language is that of the SDK; `exception.stacktrace` stays a field |
/// | span: status, parent, kind, status message | status and parent; fields `span.kind` and `status.message` |
/// | span events | log records: an exception at level error, all else at info |
/// | gauge, sum that may fall (cumulative) | series of the same name |
/// | monotonic sum `x` | `x_rate`, per second since the last point, or over the interval of a delta |
/// | histogram, exponential histogram `x` | `x_p50`, `x_p95`, `x_p99` of what came since the last point |
/// | summary `x` | the same, of the quantiles 0.5, 0.95 and 0.99 it has |
/// | time 0 | now |
///
/// Names become those of Prometheus, so that a service is called the same whether it is scraped or
/// exports: `http.server.duration` in `s` gives `http_server_duration_p95_seconds`. Points that
/// differ only in attributes that are not kept are added up (the largest counts for a summary).
/// A restart shows in a later start time or a smaller value, and the series has then grown from 0.
/// The first point of a series gives no rate, unless its source was seen before it began. A point
/// without recorded value ends its series.
///
/// Refused, and told in `partial_success`: spans without valid ids, times after 2262, delta sums
/// that may fall or lack an interval, histograms whose buckets contradict each other, values nested
/// too deep, and what is beyond the limits.
/// Links, exemplars, trace state, flags and dropped counts are not used.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use homeostasis::core::signal::{Signal, VecSink};
/// use homeostasis::core::{ManualClock, Timestamp};
/// use homeostasis::signals::{OtlpEncoding, OtlpIntake, OtlpIntakeConfig, OtlpKind};
///
/// let sink = Arc::new(VecSink::default());
/// let clock = Arc::new(ManualClock::new(Timestamp::from_secs(9)));
/// let intake = OtlpIntake::new(OtlpIntakeConfig::default(), Arc::clone(&sink) as _, clock)?;
/// let request = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[
///     {"severityNumber":17,"body":{"stringValue":"no route"}}]}]}]}"#;
/// let outcome = intake.ingest(OtlpKind::Logs, OtlpEncoding::Json, request)?;
/// assert_eq!(outcome.n_accepted, 1);
/// assert!(matches!(&sink.take()[..], [Signal::Log(log)] if log.message == "no route"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct OtlpIntake {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: OtlpIntakeConfig,
    sink: Arc<dyn SignalSink>,
    clock: Arc<dyn Clock>,
    metrics: Mutex<MetricsFollower>,
    /// Requests that may be read at a time.
    permits: Arc<Semaphore>,
    /// Bytes of bodies that may have arrived and not yet been read.
    room: Arc<Semaphore>,
    n_accepted: AtomicU64,
    n_rejected: AtomicU64,
    n_refused: AtomicU64,
}

/// What an intake has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OtlpStats {
    /// Log records, spans and data points taken.
    pub n_accepted: u64,
    /// Log records, spans and data points refused within requests that were taken.
    pub n_rejected: u64,
    /// Requests refused as a whole.
    pub n_refused: u64,
}

impl OtlpIntake {
    /// An intake that has seen nothing.
    ///
    /// # Errors
    /// - A limit is 0, or `body_timeout` is.
    /// - `keep_attributes` names an empty attribute.
    /// - `error_ratio` names no metric, or the same one twice.
    pub fn new(
        config: OtlpIntakeConfig,
        sink: Arc<dyn SignalSink>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConfigError> {
        config.check().into_result(())?;
        let metrics = Mutex::new(MetricsFollower::new(&config));
        let semaphore = |n: usize| Arc::new(Semaphore::new(n.min(Semaphore::MAX_PERMITS)));
        let permits = semaphore(config.max_concurrent);
        let room = semaphore(config.max_concurrent.saturating_mul(config.max_body));
        let shared = Shared {
            config,
            sink,
            clock,
            metrics,
            permits,
            room,
            n_accepted: AtomicU64::new(0),
            n_rejected: AtomicU64::new(0),
            n_refused: AtomicU64::new(0),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Takes one request that came by other means than HTTP.
    ///
    /// # Errors
    /// Those of [`OtlpRequest::decode`]; nothing was taken then.
    pub fn ingest(
        &self,
        kind: OtlpKind,
        encoding: OtlpEncoding,
        bytes: &[u8],
    ) -> Result<OtlpOutcome, OtlpError> {
        let request = OtlpRequest::decode(kind, encoding, bytes, self.shared.config.max_decoded);
        Ok(self.shared.take(request?))
    }

    /// What it has done so far.
    pub fn stats(&self) -> OtlpStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        OtlpStats {
            n_accepted: of(&self.shared.n_accepted),
            n_rejected: of(&self.shared.n_rejected),
            n_refused: of(&self.shared.n_refused),
        }
    }
}

impl<B> Service<Request<B>> for OtlpIntake
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<OtlpReply>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Readiness is not reserved: whoever comes too many is told so at once.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            // An answer to a request of unknown encoding is for people.
            let encoding = encoding(&head.headers).unwrap_or(OtlpEncoding::Json);
            let answer = shared.answer(&head, body).await;
            Ok(answer.unwrap_or_else(|refusal| {
                shared.n_refused.fetch_add(1, Ordering::Relaxed);
                refusal.reply(encoding)
            }))
        })
    }
}

/// A body that has arrived.
struct Arrived {
    bytes: Vec<u8>,
    gzip: bool,
    kind: OtlpKind,
    encoding: OtlpEncoding,
    /// The room its bytes take, given back with them.
    _room: OwnedSemaphorePermit,
}

impl Shared {
    async fn answer<B>(
        self: &Arc<Self>,
        head: &request::Parts,
        body: B,
    ) -> Result<Response<OtlpReply>, Refusal>
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        let path = head.uri.path();
        let kind = OtlpKind::of_path(path).ok_or_else(|| {
            let expected = "expected /v1/logs, /v1/metrics or /v1/traces";
            Refusal::new(StatusCode::NOT_FOUND, format!("{path}, {expected}"))
        })?;
        if head.method != Method::POST {
            let message = format!("{}, expected POST", head.method);
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message));
        }
        let encoding = encoding(&head.headers).ok_or_else(|| {
            let is = shown(&head.headers, &CONTENT_TYPE);
            let expected = "expected application/x-protobuf or application/json";
            let message = format!("content-type {is}, {expected}");
            Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
        })?;
        let gzip = is_gzip(&head.headers)?;
        let arrival = self.arrival(&head.headers, body);
        let (bytes, room) = timeout(&self.clock, self.config.body_timeout, arrival)
            .await
            .map_err(|_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "body_timeout is over"))??;
        // Only now: whoever is slow to send would keep others out.
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| {
            let message = format!("max_concurrent = {} reached", self.config.max_concurrent);
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message)
        })?;
        let growth = if gzip { MAX_GROWTH } else { 1 };
        let small = bytes.len().saturating_mul(growth) <= MAX_INLINE;
        let arrived = Arrived {
            bytes,
            gzip,
            kind,
            encoding,
            _room: room,
        };
        let outcome = if small {
            match self.try_take(self.read(arrived)?) {
                Ok(outcome) => outcome,
                Err(request) => {
                    let shared = Arc::clone(self);
                    apart(permit, move || shared.take(request)).await?
                }
            }
        } else {
            let shared = Arc::clone(self);
            let read = move || Ok::<_, Refusal>(shared.take(shared.read(arrived)?));
            apart(permit, read).await??
        };
        Ok(taken(kind, encoding, &outcome))
    }

    /// The whole body, and the room it takes.
    async fn arrival<B>(
        &self,
        headers: &HeaderMap,
        body: B,
    ) -> Result<(Vec<u8>, OwnedSemaphorePermit), Refusal>
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        let limit = self.config.max_body;
        let too_large = || too_large("the body", "max_body", limit);
        let announced = headers
            .get(CONTENT_LENGTH)
            .and_then(|n| n.to_str().ok()?.parse().ok());
        if announced.is_some_and(|n: u64| n > limit as u64) {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        let mut room = self.room_for(0)?;
        let mut body = pin!(body);
        while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            let frame = frame.map_err(|error| {
                let message = format!("the body broke off: {}", error.into());
                Refusal::new(StatusCode::BAD_REQUEST, message)
            })?;
            if let Ok(data) = frame.into_data() {
                let n = bytes::Buf::remaining(&data);
                if n > limit - bytes.len() {
                    return Err(too_large());
                }
                room.merge(self.room_for(n)?);
                bytes.put(data);
            }
        }
        Ok((bytes, room))
    }

    /// Room for so many bytes more.
    fn room_for(&self, n: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        u32::try_from(n)
            .ok()
            .and_then(|n| Arc::clone(&self.room).try_acquire_many_owned(n).ok())
            .ok_or_else(|| {
                let (n, each) = (self.config.max_concurrent, self.config.max_body);
                let message =
                    format!("max_concurrent = {n} times max_body = {each} bytes are on their way");
                Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message)
            })
    }

    fn read(&self, arrived: Arrived) -> Result<OtlpRequest, Refusal> {
        let Arrived {
            mut bytes,
            gzip,
            kind,
            encoding,
            _room,
        } = arrived;
        if gzip {
            bytes = self.decompress(&bytes)?;
        }
        let max_decoded = self.config.max_decoded;
        Ok(OtlpRequest::decode(kind, encoding, &bytes, max_decoded)?)
    }

    fn decompress(&self, bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
        let limit = self.config.max_decompressed;
        let mut plain = Vec::new();
        // One byte more shows that there is more.
        let mut reader = MultiGzDecoder::new(bytes).take((limit as u64).saturating_add(1));
        reader.read_to_end(&mut plain).map_err(|error| {
            Refusal::new(
                StatusCode::BAD_REQUEST,
                format!("body: {error}, expected gzip"),
            )
        })?;
        if plain.len() > limit {
            return Err(too_large(
                "the body, once it is decompressed,",
                "max_decompressed",
                limit,
            ));
        }
        Ok(plain)
    }

    /// Gives what a request holds to the sink.
    fn take(&self, request: OtlpRequest) -> OtlpOutcome {
        self.take_with(request, || {
            self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
        })
    }

    /// The same, unless it would have to wait for another request; then that one is given back.
    fn try_take(&self, request: OtlpRequest) -> Result<OtlpOutcome, OtlpRequest> {
        if request.kind() != OtlpKind::Metrics {
            return Ok(self.take(request));
        }
        let metrics = match self.metrics.try_lock() {
            Ok(metrics) => metrics,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(request),
        };
        Ok(self.take_with(request, || metrics))
    }

    fn take_with<'a>(
        &self,
        request: OtlpRequest,
        metrics: impl FnOnce() -> MutexGuard<'a, MetricsFollower>,
    ) -> OtlpOutcome {
        let now = self.clock.now();
        let emit = |signal: Signal| self.sink.signal(signal);
        let outcome = match request.0 {
            decode::Request::Logs(request) => logs::take(request, &self.config, now, emit),
            decode::Request::Traces(request) => traces::take(request, &self.config, now, emit),
            decode::Request::Metrics(request) => {
                let mut metrics = metrics();
                let (measurements, outcome) = metrics.take(request, &self.config, now);
                // Within the lock, so that values of one series go out in order.
                for measurement in measurements {
                    measurement.record(&*self.sink);
                }
                outcome
            }
        };
        let count = |n: usize, counter: &AtomicU64| counter.fetch_add(n as u64, Ordering::Relaxed);
        count(outcome.n_accepted, &self.n_accepted);
        count(outcome.n_rejected, &self.n_rejected);
        outcome
    }
}

/// Does `work` on a thread that may be kept long. The permit lasts as long as the work, which goes
/// on even if nobody waits for it any more.
async fn apart<T: Send + 'static>(
    permit: OwnedSemaphorePermit,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    let work = move || {
        let done = work();
        drop(permit);
        done
    };
    let Ok(runtime) = Handle::try_current() else {
        return Ok(work());
    };
    match runtime.spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the runtime is shutting down",
            )),
        },
    }
}

impl From<OtlpError> for Refusal {
    fn from(error: OtlpError) -> Self {
        let status = match error {
            OtlpError::Malformed { .. } => StatusCode::BAD_REQUEST,
            OtlpError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        };
        Self::new(status, error.to_string())
    }
}

fn too_large(what: &'static str, setting: &'static str, limit: usize) -> Refusal {
    OtlpError::TooLarge {
        what,
        setting,
        limit,
    }
    .into()
}

fn encoding(headers: &HeaderMap) -> Option<OtlpEncoding> {
    OtlpEncoding::of_content_type(headers.get(CONTENT_TYPE)?.to_str().ok()?)
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, Refusal> {
    let Some(value) = headers.get(CONTENT_ENCODING) else {
        return Ok(false);
    };
    match value
        .to_str()
        .map(|value| value.trim().to_ascii_lowercase())
    {
        Ok(value) if value == "gzip" => Ok(true),
        Ok(value) if value.is_empty() || value == "identity" => Ok(false),
        _ => {
            let is = shown(headers, &CONTENT_ENCODING);
            let message = format!("content-encoding {is}, expected gzip or identity");
            Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
        }
    }
}

fn shown(headers: &HeaderMap, name: &http::HeaderName) -> String {
    headers
        .get(name)
        .map_or_else(|| "is missing".to_owned(), |value| format!("{value:?}"))
}

#[cfg(test)]
mod tests;
