//! The permit: the only way to an effect.

use crate::digest::Digest;
use crate::error::ErrorKind;
use crate::id::RunId;
use crate::policy::Purpose;
use crate::port::{FencingToken, Lease};
use crate::record::StepPhase;
use crate::time::Timestamp;

/// The right to execute one plan, once.
///
/// It is made by the [`Gate`](crate::policy::Gate) and nowhere else; it cannot be copied, and
/// executing consumes it. It is bound to the plan's hash, the purpose, the run, the lease on the
/// target and an expiry: a plan that changed after it was permitted has no permit, and a permit to
/// execute does not permit to take back.
///
/// # What it does not prove
/// The gate is public and pure: whoever asks it with facts of their own gets a permit for those
/// facts. What such a permit cannot do is pass the engine's [`RunLog`](crate::stage::RunLog): that
/// accepts only one whose run, plan hash and lease token are those the journal opened, and an event
/// with an older token is refused by the store. A permit guards against mistakes of the code that
/// carries plans out; it is no barrier against code of the same process that means harm.
///
/// It is redeemed for the run and the plan it was made for:
///
/// ```
/// use homeostasis::core::policy::{Grant, Permit, PermitError};
/// use homeostasis::core::{Digest, RunId, Timestamp};
/// fn once(permit: Permit, run: RunId, hash: Digest, now: Timestamp) -> Result<Grant, PermitError> {
///     permit.redeem(run, hash, now)
/// }
/// ```
///
/// A plug-in cannot make one:
///
/// ```compile_fail,E0451
/// use homeostasis::core::policy::Permit;
/// let forged = Permit { plan_hash: todo!(), purpose: todo!(), run: todo!(), lease: todo!(), expires: todo!() };
/// ```
///
/// nor copy one it was given:
///
/// ```compile_fail,E0599
/// fn twice(permit: homeostasis::core::policy::Permit) {
///     let copy = permit.clone();
///     drop((permit, copy));
/// }
/// ```
///
/// nor use one twice:
///
/// ```compile_fail,E0382
/// use homeostasis::core::policy::Permit;
/// use homeostasis::core::{Digest, RunId, Timestamp};
/// fn twice(permit: Permit, run: RunId, hash: Digest, now: Timestamp) {
///     let first = permit.redeem(run, hash, now);
///     let second = permit.redeem(run, hash, now);
/// }
/// ```
#[derive(Debug)]
#[must_use = "a permit that is dropped permits nothing"]
pub struct Permit {
    plan_hash: Digest,
    purpose: Purpose,
    run: RunId,
    lease: Lease,
    expires: Timestamp,
}

/// Why a permit does not cover what it was shown for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PermitError {
    /// The plan is not the one that was permitted.
    #[error("the permit is for plan {permitted}, not {shown}")]
    OtherPlan {
        /// The permitted hash.
        permitted: String,
        /// The hash it was shown for.
        shown: String,
    },
    /// The run is not the one that was permitted.
    #[error("the permit is for {permitted}, not {shown}")]
    OtherRun {
        /// The permitted run.
        permitted: RunId,
        /// The run it was shown for.
        shown: RunId,
    },
    /// The lease is not the one the journal opened or resumed the run with.
    #[error("the permit is for lease {permitted}, the journal has {held}")]
    OtherLease {
        /// The token of the permit's lease.
        permitted: FencingToken,
        /// The token the journal has for the run.
        held: FencingToken,
    },
    /// It permits to go forward and was shown for taking back, or the other way round.
    #[error("the permit is to {permitted}, it does not cover {} steps", match .shown {
        StepPhase::Do => "forward",
        StepPhase::Undo => "undo",
    })]
    OtherPurpose {
        /// What the permit is for.
        permitted: Purpose,
        /// The steps it was shown for.
        shown: StepPhase,
    },
    /// It is too late.
    #[error("the permit expired at {expired}")]
    Expired {
        /// When.
        expired: Timestamp,
    },
}

impl PermitError {
    /// What may be done next.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Denied
    }
}

/// What remains of a permit once it is redeemed: what each step is checked against.
#[derive(Debug)]
pub struct Grant {
    pub(crate) purpose: Purpose,
    pub(crate) lease: Lease,
    pub(crate) expires: Timestamp,
}

impl Grant {
    /// What the effects are for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Whether it covers steps of `phase`.
    ///
    /// # Errors
    /// If the permit was for the other direction.
    pub fn covers(&self, phase: StepPhase) -> Result<(), PermitError> {
        if self.purpose.phase() == phase {
            Ok(())
        } else {
            Err(PermitError::OtherPurpose {
                permitted: self.purpose,
                shown: phase,
            })
        }
    }

    /// The lease the steps are fenced with.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// When no further step may start.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }
}

impl Permit {
    pub(in crate::policy) fn new(
        plan_hash: Digest,
        purpose: Purpose,
        run: RunId,
        lease: Lease,
        expires: Timestamp,
    ) -> Self {
        Self {
            plan_hash,
            purpose,
            run,
            lease,
            expires,
        }
    }

    /// Which run it is for.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// Which plan it is for.
    pub fn plan_hash(&self) -> Digest {
        self.plan_hash
    }

    /// What the effects are for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The lease on the target.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Consumes it for `run` of the plan with `plan_hash` at `now`.
    ///
    /// # Errors
    /// If run or plan are not the permitted ones, or it is too late.
    pub fn redeem(
        self,
        run: RunId,
        plan_hash: Digest,
        now: Timestamp,
    ) -> Result<Grant, PermitError> {
        if plan_hash != self.plan_hash {
            return Err(PermitError::OtherPlan {
                permitted: self.plan_hash.short(),
                shown: plan_hash.short(),
            });
        }
        if run != self.run {
            return Err(PermitError::OtherRun {
                permitted: self.run,
                shown: run,
            });
        }
        if now >= self.expires {
            return Err(PermitError::Expired {
                expired: self.expires,
            });
        }
        Ok(Grant {
            purpose: self.purpose,
            lease: self.lease,
            expires: self.expires,
        })
    }
}
