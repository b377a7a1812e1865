//! Traffic: how requests to a service are shared among its slots.

mod memory_router;
mod weights;

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use memory_router::{MemoryRouter, OnItsWay, Route, RouteFollower};
pub use weights::Weights;

use crate::error::stage_error;
use crate::unit::Ratio;

stage_error!(
    /// Why traffic was not shifted, or not wholly: what is in force then is read back.
    TrafficError
);

/// Copies of requests for a slot whose answers nobody gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// Who gets the copies.
    pub slot: String,
    /// The share of requests that are copied.
    pub share: Ratio,
}

/// Shares the requests to services among their slots.
///
/// Few routers can change everything in one instant: several servers are told one after the other, several
/// processes begin with a new table when each gets to it. What is promised is what a rollout needs.
///
/// *Assumptions:*
/// - **Somebody always serves.** While weights are being set, a request meets the old shares, the new ones
///   or shares between them, and at no moment none: what grows is raised, and seen to take requests, before
///   what shrinks is lowered. Where that is not seen nothing is lowered, and it is an error.
/// - **Nothing is cut.** A request that is on its way to a slot is answered by it, also when its weight is
///   zero by now.
/// - **Read back.** [`weights`](Self::weights) tells what is in force where requests are routed, and not
///   what was asked for. Its numbers need not be those that were set; shares are within one point
///   ([`Weights::distance`] is at most 0.01).
/// - **Repeatable.** Setting the same weights again changes nothing. A setting that was cut short anywhere
///   leaves what `weights` tells, and setting again, the same or others, mends it.
///
/// Each router says which of these it keeps only in part. Two that set the weights of one service at the
/// same time are kept apart by the lease on it, not here.
#[async_trait]
pub trait TrafficRouter: fmt::Debug + Send + Sync {
    /// Sets all weights of `service`; slots that are not named get nothing. It returns when the weights
    /// are in force.
    ///
    /// # Errors
    /// [`TrafficError::Invalid`] if there is no such service or slot: then nothing was changed.
    /// Otherwise what was set so far is read back.
    async fn set_weights(&self, service: &str, weights: &Weights) -> Result<(), TrafficError>;

    /// The weights in force; `None` if nothing is routed for `service`.
    async fn weights(&self, service: &str) -> Result<Option<Weights>, TrafficError>;

    /// Copies a share of the requests to a slot and drops its answers; `None` ends that.
    ///
    /// # Errors
    /// [`TrafficError::Invalid`] for any mirror, if the router cannot copy requests: the default.
    async fn set_mirror(&self, service: &str, mirror: Option<&Mirror>) -> Result<(), TrafficError> {
        let Some(Mirror { slot, share }) = mirror else {
            return Ok(());
        };
        let detail = format!("{share} to {slot:?}, expected none: this router copies no requests");
        Err(TrafficError::invalid(
            format!("mirror of {service}"),
            detail,
        ))
    }

    /// The mirror in force.
    async fn mirror(&self, service: &str) -> Result<Option<Mirror>, TrafficError> {
        let _ = service;
        Ok(None)
    }

    /// How many requests are on their way to `slot`: one that was drained may be stopped when none is.
    /// `None` if the router cannot tell, the default; then only waiting helps.
    async fn in_flight(&self, service: &str, slot: &str) -> Result<Option<u64>, TrafficError> {
        let _ = (service, slot);
        Ok(None)
    }
}

const _: fn(&dyn TrafficRouter) = |_| {};

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Plain;

    #[async_trait]
    impl TrafficRouter for Plain {
        async fn set_weights(&self, _: &str, _: &Weights) -> Result<(), TrafficError> {
            Ok(())
        }

        async fn weights(&self, _: &str) -> Result<Option<Weights>, TrafficError> {
            Ok(None)
        }
    }

    #[tokio::test]
    async fn a_router_that_cannot_copy_says_so_and_ends_what_is_not_there() {
        let mirror = Mirror {
            slot: "canary".to_owned(),
            share: Ratio::saturating(0.1),
        };
        let error = Plain.set_mirror("orders", Some(&mirror)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"mirror of orders: 10.0 % to "canary", expected none: this router copies no requests"#
        );
        Plain.set_mirror("orders", None).await.unwrap();
        assert_eq!(Plain.mirror("orders").await.unwrap(), None);
        assert_eq!(Plain.in_flight("orders", "canary").await.unwrap(), None);
    }
}
