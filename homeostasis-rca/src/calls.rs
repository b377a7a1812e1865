//! Who calls whom: as declared, or else as seen in spans.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use homeostasis_core::signal::SpanRecord;
use homeostasis_core::stage::Evidence;
use homeostasis_core::{Context, Target};

/// A call is known if spans show it so often.
pub(crate) const SEEN: u32 = 2;

/// Calls between services, with how sure each is.
///
/// A service that declares calls makes those and no others; the calls of one that declares none are
/// those seen in spans. A call that was seen `n` times, at least twice, counts (n + 1) / (n + 2), by
/// Laplace's rule.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    callees: BTreeMap<String, BTreeMap<String, f64>>,
    callers: BTreeMap<String, BTreeMap<String, f64>>,
}

impl Calls {
    pub(crate) fn of(cx: &Context, evidence: &Evidence<'_>) -> Self {
        let mut calls = Self::default();
        for (caller, facts) in cx.topology().services() {
            for callee in &facts.depends_on {
                calls.add(caller, callee, 1.0);
            }
        }
        let (from, to) = (evidence.from.min(evidence.to), evidence.to);
        let spans = cx.observations().spans(None, from, to);
        let declared: BTreeSet<String> = calls.callees.keys().cloned().collect();
        for ((caller, callee), n) in seen(&spans) {
            if n >= SEEN && !declared.contains(caller) {
                let n = f64::from(n);
                calls.add(caller, callee, (n + 1.0) / (n + 2.0));
            }
        }
        calls
    }

    fn add(&mut self, caller: &str, callee: &str, sure: f64) {
        if caller == callee {
            return;
        }
        let put = |map: &mut BTreeMap<String, BTreeMap<String, f64>>, a: &str, b: &str| {
            let of = map.entry(a.to_owned()).or_default();
            of.insert(b.to_owned(), sure);
        };
        put(&mut self.callees, caller, callee);
        put(&mut self.callers, callee, caller);
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
        let mut seen = BTreeSet::from([service]);
        let mut open = vec![service];
        while let Some(present) = open.pop() {
            for callee in self
                .callees
                .get(present)
                .into_iter()
                .flat_map(BTreeMap::keys)
            {
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

/// How often each service called another, as spans with parents show.
fn seen(spans: &[SpanRecord]) -> BTreeMap<(&str, &str), u32> {
    fn service(span: &SpanRecord) -> Option<&str> {
        span.target.as_ref().map(Target::service_name)
    }
    let own = spans.iter().filter(|span| span.span != 0);
    let by_id: HashMap<(Option<&str>, u64), &str> = own
        .filter_map(|span| Some(((span.trace.as_deref(), span.span), service(span)?)))
        .collect();
    let mut calls = BTreeMap::new();
    for span in spans.iter().filter(|span| span.parent != 0) {
        let caller = by_id.get(&(span.trace.as_deref(), span.parent));
        if let Some((caller, callee)) = caller.copied().zip(service(span))
            && caller != callee
        {
            *calls.entry((caller, callee)).or_insert(0_u32) += 1;
        }
    }
    calls
}
