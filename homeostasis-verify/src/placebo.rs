//! Placebos: what a criterion says where no remedy was given.
//!
//! Something that fell ill by chance gets well by chance: what was picked for being at its worst is
//! better at the next look (F. Galton, Regression towards mediocrity in hereditary stature, 1886).
//! So a criterion that holds after a remedy is asked again where there was none: of the time before
//! the remedy, and of untreated peers that failed it alike (placebos in time and in space, after
//! A. Abadie, A. Diamond, J. Hainmueller, Comparative Politics and the Synthetic Control Method,
//! 2015). No control is made up where there is none.

use std::collections::BTreeSet;
use std::time::Duration;

use homeostasis_core::record::CheckOutcome;
use homeostasis_core::stage::VerifyError;
use homeostasis_core::{Target, Timestamp};

use crate::criterion::{Attribution, Evaluator, Look};

/// A peer that could not be judged for so long is silent.
const SILENT_AFTER: Duration = Duration::from_secs(60);

/// Looks at one stretch of the past.
const MAX_LOOKS: u32 = 1024;

/// Fewer episodes have no usual length.
const MIN_EPISODES: u32 = 3;

/// Peers that are asked.
const MAX_PEERS: usize = 16;

/// When what happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Past<'a> {
    /// How far back one looks.
    pub(crate) from: Timestamp,
    /// When the first remedy of this trouble began.
    pub(crate) untreated_until: Timestamp,
    /// Stretches of earlier trouble that the healer did something about.
    pub(crate) healed: &'a [(Timestamp, Timestamp)],
    /// How far apart two looks are.
    pub(crate) interval: Duration,
}

/// A stretch in which a criterion failed; without an end where it still did at the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Episode {
    from: Timestamp,
    to: Option<Timestamp>,
}

/// What is known of a criterion's past and of its peers.
#[derive(Debug)]
pub(crate) struct Placebo {
    own: Own,
    /// Those not treated that failed it until the remedy began.
    peers: Vec<Evaluator>,
    /// Whether there are untreated peers that cannot be asked, because the criterion itself names
    /// its instance: its own past is then no proof.
    is_unasked: bool,
}

#[derive(Debug)]
enum Own {
    /// It did not fail before the remedy, or nothing was seen.
    Well,
    /// It failed and held again before anything was done.
    RecoveredBefore,
    /// It failed from `onset` until the remedy; the episodes before it that ended by themselves took
    /// so long.
    Ill {
        onset: Timestamp,
        earlier: Vec<Duration>,
    },
    /// Its target is itself an untreated peer: that it is well says nothing of the remedy.
    Untreated,
}

impl Placebo {
    /// Asks the past. `fresh` has not looked yet.
    ///
    /// O(looks × points) of the stretch before the remedy, once for each criterion and peer.
    pub(crate) fn new(
        fresh: &Evaluator,
        look: &Look<'_>,
        past: Past<'_>,
    ) -> Result<Self, VerifyError> {
        let target = fresh.target();
        let is_treated = |target: &Target| look.treated.iter().any(|it| it.contains(target));
        let is_peer = |target: &Target| {
            target.instance_name().is_some()
                && !is_treated(target)
                && look
                    .treated
                    .iter()
                    .any(|it| it.service_name() == target.service_name())
        };
        if target.as_ref().is_some_and(is_peer) {
            return Ok(Self {
                own: Own::Untreated,
                peers: Vec::new(),
                is_unasked: false,
            });
        }
        let until = past.untreated_until;
        let (episodes, _) = episodes(fresh, look, (past.from, until), past.interval)?;
        let own = match episodes.split_last() {
            Some((Episode { from, to: None }, earlier)) => {
                let by_itself = |episode: &&Episode| {
                    let end = episode.to.unwrap_or(until);
                    let mut healed = past.healed.iter();
                    healed.all(|(since, closed)| end < *since || *closed < episode.from)
                };
                let earlier = earlier.iter().filter(by_itself);
                Own::Ill {
                    onset: *from,
                    earlier: earlier
                        .filter_map(|episode| Some(episode.to?.since(episode.from)))
                        .collect(),
                }
            }
            Some((Episode { to: Some(to), .. }, _)) if *to >= look.since => Own::RecoveredBefore,
            _ => Own::Well,
        };
        let mut peers = Vec::new();
        let mut is_unasked = false;
        // Only what was ill until the remedy has got well with it.
        let is_compared = |it: &Target| it.instance_name().is_some() && is_treated(it);
        let target = target.filter(|it| matches!(own, Own::Ill { .. }) && is_compared(it));
        if let Some(target) = target {
            for peer in instances(look, &target)
                .into_iter()
                .filter(|peer| !is_treated(peer))
            {
                let Some(peer) = fresh.about(&peer) else {
                    is_unasked = true;
                    break;
                };
                let stretch = (past.from.max(look.since), until);
                let (episodes, _) = self::episodes(&peer, look, stretch, past.interval)?;
                if is_ill(&episodes) {
                    peers.push(peer);
                }
                if peers.len() == MAX_PEERS {
                    break;
                }
            }
        }
        Ok(Self {
            own,
            peers,
            is_unasked,
        })
    }

    /// Whether untreated peers suffer alike: they are given as long as the treated.
    pub(crate) fn has_control(&self) -> bool {
        !self.peers.is_empty()
    }

    /// What a pass at `look` is worth, and why.
    pub(crate) fn attribution(
        &self,
        look: &Look<'_>,
        past: Past<'_>,
    ) -> Result<(Attribution, String), VerifyError> {
        if !self.peers.is_empty() {
            let stretch = (past.from.max(look.since), look.now);
            let (mut n_well, mut n) = (0, 0);
            for peer in &self.peers {
                let (episodes, decided) = episodes(peer, look, stretch, past.interval)?;
                // Of a peer that is silent now nobody knows whether it is still ill.
                if decided.is_some_and(|at| look.now.since(at) <= SILENT_AFTER) {
                    n += 1;
                    n_well += usize::from(!is_ill(&episodes));
                }
            }
            if n == 0 {
                let words =
                    "none of the untreated peers that failed it alike can be asked any more";
                return Ok((Attribution::WithoutControl, words.to_owned()));
            }
            let words =
                format!("{n_well} of {n} untreated peers that failed it alike got well too");
            return Ok(if 2 * n_well >= n {
                (Attribution::PeersAlike, words)
            } else {
                (Attribution::AgainstPeers, words)
            });
        }
        Ok(match &self.own {
            Own::Well | Own::Untreated => (Attribution::Unexamined, String::new()),
            Own::RecoveredBefore => (
                Attribution::ByItself,
                "it held again in this trouble before anything was done".to_owned(),
            ),
            Own::Ill { onset, earlier } => {
                let lasted = past.untreated_until.since(*onset);
                match passes_by_itself(earlier, lasted, look.now.since(*onset)) {
                    Some(words) => (Attribution::ByItself, words),
                    None if self.is_unasked => (Attribution::Unexamined, String::new()),
                    None => (Attribution::Attributed, String::new()),
                }
            }
        })
    }
}

/// Whether what `lasted` so long untreated and was over after `took` is of the kind of `earlier`
/// trouble that passed by itself, and in words why.
///
/// It is if one of those lasted as long and was over in at most twice the time; or if there are some
/// and it lasted less than three times their mean: of durations without memory 95 % do.
fn passes_by_itself(earlier: &[Duration], lasted: Duration, took: Duration) -> Option<String> {
    let alike = earlier
        .iter()
        .filter(|time| (lasted..=2 * took).contains(*time));
    let n_alike = alike.count();
    if n_alike > 0 {
        return Some(format!(
            "it failed for as long {n_alike} times before, and held again by itself as soon"
        ));
    }
    let n = u32::try_from(earlier.len()).unwrap_or(u32::MAX);
    let mean = earlier.iter().sum::<Duration>() / n.max(1);
    (n >= MIN_EPISODES && lasted < 3 * mean).then(|| {
        format!(
            "it failed {n} times before and held again by itself, after {mean:?} on the average; \
             this time it had failed for {lasted:?} when the remedy began"
        )
    })
}

fn is_ill(episodes: &[Episode]) -> bool {
    episodes.last().is_some_and(|last| last.to.is_none())
}

/// When the criterion failed in the stretch, asked as it is asked after a remedy, and when it was
/// last decided.
fn episodes(
    fresh: &Evaluator,
    look: &Look<'_>,
    (from, until): (Timestamp, Timestamp),
    interval: Duration,
) -> Result<(Vec<Episode>, Option<Timestamp>), VerifyError> {
    let step = interval.max(until.since(from) / MAX_LOOKS);
    let mut episodes: Vec<Episode> = Vec::new();
    let mut decided = None;
    let mut evaluator = fresh.clone();
    let mut began = from - Duration::from_nanos(1);
    let mut now = from;
    loop {
        let then = Look {
            ended: began,
            now,
            ..*look
        };
        let outcome = evaluator.look(&then)?.outcome;
        if matches!(outcome, CheckOutcome::Passed | CheckOutcome::Failed) {
            decided = Some(now);
        }
        match outcome {
            CheckOutcome::Failed => {
                if !is_ill(&episodes) {
                    episodes.push(Episode {
                        from: now,
                        to: None,
                    });
                }
                // What held before it failed does not count for its recovery.
                evaluator = fresh.clone();
                began = now;
            }
            CheckOutcome::Passed => {
                if let Some(last) = episodes.last_mut() {
                    last.to.get_or_insert(now);
                }
            }
            CheckOutcome::NoData | CheckOutcome::Undecided => {}
        }
        if now >= until || step.is_zero() {
            return Ok((episodes, decided));
        }
        now = (now + step).min(until);
    }
}

/// The instances of the target's service of which anything was measured in the trouble.
fn instances(look: &Look<'_>, target: &Target) -> BTreeSet<Target> {
    let service = target.to_service();
    let (from, to) = (look.since, look.now);
    let series = look.observations.series_of(&service, from, to);
    let reports = look.observations.health(Some(&service), from, to);
    let measured = series.iter().filter_map(|window| window.key.target());
    measured
        .chain(reports.into_iter().map(|report| report.target))
        .filter(|target| target.instance_name().is_some())
        .collect()
}

#[cfg(test)]
#[expect(
    clippy::single_range_in_vec_init,
    reason = "a list of stretches may have one"
)]
mod tests {
    use super::*;
    use homeostasis_core::condition::Condition;
    use homeostasis_core::record::Criterion;
    use homeostasis_core::signal::SeriesKey;
    use homeostasis_core::testing::RecordedObservations;

    const fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    /// The remedy of `orders/0` begins at 1060 and ends at 1070; it is looked at until 1100. Each
    /// instance has a latency of 9 in its stretches and of 1 otherwise.
    fn attribution(
        ill: &[(&str, &[std::ops::Range<i64>])],
        healed: &[(Timestamp, Timestamp)],
    ) -> Attribution {
        attribution_of("latency_seconds < 5s", ill, healed)
    }

    fn attribution_of(
        condition: &str,
        ill: &[(&str, &[std::ops::Range<i64>])],
        healed: &[(Timestamp, Timestamp)],
    ) -> Attribution {
        let mut world = RecordedObservations::new();
        for (instance, stretches) in ill {
            let key = SeriesKey::new("latency_seconds")
                .with("service", "orders")
                .with("instance", *instance);
            let second = Duration::from_secs(1);
            world = world.with_sampled(key, at(400), at(1100), second, |now| {
                let is_ill = |it: &std::ops::Range<i64>| (at(it.start)..at(it.end)).contains(&now);
                if stretches.iter().any(is_ill) {
                    9.0
                } else {
                    1.0
                }
            });
        }
        let criterion = Criterion::Metric {
            condition: Condition::parse(condition).unwrap(),
            target: "orders/0".parse().unwrap(),
            window: Duration::from_secs(30),
            consecutive: 3,
        };
        let fresh = Evaluator::new(&criterion, crate::Tolerance::default()).unwrap();
        let treated = ["orders/0".parse().unwrap()];
        let look = Look::new(&world, at(1030), at(1070), at(1100)).treating(&treated);
        let past = Past {
            from: at(400),
            untreated_until: at(1060),
            healed,
            interval: Duration::from_secs(1),
        };
        let placebo = Placebo::new(&fresh, &look, past).unwrap();
        placebo.attribution(&look, past).unwrap().0
    }

    #[test]
    fn what_failed_until_the_remedy_and_holds_since_is_attributed_to_it() {
        assert_eq!(
            attribution(&[("0", &[1030..1065])], &[]),
            Attribution::Attributed
        );
    }

    #[test]
    fn what_got_well_by_itself_after_as_long_is_not() {
        // 40 s: longer than the 30 s before the remedy, shorter than the 38 s until it held.
        let stretches = [600..636, 1030..1065];
        assert_eq!(
            attribution(&[("0", &stretches)], &[]),
            Attribution::ByItself
        );
        let healed = [(at(595), at(650))];
        assert_eq!(
            attribution(&[("0", &stretches)], &healed),
            Attribution::Attributed
        );
        // Blips are no comparison for what lasted; what lasted little longer is one of them.
        let blips = |onset| [600..603, 700..705, 800..802, onset..1065];
        assert_eq!(
            attribution(&[("0", &blips(1030))], &[]),
            Attribution::Attributed
        );
        assert_eq!(
            attribution(&[("0", &blips(1048))], &[]),
            Attribution::ByItself
        );
    }

    #[test]
    fn what_held_again_before_anything_was_done_is_not() {
        assert_eq!(
            attribution(&[("0", &[1030..1050])], &[]),
            Attribution::ByItself
        );
        assert_eq!(attribution(&[("0", &[])], &[]), Attribution::Unexamined);
        assert_eq!(
            attribution(&[("0", &[500..550])], &[]),
            Attribution::Unexamined
        );
    }

    #[test]
    fn peers_that_suffer_alike_decide() {
        let ill = |one, two| {
            let own: &[_] = &[1030..1065];
            attribution(&[("0", own), ("1", one), ("2", two)], &[])
        };
        assert_eq!(ill(&[1030..1070], &[1031..1068]), Attribution::PeersAlike);
        assert_eq!(ill(&[1030..1070], &[1031..2000]), Attribution::PeersAlike);
        assert_eq!(ill(&[1030..2000], &[1031..2000]), Attribution::AgainstPeers);
        // Peers that were well are no control: nothing of theirs could get well.
        assert_eq!(ill(&[], &[]), Attribution::Attributed);
        // What was well before the remedy owes it nothing, whatever peers do.
        let one: &[_] = &[1031..2000];
        let well_before: &[_] = &[1030..1050];
        let recovered = attribution(&[("0", well_before), ("1", one)], &[]);
        assert_eq!(recovered, Attribution::ByItself);
        let healthy = attribution(&[("0", &[]), ("1", one)], &[]);
        assert_eq!(healthy, Attribution::Unexamined);
    }

    #[test]
    fn peers_that_fall_silent_do_not_speak_for_the_remedy() {
        let silent = |at_end: bool| {
            let mut world = RecordedObservations::new();
            for instance in ["0", "1", "2"] {
                let key = SeriesKey::new("latency_seconds")
                    .with("service", "orders")
                    .with("instance", instance);
                let is_gone = at_end && instance != "0";
                let end = at(if is_gone { 1062 } else { 1140 });
                let well_from = at(if instance == "0" { 1065 } else { 2000 });
                let second = Duration::from_secs(1);
                world = world.with_sampled(key, at(400), end, second, |now| {
                    let is_ill = (at(1030)..well_from).contains(&now);
                    if is_ill { 9.0 } else { 1.0 }
                });
            }
            let criterion = Criterion::Metric {
                condition: Condition::parse("latency_seconds < 5s").unwrap(),
                target: "orders/0".parse().unwrap(),
                window: Duration::from_secs(30),
                consecutive: 3,
            };
            let fresh = Evaluator::new(&criterion, crate::Tolerance::default()).unwrap();
            let treated = ["orders/0".parse().unwrap()];
            let look = Look::new(&world, at(1030), at(1070), at(1140)).treating(&treated);
            let past = Past {
                from: at(400),
                untreated_until: at(1060),
                healed: &[],
                interval: Duration::from_secs(1),
            };
            let placebo = Placebo::new(&fresh, &look, past).unwrap();
            placebo.attribution(&look, past).unwrap().0
        };
        assert_eq!(silent(false), Attribution::AgainstPeers);
        assert_eq!(silent(true), Attribution::WithoutControl);
    }

    #[test]
    fn a_criterion_that_names_its_instance_proves_nothing_where_there_are_peers() {
        let own: &[_] = &[1030..1065];
        let named = "latency_seconds{instance='0'} < 5s";
        let of = |ill: &[_]| attribution_of(named, ill, &[]);
        assert_eq!(of(&[("0", own), ("1", own)]), Attribution::Unexamined);
        assert_eq!(of(&[("0", own)]), Attribution::Attributed);
    }
}
