//! A metric compared with what it was before the incident, or at the same time of another day.

use std::time::Duration;

use homeostasis_core::condition::Unit;
use homeostasis_core::record::{Baseline, CheckOutcome, Comparison};
use homeostasis_core::stage::VerifyError;
use homeostasis_core::{SeriesWindow, Target, Timestamp};

use super::usual::Usual;
use super::{Attribution, Look, Reading, check_window, not_over};
use crate::stats;

/// Fewer values on one side are no data.
const MIN_VALUES: usize = 5;

#[derive(Debug, Clone)]
pub(super) struct Compared {
    metric: String,
    target: Target,
    comparison: Comparison,
    baseline: Baseline,
    window: Duration,
    tolerance: f64,
    statistic: Statistic,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Statistic {
    /// The sum over series of their means: rates of instances add up to the rate of the service.
    SumOfMeans,
    /// The mean of all values.
    Mean,
    /// The median of all values: times have heavy tails.
    Median,
}

impl Statistic {
    fn of_metric(metric: &str) -> Self {
        let is_time = Unit::Second
            .convert(1.0, Unit::from_metric_name(metric))
            .is_some();
        if is_time || metric.contains("latency") || metric.contains("_p9") {
            Self::Median
        } else if metric.ends_with("_rate") && Unit::from_metric_name(metric) != Unit::Ratio {
            Self::SumOfMeans
        } else {
            Self::Mean
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::SumOfMeans | Self::Mean => "mean",
            Self::Median => "median",
        }
    }
}

/// One side of a comparison.
#[derive(Debug, Clone, Copy)]
struct Side {
    value: f64,
    n: usize,
}

impl Compared {
    pub(super) fn new(
        metric: String,
        target: Target,
        (comparison, baseline): (Comparison, Baseline),
        window: Duration,
        tolerance: f64,
    ) -> Result<Self, VerifyError> {
        check_window(window)?;
        let (Comparison::AtMost(factor) | Comparison::AtLeast(factor)) = comparison;
        if !factor.is_finite() || factor < 0.0 {
            return Err(VerifyError::invalid(
                format!("criterion comparison of {metric}"),
                format!("{factor}, expected a finite number, 0 or more"),
            ));
        }
        Ok(Self {
            statistic: Statistic::of_metric(&metric),
            metric,
            target,
            comparison,
            baseline,
            window,
            tolerance,
        })
    }

    pub(super) fn look(&self, look: &Look<'_>) -> Reading {
        match self.baseline.ago() {
            None => self.against_before(look),
            Some(ago) => self.against_usual(look, ago),
        }
    }

    /// Against what is usual around the same time of another day.
    fn against_usual(&self, look: &Look<'_>, ago: Duration) -> Reading {
        let of_target = |key_target: &Target| self.target.contains(key_target);
        let new = self.side(look, (look.from(self.window), look.now), of_target);
        let then = look.now - ago;
        let of_stretch = |stretch: (Timestamp, Timestamp)| {
            let mut healed = look.healed.iter();
            let is_past = stretch.1 < look.since
                && healed.all(|(from, to)| stretch.1 < *from || *to < stretch.0);
            let side = self.side(look, stretch, of_target).enough();
            Some(side.filter(|_| is_past)?.value)
        };
        let usual = Usual::around(then, self.window, of_stretch);
        let (Some(new), Some(usual)) = (new.enough(), usual.as_ref().ok()) else {
            let n_stretches = usual
                .as_ref()
                .map_or_else(|n| *n, |usual| usual.n_stretches);
            let detail = format!(
                "{n_stretches} stretches of {:?} with {MIN_VALUES} values each around {then}, expected {}; \
                 {} values after the remedy, expected {MIN_VALUES}",
                self.window,
                Usual::MIN_STRETCHES,
                new.n,
            );
            let missing = if usual.is_err() {
                format!(
                    "a history of {} that reaches back {ago:?} (what is remembered is too short), or by \
                     a comparison with the time before the incident",
                    self.metric
                )
            } else {
                format!("samples of {}", self.metric)
            };
            return Reading::new(CheckOutcome::NoData, detail).settled_by(missing);
        };
        let detail = format!(
            "{} {} after ({} values), usually {} and from {} to {} around {then}, expected {}",
            self.statistic.name(),
            short(new.value),
            new.n,
            short(usual.median),
            short(usual.low),
            short(usual.high),
            bound(self.comparison),
        );
        let is_outside = match self.comparison {
            Comparison::AtMost(_) => new.value > usual.high,
            Comparison::AtLeast(_) => new.value < usual.low,
        };
        let mut reading = if is_outside && self.is_violated(usual.median, new.value) {
            Reading::new(CheckOutcome::Failed, detail)
        } else {
            not_over(look, self.window, &detail)
                .unwrap_or_else(|| Reading::new(CheckOutcome::Passed, detail))
        };
        // Another day says what is usual, and nothing of what would be without the remedy.
        reading.attribution = Attribution::WithoutControl;
        reading
    }

    fn against_before(&self, look: &Look<'_>) -> Reading {
        let before = (
            look.since - self.window,
            look.since - Duration::from_nanos(1),
        );
        let after = (look.from(self.window), look.now);
        let of_target = |key_target: &Target| self.target.contains(key_target);
        let old = self.side(look, before, of_target);
        let new = self.side(look, after, of_target);
        let (Some(old), Some(new)) = (old.enough(), new.enough()) else {
            let detail = format!(
                "{} values before the incident and {} after the remedy, expected {MIN_VALUES} each",
                old.n, new.n
            );
            let missing = if old.n < MIN_VALUES {
                "a criterion that needs no baseline: there are too few values from before the incident"
                    .to_owned()
            } else {
                format!("samples of {}", self.metric)
            };
            return Reading::new(CheckOutcome::NoData, detail).settled_by(missing);
        };
        let control = self.control(look, before, after);
        let expected = old.value * control.unwrap_or(1.0);
        let detail = format!(
            "{} {} after, {} before{} ({} and {} values), expected {}",
            self.statistic.name(),
            short(new.value),
            short(old.value),
            control.map_or(String::new(), |change| format!(
                ", untreated peers changed by a factor of {}",
                short(change)
            )),
            new.n,
            old.n,
            bound(self.comparison),
        );
        let mut reading = if self.is_violated(expected, new.value) {
            Reading::new(CheckOutcome::Failed, detail)
        } else {
            not_over(look, self.window, &detail)
                .unwrap_or_else(|| Reading::new(CheckOutcome::Passed, detail))
        };
        if control.is_none() {
            reading.attribution = Attribution::WithoutControl;
        }
        reading
    }

    fn is_violated(&self, expected: f64, found: f64) -> bool {
        match self.comparison {
            Comparison::AtMost(factor) => {
                found > expected * factor && found - expected > self.tolerance
            }
            Comparison::AtLeast(factor) => {
                found < expected * factor && expected - found > self.tolerance
            }
        }
    }

    /// By which factor the untreated peers changed; `None` if there are none to tell.
    fn control(
        &self,
        look: &Look<'_>,
        before: (Timestamp, Timestamp),
        after: (Timestamp, Timestamp),
    ) -> Option<f64> {
        let is_peer = |other: &Target| {
            other.instance_name().is_some()
                && !self.target.contains(other)
                && !look.treated.iter().any(|treated| treated.contains(other))
        };
        if look.treated.is_empty() || self.target.instance_name().is_none() {
            return None;
        }
        let old = self.side(look, before, is_peer).enough()?;
        let new = self.side(look, after, is_peer).enough()?;
        let change = new.value / old.value;
        (change.is_finite() && change > 0.0).then_some(change)
    }

    fn side(
        &self,
        look: &Look<'_>,
        (from, to): (Timestamp, Timestamp),
        wanted: impl Fn(&Target) -> bool,
    ) -> Side {
        let windows: Vec<SeriesWindow> = look
            .observations
            .series_of(&self.target.to_service(), from, to)
            .into_iter()
            .filter(|window| window.key.metric == self.metric)
            .filter(|window| window.key.target().is_some_and(|target| wanted(&target)))
            .collect();
        let pooled: Vec<f64> = windows.iter().flat_map(SeriesWindow::values).collect();
        let value = match self.statistic {
            Statistic::Median => stats::median(&pooled),
            Statistic::Mean => stats::mean(&pooled),
            Statistic::SumOfMeans => {
                let means: Vec<f64> = windows
                    .iter()
                    .filter_map(|window| stats::mean(&window.values().collect::<Vec<_>>()))
                    .collect();
                (!means.is_empty()).then(|| means.iter().sum())
            }
        };
        Side {
            value: value.unwrap_or(f64::NAN),
            n: pooled.len(),
        }
    }
}

impl Side {
    fn enough(self) -> Option<Self> {
        (self.n >= MIN_VALUES && self.value.is_finite()).then_some(self)
    }
}

fn bound(comparison: Comparison) -> String {
    match comparison {
        Comparison::AtMost(factor) => format!("at most {factor} times as much"),
        Comparison::AtLeast(factor) => format!("at least {factor} times as much"),
    }
}

pub(super) fn words(
    metric: &str,
    target: &Target,
    comparison: Comparison,
    baseline: Baseline,
) -> String {
    let when = match baseline {
        Baseline::Yesterday => "at the same time yesterday",
        Baseline::LastWeek => "at the same time last week",
        _ => "before the incident",
    };
    format!("{metric} of {target} is {} as {when}", bound(comparison))
}

/// Four significant digits.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    if !(1e-4..1e7).contains(&size) {
        return format!("{value:.3e}");
    }
    let decimals = match size {
        size if size >= 1000.0 => 0,
        size if size >= 100.0 => 1,
        size if size >= 10.0 => 2,
        size if size >= 1.0 => 3,
        size if size >= 0.1 => 4,
        size if size >= 0.01 => 5,
        _ => 7,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::signal::SeriesKey;
    use homeostasis_core::testing::RecordedObservations;

    const fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn key(metric: &str, instance: &str) -> SeriesKey {
        SeriesKey::new(metric)
            .with("service", "orders")
            .with("instance", instance)
    }

    /// Trouble from 100 to 150, remedy ends at 160; one point a second.
    fn world(metric: &str, levels: &[(&str, f64, f64)]) -> RecordedObservations {
        levels.iter().fold(
            RecordedObservations::new(),
            |world, (instance, before, after)| {
                world.with_sampled(
                    key(metric, instance),
                    at(50),
                    at(200),
                    Duration::from_secs(1),
                    |now| {
                        if now < at(100) {
                            *before
                        } else if now <= at(160) {
                            1000.0
                        } else {
                            *after
                        }
                    },
                )
            },
        )
    }

    fn look(
        world: &RecordedObservations,
        (metric, target): (&str, &str),
        comparison: Comparison,
        now: i64,
    ) -> Reading {
        let treated = ["orders/0".parse().unwrap()];
        Compared::new(
            metric.to_owned(),
            target.parse().unwrap(),
            (comparison, Baseline::BeforeIncident),
            Duration::from_secs(20),
            crate::Tolerance::default().of(metric),
        )
        .unwrap()
        .look(&Look::new(world, at(100), at(160), at(now)).treating(&treated))
    }

    #[test]
    fn the_trouble_itself_is_neither_baseline_nor_outcome() {
        let world = world("error_ratio", &[("0", 0.01, 0.0105)]);
        let reading = look(
            &world,
            ("error_ratio", "orders/0"),
            Comparison::AtMost(1.1),
            190,
        );
        assert_eq!(reading.outcome, CheckOutcome::Passed, "{reading:?}");
        assert_eq!(reading.attribution, Attribution::WithoutControl);
    }

    #[test]
    fn a_relative_difference_alone_does_not_fail_and_a_real_one_does() {
        let compare = |before, after| {
            let world = world("error_ratio", &[("0", before, after)]);
            look(
                &world,
                ("error_ratio", "orders/0"),
                Comparison::AtMost(1.1),
                190,
            )
            .outcome
        };
        assert_eq!(compare(0.0, 0.0001), CheckOutcome::Passed);
        assert_eq!(compare(0.0, 0.05), CheckOutcome::Failed);
        assert_eq!(compare(0.05, 0.06), CheckOutcome::Failed);
    }

    #[test]
    fn it_passes_only_once_the_window_is_over_and_is_no_data_without_values() {
        let world = world("error_ratio", &[("0", 0.01, 0.01)]);
        let at_most = Comparison::AtMost(1.1);
        for (now, outcome) in [
            (163, CheckOutcome::NoData),
            (170, CheckOutcome::Undecided),
            (180, CheckOutcome::Passed),
        ] {
            let reading = look(&world, ("error_ratio", "orders/0"), at_most, now);
            assert_eq!(reading.outcome, outcome, "{now}: {reading:?}");
        }
        let reading = look(&world, ("latency_seconds", "orders/0"), at_most, 190);
        assert_eq!(reading.outcome, CheckOutcome::NoData);
    }

    #[test]
    fn untreated_peers_take_the_change_of_the_environment_out() {
        // Traffic fell to half everywhere: that is not the remedy's doing.
        let levels = [("0", 100.0, 50.0), ("1", 90.0, 45.0)];
        let world = world("http_requests_rate", &levels);
        let at_least = Comparison::AtLeast(0.9);
        let reading = look(&world, ("http_requests_rate", "orders/0"), at_least, 190);
        assert_eq!(reading.outcome, CheckOutcome::Passed, "{reading:?}");
        assert_eq!(reading.attribution, Attribution::Unexamined);
        let service = look(&world, ("http_requests_rate", "orders"), at_least, 190);
        assert_eq!(service.outcome, CheckOutcome::Failed);
        assert!(
            service.detail.contains("95 after, 190 before"),
            "{service:?}"
        );
    }

    #[test]
    fn the_same_time_yesterday_has_a_band_and_a_short_history_is_no_data() {
        // One value a minute; yesterday it swung between 0.10 and 0.14 around this time.
        const DAY: i64 = 24 * 3600;
        let judge = |after: f64, days: i64, healed: &[(Timestamp, Timestamp)]| {
            let first = 8 * DAY - days * DAY - 3600;
            let world = RecordedObservations::new().with_sampled(
                key("latency_seconds", "0"),
                at(first),
                at(8 * DAY + 1200),
                Duration::from_secs(60),
                |now| {
                    let hour = now.since(at(0)).as_secs() / 600;
                    match now {
                        now if now > at(8 * DAY) => after,
                        now if now > at(8 * DAY - 600) => 3.0,
                        _ => 0.10 + 0.02 * f64::from(u8::try_from(hour % 3).unwrap()),
                    }
                },
            );
            Compared::new(
                "latency_seconds".to_owned(),
                "orders/0".parse().unwrap(),
                (Comparison::AtMost(1.1), Baseline::Yesterday),
                Duration::from_secs(600),
                0.005,
            )
            .unwrap()
            .look(
                &Look::new(&world, at(8 * DAY - 600), at(8 * DAY), at(8 * DAY + 1200))
                    .leaving_out(healed),
            )
        };
        let look = |after, days| judge(after, days, &[]);
        let within = look(0.139, 2);
        assert_eq!(within.outcome, CheckOutcome::Passed, "{within:?}");
        assert!(within.detail.contains("from 0.1 to 0.14"), "{within:?}");
        assert_eq!(within.attribution, Attribution::WithoutControl);
        // Of what was healed then nobody learns what is usual.
        let all = [(at(0), at(8 * DAY))];
        assert_eq!(judge(0.139, 2, &all).outcome, CheckOutcome::NoData);
        let above = look(0.16, 2);
        assert_eq!(above.outcome, CheckOutcome::Failed, "{above:?}");
        let short = look(0.11, 0);
        assert_eq!(short.outcome, CheckOutcome::NoData, "{short:?}");
        assert!(short.detail.contains("0 stretches of 600s"), "{short:?}");
        let settle = short.would_settle.unwrap();
        assert!(settle.contains("reaches back 86400s"), "{settle}");
    }

    #[test]
    fn times_are_compared_by_their_median() {
        let world = world("http_request_duration_p95_seconds", &[("0", 0.2, 0.21)]).with_point(
            key("http_request_duration_p95_seconds", "0"),
            at(175),
            60.0,
        );
        let metric = ("http_request_duration_p95_seconds", "orders/0");
        let reading = look(&world, metric, Comparison::AtMost(1.2), 190);
        assert_eq!(reading.outcome, CheckOutcome::Passed, "{reading:?}");
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (0.012_345, "0.01235"),
            (12.0, "12"),
            (1234.5, "1234"),
            (1e-9, "1.000e-9"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
    }
}
