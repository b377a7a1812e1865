//! The detector.

use homeostasis_core::record::Expectation;
use homeostasis_core::stage::{DetectError, KernelScore, SeriesDetector};
use homeostasis_core::{ConfigError, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::alert::Alerts;
use super::channel::{Channel, Look, Stored};
use super::config::OnlineConfig;
use super::context::{Context, Verdict};
use super::deviation::Deviation;
use super::explanation::{Explanation, Reason, noun};
use super::gate::Gate;
use super::judgement::OnlineJudgement;
use super::window::{CHANNELS, LONGEST, Statistic, Windows};
use crate::side::direction;
use crate::{scale, state};

/// The novelty that is told: the middle of the plateau on the development half of NAB.
const NOVELTY: f64 = 0.1;
/// The deviation that is told, in standard deviations.
const DEVIATION: f64 = 5.0;
/// Nothing is new before this many samples.
const WARM_UP: u64 = 150;
/// The least range of the logarithm of a spread: a tenth more or less of it is little in any series.
const LEAST_LOGARITHM: f64 = 0.1;
const DAY: i64 = 86_400_000_000_000;
const WHAT: &str = "state of online";

/// Tells when a series does what it never did, or is where it rarely is. For any series, as it is.
///
/// Two heads look at every sample before it is learned.
///
/// *Novelty* asks of twelve statistics of the last 1 to 73 samples (value, extremes, means, changes,
/// spreads) how far each is from the nearest value it ever took, in units of its own range, and
/// weighs that gap by its rarity among the gaps before. The sum counts fully where the value is far
/// from its level, and three tenths of it in the middle. *Context* adds the same gap between the value
/// and what was seen at this place of the period, once a period was found that explains at least half
/// of the series' spread.
/// Novelty is high once: what comes again is known. After an alert there is a dead time.
///
/// *Deviation* is the distance from a robust level in standard deviations, the mean over the scales of
/// 50, 500 and 2000 samples. It is high each time.
///
/// The score of [`SeriesDetector::update`] is 0.5 where the larger of both is at its limit (a novelty
/// of 0.1 and 5 standard deviations, both divided by `sensitivity`), of this sample alone: a window with a sample
/// before it that was that far says nothing of this one. The surprise is that of as many standard deviations. [`OnlineDetector::judge`] gives each on its own, and a strength in which
/// deviations fade by a fifth with every sample, from at most 50 standard deviations.
///
/// *Missing, late and huge values:* NaN and infinities are missing and change nothing; what is not later
/// than the last sample is scored and not learned, and is no alert; beyond ±1e150 values count as ±1e150.
/// *Gaps:* after 72 usual intervals without a sample the windows begin anew, and each is judged and learned
/// once it is full again.
/// *Constants:* differences below `resolution`, or below a billionth of the value, are none.
///
/// No sample after the present one, nor the length of the series, has any influence. O(log n) time on
/// 256 prototypes for each statistic (512 for two means that heed the time of day, in UTC), and a search
/// for the period each time the series has grown by a quarter, on at most 1024 blocks of it. Memory: at
/// most [`OnlineDetector::MOST_BYTES`] for a series, however long.
///
/// Source: our own; the gap to the nearest value is the distance of S. Ramaswamy, R. Rastogi and K. Shim,
/// *Efficient algorithms for mining outliers from large data sets*, SIGMOD 2000, on one dimension, and
/// the rarity that of conformal anomaly detection (R. Laxhammar and G. Falkman, 2010).
///
/// # Examples
/// ```
/// use homeostasis::core::Timestamp;
/// use homeostasis::core::stage::SeriesDetector;
/// use homeostasis::detect::{OnlineConfig, OnlineDetector};
///
/// let mut detector = OnlineDetector::new(OnlineConfig::default())?;
/// for minute in 0..600 {
///     let value = 50.0 + f64::from(minute % 7);
///     assert!(detector.judge(Timestamp::from_secs(60 * i64::from(minute)), Some(value)).alert < 1.0);
/// }
/// let judgement = detector.judge(Timestamp::from_secs(60 * 600), Some(90.0));
/// assert!(judgement.alert >= 1.0);
/// let sentence = detector.explain().unwrap_or_default();
/// assert!(sentence.contains("the highest before was 56"), "{sentence}");
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct OnlineDetector {
    config: OnlineConfig,
    windows: Windows,
    channels: [Channel; CHANNELS.len()],
    rest: Rest,
    /// Of the last sample.
    evidence: [f64; CHANNELS.len()],
    gate: f64,
    context: f64,
    explanation: Option<Explanation>,
}

/// What is stored as it is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rest {
    n: u64,
    last: Option<Timestamp>,
    gate: Gate,
    deviation: Deviation,
    context: Context,
    alerts: Alerts,
    /// The number of the last sample that was far from the level.
    #[serde(default)]
    far: Option<u64>,
    /// The first abnormal sample, while they are.
    since: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Snapshot {
    samples: Vec<f64>,
    channels: Vec<Stored>,
    rest: Rest,
}

/// All that is found out of a sample before anything is learned.
struct Findings {
    floor: f64,
    time: f64,
    statistics: [f64; CHANNELS.len()],
    /// `None` where a gap has cut the window: what is said of a part is no news of the series.
    looks: [Option<Look>; CHANNELS.len()],
    smoothed: f64,
    verdict: Option<Verdict>,
}

fn new_channels() -> [Channel; CHANNELS.len()] {
    CHANNELS.map(|what| match what {
        Statistic::CoarseValue => Channel::new(0.05, false),
        // 3 %: with the time of day there is more to remember.
        Statistic::Mean36 | Statistic::Mean72 => Channel::new(0.03, true),
        _ => Channel::new(0.01, false),
    })
}

impl OnlineDetector {
    /// A detector that has seen nothing yet.
    ///
    /// # Errors
    /// Every field of `config` outside its range, below `online`.
    pub fn new(config: OnlineConfig) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            config,
            windows: Windows::new(),
            channels: new_channels(),
            rest: Rest::default(),
            evidence: [0.0; CHANNELS.len()],
            gate: 0.0,
            context: 0.0,
            explanation: None,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &OnlineConfig {
        &self.config
    }

    /// The period of the series, once one is found that explains it.
    pub fn period(&self) -> Option<std::time::Duration> {
        let nanos = self.rest.context.period()?;
        Some(std::time::Duration::from_nanos(nanos.unsigned_abs()))
    }

    /// The most that [`OnlineDetector::bytes`] can be: 200 kB.
    pub const MOST_BYTES: usize = 200_000;

    /// The bytes it holds at present.
    pub fn bytes(&self) -> usize {
        let channels: usize = self.channels.iter().map(Channel::heap_bytes).sum();
        size_of::<Self>() + self.windows.heap_bytes() + channels + self.rest.context.heap_bytes()
    }

    /// What the parts of novelty said of the last sample: the evidence of each statistic and of the
    /// context. The gate has not weighed it yet; see [`OnlineDetector::gate`].
    pub fn evidence(&self) -> impl Iterator<Item = (Statistic, f64)> {
        let context = (Statistic::Context, self.context);
        CHANNELS.into_iter().zip(self.evidence).chain([context])
    }

    /// What the evidence of the statistics counted at the last sample, 0.3 to 1; 0 before the first.
    pub fn gate(&self) -> f64 {
        self.gate
    }

    /// Judges a sample, then learns it; [`SeriesDetector::update`] with all there is to say.
    pub fn judge(&mut self, at: Timestamp, value: Option<f64>) -> OnlineJudgement {
        let Some(x) = scale::usable(value) else {
            self.forget_last();
            return Self::nothing();
        };
        let is_new = self.rest.last.is_none_or(|last| at > last);
        if is_new && self.is_gap(at) {
            self.windows.restart();
        }
        self.windows.push(x);
        let Some(found) = self.find(at, x) else {
            return Self::nothing();
        };
        let judgement = self.weigh(at, x, &found, is_new);
        if is_new {
            self.learn(at, x, &found);
        } else {
            self.windows.take_back();
        }
        judgement
    }

    /// Nothing is said of the last sample any more.
    fn forget_last(&mut self) {
        self.evidence = [0.0; CHANNELS.len()];
        (self.gate, self.context, self.explanation) = (0.0, 0.0, None);
    }

    fn nothing() -> OnlineJudgement {
        OnlineJudgement {
            novelty: 0.0,
            deviation: 0.0,
            present: 0.0,
            strength: 0.0,
            alert: 0.0,
            top: None,
            direction: direction(0.0),
            expected: Expectation::Between {
                low: None,
                high: None,
            },
        }
    }

    /// Whether so much time has passed that no window reaches back to the last sample.
    fn is_gap(&self, at: Timestamp) -> bool {
        let (Some(last), Some(interval)) = (self.rest.last, self.rest.context.interval()) else {
            return false;
        };
        let passed = i128::from(at.as_nanos()) - i128::from(last.as_nanos());
        passed / i128::from(interval) > LONGEST as i128
    }

    fn find(&self, at: Timestamp, x: f64) -> Option<Findings> {
        let floor = scale::floor(x, self.config.resolution);
        let time = at.as_nanos().rem_euclid(DAY) as f64 / DAY as f64;
        let statistics = self.windows.statistics(self.rest.gate.spread(), floor)?;
        // At the start of a series its first windows are all there is; after a gap they fill again first.
        let is_cut = self.rest.n >= self.windows.samples().len() as u64;
        let looks = std::array::from_fn(|i| {
            if is_cut && !self.windows.holds(CHANNELS[i]) {
                return None;
            }
            let (least, resolution) = match CHANNELS[i] {
                Statistic::LogSpread => (LEAST_LOGARITHM, 0.0),
                _ => (floor, floor),
            };
            Some(self.channels[i].look(statistics[i], time, least, resolution))
        });
        let context = &self.rest.context;
        let smoothed = self.windows.mean(context.smoothing());
        let range = self.channels[0].range(floor);
        Some(Findings {
            floor,
            time,
            statistics,
            looks,
            smoothed,
            verdict: context
                .look(at.as_nanos(), smoothed, range)
                .filter(|_| !is_cut || self.windows.samples().len() >= context.smoothing()),
        })
    }

    fn weigh(&mut self, at: Timestamp, x: f64, found: &Findings, is_new: bool) -> OnlineJudgement {
        let OnlineConfig {
            sensitivity, side, ..
        } = self.config;
        let (level, sigma) = self.rest.deviation.level(found.floor);
        let counts = side.of(x - level) != 0.0 || side == crate::Side::Both;
        let counts = if counts { 1.0 } else { 0.0 };
        self.evidence = found
            .looks
            .map(|look| look.map_or(0.0, |look| look.evidence));
        self.gate = self.rest.gate.of(x);
        self.context = found.verdict.map_or(0.0, |verdict| verdict.evidence);
        let weighed = |novelty: f64| match self.rest.n {
            0..WARM_UP => 0.0,
            _ => counts * novelty * sensitivity / NOVELTY,
        };
        let novelty = weighed(self.evidence.iter().sum::<f64>() * self.gate + self.context);
        // What is new of a window for a sample before this one does not make this one abnormal.
        let own = weighed(self.parts(true).map(|(_, part)| part).sum());
        let now = counts * self.rest.deviation.of(x, found.floor);
        let felt = self.rest.deviation.felt(now) * sensitivity / DEVIATION;
        let strength = novelty.max(felt);
        // What fades is of a sample before: it does not make this one abnormal.
        let deviation = now * sensitivity / DEVIATION;
        let present = own.max(deviation);
        let alert = if is_new {
            let OnlineConfig {
                dead_samples,
                dead_time,
                ..
            } = self.config;
            self.rest.alerts.step(at, novelty, dead_samples, dead_time)
        } else {
            0.0
        };
        let usual = found
            .verdict
            .filter(|_| self.rest.context.period().is_some());
        let width = DEVIATION / sensitivity * sigma;
        let band = usual.map_or((level - width, level + width), |verdict| verdict.band);
        let top = (novelty > 0.0).then(|| self.top(false));
        if is_new {
            if deviation >= 1.0 {
                self.rest.far = Some(self.rest.n);
            }
            self.rest.since = (present >= 1.0).then(|| self.rest.since.unwrap_or(at));
        }
        self.explanation = (present >= 1.0).then(|| Explanation {
            reason: if own >= deviation {
                self.reason(self.top(true), found)
            } else {
                Reason::Far {
                    seen: x,
                    sigmas: (x - level).abs() / sigma,
                }
            },
            band,
            since: self.rest.since.unwrap_or(at),
        });
        let known = self.rest.deviation.is_warm();
        OnlineJudgement {
            novelty,
            deviation,
            present,
            strength,
            alert,
            top,
            direction: direction(x - level),
            expected: Expectation::Between {
                low: (known && side.counts_low()).then_some(band.0),
                high: (known && side.counts_high()).then_some(band.1),
            },
        }
    }

    /// The parts of novelty: all of them, or those of which no sample before this one was far.
    fn parts(&self, own: bool) -> impl Iterator<Item = (Statistic, f64)> {
        let since = self
            .rest
            .far
            .map_or(u64::MAX, |far| self.rest.n.saturating_sub(far));
        let gated = CHANNELS
            .into_iter()
            .zip(self.evidence.map(|g| g * self.gate));
        let context = (Statistic::Context, self.context);
        gated.chain([context]).filter(move |(what, _)| {
            let reach = match what {
                Statistic::Context => self.rest.context.smoothing(),
                _ => what.reach(),
            };
            !own || reach == 1 || since >= reach as u64
        })
    }

    /// The statistic with the most evidence.
    fn top(&self, own: bool) -> Statistic {
        let first = (Statistic::Context, self.context);
        let parts = self.parts(own);
        parts.fold(first, |a, b| if b.1 > a.1 { b } else { a }).0
    }

    fn reason(&self, top: Statistic, found: &Findings) -> Reason {
        match CHANNELS.iter().position(|what| *what == top) {
            Some(i) => {
                let seen = found.statistics[i];
                let (below, above) = self.channels[i].neighbors(seen);
                Reason::New {
                    what: top,
                    seen,
                    below,
                    above,
                }
            }
            None => Reason::Untimely {
                seen: found.smoothed,
                period: self.rest.context.period().unwrap_or(0),
            },
        }
    }

    fn learn(&mut self, at: Timestamp, x: f64, found: &Findings) {
        let seen = found.statistics.iter().zip(&found.looks);
        for (channel, (y, look)) in self.channels.iter_mut().zip(seen) {
            if let Some(look) = look {
                channel.learn(*y, found.time, *look);
            }
        }
        let rest = &mut self.rest;
        rest.n = rest.n.saturating_add(1);
        rest.last = Some(at);
        rest.gate.learn(x);
        rest.deviation.learn(x, found.floor);
        rest.context
            .learn(at.as_nanos(), x, found.smoothed, found.verdict);
    }
}

impl SeriesDetector for OnlineDetector {
    fn update(&mut self, at: Timestamp, value: Option<f64>) -> KernelScore {
        let judged = self.judge(at, value);
        KernelScore {
            score: scale::score(judged.present),
            surprise: scale::surprise(DEVIATION * judged.present),
            direction: judged.direction,
            expected: judged.expected,
        }
    }

    fn explain(&self) -> Option<String> {
        self.explanation.as_ref().map(Explanation::sentence)
    }

    fn contributions(&self) -> Vec<(String, f64)> {
        let gated = self.evidence().map(|(what, evidence)| match what {
            Statistic::Context => (what, evidence),
            _ => (what, evidence * self.gate),
        });
        gated
            .filter(|(_, weight)| *weight > 0.0)
            .map(|(what, weight)| (noun(what).to_owned(), weight))
            .collect()
    }

    fn heap_bytes(&self) -> usize {
        self.bytes() - size_of::<Self>()
    }

    fn save(&self) -> Option<Value> {
        state::save(&Snapshot {
            samples: self.windows.kept().to_vec(),
            channels: self.channels.iter().map(Channel::store).collect(),
            rest: self.rest.clone(),
        })
    }

    fn load(&mut self, value: &Value) -> Result<(), DetectError> {
        let loaded: Snapshot = state::load(WHAT, value)?;
        let windows = Windows::of(&loaded.samples);
        let rest = &loaded.rest;
        let sound = rest.gate.is_sound()
            && rest.deviation.is_sound()
            && rest.context.is_sound()
            && rest.alerts.is_sound()
            && rest.last.is_some() == (rest.n > 0)
            && loaded.channels.len() == CHANNELS.len();
        let mut channels = new_channels();
        let restored = channels.iter_mut().zip(loaded.channels);
        let restored = restored.fold(sound, |sound, (channel, stored)| {
            let one = channel.restored(stored).filter(|_| sound);
            one.map(|one| *channel = one).is_some()
        });
        let Some(windows) = windows.filter(|_| restored) else {
            return state::require(false, WHAT, "the state of a detector of the same kind");
        };
        (self.windows, self.channels, self.rest) = (windows, channels, loaded.rest);
        self.forget_last();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
