//! For implementors and users of [`Store`](crate::port::Store): the conformance suite, and stores
//! that crash or fail on demand.

mod cases;
mod conformance;
mod crash_store;
mod faulty_store;
mod hooked_store;
mod query_cases;

pub use conformance::conformance;
pub use crash_store::{Crash, CrashPoint, CrashStore};
pub use faulty_store::{Faults, FaultyStore};
pub use hooked_store::{HookedStore, WriteHook};
