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

/// As many untreated stretches as long must have passed without the like of it. Of n + 1 stretches
/// that are exchangeable each is with the same probability the one in which it happened, so that it
/// happened in the one with the remedy has at most the probability 1 / (n + 1), one in ten here: the
/// argument of permutation tests (R. A. Fisher, The Design of Experiments, 1935) and of conformal
/// prediction. Neighboring stretches are not independent, so it is a guide and no level.
const MIN_QUIET: u32 = 9;

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
    /// Whether it asks for a level, which noise crosses both ways.
    is_level: bool,
}

#[derive(Debug)]
enum Own {
    /// It did not fail before the remedy.
    Well,
    /// Nothing was seen before the remedy.
    Unseen,
    /// It failed and held again before anything was done.
    RecoveredBefore,
    /// It failed until the remedy.
    Ill(Illness),
    /// Its target is itself an untreated peer: that it is well says nothing of the remedy.
    Untreated,
}

/// What failed until the remedy.
#[derive(Debug)]
struct Illness {
    onset: Timestamp,
    /// How long earlier trouble took that ended by itself.
    earlier: Vec<Duration>,
    /// The longest it held in this trouble before it failed again.
    longest_respite: Duration,
    /// For how long it was seen before.
    seen: Duration,
}

impl Illness {
    /// `None` if there is no trouble.
    fn new(
        past: Past<'_>,
        (before, trouble): (&[Episode], &[Episode]),
        seen: &Seen,
    ) -> Option<Self> {
        let onset = trouble.first()?.from;
        let by_itself = |episode: &&Episode| {
            let end = episode.to.unwrap_or(past.untreated_until);
            let mut healed = past.healed.iter();
            healed.all(|(since, closed)| end < *since || *closed < episode.from)
        };
        let earlier = before.iter().filter(by_itself);
        Some(Self {
            onset,
            earlier: earlier
                .filter_map(|episode| Some(episode.to?.since(episode.from)))
                .collect(),
            longest_respite: longest_respite(trouble),
            seen: seen.until(onset),
        })
    }

    /// Whether enough untreated time passed without such an end: before the trouble, or in it.
    fn is_without_control(&self, lasted: Duration, cured_in: Duration) -> bool {
        self.seen < MIN_QUIET * lasted && lasted < MIN_QUIET * cured_in
    }
}

/// The longest time between two episodes.
fn longest_respite(trouble: &[Episode]) -> Duration {
    let pairs = trouble.iter().zip(trouble.iter().skip(1));
    pairs
        .filter_map(|(one, next)| Some(next.from.since(one.to?)))
        .max()
        .unwrap_or_default()
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
                is_level: fresh.is_level(),
            });
        }
        let until = past.untreated_until;
        let (episodes, seen) = episodes(fresh, look, (past.from, until), past.interval)?;
        let n_before = episodes.partition_point(|it| it.to.is_some_and(|to| to < look.since));
        let split = episodes.split_at(n_before);
        // What held again for a moment, as it did before in this trouble, has not recovered.
        let is_over = |to: Timestamp| until.since(to) > longest_respite(split.1);
        let own = match split.1.last() {
            _ if seen.looks.is_empty() => Own::Unseen,
            Some(Episode { to: Some(to), .. }) if is_over(*to) => Own::RecoveredBefore,
            _ => Illness::new(past, split, &seen).map_or(Own::Well, Own::Ill),
        };
        let mut peers = Vec::new();
        let mut is_unasked = false;
        // Only what was ill until the remedy has got well with it.
        let is_compared = |it: &Target| it.instance_name().is_some() && is_treated(it);
        let target = target.filter(|it| matches!(own, Own::Ill(_)) && is_compared(it));
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
            is_level: fresh.is_level(),
        })
    }

    /// Whether untreated peers suffer alike: they are given as long as the treated.
    pub(crate) fn has_control(&self) -> bool {
        !self.peers.is_empty()
    }

    /// Whether nothing was seen of it before the remedy.
    pub(crate) fn is_unseen(&self) -> bool {
        matches!(self.own, Own::Unseen)
    }

    /// What a pass at `look` of what holds since `held` is worth, and why.
    pub(crate) fn attribution(
        &self,
        look: &Look<'_>,
        held: Timestamp,
        past: Past<'_>,
    ) -> Result<(Attribution, String), VerifyError> {
        if !self.peers.is_empty() {
            let stretch = (past.from.max(look.since), look.now);
            let (mut n_well, mut n) = (0, 0);
            for peer in &self.peers {
                let (episodes, seen) = episodes(peer, look, stretch, past.interval)?;
                // Of a peer that is silent now nobody knows whether it is still ill.
                if seen
                    .decided
                    .is_some_and(|at| look.now.since(at) <= SILENT_AFTER)
                {
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
            Own::Unseen if self.is_level => {
                let words = "it was not seen before the remedy";
                (Attribution::WithoutControl, words.to_owned())
            }
            Own::Well | Own::Unseen | Own::Untreated => (Attribution::Unexamined, String::new()),
            Own::RecoveredBefore => (
                Attribution::ByItself,
                "it held again in this trouble before anything was done".to_owned(),
            ),
            Own::Ill(illness) => {
                let lasted = past.untreated_until.since(illness.onset);
                let cured_in = held.since(past.untreated_until);
                let respite = illness.longest_respite;
                if !respite.is_zero() && look.now.since(held) <= respite {
                    let words =
                        format!("it held for {respite:?} before in this trouble, and failed again");
                    (Attribution::ByItself, words)
                } else if let Some(words) =
                    passes_by_itself(&illness.earlier, lasted, held.since(illness.onset))
                {
                    (Attribution::ByItself, words)
                } else if self.is_level && illness.is_without_control(lasted, cured_in) {
                    let words = format!(
                        "it was seen for {:?} before it failed, expected {MIN_QUIET} times the \
                         {lasted:?} that it failed",
                        illness.seen
                    );
                    (Attribution::WithoutControl, words)
                } else if self.is_unasked {
                    (Attribution::Unexamined, String::new())
                } else {
                    (Attribution::Attributed, String::new())
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

/// When there was something to see.
#[derive(Debug, Default)]
struct Seen {
    step: Duration,
    looks: Vec<Timestamp>,
    /// When it last passed or failed.
    decided: Option<Timestamp>,
}

impl Seen {
    /// For how long before `until`.
    fn until(&self, until: Timestamp) -> Duration {
        let n = self.looks.partition_point(|it| *it < until);
        self.step * u32::try_from(n).unwrap_or(u32::MAX)
    }
}

/// When the criterion failed in the stretch, asked as it is asked after a remedy, and when there was
/// something to see.
fn episodes(
    fresh: &Evaluator,
    look: &Look<'_>,
    (from, until): (Timestamp, Timestamp),
    interval: Duration,
) -> Result<(Vec<Episode>, Seen), VerifyError> {
    let step = interval.max(until.since(from) / MAX_LOOKS);
    let mut episodes: Vec<Episode> = Vec::new();
    let mut seen = Seen {
        step,
        ..Seen::default()
    };
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
            seen.decided = Some(now);
        }
        if outcome != CheckOutcome::NoData {
            seen.looks.push(now);
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
            return Ok((episodes, seen));
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
        placebo.attribution(&look, at(1073), past).unwrap().0
    }

    /// The same of `condition` where `orders/0` is seen since `seen` only, failed in `ill`, was treated
    /// from 1060 on, holds since `held`, and is judged at `now`.
    fn attribution_alone(
        condition: &str,
        seen: i64,
        ill: &[std::ops::Range<i64>],
        (held, now): (i64, i64),
    ) -> Attribution {
        let key = SeriesKey::new("level")
            .with("service", "orders")
            .with("instance", "0");
        let second = Duration::from_secs(1);
        let world =
            RecordedObservations::new().with_sampled(key, at(seen), at(1400), second, |now| {
                let is_ill = ill
                    .iter()
                    .any(|it| (at(it.start)..at(it.end)).contains(&now));
                f64::from(u8::from(is_ill))
            });
        let criterion = Criterion::Metric {
            condition: Condition::parse(condition).unwrap(),
            target: "orders/0".parse().unwrap(),
            window: Duration::from_secs(30),
            consecutive: 1,
        };
        let fresh = Evaluator::new(&criterion, crate::Tolerance::default()).unwrap();
        let treated = ["orders/0".parse().unwrap()];
        let since = at(1000);
        let look = Look::new(&world, since, at(1070), at(now)).treating(&treated);
        let past = Past {
            from: at(100),
            untreated_until: at(1060),
            healed: &[],
            interval: second,
        };
        let placebo = Placebo::new(&fresh, &look, past).unwrap();
        placebo.attribution(&look, at(held), past).unwrap().0
    }

    #[test]
    fn a_level_proves_nothing_before_it_was_seen_for_long_and_a_state_does() {
        let ill = [1030..1065];
        let of = |condition, seen| attribution_alone(condition, seen, &ill, (1071, 1080));
        assert_eq!(of("level < 0.5", 700), Attribution::Attributed);
        assert_eq!(of("level < 0.5", 800), Attribution::WithoutControl);
        assert_eq!(of("level < 0.5", 1030), Attribution::WithoutControl);
        assert_eq!(of("level < 0.5", 1066), Attribution::WithoutControl);
        // What is down stays down: nobody needs to have seen it up.
        assert_eq!(of("level == 0", 1030), Attribution::Attributed);
        assert_eq!(of("level == 0", 1066), Attribution::Unexamined);
    }

    #[test]
    fn what_lasted_long_and_is_over_at_once_has_its_own_time_as_control() {
        let of =
            |onset, held| attribution_alone("level < 0.5", onset, &[onset..1065], (held, held));
        assert_eq!(of(960, 1071), Attribution::Attributed);
        assert_eq!(of(960, 1072), Attribution::WithoutControl);
        assert_eq!(of(1000, 1071), Attribution::WithoutControl);
    }

    #[test]
    fn what_flaps_has_not_recovered_until_it_holds_longer_than_it_ever_did() {
        // Down, up for 10 s, down, up for 12 s, down until it is mended.
        let ill = [1000..1008, 1018..1026, 1038..1065];
        let of = |held, now| attribution_alone("level == 0", 0, &ill, (held, now));
        assert_eq!(of(1071, 1083), Attribution::ByItself);
        assert_eq!(of(1071, 1084), Attribution::Attributed);
        // Up when the remedy began, as it was before in the same trouble.
        let ill = [1000..1030, 1045..1050, 1061..1065];
        let of = |held, now| attribution_alone("level == 0", 0, &ill, (held, now));
        assert_eq!(of(1071, 1090), Attribution::Attributed);
        // Well for longer than in any respite before it.
        let ill = [1000..1030, 1035..1050];
        let of = |held, now| attribution_alone("level == 0", 0, &ill, (held, now));
        assert_eq!(of(1071, 1090), Attribution::ByItself);
    }

    #[test]
    fn how_long_one_watches_on_does_not_count_for_how_long_it_took() {
        // 100 s of trouble before: longer than twice the 41 s of this one, however long one watches.
        let of = |now| {
            let ill = [400..500, 1030..1065];
            attribution_alone("level == 0", 0, &ill, (1071, now))
        };
        assert_eq!(of(1080), Attribution::Attributed);
        assert_eq!(of(1390), Attribution::Attributed);
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
            placebo.attribution(&look, at(1073), past).unwrap().0
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
