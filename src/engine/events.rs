//! The event stream: what happens, as it happens.

use std::sync::Arc;

use homeostasis_core::Cancellation;
use homeostasis_core::record::HealEvent;
use tokio::sync::broadcast;

/// A subscription to the events of all incidents.
///
/// Events come in the order in which they became durable. A subscriber that is too slow misses the
/// oldest and learns how many; the journal has them all.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Arc<HealEvent>>,
    stopped: Cancellation,
    missed: u64,
}

impl Events {
    pub(crate) fn new(
        receiver: broadcast::Receiver<Arc<HealEvent>>,
        stopped: Cancellation,
    ) -> Self {
        Self {
            receiver,
            stopped,
            missed: 0,
        }
    }

    /// The next event; `None` once the engine has shut down and every event was given. Cancel-safe.
    pub async fn next(&mut self) -> Option<Arc<HealEvent>> {
        loop {
            let received = tokio::select! {
                biased;
                received = self.receiver.recv() => received,
                () = self.stopped.cancelled() => match self.receiver.try_recv() {
                    Ok(event) => Ok(event),
                    Err(broadcast::error::TryRecvError::Lagged(n)) => {
                        Err(broadcast::error::RecvError::Lagged(n))
                    }
                    Err(_) => return None,
                },
            };
            match received {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(n)) => self.missed += n,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// How many events were missed so far.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}
