//! Who calls whom: as declared, or else as seen in spans.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use homeostasis_core::Context;
use homeostasis_core::stage::Evidence;

/// A call is known if spans show it so often.
pub(crate) const SEEN: u32 = 2;

/// So many times as many calls one way are needed that those of the way back do not count.
const ONE_WAY: u32 = 10;

/// Calls between services, with how sure each is.
///
/// A service that declares calls makes those and no others; the calls of one that declares none are
/// those seen in spans. A call that was seen `n` times, at least twice, counts (n + 1) / (n + 2), by
/// Laplace's rule. Calls that would close a circle with declared ones, or with ten times as many, are
/// left out: a webhook or a fetched token does not make the caller the callee's callee.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// With how often each was seen; the most there is if declared.
    callees: BTreeMap<String, BTreeMap<String, u32>>,
    callers: BTreeMap<String, BTreeMap<String, f64>>,
}

impl Calls {
    pub(crate) fn of(cx: &Context, evidence: &Evidence<'_>) -> Self {
        let mut calls = Self::default();
        for (caller, facts) in cx.topology().services() {
            for callee in &facts.depends_on {
                calls.add(caller, callee, u32::MAX, 1.0);
            }
        }
        let (from, to) = (evidence.from.min(evidence.to), evidence.to);
        let declared: BTreeSet<String> = calls.callees.keys().cloned().collect();
        let seen = cx.observations().calls(from, to);
        let seen = seen.iter();
        let mut seen: Vec<_> = seen
            .filter(|((caller, _), n)| **n >= SEEN && !declared.contains(caller))
            .collect();
        // Stable: of equals the first by name.
        seen.sort_by_key(|(_, n)| Reverse(**n));
        for ((caller, callee), &n) in seen {
            if !calls.leads(callee, caller, n.saturating_mul(ONE_WAY)) {
                let times = f64::from(n);
                calls.add(caller, callee, n, (times + 1.0) / (times + 2.0));
            }
        }
        calls
    }

    fn add(&mut self, caller: &str, callee: &str, n: u32, sure: f64) {
        if caller == callee {
            return;
        }
        let callees = self.callees.entry(caller.to_owned()).or_default();
        callees.insert(callee.to_owned(), n);
        let callers = self.callers.entry(callee.to_owned()).or_default();
        callers.insert(caller.to_owned(), sure);
    }

    /// Who calls `service`, by name.
    pub(crate) fn callers_of(&self, service: &str) -> impl Iterator<Item = (&str, f64)> {
        let callers = self.callers.get(service).into_iter().flatten();
        callers.map(|(caller, sure)| (caller.as_str(), *sure))
    }

    /// Everybody who is known to call or to be called.
    pub(crate) fn services(&self) -> impl Iterator<Item = &str> {
        let all = self.callees.keys().chain(self.callers.keys());
        all.map(String::as_str)
    }

    /// Whether a failure of one can show in the other: the same, or one depends on the other.
    pub(crate) fn related(&self, a: &str, b: &str) -> bool {
        a == b || self.depends_on(a, b) || self.depends_on(b, a)
    }

    /// Whether `service` calls `other`, directly or through others. O(calls).
    pub(crate) fn depends_on(&self, service: &str, other: &str) -> bool {
        self.leads(service, other, 0)
    }

    /// The same along calls that were seen `least` times or more.
    fn leads(&self, service: &str, other: &str, least: u32) -> bool {
        let mut seen = BTreeSet::from([service]);
        let mut open = vec![service];
        while let Some(present) = open.pop() {
            for (callee, n) in self.callees.get(present).into_iter().flatten() {
                if *n < least {
                    continue;
                }
                if callee == other {
                    return true;
                }
                if seen.insert(callee) {
                    open.push(callee);
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use homeostasis_core::record::{Anomaly, Subject};
    use homeostasis_core::signal::SpanRecord;
    use homeostasis_core::testing::RecordedObservations;
    use homeostasis_core::testing::analyzer::{incident_of, topology_of};
    use homeostasis_core::{ManualClock, Timestamp};

    use super::*;

    /// The calls that so many spans of each pair show beside those declared.
    fn calls(declared: &[(&str, &[&str])], seen: &[(&str, &str, u32)]) -> Calls {
        let mut observations = RecordedObservations::new();
        for (caller, callee, n) in seen {
            for trace in 0..*n {
                for (id, parent, who) in [(1, 0, caller), (2, 1, callee)] {
                    let second = Duration::from_secs(1);
                    let mut span = SpanRecord::new(Timestamp::from_secs(50), second, "work");
                    span.target = Some(who.parse().unwrap());
                    span.trace = Some(format!("{caller}{callee}{trace}"));
                    (span.span, span.parent) = (id, parent);
                    observations = observations.with_span(span);
                }
            }
        }
        let cx = Context::new(Arc::new(ManualClock::new(Timestamp::from_secs(100))), 1)
            .observing(Arc::new(observations))
            .in_topology(Arc::new(topology_of(declared)));
        let (who, check) = ("a".parse().unwrap(), Subject::Health("http".to_owned()));
        let incident = incident_of(&[Anomaly::new("test", who, check, Timestamp::EPOCH)]);
        let (from, to) = (Timestamp::EPOCH, Timestamp::from_secs(100));
        Calls::of(&cx, &Evidence::new(&incident, from, to))
    }

    #[test]
    fn a_few_calls_back_do_not_turn_many_into_a_circle() {
        let of = |seen| calls(&[], seen);
        let webhook = of(&[("a", "b", 100), ("b", "a", 2)]);
        assert!(webhook.depends_on("a", "b") && !webhook.depends_on("b", "a"));
        let round = of(&[("a", "b", 100), ("b", "c", 90), ("c", "a", 2)]);
        assert!(round.depends_on("a", "c") && !round.depends_on("c", "a"));
        let both = of(&[("a", "b", 100), ("b", "a", 50)]);
        assert!(both.depends_on("a", "b") && both.depends_on("b", "a"));
    }

    #[test]
    fn what_is_declared_is_not_turned_back_by_what_is_seen() {
        let declared = calls(&[("a", &["b"]), ("b", &[])], &[("b", "a", 500)]);
        assert!(declared.depends_on("a", "b") && !declared.depends_on("b", "a"));
    }
}
