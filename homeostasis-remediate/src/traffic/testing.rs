//! Servers that say who they are, and clients that count who answered.
#![expect(
    clippy::disallowed_methods,
    reason = "tasks of a test end with its runtime"
)]

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homeostasis_core::port::{TrafficRouter, Weights};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How long a request may take on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Answers every request with `name`; its port.
pub(crate) async fn serve(name: &'static str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_all(stream, name));
        }
    });
    port
}

async fn answer_all(stream: TcpStream, name: &str) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while !head(&mut stream).await?.is_empty() {
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}",
            name.len()
        );
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

/// A head up to its empty line; empty if the other side closed before.
async fn head(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut head = String::new();
    loop {
        let begun = head.len();
        if stream.read_line(&mut head).await? == 0 {
            return if begun == 0 {
                Ok(head)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
        if &head[begun..] == "\r\n" {
            return Ok(head);
        }
    }
}

#[derive(Debug, Default)]
struct Seen {
    by_server: Mutex<BTreeMap<String, u64>>,
    failed: Mutex<Vec<String>>,
    answered: AtomicU64,
    closed: AtomicU64,
    stop: AtomicBool,
}

/// Clients that send one request after the other until they are stopped.
#[derive(Debug)]
pub(crate) struct Load {
    seen: Arc<Seen>,
    clients: Vec<JoinHandle<()>>,
}

/// What became of all requests.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) answered: u64,
    pub(crate) failed: Vec<String>,
    /// Connections that could have been kept and were closed: with an answer that says so, or before a byte
    /// of one, and then the request went again.
    pub(crate) closed: u64,
}

impl Load {
    /// `n` clients that keep their connections and `n` that open one for each request.
    pub(crate) fn on(port: u16, n: usize) -> Self {
        let seen = Arc::new(Seen::default());
        let clients = (0..2 * n).map(|idx| {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut kept = None;
                while !seen.stop.load(Ordering::Relaxed) {
                    let asked = tokio::time::timeout(PATIENCE, ask(port, &mut kept, &seen)).await;
                    match asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                        Ok(server) => {
                            *seen.by_server.lock().unwrap().entry(server).or_default() += 1;
                            seen.answered.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => {
                            kept = None;
                            seen.failed.lock().unwrap().push(error.to_string());
                        }
                    }
                    if idx % 2 == 1 {
                        kept = None;
                    }
                }
            })
        });
        let clients = clients.collect();
        Self { seen, clients }
    }

    /// Waits for so many more answers; it is an error if requests fail only.
    async fn wait_for(&self, n: u64) {
        let goal = self.seen.answered.load(Ordering::Relaxed) + n;
        while self.seen.answered.load(Ordering::Relaxed) < goal {
            let failed = self.seen.failed.lock().unwrap().len();
            assert!(
                failed < 1000,
                "{:?}",
                self.seen.failed.lock().unwrap().last()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Who answered the next `n` requests.
    pub(crate) async fn next(&self, n: u64) -> BTreeMap<String, u64> {
        // What was on its way is over.
        self.wait_for(4 * self.clients.len() as u64).await;
        self.seen.by_server.lock().unwrap().clear();
        self.wait_for(n).await;
        std::mem::take(&mut self.seen.by_server.lock().unwrap())
    }

    pub(crate) async fn stop(self) -> Outcome {
        self.seen.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        Outcome {
            answered: self.seen.answered.load(Ordering::Relaxed),
            failed: self.seen.failed.lock().unwrap().clone(),
            closed: self.seen.closed.load(Ordering::Relaxed),
        }
    }
}

/// One request; who answered it.
async fn ask(
    port: u16,
    kept: &mut Option<BufReader<TcpStream>>,
    seen: &Seen,
) -> io::Result<String> {
    if let Some(mut stream) = kept.take() {
        // A connection may be closed while it idles: whoever keeps one sends again on a new one
        // (RFC 9112, section 9.3.1).
        match say(&mut stream).await {
            Ok(Some(answer)) => return Ok(keep(kept, stream, answer, seen)),
            Ok(None) => {
                seen.closed.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => return Err(error),
        }
    }
    let mut stream = BufReader::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?);
    let answer = say(&mut stream)
        .await?
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(keep(kept, stream, answer, seen))
}

/// Who answered; the connection is kept if the answer lets it.
fn keep(
    kept: &mut Option<BufReader<TcpStream>>,
    stream: BufReader<TcpStream>,
    (server, closes): (String, bool),
    seen: &Seen,
) -> String {
    if closes {
        seen.closed.fetch_add(1, Ordering::Relaxed);
    } else {
        *kept = Some(stream);
    }
    server
}

/// Who answered, and whether the connection closes; `None` if the other side closed before a byte.
async fn say(stream: &mut BufReader<TcpStream>) -> io::Result<Option<(String, bool)>> {
    let sent = stream
        .write_all(b"GET / HTTP/1.1\r\nhost: orders\r\n\r\n")
        .await;
    let closed = |kind| {
        matches!(
            kind,
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
        )
    };
    let begun = match sent {
        Ok(()) => stream.fill_buf().await.map(|bytes| !bytes.is_empty()),
        Err(error) => Err(error),
    };
    match begun {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(error) if closed(error.kind()) => return Ok(None),
        Err(error) => return Err(error),
    }
    let head = head(stream).await?.to_ascii_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    if !head.starts_with("http/1.1 200 ") {
        return Err(io::Error::other(head));
    }
    let length = field("content-length: ").and_then(|text| text.parse().ok());
    let mut body = vec![0; length.ok_or(io::ErrorKind::InvalidData)?];
    stream.read_exact(&mut body).await?;
    let closes = field("connection: close").is_some();
    let server = String::from_utf8_lossy(&body).into_owned();
    Ok(Some((server, closes)))
}

/// The stages of a rollout, up and down again: each is set and measured under load, in slots `stable` and
/// `canary` whose servers are called `stable…` and `canary…`.
pub(crate) async fn shift_under_load(
    router: &dyn TrafficRouter,
    port: u16,
    n_each: u64,
) -> Outcome {
    let load = Load::on(port, 4);
    for canary in [0, 1, 10, 50, 100, 50, 10, 1, 0] {
        let asked = Weights::new([("stable", 100 - canary), ("canary", canary)]).unwrap();
        router.set_weights("orders", &asked).await.unwrap();
        let told = router.weights("orders").await.unwrap().unwrap();
        assert!(
            told.distance(&asked).get() <= 0.01,
            "{told:?} for {asked:?}"
        );
        let seen = load.next(n_each).await;
        let of = |slot: &str| -> u64 {
            let servers = seen.iter().filter(|(server, _)| server.starts_with(slot));
            servers.map(|(_, n)| *n).sum()
        };
        let total = of("stable") + of("canary");
        let share = of("canary") as f64 / total as f64;
        let off = (share - f64::from(canary) / 100.0).abs();
        assert!(
            total >= n_each && off <= 0.02,
            "asked {canary} %, seen {seen:?}"
        );
        if canary == 0 || canary == 100 {
            assert!(off == 0.0, "asked {canary} %, seen {seen:?}");
        }
    }
    load.stop().await
}
