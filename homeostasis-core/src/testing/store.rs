//! For implementors and users of [`Store`](crate::port::Store): the conformance suite, and a store
//! that crashes on demand.

mod cases;
mod conformance;
mod crash_store;
mod query_cases;

pub use conformance::conformance;
pub use crash_store::{CrashPoint, CrashStore};
