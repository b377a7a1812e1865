//! A seeded source of chance: the same seed gives the same load.

/// `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `0.0..1.0`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in `0..bound`; `bound` is small, so the bias of the remainder does not matter.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Time to the next arrival of a Poisson process, in seconds.
    pub(crate) fn interarrival_seconds(&mut self, rate_per_second: f64) -> f64 {
        -(1.0 - self.unit()).ln() / rate_per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_repeat_with_the_seed_and_keep_their_rate() {
        let mut rng = Rng::new(7);
        let mut again = Rng::new(7);
        let mut total = 0.0;
        for _ in 0..10_000 {
            let gap = rng.interarrival_seconds(60.0);
            assert_eq!(gap, again.interarrival_seconds(60.0));
            assert!(gap.is_finite() && gap >= 0.0);
            total += gap;
        }
        assert!((total / 10_000.0 - 1.0 / 60.0).abs() < 0.001);
    }
}
