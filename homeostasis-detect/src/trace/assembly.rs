//! Which execution made which call: spans of a trace put together, in bounded memory.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use homeostasis_core::Target;
use homeostasis_core::signal::SpanRecord;
use serde::{Deserialize, Serialize};

/// Executions that are remembered or waited for.
const MAX_EXECUTIONS: usize = 16_384;
/// Calls of one execution that are kept until it ends.
const MAX_CALLS: usize = 256;

/// An operation and whose it is.
pub(super) type Operation = (Target, String);

/// Puts calls and their callers together by the ids of their spans.
///
/// A call mostly ends before its caller, and waits for it; one that ends after its caller finds it among those
/// remembered.
/// When 16 384 executions are remembered or waited for, the one that was named first is forgotten, with the calls that
/// wait for it: they are counted as lost.
#[derive(Debug, Clone, Default)]
pub(super) struct Assembly {
    executions: HashMap<u64, Execution>,
    /// In the order in which they were named first.
    order: VecDeque<u64>,
    n_lost: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Execution {
    /// It has not ended; these are its calls so far.
    #[serde(with = "texts")]
    Awaited(Vec<Arc<str>>),
    /// It has ended.
    Ended(Operation),
}

/// What a span tells about calls.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The calls of the span itself.
    pub(super) calls: Vec<Arc<str>>,
    /// Its caller, if that has ended before it, and the span as a call.
    pub(super) late: Option<(Operation, Arc<str>)>,
}

/// As it is stored: executions in order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredAssembly {
    executions: Vec<(u64, Execution)>,
    n_lost: u64,
}

impl Assembly {
    /// Calls whose caller was never seen, or seen too late.
    pub(super) fn n_lost(&self) -> u64 {
        self.n_lost
    }

    /// Takes a span of `operation`.
    pub(super) fn take(&mut self, span: &SpanRecord, operation: &Operation) -> Told {
        let mut told = Told::default();
        let Some(trace) = &span.trace else {
            return told;
        };
        if span.parent != 0 && span.parent != span.span {
            let call: Arc<str> = format!("{} {}", operation.0, operation.1).into();
            match self.entry(id(trace, span.parent)) {
                Execution::Awaited(calls) if calls.len() < MAX_CALLS => calls.push(call),
                Execution::Awaited(_) => self.n_lost += 1,
                Execution::Ended(caller) => told.late = Some((caller.clone(), call)),
            }
        }
        if span.span != 0 {
            let own = self.entry(id(trace, span.span));
            let before = std::mem::replace(own, Execution::Ended(operation.clone()));
            if let Execution::Awaited(calls) = before {
                told.calls = calls;
            }
        }
        told
    }

    fn entry(&mut self, id: u64) -> &mut Execution {
        if !self.executions.contains_key(&id) {
            while self.order.len() >= MAX_EXECUTIONS {
                let oldest = self.order.pop_front();
                let gone = oldest.and_then(|oldest| self.executions.remove(&oldest));
                if let Some(Execution::Awaited(calls)) = gone {
                    self.n_lost += calls.len() as u64;
                }
            }
            self.order.push_back(id);
        }
        let awaited = || Execution::Awaited(Vec::new());
        self.executions.entry(id).or_insert_with(awaited)
    }

    pub(super) fn save(&self) -> StoredAssembly {
        let known = |id: &u64| Some((*id, self.executions.get(id)?.clone()));
        StoredAssembly {
            executions: self.order.iter().filter_map(known).collect(),
            n_lost: self.n_lost,
        }
    }

    pub(super) fn load(stored: &StoredAssembly) -> Self {
        let skipped = stored.executions.len().saturating_sub(MAX_EXECUTIONS);
        let executions = || stored.executions.iter().skip(skipped);
        Self {
            order: executions().map(|(id, _)| *id).collect(),
            executions: executions().cloned().collect(),
            n_lost: stored.n_lost,
        }
    }
}

/// The same for the same ids in every process; it is stored.
fn id(trace: &str, span: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (trace, span).hash(&mut hasher);
    hasher.finish()
}

/// Shared texts are stored as texts.
mod texts {
    use super::Arc;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        texts: &[Arc<str>],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(texts.iter().map(|text| &**text))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Arc<str>>, D::Error> {
        let texts = Vec::<String>::deserialize(d)?;
        Ok(texts.into_iter().map(Arc::from).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Timestamp;
    use std::time::Duration;

    fn span(trace: &str, span: u64, parent: u64) -> SpanRecord {
        let mut record = SpanRecord::new(Timestamp::EPOCH, Duration::ZERO, "op");
        (record.trace, record.span, record.parent) = (Some(trace.to_owned()), span, parent);
        record
    }

    fn operation(name: &str) -> Operation {
        (Target::service("shop").unwrap(), name.to_owned())
    }

    #[test]
    fn calls_find_their_caller_whichever_ends_first() {
        let mut assembly = Assembly::default();
        for child in [2, 3] {
            let told = assembly.take(&span("t", child, 1), &operation("child"));
            assert!(told.calls.is_empty() && told.late.is_none());
        }
        // The same ids in another trace are other spans.
        assert!(
            assembly
                .take(&span("u", 1, 0), &operation("other"))
                .calls
                .is_empty()
        );
        let told = assembly.take(&span("t", 1, 0), &operation("parent"));
        assert_eq!(told.calls, ["shop child".into(), "shop child".into()]);
        let told = assembly.take(&span("t", 4, 1), &operation("late"));
        assert_eq!(told.late, Some((operation("parent"), "shop late".into())));
        let untraced = SpanRecord::new(Timestamp::EPOCH, Duration::ZERO, "op");
        assert!(assembly.take(&untraced, &operation("op")).late.is_none());
    }

    #[test]
    fn what_waits_in_vain_is_forgotten_and_counted_and_the_rest_is_stored() {
        let mut assembly = Assembly::default();
        for trace in 0..20_000 {
            assembly.take(&span(&trace.to_string(), 2, 1), &operation("child"));
        }
        assert_eq!(assembly.executions.len(), MAX_EXECUTIONS);
        assert_eq!(assembly.order.len(), MAX_EXECUTIONS);
        // Two ids for each trace: the caller and the call.
        assert_eq!(assembly.n_lost(), (40_000 - MAX_EXECUTIONS as u64) / 2);
        for _ in 0..2 * MAX_CALLS {
            assembly.take(&span("wide", 2, 1), &operation("child"));
        }
        let stored = serde_json::to_string(&assembly.save()).unwrap();
        let mut restored = Assembly::load(&serde_json::from_str(&stored).unwrap());
        let told = restored.take(&span("wide", 1, 0), &operation("parent"));
        assert_eq!(told.calls.len(), MAX_CALLS);
    }
}
