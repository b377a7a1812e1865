//! The contract of a probe.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::signal::{HealthReport, HealthState, HealthTier};
use homeostasis_core::{Context, Target, Timestamp};

use super::reading::Reading;

/// Why a probe gave no reading of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missed {
    /// It did not answer within its time limit.
    TimedOut(Duration),
    /// It panicked; the text is the panic's message.
    Panicked(String),
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut(limit) => write!(f, "timeout: no answer within {limit:?}"),
            Self::Panicked(message) => write!(f, "probe panicked: {message}"),
        }
    }
}

/// A question about one target that is asked again and again.
///
/// # Expected flow
/// A [`ProbeSchedule`](super::ProbeSchedule) calls [`Probe::probe`] about every
/// [`Probe::interval`] and writes the reading into the sink. A finding, also a bad one, is a
/// reading and not an error.
///
/// # Guarantees
/// A probe is never asked again while it is being asked. Past [`Probe::timeout`] its future is
/// dropped, and a panic is caught; then [`Probe::missed`] gives the reading. A failure is asked
/// about again up to [`Probe::retries`] times before it is reported.
///
/// # Assumptions
/// A probe changes nothing in the world, does not block its thread for long, takes time from the
/// context's clock, and is cancel-safe at every `.await`. Names are unique per target.
#[async_trait]
pub trait Probe: Debug + Send + Sync {
    /// What it is called in reports; stable.
    fn name(&self) -> &str;

    /// Asks once.
    async fn probe(&self, cx: &Context) -> Reading;

    /// Whom it is about, if about one.
    fn target(&self) -> Option<&Target> {
        None
    }

    /// How deep it looks; default shallow. The other defaults follow from it:
    /// [`HealthTier::plan`] has them.
    fn tier(&self) -> HealthTier {
        HealthTier::Shallow
    }

    /// How often it is asked; by default as its tier says. Less than 10 ms counts as 10 ms.
    fn interval(&self) -> Duration {
        self.tier().plan().interval
    }

    /// How long one answer may take; by default as its tier says: 100 ms, 5 s or 30 s.
    fn timeout(&self) -> Duration {
        self.tier().plan().timeout
    }

    /// How often it is asked again before a failure is reported; by default as its tier says: 3, 2
    /// or 0 times.
    fn retries(&self) -> u32 {
        self.tier().plan().retries
    }

    /// Whether its readings hold a health report of its target, under its name; by default if it has
    /// a target. A probe that only measures says no: nobody waits for its report, and a missing
    /// answer makes nobody ill.
    fn reports_health(&self) -> bool {
        self.target().is_some()
    }

    /// The reading when there was no answer; by default an unhealthy report about the target, and
    /// nothing of a probe that [reports no health](Self::reports_health).
    fn missed(&self, at: Timestamp, why: &Missed) -> Reading {
        let Some(target) = self.target().filter(|_| self.reports_health()) else {
            return Reading::default();
        };
        let state = HealthState::Unhealthy;
        let report = HealthReport::new(at, target.clone(), self.name(), state);
        Reading::default().reporting(report.saying(why.to_string()))
    }
}

const _: fn(&dyn Probe) = |_| {};

macro_rules! forward {
    ($pointer:ident) => {
        #[async_trait]
        impl<T: Probe + ?Sized> Probe for $pointer<T> {
            fn name(&self) -> &str {
                (**self).name()
            }

            async fn probe(&self, cx: &Context) -> Reading {
                (**self).probe(cx).await
            }

            fn target(&self) -> Option<&Target> {
                (**self).target()
            }

            fn interval(&self) -> Duration {
                (**self).interval()
            }

            fn tier(&self) -> HealthTier {
                (**self).tier()
            }

            fn timeout(&self) -> Duration {
                (**self).timeout()
            }

            fn retries(&self) -> u32 {
                (**self).retries()
            }

            fn reports_health(&self) -> bool {
                (**self).reports_health()
            }

            fn missed(&self, at: Timestamp, why: &Missed) -> Reading {
                (**self).missed(at, why)
            }
        }
    };
}

forward!(Arc);
forward!(Box);
