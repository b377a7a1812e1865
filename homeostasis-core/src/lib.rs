#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod condition;
mod context;
pub mod cycle;
mod digest;
pub mod document;
mod error;
mod flags;
mod id;
mod observe;
pub mod policy;
pub mod port;
pub mod record;
mod rng;
#[cfg(feature = "schema")]
mod schema;
mod secret;
pub mod signal;
pub mod stage;
mod target;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;
mod unit;
mod violation;

pub use async_trait::async_trait;
pub use context::{Cancellation, Context};
pub use cycle::Incident;
pub use digest::Digest;
pub use error::{BoxError, ErrorKind, ErrorReport};
pub use flags::{Flags, KillSwitch, Mode};
pub use id::{IdError, IdempotencyKey, IncidentId, NameError, NodeId, PlanId, RunId, TenantId};
pub use observe::{NoObservations, Observations, SeenCalls, SeriesWindow, TargetScope, seen_calls};
pub use rng::Rng;
pub use secret::Secret;
pub use target::{ServiceFacts, ServiceName, Target, Topology};
pub use time::{BoxFuture, Clock, Elapsed, ManualClock, Timestamp, TimestampError, timeout};
pub use unit::{Confidence, RangeError, Ratio, Score};
pub use violation::{ConfigError, Violation, Violations};
