//! What every kernel must do, ours or a stranger's: see [`SeriesDetector`].
//!
//! ```
//! use homeostasis::core::record::{Direction, Expectation};
//! use homeostasis::core::stage::{KernelScore, SeriesDetector};
//! use homeostasis::core::testing::kernel::Suite;
//! use homeostasis::core::{Score, Timestamp};
//!
//! /// Finds what is above a limit.
//! #[derive(Debug)]
//! struct Above(f64);
//!
//! impl SeriesDetector for Above {
//!     fn update(&mut self, _: Timestamp, value: Option<f64>) -> KernelScore {
//!         let expected = Expectation::Between { low: None, high: Some(self.0) };
//!         match value {
//!             Some(value) if value.is_finite() && value > self.0 => KernelScore {
//!                 score: Score::ONE,
//!                 surprise: 3.0,
//!                 direction: Direction::High,
//!                 expected,
//!             },
//!             _ => KernelScore::normal(expected),
//!         }
//!     }
//! }
//!
//! Suite::new(|| Above(110.0)).constants(&[0.0, 42.0]).monotone().finds_something().run();
//! ```

use std::time::Duration;

use serde_json::{Value, json};

use crate::record::Expectation;
use crate::rng::Rng;
use crate::stage::{KernelScore, SeriesDetector};
use crate::testing::hostile_state;
use crate::time::Timestamp;
use crate::unit::Score;

/// A sample as a kernel gets it; `None` is a missing value.
pub type KernelSample = (Timestamp, Option<f64>);

/// When every story begins: a Wednesday.
const START: Timestamp = Timestamp::from_secs(1_700_000_000);
/// How many samples a story has.
const N_SAMPLES: usize = 1_500;
/// How many samples are learned before the size of the state is measured.
const N_LONG: usize = 20_000;
/// How many samples are learned after each hostile state.
const N_HOSTILE: usize = 40;
/// A score above this is an alarm.
const LIMIT: f64 = 0.5;

/// Runs the whole [`Suite`] with its defaults.
///
/// # Panics
/// As [`Suite::run`].
pub fn conformance<K: SeriesDetector>(make: impl Fn() -> K) {
    Suite::new(make).run();
}

/// The checks of a kernel, and what it is shown.
///
/// It is shown a series with noise, a daily wave, outliers, a level shift, growth, gaps and missing values, a
/// state that flaps between 0 and 1, constants, and then everything hostile that samples may be: NaN, infinities,
/// 1e300 and subnormal numbers, duplicates, late samples, a clock that jumps back and samples from the end of time.
#[derive(Debug)]
pub struct Suite<F> {
    make: F,
    step: Duration,
    constants: Vec<f64>,
    state_bytes: usize,
    quiet: f64,
    is_monotone: bool,
    must_find: bool,
}

impl<K: SeriesDetector, F: Fn() -> K> Suite<F> {
    /// A suite for the kernels `make` gives; each of them must be new and the same.
    pub fn new(make: F) -> Self {
        Self {
            make,
            step: Duration::from_secs(60),
            constants: vec![0.0, 5.0, -3.3, 5e-324, 1e-310, 1e300, -1e300],
            state_bytes: 64 << 10,
            quiet: 0.05,
            is_monotone: false,
            must_find: false,
        }
    }

    /// How far apart the samples are; default one minute. The stories have 1500.
    pub fn step(mut self, step: Duration) -> Self {
        self.step = step;
        self
    }

    /// The constants it must be silent on; by default there are seven from -1e300 to 1e300.
    pub fn constants(mut self, constants: &[f64]) -> Self {
        constants.clone_into(&mut self.constants);
        self
    }

    /// How long its stored state may be as JSON text, however much it has seen; default 64 KiB.
    pub fn state_within(mut self, bytes: usize) -> Self {
        self.state_bytes = bytes;
        self
    }

    /// The share of the samples of a steady noise that it may alarm on; default 0.05.
    pub fn quiet(mut self, share: f64) -> Self {
        self.quiet = share;
        self
    }

    /// Demands that beyond the bounds it expects, a larger deviation never scores less.
    pub fn monotone(mut self) -> Self {
        self.is_monotone = true;
        self
    }

    /// Demands that it alarms in what it is shown, so that the other checks are not empty.
    pub fn finds_something(mut self) -> Self {
        self.must_find = true;
        self
    }

    /// Runs all checks.
    ///
    /// # Panics
    /// With what was expected and what was found, if the kernel breaks its contract.
    pub fn run(&self) {
        let stories = [self.series(), self.states()];
        let mut highest = 0.0_f64;
        for story in &stories {
            let mut kernel = (self.make)();
            for (at, value) in story {
                highest = highest.max(judge(&mut kernel, *at, *value).score.score.get());
            }
            for cut in [0, 1, N_SAMPLES / 3, N_SAMPLES * 2 / 3, N_SAMPLES - 1] {
                self.holds_for(story, cut);
            }
            self.passes_over_late_samples(story);
            self.takes_missing_values_alike(story);
        }
        assert!(
            !self.must_find || highest > LIMIT,
            "{:?} scored at most {highest} in outliers, shifts, growth and flapping, expected an alarm",
            (self.make)()
        );
        for seed in 0..8 {
            let hostile = hostile(seed, 400);
            for cut in [0, 57, 200, 399] {
                self.holds_for(&hostile, cut);
            }
        }
        self.is_silent_on_constants();
        self.is_quiet_on_noise();
        self.refuses_what_is_no_state();
        self.survives_hostile_states();
        self.stays_small();
        if self.is_monotone {
            self.scores_more_for_more();
        }
    }

    /// Checks these samples: that every answer is in range, that the same samples give the same answers, in
    /// batches too, and that a kernel stored after `cut` of them and restored goes on to the bit.
    ///
    /// It is the body for a property test over samples of your own.
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub fn holds_for(&self, samples: &[KernelSample], cut: usize) {
        let cut = cut.min(samples.len());
        let mut kernel = (self.make)();
        let mut stored = kernel.save();
        let mut expected = Vec::with_capacity(samples.len());
        for (idx, (at, value)) in samples.iter().enumerate() {
            expected.push(judge(&mut kernel, *at, *value));
            if idx + 1 == cut {
                stored = kernel.save();
            }
        }
        let again = play(&mut (self.make)(), samples);
        same(&expected, &again, "the same samples were given twice");
        self.batches(samples, cut, &expected, kernel.save().as_ref());

        let Some(stored) = stored else { return };
        let text = stored.to_string();
        let read: Value = serde_json::from_str(&text).expect("a state is JSON");
        let mut restored = (self.make)();
        if let Err(error) = restored.load(&read) {
            panic!("{restored:?} refuses its own state {text}: {error}");
        }
        let why = format!("its state was stored and restored after {cut} samples");
        assert_eq!(restored.save(), Some(stored), "{why}, and is another");
        let found = play(&mut restored, &samples[cut..]);
        same(&expected[cut..], &found, &why);
    }

    /// The same in batches, cut at `cut`.
    fn batches(
        &self,
        samples: &[KernelSample],
        cut: usize,
        expected: &[Judged],
        end: Option<&Value>,
    ) {
        let pairs: Vec<(Timestamp, f64)> = samples
            .iter()
            .map(|(at, value)| (*at, value.unwrap_or(f64::NAN)))
            .collect();
        let mut kernel = (self.make)();
        let mut scores = vec![Score::ONE];
        let (head, tail) = pairs.split_at(cut);
        for part in [head, tail, &[]] {
            kernel.update_batch(part, &mut scores);
        }
        assert_eq!(
            scores.len(),
            samples.len() + 1,
            "{kernel:?}: a batch appends one score for each sample"
        );
        for (idx, (score, expected)) in scores[1..].iter().zip(expected).enumerate() {
            assert_eq!(
                score.get().to_bits(),
                expected.score.score.get().to_bits(),
                "sample {idx}, {:?}: {score:?} in a batch, {expected:?} by itself",
                samples[idx]
            );
        }
        assert_eq!(
            kernel.save().as_ref(),
            end,
            "the state after batches of {cut} and {} samples",
            tail.len()
        );
    }

    /// Late and doubled samples are scored and not learned.
    fn passes_over_late_samples(&self, story: &[KernelSample]) {
        let expected = play(&mut (self.make)(), story);
        let mut kernel = (self.make)();
        for (idx, (at, value)) in story.iter().enumerate() {
            let found = judge(&mut kernel, *at, *value);
            assert_eq!(
                found, expected[idx],
                "sample {idx}: late samples before it were learned"
            );
            if value.is_some() && idx % 7 == 3 {
                for (late, value) in [
                    (*at, Some(1e6)),
                    (*at, None),
                    (*at - self.step * 3, Some(-1e12)),
                    (*at - self.step, Some(f64::NAN)),
                    (Timestamp::from_nanos(i64::MIN), Some(1e300)),
                ] {
                    judge(&mut kernel, late, value);
                }
            }
        }
    }

    /// `None`, NaN and both infinities are the same.
    fn takes_missing_values_alike(&self, story: &[KernelSample]) {
        let expected = play(&mut (self.make)(), story);
        for missing in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let filled: Vec<_> = story
                .iter()
                .map(|(at, value)| (*at, value.or(Some(missing))))
                .collect();
            let found = play(&mut (self.make)(), &filled);
            same(
                &expected,
                &found,
                &format!("{missing} stands for what is missing"),
            );
        }
    }

    fn is_silent_on_constants(&self) {
        for constant in &self.constants {
            let mut kernel = (self.make)();
            for idx in 0..N_SAMPLES / 3 {
                let judged = judge(&mut kernel, self.at(idx), Some(*constant));
                assert!(
                    judged.score.score.get() <= LIMIT,
                    "sample {idx} of the constant {constant}: {judged:?}, expected no alarm"
                );
            }
        }
    }

    fn is_quiet_on_noise(&self) {
        let mut kernel = (self.make)();
        let mut rng = Rng::from_seed(5);
        let n_alarms = (0..N_SAMPLES)
            .filter(|idx| {
                let value = 100.0 + noise(&mut rng);
                let judged = judge(&mut kernel, self.at(*idx), Some(value));
                judged.score.score.get() > LIMIT
            })
            .count();
        let share = n_alarms as f64 / N_SAMPLES as f64;
        assert!(
            share <= self.quiet,
            "{n_alarms} alarms in {N_SAMPLES} samples of steady noise, expected at most a share of {}",
            self.quiet
        );
    }

    /// What is no state of this kernel is refused, and the present state kept.
    fn refuses_what_is_no_state(&self) {
        let story = self.series();
        let (mut kernel, mut twin) = ((self.make)(), (self.make)());
        for (at, value) in &story[..300] {
            judge(&mut kernel, *at, *value);
            judge(&mut twin, *at, *value);
        }
        for foreign in [
            Value::Null,
            json!({"of another": 1}),
            json!([1, 2]),
            json!("state"),
        ] {
            assert!(
                kernel.load(&foreign).is_err(),
                "{kernel:?} takes {foreign} for its state"
            );
        }
        let rest = &story[300..400];
        let expected = play(&mut twin, rest);
        let found = play(&mut kernel, rest);
        same(&expected, &found, "it refused a state and kept its own");
    }

    /// A state with a number at its extreme or a list of another length is refused, or it goes on without a panic.
    fn survives_hostile_states(&self) {
        let story = self.series();
        let (past, next) = story.split_at(N_SAMPLES / 3);
        let mut kernel = (self.make)();
        play(&mut kernel, past);
        let Some(state) = kernel.save() else { return };
        hostile_state::survives(&state, |hostile| {
            let mut kernel = (self.make)();
            if kernel.load(hostile).is_err() {
                return;
            }
            for (at, value) in &next[..N_HOSTILE] {
                kernel.update(*at, *value);
                kernel.explain();
            }
            // After a gap, and at the end of time.
            for at in [self.at(1_000_000), Timestamp::MAX] {
                kernel.update(at, Some(100.0));
            }
            kernel.save();
        });
    }

    /// The state stays within its bound, whatever was seen and for how long.
    fn stays_small(&self) {
        let mut kernel = (self.make)();
        let mut rng = Rng::from_seed(3);
        let (mut at, mut scores) = (START, Vec::new());
        for round in 0..8 {
            let samples: Vec<(Timestamp, f64)> = (0..N_LONG / 8)
                .map(|_| {
                    // Seconds, then minutes, then hours, and numbers with all their digits.
                    at = at + self.step.mul_f64(rng.unit() * [0.02, 1.0, 60.0][round % 3]);
                    (at, noise(&mut rng) * [1.0, 1e-300, 1e290, 50.0][round % 4])
                })
                .collect();
            kernel.update_batch(&samples, &mut scores);
            let Some(state) = kernel.save() else { return };
            let n_bytes = state.to_string().len();
            assert!(
                n_bytes <= self.state_bytes,
                "a state of {n_bytes} bytes after {} samples, expected at most {}",
                (round + 1) * (N_LONG / 8),
                self.state_bytes
            );
        }
    }

    /// Beyond the bounds it expects, more deviation never scores less.
    fn scores_more_for_more(&self) {
        let story = self.series();
        let mut n_compared = 0;
        for end in [20, 100, 250, 500, 1450] {
            let at = story[end].0;
            let probe = |value: f64| {
                let mut kernel = (self.make)();
                play(&mut kernel, &story[..end]);
                judge(&mut kernel, at, Some(value)).score
            };
            let Expectation::Between { low, high } = probe(100.0).expected else {
                continue;
            };
            let ends = [
                high.map(|bound| (bound, 1.0)),
                low.map(|bound| (bound, -1.0)),
            ];
            for (bound, sign) in ends.into_iter().flatten() {
                let mut before: Option<KernelScore> = None;
                for exponent in 0..30 {
                    let value = bound + sign * 1e-3 * (2.0_f64.powi(exponent) - 1.0);
                    let judged = probe(value);
                    if let Some(before) = before {
                        n_compared += 1;
                        assert!(
                            judged.score >= before.score && judged.surprise >= before.surprise,
                            "{value} scores {judged:?}, and a value nearer to {bound} scored {before:?}"
                        );
                    }
                    before = Some(judged);
                }
            }
        }
        assert!(
            n_compared > 0,
            "{:?} is said to be monotone and expects no bounds",
            (self.make)()
        );
    }

    fn at(&self, idx: usize) -> Timestamp {
        START + self.step * u32::try_from(idx).unwrap_or(u32::MAX)
    }

    /// Noise of standard deviation 1 around 100 with trouble in it.
    fn series(&self) -> Vec<KernelSample> {
        let mut rng = Rng::from_seed(11);
        let mut gap = Duration::ZERO;
        (0..N_SAMPLES)
            .map(|idx| {
                if idx == 450 || idx == 1200 {
                    gap += self.step * 30;
                }
                let at = self.at(idx) + gap;
                let wave = (std::f64::consts::TAU * at.as_secs_f64() / 86_400.0).sin();
                let trouble = match idx {
                    // Outliers, a shift, growth.
                    300 | 1400 => 60.0,
                    301 => -40.0,
                    600..800 => 25.0,
                    900..1050 => 0.3 * (idx - 900) as f64,
                    _ => 0.0,
                };
                let value = 100.0 + 3.0 * wave + noise(&mut rng) + trouble;
                let is_missing = (400..420).contains(&idx) || rng.below(50) == 0;
                (at, Some(value).filter(|_| !is_missing))
            })
            .collect()
    }

    /// A state that is 1, flaps for a while, and is 0 at times.
    fn states(&self) -> Vec<KernelSample> {
        (0..N_SAMPLES)
            .map(|idx| {
                let is_up = match idx {
                    500..560 => idx % 2 == 0,
                    900..1000 => false,
                    _ => true,
                };
                (self.at(idx), Some(f64::from(u8::from(is_up))))
            })
            .collect()
    }
}

/// What a kernel said of a sample, and how it explained it.
#[derive(Debug, Clone, PartialEq)]
struct Judged {
    score: KernelScore,
    explanation: Option<String>,
}

/// Gives the sample and checks the answer by itself.
fn judge(kernel: &mut impl SeriesDetector, at: Timestamp, value: Option<f64>) -> Judged {
    let score = kernel.update(at, value);
    assert!(
        score.surprise.is_finite() && score.surprise >= 0.0,
        "{value:?}: a surprise of {}, expected a finite number of nats, 0 or more",
        score.surprise
    );
    if value.is_none_or(|value| !value.is_finite()) {
        assert!(
            score.score == Score::ZERO && score.surprise == 0.0,
            "{value:?} is a missing value and was scored {score:?}"
        );
    }
    if let Expectation::Between { low, high } = score.expected {
        let is_finite = low.into_iter().chain(high).all(f64::is_finite);
        let in_order = low.zip(high).is_none_or(|(low, high)| low <= high);
        assert!(
            is_finite && in_order,
            "{value:?}: {:?}, expected finite bounds in order",
            score.expected
        );
    }
    Judged {
        score,
        explanation: kernel.explain(),
    }
}

fn play(kernel: &mut impl SeriesDetector, samples: &[KernelSample]) -> Vec<Judged> {
    samples
        .iter()
        .map(|(at, value)| judge(kernel, *at, *value))
        .collect()
}

fn same(expected: &[Judged], found: &[Judged], why: &str) {
    for (idx, (expected, found)) in expected.iter().zip(found).enumerate() {
        assert_eq!(
            expected, found,
            "{why}, and sample {idx} is judged otherwise"
        );
        assert_eq!(
            expected.score.surprise.to_bits(),
            found.score.surprise.to_bits()
        );
    }
}

/// Roughly normal: the sum of twelve uniform numbers, less 6; variance 1.
fn noise(rng: &mut Rng) -> f64 {
    (0..12).map(|_| rng.unit()).sum::<f64>() - 6.0
}

/// Numbers and instants as they should not be.
fn hostile(seed: u64, n: usize) -> Vec<KernelSample> {
    const VALUES: [f64; 14] = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        -0.0,
        0.0,
        1e300,
        -1e300,
        1e150,
        1e-150,
        1.0,
    ];
    let mut rng = Rng::from_seed(seed);
    let mut at = START;
    let second = Duration::from_secs(1);
    (0..n)
        .map(|idx| {
            at = match rng.below(12) {
                0 => at,
                1 => at - second * 40,
                2 => at + second * 3600,
                3 => at + Duration::from_nanos(1),
                4 if idx > n - 5 => Timestamp::MAX,
                4 if idx < 5 => Timestamp::from_nanos(i64::MIN),
                5 => at - second * 86_400,
                _ => at + second,
            };
            let value = match rng.below(4) {
                0 => None,
                1 => usize::try_from(rng.below(14)).ok().map(|idx| VALUES[idx]),
                _ => Some(10.0 + noise(&mut rng)),
            };
            (at, value)
        })
        .collect()
}

#[cfg(test)]
mod tests;
