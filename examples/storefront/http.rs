//! A small HTTP/1.1 client that keeps connections alive: for the gateway, the load and the faults.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;
use tokio::net::TcpStream;

/// Name of the header that follows a request through the services.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// More than this many idle connections to one address are closed.
const MAX_IDLE: usize = 64;

/// Why no answer came.
#[derive(Debug, Error)]
pub(crate) enum HttpError {
    #[error("cannot connect to {address}")]
    Connect {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("no answer from {address} within {within:?}")]
    Timeout {
        address: SocketAddr,
        within: Duration,
    },
    #[error("connection to {address} failed")]
    Exchange {
        address: SocketAddr,
        source: hyper::Error,
    },
    #[error("not a request")]
    Request(#[from] hyper::http::Error),
}

/// A request for one address.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) address: SocketAddr,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Option<Value>,
    pub(crate) request_id: Option<String>,
    /// For the whole exchange: connecting, sending, and reading the answer to its end.
    pub(crate) within: Duration,
}

impl Call {
    pub(crate) fn get(address: SocketAddr, path: impl Into<String>) -> Self {
        Self {
            address,
            method: Method::GET,
            path: path.into(),
            body: None,
            request_id: None,
            within: Duration::from_secs(1),
        }
    }

    pub(crate) fn post(address: SocketAddr, path: impl Into<String>, body: Value) -> Self {
        Self {
            method: Method::POST,
            body: Some(body),
            ..Self::get(address, path)
        }
    }

    pub(crate) fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    pub(crate) fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    fn to_request(&self) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = Request::builder()
            .method(&self.method)
            .uri(&self.path)
            .header(header::HOST, self.address.to_string());
        if let Some(id) = &self.request_id {
            request = request.header(REQUEST_ID, id);
        }
        match &self.body {
            Some(body) => request
                .header(header::CONTENT_TYPE, "application/json")
                .body(Full::from(body.to_string())),
            None => request.body(Full::default()),
        }
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.body)
    }
}

/// The client with its idle connections. A call that is dropped (a timeout, say) closes its
/// connection, so the server notices that nobody waits any more.
#[derive(Debug, Default)]
pub(crate) struct Client {
    idle: Mutex<HashMap<SocketAddr, Vec<SendRequest<Full<Bytes>>>>>,
}

impl Client {
    pub(crate) async fn send(&self, call: &Call) -> Result<Answer, HttpError> {
        tokio::time::timeout(call.within, self.exchange(call))
            .await
            .unwrap_or(Err(HttpError::Timeout {
                address: call.address,
                within: call.within,
            }))
    }

    async fn exchange(&self, call: &Call) -> Result<Answer, HttpError> {
        let address = call.address;
        let exchange = |source| HttpError::Exchange { address, source };
        let mut request = call.to_request()?;
        // An idle connection may have been closed meanwhile; hyper then hands the request back
        // unsent, and only then is it safe to send it again.
        let (mut connection, response) = loop {
            let (mut connection, reused) = match self.take_idle(address) {
                Some(idle) => (idle, true),
                None => (connect(address).await?, false),
            };
            match connection.try_send_request(request).await {
                Ok(response) => break (connection, response),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if reused => request = unsent,
                    _ => return Err(exchange(error.into_error())),
                },
            }
        };
        let status = response.status();
        let body = response.into_body().collect().await.map_err(exchange)?;
        if connection.ready().await.is_ok() {
            self.keep(address, connection);
        }
        Ok(Answer {
            status,
            body: body.to_bytes(),
        })
    }

    fn take_idle(&self, address: SocketAddr) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = idle.get_mut(&address)?;
        while let Some(connection) = connections.pop() {
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    fn keep(&self, address: SocketAddr, connection: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = idle.entry(address).or_default();
        connections.retain(|connection| !connection.is_closed());
        if connections.len() < MAX_IDLE {
            connections.push(connection);
        }
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, HttpError> {
    let stream = TcpStream::connect(address)
        .await
        .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
        .map_err(|source| HttpError::Connect { address, source })?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|source| HttpError::Exchange { address, source })?;
    // Ends by itself when the sender is dropped or the peer closes; its error reaches the sender.
    tokio::spawn(connection);
    Ok(sender)
}
