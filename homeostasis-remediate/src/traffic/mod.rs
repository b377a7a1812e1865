//! Who shifts the traffic: routers over the engines in front of a service, and one in the process.
//!
//! Each is a [`TrafficRouter`](homeostasis_core::port::TrafficRouter) and says what it keeps of the
//! port's promises.

mod by_service;
#[cfg(feature = "tower")]
mod slot_meter;
#[cfg(any(
    all(feature = "haproxy", unix),
    all(feature = "process", target_os = "linux")
))]
mod slots;
#[cfg(test)]
#[cfg(any(
    all(feature = "haproxy", unix),
    all(feature = "process", target_os = "linux")
))]
pub(crate) mod testing;
#[cfg(feature = "tower")]
mod weighted_service;

pub use by_service::RouterByService;
#[cfg(feature = "tower")]
pub use slot_meter::{SlotInterval, SlotMeter};
#[cfg(any(
    all(feature = "haproxy", unix),
    all(feature = "process", target_os = "linux")
))]
pub(crate) use slots::{apportion, grows, slot_violations, sums};
#[cfg(feature = "tower")]
pub use weighted_service::{CopyLimits, RoutedFuture, WeightedService};

#[cfg(all(feature = "haproxy", unix))]
pub use crate::action::haproxy::{HaproxyRouter, HaproxySlots};
#[cfg(all(feature = "process", target_os = "linux"))]
pub use crate::action::nginx::{NginxRouter, NginxSlots};
#[cfg(all(feature = "kube", target_os = "linux"))]
pub use crate::action::program::{HttpRouteRouter, HttpRouteSlots};
