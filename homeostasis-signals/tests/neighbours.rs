//! The layer beside other layers.
//!
//! `tracing` caches per call site, for the whole process, who is interested, and refreshes that
//! cache whenever any thread makes a subscriber. Counting evaluations is only meaningful without
//! such neighbours, so these tests have a process of their own and take turns in it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use homeostasis::core::signal::{SignalSink, VecSink};
use homeostasis::core::{ManualClock, Timestamp};
use homeostasis::signals::TracingLayer;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry;

static TURN: Mutex<()> = Mutex::new(());

fn layer(sink: &Arc<VecSink>) -> TracingLayer {
    TracingLayer::new(
        Arc::clone(sink) as Arc<dyn SignalSink>,
        Arc::new(ManualClock::new(Timestamp::EPOCH)),
    )
}

/// Counts what another layer gets to see.
#[derive(Debug, Default, Clone)]
struct Counting(Arc<AtomicU64>);

impl<S: Subscriber> Layer<S> for Counting {
    fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn other_layers_see_the_same_with_and_without_ours() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        tracing::trace!("t");
        tracing::debug!("d");
        tracing::error!("e");
    };
    let sink = Arc::new(VecSink::default());
    let ours = || layer(&sink).level(LevelFilter::ERROR);
    let (alone, plain, filtered) = (
        Counting::default(),
        Counting::default(),
        Counting::default(),
    );
    tracing::subscriber::with_default(registry().with(alone.clone()), work);
    tracing::subscriber::with_default(registry().with(plain.clone()).with(ours()), work);
    tracing::subscriber::with_default(
        registry().with(filtered.clone()).with(ours().filtered()),
        work,
    );
    let seen = [&alone, &plain, &filtered].map(|layer| layer.0.load(Ordering::SeqCst));
    assert_eq!(seen, [3, 3, 3]);
    assert_eq!(sink.take().len(), 2);
}

#[test]
fn a_filtered_layer_leaves_unwanted_call_sites_unevaluated() {
    struct Costly<'a>(&'a AtomicU64);
    impl fmt::Display for Costly<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.fetch_add(1, Ordering::SeqCst);
            f.write_str("costly")
        }
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let evaluated = AtomicU64::new(0);
    let sink = Arc::new(VecSink::default());
    tracing::subscriber::with_default(registry().with(layer(&sink).filtered()), || {
        tracing::debug!(value = Costly(&evaluated).to_string());
        tracing::info!(value = Costly(&evaluated).to_string());
    });
    assert_eq!(evaluated.load(Ordering::SeqCst), 1);
    assert_eq!(sink.take().len(), 1);
}

#[test]
fn two_layers_of_ours_record_the_same_span_without_disturbing_each_other() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (first, second) = (Arc::new(VecSink::default()), Arc::new(VecSink::default()));
    tracing::subscriber::with_default(registry().with(layer(&first)).with(layer(&second)), || {
        drop(tracing::info_span!("request", request_id = "r-1").entered());
    });
    assert_eq!((first.take().len(), second.take().len()), (1, 1));
}
