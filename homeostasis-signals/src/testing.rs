//! What several tests need: a clock that really passes and an HTTP server that misbehaves on order.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use homeostasis_core::testing::engine::free_port;
use homeostasis_core::{BoxFuture, Clock, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The time limit of what is to succeed: longer than any busy machine needs.
pub(crate) const PATIENT: Duration = Duration::from_secs(60);

/// The time limit of what is to run out of it.
pub(crate) const HASTY: Duration = Duration::from_millis(200);

/// The wall clock: these tests wait for real sockets and processes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WallClock;

impl Clock for WallClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock of these tests"
    )]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp::EPOCH + since
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// An HTTP server on a free port of the loopback.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

/// What a server does with one request, given as text.
type Answer = Arc<dyn Fn(&str) -> Reply + Send + Sync>;

/// One answer.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// These bytes, then the connection is closed.
    Raw(String),
    /// These bytes, ten milliseconds for each.
    Drip(String),
    /// Nothing, for ever.
    Silence,
}

impl Reply {
    pub(crate) fn status(status: u16, body: &str) -> Self {
        Self::Raw(format!(
            "HTTP/1.1 {status} Reason\r\ncontent-length: {}\r\nX-Test: yes\r\n\r\n{body}",
            body.len()
        ))
    }
}

impl Server {
    #[expect(
        clippy::disallowed_methods,
        reason = "the server of a test is not the engine's"
    )]
    pub(crate) async fn start(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let answer: Answer = Arc::new(answer);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&answer)));
            }
        });
        Self { address, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, answer: Answer) {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    while !is_whole(&request) {
        match stream.read(&mut chunk).await {
            Ok(n) if n > 0 => request.extend(&chunk[..n]),
            _ => return,
        }
    }
    match answer(&String::from_utf8_lossy(&request)) {
        // The client may have gone away; that is its business.
        Reply::Raw(text) => drop(stream.write_all(text.as_bytes()).await),
        Reply::Drip(text) => {
            for byte in text.as_bytes().chunks(1) {
                tokio::time::sleep(Duration::from_millis(10)).await;
                if stream.write_all(byte).await.is_err() {
                    return;
                }
            }
        }
        Reply::Silence => std::future::pending().await,
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let wanted = head
        .split_once("content-length: ")
        .and_then(|(_, rest)| rest.lines().next()?.parse().ok())
        .unwrap_or(0);
    body.len() >= wanted
}

/// A port of the loopback on which nobody listens.
pub(crate) fn closed_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}
