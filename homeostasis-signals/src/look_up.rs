//! Connects to hosts by name, without look-ups that outlive their asking piling up.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpStream;
use tokio::sync::watch;

/// How many names may be looked up at once.
const MAX_UNDER_WAY: usize = 16;

type Resolve = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;
/// What a look-up gave, for everybody who waits; `None` while it is under way.
type Found = Option<Result<Vec<SocketAddr>, (io::ErrorKind, String)>>;

/// Look-ups of one probe or client.
///
/// The system's look-up cannot be interrupted and takes up to half a minute where DNS is dead. Each
/// runs on a thread of its own (the runtime's blocking threads are the host's, and it waits for
/// them when it ends), at most one for each name: who asks meanwhile waits for the same.
pub(crate) struct LookUps {
    under_way: Arc<Mutex<BTreeMap<(String, u16), UnderWay>>>,
    resolve: Arc<Resolve>,
    is_patient: bool,
}

#[derive(Clone)]
struct UnderWay {
    found: watch::Receiver<Found>,
    /// Whether somebody gave up waiting for it.
    is_late: Arc<AtomicBool>,
}

/// Why a name could not be looked up.
#[derive(Debug)]
pub(crate) struct LookUpError(String);

impl fmt::Display for LookUpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for LookUpError {}

impl Default for LookUps {
    /// Of one probe: if its asking before ended while the name was still looked up, that is told at
    /// once.
    fn default() -> Self {
        Self {
            under_way: Arc::default(),
            resolve: Arc::new(|host, port| Ok((host, port).to_socket_addrs()?.collect())),
            is_patient: false,
        }
    }
}

impl fmt::Debug for LookUps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = locked(&self.under_way).keys().cloned().collect();
        f.debug_struct("LookUps")
            .field("under_way", &names)
            .finish_non_exhaustive()
    }
}

/// Says that the look-up was not waited for, unless it came to an end.
struct Waiting<'a>(&'a UnderWay);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.0.found.borrow().is_none() {
            self.0.is_late.store(true, Ordering::Relaxed);
        }
    }
}

impl LookUps {
    /// Of those with time limits of their own: each waits for a look-up as long as it may.
    #[cfg(any(feature = "http", feature = "email"))]
    pub(crate) fn shared() -> Self {
        Self {
            is_patient: true,
            ..Self::default()
        }
    }

    /// Connects to `host:port`; brackets around an IPv6 address are no part of it.
    pub(crate) async fn connect(&self, address: &str) -> io::Result<TcpStream> {
        TcpStream::connect(&*self.addresses_of(address).await?).await
    }

    /// The addresses of the host of `host:port`.
    ///
    /// # Errors
    /// With a [`LookUpError`] in it if the look-up fails, or still runs from an earlier asking.
    pub(crate) async fn addresses_of(&self, address: &str) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = address.parse() {
            return Ok(vec![address]);
        }
        let parts = address.rsplit_once(':');
        let parts = parts.and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        let Some((host, port)) = parts else {
            let why = format!("{address:?}, expected host:port");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        };
        self.look_up(host.trim_matches(['[', ']']), port).await
    }

    /// The addresses of `host`, with `port`.
    pub(crate) async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![(ip, port).into()]);
        }
        let under_way = self.begin(host, port)?;
        let mut found = under_way.found.clone();
        let waiting = Waiting(&under_way);
        let told = found.wait_for(Option::is_some).await;
        let told = told.ok().and_then(|found| found.clone());
        drop(waiting);
        match told {
            Some(Ok(addresses)) => Ok(addresses),
            Some(Err((kind, why))) => Err(io::Error::new(kind, LookUpError(why))),
            None => Err(refused(format!("the look-up of {host} panicked"))),
        }
    }

    /// The look-up that runs, or else one begun now.
    fn begin(&self, host: &str, port: u16) -> io::Result<UnderWay> {
        let key = (host.to_owned(), port);
        let mut all = locked(&self.under_way);
        if let Some(present) = all.get(&key) {
            if present.is_late.load(Ordering::Relaxed) && !self.is_patient {
                let why = format!("{host} is still looked up from an asking before");
                return Err(io::Error::new(io::ErrorKind::WouldBlock, LookUpError(why)));
            }
            return Ok(present.clone());
        }
        if all.len() >= MAX_UNDER_WAY {
            return Err(refused(format!("{} others have not come back", all.len())));
        }
        let (tell, found) = watch::channel(None);
        let begun = UnderWay {
            found,
            is_late: Arc::default(),
        };
        let ended = Ended {
            key: key.clone(),
            under_way: Arc::clone(&self.under_way),
        };
        let resolve = Arc::clone(&self.resolve);
        std::thread::Builder::new()
            .name("homeostasis-name".to_owned())
            .spawn(move || {
                let (host, port) = &ended.key;
                let found = resolve(host, *port).map_err(|error| (error.kind(), error.to_string()));
                // Whoever asks again because of what is told must not find this one.
                drop(ended);
                tell.send_replace(Some(found));
            })?;
        all.insert(key, begun.clone());
        Ok(begun)
    }
}

/// Takes a look-up off the list when its thread ends, however it ends.
struct Ended {
    key: (String, u16),
    under_way: Arc<Mutex<BTreeMap<(String, u16), UnderWay>>>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        locked(&self.under_way).remove(&self.key);
    }
}

fn refused(why: String) -> io::Error {
    io::Error::other(LookUpError(why))
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;

    use super::*;

    /// Look-ups that hang until somebody lets one go, and how many were begun.
    fn hanging(is_patient: bool) -> (LookUps, mpsc::Sender<()>, Arc<AtomicUsize>) {
        let (release, wait) = mpsc::channel::<()>();
        let (wait, begun) = (Mutex::new(wait), Arc::<AtomicUsize>::default());
        let count = Arc::clone(&begun);
        let resolve = move |host: &str, port| {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = locked(&wait).recv();
            match host {
                "gone" => Err(io::Error::other("no such name")),
                _ => Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]),
            }
        };
        let look_ups = LookUps {
            resolve: Arc::new(resolve),
            is_patient,
            ..LookUps::default()
        };
        (look_ups, release, begun)
    }

    async fn given_up(look_ups: &LookUps, address: &str) {
        let asked = look_ups.addresses_of(address);
        let limit = std::time::Duration::from_millis(1);
        assert!(tokio::time::timeout(limit, asked).await.is_err());
    }

    #[tokio::test]
    async fn a_look_up_that_outlives_its_asking_is_the_only_one_and_is_named() {
        let (look_ups, release, begun) = hanging(false);
        given_up(&look_ups, "db.test:5432").await;
        for _ in 0..50 {
            let error = look_ups.addresses_of("db.test:5432").await.unwrap_err();
            assert!(error.to_string().contains("db.test is still looked up"));
        }
        // An address needs none.
        for address in ["127.0.0.1:1", "[::1]:1", "[fe80::1%1]:1"] {
            let found = look_ups.addresses_of(address).await.unwrap();
            assert_eq!(found, [address.parse().unwrap()]);
        }
        // Its thread begins when the machine lets it.
        while begun.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        release.send(()).unwrap();
        while !locked(&look_ups.under_way).is_empty() {
            tokio::task::yield_now().await;
        }
        release.send(()).unwrap();
        let found = look_ups.addresses_of("db.test:5432").await.unwrap();
        assert_eq!(found, ["127.0.0.1:5432".parse().unwrap()]);
    }

    #[tokio::test]
    async fn those_who_share_wait_for_one_look_up_and_hear_the_same() {
        let (look_ups, release, begun) = hanging(true);
        given_up(&look_ups, "gone:80").await;
        let let_go = async { release.send(()).unwrap() };
        let asked = || look_ups.addresses_of("gone:80");
        let (one, other, ()) = tokio::join!(asked(), asked(), let_go);
        assert_eq!(one.unwrap_err().to_string(), "no such name");
        assert_eq!(other.unwrap_err().to_string(), "no such name");
        assert_eq!(begun.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn there_are_never_more_than_so_many_threads() {
        let (look_ups, release, begun) = hanging(true);
        for n in 0..MAX_UNDER_WAY {
            given_up(&look_ups, &format!("host{n}:80")).await;
        }
        let error = look_ups.addresses_of("one.more:80").await.unwrap_err();
        assert!(error.to_string().contains("16 others"), "{error}");
        drop(release);
        while !locked(&look_ups.under_way).is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(begun.load(Ordering::SeqCst), MAX_UNDER_WAY);
    }
}
