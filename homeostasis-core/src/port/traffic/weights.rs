//! Shares of slots, as whole numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::TrafficError;
use crate::rng::Rng;
use crate::unit::Ratio;

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

    /// The largest difference between the shares of one slot here and in `other`: 0 where requests are
    /// shared alike whatever the numbers, 0.01 where a slot is off by one point. A slot that only one of
    /// them has counts as zero in the other. O(n log n).
    pub fn distance(&self, other: &Self) -> Ratio {
        let slots = self.0.keys().chain(other.0.keys());
        let differences =
            slots.map(|slot| (self.share(slot).get() - other.share(slot).get()).abs());
        Ratio::saturating(differences.fold(0.0, f64::max))
    }

    /// A slot drawn by weight.
    pub fn pick(&self, rng: &mut Rng) -> &str {
        self.at(rng.next_u64())
    }

    /// The slot at a point of the whole range of 64 bits, in which each slot has a stretch as long as its
    /// share, by name: a point drawn evenly draws a slot by weight. O(n).
    pub fn at(&self, point: u64) -> &str {
        // Below the total, which is a sum of 32-bit weights.
        let scaled = (u128::from(point) * u128::from(self.total())) >> 64;
        let mut left = u64::try_from(scaled).unwrap_or(u64::MAX);
        for (slot, weight) in self.iter() {
            match left.checked_sub(weight.into()) {
                Some(rest) => left = rest,
                None => return slot,
            }
        }
        // Not reached: `left` is below the sum of the weights.
        self.0.keys().next_back().map_or("", String::as_str)
    }

    /// The slot of everything that has this key (a user, a session): the same for the same weights, on
    /// every machine; over many keys each slot has its share. When weights change, keys only move to
    /// slots whose share grew, and no more of them than it grew by. O(n).
    ///
    /// A client that can choose its key can choose its slot.
    ///
    /// Source: C. Schindelhauer and G. Schomaker, *Weighted Distributed Hash Tables*, SPAA 2005, the
    /// logarithmic method; the hash is FNV-1a with the finalizer of `SplitMix64`.
    pub fn of_key(&self, key: &[u8]) -> &str {
        let (mut best, mut least) = ("", f64::INFINITY);
        for (slot, weight) in self.iter().filter(|(_, weight)| *weight > 0) {
            // In (0, 1).
            let unit = ((hash(key, slot) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
            let distance = -unit.ln() / f64::from(weight);
            if distance < least {
                (best, least) = (slot, distance);
            }
        }
        best
    }

    fn total(&self) -> u64 {
        self.0.values().copied().map(u64::from).sum()
    }
}

fn hash(key: &[u8], slot: &str) -> u64 {
    // No key and slot together read like others: a byte that UTF-8 never has stands between them.
    let bytes = slot.as_bytes().iter().chain(&[0xff]).chain(key);
    let fnv = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::Rng;

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
        assert_eq!((weights.at(0), weights.at(u64::MAX)), ("b", "c"));
    }

    #[test]
    fn keys_keep_their_slot_and_only_as_many_move_as_the_share_grew() {
        let shares = |canary| Weights::new([("canary", canary), ("stable", 100 - canary)]).unwrap();
        let keys: Vec<_> = (0..20_000).map(|n| format!("user-{n}")).collect();
        let n_canary = |weights: &Weights| {
            let of = |key: &&String| weights.of_key(key.as_bytes()) == "canary";
            keys.iter().filter(of).count()
        };
        for canary in [0, 1, 10, 50, 100] {
            let n = n_canary(&shares(canary));
            let expected = keys.len() * usize::try_from(canary).unwrap() / 100;
            // Four standard deviations of the widest binomial are 283.
            assert!(n.abs_diff(expected) < 283, "{n} of {expected}");
        }
        for key in &keys {
            let grown = [1, 10, 50].map(|n| shares(n).of_key(key.as_bytes()) == "canary");
            assert!(grown.is_sorted(), "{key} came back: {grown:?}");
        }
    }

    #[test]
    fn the_slots_of_keys_are_pinned() {
        // A host that is updated keeps its users where they are. Numbers of a second implementation, in
        // Python.
        let weights = Weights::new([("blue", 1), ("green", 1), ("red", 2)]).unwrap();
        let slots = ["a", "b", "c", "d", "", "user-1"].map(|key| weights.of_key(key.as_bytes()));
        assert_eq!(slots.join(" "), "red blue red blue green red");
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

    fn weights() -> impl Strategy<Value = Weights> {
        prop::collection::btree_map("[a-d]", 0_u32..1000, 1..5)
            .prop_filter_map("nowhere", |weights| Weights::new(weights).ok())
    }

    proptest! {
        #[test]
        fn a_distance_is_of_shares_and_not_of_numbers(a in weights(), b in weights(), k in 1_u32..9) {
            let scaled = Weights::new(a.iter().map(|(slot, weight)| (slot, weight * k))).unwrap();
            prop_assert!(a.distance(&scaled).get() < 1e-12);
            prop_assert_eq!(a.distance(&b), b.distance(&a));
            prop_assert!(a.distance(&b).get() <= 1.0);
        }

        #[test]
        fn only_slots_with_weight_get_points_and_keys(a in weights(), point: u64, key: Vec<u8>) {
            prop_assert!(a.share(a.at(point)).get() > 0.0);
            prop_assert!(a.share(a.of_key(&key)).get() > 0.0);
        }
    }
}
