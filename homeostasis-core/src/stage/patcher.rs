//! Patchers: from a diagnosis to a proposed change of text.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use crate::context::Context;
use crate::cycle::Incident;
use crate::error::stage_error;
use crate::record::{Diagnosis, PatchCandidate};
use crate::signal::ErrorEvent;

stage_error!(
    /// Why a patcher proposed nothing.
    PatchError
);

/// What a patcher works on.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct PatchRequest<'a> {
    /// The incident.
    pub incident: &'a Incident,
    /// Why it happened; [`Diagnosis::captures`] says what rules took out of the logs, which nobody
    /// vouches for.
    pub diagnosis: &'a Diagnosis,
    /// The project's root; a patcher reads below it and writes nowhere.
    pub root: &'a Path,
    /// The errors that were seen, the most telling first; may be empty.
    pub errors: &'a [ErrorEvent],
}

impl<'a> PatchRequest<'a> {
    /// A request.
    pub fn new(incident: &'a Incident, diagnosis: &'a Diagnosis, root: &'a Path) -> Self {
        Self {
            incident,
            diagnosis,
            root,
            errors: &[],
        }
    }

    /// The same with the errors that were seen.
    pub fn with_errors(mut self, errors: &'a [ErrorEvent]) -> Self {
        self.errors = errors;
        self
    }
}

/// Proposes changes; it applies none.
///
/// # Guarantees
/// A proposal is validated, tested on a copy and gated before anything is changed.
///
/// # Assumptions
/// Candidates come best first, at most 20, each bound to the digest of the text it was made for.
#[async_trait]
#[diagnostic::on_unimplemented(note = "implement `Patcher` with `#[async_trait]`")]
pub trait Patcher: fmt::Debug + Send + Sync {
    /// Stable; used in configuration, journal, metrics and blame.
    fn name(&self) -> &str;

    /// Proposes.
    async fn propose(
        &self,
        cx: &Context,
        request: PatchRequest<'_>,
    ) -> Result<Vec<PatchCandidate>, PatchError>;
}

const _: fn(&dyn Patcher) = |_| {};

#[async_trait]
impl<T: Patcher + ?Sized> Patcher for Arc<T> {
    fn name(&self) -> &str {
        (**self).name()
    }

    async fn propose(
        &self,
        cx: &Context,
        request: PatchRequest<'_>,
    ) -> Result<Vec<PatchCandidate>, PatchError> {
        (**self).propose(cx, request).await
    }
}
