//! How rare a gap is among those seen before.

use serde::{Deserialize, Serialize};

/// Bins to the octave, as the leading bits of the fraction: no logarithm is computed.
const BITS: u32 = 3;
const SHIFT: u32 = f64::MANTISSA_DIGITS - 1 - BITS;
/// Gaps are kept between these: 2^-30 and 16 (in ranges of the statistic).
const LEAST: f64 = 1.0 / (1_u64 << 30) as f64;
pub(super) const LARGEST: f64 = 10.0;
const BINS: usize = 34 << BITS;
/// After how many samples a gap counts e times less.
const MEMORY: f64 = 20_000.0;
/// Nothing is rare before this many were seen.
const FED: u32 = 100;
/// Gaps that occur more often than one in e² are ordinary, in nats.
pub(super) const ORDINARY: f64 = 2.0;
/// e^-2.
const ORDINARY_SHARE: f64 = 0.135_335_283_236_612_7;
/// Weights are scaled back before they overflow.
const RESCALE: f64 = 1e100;

/// A histogram of gaps on a logarithmic scale that forgets slowly.
///
/// Learning is O(1); the look-up is O(1) for ordinary gaps and walks over the bins of the rarest
/// seventh otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rarity {
    counts: Vec<f64>,
    total: f64,
    weight: f64,
    fed: u32,
    /// The highest bin from which on at least one in e² of the gaps lies, and what lies from there on.
    pivot: usize,
    above: f64,
}

impl Rarity {
    pub(super) fn new() -> Self {
        Self {
            counts: vec![0.0; BINS],
            total: 0.0,
            weight: 1.0,
            fed: 0,
            pivot: 0,
            above: 0.0,
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.counts.capacity() * size_of::<f64>()
    }

    pub(super) fn is_sound(&self) -> bool {
        let sound = |x: &f64| x.is_finite() && *x >= 0.0;
        self.counts.len() == BINS
            && self.counts.iter().all(sound)
            && [self.total, self.above].iter().all(sound)
            && (1.0..=2.0 * RESCALE).contains(&self.weight)
            && self.pivot < BINS
    }

    /// By how many nats a gap this large is rarer than an ordinary one; 0 while there is too little to say.
    /// It never falls when the gap grows.
    pub(super) fn excess(&self, gap: f64) -> f64 {
        let (bin, share) = bin(gap);
        if bin < self.pivot || self.fed < FED {
            return 0.0;
        }
        let below: f64 = self.counts[self.pivot..bin].iter().sum();
        let larger = (self.above - below - share * self.counts[bin]).max(0.0);
        let p = (larger + self.weight) / (self.total + self.weight);
        (-p.ln() - ORDINARY).max(0.0)
    }

    pub(super) fn learn(&mut self, gap: f64) {
        let (bin, _) = bin(gap);
        self.fed = self.fed.saturating_add(1);
        self.counts[bin] += self.weight;
        self.total += self.weight;
        if bin >= self.pivot {
            self.above += self.weight;
        }
        self.weight *= 1.0 + 1.0 / MEMORY;
        if self.weight > RESCALE {
            self.rescale();
        }
        let least = ORDINARY_SHARE * self.total;
        while self.above < least && self.pivot > 0 {
            self.pivot -= 1;
            self.above += self.counts[self.pivot];
        }
        while self.pivot + 1 < BINS && self.above - self.counts[self.pivot] >= least {
            self.above -= self.counts[self.pivot];
            self.pivot += 1;
        }
    }

    fn rescale(&mut self) {
        for count in &mut self.counts {
            *count /= self.weight;
        }
        self.weight = 1.0;
        self.total = self.counts.iter().sum();
        self.above = self.counts[self.pivot..].iter().sum();
    }
}

/// The bin of a gap, and how far into it the gap reaches, 0 to 1.
fn bin(gap: f64) -> (usize, f64) {
    let bits = gap.clamp(LEAST, LARGEST).to_bits();
    let above = (bits >> SHIFT) - (LEAST.to_bits() >> SHIFT);
    let share = (bits & ((1 << SHIFT) - 1)) as f64 / (1_u64 << SHIFT) as f64;
    (usize::try_from(above).unwrap_or(BINS - 1), share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;
    use proptest::prelude::*;

    fn fed(n: u32, seed: u64) -> Rarity {
        let (mut rarity, mut rng) = (Rarity::new(), Rng::from_seed(seed));
        for _ in 0..n {
            rarity.learn(rng.unit().powi(4));
        }
        rarity
    }

    #[test]
    fn the_excess_is_that_of_the_share_of_larger_gaps() {
        let (mut rarity, mut gaps) = (Rarity::new(), Vec::new());
        let mut rng = Rng::from_seed(9);
        for _ in 0..2000 {
            let gap = rng.unit().powi(4);
            rarity.learn(gap);
            gaps.push(gap);
        }
        for gap in [0.01, 0.5, 0.8, 0.95, 2.0] {
            let n_larger = gaps.iter().filter(|one| **one >= gap).count();
            let share = (n_larger as f64 + 1.0) / 2001.0;
            let expected = (-share.ln() - ORDINARY).max(0.0);
            let found = rarity.excess(gap);
            assert!(
                (found - expected).abs() < 0.2,
                "{gap}: {found}, expected {expected}"
            );
        }
    }

    #[test]
    fn nothing_is_rare_before_a_hundred_gaps_and_weights_stay_finite() {
        assert_eq!(fed(99, 1).excess(5.0), 0.0);
        assert!(fed(100, 1).excess(5.0) > 0.0);
        let mut rarity = fed(1000, 2);
        rarity.weight = 2.0 * RESCALE;
        rarity.learn(0.5);
        assert!(
            rarity.is_sound() && rarity.weight == 1.0,
            "{}",
            rarity.weight
        );
    }

    proptest! {
        #[test]
        fn a_larger_gap_is_never_less_rare(a in 0.0..11.0_f64, b in 0.0..11.0_f64, n in 1_u32..3000) {
            let rarity = fed(n, 3);
            prop_assert!(rarity.excess(a.min(b)) <= rarity.excess(a.max(b)));
        }
    }
}
