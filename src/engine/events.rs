//! The event stream: what happens, as it happens.

use std::sync::Arc;

use homeostasis_core::record::HealEvent;
use tokio::sync::broadcast;

/// A subscription to the events of all incidents.
///
/// Events come in the order in which they became durable. A subscriber that is too slow misses the
/// oldest and learns how many; the journal has them all.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Arc<HealEvent>>,
    missed: u64,
}

impl Events {
    pub(crate) fn new(receiver: broadcast::Receiver<Arc<HealEvent>>) -> Self {
        Self {
            receiver,
            missed: 0,
        }
    }

    /// The next event; `None` once the engine has shut down. Cancel-safe.
    pub async fn next(&mut self) -> Option<Arc<HealEvent>> {
        loop {
            match self.receiver.recv().await {
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
