//! Asking a language model, and believing it little.

mod answer;
mod config;
mod prompt;

use std::sync::Arc;

use homeostasis_core::port::{ChatModel, HttpClient, Redactor};
use homeostasis_core::record::Finding;
use homeostasis_core::stage::{AnalyzeError, Analyzer, Evidence};
use homeostasis_core::{ConfigError, Context, Secret, async_trait};

pub use config::ModelConfig;
use prompt::Prompt;

use crate::scope::Scope;

/// Asks a model behind a chat completions endpoint (`/v1/chat/completions`) which of the known causes the
/// evidence speaks for.
///
/// It is behind the feature `model-analyzer`, not furnished, and what it is told is never trusted:
///
/// - It sees numbered pieces of evidence (anomalies, checks that are not healthy, changes, kinds of
///   error lines), cut, bounded in number and bytes, redacted once more, and as JSON strings: what a
///   log says stands where data stands.
/// - Its answer must be JSON of exactly the form asked for. A finding is kept only if its target is
///   one of the services in question, its cause one of the vocabulary, and every piece it cites is
///   one it was given, at least one of them of that very service; anything else drops the finding.
/// - What is kept is *context*, all that one answer says of a service together at most
///   [`max_nats`](ModelConfig::max_nats): it can strengthen or weaken a cause for which other
///   analyzers have evidence, and never name one. A line that talks the model into something gains
///   no more than that.
/// - Requests, attempts, bytes, tokens and time are bounded. Over the budget it is silent; an
///   answer that breaks the form, is too large or too late is an error and names the analyzer.
///
/// The same evidence is asked about once: its answer is remembered (the last 64), which also keeps
/// the analyzer's contract within a process. A question that failed is not asked again for five
/// minutes: it is the same error until then. Kinds of lines are told with about how often they
/// came, so that a storm is one question. A replay elsewhere would ask again.
#[derive(Debug)]
pub struct ModelAnalyzer {
    config: ModelConfig,
    redactor: Arc<dyn Redactor>,
    model: ChatModel<Vec<Finding>>,
}

impl ModelAnalyzer {
    const NAME: &str = "model";

    /// An analyzer that asks through `http` what `redactor` has read.
    ///
    /// # Errors
    /// Names every value out of its range.
    pub fn new(
        config: ModelConfig,
        http: Arc<dyn HttpClient>,
        redactor: Arc<dyn Redactor>,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            model: ChatModel::new(config.budget(), http),
            config,
            redactor,
        })
    }

    /// The same with a key, sent as `authorization: Bearer`.
    pub fn with_key(mut self, key: Secret) -> Self {
        self.model = self.model.with_key(key);
        self
    }
}

#[async_trait]
impl Analyzer for ModelAnalyzer {
    fn name(&self) -> &str {
        Self::NAME
    }

    async fn analyze(
        &self,
        cx: &Context,
        evidence: &Evidence<'_>,
    ) -> Result<Vec<Finding>, AnalyzeError> {
        let scope = Scope::new(cx, evidence);
        let Some(prompt) = Prompt::of(&self.config, &scope, evidence, &*self.redactor) else {
            return Ok(Vec::new());
        };
        let read = |body: &[u8]| answer::read(&self.config, &prompt, body, &*self.redactor);
        let found = self.model.ask(cx, prompt.body(), read).await?;
        if found.is_none() {
            tracing::debug!("the model is not asked: its budget of requests is spent");
        }
        Ok(found.unwrap_or_default())
    }
}
