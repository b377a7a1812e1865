//! The board: which anomaly belongs to which open incident.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use homeostasis_core::cycle::{MAX_ANOMALIES, Phase};
use homeostasis_core::record::{Anomaly, Fingerprint, Subject};
use homeostasis_core::signal::HealthReport;
use homeostasis_core::{Incident, IncidentId, Target, Timestamp, Topology};

/// For each incident that can be worked on this many may wait for people.
const MAX_PARKED_FACTOR: usize = 16;

/// An instance whose anomalies were not raised again for so long is not known to be ill.
const ILL_FOR: Duration = Duration::from_secs(600);

/// So many instances of one incident are known.
const MAX_INSTANCES: usize = 1024;

/// A plan that waits longer than this is as good as with people: what is related but elsewhere is an incident of its own.
const SOON: Duration = Duration::from_secs(300);

/// A report older than so many intervals of its check says nothing.
const STALE_INTERVALS: u32 = 3;

/// What is to be done with an anomaly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// It is known; it was seen again.
    Duplicate(IncidentId),
    /// It belongs to an open incident.
    Join(IncidentId),
    /// It is an echo of an incident that was just closed.
    Aftershock,
    /// It belongs to an open incident that has as many anomalies as are kept: it is counted.
    Crowded(IncidentId),
    /// It is a new incident.
    Open,
    /// There are too many open incidents; the detector will raise it again.
    Full,
}

/// How anomalies are grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grouping {
    /// Anomalies of related services this close in time belong together.
    pub(crate) window: Duration,
    /// An anomaly that began before an incident closed, found this soon after, is its echo.
    pub(crate) aftershock: Duration,
    /// At most this many incidents are open.
    pub(crate) max_open: usize,
}

/// What is known of the open incidents, for routing.
#[derive(Debug, Default)]
pub(crate) struct Board {
    open: BTreeMap<IncidentId, Entry>,
    /// What people ordered: no trouble is a part of it, and it takes no place from trouble.
    ordered: BTreeSet<IncidentId>,
    closed: VecDeque<Echo>,
}

#[derive(Debug)]
struct Entry {
    services: BTreeSet<String>,
    fingerprints: BTreeSet<Fingerprint>,
    /// The instances among its anomalies, and when one of each was last seen.
    instances: BTreeMap<Target, Timestamp>,
    /// The checks among its anomalies, and what each reported last to this process. Boxed: nodes of the
    /// map have room for eleven, and most incidents have one check.
    checks: BTreeMap<String, BTreeMap<Target, Option<Box<HealthReport>>>>,
    /// When an anomaly of it was last seen, in this life or an earlier one.
    last_seen: Timestamp,
    /// Since when this process looks.
    watched_since: Timestamp,
    standing: Standing,
}

#[derive(Debug)]
struct Echo {
    since: Timestamp,
    closed_at: Timestamp,
    services: BTreeSet<String>,
    /// Whether anything was done about it.
    was_healed: bool,
}

/// How far an incident is, as far as routing cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Not diagnosed yet: what is related in time and place belongs to it.
    Gathering,
    /// Being worked on: what is related in place belongs to it.
    Working,
    /// With people: only the same services belong to it.
    Parked,
}

impl Board {
    const MAX_CLOSED: usize = 256;

    /// Says where `anomaly` belongs. Pure but for noting that it was seen.
    pub(crate) fn route(
        &mut self,
        anomaly: &Anomaly,
        topology: &Topology,
        grouping: Grouping,
        now: Timestamp,
    ) -> Route {
        let fingerprint = anomaly.fingerprint();
        let service = anomaly.target.service_name();
        let known = self
            .open
            .iter_mut()
            .find(|(_, entry)| entry.fingerprints.contains(&fingerprint));
        if let Some((id, entry)) = known {
            entry.last_seen = now;
            entry.see(&anomaly.target, now);
            return Route::Duplicate(*id);
        }
        let home = self
            .open
            .iter_mut()
            .find(|(_, entry)| entry.takes(service, topology, grouping, now));
        if let Some((id, entry)) = home {
            entry.last_seen = now;
            // Those beyond the anomalies that are kept are ill all the same.
            entry.see(&anomaly.target, now);
            // What needs people is not lost in a crowd.
            let places = MAX_ANOMALIES * (1 + usize::from(anomaly.needs_people));
            if entry.fingerprints.len() >= places {
                return Route::Crowded(*id);
            }
            entry.admit(anomaly);
            return Route::Join(*id);
        }
        let echo = |closed: &Echo| {
            // A clock that was set back makes no echoes.
            now >= closed.closed_at
                && now.since(closed.closed_at) <= grouping.aftershock
                && anomaly.since <= closed.closed_at
                && closed
                    .services
                    .iter()
                    .any(|other| topology.related(service, other))
        };
        // Whoever asks for people is not answered by a close.
        if !anomaly.needs_people && self.closed.iter().any(echo) {
            return Route::Aftershock;
        }
        // Those that wait for people take no place from those that can be worked on; but memory is
        // bounded for them too.
        let n_parked = self
            .open
            .values()
            .filter(|entry| entry.standing == Standing::Parked)
            .count();
        let is_full = self.open.len() - n_parked >= grouping.max_open
            || n_parked >= grouping.max_open.saturating_mul(MAX_PARKED_FACTOR);
        if is_full { Route::Full } else { Route::Open }
    }

    /// Notes how `incident` stands; a closed one leaves its echo.
    pub(crate) fn note(&mut self, incident: &Incident, now: Timestamp) {
        if incident.is_ordered() {
            if incident.is_closed() {
                self.ordered.remove(&incident.id);
            } else {
                self.ordered.insert(incident.id);
            }
            return;
        }
        if incident.is_closed() {
            if self.open.remove(&incident.id).is_some() {
                let anomalies = incident.anomalies.iter();
                let services = anomalies
                    .map(|anomaly| anomaly.target.service_name().to_owned())
                    .collect();
                self.closed.push_back(Echo {
                    since: incident.since,
                    closed_at: now,
                    services,
                    was_healed: !incident.runs.is_empty(),
                });
                if self.closed.len() > Self::MAX_CLOSED {
                    self.closed.pop_front();
                }
            }
            return;
        }
        let standing = match incident.phase {
            Phase::Diagnosing => Standing::Gathering,
            Phase::Recommended
            | Phase::Escalated
            | Phase::Stuck { .. }
            | Phase::AwaitingApproval { .. } => Standing::Parked,
            Phase::Deferred { until, .. } if until - now > SOON => Standing::Parked,
            _ => Standing::Working,
        };
        let entry = self.open.entry(incident.id).or_insert_with(|| Entry {
            services: BTreeSet::new(),
            fingerprints: BTreeSet::new(),
            instances: BTreeMap::new(),
            checks: BTreeMap::new(),
            last_seen: incident.updated_at,
            watched_since: now,
            standing,
        });
        entry.standing = standing;
        for anomaly in &incident.anomalies {
            entry.admit(anomaly);
            if !entry.instances.contains_key(&anomaly.target) {
                entry.see(&anomaly.target, incident.updated_at);
            }
        }
    }

    /// The stretches of earlier trouble of its services that something was done about, as far as
    /// this process closed them. O(closed incidents that are remembered).
    pub(crate) fn healed(&self, incident: &Incident) -> Vec<(Timestamp, Timestamp)> {
        let targets = incident.targets();
        let is_of_it = |closed: &&Echo| {
            let mut names = targets.iter().map(Target::service_name);
            closed.was_healed && names.any(|name| closed.services.contains(name))
        };
        let healed = self.closed.iter().filter(is_of_it);
        healed
            .map(|closed| (closed.since, closed.closed_at))
            .collect()
    }

    /// The instances of `service` that open incidents are about and that were seen ill lately: one that is gone is not
    /// ill for ever. O(open incidents).
    pub(crate) fn ill_instances(&self, service: &str, now: Timestamp) -> BTreeSet<Target> {
        let entries = self.open.values();
        let entries = entries.filter(|entry| entry.services.contains(service));
        let seen = entries.flat_map(|entry| &entry.instances);
        let ill = seen.filter(|(target, last)| {
            target.service_name() == service && now.since(**last) <= ILL_FOR
        });
        ill.map(|(target, _)| target.clone()).collect()
    }

    /// Takes what checks say of themselves. O(open incidents) per report.
    pub(crate) fn hear(&mut self, reports: &[HealthReport], now: Timestamp) {
        for report in reports {
            for entry in self.open.values_mut() {
                let checks = entry.checks.get_mut(&report.check);
                let Some(last) = checks.and_then(|of| of.get_mut(&report.target)) else {
                    continue;
                };
                // A clock that is ahead must not hide what comes later.
                let at = report.at.min(now);
                if last.as_ref().is_none_or(|known| known.at <= at) {
                    let mut report = report.clone();
                    report.at = at;
                    *last = Some(Box::new(report));
                }
            }
        }
    }

    /// Whether each check among the anomalies of `id` said lately that its target is up. Silence of a
    /// check is no recovery, whatever else is heard of its target.
    pub(crate) fn are_checks_good(&self, id: IncidentId, now: Timestamp) -> bool {
        let good = |last: &Option<Box<HealthReport>>| {
            last.as_ref()
                .is_some_and(|report| report.is_up() && report.is_fresh(now, STALE_INTERVALS))
        };
        let Some(entry) = self.open.get(&id) else {
            return false;
        };
        entry.checks.values().flat_map(BTreeMap::values).all(good)
    }

    /// How seldom the slowest of the failing checks of `id` is asked; zero if none fails.
    pub(crate) fn slowest_failing(&self, id: IncidentId) -> Duration {
        let entry = self.open.get(&id).into_iter();
        entry
            .flat_map(|entry| entry.checks.values().flat_map(BTreeMap::values).flatten())
            .filter(|report| !report.is_up())
            .map(|report| report.interval.unwrap_or(report.tier.plan().interval))
            .max()
            .unwrap_or_default()
    }

    /// When other incidents troubled services related to those of `incident`, before it began.
    pub(crate) fn trouble_before(
        &self,
        incident: &Incident,
        topology: &Topology,
    ) -> Vec<(Timestamp, Timestamp)> {
        let targets = incident.targets();
        let related = |echo: &&Echo| {
            targets.iter().any(|target| {
                echo.services
                    .iter()
                    .any(|other| topology.related(target.service_name(), other))
            })
        };
        // What lasts into this incident is a part of it.
        let last = incident.since - Duration::from_nanos(1);
        let before = self
            .closed
            .iter()
            .filter(related)
            .filter(|echo| echo.since <= last);
        before
            .map(|echo| (echo.since, echo.closed_at.min(last)))
            .collect()
    }

    /// When an anomaly of `id` was last seen.
    pub(crate) fn last_seen(&self, id: IncidentId) -> Option<Timestamp> {
        self.open.get(&id).map(|entry| entry.last_seen)
    }

    /// Since when this process has watched `id`.
    pub(crate) fn watched_since(&self, id: IncidentId) -> Option<Timestamp> {
        self.open.get(&id).map(|entry| entry.watched_since)
    }

    /// An anomaly could not be written into `id`: when it is seen again it is new again.
    pub(crate) fn forget(&mut self, id: IncidentId, fingerprint: Fingerprint) {
        if let Some(entry) = self.open.get_mut(&id) {
            entry.fingerprints.remove(&fingerprint);
        }
    }

    /// The open incidents.
    pub(crate) fn open(&self) -> impl Iterator<Item = IncidentId> + '_ {
        self.open.keys().chain(&self.ordered).copied()
    }

    pub(crate) fn n_open(&self) -> usize {
        self.open.len() + self.ordered.len()
    }
}

impl Entry {
    fn admit(&mut self, anomaly: &Anomaly) {
        self.fingerprints.insert(anomaly.fingerprint());
        self.services
            .insert(anomaly.target.service_name().to_owned());
        if let Subject::Health(check) = &anomaly.subject {
            let of = self.checks.entry(check.clone()).or_default();
            of.entry(anomaly.target.clone()).or_default();
        }
    }

    fn see(&mut self, target: &Target, now: Timestamp) {
        if let Some(last) = self.instances.get_mut(target) {
            *last = now;
        } else if target.instance_name().is_some() && self.instances.len() < MAX_INSTANCES {
            self.instances.insert(target.clone(), now);
        }
    }

    fn takes(
        &self,
        service: &str,
        topology: &Topology,
        grouping: Grouping,
        now: Timestamp,
    ) -> bool {
        let related = || {
            self.services
                .iter()
                .any(|other| topology.related(service, other))
        };
        match self.standing {
            Standing::Gathering => now.since(self.last_seen) <= grouping.window && related(),
            Standing::Working => related(),
            Standing::Parked => self.services.contains(service),
        }
    }
}
