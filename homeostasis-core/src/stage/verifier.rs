//! Verifiers: did it help?

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::context::Context;
use crate::cycle::Incident;
use crate::error::stage_error;
use crate::record::{Plan, Verdict};
use crate::time::Timestamp;

stage_error!(
    /// Why a verifier gave no verdict.
    VerifyError
);

/// What is to be judged.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct VerifyRequest<'a> {
    /// The incident with its anomalies.
    pub incident: &'a Incident,
    /// What was done, with the criteria that were approved with it.
    pub plan: &'a Plan,
    /// When the first step began.
    pub started: Timestamp,
    /// When the last step ended.
    pub ended: Timestamp,
    /// Stretches of earlier trouble of the same services that the healer did something about: what
    /// ended in one of them did not end by itself.
    pub healed_before: &'a [(Timestamp, Timestamp)],
    /// By when there must be a verdict, however often the process restarts; one look is always taken.
    /// `None` leaves it to the context's deadline.
    pub until: Option<Timestamp>,
}

impl<'a> VerifyRequest<'a> {
    /// A request.
    pub fn new(
        incident: &'a Incident,
        plan: &'a Plan,
        started: Timestamp,
        ended: Timestamp,
    ) -> Self {
        Self {
            incident,
            plan,
            started,
            ended,
            healed_before: &[],
            until: None,
        }
    }

    /// The same where the healer acted on the services in these stretches.
    pub fn healed_before(mut self, stretches: &'a [(Timestamp, Timestamp)]) -> Self {
        self.healed_before = stretches;
        self
    }

    /// The same where a verdict is due at `until`.
    pub fn due(mut self, until: Timestamp) -> Self {
        self.until = Some(until);
        self
    }
}

/// Judges an outcome in the world. It only reads.
///
/// # Guarantees
/// It is asked again from the start if the process was killed meanwhile. Deadline and panics as for
/// [`Detector`](crate::stage::Detector).
///
/// # Assumptions
/// No data is uncertain, never success and never failure. It waits through [`Context::clock`].
#[async_trait]
#[diagnostic::on_unimplemented(note = "implement `Verifier` with `#[async_trait]`")]
pub trait Verifier: fmt::Debug + Send + Sync {
    /// Stable; used in configuration, journal, metrics and blame.
    fn name(&self) -> &str;

    /// Judges.
    async fn verify(
        &self,
        cx: &Context,
        request: VerifyRequest<'_>,
    ) -> Result<Verdict, VerifyError>;
}

const _: fn(&dyn Verifier) = |_| {};

#[async_trait]
impl<T: Verifier + ?Sized> Verifier for Arc<T> {
    fn name(&self) -> &str {
        (**self).name()
    }

    async fn verify(
        &self,
        cx: &Context,
        request: VerifyRequest<'_>,
    ) -> Result<Verdict, VerifyError> {
        (**self).verify(cx, request).await
    }
}
