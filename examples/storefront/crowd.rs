//! A crowd at a front: so many customers who ask one question after the other, each over a
//! connection that stays open, and count what they get.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use crate::http::{Call, Client};
use crate::rng::Rng;
use crate::service::quotes::ZONES;

/// What the customers saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) requests: usize,
    pub(crate) failed: usize,
}

impl Counted {
    /// The share that failed; zero without requests.
    pub(crate) fn failed_share(self) -> f64 {
        self.failed as f64 / self.requests.max(1) as f64
    }
}

#[derive(Debug, Default)]
struct Counts {
    is_over: AtomicBool,
    requests: AtomicUsize,
    failed: AtomicUsize,
    first_failure: Mutex<Option<String>>,
}

/// The customers; [`stop`](Self::stop) waits for their last answers.
#[derive(Debug)]
pub(crate) struct Crowd {
    counts: Arc<Counts>,
    customers: JoinSet<()>,
}

impl Crowd {
    /// `n` customers; each thinks for `pause` between an answer and the next question.
    /// What they ask is a path, drawn from chance; what they expect is a `T`.
    pub(crate) fn start<T: DeserializeOwned + 'static>(
        front: SocketAddr,
        question: fn(&mut Rng) -> String,
        seed: u64,
        n: u64,
        pause: Duration,
    ) -> Self {
        let counts = Arc::new(Counts::default());
        let mut customers = JoinSet::new();
        for customer in 0..n {
            let counts = Arc::clone(&counts);
            customers.spawn(ask::<T>(
                front,
                question,
                Rng::new(seed ^ customer),
                pause,
                counts,
            ));
        }
        Self { counts, customers }
    }

    pub(crate) fn counted(&self) -> Counted {
        Counted {
            requests: self.counts.requests.load(Ordering::SeqCst),
            failed: self.counts.failed.load(Ordering::SeqCst),
        }
    }

    /// How the first request that failed did.
    pub(crate) fn first_failure(&self) -> Option<String> {
        let first = self.counts.first_failure.lock();
        first.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Nobody asks any more, and everybody has an answer.
    pub(crate) async fn stop(&mut self) -> Counted {
        self.counts.is_over.store(true, Ordering::SeqCst);
        while self.customers.join_next().await.is_some() {}
        self.counted()
    }
}

/// A quote that every version should have.
pub(crate) fn any_quote(rng: &mut Rng) -> String {
    format!("/quote/{}/{}", 1 + rng.below(ZONES), 1 + rng.below(30))
}

async fn ask<T: DeserializeOwned>(
    front: SocketAddr,
    question: fn(&mut Rng) -> String,
    mut rng: Rng,
    pause: Duration,
    counts: Arc<Counts>,
) {
    let client = Client::default();
    while !counts.is_over.load(Ordering::SeqCst) {
        let call = Call::get(front, question(&mut rng));
        let failure = match client.send(&call).await {
            Ok(answer) if !answer.status.is_success() => Some(format!(
                "{}: {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            )),
            Ok(answer) => answer.json::<T>().err().map(|error| error.to_string()),
            Err(error) => Some(crate::chain(&error)),
        };
        if let Some(failure) = failure {
            counts.failed.fetch_add(1, Ordering::SeqCst);
            let mut first = counts
                .first_failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(failure);
        }
        counts.requests.fetch_add(1, Ordering::SeqCst);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}
