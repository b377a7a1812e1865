//! Traces: how long operations take, how often they fail, and whom they call.

mod assembly;
mod calls;
mod failures;
mod kernel;
mod latency;
mod per_operation;
mod sketch;

pub use calls::{OperationCalls, OperationCallsConfig};
pub use failures::{OperationFailures, OperationFailuresConfig};
pub use kernel::{OperationFinding, OperationKernel, OperationScore};
pub use latency::{OperationLatency, OperationLatencyConfig};
pub use per_operation::{OperationCounts, PerOperation, PerOperationConfig};
pub use sketch::QuantileSketch;
