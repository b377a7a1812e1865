//! Which execution made which call: spans of a trace put together, in bounded memory.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use homeostasis_core::Target;
use homeostasis_core::signal::SpanRecord;
use serde::{Deserialize, Serialize};

use crate::hash;

/// Executions that are remembered or waited for.
const MAX_EXECUTIONS: usize = 16_384;
/// Calls of one execution that are kept until it ends.
const MAX_CALLS: usize = 256;
/// Calls that are kept of all executions together.
const MAX_WAITING: usize = 131_072;

/// An operation and whose it is.
pub(super) type Operation = (Target, String);

/// An operation that is watched; all that speaks of it shares it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Watched {
    pub(super) operation: Operation,
    /// As the name of a call.
    call: Arc<str>,
}

impl Watched {
    pub(super) fn new(operation: Operation) -> Arc<Self> {
        let call = format!("{} {}", operation.0, operation.1).into();
        Arc::new(Self { operation, call })
    }
}

/// Puts calls and their callers together by the ids of their spans.
///
/// A call mostly ends before its caller, and waits for it; one that ends after its caller finds it among those
/// remembered.
/// When 16 384 executions are remembered or waited for, or 131 072 calls wait, the execution that was named first is
/// forgotten, with the calls that wait for it: they are counted as lost, and so are those beyond 256 of one execution.
/// An execution takes about 100 bytes and a call 8, because names are shared: less than 4 MB together.
#[derive(Debug, Clone, Default)]
pub(super) struct Assembly {
    executions: HashMap<u64, Execution>,
    /// In the order in which they were named first.
    order: VecDeque<u64>,
    n_waiting: usize,
    n_lost: u64,
}

#[derive(Debug, Clone)]
enum Execution {
    /// It has not ended; these are its calls so far.
    Awaited(Vec<Arc<Watched>>),
    /// It has ended.
    Ended(Arc<Watched>),
}

/// What a span tells about calls.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The calls of the span itself.
    pub(super) calls: Vec<Arc<str>>,
    /// Its caller, if that has ended before it, and the span as a call.
    pub(super) late: Option<(Arc<Watched>, Arc<str>)>,
}

/// As it is stored: executions in order, operations once and then by their place.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredAssembly {
    operations: Vec<Operation>,
    executions: Vec<(u64, StoredExecution)>,
    n_lost: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredExecution {
    Awaited(Vec<usize>),
    Ended(usize),
}

impl Assembly {
    /// Calls whose caller was never seen, or seen too late, or made too many.
    pub(super) fn n_lost(&self) -> u64 {
        self.n_lost
    }

    /// Takes a span of an operation.
    pub(super) fn take(&mut self, span: &SpanRecord, watched: &Arc<Watched>) -> Told {
        let mut told = Told::default();
        let Some(trace) = &span.trace else {
            return told;
        };
        if span.parent != 0 && span.parent != span.span {
            while self.n_waiting >= MAX_WAITING && !self.order.is_empty() {
                self.forget_first();
            }
            match self.entry(id(trace, span.parent)) {
                Execution::Awaited(calls) if calls.len() < MAX_CALLS => {
                    calls.push(Arc::clone(watched));
                    self.n_waiting += 1;
                }
                Execution::Awaited(_) => self.n_lost += 1,
                Execution::Ended(caller) => {
                    told.late = Some((Arc::clone(caller), Arc::clone(&watched.call)));
                }
            }
        }
        if span.span != 0 {
            let own = self.entry(id(trace, span.span));
            let before = std::mem::replace(own, Execution::Ended(Arc::clone(watched)));
            if let Execution::Awaited(calls) = before {
                self.n_waiting -= calls.len();
                told.calls = calls.iter().map(|call| Arc::clone(&call.call)).collect();
            }
        }
        told
    }

    fn entry(&mut self, id: u64) -> &mut Execution {
        if !self.executions.contains_key(&id) {
            while self.order.len() >= MAX_EXECUTIONS {
                self.forget_first();
            }
            self.order.push_back(id);
        }
        let awaited = || Execution::Awaited(Vec::new());
        self.executions.entry(id).or_insert_with(awaited)
    }

    fn forget_first(&mut self) {
        let first = self.order.pop_front();
        let gone = first.and_then(|first| self.executions.remove(&first));
        if let Some(Execution::Awaited(calls)) = gone {
            self.n_waiting -= calls.len();
            self.n_lost = self.n_lost.saturating_add(calls.len() as u64);
        }
    }

    pub(super) fn save(&self) -> StoredAssembly {
        let mut places = BTreeMap::new();
        let mut operations = Vec::new();
        let mut place_of = |watched: &Arc<Watched>| {
            *places.entry(Arc::clone(watched)).or_insert_with(|| {
                operations.push(watched.operation.clone());
                operations.len() - 1
            })
        };
        let mut executions = Vec::with_capacity(self.order.len());
        for id in &self.order {
            executions.push(match self.executions.get(id) {
                Some(Execution::Awaited(calls)) => {
                    let places = calls.iter().map(&mut place_of).collect();
                    (*id, StoredExecution::Awaited(places))
                }
                Some(Execution::Ended(watched)) => (*id, StoredExecution::Ended(place_of(watched))),
                None => continue,
            });
        }
        StoredAssembly {
            operations,
            executions,
            n_lost: self.n_lost,
        }
    }

    /// What is beyond the bounds, or names no operation, is left out.
    pub(super) fn load(stored: StoredAssembly) -> Self {
        let operations: Vec<_> = stored.operations.into_iter().map(Watched::new).collect();
        let watched = |place: usize| operations.get(place).map(Arc::clone);
        let mut loaded = Self {
            n_lost: stored.n_lost,
            ..Self::default()
        };
        let skipped = stored.executions.len().saturating_sub(MAX_EXECUTIONS);
        for (id, execution) in stored.executions.into_iter().skip(skipped) {
            let execution = match execution {
                StoredExecution::Awaited(places) => {
                    let room = MAX_CALLS.min(MAX_WAITING - loaded.n_waiting);
                    let calls = places.into_iter().filter_map(watched).take(room);
                    Execution::Awaited(calls.collect())
                }
                StoredExecution::Ended(place) => match watched(place) {
                    Some(watched) => Execution::Ended(watched),
                    None => continue,
                },
            };
            if loaded.executions.contains_key(&id) {
                continue;
            }
            if let Execution::Awaited(calls) = &execution {
                loaded.n_waiting += calls.len();
            }
            loaded.order.push_back(id);
            loaded.executions.insert(id, execution);
        }
        loaded
    }
}

/// The same for the same ids in every process; it is stored.
fn id(trace: &str, span: u64) -> u64 {
    hash::of([trace.as_bytes(), &span.to_le_bytes()])
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

    fn operation(name: &str) -> Arc<Watched> {
        Watched::new((Target::service("shop").unwrap(), name.to_owned()))
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
        let mut restored = Assembly::load(serde_json::from_str(&stored).unwrap());
        assert_eq!(restored.n_waiting, assembly.n_waiting);
        let told = restored.take(&span("wide", 1, 0), &operation("parent"));
        assert_eq!(told.calls.len(), MAX_CALLS);
    }

    /// The story of a regression: 16 384 executions with 256 calls each, every call with a name of its own, were a
    /// gigabyte.
    #[test]
    fn executions_that_never_end_hold_a_bounded_number_of_calls_and_no_names() {
        let mut assembly = Assembly::default();
        let child = operation(&"long".repeat(1000));
        let n_calls = 1000 * MAX_CALLS;
        for trace in 0..1000 {
            // Without ids of their own calls are not executions to be remembered.
            let call = span(&trace.to_string(), 0, 1);
            for _ in 0..MAX_CALLS {
                assembly.take(&call, &child);
            }
        }
        assert_eq!(assembly.n_waiting, MAX_WAITING);
        let waiting = |execution: &Execution| match execution {
            Execution::Awaited(calls) => calls.len(),
            Execution::Ended(_) => 0,
        };
        let held: usize = assembly.executions.values().map(waiting).sum();
        assert_eq!(held, MAX_WAITING, "the account is right");
        let lost = assembly.n_lost();
        assert_eq!(
            lost,
            (n_calls - MAX_WAITING) as u64,
            "what was left out is counted"
        );
        let told = assembly.take(&span("999", 1, 0), &operation("parent"));
        assert_eq!(told.calls.len(), MAX_CALLS, "the newest are kept");
        assert!(told.calls.iter().all(|call| Arc::ptr_eq(call, &child.call)));
        let stored = serde_json::to_string(&assembly.save()).unwrap();
        assert!(stored.len() < 2_000_000, "{} bytes", stored.len());
    }

    #[test]
    fn a_stored_assembly_beyond_the_bounds_is_cut_and_what_names_nothing_left_out() {
        let calls = vec![0; 2 * MAX_CALLS];
        let wide = |id| (id, StoredExecution::Awaited(calls.clone()));
        let mut executions: Vec<_> = (0..600).map(wide).collect();
        executions.push((600, StoredExecution::Ended(7)));
        executions.push((601, StoredExecution::Awaited(vec![7])));
        executions.push(wide(0));
        let loaded = Assembly::load(StoredAssembly {
            operations: vec![operation("child").operation.clone()],
            executions,
            n_lost: u64::MAX,
        });
        assert_eq!(loaded.n_waiting, MAX_WAITING);
        assert_eq!((loaded.order.len(), loaded.executions.len()), (601, 601));
        let mut full = loaded;
        full.take(&span("t", 2, 1), &operation("child"));
        assert_eq!(full.n_waiting, MAX_WAITING - MAX_CALLS + 1);
    }
}
