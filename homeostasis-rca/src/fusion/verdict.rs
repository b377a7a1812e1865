//! How sure a ranking is, and when it names nobody.

use homeostasis_core::Confidence;

use super::engine::Suspect;

/// Of two suspects that nothing tells apart the first is right so often.
const COIN: f64 = 0.4;

/// A lead this much larger, in nats, divides the doubt by e.
const LEAD: f64 = 0.15;

/// More cannot be claimed from as many labelled incidents as this was fitted on.
const MOST: f64 = 0.97;

/// Below this confidence nobody is named.
const NAMED: f64 = 0.6;

/// A suspect with less than this, in nats, looks like everybody else.
const UNUSUAL: f64 = 0.1;

/// `1 - (1 - 0.4) · exp(-lead / 0.15)`, at most 0.97, where the lead is how many nats the first
/// suspect has more than the second.
///
/// Fitted by eye on the development halves that `docs/root-cause.md` names, where the table of
/// predicted and true shares is.
pub(super) fn confidence(suspects: &[Suspect]) -> Confidence {
    let Some(first) = suspects.first() else {
        return Confidence::ZERO;
    };
    let lead = first.nats - suspects.get(1).map_or(0.0, |second| second.nats);
    let doubt = (1.0 - COIN) * (-lead.max(0.0) / LEAD).exp();
    Confidence::saturating((1.0 - doubt).min(MOST))
}

/// Why nobody is named, if so.
pub(super) fn abstention(suspects: &[Suspect]) -> Option<String> {
    let Some(first) = suspects.first() else {
        return Some("no service has evidence that can be compared with a calm".to_owned());
    };
    if first.nats < UNUSUAL {
        return Some(format!(
            "nothing of {}, the first of {} services, is more unusual than innocent services are",
            first.service,
            suspects.len()
        ));
    }
    let sure = confidence(suspects);
    let second = suspects.get(1)?;
    (sure.get() < NAMED).then(|| {
        format!(
            "{} ({:.2} nats) and {} ({:.2} nats) are too close to tell apart: {sure} sure",
            first.service, first.nats, second.service, second.nats
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspects(nats: &[f64]) -> Vec<Suspect> {
        let suspect = |(idx, nats): (usize, &f64)| Suspect {
            service: format!("s{idx}"),
            nats: *nats,
            families: Vec::new(),
            proofs: Vec::new(),
            against: Vec::new(),
        };
        nats.iter().enumerate().map(suspect).collect()
    }

    #[test]
    fn a_larger_lead_is_surer_and_never_certain() {
        let sure = |nats: &[f64]| confidence(&suspects(nats)).get();
        assert!(sure(&[0.5, 0.45]) < sure(&[0.5, 0.2]));
        assert!(sure(&[50.0, 0.0]) < 0.98);
        assert!(sure(&[]).abs() < 1e-9);
    }

    #[test]
    fn nobody_is_named_without_a_reason() {
        assert!(abstention(&[]).unwrap().contains("no service"));
        assert!(abstention(&suspects(&[0.05])).unwrap().contains("unusual"));
        let close = abstention(&suspects(&[1.00, 0.98])).unwrap();
        assert!(
            close.contains("s0 (1.00 nats) and s1 (0.98 nats)"),
            "{close}"
        );
        assert_eq!(abstention(&suspects(&[1.0, 0.2])), None);
        assert_eq!(abstention(&suspects(&[1.0])), None);
    }
}
