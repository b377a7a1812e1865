//! The proposer as a stage of the cycle.

use std::cmp::Reverse;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::record::PatchCandidate;
use homeostasis_core::stage::{PatchError, PatchRequest, Patcher};
use homeostasis_core::{ConfigError, Context};

use super::proposer::Proposer;
use super::source_tree::SourceTree;
use super::template_set::TemplateSet;

/// The most a patcher may propose.
const MAX_CANDIDATES: usize = 20;

/// Proposes changes of code for the errors of a request ([`PatchRequest::errors`]); without any it
/// proposes nothing.
///
/// It reads the files that their frames name below the root, blocking, and writes nothing.
/// What was refused or could not be read is told to `tracing`.
#[derive(Debug, Clone)]
pub struct TemplatePatcher {
    proposer: Proposer,
}

impl TemplatePatcher {
    /// A patcher with the templates that are built in.
    ///
    /// # Errors
    /// See [`TemplateSet::built_in`].
    pub fn built_in() -> Result<Self, ConfigError> {
        Ok(Self::new(TemplateSet::built_in()?))
    }

    /// A patcher with these templates.
    pub fn new(templates: TemplateSet) -> Self {
        Self::from(Proposer::new(templates))
    }
}

impl From<Proposer> for TemplatePatcher {
    /// A patcher with the templates and the budget of this proposer.
    fn from(proposer: Proposer) -> Self {
        Self { proposer }
    }
}

#[async_trait]
impl Patcher for TemplatePatcher {
    // The trait gives names that may be computed.
    #[allow(clippy::unnecessary_literal_bound)]
    fn name(&self) -> &str {
        Proposer::NAME
    }

    /// # Errors
    /// [`PatchError::Cancelled`], [`PatchError::Timeout`]: looked for between errors.
    async fn propose(
        &self,
        cx: &Context,
        request: PatchRequest<'_>,
    ) -> Result<Vec<PatchCandidate>, PatchError> {
        let tree = SourceTree::new(request.root);
        let mut candidates: Vec<PatchCandidate> = Vec::new();
        for error in request.errors {
            let during = || "proposing patches of code".to_owned();
            if cx.cancellation().is_cancelled() {
                return Err(PatchError::Cancelled { during: during() });
            }
            if cx.remaining() == Some(Duration::ZERO) {
                return Err(PatchError::Timeout { during: during() });
            }
            let clock = cx.clock().as_ref();
            let proposal = self.proposer.propose_timed(&tree, error, clock);
            for refusal in &proposal.refusals {
                let (template, reason) = (&refusal.template, &refusal.reason);
                tracing::info!(patcher = Proposer::NAME, %template, %reason, "nothing is proposed");
            }
            for reason in &proposal.unread {
                tracing::warn!(patcher = Proposer::NAME, %reason, "a source was not read");
            }
            if let Some(ended) = &proposal.ended {
                tracing::warn!(patcher = Proposer::NAME, %ended, "not everything was looked at");
            }
            if let (Some(reason), []) = (&proposal.reason, &proposal.refusals[..]) {
                let kind = &error.kind;
                tracing::info!(patcher = Proposer::NAME, %kind, %reason, "nothing is proposed");
            }
            for made in proposal.candidates {
                let is_same = |c: &PatchCandidate| (&c.path, &c.diff) == (&made.path, &made.diff);
                if !candidates.iter().any(is_same) {
                    candidates.push(made);
                }
            }
        }
        candidates.sort_by_key(|c| (Reverse(c.confidence), c.risk));
        candidates.truncate(MAX_CANDIDATES);
        Ok(candidates)
    }
}
