//! Triage: how bad an incident is and how far it reaches, from its anomalies.

use homeostasis_core::policy::{Reach, SeverityInputs, Trend, blast_radius};
use homeostasis_core::record::{Anomaly, BlastRadius, Severity};
use homeostasis_core::{Ratio, Timestamp, Topology};

/// Judges `anomalies` (never empty) as one incident at `now`.
///
/// Impact is the share of services that are hit; the trend is unknown, and unknown counts as
/// worsening. What a detector hinted makes it graver, never milder.
pub(crate) fn triage(
    anomalies: &[Anomaly],
    topology: &Topology,
    seen_before: u64,
    now: Timestamp,
) -> (Severity, BlastRadius) {
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
    let severity = SeverityInputs {
        impact,
        duration: now.since(since),
        trend: Trend::Unknown,
        seen_before,
        at_least: anomalies
            .iter()
            .filter_map(|anomaly| anomaly.severity_hint)
            .min(),
    }
    .score()
    .severity;
    (severity, radius)
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::record::Subject;
    use homeostasis_core::{ServiceFacts, Target};

    #[test]
    fn a_hint_and_a_wider_reach_make_it_graver() {
        let mut topology = Topology::default();
        for service in ["a", "b", "c", "d"] {
            topology.insert(service, ServiceFacts::default());
        }
        let anomaly = |service: &str| {
            let target = Target::service(service).unwrap();
            Anomaly::new(
                "d",
                target,
                Subject::Health("h".to_owned()),
                Timestamp::EPOCH,
            )
        };
        let judge = |anomalies: &[Anomaly]| triage(anomalies, &topology, 0, Timestamp::EPOCH).0;
        assert_eq!(judge(&[anomaly("a")]), Severity::Sev2);
        let all = ["a", "b", "c", "d"].map(anomaly);
        assert_eq!(judge(&all), Severity::Sev1);
        let mut hinted = anomaly("a");
        hinted.severity_hint = Some(Severity::Sev1);
        assert_eq!(judge(&[hinted]), Severity::Sev1);
    }
}
