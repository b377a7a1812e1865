//! HTTP as plain data, so that probes and actions share one client without sharing a crate.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::stage_error;

/// A request. `Debug` shows neither the values of its headers nor its body, which may be secret.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpRequest {
    /// `GET`, `POST` …
    pub method: String,
    /// Absolute: `http://127.0.0.1:8080/healthz`.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How long it may take in all.
    pub timeout: Duration,
    /// How much of the answer's body is kept; the rest is an error.
    pub max_body: usize,
}

impl HttpRequest {
    /// A `GET` that may take 5 s and answer up to 1 MiB.
    pub fn get(url: impl Into<String>) -> Self {
        Self {
            method: "GET".to_owned(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: Duration::from_secs(5),
            max_body: 1 << 20,
        }
    }

    /// A `POST` of `body`, otherwise as [`HttpRequest::get`].
    pub fn post(
        url: impl Into<String>,
        content_type: impl Into<String>,
        body: impl Into<Vec<u8>>,
    ) -> Self {
        Self {
            method: "POST".to_owned(),
            headers: vec![("content-type".to_owned(), content_type.into())],
            body: body.into(),
            ..Self::get(url)
        }
    }

    /// The same with another time limit.
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same with one header more.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("url", &self.url)
            .field("headers", &headers)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("timeout", &self.timeout)
            .field("max_body", &self.max_body)
            .finish()
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// Names (lower case) and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// An answer.
    pub fn new(status: u16, headers: Vec<(String, String)>, body: Vec<u8>) -> Self {
        Self {
            status,
            headers,
            body,
        }
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

stage_error!(
    /// Why there is no answer.
    HttpError
);

/// Sends requests. An answer with an error status is an answer, not an error.
///
/// *Assumptions:* redirects are not followed, they are answers too: a request may carry credentials
/// for the host it names. Errors do not repeat the values of headers.
#[async_trait]
pub trait HttpClient: fmt::Debug + Send + Sync {
    /// Sends one request and reads the whole answer.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError>;
}

const _: fn(&dyn HttpClient) = |_| {};

/// No client is built in: every request is refused and says which feature to turn on.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHttp;

#[async_trait]
impl HttpClient for NoHttp {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        Err(HttpError::Denied {
            reason: format!(
                "{} {}: no HTTP client is configured; turn on the feature \"http\"",
                request.method, request.url
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_shows_neither_the_values_of_its_headers_nor_its_body() {
        let request = HttpRequest::post("http://a/", "text/plain", "hunter2")
            .header("authorization", "Bearer hunter2");
        let shown = format!("{request:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(
            shown.contains(r#""authorization"], body: 7 bytes"#),
            "{shown}"
        );
    }
}
