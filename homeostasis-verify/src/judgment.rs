//! From readings to a verdict.

use homeostasis_core::record::{CheckOutcome, VerdictKind};

use crate::criterion::{Attribution, Reading};

/// A verdict without its time and checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgment {
    /// The answer.
    pub kind: VerdictKind,
    /// Why, in one sentence.
    pub reason: String,
}

impl Judgment {
    pub(crate) fn new(kind: VerdictKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
        }
    }
}

/// Judges readings, each with its criterion in words, when no more looks will follow.
///
/// | passed | failed | no data or undecided | verdict |
/// |---|---|---|---|
/// | all | | | success, unless it is not the remedy's doing: see below |
/// | some | some | any | partial |
/// | some | none | some | uncertain |
/// | none | some | any | failed |
/// | none | none | any | uncertain |
///
/// The reason of an uncertain verdict says what would settle it.
///
/// Where all passed and one of them is attributed to the remedy, that is a success: by
/// [peers](Attribution::AgainstPeers) in any case, by its [own past](Attribution::Attributed) only if
/// no untreated peers got well alike. Otherwise it is partial if untreated peers got well alike,
/// uncertain if it got well by itself before, and partial if a criterion rests on before and after
/// [without a control](Attribution::WithoutControl).
///
/// ```
/// use homeostasis::core::record::VerdictKind;
/// assert_eq!(homeostasis::verify::judge(&[]).kind, VerdictKind::Uncertain);
/// ```
pub fn judge(readings: &[(&str, &Reading)]) -> Judgment {
    let with = |outcome| readings.iter().filter(move |(_, r)| r.outcome == outcome);
    let n = readings.len();
    let passed = with(CheckOutcome::Passed).count();
    let failed = with(CheckOutcome::Failed).count();
    let failing = || {
        let all: Vec<_> = with(CheckOutcome::Failed)
            .map(|(words, reading)| format!("{words} ({})", reading.detail))
            .collect();
        all.join("; ")
    };
    if n == 0 {
        return Judgment::new(
            VerdictKind::Uncertain,
            "there is nothing to judge by; criteria, health checks or a series with an expected band would settle it",
        );
    }
    if passed == n {
        return all_hold(readings);
    }
    match (passed, failed) {
        (0, 1..) => Judgment::new(
            VerdictKind::Failed,
            format!("0 of {n} criteria hold: {}", failing()),
        ),
        (1.., 1..) => Judgment::new(
            VerdictKind::Partial,
            format!("{passed} of {n} criteria hold; not: {}", failing()),
        ),
        _ => {
            let mut settle: Vec<&str> = readings
                .iter()
                .filter_map(|(_, reading)| reading.would_settle.as_deref())
                .collect();
            settle.dedup();
            Judgment::new(
                VerdictKind::Uncertain,
                format!(
                    "{passed} of {n} criteria hold and the others are not decided; it would be settled by {}",
                    if settle.is_empty() {
                        "more data".to_owned()
                    } else {
                        settle.join(", and by ")
                    }
                ),
            )
        }
    }
}

/// Everything holds; whether that is the remedy's doing is another question.
fn all_hold(readings: &[(&str, &Reading)]) -> Judgment {
    let n = readings.len();
    let with = |wanted| {
        readings
            .iter()
            .filter(move |(_, r)| r.attribution == wanted)
    };
    let named = |wanted| {
        let all: Vec<_> = with(wanted)
            .map(|(words, reading)| format!("{words} ({})", reading.detail))
            .collect();
        all.join("; ")
    };
    let any = |wanted| with(wanted).next().is_some();
    let success = || Judgment::new(VerdictKind::Success, format!("{n} of {n} criteria hold"));
    if any(Attribution::AgainstPeers) {
        return success();
    }
    if any(Attribution::PeersAlike) {
        let why = named(Attribution::PeersAlike);
        return Judgment::new(
            VerdictKind::Partial,
            format!("{n} of {n} criteria hold, but nothing shows that the remedy did it: {why}"),
        );
    }
    // Its own past speaks for the remedy only where no peer speaks against it.
    if any(Attribution::Attributed) {
        return success();
    }
    if any(Attribution::ByItself) {
        let why = named(Attribution::ByItself);
        return Judgment::new(
            VerdictKind::Uncertain,
            format!(
                "{n} of {n} criteria hold, but it may have passed by itself: {why}; it would be settled \
                 by untreated peers that suffer alike, or by a criterion that asks for more in a row \
                 than ever held in trouble"
            ),
        );
    }
    if any(Attribution::WithoutControl) {
        let why = named(Attribution::WithoutControl);
        return Judgment::new(
            VerdictKind::Partial,
            format!(
                "{n} of {n} criteria hold, but nothing shows that they would not without the remedy: \
                 {why}; a criterion of a state such as health, a longer history, or untreated peers \
                 would show it"
            ),
        );
    }
    success()
}

#[cfg(test)]
mod tests {
    use super::*;
    use CheckOutcome::{Failed, NoData, Passed, Undecided};
    use proptest::prelude::*;

    fn reading(outcome: CheckOutcome) -> Reading {
        let mut reading = Reading::new(outcome, "seen");
        reading.would_settle =
            matches!(outcome, NoData | Undecided).then(|| "samples of up".to_owned());
        reading
    }

    fn kind(outcomes: &[CheckOutcome]) -> VerdictKind {
        let readings: Vec<_> = outcomes.iter().map(|o| reading(*o)).collect();
        judge(&readings.iter().map(|r| ("c", r)).collect::<Vec<_>>()).kind
    }

    #[test]
    fn the_table_is_kept() {
        for (outcomes, expected) in [
            (&[Passed, Passed][..], VerdictKind::Success),
            (&[Passed, Failed], VerdictKind::Partial),
            (&[Passed, Failed, NoData], VerdictKind::Partial),
            (&[Passed, NoData], VerdictKind::Uncertain),
            (&[Passed, Undecided], VerdictKind::Uncertain),
            (&[Failed, Failed], VerdictKind::Failed),
            (&[Failed, NoData], VerdictKind::Failed),
            (&[NoData], VerdictKind::Uncertain),
            (&[Undecided], VerdictKind::Uncertain),
            (&[], VerdictKind::Uncertain),
        ] {
            assert_eq!(kind(outcomes), expected, "{outcomes:?}");
        }
    }

    #[test]
    fn what_is_not_the_remedys_doing_is_no_success() {
        use Attribution::{
            AgainstPeers, Attributed, ByItself, PeersAlike, Unexamined, WithoutControl,
        };
        for (worth, expected) in [
            (&[Unexamined][..], VerdictKind::Success),
            (&[WithoutControl], VerdictKind::Partial),
            (&[WithoutControl, Unexamined], VerdictKind::Partial),
            (&[WithoutControl, ByItself], VerdictKind::Uncertain),
            (&[WithoutControl, Attributed], VerdictKind::Success),
            (&[ByItself, Unexamined], VerdictKind::Uncertain),
            (&[PeersAlike, Unexamined], VerdictKind::Partial),
            (&[PeersAlike, ByItself], VerdictKind::Partial),
            (&[PeersAlike, ByItself, Attributed], VerdictKind::Partial),
            (&[PeersAlike, AgainstPeers], VerdictKind::Success),
            (&[ByItself, Attributed], VerdictKind::Success),
        ] {
            let readings: Vec<_> = worth
                .iter()
                .map(|attribution| Reading {
                    attribution: *attribution,
                    ..reading(Passed)
                })
                .collect();
            let named: Vec<_> = readings.iter().map(|reading| ("c", reading)).collect();
            assert_eq!(judge(&named).kind, expected, "{worth:?}");
        }
    }

    #[test]
    fn an_uncertain_verdict_says_what_would_settle_it() {
        let judgment = judge(&[("c", &reading(NoData))]);
        assert!(
            judgment.reason.contains("settled by samples of up"),
            "{judgment:?}"
        );
    }

    proptest! {
        #[test]
        fn missing_data_alone_never_decides(n in 0_usize..5, undecided in 0_usize..5) {
            let outcomes = [vec![NoData; n], vec![Undecided; undecided]].concat();
            prop_assert_eq!(kind(&outcomes), VerdictKind::Uncertain);
        }

        #[test]
        fn a_failing_criterion_more_never_makes_a_verdict_better(
            outcomes in prop::collection::vec(prop::sample::select(vec![Passed, Failed, NoData, Undecided]), 1..6)
        ) {
            let more = [outcomes.clone(), vec![Failed]].concat();
            prop_assert!(kind(&more) != VerdictKind::Success);
            prop_assert!(kind(&outcomes) != VerdictKind::Failed || kind(&more) == VerdictKind::Failed);
        }
    }
}
