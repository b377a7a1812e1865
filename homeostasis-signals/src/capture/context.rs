//! Diagnostic context: what the program is doing, attached to everything recorded meanwhile.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use homeostasis_core::signal::Fields;
use pin_project_lite::pin_project;

use super::bounded::{cut_at, cut_name, text_of};

/// The most fields of a context, those of enclosing contexts included.
const MAX_FIELDS: usize = 32;
/// The longest name and the longest value, in bytes.
const MAX_NAME_BYTES: usize = 128;
const MAX_VALUE_BYTES: usize = 1024;

thread_local! {
    /// The fields of the innermost context this thread is in, enclosing ones merged in.
    static CURRENT: RefCell<Option<Arc<Fields>>> = const { RefCell::new(None) };
}

/// What the program is doing: fields that are attached to every log record, span and panic that
/// [`TracingLayer`](super::TracingLayer) and [`PanicHook`](super::PanicHook) record inside.
///
/// A context is data; it takes effect in [`DiagnosticContext::scope`], [`DiagnosticContext::enter`]
/// or, across `.await`, in [`DiagnosticContext::instrument`], which follows the future from thread
/// to thread. Contexts nest: inside, the fields of all of them apply, and of the same name the
/// innermost wins; a field of the record itself wins over all. A field `request_id`,
/// `correlation_id` or `trace_id` also is the correlation id of what is recorded inside.
/// A task that is spawned starts without context: hand it [`DiagnosticContext::current`].
///
/// *Bounds:* 32 fields, further names are left out (of a nested context, its enclosing ones' are);
/// names are cut at 128 bytes, values at the end of the last word within 1 KiB.
///
/// *Cost:* entering is a few nanoseconds plus the merge when contexts nest; a future pays the merge
/// once, and two pointer exchanges per poll. Measurements are not touched.
///
/// # Examples
/// ```
/// # use std::sync::Arc;
/// # use homeostasis::core::signal::{Signal, VecSink};
/// # use homeostasis::core::{ManualClock, Timestamp};
/// # use homeostasis::signals::TracingLayer;
/// # use tracing_subscriber::prelude::*;
/// use homeostasis::signals::DiagnosticContext;
/// # let sink = Arc::new(VecSink::default());
/// # let layer = TracingLayer::new(sink.clone(), Arc::new(ManualClock::new(Timestamp::EPOCH)));
/// # let _subscriber = tracing_subscriber::registry().with(layer).set_default();
///
/// async fn charge() {
///     tracing::error!("card refused");
/// }
///
/// let payment = DiagnosticContext::new("process_payment").with("order_id", 4711);
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(
/// payment.instrument(charge())
/// # );
/// // … and the record of the error says which order:
/// # let signals = sink.take();
/// # let [Signal::Log(record)] = &signals[..] else { panic!("{signals:?}") };
/// assert_eq!(record.fields["operation"], "process_payment");
/// assert_eq!(record.fields["order_id"], "4711");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiagnosticContext {
    fields: Arc<Fields>,
}

impl DiagnosticContext {
    /// A context whose field `operation` says what is being done.
    pub fn new(operation: impl fmt::Display) -> Self {
        Self::default().with("operation", operation)
    }

    /// Everything that applies on this thread now; without fields outside of every context.
    pub fn current() -> Self {
        Self {
            fields: current().unwrap_or_default(),
        }
    }

    /// The same with one field more, or another value of it.
    ///
    /// A value whose `Display` panics gives a notice instead of itself.
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl fmt::Display) -> Self {
        let mut name = name.into();
        if name.len() > MAX_NAME_BYTES {
            name = cut_name(&name, MAX_NAME_BYTES).into();
        }
        if self.fields.len() < MAX_FIELDS || self.fields.contains_key(&name) {
            let text = cut_at(&text_of(format_args!("{value}")), MAX_VALUE_BYTES);
            Arc::make_mut(&mut self.fields).insert(name, text);
        }
        self
    }

    /// Its fields, without those of contexts around it.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// Does `work` inside.
    pub fn scope<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.enter();
        work()
    }

    /// Applies on this thread until the guard is dropped.
    ///
    /// Guards are dropped in the reverse order of entering, as local variables are. In `async`
    /// code use [`DiagnosticContext::instrument`]: a guard held across `.await` would apply to
    /// whatever the thread does meanwhile; it is not `Send` to make that mistake hard.
    pub fn enter(&self) -> EnteredContext {
        let outer = current();
        let merged = merge(&self.fields, outer.as_ref());
        EnteredContext::replacing(merged)
    }

    /// Applies whenever the future is polled, on whatever thread, and when it is dropped.
    pub fn instrument<F: Future>(self, future: F) -> InContext<F> {
        InContext {
            own: self.fields,
            outer: None,
            merged: None,
            future: Some(future),
        }
    }
}

/// The fields that apply on this thread; `None` also while the thread is being torn down.
pub(super) fn current() -> Option<Arc<Fields>> {
    // Copying an `Arc` runs no foreign code, so the cell is never found borrowed.
    CURRENT
        .try_with(|current| current.try_borrow().ok()?.as_ref().map(Arc::clone))
        .ok()
        .flatten()
}

fn exchange(fields: Option<Arc<Fields>>) -> Option<Arc<Fields>> {
    CURRENT
        .try_with(|current| current.replace(fields))
        .unwrap_or_default()
}

/// `own` and what of `outer` it does not name itself.
fn merge(own: &Arc<Fields>, outer: Option<&Arc<Fields>>) -> Arc<Fields> {
    let Some(outer) = outer.filter(|outer| !outer.is_empty()) else {
        return Arc::clone(own);
    };
    if own.is_empty() {
        return Arc::clone(outer);
    }
    let mut merged = Fields::clone(own);
    merged.fill_from(outer);
    let surplus = merged.len().saturating_sub(MAX_FIELDS);
    let left_out: Vec<String> = merged
        .iter()
        .map(|(name, _)| name)
        .filter(|name| !own.contains_key(name))
        .take(surplus)
        .map(str::to_owned)
        .collect();
    for name in left_out {
        merged.remove(&name);
    }
    Arc::new(merged)
}

/// Holds a thread in a [`DiagnosticContext`]; gives back what was before when it is dropped.
#[derive(Debug)]
#[must_use = "the context ends when the guard is dropped"]
pub struct EnteredContext {
    before: Option<Arc<Fields>>,
    not_send: PhantomData<*const ()>,
}

impl EnteredContext {
    fn replacing(fields: Arc<Fields>) -> Self {
        Self {
            before: exchange(Some(fields)),
            not_send: PhantomData,
        }
    }
}

impl Drop for EnteredContext {
    fn drop(&mut self) {
        exchange(self.before.take());
    }
}

pin_project! {
    /// A future in a [`DiagnosticContext`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct InContext<F> {
        own: Arc<Fields>,
        // The context around us when `merged` was made.
        outer: Option<Arc<Fields>>,
        merged: Option<Arc<Fields>>,
        // Empty only while it is being dropped, which the context applies to as well.
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for InContext<F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            let fields = this.merged.take().unwrap_or_else(|| Arc::clone(this.own));
            let _entered = EnteredContext::replacing(fields);
            let mut future = this.future;
            future.set(None);
        }
    }
}

impl<F: Future> Future for InContext<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let outer = current();
        let merged = match this.merged {
            Some(merged) if same(this.outer.as_ref(), outer.as_ref()) => Arc::clone(merged),
            _ => {
                let merged = merge(this.own, outer.as_ref());
                *this.outer = outer;
                Arc::clone(this.merged.insert(merged))
            }
        };
        let _entered = EnteredContext::replacing(merged);
        match this.future.as_pin_mut() {
            Some(future) => future.poll(cx),
            // Only the drop empties it, and nobody polls what is dropped.
            None => Poll::Pending,
        }
    }
}

fn same(a: Option<&Arc<Fields>>, b: Option<&Arc<Fields>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Vec<(String, String)> {
        let fields = current().unwrap_or_default();
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        fields.iter().map(owned).collect()
    }

    fn has(pairs: &[(&str, &str)]) {
        let expected: Vec<_> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(now(), expected);
    }

    #[test]
    fn contexts_nest_the_innermost_wins_and_a_panic_leaves_none_behind() {
        let outer = DiagnosticContext::new("checkout").with("order_id", 7);
        let inner = DiagnosticContext::new("charge").with("attempt", 2);
        outer.scope(|| {
            has(&[("operation", "checkout"), ("order_id", "7")].map(|p| p));
            let failed = std::panic::catch_unwind(|| {
                inner.scope(|| {
                    has(&[("attempt", "2"), ("operation", "charge"), ("order_id", "7")]);
                    std::panic::resume_unwind(Box::new(()));
                });
            });
            assert!(failed.is_err());
            has(&[("operation", "checkout"), ("order_id", "7")]);
        });
        has(&[]);
        assert_eq!(inner.fields().len(), 2);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_future_keeps_its_context_from_thread_to_thread_and_lends_it_to_no_other() {
        let mut tasks = tokio::task::JoinSet::new();
        for order in 0..64 {
            let context = DiagnosticContext::new("checkout").with("order_id", order);
            tasks.spawn(context.instrument(async move {
                let own = order.to_string();
                for _ in 0..50 {
                    has(&[("operation", "checkout"), ("order_id", &own)]);
                    tokio::task::yield_now().await;
                    let step = DiagnosticContext::new("charge");
                    step.instrument(async {
                        tokio::task::yield_now().await;
                        has(&[("operation", "charge"), ("order_id", &own)]);
                    })
                    .await;
                }
            }));
            tasks.spawn(async {
                for _ in 0..50 {
                    has(&[]);
                    tokio::task::yield_now().await;
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
    }

    #[tokio::test]
    async fn a_future_built_outside_takes_the_context_it_is_polled_in() {
        let inner = DiagnosticContext::default()
            .with("step", 1)
            .instrument(async {
                has(&[("operation", "outer"), ("step", "1")]);
                tokio::task::yield_now().await;
                has(&[("operation", "outer"), ("step", "1")]);
            });
        DiagnosticContext::new("outer").instrument(inner).await;

        let carried = DiagnosticContext::new("spawner").scope(DiagnosticContext::current);
        carried
            .instrument(async { has(&[("operation", "spawner")]) })
            .await;
        has(&[]);
    }

    #[tokio::test]
    async fn a_future_that_is_dropped_early_is_dropped_inside() {
        struct Last(Arc<std::sync::Mutex<Vec<(String, String)>>>);
        impl Drop for Last {
            fn drop(&mut self) {
                *self.0.lock().unwrap() = now();
            }
        }
        let seen = Arc::default();
        let last = Last(Arc::clone(&seen));
        drop(DiagnosticContext::new("upload").instrument(async move {
            let _last = last;
            std::future::pending::<()>().await;
        }));
        assert_eq!(seen.lock().unwrap()[0].1, "upload");
        has(&[]);
    }

    #[test]
    fn fields_and_their_texts_are_bounded_and_the_inner_ones_stay() {
        let many = |prefix: char| {
            (0..40).fold(DiagnosticContext::default(), |context, n| {
                context.with(format!("{prefix}{n:02}"), "é".repeat(5000))
            })
        };
        let outer = many('a').with("a01", "changed when full");
        assert_eq!(outer.fields().len(), MAX_FIELDS);
        assert_eq!(outer.fields()["a01"], "changed when full");
        assert!(outer.fields()["a00"].len() <= MAX_VALUE_BYTES + 3);
        let inner = many('b');
        outer.scope(|| inner.scope(|| assert_eq!(current().unwrap(), inner.fields)));
        let small = DiagnosticContext::new("x");
        outer.scope(|| {
            small.scope(|| {
                let fields = current().unwrap();
                assert_eq!(
                    (fields.len(), fields.get("operation")),
                    (MAX_FIELDS, Some("x"))
                );
            });
        });
        let long_name = DiagnosticContext::default().with("n".repeat(500), 1);
        assert!(
            long_name
                .fields()
                .iter()
                .all(|(name, _)| name.len() <= MAX_NAME_BYTES + 3)
        );
    }
}
