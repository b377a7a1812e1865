//! [`HttpClient`] over hyper's HTTP/1 connection.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
#[cfg(feature = "tls")]
use homeostasis_core::ConfigError;
use homeostasis_core::port::{HttpClient, HttpError, HttpRequest, HttpResponse};
use homeostasis_core::{Clock, timeout};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::look_up::LookUps;

/// An HTTP/1.1 client without proxies, redirects or cookies: probes ask one address and want its
/// own answer.
///
/// - Every request has a connection of its own, which is closed afterwards: a probe must notice
///   that nobody accepts connections any more, and a connection kept from before would hide it.
/// - `https` is refused ([`HttpError::Denied`]) unless the client was told whom to trust
///   (`trusting`, with the feature `tls`); so are user names in the URL.
/// - Connecting may take [`HyperClient::connect_within`] (default 2 s), everything together the
///   time limit of the request, both on the injected clock.
/// - An answer whose body exceeds the request's `max_body` is an error.
///
/// Needs a tokio runtime with I/O. Names are resolved on threads of the client's own, one for each
/// name: requests that wait for the same name share it, also one whose request is over.
///
/// # Cancel safety
/// Dropping a request closes its connection; whether the server acted is unknown then.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use std::sync::Arc;
/// use homeostasis::core::port::{HttpClient, HttpRequest};
/// use homeostasis::core::{ErrorKind, ManualClock, Timestamp};
/// use homeostasis::signals::HyperClient;
///
/// let client = HyperClient::new(Arc::new(ManualClock::new(Timestamp::EPOCH)));
/// let refused = client.send(HttpRequest::get("https://localhost/")).await.unwrap_err();
/// assert_eq!(refused.kind(), ErrorKind::Denied);
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct HyperClient {
    clock: Arc<dyn Clock>,
    connect_within: Duration,
    look_ups: Arc<LookUps>,
    #[cfg(feature = "tls")]
    tls: Option<Arc<rustls::ClientConfig>>,
}

/// A connection, with or without TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl HyperClient {
    /// A client that measures its limits on `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            connect_within: Duration::from_secs(2),
            look_ups: Arc::new(LookUps::shared()),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// The same with another limit for connecting, name look-up included.
    pub fn connect_within(mut self, limit: Duration) -> Self {
        self.connect_within = limit;
        self
    }

    /// The same, speaking TLS 1.2 and 1.3 with servers that `roots` vouch for. The roots are read
    /// once, now; dates are judged by the client's clock.
    ///
    /// # Errors
    /// The roots cannot be read, or there are none.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn trusting(mut self, roots: &crate::tls::TrustRoots) -> Result<Self, ConfigError> {
        let settings = crate::tls::verifying(roots, Arc::clone(&self.clock))?;
        self.tls = Some(Arc::new(settings));
        Ok(self)
    }

    /// Connects, and says when the address is known.
    async fn connect(
        &self,
        place: &Place,
        is_found: &AtomicBool,
    ) -> Result<Box<dyn Stream>, HttpError> {
        let failed =
            |error| HttpError::transient(format!("connecting to {}", place.authority), error);
        let addresses = self.look_ups.look_up(&place.host, place.port).await;
        is_found.store(true, Ordering::Relaxed);
        let connected = TcpStream::connect(&*addresses.map_err(failed)?).await;
        let stream = connected.map_err(failed)?;
        // Probes are single small packets.
        let _ = stream.set_nodelay(true);
        #[cfg(feature = "tls")]
        if let (true, Some(settings)) = (place.is_tls, &self.tls) {
            let name = rustls::pki_types::ServerName::try_from(place.host.clone())
                .map_err(|error| failed(std::io::Error::other(error)))?;
            let connector = tokio_rustls::TlsConnector::from(Arc::clone(settings));
            return Ok(Box::new(
                connector.connect(name, stream).await.map_err(failed)?,
            ));
        }
        Ok(Box::new(stream))
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let place = Place::of(&request.url)?;
        #[cfg(feature = "tls")]
        let speaks_tls = self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        let speaks_tls = false;
        if place.is_tls && !speaks_tls {
            return Err(HttpError::Denied {
                reason: format!(
                    "{}: this client speaks no TLS; use http, tell it whom to trust (feature \"tls\"), or bring an HttpClient that does",
                    request.url
                ),
            });
        }
        let max_body = request.max_body;
        let call = place.call(request)?;
        let is_found = AtomicBool::new(false);
        let connecting = self.connect(&place, &is_found);
        let stream = timeout(&*self.clock, self.connect_within, connecting)
            .await
            .map_err(|_| {
                let what = if is_found.load(Ordering::Relaxed) {
                    "connecting to"
                } else {
                    "looking up the name of"
                };
                let during = format!("{what} {}", place.authority);
                HttpError::Timeout { during }
            })??;
        let broken =
            |error| HttpError::transient(format!("exchange with {}", place.authority), error);
        let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let answer = async {
            let response = sender.send_request(call).await.map_err(broken)?;
            read(response, max_body, &place.authority).await
        };
        with_driver(answer, connection).await
    }
}

#[async_trait]
impl HttpClient for HyperClient {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (limit, method, url) = (request.timeout, request.method.clone(), request.url.clone());
        // On the heap: the states of a connection are large.
        let exchange = Box::pin(self.exchange(request));
        timeout(&*self.clock, limit, exchange)
            .await
            .unwrap_or_else(|_| {
                Err(HttpError::Timeout {
                    during: format!("waiting {limit:?} for {method} {url}"),
                })
            })
    }
}

/// Whether a request to `url` can be made; `https` needs TLS besides.
pub(crate) fn is_sendable(url: &str) -> bool {
    Place::of(url).is_ok()
}

/// Where a URL points.
#[derive(Debug)]
struct Place {
    authority: String,
    host: String,
    port: u16,
    path: String,
    is_tls: bool,
}

impl Place {
    fn of(url: &str) -> Result<Self, HttpError> {
        let invalid =
            |expected: &str| HttpError::invalid("url", format!("{url:?}, expected {expected}"));
        let uri: Uri = url
            .parse()
            .map_err(|_| invalid("an absolute URL such as http://127.0.0.1:8080/healthz"))?;
        match uri.scheme_str() {
            Some("http" | "https") => {}
            _ => return Err(invalid("an absolute URL that begins with http://")),
        }
        let authority = uri
            .authority()
            .ok_or_else(|| invalid("a host after http://"))?;
        if authority.as_str().contains('@') {
            // The URL itself would put the password into logs: it is not repeated here.
            return Err(HttpError::invalid(
                "url",
                format!(
                    "http://…@{}, expected no user name; send an authorization header",
                    authority.host()
                ),
            ));
        }
        let is_tls = uri.scheme_str() == Some("https");
        let host = authority.host();
        let literal = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        if literal.unwrap_or(host).is_empty() {
            return Err(invalid("a host after http://"));
        }
        let port = match authority.as_str().strip_prefix(host) {
            None | Some("") if is_tls => 443,
            None | Some("") => 80,
            Some(_) => authority
                .port_u16()
                .ok_or_else(|| invalid("a port of 0 to 65535 after the host"))?,
        };
        Ok(Self {
            authority: authority.as_str().to_owned(),
            host: literal.unwrap_or(host).to_owned(),
            port,
            is_tls,
            path: uri
                .path_and_query()
                .map_or_else(|| "/".to_owned(), |path| path.as_str().to_owned()),
        })
    }

    fn call(&self, request: HttpRequest) -> Result<Request<Full<Bytes>>, HttpError> {
        let invalid = |what: &str, value: &str, expected: &str| {
            HttpError::invalid(what, format!("{value:?}, expected {expected}"))
        };
        let method = Method::from_bytes(request.method.as_bytes())
            .map_err(|_| invalid("method", &request.method, "a method such as GET"))?;
        let mut call = Request::builder()
            .method(method)
            .uri(&self.path)
            .header(HOST, &self.authority)
            .header(CONNECTION, "close");
        for (name, value) in &request.headers {
            let header = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| invalid("header", name, "the name of a header"))?;
            // The value may be a secret: only its name is told.
            let value = HeaderValue::from_str(value)
                .map_err(|_| invalid("value of header", name, "printable characters"))?;
            call = call.header(header, value);
        }
        call.body(Full::new(Bytes::from(request.body)))
            .map_err(|error| HttpError::permanent(format!("request to {}", self.authority), error))
    }
}

async fn read(
    mut response: Response<Incoming>,
    max_body: usize,
    authority: &str,
) -> Result<HttpResponse, HttpError> {
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        })
        .collect();
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(frame) = response.frame().await {
        let frame = frame.map_err(|error| {
            HttpError::transient(format!("reading the answer of {authority}"), error)
        })?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if data.len() > max_body - body.len() {
            return Err(HttpError::invalid(
                format!("answer of {authority}"),
                format!("body of more than {max_body} bytes, expected at most that"),
            ));
        }
        body.extend_from_slice(data);
    }
    Ok(HttpResponse::new(status, headers, body))
}

/// Runs `work` while `connection` moves its bytes; what the connection says is told by `work`.
async fn with_driver<W: Future, C: Future>(work: W, connection: C) -> W::Output {
    let (mut work, mut connection) = (pin!(work), pin!(connection));
    let mut driving = true;
    poll_fn(|cx| {
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        if driving && connection.as_mut().poll(cx).is_ready() {
            driving = false;
            // The end of the connection is what the work waits for.
            return work.as_mut().poll(cx);
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use homeostasis_core::ErrorKind;

    use super::*;
    use crate::testing::{Reply, Server, WallClock, closed_port};

    fn client() -> HyperClient {
        HyperClient::new(Arc::new(WallClock))
    }

    #[tokio::test]
    async fn a_request_arrives_whole_and_the_answer_comes_back_whole() {
        let server = Server::start(|request| Reply::status(201, request)).await;
        let request = HttpRequest::post(server.url("/orders?dry=1"), "text/plain", "seven")
            .header("x-request-id", "r-1");
        let answer = client().send(request).await.unwrap();
        assert_eq!(answer.status, 201);
        assert!(
            answer
                .headers
                .contains(&("x-test".to_owned(), "yes".to_owned()))
        );
        let echo = answer.text();
        assert!(
            echo.starts_with("POST /orders?dry=1 HTTP/1.1\r\n"),
            "{echo}"
        );
        assert!(echo.contains(&format!("host: {}\r\n", server.address)));
        assert!(echo.contains("x-request-id: r-1\r\n") && echo.ends_with("\r\n\r\nseven"));
    }

    #[tokio::test]
    async fn chunked_and_unframed_answers_are_read_to_their_end() {
        let chunked = Server::start(|_| {
            Reply::Raw(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nwiki\r\n2\r\nng\r\n0\r\n\r\n"
                    .to_owned(),
            )
        })
        .await;
        let answer = client().send(HttpRequest::get(chunked.url("/"))).await;
        assert_eq!(answer.unwrap().text(), "wiking");
        let unframed =
            Server::start(|_| Reply::Raw("HTTP/1.0 200 OK\r\n\r\nto the end".to_owned())).await;
        let answer = client().send(HttpRequest::get(unframed.url(""))).await;
        assert_eq!(answer.unwrap().text(), "to the end");
    }

    #[tokio::test]
    async fn a_refused_connection_and_a_silent_server_are_told_apart() {
        let url = format!("http://{}/", closed_port());
        let refused = client().send(HttpRequest::get(url)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Transient);
        assert!(
            refused.report().to_string().contains("refused"),
            "{refused:?}"
        );
        let silent = Server::start(|_| Reply::Silence).await;
        let request = HttpRequest::get(silent.url("/")).within(Duration::from_millis(50));
        let late = client().send(request).await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Timeout);
        assert!(late.to_string().contains(&silent.url("/")), "{late}");
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_or_is_too_long_or_no_http_is_an_error() {
        let short = Server::start(|_| {
            Reply::Raw("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_owned())
        })
        .await;
        let broken = client().send(HttpRequest::get(short.url("/"))).await;
        assert_eq!(broken.unwrap_err().kind(), ErrorKind::Transient);
        let long = Server::start(|_| Reply::status(200, &"x".repeat(5000))).await;
        let mut request = HttpRequest::get(long.url("/"));
        request.max_body = 4999;
        let too_long = client().send(request.clone()).await.unwrap_err();
        assert!(too_long.to_string().contains("4999"), "{too_long}");
        request.max_body = 5000;
        assert_eq!(client().send(request).await.unwrap().body.len(), 5000);
        let garbage = Server::start(|_| Reply::Raw("SSH-2.0-OpenSSH\r\n\r\n".to_owned())).await;
        assert!(
            client()
                .send(HttpRequest::get(garbage.url("/")))
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn bad_requests_are_refused_by_place_and_never_repeat_a_secret() {
        let get = HttpRequest::get;
        for (request, part) in [
            (get("/healthz"), "absolute URL"),
            (get("ftp://a/"), "http://"),
            (get("https://a/"), "no TLS"),
            (get("http://user:secret@a/"), "authorization header"),
            (get("http://a:99999/"), "port"),
            (get("http://a/").header("x\n", "y"), "name of a header"),
            (get("http://a/").header("x", "secret\r\ny"), "printable"),
        ] {
            let error = client().send(request).await.unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let mut request = get("http://a/");
        request.method = "G T".to_owned();
        let error = client().send(request).await.unwrap_err().to_string();
        assert!(error.starts_with("method: \"G T\""), "{error}");
    }
}
