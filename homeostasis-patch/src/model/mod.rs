//! Asking a language model for a patch, and trusting it with nothing.

mod answer;
mod config;
mod excerpt;
mod prompt;

use std::sync::Arc;

use async_trait::async_trait;
use homeostasis_core::port::{ChatModel, HttpClient, Redactor};
use homeostasis_core::record::PatchCandidate;
use homeostasis_core::stage::{PatchError, PatchRequest, Patcher};
use homeostasis_core::{ConfigError, Context, Secret};

pub use config::ModelPatcherConfig;
use prompt::Prompt;

use crate::propose::SourceTree;
use crate::validate::PatchValidator;

/// Asks a model behind a chat completions endpoint (`/v1/chat/completions`) to change the code that
/// raised an error.
///
/// It is behind the feature `model-patcher` and part of nothing unless a host adds it; what it is told
/// is never trusted:
///
/// - It sees the most frequent error that has a frame in the project, and of the files of its frames the lines
///   around them: files of a known language, never protected ones, bounded in number and bytes,
///   redacted as whole files, and as JSON strings, so that what a message or a comment says stands where data
///   stands. [`ModelPatcher::question`] shows what would be sent.
/// - Its answer must be JSON of exactly the form asked for: in a file it was shown, lines as they
///   were shown, which stand there once, and what is to stand in their place. What was redacted is
///   not what stands there, so a line with a secret cannot be replaced. Anything else is dropped, or
///   an error that says why.
/// - What is kept is a proposal like any other: [`PatchValidator`] and the tests judge it. Besides, it
///   is of medium risk at least, says that a model made it, [must be
///   seen](PatchCandidate::requires_review) by people before it reaches what runs, and stands behind
///   what templates propose, by its [confidence](ModelPatcherConfig::confidence).
/// - Requests, attempts, bytes, tokens and time are bounded. Over the budget it is silent; an answer
///   that breaks the form, is too large or too late is an error and names the patcher.
///
/// The same question about the same files is asked once: see [`ChatModel`].
///
/// # Examples
/// Templates first, the model for what they know nothing about:
/// ```
/// use std::sync::Arc;
/// use homeostasis::core::port::{HttpClient, Redactor};
/// use homeostasis::core::{ConfigError, Secret};
/// use homeostasis::patch::{ModelPatcher, ModelPatcherConfig, TemplatePatcher};
///
/// fn patchers(
///     http: Arc<dyn HttpClient>,
///     redactor: Arc<dyn Redactor>,
///     key: Secret,
/// ) -> Result<(TemplatePatcher, ModelPatcher), ConfigError> {
///     let config = ModelPatcherConfig::new("http://127.0.0.1:8000/v1/chat/completions", "coder");
///     let templates = TemplatePatcher::built_in()?;
///     let model = ModelPatcher::new(config, http, redactor)?
///         .with_key(key)
///         .unless(Arc::new(templates.clone()));
///     Ok((templates, model))
/// }
/// # let _ = patchers;
/// ```
#[derive(Debug)]
pub struct ModelPatcher {
    config: ModelPatcherConfig,
    redactor: Arc<dyn Redactor>,
    validator: PatchValidator,
    unless: Option<Arc<dyn Patcher>>,
    model: ChatModel<Vec<PatchCandidate>>,
}

impl ModelPatcher {
    const NAME: &str = "model";

    /// A patcher that asks through `http` what `redactor` has read.
    ///
    /// # Errors
    /// Names every value out of its range.
    pub fn new(
        config: ModelPatcherConfig,
        http: Arc<dyn HttpClient>,
        redactor: Arc<dyn Redactor>,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            model: ChatModel::new(config.budget(), http),
            config,
            redactor,
            validator: PatchValidator::default(),
            unless: None,
        })
    }

    /// The same with a key, sent as `authorization: Bearer`.
    pub fn with_key(mut self, key: Secret) -> Self {
        self.model = self.model.with_key(key);
        self
    }

    /// The same that shows no file which this validator protects, instead of the default one.
    pub fn validated_by(mut self, validator: PatchValidator) -> Self {
        self.validator = validator;
        self
    }

    /// The same that asks nobody where `first` proposes something.
    pub fn unless(mut self, first: Arc<dyn Patcher>) -> Self {
        self.unless = Some(first);
        self
    }

    /// The body of the request it would send; `None` where it has nothing to ask.
    pub fn question(&self, request: PatchRequest<'_>) -> Option<String> {
        self.prompt(request).map(|prompt| prompt.body().to_owned())
    }

    fn prompt(&self, request: PatchRequest<'_>) -> Option<Prompt> {
        let tree = SourceTree::new(request.root);
        let mut errors = request.errors.iter();
        errors.find_map(|error| {
            Prompt::of(&self.config, &tree, &self.validator, error, &*self.redactor)
        })
    }
}

#[async_trait]
impl Patcher for ModelPatcher {
    // The trait gives names that may be computed.
    #[allow(clippy::unnecessary_literal_bound)]
    fn name(&self) -> &str {
        Self::NAME
    }

    async fn propose(
        &self,
        cx: &Context,
        request: PatchRequest<'_>,
    ) -> Result<Vec<PatchCandidate>, PatchError> {
        if let Some(first) = &self.unless
            && !first.propose(cx, request).await?.is_empty()
        {
            return Ok(Vec::new());
        }
        let Some(prompt) = self.prompt(request) else {
            return Ok(Vec::new());
        };
        let read = |body: &[u8]| answer::read(self, &prompt, body);
        let candidates = self
            .model
            .ask_about(cx, prompt.body(), prompt.sources(), read)
            .await?;
        if candidates.is_none() {
            tracing::info!(patcher = Self::NAME, "not asked: its budget is spent");
        }
        Ok(candidates.unwrap_or_default())
    }
}
