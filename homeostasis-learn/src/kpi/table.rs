//! The table for people.

use std::fmt;
use std::time::Duration;

use super::{Kpis, Share, Span};

impl fmt::Display for Kpis {
    /// One row for each indicator: value, 95 % interval, number of cases, target.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} incidents, {} of them open, at {}",
            self.n_incidents, self.n_open, self.at
        )?;
        writeln!(
            f,
            "{:<30} {:>9} {:>9} {:>9} {:>21} {:>5}  target",
            "indicator", "median", "p90", "mean", "95 % interval", "n"
        )?;
        for (name, span, minutes) in [
            ("time to detect", &self.time_to_detect, 5),
            ("time to remediate", &self.time_to_remediate, 15),
            ("time to recover", &self.time_to_recover, 20),
        ] {
            span_row(f, name, span, Duration::from_secs(minutes * 60))?;
        }
        for (name, share, target) in [
            (
                "auto-remediation success rate",
                &self.auto_remediation_success_rate,
                Target::Above(0.80),
            ),
            (
                "remediation accuracy",
                &self.remediation_accuracy,
                Target::Above(0.90),
            ),
            (
                "escalation rate",
                &self.escalation_rate,
                Target::Below(0.25),
            ),
            ("rollback rate", &self.rollback_rate, Target::Below(0.05)),
        ] {
            share_row(f, name, share, target)?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Target {
    Above(f64),
    Below(f64),
}

impl Target {
    /// Met or missed if the whole interval says so.
    fn verdict(self, (low, high): (f64, f64)) -> &'static str {
        let (met, missed) = match self {
            Self::Above(target) => (low > target, high <= target),
            Self::Below(target) => (high < target, low >= target),
        };
        said(met, missed)
    }
}

fn said(met: bool, missed: bool) -> &'static str {
    if met {
        "met"
    } else if missed {
        "missed"
    } else {
        "not decided"
    }
}

fn span_row(f: &mut fmt::Formatter<'_>, name: &str, span: &Span, target: Duration) -> fmt::Result {
    if span.n == 0 {
        return writeln!(f, "{name:<30} {:>9}", "no data");
    }
    let (interval, verdict) = match &span.interval {
        None => ("too few".to_owned(), "not decided"),
        Some((low, Ok(high))) => (
            format!("{} to {}", human(*low), human(*high)),
            said(*high < target, *low >= target),
        ),
        Some((low, Err(_))) => (format!("{} to ?", human(*low)), said(false, *low >= target)),
    };
    let or_unseen = |value: Option<Duration>| value.map_or_else(|| "not seen".to_owned(), human);
    write!(
        f,
        "{name:<30} {:>9} {:>9} {:>9} {interval:>21} {:>5}  < {}: {verdict}",
        or_unseen(span.median),
        or_unseen(span.p90),
        or_unseen(span.mean),
        span.n,
        human(target)
    )?;
    if span.n_censored > 0 {
        write!(f, ", {} cut off", span.n_censored)?;
    }
    if span.n_unknown > 0 {
        write!(f, ", {} unknown", span.n_unknown)?;
    }
    writeln!(f)
}

fn share_row(f: &mut fmt::Formatter<'_>, name: &str, share: &Share, target: Target) -> fmt::Result {
    let (Some(value), Some(interval)) = (share.value(), share.interval()) else {
        return writeln!(f, "{name:<30} {:>9}", "no data");
    };
    let range = format!("{:.1} % to {:.1} %", interval.0 * 100.0, interval.1 * 100.0);
    let bound = match target {
        Target::Above(bound) => format!("> {:.0} %", bound * 100.0),
        Target::Below(bound) => format!("< {:.0} %", bound * 100.0),
    };
    write!(
        f,
        "{name:<30} {:>9} {:>9} {:>9} {range:>21} {:>5}  {bound}: {}",
        format!("{:.1} %", value * 100.0),
        "",
        "",
        share.whole,
        target.verdict(interval)
    )?;
    if share.left_out > 0 {
        write!(f, ", {} left out", share.left_out)?;
    }
    writeln!(f)
}

/// One decimal in the unit that fits.
pub(crate) fn human(duration: Duration) -> String {
    let secs = duration.as_secs_f64();
    if secs < 120.0 {
        format!("{secs:.1} s")
    } else if secs < 7200.0 {
        format!("{:.1} min", secs / 60.0)
    } else {
        format!("{:.1} h", secs / 3600.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture, project};
    use homeostasis_core::{Rng, Timestamp};

    #[test]
    fn a_target_is_met_only_if_the_whole_interval_says_so() {
        assert_eq!(Target::Above(0.8).verdict((0.85, 0.99)), "met");
        assert_eq!(Target::Above(0.8).verdict((0.7, 0.99)), "not decided");
        assert_eq!(Target::Below(0.05).verdict((0.1, 0.3)), "missed");
    }

    #[test]
    fn the_table_shows_values_intervals_and_numbers() {
        let mut records: Vec<_> = (0..9)
            .map(|i| project(&fixture::healed(i + 1, 0)).unwrap())
            .collect();
        records.push(project(&fixture::open(90, 0)).unwrap());
        let now = Timestamp::from_secs(1000);
        let table = Kpis::of(&records, now, &mut Rng::from_seed(1)).to_string();
        assert!(table.starts_with("10 incidents, 1 of them open"), "{table}");
        for expected in [
            "time to recover                   70.0 s",
            "< 20.0 min: met, 1 cut off",
            "< 5.0 min: met, 1 unknown",
            "auto-remediation success rate    100.0 %",
            "70.1 % to 100.0 %",
            "> 80 %: not decided, 1 left out",
        ] {
            assert!(table.contains(expected), "{expected:?} is not in\n{table}");
        }
    }
}
