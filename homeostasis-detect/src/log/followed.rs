//! One kind of message of one target.

use std::time::Duration;

use homeostasis_core::Timestamp;
use homeostasis_core::signal::{Level, LogTemplate};
use serde::{Deserialize, Serialize};

use super::tally::{Bar, Tally};
use super::template_detector_config::LogTemplatesConfig;

/// What is known of one kind of message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Followed {
    /// Without variables.
    pub(super) template: LogTemplate,
    /// The loudest it came.
    pub(super) level: Level,
    pub(super) last: Timestamp,
    pub(super) tally: Tally,
    /// How many windows its target had paused before `last`.
    n_paused: u64,
    /// In nanoseconds, the longest it was silent between two records.
    longest_gap: u64,
    /// Since when it is news, and when that was said.
    news: Option<(Timestamp, Option<Timestamp>)>,
    /// When its silence was first and last said.
    silence: Option<(Timestamp, Option<Timestamp>)>,
}

/// A silence that is longer than it should be.
pub(super) struct Silence {
    pub(super) surprise: f64,
    pub(super) longest: Duration,
}

impl Followed {
    pub(super) fn new(template: &LogTemplate, level: Level, at: Timestamp, tally: Tally) -> Self {
        Self {
            template: template.of_line([]),
            level,
            last: at,
            tally,
            n_paused: 0,
            longest_gap: 0,
            news: None,
            silence: None,
        }
    }

    /// It comes at `at`: what it says of itself now, and how long it was silent while its target,
    /// which had paused for so many windows of this length, was not.
    pub(super) fn comes(
        &mut self,
        template: &LogTemplate,
        level: Level,
        at: Timestamp,
        (n_paused, window): (u64, Duration),
    ) {
        if template.text() != self.template.text()
            || template.absorbed() != self.template.absorbed()
        {
            self.template = template.of_line([]);
        }
        self.level = self.level.max(level);
        // A silence that was an anomaly is not what is normal from now on.
        if self.silence.take().is_none() {
            let gap = self.silent_for(at, n_paused, window).as_nanos();
            let gap = u64::try_from(gap).unwrap_or(u64::MAX);
            self.longest_gap = self.longest_gap.max(gap);
        }
        self.last = self.last.max(at);
        self.n_paused = n_paused;
    }

    /// For how long it was silent, without the pauses of its target.
    fn silent_for(&self, at: Timestamp, n_paused: u64, window: Duration) -> Duration {
        let n = u32::try_from(n_paused.saturating_sub(self.n_paused)).unwrap_or(u32::MAX);
        at.since(self.last).saturating_sub(window.saturating_mul(n))
    }

    /// From now on it is news.
    pub(super) fn is_new(&mut self, at: Timestamp) {
        self.news = Some((at, Some(at)));
    }

    /// What is on is told again.
    pub(super) fn forget_alarms(&mut self) {
        self.tally.forget_alarm();
        for (_, said) in self.news.iter_mut().chain(&mut self.silence) {
            *said = None;
        }
    }

    /// Since when it is news, if that is to be said again.
    pub(super) fn news(&mut self, config: &LogTemplatesConfig, at: Timestamp) -> Option<Timestamp> {
        let (since, said) = self.news?;
        if at.since(since) > config.lasting {
            self.news = None;
            return None;
        }
        is_due(said, config, at).then(|| {
            self.news = Some((since, Some(at)));
            since
        })
    }

    /// Its silence at `at`, if that is an anomaly to be told, for the first time or again.
    pub(super) fn is_silent(
        &self,
        config: &LogTemplatesConfig,
        bar: &Bar,
        at: Timestamp,
        n_paused: u64,
    ) -> Option<Silence> {
        /// Three times the longest gap, so that what comes in bursts or by a schedule is not missed
        /// before it is due.
        const LONGEST_TIMES: f64 = 3.0;
        let gap = self.silent_for(at, n_paused, bar.window).as_secs_f64();
        let n_windows = gap / bar.window.as_secs_f64();
        let longest = Duration::from_nanos(self.longest_gap);
        if self.tally.rate.n_windows() < f64::from(bar.min_windows)
            || gap <= LONGEST_TIMES * longest.as_secs_f64()
            || n_windows < 2.0
        {
            return None;
        }
        let is_due = self.silence.is_none_or(|(first, told)| {
            at.since(first) <= config.lasting && is_due(told, config, at)
        });
        let surprise = self.tally.rate.surprise_of_silence(n_windows);
        (is_due && surprise >= bar.surprise).then_some(Silence { surprise, longest })
    }

    /// Its silence is told at `at`.
    pub(super) fn tell_silence(&mut self, at: Timestamp) {
        let first = self.silence.map_or(at, |(first, _)| first);
        self.silence = Some((first, Some(at)));
    }

    /// What was followed under another id turns out to be this.
    pub(super) fn join(&mut self, other: &Self) {
        self.level = self.level.max(other.level);
        self.last = self.last.max(other.last);
        self.n_paused = self.n_paused.max(other.n_paused);
        self.tally.join(&other.tally);
        self.longest_gap = self.longest_gap.min(other.longest_gap);
        self.news = self.news.or(other.news);
    }
}

/// Whether what was `said` is to be said at `at`.
fn is_due(said: Option<Timestamp>, config: &LogTemplatesConfig, at: Timestamp) -> bool {
    said.is_none_or(|said| {
        let reraise = config.reraise;
        reraise.is_some_and(|interval| at.since(said) >= interval)
    })
}
