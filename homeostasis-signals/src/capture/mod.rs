//! What the process sees of itself: `tracing` events and spans, panics, and hand-fed series.
//!
//! Everything here writes into one [`SignalSink`](homeostasis_core::signal::SignalSink) and is
//! passive: it changes neither what other `tracing` layers see nor what happens on a panic.

mod bounded;
mod context;
mod environment;
mod fields;
mod panic_hook;
mod reentry;
mod series_handle;
mod tracing_layer;

pub use context::{DiagnosticContext, EnteredContext, InContext};
pub use environment::Environment;
pub use panic_hook::PanicHook;
pub use series_handle::SeriesHandle;
pub use tracing_layer::TracingLayer;
