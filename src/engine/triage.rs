//! Triage: how bad an incident is and how far it reaches, from its anomalies.

use homeostasis_core::policy::{Reach, SeverityInputs, SeverityScore, Trend, blast_radius};
use homeostasis_core::record::{Anomaly, BlastRadius, Direction};
use homeostasis_core::{Ratio, Timestamp, Topology};

/// Fewer points since the trouble began show no trend.
const MIN_POINTS: usize = 4;

/// The normal value that chance exceeds in one of ten series without a trend.
const ONE_IN_TEN: f64 = 1.2816;

/// Judges `anomalies` (never empty) as one incident at `now`.
///
/// Impact is the share of services that are hit; the trend is that of what was measured since the
/// trouble began. What a detector hinted makes it graver, never milder.
pub(crate) fn triage(
    anomalies: &[Anomaly],
    topology: &Topology,
    seen_before: u64,
    now: Timestamp,
) -> (SeverityScore, BlastRadius) {
    let mut targets: Vec<_> = anomalies
        .iter()
        .map(|anomaly| anomaly.target.clone())
        .collect();
    targets.sort();
    targets.dedup();
    let radius = blast_radius(&targets, topology, Reach::default());
    let since = anomalies
        .iter()
        .map(|anomaly| anomaly.since)
        .min()
        .unwrap_or(now);
    let impact = if radius.services == 0 {
        Ratio::ONE
    } else {
        Ratio::of(radius.services, topology.n_services() as u64)
    };
    let score = SeverityInputs {
        impact,
        duration: now.since(since),
        trend: trend(anomalies),
        seen_before,
        at_least: anomalies
            .iter()
            .filter_map(|anomaly| anomaly.severity_hint)
            .min(),
    }
    .score();
    (score, radius)
}

/// Where it all is going: as the worst of it, and unknown is worst: of a dead process nothing says
/// that it gets better because a queue drains.
fn trend(anomalies: &[Anomaly]) -> Trend {
    let gravity = |trend: &Trend| match trend {
        Trend::Improving => 0,
        Trend::Stable => 1,
        Trend::Worsening => 2,
        Trend::Unknown => 3,
    };
    let all = anomalies.iter();
    let all = all.map(|it| trend_of(it).unwrap_or(Trend::Unknown));
    all.max_by_key(gravity).unwrap_or(Trend::Unknown)
}

/// Whether what was measured since the trouble began goes on to the side to which it is abnormal:
/// the test of Mann ("Nonparametric tests against trend", 1945) at 10 % to either side. `None` with
/// fewer than four points, or if it is abnormal to neither side. O(n²) in at most 64 points.
fn trend_of(anomaly: &Anomaly) -> Option<Trend> {
    let worse = match anomaly.direction {
        Direction::High => 1.0,
        Direction::Low => -1.0,
        Direction::Other => return None,
    };
    let since = anomaly.series.iter().filter(|it| it.0 >= anomaly.since);
    let values: Vec<f64> = since.map(|(_, value)| *value).collect();
    if values.len() < MIN_POINTS {
        return None;
    }
    let mut balance = 0.0;
    for (idx, early) in values.iter().enumerate() {
        for late in &values[idx + 1..] {
            balance += f64::from(i8::from(late > early) - i8::from(late < early));
        }
    }
    let n = values.len() as f64;
    let spread = (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    Some(match worse * balance / spread {
        z if z > ONE_IN_TEN => Trend::Worsening,
        z if z < -ONE_IN_TEN => Trend::Improving,
        _ => Trend::Stable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::record::{Severity, Subject};
    use homeostasis_core::{ServiceFacts, Target};

    fn anomaly(service: &str) -> Anomaly {
        let target = Target::service(service).unwrap();
        let subject = Subject::Health("h".to_owned());
        Anomaly::new("d", target, subject, Timestamp::EPOCH)
    }

    fn topology() -> Topology {
        let mut topology = Topology::default();
        for service in ["a", "b", "c", "d"] {
            topology.insert(service, ServiceFacts::default());
        }
        topology
    }

    #[test]
    fn a_hint_and_a_wider_reach_make_it_graver() {
        let judge = |anomalies: &[Anomaly]| {
            triage(anomalies, &topology(), 0, Timestamp::EPOCH)
                .0
                .severity
        };
        assert_eq!(judge(&[anomaly("a")]), Severity::Sev2);
        let all = ["a", "b", "c", "d"].map(anomaly);
        assert_eq!(judge(&all), Severity::Sev1);
        let mut hinted = anomaly("a");
        hinted.severity_hint = Some(Severity::Sev1);
        assert_eq!(judge(&[hinted]), Severity::Sev1);
    }

    fn moving(direction: Direction, values: &[f64]) -> Anomaly {
        let mut anomaly = anomaly("a");
        anomaly.direction = direction;
        anomaly.at = Timestamp::from_secs(60);
        anomaly.since = Timestamp::from_secs(30);
        let calm = (0..30).map(|secs| (Timestamp::from_secs(secs), 1.0));
        let ill = (30_i64..).zip(values);
        let ill = ill.map(|(secs, value)| (Timestamp::from_secs(secs), *value));
        anomaly.series = calm.chain(ill).collect();
        anomaly
    }

    #[test]
    fn the_trend_is_measured_since_the_trouble_began_and_towards_the_bad_side() {
        let of = |direction, values: &[f64]| trend(&[moving(direction, values)]);
        let (up, down) = ([2.0, 3.0, 4.0, 5.0], [5.0, 4.0, 3.0, 2.0]);
        assert_eq!(of(Direction::High, &up), Trend::Worsening);
        assert_eq!(of(Direction::High, &down), Trend::Improving);
        assert_eq!(of(Direction::Low, &up), Trend::Improving);
        assert_eq!(of(Direction::Low, &down), Trend::Worsening);
        // It jumped and stays there: the jump was before.
        assert_eq!(of(Direction::High, &[9.0; 4]), Trend::Stable);
        assert_eq!(of(Direction::High, &[9.0, 8.0, 8.5, 9.0]), Trend::Stable);
        assert_eq!(of(Direction::High, &up[..3]), Trend::Unknown);
        assert_eq!(of(Direction::Other, &up), Trend::Unknown);
        let both = [
            moving(Direction::High, &down),
            moving(Direction::High, &up),
            anomaly("b"),
        ];
        assert_eq!(trend(&both[..2]), Trend::Worsening);
        assert_eq!(trend(&both), Trend::Unknown);
        let drains = [
            moving(Direction::High, &down),
            moving(Direction::Other, &up),
        ];
        assert_eq!(trend(&drains), Trend::Unknown);
    }

    #[test]
    fn the_arithmetic_says_what_the_trend_counted() {
        let judge = |anomaly| triage(&[anomaly], &topology(), 3, Timestamp::from_secs(60)).0;
        let worse = judge(moving(Direction::High, &[2.0, 3.0, 4.0, 5.0]));
        let better = judge(moving(Direction::High, &[5.0, 4.0, 3.0, 2.0]));
        assert_eq!((worse.trend, better.trend), (20.0, 0.0));
        let told = worse.to_string();
        assert!(told.contains("trend 20 + history 3 = "), "{told}");
    }
}
