//! A TCP proxy that misbehaves on order.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// What a proxy does with what the server says. It holds for connections that come afterwards.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode {
    /// Passes it on.
    Pass,
    /// Passes each piece on so much later.
    Delay(Duration),
    /// Passes so many bytes on, then nothing, and holds the connection.
    Stall(usize),
    /// Passes so many bytes on, then closes the connection.
    Cut(usize),
    /// Says noise without end instead, and never listens.
    Garbage,
    /// Passes on what this makes of each piece.
    Rewrite(fn(&[u8]) -> Vec<u8>),
}

/// A listener on the loopback that passes connections on to a server, if there is one.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    mode: Arc<Mutex<Mode>>,
    n_open: Arc<AtomicUsize>,
    n_accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy of the server on `port` of the loopback.
    pub(crate) async fn before(port: u16, mode: Mode) -> Self {
        Self::start(Some(SocketAddr::from(([127, 0, 0, 1], port))), mode).await
    }

    /// A proxy without a server: it accepts, listens, and has nothing to pass on.
    pub(crate) async fn of_nothing(mode: Mode) -> Self {
        Self::start(None, mode).await
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the tasks of a test are not the engine's"
    )]
    async fn start(server: Option<SocketAddr>, mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mode = Arc::new(Mutex::new(mode));
        let (n_open, n_accepted) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (modes, open, accepted) = (
            Arc::clone(&mode),
            Arc::clone(&n_open),
            Arc::clone(&n_accepted),
        );
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                accepted.fetch_add(1, Ordering::SeqCst);
                let guard = Counted::new(&open);
                let mode = *modes.lock().unwrap();
                connections.spawn(async move {
                    let _guard = guard;
                    serve(client, server, mode).await;
                });
            }
        });
        Self {
            address,
            mode,
            n_open,
            n_accepted,
            task,
        }
    }

    /// Where it listens, as `host:port`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    /// How many connections it ever accepted.
    pub(crate) fn n_accepted(&self) -> usize {
        self.n_accepted.load(Ordering::SeqCst)
    }

    /// Waits until its clients have closed all their connections.
    pub(crate) async fn deserted(&self) {
        for _ in 0..3000 {
            if self.n_open.load(Ordering::SeqCst) == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!(
            "{} connections were left open",
            self.n_open.load(Ordering::SeqCst)
        );
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn serve(mut client: TcpStream, server: Option<SocketAddr>, mode: Mode) {
    if let Mode::Garbage = mode {
        while client.write_all(&[0xA5; 4096]).await.is_ok() {}
        return;
    }
    let (mut from_client, mut to_client) = client.split();
    let Some(server) = server else {
        if matches!(mode, Mode::Cut(_)) {
            let _ = to_client.shutdown().await;
        }
        let _ = copy(&mut from_client, &mut sink()).await;
        return;
    };
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    let (mut from_server, mut to_server) = server.split();
    let down = async {
        let mut chunk = vec![0; 16 * 1024];
        let mut passed = 0;
        loop {
            let Ok(n @ 1..) = from_server.read(&mut chunk).await else {
                return;
            };
            let piece = match mode {
                Mode::Delay(by) => {
                    tokio::time::sleep(by).await;
                    chunk[..n].to_vec()
                }
                Mode::Stall(after) | Mode::Cut(after) => chunk[..n.min(after - passed)].to_vec(),
                Mode::Rewrite(rewrite) => rewrite(&chunk[..n]),
                Mode::Pass | Mode::Garbage => chunk[..n].to_vec(),
            };
            if to_client.write_all(&piece).await.is_err() {
                return;
            }
            passed += piece.len();
            match mode {
                Mode::Cut(after) if passed == after => return,
                Mode::Stall(after) if passed == after => pending().await,
                _ => {}
            }
        }
    };
    tokio::select! {
        _ = copy(&mut from_client, &mut to_server) => {}
        () = down => {}
    }
    // A socket closed over something unread resets the connection: it ends in order, whatever the client still says.
    let _ = to_client.shutdown().await;
    let _ = copy(&mut from_client, &mut sink()).await;
}
