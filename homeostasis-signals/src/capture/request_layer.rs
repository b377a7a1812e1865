//! Rate, errors and duration of the requests a `tower` service answers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use homeostasis_core::{Clock, Target, Timestamp};
use http::{Method, Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::request_counts::{End, RequestTable, RouteCounts};
use super::route::{RequestHead, RouteSource};
use crate::probe::Probe;

/// A `tower` layer that counts and times HTTP requests by route and method.
///
/// Its [`RequestLayer::probe`] is asked at intervals and gives what happened since it was last
/// asked, about the target:
/// - `http_requests_rate` (answered, per second), `http_requests_cancelled_rate`,
///   `http_requests_in_flight`,
/// - `error_ratio`, if there were requests: those answered with 5xx, with an error of the service or
///   not at all because it panicked,
/// - `http_request_duration_p50_seconds`, `…_p95_…` and `…_p99_…`, to 1.6 %,
/// - the same for each route and method, with the labels `route` and `method`:
///   `http_route_requests_rate`, `http_route_requests_cancelled_rate`, `http_route_error_ratio`,
///   `http_route_request_duration_p50_seconds` …, and `http_route_responses_rate` with the label
///   `class` (`2xx` …).
///
/// These are the names that [`Scraper`](crate::Scraper) gives, so a condition such as
/// `error_ratio > 5% and http_requests_rate > 1` means the same whichever way the figures come.
/// Routes have names of their own, so that one route that fails twice a day is not a service that
/// fails.
///
/// *Duration* is the time from the call to the head of the response, on the injected clock; a body
/// that is streamed afterwards is not part of it.
/// A request whose future is dropped before it is answered was *cancelled*: that is no error of the
/// service, and has no duration.
///
/// *Routes:* by default the path, with `:id` for segments that look like numbers, UUIDs, hashes or
/// tokens; paths answered with 404 or 405 that are not known yet are `:unmatched`, so that a
/// scanner makes no routes. Better is what the router matched ([`RequestLayer::route`]).
/// Beyond [`RequestLayer::max_routes`] pairs of route and method (default 256) all others are
/// `:other`; unusual methods are `OTHER`.
///
/// Nothing else changes: requests, responses, errors, panics and readiness pass as they are.
/// *Cost:* two readings of the clock, one look-up under a read lock, a few atomic additions and the
/// text of the route. 8 KiB for each route and method.
///
/// # Examples
/// ```
/// # use std::sync::Arc;
/// # use homeostasis::core::{ManualClock, Target, Timestamp};
/// use axum::{Router, extract::MatchedPath, routing::get};
/// use homeostasis::signals::RequestLayer;
///
/// # let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
/// let requests = RequestLayer::new(Target::service("shop")?, clock)
///     .route(|head| Some(head.extensions.get::<MatchedPath>()?.as_str().to_owned()));
/// let probe = requests.probe(); // Homeostasis::builder().probe(requests.probe())
/// // A `route_layer` sees the route that matched.
/// let app: Router = Router::new().route("/orders/{id}", get(|| async { "7" })).route_layer(requests);
/// # Ok::<(), homeostasis::core::NameError>(())
/// ```
#[derive(Debug, Clone)]
pub struct RequestLayer {
    table: Arc<RequestTable>,
    clock: Arc<dyn Clock>,
    source: RouteSource,
}

impl RequestLayer {
    /// A layer for the requests that `target` answers.
    pub fn new(target: Target, clock: Arc<dyn Clock>) -> Self {
        Self {
            table: Arc::new(RequestTable::new(target)),
            clock,
            source: RouteSource::default(),
        }
    }

    /// The same, with routes told by the host; `None` or an empty text is `:unmatched`.
    ///
    /// **Warning:** give the route and not the path: each is kept until there is no more room.
    pub fn route(
        mut self,
        route: impl Fn(&RequestHead<'_>) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.source = RouteSource::Host(Arc::new(route));
        self
    }

    /// The same with room for `n` pairs of route and method, at least 1; clones share it.
    pub fn max_routes(self, n: usize) -> Self {
        self.table.set_room(n);
        self
    }

    /// What gives the series; asked every 10 s by a schedule. All probes of a layer and its clones
    /// share its intervals, so ask one of them only.
    pub fn probe(&self) -> Arc<dyn Probe> {
        self.probe_every(Duration::from_secs(10))
    }

    /// The same, asked so often.
    pub fn probe_every(&self, interval: Duration) -> Arc<dyn Probe> {
        Arc::clone(&self.table).into_probe(interval)
    }

    /// What was counted since the layer was made, by route and method.
    pub fn counts(&self) -> Vec<RouteCounts> {
        self.table.counts()
    }
}

impl<S> Layer<S> for RequestLayer {
    type Service = CountRequests<S>;

    fn layer(&self, inner: S) -> CountRequests<S> {
        CountRequests {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service that [`RequestLayer`] makes of another.
#[derive(Debug, Clone)]
pub struct CountRequests<S> {
    inner: S,
    layer: RequestLayer,
}

impl<S, B, R> Service<Request<B>> for CountRequests<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = CountedResponse<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> CountedResponse<S::Future> {
        let mut open = self.layer.open(&request);
        open.in_inner = true;
        let inner = self.inner.call(request);
        open.in_inner = false;
        CountedResponse {
            inner,
            open: Some(open),
        }
    }
}

impl RequestLayer {
    fn open<B>(&self, request: &Request<B>) -> OpenRequest {
        let head = RequestHead {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        };
        let route = self.source.route(&head);
        self.table.begin();
        OpenRequest {
            table: Arc::clone(&self.table),
            clock: Arc::clone(&self.clock),
            route,
            guessed: self.source.is_guess(),
            method: head.method.clone(),
            began: self.clock.now(),
            end: End::Cancelled,
            in_inner: false,
        }
    }
}

pin_project! {
    /// The future of a response that is counted when it ends.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct CountedResponse<F> {
        #[pin]
        inner: F,
        open: Option<OpenRequest>,
    }
}

impl<F, R, E> Future for CountedResponse<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if let Some(open) = this.open {
            open.in_inner = true;
        }
        let polled = this.inner.poll(cx);
        if let Some(open) = this.open {
            open.in_inner = false;
        }
        if let Poll::Ready(result) = &polled
            && let Some(mut open) = this.open.take()
        {
            open.end = match result {
                Ok(response) => End::Answered(response.status()),
                Err(_) => End::Failed,
            };
        }
        polled
    }
}

/// A request on its way; counted when this is dropped, however that comes.
#[derive(Debug)]
struct OpenRequest {
    table: Arc<RequestTable>,
    clock: Arc<dyn Clock>,
    route: String,
    guessed: bool,
    method: Method,
    began: Timestamp,
    end: End,
    /// Set while the service works: dropped in that state, it has panicked.
    in_inner: bool,
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        if self.in_inner {
            self.end = End::Panicked;
        }
        let took = self.clock.now().since(self.began);
        let route = (self.route.as_str(), self.guessed);
        self.table.end(&self.method, route, self.end, took);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::{Ready, pending, ready};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::task::Waker;

    use homeostasis_core::ManualClock;
    use http::StatusCode;

    use super::*;
    use crate::probe::Reading;

    /// A service made of a closure.
    struct Answer<F>(F);

    impl<F, Fut, E> Service<Request<()>> for Answer<F>
    where
        F: FnMut(Request<()>) -> Fut,
        Fut: Future<Output = Result<Response<()>, E>>,
    {
        type Response = Response<()>;
        type Error = E;
        type Future = Fut;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<()>) -> Fut {
            (self.0)(request)
        }
    }

    type Answered = Ready<Result<Response<()>, Infallible>>;

    fn status(status: u16) -> Answered {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        ready(Ok(response))
    }

    fn request(method: &str, path: &str) -> Request<()> {
        Request::builder()
            .method(method)
            .uri(path)
            .body(())
            .unwrap()
    }

    fn layer() -> (ManualClock, RequestLayer) {
        let clock = ManualClock::new(Timestamp::from_secs(100));
        let target = Target::service("shop").unwrap();
        (clock.clone(), RequestLayer::new(target, Arc::new(clock)))
    }

    /// Route, method, classes, failed, panicked, cancelled.
    fn counted(layer: &RequestLayer) -> Vec<String> {
        let line = |c: RouteCounts| {
            let (failed, panicked, cancelled) = (c.failed, c.panicked, c.cancelled);
            format!(
                "{} {} {:?} {failed} {panicked} {cancelled}",
                c.method, c.route, c.by_class
            )
        };
        layer.counts().into_iter().map(line).collect()
    }

    async fn ask(layer: &RequestLayer, clock: &ManualClock) -> Reading {
        let cx = homeostasis_core::Context::new(Arc::new(clock.clone()), 1);
        layer.probe().probe(&cx).await
    }

    fn value(reading: &Reading, series: &str) -> Option<f64> {
        let mut of = reading.measurements.iter();
        of.find(|measurement| measurement.key.to_string() == series)
            .map(|measurement| measurement.value)
    }

    #[tokio::test]
    async fn rate_errors_and_duration_are_told_for_the_service_and_each_route() {
        let (clock, layer) = layer();
        let advance = clock.clone();
        let mut service = layer.layer(Answer(|request: Request<()>| {
            let slow = request.uri().path().starts_with("/orders");
            advance.advance(Duration::from_millis(if slow { 200 } else { 10 }));
            status(if request.method() == "POST" { 503 } else { 200 })
        }));
        assert_eq!(ask(&layer, &clock).await.measurements.len(), 1);
        for n in 0..6 {
            let asked = request("GET", &format!("/orders/{n}"));
            service.call(asked).await.unwrap();
        }
        service.call(request("POST", "/orders")).await.unwrap();
        service.call(request("GET", "/health")).await.unwrap();
        clock.advance(Duration::from_millis(10_000 - 7 * 200 - 10));
        let reading = ask(&layer, &clock).await;
        let service_wide =
            |metric: &str| value(&reading, &format!(r#"{metric}{{service="shop"}}"#));
        assert_eq!(service_wide("http_requests_rate"), Some(0.8));
        assert_eq!(service_wide("error_ratio"), Some(0.125));
        assert_eq!(service_wide("http_requests_in_flight"), Some(0.0));
        assert_eq!(service_wide("http_requests_cancelled_rate"), Some(0.0));
        let p95 = service_wide("http_request_duration_p95_seconds").unwrap();
        assert!((p95 - 0.2).abs() < 0.2 / 64.0, "{p95}");
        let of_route = |metric: &str| {
            let labels = r#"{method="GET",route="/orders/:id",service="shop"}"#;
            value(&reading, &format!("{metric}{labels}"))
        };
        assert_eq!(of_route("http_route_requests_rate"), Some(0.6));
        assert_eq!(of_route("http_route_error_ratio"), Some(0.0));
        assert!(of_route("http_route_request_duration_p50_seconds").is_some());
        let classes = r#"http_route_responses_rate{class="5xx",method="POST",route="/orders",service="shop"}"#;
        assert_eq!(value(&reading, classes), Some(0.1));

        clock.advance(Duration::from_secs(10));
        let quiet = ask(&layer, &clock).await;
        assert_eq!(quiet.value("http_requests_rate"), Some(0.0));
        assert_eq!(quiet.value("error_ratio"), None);
        assert_eq!(quiet.value("http_request_duration_p95_seconds"), None);
    }

    #[test]
    fn errors_panics_and_dropped_requests_are_counted_and_pass_as_they_are() {
        let (_, layer) = layer();
        let mut fails = layer.layer(Answer(|_| ready(Err::<Response<()>, _>("refused"))));
        let mut cx = Context::from_waker(Waker::noop());
        let mut future = Box::pin(fails.call(request("GET", "/a")));
        assert!(matches!(
            future.as_mut().poll(&mut cx),
            Poll::Ready(Err("refused"))
        ));

        let mut hangs = layer.layer(Answer(|_| pending::<Result<Response<()>, Infallible>>()));
        let mut future = Box::pin(hangs.call(request("GET", "/a")));
        assert!(future.as_mut().poll(&mut cx).is_pending());
        assert_eq!(layer.counts()[0].cancelled, 0);
        drop(future);
        drop(hangs.call(request("GET", "/a")));

        let mut panics = layer.layer(Answer(|_| async {
            std::panic::resume_unwind(Box::new("while polled"));
            #[expect(unreachable_code, reason = "gives the future its type")]
            Ok::<_, Infallible>(Response::new(()))
        }));
        let mut future = Box::pin(panics.call(request("GET", "/a")));
        let payload = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx)));
        assert_eq!(
            *payload.unwrap_err().downcast::<&str>().unwrap(),
            "while polled"
        );
        drop(future);
        let mut refuses = layer.layer(Answer(|_| -> Answered {
            std::panic::resume_unwind(Box::new("while called"))
        }));
        assert!(catch_unwind(AssertUnwindSafe(|| refuses.call(request("GET", "/a")))).is_err());
        assert_eq!(counted(&layer), ["GET /a [0, 0, 0, 0, 0] 1 2 2"]);
        assert_eq!(layer.counts()[0].errors(), 3);
    }

    #[tokio::test]
    async fn made_up_paths_and_methods_make_no_routes() {
        let (_, layer) = layer();
        let layer = layer.max_routes(3);
        let mut service = layer.layer(Answer(|request: Request<()>| {
            status(match request.uri().path() {
                "/known" if request.headers().contains_key("gone") => 404,
                path if path.starts_with("/scan") => 404,
                _ => 200,
            })
        }));
        for n in 0..100 {
            let letters: String = format!("{n:03}")
                .bytes()
                .map(|b| char::from(b + 49))
                .collect();
            let scan = format!("/scan{letters}");
            service.call(request("GET", &scan)).await.unwrap();
        }
        service.call(request("GET", "/known")).await.unwrap();
        let mut gone = request("GET", "/known");
        gone.headers_mut().insert("gone", "1".parse().unwrap());
        service.call(gone).await.unwrap();
        for method in ["BREW", "PROPFIND"] {
            service.call(request(method, "/known")).await.unwrap();
        }
        for path in ["/b", "/c", "/d"] {
            service.call(request("GET", path)).await.unwrap();
        }
        assert_eq!(
            counted(&layer),
            [
                "GET /known [0, 1, 0, 1, 0] 0 0 0",
                "OTHER /known [0, 2, 0, 0, 0] 0 0 0",
                "GET :other [0, 3, 0, 0, 0] 0 0 0",
                "GET :unmatched [0, 0, 0, 100, 0] 0 0 0",
            ]
        );
    }
}
