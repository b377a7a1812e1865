//! Traffic: how requests to a service are shared among its slots.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::stage_error;
use crate::rng::Rng;
use crate::unit::Ratio;

stage_error!(
    /// Why traffic was not shifted; it then flows as before.
    TrafficError
);

/// The weights of a service's slots (`stable` and `canary`, `blue` and `green`): at least one slot,
/// at least one weight above zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, u32>", into = "BTreeMap<String, u32>")]
pub struct Weights(BTreeMap<String, u32>);

impl Weights {
    /// Checks the weights; the last of a slot that comes twice counts.
    ///
    /// # Errors
    /// [`TrafficError::Invalid`] if no slot has a weight above zero.
    pub fn new<S: Into<String>>(
        weights: impl IntoIterator<Item = (S, u32)>,
    ) -> Result<Self, TrafficError> {
        let weights: BTreeMap<_, _> = weights.into_iter().map(|(s, w)| (s.into(), w)).collect();
        if weights.values().all(|weight| *weight == 0) {
            let detail = format!("{weights:?}, expected a slot with a weight above 0");
            return Err(TrafficError::invalid("weights", detail));
        }
        Ok(Self(weights))
    }

    /// The slots by name, with their weights.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        self.0.iter().map(|(slot, weight)| (slot.as_str(), *weight))
    }

    /// The share of `slot`; zero if there is no such slot.
    pub fn share(&self, slot: &str) -> Ratio {
        let weight = self.0.get(slot).copied().unwrap_or_default();
        Ratio::of(weight.into(), self.total())
    }

    /// A slot drawn by weight.
    pub fn pick(&self, rng: &mut Rng) -> &str {
        // The bias of the remainder is below 2^-31: the total is a sum of 32-bit weights.
        let mut left = rng.next_u64() % self.total();
        for (slot, weight) in self.iter() {
            match left.checked_sub(weight.into()) {
                Some(rest) => left = rest,
                None => return slot,
            }
        }
        // Not reached: `left` is below the sum of the weights.
        self.0.keys().next_back().map_or("", String::as_str)
    }

    fn total(&self) -> u64 {
        self.0.values().copied().map(u64::from).sum()
    }
}

impl TryFrom<BTreeMap<String, u32>> for Weights {
    type Error = TrafficError;

    fn try_from(weights: BTreeMap<String, u32>) -> Result<Self, TrafficError> {
        Self::new(weights)
    }
}

impl From<Weights> for BTreeMap<String, u32> {
    fn from(weights: Weights) -> Self {
        weights.0
    }
}

/// Shares the requests to services among their slots.
///
/// *Assumptions:* setting is atomic: a request sees the old weights or the new ones; setting the
/// same weights again changes nothing. What was set is read back from where it takes effect, so that
/// a step that was cut short can be probed.
#[async_trait]
pub trait TrafficRouter: fmt::Debug + Send + Sync {
    /// Sets all weights of `service` at once.
    async fn set_weights(&self, service: &str, weights: &Weights) -> Result<(), TrafficError>;

    /// The weights in force; `None` if nothing is routed for `service`.
    async fn weights(&self, service: &str) -> Result<Option<Weights>, TrafficError>;
}

const _: fn(&dyn TrafficRouter) = |_| {};

/// Weights in memory, for hosts that route inside of the process: they [`pick`](Self::pick) a slot
/// for each request.
#[derive(Debug, Default)]
pub struct MemoryRouter {
    services: Mutex<BTreeMap<String, Weights>>,
}

impl MemoryRouter {
    /// The slot for one request to `service`; `None` if nothing is routed for it.
    pub fn pick(&self, service: &str, rng: &mut Rng) -> Option<String> {
        let services = self.services();
        services
            .get(service)
            .map(|weights| weights.pick(rng).to_owned())
    }

    fn services(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Weights>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl TrafficRouter for MemoryRouter {
    async fn set_weights(&self, service: &str, weights: &Weights) -> Result<(), TrafficError> {
        self.services().insert(service.to_owned(), weights.clone());
        Ok(())
    }

    async fn weights(&self, service: &str) -> Result<Option<Weights>, TrafficError> {
        Ok(self.services().get(service).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn weights_are_replaced_as_a_whole_and_read_back() {
        let router = MemoryRouter::default();
        let mut rng = Rng::from_seed(3);
        assert_eq!(router.weights("orders").await.unwrap(), None);
        assert_eq!(router.pick("orders", &mut rng), None);
        let canary = Weights::new([("stable", 99), ("canary", 1)]).unwrap();
        router.set_weights("orders", &canary).await.unwrap();
        assert_eq!(router.weights("orders").await.unwrap(), Some(canary));
        let green = Weights::new([("green", 1)]).unwrap();
        router.set_weights("orders", &green).await.unwrap();
        assert_eq!(router.weights("orders").await.unwrap(), Some(green));
        assert_eq!(router.pick("orders", &mut rng).as_deref(), Some("green"));
    }

    #[test]
    fn slots_are_picked_by_their_share_and_never_at_zero() {
        let weights = Weights::new([("a", 0), ("b", 3), ("c", 1), ("d", 0)]).unwrap();
        let mut rng = Rng::from_seed(5);
        let picks: Vec<_> = (0..4000).map(|_| weights.pick(&mut rng)).collect();
        let n = |slot| picks.iter().filter(|pick| **pick == slot).count();
        assert_eq!(n("a") + n("d"), 0);
        // Four standard deviations of a binomial with n = 4000, p = 1/4 are 110.
        assert!(n("c").abs_diff(1000) < 110, "{}", n("c"));
        assert_eq!(weights.share("b").get(), 0.75);
        assert_eq!(weights.share("unknown"), Ratio::ZERO);
    }

    #[test]
    fn weights_that_lead_nowhere_are_refused_also_by_serde() {
        assert!(Weights::new::<&str>([]).is_err());
        let error = Weights::new([("a", 0)]).unwrap_err().to_string();
        assert!(error.contains("weight above 0"), "{error}");
        assert!(serde_json::from_str::<Weights>(r#"{"a":0}"#).is_err());
        let read: Weights = serde_json::from_str(r#"{"a":2}"#).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), r#"{"a":2}"#);
    }
}
