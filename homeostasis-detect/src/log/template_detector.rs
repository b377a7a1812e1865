//! New, vanished and bursting kinds of messages.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::document::format_duration;
use homeostasis_core::record::{Anomaly, Direction, Expectation, Subject};
use homeostasis_core::signal::{Interest, LogRecord, LogTemplate, SignalBatch};
use homeostasis_core::stage::{DetectError, Detector, ModelSnapshot};
use homeostasis_core::{ConfigError, Context, Target, Timestamp};
use serde::{Deserialize, Serialize};

use super::followed::{Followed, Silence};
use super::tally::{Bar, Burst, Tally};
use super::template_detector_config::LogTemplatesConfig;
use crate::{prose, scale, state};

/// The version of the shape of its snapshots.
const VERSION: u32 = 3;
/// Records may be this much ahead of the clock.
const MAX_AHEAD: Duration = Duration::from_secs(3600);
/// So many anomalies are told in one turn; hosts reject answers without measure.
const MAX_TOLD: usize = 50;
/// Of a message so many characters are told.
const TOLD: usize = 160;

/// Raises an anomaly when a kind of log message is new, stops coming, or comes too often.
///
/// Kinds are the templates that were worked out when the records arrived
/// ([`LogRecord::template`]); records without one are ignored. When kinds turn out to be one, what
/// was learnt of them is added up.
///
/// - *New:* a kind that was never seen of the target, at least as loud as `new_from`, once the
///   target was watched for `learning`, unless new kinds are nothing special for it.
/// - *Bursting:* more records in a window than its past explains, at least `min_count` and `factor`
///   times the mean. It is told within the window, and again while it lasts. The past is mean and
///   variance of counts; a negative binomial tail gives the surprise.
/// - *Vanished:* silence that its past does not explain, longer than three times the longest
///   silence before. It is told when another record of its target comes, and stretches in which
///   nothing of the target came, longer than is usual for it, are left out: if everything is
///   silent, health checks and the absence of samples tell.
///
/// A record counts as many times as its weight says, so that a sampled flood counts in full.
/// Time is that of the records, for each target by itself: one that is late counts where the others
/// of its target are, one ahead of the context's clock counts as if it came now, and one more than
/// an hour ahead is ignored. When `max_templates` are followed, further kinds are refused and
/// counted. Of one batch 50 anomalies are told, silences beyond that with the next.
/// *Cost:* O(log n) per record for n kinds, and O(n) once in a window.
///
/// # Examples
/// ```
/// use homeostasis::core::stage::Detector;
/// use homeostasis::detect::{LogTemplates, LogTemplatesConfig};
///
/// let detector = LogTemplates::new("log_templates", LogTemplatesConfig::default())?;
/// assert_eq!(detector.name(), "log_templates");
/// let wrong = LogTemplatesConfig { history: 1, factor: 0.5, ..LogTemplatesConfig::default() };
/// let error = LogTemplates::new("log_templates", wrong).unwrap_err();
/// assert!(error.to_string().contains("log_templates.factor = 0.5, expected 1 to 1000000"));
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct LogTemplates {
    name: String,
    config: LogTemplatesConfig,
    bar: Bar,
    known: Known,
}

/// What is learnt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    clock: Option<Timestamp>,
    #[serde(with = "as_list")]
    targets: BTreeMap<Target, Watched>,
    n_followed: usize,
    n_refused: u64,
    /// Silences that wait for a record to be told with.
    waiting: VecDeque<(Target, u64)>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// In which windows was counted: in others there are other counts.
    #[serde(with = "crate::duration_text")]
    window: Duration,
    known: Known,
}

/// What is learnt of one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Watched {
    since: Timestamp,
    /// Its latest record.
    clock: Timestamp,
    /// After how many windows its next record comes, on average; how many of these were learnt.
    mean_step: f64,
    n_steps: f64,
    /// For how many windows together nothing came though it should have.
    n_paused: u64,
    /// Records, and those that were the first of their kind; both are halved now and then.
    n_records: f64,
    n_first: f64,
    #[serde(with = "as_list")]
    followed: BTreeMap<u64, Followed>,
}

/// Maps whose keys are no texts.
mod as_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::deserialize(deserializer)?.into_iter().collect())
    }
}

/// What is told of a kind of message.
enum Finding {
    New {
        since: Timestamp,
        share: f64,
        /// Since when its target is watched.
        watched: Timestamp,
    },
    Burst(Burst),
    Vanished(Silence),
}

impl Watched {
    fn new(since: Timestamp) -> Self {
        Self {
            since,
            clock: since,
            mean_step: 1.0,
            n_steps: 0.0,
            n_paused: 0,
            n_records: 0.0,
            n_first: 0.0,
            followed: BTreeMap::new(),
        }
    }

    /// Whether it can have come from counting.
    fn is_sound(&self) -> bool {
        let counts = [self.n_records, self.n_first, self.mean_step, self.n_steps];
        counts.iter().all(|count| (0.0..=1e15).contains(count))
            && self
                .followed
                .values()
                .all(|followed| followed.tally.rate.is_sound())
    }

    /// The share of records that are the first of their kind.
    fn share_of_first(&self) -> f64 {
        (self.n_first + 0.5) / (self.n_records + 1.0)
    }

    fn count(&mut self, is_first: bool) {
        const ENOUGH: f64 = 100_000.0;
        self.n_records += 1.0;
        if is_first {
            self.n_first += 1.0;
        }
        if self.n_records > ENOUGH {
            self.n_records /= 2.0;
            self.n_first /= 2.0;
        }
    }

    /// A record comes at `at` when it is `now`: the time it counts at, and whether that is in
    /// another window than the one before it.
    fn comes(&mut self, at: Timestamp, now: Timestamp, bar: &Bar) -> (Timestamp, bool) {
        if self.clock > now {
            // The clock was set back.
            self.clock = now;
            for followed in self.followed.values_mut() {
                followed.last = followed.last.min(now);
                followed.tally.rewind(bar.window_of(now));
            }
        }
        let before = bar.window_of(self.clock);
        self.clock = self.clock.max(at);
        let n = bar.window_of(self.clock).saturating_sub(before);
        if n > 0 {
            self.steps(u64::try_from(n).unwrap_or(0));
        }
        (self.clock, n > 0)
    }

    /// Learns after how many windows the next record came. What is much more than usual is a pause:
    /// nobody could have said anything.
    fn steps(&mut self, n: u64) {
        const REMEMBERED: f64 = 64.0;
        let most = 3.0 * self.mean_step + 1.0;
        if n as f64 > most {
            self.n_paused = self.n_paused.saturating_add(n);
        }
        self.n_steps = (self.n_steps + 1.0).min(REMEMBERED);
        self.mean_step += ((n as f64).min(most) - self.mean_step) / self.n_steps;
    }

    /// Adds up what was learnt under ids that turned out to be this one; how many there were.
    fn unite(&mut self, template: &LogTemplate) -> usize {
        let n = self.followed.len();
        for id in template.absorbed() {
            let Some(mut other) = self.followed.remove(id) else {
                continue;
            };
            if let Some(own) = self.followed.remove(&template.id()) {
                other.join(&own);
            }
            self.followed.insert(template.id(), other);
        }
        n - self.followed.len()
    }
}

impl LogTemplates {
    /// A detector called `name`.
    ///
    /// # Errors
    /// The name is empty, or fields of `config` are outside their range.
    pub fn new(name: impl Into<String>, config: LogTemplatesConfig) -> Result<Self, ConfigError> {
        let name = name.into();
        config.check(&name)?;
        Ok(Self {
            name,
            bar: config.bar(),
            config,
            known: Known::default(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &LogTemplatesConfig {
        &self.config
    }

    /// How many kinds are followed.
    pub fn n_followed(&self) -> usize {
        self.known.n_followed
    }

    /// How many records were of kinds for which there was no place.
    pub fn n_refused(&self) -> u64 {
        self.known.n_refused
    }

    /// Counts the record that comes `now`; an anomaly of its own kind, or else of one that waits to
    /// be told, if it may be.
    fn take(&mut self, record: &LogRecord, now: Timestamp, may_tell: bool) -> Option<Anomaly> {
        let target = record
            .target
            .as_ref()
            .or(self.config.default_target.as_ref())?
            .clone();
        let mut at = record.at.min(now);
        if let Some(watched) = self.known.targets.get_mut(&target) {
            let is_next_window;
            (at, is_next_window) = watched.comes(at, now, &self.bar);
            if is_next_window {
                self.look_for_silence(&target, at);
            }
        }
        self.forget(at, now);
        let own = self.follow(record, target, at);
        own.or_else(|| may_tell.then(|| self.tell_silence()).flatten())
    }

    fn follow(&mut self, record: &LogRecord, target: Target, at: Timestamp) -> Option<Anomaly> {
        let template = record.template.as_ref()?;
        let (bar, config) = (&self.bar, &self.config);
        let window = bar.window_of(at);
        if !self.known.targets.contains_key(&target) {
            if self.known.n_followed >= config.max_templates {
                self.known.n_refused = self.known.n_refused.saturating_add(1);
                return None;
            }
            self.known.targets.insert(target.clone(), Watched::new(at));
        }
        let watched = self.known.targets.get_mut(&target)?;
        self.known.n_followed -= watched.unite(template);
        let is_first = !watched.followed.contains_key(&template.id());
        if is_first && self.known.n_followed >= config.max_templates {
            self.known.n_refused = self.known.n_refused.saturating_add(1);
            return None;
        }
        let share = watched.share_of_first();
        watched.count(is_first);
        let (watched_since, n_paused) = (watched.since, watched.n_paused);
        let followed = watched.followed.entry(template.id()).or_insert_with(|| {
            self.known.n_followed += 1;
            // How it comes is judged by its own past: that it never came before makes it new, and
            // no burst of what a changed program says all the time.
            let tally = Tally::new(window, 0, bar);
            Followed::new(template, record.level, at, tally)
        });
        followed.comes(template, record.level, at, (n_paused, bar.window));
        followed.tally.advance(window, bar, 0.0);
        let burst = followed.tally.add(at, record.weight, bar, 0.0);
        let is_news = is_first
            && config.new
            && record.level >= config.new_from
            && at.since(watched_since) >= config.learning
            && share < config.new_share;
        if is_news {
            followed.is_new(at);
        }
        let news = if is_news {
            Some(at)
        } else {
            followed.news(config, at)
        };
        let finding = match (news, burst.filter(|_| config.bursting)) {
            (Some(since), _) => Finding::New {
                since,
                share,
                watched: watched_since,
            },
            (None, Some(burst)) => Finding::Burst(burst),
            (None, None) => return None,
        };
        let followed = followed.clone();
        Some(self.describe(target, &followed, finding, at))
    }

    /// Looks at all of a target that did not come, once in a window.
    fn look_for_silence(&mut self, target: &Target, at: Timestamp) {
        let (bar, config, known) = (&self.bar, &self.config, &mut self.known);
        let Some(watched) = known.targets.get(target).filter(|_| config.vanished) else {
            return;
        };
        for (id, followed) in &watched.followed {
            if followed
                .is_silent(config, bar, at, watched.n_paused)
                .is_some()
            {
                known.waiting.push_back((target.clone(), *id));
            }
        }
        // Each kind waits once in a window, so that the queue does not outgrow what is followed.
        let excess = known.waiting.len().saturating_sub(config.max_templates);
        known.waiting.drain(..excess);
    }

    /// Forgets what did not come for long, once in a window.
    fn forget(&mut self, at: Timestamp, now: Timestamp) {
        let (known, after) = (&mut self.known, self.config.forget_after);
        let clock = known.clock.filter(|clock| *clock <= now);
        known.clock = Some(clock.map_or(at, |clock| clock.max(at)));
        if clock.is_none_or(|clock| self.bar.window_of(clock) >= self.bar.window_of(at)) {
            return;
        }
        for watched in known.targets.values_mut() {
            watched
                .followed
                .retain(|_, followed| at.since(followed.last) <= after);
        }
        known
            .targets
            .retain(|_, watched| !watched.followed.is_empty() || at.since(watched.clock) <= after);
        let targets = known.targets.values();
        known.n_followed = targets.map(|watched| watched.followed.len()).sum();
    }

    /// A silence that waited, if it still is one.
    fn tell_silence(&mut self) -> Option<Anomaly> {
        while let Some((target, id)) = self.known.waiting.pop_front() {
            let Some(watched) = self.known.targets.get_mut(&target) else {
                continue;
            };
            let (at, n_paused) = (watched.clock, watched.n_paused);
            let Some(followed) = watched.followed.get_mut(&id) else {
                continue;
            };
            if let Some(silence) = followed.is_silent(&self.config, &self.bar, at, n_paused) {
                followed.tell_silence(at);
                let followed = followed.clone();
                return Some(self.describe(target, &followed, Finding::Vanished(silence), at));
            }
        }
        None
    }

    fn describe(
        &self,
        target: Target,
        followed: &Followed,
        finding: Finding,
        at: Timestamp,
    ) -> Anomaly {
        let text = followed.template.text();
        let told: String = text.chars().take(TOLD).collect();
        let subject = Subject::Template {
            id: followed.template.id(),
            text: told.clone(),
        };
        let mut anomaly = Anomaly::new(&self.name, target, subject, at);
        let level = followed.level;
        anomaly.series = followed.tally.picture(at);
        match finding {
            Finding::New {
                since,
                share,
                watched,
            } => {
                anomaly.series = self.after_silence(watched, since, &anomaly.series);
                let ratio = share.ln() / self.config.new_share.ln();
                (anomaly.since, anomaly.score) = (since, scale::score(ratio));
                anomaly.surprise = -share.ln();
                anomaly.observed = Some(followed.tally.count() as f64);
                anomaly.expected = Expectation::Words(format!(
                    "no new kind of message from {} on",
                    self.config.new_from
                ));
                anomaly.explanation = format!(
                    "a new kind of message ({level}) since {since}: {told:?}; only {} % of the records before were the first of their kind",
                    prose::number(100.0 * share),
                );
            }
            Finding::Burst(burst) => {
                (anomaly.since, anomaly.direction) = (burst.since, Direction::High);
                anomaly.score = scale::score(burst.surprise / self.config.surprise);
                anomaly.surprise = burst.surprise;
                anomaly.observed = Some(burst.count);
                anomaly.expected = Expectation::Between {
                    low: None,
                    high: Some(burst.limit),
                };
                anomaly.explanation = format!(
                    "{told:?} ({level}) came {} times within {} since {}, expected fewer than {} (mean {})",
                    prose::number(burst.count),
                    format_duration(self.config.window),
                    burst.since,
                    prose::number(burst.limit),
                    prose::number(burst.mean),
                );
            }
            Finding::Vanished(silence) => {
                let gap = at.since(followed.last);
                (anomaly.since, anomaly.direction) = (followed.last, Direction::Low);
                anomaly.score = scale::score(silence.surprise / self.config.surprise);
                anomaly.surprise = silence.surprise;
                anomaly.observed = Some(0.0);
                let mean = followed.tally.rate.mean();
                anomaly.expected = Expectation::Between {
                    low: Some(mean),
                    high: None,
                };
                anomaly.explanation = format!(
                    "{told:?} ({level}) has not come since {} ({}), expected {} times every {}; it was never silent for more than {} before",
                    followed.last,
                    format_duration(Duration::from_secs(gap.as_secs())),
                    prose::number(mean),
                    format_duration(self.config.window),
                    format_duration(silence.longest),
                );
            }
        }
        anomaly.severity_hint = self.config.severity_hint;
        anomaly.playbook_hint.clone_from(&self.config.playbook_hint);
        anomaly
    }
}

impl LogTemplates {
    /// The picture of what is new: that there was none before, in the windows that were watched.
    fn after_silence(
        &self,
        watched: Timestamp,
        since: Timestamp,
        picture: &[(Timestamp, f64)],
    ) -> Vec<(Timestamp, f64)> {
        const SHOWN: i64 = 30;
        let first = self.bar.window_of(since);
        let silent = (first.saturating_sub(SHOWN)..first)
            .map(|window| self.bar.begin_of(window.saturating_add(1)))
            .filter(|end| *end > watched && picture.first().is_none_or(|(at, _)| end < at))
            .map(|end| (end, 0.0));
        let mut points: Vec<_> = silent.chain(picture.iter().copied()).collect();
        let n = points.len().saturating_sub(Anomaly::MAX_POINTS);
        points.split_off(n)
    }
}

#[async_trait]
impl Detector for LogTemplates {
    fn name(&self) -> &str {
        &self.name
    }

    fn interest(&self) -> Interest {
        Interest::logs()
    }

    async fn detect(
        &mut self,
        cx: &Context,
        batch: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        let now = cx.now();
        let latest = now + MAX_AHEAD;
        let mut found = Vec::new();
        for record in batch.logs.iter().filter(|record| record.at <= latest) {
            let may_tell = found.len() < MAX_TOLD;
            found.extend(self.take(record, now, may_tell).filter(|_| may_tell));
        }
        Ok(found)
    }

    fn snapshot(&self) -> Option<ModelSnapshot> {
        Some(ModelSnapshot {
            detector: self.name.clone(),
            version: VERSION,
            state: state::save(&Stored {
                window: self.config.window,
                known: self.known.clone(),
            })?,
        })
    }

    fn forget_alarms(&mut self) {
        let targets = self.known.targets.values_mut();
        for followed in targets.flat_map(|watched| watched.followed.values_mut()) {
            followed.forget_alarms();
        }
    }

    fn restore(&mut self, snapshot: &ModelSnapshot) -> Result<(), DetectError> {
        let Stored { window, known } = state::open(&self.name, VERSION, snapshot)?;
        self.bar.require(window)?;
        let n: usize = known
            .targets
            .values()
            .map(|watched| watched.followed.len())
            .sum();
        state::require(
            n == known.n_followed && n <= self.config.max_templates,
            &format!(
                "{n} templates in the snapshot, n_followed {}",
                known.n_followed
            ),
            &format!(
                "as many, at most {}, as max_templates says",
                self.config.max_templates
            ),
        )?;
        state::require(
            known.waiting.len() <= self.config.max_templates,
            &format!("{} silences that wait", known.waiting.len()),
            &format!(
                "at most {}, as max_templates says",
                self.config.max_templates
            ),
        )?;
        for (target, watched) in &known.targets {
            state::require(
                watched.is_sound(),
                &format!("means and counts of {target}"),
                "none below 0 and none beyond what can be counted",
            )?;
        }
        self.known = known;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
