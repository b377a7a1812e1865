//! Series of several services that begin to deviate together.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::document::format_duration;
use homeostasis_core::record::{Anomaly, Direction, Expectation, Subject};
use homeostasis_core::signal::{Interest, SignalBatch};
use homeostasis_core::stage::{DetectError, Detector, ModelSnapshot};
use homeostasis_core::{ConfigError, Context, Target, Timestamp, Topology, Violations};
use serde::{Deserialize, Serialize};

use super::config::CorrelatedFailuresConfig;
use super::hops::Hops;
use super::onsets::{OnsetRate, StoredRate, poisson_surprise};
use super::rank::{LaggedCorrelation, lagged_rank_correlation};
use crate::{check, members, prose, scale, state};

/// The version of the shape of its snapshots.
const VERSION: u32 = 1;
/// A correlation this surprising, in nats, is no chance: one pair in a thousand.
const MIN_SURPRISE: f64 = 6.9;
/// How many correlations a call computes at most to find clusters: some 0.1 s.
const MAX_PAIRS: usize = 2048;
/// How often a call looks for clusters at most, however much time its batch is of.
const MAX_LOOKS: u32 = 16;
/// Points kept of a series that deviates.
const MAX_POINTS: usize = 256;

/// Raises an anomaly when more series of several services begin to deviate together than chance allows.
///
/// Its members say which series deviate and since when; what they find is not passed on.
/// *Together:* two of them are neighbors if they began within `window`, and their services are at most `max_hops` calls
/// apart in the topology (in any direction) or the series themselves go together
/// ([`lagged_rank_correlation`](super::lagged_rank_correlation), from what the members showed and the samples since).
/// Neighbors form clusters by density (as [`dbscan`](super::dbscan) with two points has it).
/// *More than chance allows:* with the usual number of onsets per window, learned over `history`, the surprise of `k` is
/// `-ln P(X >= k)` of the Poisson distribution; the score is 0.5 at `limit`.
/// Onsets count in the usual rate only when they are older than two windows, so that a burst does not explain itself.
/// *Whom it is about:* the service most of the others depend on, of several the one that began first.
/// One anomaly for each cluster, again when another service joins and after each `reraise` in which a member raised one
/// of its series: so members must raise again what lasts.
/// A series that no member raised for five windows is over; while there is one, clusters are sought again each quarter of a
/// window, because whether series go together shows only when they have deviated for a while.
/// When `max_series` deviate at once, the one raised longest ago gives way.
/// A batch is looked at once, one of more than a quarter of a window up to 16 times.
/// O(n²) each time for n series that deviate; a call correlates at most 2048 pairs, those that began nearest in time
/// first and none that calls or other series connect already: where hundreds of unlike series begin at once, some that
/// go together may be missed.
///
/// The engine groups by the same fingerprints and topology as ever: this anomaly joins the incident of its service.
///
/// # Examples
/// ```
/// use homeostasis::core::stage::Detector;
/// use homeostasis::detect::{CorrelatedFailures, CorrelatedFailuresConfig, Ewma, EwmaConfig, PerSeries, Selector};
///
/// let ewma = Ewma::new(EwmaConfig::default())?;
/// let together = CorrelatedFailures::new("together", CorrelatedFailuresConfig::default())?
///     .with(PerSeries::new("ewma", Selector::all(), move |_| ewma.clone())?);
/// assert_eq!(together.name(), "together");
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct CorrelatedFailures {
    name: String,
    config: CorrelatedFailuresConfig,
    members: Vec<Box<dyn Detector>>,
    active: Vec<Active>,
    rate: OnsetRate,
    /// When was looked last.
    judged: Option<Timestamp>,
    /// What members found and nobody has judged yet.
    heard: Vec<(usize, Anomaly)>,
    /// What was raised: by whom it is about, when, and how many services it had.
    raised: BTreeMap<Target, (Timestamp, usize)>,
}

/// A series that deviates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Active {
    target: Target,
    subject: Subject,
    onset: Timestamp,
    last: Timestamp,
    surprise: f64,
    score: f64,
    points: VecDeque<(Timestamp, f64)>,
}

/// A cluster of series, as positions in `active`.
struct Cluster {
    series: Vec<usize>,
    services: BTreeSet<String>,
    about: Target,
}

impl CorrelatedFailures {
    /// A detector called `name`, without members.
    ///
    /// # Errors
    /// If the name is empty, or a field of `config` is outside its range.
    pub fn new(
        name: impl Into<String>,
        config: CorrelatedFailuresConfig,
    ) -> Result<Self, ConfigError> {
        let name = name.into();
        let mut found = Violations::new();
        check::named(&mut found, "correlated_failures.name", &name);
        config.check(&mut found);
        found.into_result(Self {
            name,
            members: Vec::new(),
            active: Vec::new(),
            rate: OnsetRate::new(config.window, config.history),
            judged: None,
            heard: Vec::new(),
            raised: BTreeMap::new(),
            config,
        })
    }

    /// The same with this member.
    pub fn with(mut self, detector: impl Detector + 'static) -> Self {
        self.members.push(Box::new(detector));
        self
    }

    /// The configuration.
    pub fn config(&self) -> &CorrelatedFailuresConfig {
        &self.config
    }

    /// How many series deviate at present.
    pub fn n_deviating(&self) -> usize {
        self.active.len()
    }

    /// How many onsets are usual in a window.
    pub fn usual_onsets(&self) -> f64 {
        self.rate.per_window().max(self.config.min_rate)
    }

    /// Takes the samples of series that deviate.
    fn follow(&mut self, batch: &SignalBatch<'_>) {
        if self.active.is_empty() {
            return;
        }
        let places: BTreeMap<_, usize> = (0..)
            .zip(&self.active)
            .filter_map(|(i, active)| match &active.subject {
                Subject::Series(key) => Some((batch.catalog.lookup(key)?, i)),
                _ => None,
            })
            .collect();
        for sample in batch
            .samples
            .iter()
            .filter(|sample| sample.value.is_finite())
        {
            let Some(place) = places.get(&sample.series) else {
                continue;
            };
            let points = &mut self.active[*place].points;
            if points.back().is_some_and(|(last, _)| sample.at <= *last) {
                continue;
            }
            if points.len() >= MAX_POINTS {
                points.pop_front();
            }
            points.push_back((sample.at, sample.value));
        }
    }

    /// Takes what a member found.
    fn take(&mut self, anomaly: Anomaly) {
        self.rate.advance(anomaly.at);
        let mut known = self.active.iter_mut();
        let known =
            known.find(|it| it.target == anomaly.target && it.subject.is_same(&anomaly.subject));
        if let Some(known) = known {
            if anomaly.since > known.last {
                // It was over, and begins again.
                known.onset = anomaly.since;
                (known.score, known.surprise) = (0.0, 0.0);
                self.rate.onset(anomaly.at);
            }
            known.last = known.last.max(anomaly.at);
            known.score = known.score.max(anomaly.score.get());
            known.surprise = known.surprise.max(anomaly.surprise);
            return;
        }
        self.rate.onset(anomaly.at);
        if self.active.len() >= self.config.max_series {
            let oldest = self.active.iter().enumerate().min_by_key(|(_, it)| it.last);
            if let Some((i, _)) = oldest {
                self.active.remove(i);
            }
        }
        self.active.push(Active {
            target: anomaly.target,
            subject: anomaly.subject,
            onset: anomaly.since,
            last: anomaly.at,
            surprise: anomaly.surprise,
            score: anomaly.score.get(),
            points: anomaly.series.into(),
        });
    }

    /// Forgets what is over.
    fn forget(&mut self, at: Timestamp) {
        let patience = 5 * self.config.window;
        self.active
            .retain(|active| at.since(active.last) <= patience);
        self.raised
            .retain(|_, (raised, _)| at.since(*raised) <= patience);
    }

    /// What hangs together; `left` correlations are computed at most, those of the nearest onsets first.
    ///
    /// By density with two points a cluster is what neighbors connect, so a pair that is connected already is not
    /// looked at.
    fn clusters(&self, topology: &Topology, left: &mut usize) -> Vec<Cluster> {
        let hops = Hops::of(topology, self.config.max_hops);
        let n = self.active.len();
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by_key(|i| self.active[*i].onset);
        let is_together = |a: usize, b: usize| {
            self.active[b].onset.since(self.active[a].onset) <= self.config.window
        };
        let mut group: Vec<usize> = (0..n).collect();
        for (i, a) in order.iter().enumerate() {
            let near = order[i + 1..].iter().take_while(|b| is_together(*a, **b));
            for b in near {
                let service = |i: usize| self.active[i].target.service_name();
                if root(&mut group, *a) != root(&mut group, *b)
                    && hops.are_near(service(*a), service(*b))
                {
                    join(&mut group, *a, *b);
                }
            }
        }
        for apart in 1..n {
            let mut is_any_together = false;
            for (a, b) in order.iter().zip(&order[apart..]) {
                if !is_together(*a, *b) {
                    continue;
                }
                is_any_together = true;
                if *left == 0 {
                    break;
                }
                if root(&mut group, *a) == root(&mut group, *b) {
                    continue;
                }
                *left -= 1;
                let (a, b) = (*a.min(b), *a.max(b));
                if self.correlation(&self.active[a], &self.active[b]).is_some() {
                    join(&mut group, a, b);
                }
            }
            if !is_any_together || *left == 0 {
                break;
            }
        }
        let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for i in 0..n {
            members.entry(root(&mut group, i)).or_default().push(i);
        }
        members
            .into_values()
            .filter(|series| series.len() > 1)
            .map(|series| self.cluster(series, topology))
            .collect()
    }

    fn cluster(&self, mut series: Vec<usize>, topology: &Topology) -> Cluster {
        series.sort_by_key(|i| (self.active[*i].onset, *i));
        let services: BTreeSet<String> = series
            .iter()
            .map(|i| self.active[*i].target.service_name().to_owned())
            .collect();
        let n_dependents = |service: &str| {
            let others = services.iter().filter(|other| *other != service);
            others
                .filter(|other| topology.depends_on(other, service))
                .count()
        };
        // Of several the first to begin: `max_by_key` takes the last, so the order is turned around.
        let first = series
            .iter()
            .rev()
            .max_by_key(|i| n_dependents(self.active[**i].target.service_name()));
        let about = self.active[*first.unwrap_or(&0)].target.to_service();
        Cluster {
            series,
            services,
            about,
        }
    }

    /// How two series go together, if they do: from as long before they began as they have lasted.
    fn correlation(&self, a: &Active, b: &Active) -> Option<LaggedCorrelation> {
        let onset = a.onset.min(b.onset);
        let last = a.points.back()?.0.min(b.points.back()?.0);
        let from = onset - last.since(onset).max(self.config.window);
        let points = |active: &Active| -> Vec<_> {
            let points = active.points.iter().copied();
            points.skip_while(|(at, _)| *at < from).collect()
        };
        let found = lagged_rank_correlation(&points(a), &points(b), self.config.window)?;
        let is_strong = found.rho.abs() >= self.config.min_correlation;
        (is_strong && found.surprise >= MIN_SURPRISE).then_some(found)
    }

    /// The anomalies of all clusters at `at`.
    fn judge(&mut self, topology: &Topology, at: Timestamp, left: &mut usize) -> Vec<Anomaly> {
        self.judged = self.judged.max(Some(at));
        self.rate.advance(at);
        self.forget(at);
        let usual = self.usual_onsets();
        let mut raised = Vec::new();
        for cluster in self.clusters(topology, left) {
            let (n, n_services) = (cluster.series.len(), cluster.services.len());
            if n < self.config.min_series || n_services < self.config.min_services {
                continue;
            }
            let onsets = |i: &usize| self.active[*i].onset;
            let first = cluster.series.iter().map(onsets).min().unwrap_or(at);
            let last = cluster.series.iter().map(onsets).max().unwrap_or(at);
            // A chain may last for several windows, and may hold as many usual onsets.
            let n_windows =
                (last.since(first).as_secs_f64() / self.config.window.as_secs_f64()).max(1.0);
            let surprise = poisson_surprise(usual * n_windows, n);
            if surprise <= self.config.limit {
                continue;
            }
            let before = self.raised.get(&cluster.about);
            let is_due = before.is_none_or(|(raised, services)| {
                let reraise = self.config.reraise;
                let is_told = |i: &usize| self.active[*i].last > *raised;
                n_services > *services
                    || (reraise.is_some_and(|interval| at.since(*raised) >= interval)
                        && cluster.series.iter().any(is_told))
            });
            if is_due {
                self.raised.insert(cluster.about.clone(), (at, n_services));
                raised.push(self.describe(
                    &cluster,
                    (first, last, at),
                    (surprise, usual * n_windows),
                ));
            }
        }
        raised
    }

    fn describe(
        &self,
        cluster: &Cluster,
        (first, last, at): (Timestamp, Timestamp, Timestamp),
        (surprise, usual): (f64, f64),
    ) -> Anomaly {
        let name = |i: usize| format!("{} of {}", self.active[i].subject, self.active[i].target);
        let n = cluster.series.len();
        let services: Vec<&str> = cluster
            .services
            .iter()
            .map(String::as_str)
            .take(8)
            .collect();
        let more = if cluster.services.len() > 8 {
            ", …"
        } else {
            ""
        };
        let mut text = format!(
            "{n} series of {} services ({}{more}) began to deviate within {}, expected {}; {} was first, since {first}",
            cluster.services.len(),
            services.join(", "),
            format_duration(Duration::from_secs(last.since(first).as_secs())),
            prose::number(usual),
            cluster
                .series
                .first()
                .map_or_else(String::new, |i| name(*i)),
        );
        if let Some((a, b, found)) = self.strongest(cluster) {
            let (leader, follower) = if found.first_leads { (a, b) } else { (b, a) };
            let sign = if found.rho < 0.0 { " upside down" } else { "" };
            let seconds = found.lag.as_secs();
            let after = if seconds == 0 {
                String::new()
            } else {
                format!(" after {seconds} s")
            };
            text = format!(
                "{text}; {} follows {}{after}{sign} with a rank correlation of {}",
                name(follower),
                name(leader),
                prose::number(found.rho.abs())
            );
        }
        let subject = Subject::Condition("correlated failure".to_owned());
        let weights = cluster.series.iter().map(|i| {
            let active = &self.active[*i];
            (name(*i), active.surprise.max(active.score))
        });
        let mut anomaly = Anomaly::new(&self.name, cluster.about.clone(), subject, at)
            .saying(text)
            .due_to(weights);
        anomaly.since = first.min(at);
        anomaly.score = scale::score(surprise / self.config.limit);
        anomaly.surprise = surprise;
        anomaly.direction = Direction::High;
        anomaly.observed = Some(n as f64);
        let mut most = 1;
        while poisson_surprise(usual, most + 1) <= self.config.limit {
            most += 1;
        }
        anomaly.expected = Expectation::Between {
            low: None,
            high: Some(most as f64),
        };
        // How many deviate, as they began.
        let onsets = (1_u32..).zip(&cluster.series);
        let mut series: Vec<(Timestamp, f64)> = onsets
            .map(|(n, i)| (self.active[*i].onset.min(at), f64::from(n)))
            .collect();
        let skipped = series.len().saturating_sub(Anomaly::MAX_POINTS);
        anomaly.series = series.split_off(skipped);
        anomaly.severity_hint = self.config.severity_hint;
        anomaly
    }

    /// The pair of series of different targets that goes together most, of the first few to begin.
    fn strongest(&self, cluster: &Cluster) -> Option<(usize, usize, LaggedCorrelation)> {
        let first: Vec<usize> = cluster.series.iter().copied().take(8).collect();
        let mut best: Option<(usize, usize, LaggedCorrelation)> = None;
        for (i, a) in first.iter().enumerate() {
            for b in &first[i + 1..] {
                if self.active[*a].target == self.active[*b].target {
                    continue;
                }
                let found = self.correlation(&self.active[*a], &self.active[*b]);
                if let Some(found) = found
                    && best
                        .as_ref()
                        .is_none_or(|(.., known)| found.surprise > known.surprise)
                {
                    best = Some((*a, *b, found));
                }
            }
        }
        best
    }
}

/// The first of the group `i` is in; `group` leads there.
fn root(group: &mut [usize], mut i: usize) -> usize {
    while group[i] != i {
        group[i] = group[group[i]];
        i = group[i];
    }
    i
}

fn join(group: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(group, a), root(group, b));
    group[a.max(b)] = a.min(b);
}

#[async_trait]
impl Detector for CorrelatedFailures {
    fn name(&self) -> &str {
        &self.name
    }

    fn interest(&self) -> Interest {
        let wanted = self.members.iter().map(Detector::interest);
        wanted.fold(Interest::samples(), Interest::and)
    }

    /// The members are asked together; one that panics or does not answer in three quarters of the time that is left
    /// has failed, and what the others found is kept if the call is dropped.
    ///
    /// # Errors
    /// That of the first member that fails, if no other found anything; otherwise its say is missing.
    async fn detect(
        &mut self,
        cx: &Context,
        batch: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        let members = self.members.iter_mut();
        let failed = members::ask(members, cx, batch, &mut self.heard).await;
        for (member, failed) in self.members.iter().zip(&failed) {
            if let Some(error) = failed {
                tracing::warn!(
                    detector = self.name,
                    member = member.name(),
                    error = %error.report(),
                    "a member of a correlation detector failed; the others are heard"
                );
            }
        }
        let failed = failed.into_iter().flatten().next();
        if let (true, Some(error)) = (self.heard.is_empty(), failed) {
            return Err(error);
        }
        let heard = std::mem::take(&mut self.heard).into_iter();
        let mut found: Vec<Anomaly> = heard.map(|(_, anomaly)| anomaly).collect();
        found.retain(|anomaly| anomaly.violation().is_none());
        found.sort_by(|a, b| (a.at, &a.target).cmp(&(b.at, &b.target)));
        self.follow(&batch);
        let latest = cx.now();
        let times = batch.samples.iter().map(|sample| sample.at);
        let seen = times.filter(|at| *at <= latest).max();
        let span = match (found.first(), found.last()) {
            (Some(first), Some(last)) => last.at.since(first.at),
            _ => Duration::ZERO,
        };
        let pause = (self.config.window / 4).max(span / MAX_LOOKS);
        let (mut raised, mut left) = (Vec::new(), MAX_PAIRS);
        let mut found = found.into_iter().peekable();
        let mut looked = found.peek().map(|first| first.at);
        while let Some(anomaly) = found.next() {
            let at = anomaly.at;
            self.take(anomaly);
            let next = found.peek().map(|next| next.at);
            let is_far = |next: Timestamp| looked.is_none_or(|looked| next.since(looked) > pause);
            if next.is_none_or(is_far) {
                looked = next;
                raised.extend(self.judge(cx.topology(), at, &mut left));
            }
        }
        // Whether series go together shows when they have deviated for a while.
        let is_due = |at: &Timestamp| {
            let judged = self.judged;
            judged.is_some_and(|judged| at.since(judged) >= self.config.window / 4)
        };
        if let Some(at) = seen.filter(is_due).filter(|_| !self.active.is_empty()) {
            raised.extend(self.judge(cx.topology(), at, &mut left));
        }
        Ok(raised)
    }

    /// Nothing if one of its members keeps no model.
    fn snapshot(&self) -> Option<ModelSnapshot> {
        let members = self.members.iter().map(Detector::snapshot);
        let raised = self.raised.iter();
        let stored = Stored {
            members: members.collect::<Option<_>>()?,
            active: self.active.clone(),
            rate: self.rate.save(),
            judged: self.judged,
            raised: raised
                .map(|(target, (at, n))| (target.clone(), *at, *n))
                .collect(),
        };
        Some(ModelSnapshot {
            detector: self.name.clone(),
            version: VERSION,
            state: state::save(&stored)?,
        })
    }

    fn forget_alarms(&mut self) {
        self.raised.clear();
        for member in &mut self.members {
            member.forget_alarms();
        }
    }

    /// If one of the members refuses, those before it are given back what they had.
    fn restore(&mut self, snapshot: &ModelSnapshot) -> Result<(), DetectError> {
        let stored: Stored = state::open(&self.name, VERSION, snapshot)?;
        let (n, expected) = (stored.members.len(), self.members.len());
        state::require(
            n == expected,
            &format!("{n} members in the snapshot"),
            &format!("{expected}, as there are here"),
        )?;
        let n = stored.active.len();
        state::require(
            n <= self.config.max_series,
            &format!("{n} series in the snapshot"),
            &format!("at most {}, as max_series says", self.config.max_series),
        )?;
        let before: Vec<_> = self.members.iter().map(Detector::snapshot).collect();
        for (i, saved) in stored.members.iter().enumerate() {
            if let Err(error) = self.members[i].restore(saved) {
                for (member, before) in self.members.iter_mut().zip(&before[..i]) {
                    if let Some(before) = before {
                        member.restore(before)?;
                    }
                }
                return Err(error);
            }
        }
        (self.active, self.judged) = (stored.active, stored.judged);
        self.rate.load(stored.rate);
        let raised = stored.raised.into_iter();
        self.raised = raised.map(|(target, at, n)| (target, (at, n))).collect();
        Ok(())
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    members: Vec<ModelSnapshot>,
    active: Vec<Active>,
    rate: StoredRate,
    judged: Option<Timestamp>,
    raised: Vec<(Target, Timestamp, usize)>,
}

#[cfg(test)]
mod tests;
