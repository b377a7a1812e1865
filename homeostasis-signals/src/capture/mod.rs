//! What the process sees of itself: `tracing` events and spans, panics, its metrics, the requests
//! it answers, and hand-fed series.
//!
//! Everything here writes into one [`SignalSink`](homeostasis_core::signal::SignalSink) and is
//! passive: it changes neither what other `tracing` layers, recorders and services see nor what
//! happens on a panic.

mod bounded;
mod context;
mod environment;
mod fields;
#[cfg(feature = "metrics")]
mod metrics_recorder;
mod panic_hook;
mod reentry;
#[cfg(feature = "tower")]
mod request_counts;
#[cfg(feature = "tower")]
mod request_layer;
#[cfg(feature = "tower")]
mod route;
mod series_handle;
#[cfg(any(feature = "metrics", feature = "tower"))]
mod sketch;
mod tracing_layer;

pub use context::{DiagnosticContext, EnteredContext, InContext};
pub use environment::Environment;
#[cfg(feature = "metrics")]
pub use metrics_recorder::MetricsRecorder;
pub use panic_hook::PanicHook;
#[cfg(feature = "tower")]
pub use request_counts::RouteCounts;
#[cfg(feature = "tower")]
pub use request_layer::{CountRequests, CountedResponse, RequestLayer};
#[cfg(feature = "tower")]
pub use route::RequestHead;
pub use series_handle::SeriesHandle;
pub use tracing_layer::TracingLayer;
