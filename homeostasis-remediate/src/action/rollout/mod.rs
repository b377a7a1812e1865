//! What rollouts are made of: shifting traffic, and waiting for a verdict on who got it.

mod await_canary;
mod drain;
mod proof;
mod shift_traffic;

pub use await_canary::AwaitCanary;
pub(crate) use await_canary::LONGEST_WATCH;
#[cfg(test)]
pub(crate) use await_canary::tests::PlainAnalyst;
pub use drain::AwaitDrained;
pub use shift_traffic::ShiftTraffic;

use homeostasis_core::Target;
use serde_json::{Map, Value};

/// The service that the arguments name, else `target`.
fn service_of(target: &Target, args: &Map<String, Value>) -> Target {
    let service = args.get("service").and_then(Value::as_str);
    let named = service.and_then(|service| Target::service(service).ok());
    named.unwrap_or_else(|| target.clone())
}
