//! Asking a language model, and believing it little.

mod answer;
mod config;
mod prompt;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use homeostasis_core::port::{HttpClient, HttpRequest, HttpResponse, Redactor};
use homeostasis_core::record::Finding;
use homeostasis_core::stage::{AnalyzeError, Analyzer, Evidence};
use homeostasis_core::{
    ConfigError, Context, Digest, ErrorKind, Secret, Timestamp, async_trait, timeout,
};

pub use config::ModelConfig;
use prompt::Prompt;

use crate::scope::Scope;

/// Answers that are remembered.
const MAX_REMEMBERED: usize = 64;

/// Before an attempt is repeated.
const BACKOFF: Duration = Duration::from_millis(500);

const HOUR: Duration = Duration::from_secs(3600);

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
/// - What is kept is *context*, at most [`max_nats`](ModelConfig::max_nats) either way: it can
///   strengthen or weaken a cause for which other analyzers have evidence, and never name one. A
///   line that talks the model into something gains no more than that.
/// - Requests, attempts, bytes, tokens and time are bounded. Over the budget it is silent; an
///   answer that breaks the form, is too large or too late is an error and names the analyzer.
///
/// The same evidence is asked about once: its answer is remembered (the last 64), which also keeps
/// the analyzer's contract within a process. Kinds of lines are told with about how often they
/// came, so that a storm is one question. A replay elsewhere would ask again.
#[derive(Debug)]
pub struct ModelAnalyzer {
    config: ModelConfig,
    http: Arc<dyn HttpClient>,
    redactor: Arc<dyn Redactor>,
    key: Option<Secret>,
    memory: Mutex<Remembered>,
}

#[derive(Debug, Default)]
struct Remembered {
    answers: VecDeque<(Digest, Vec<Finding>)>,
    asked_at: VecDeque<Timestamp>,
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
            config,
            http,
            redactor,
            key: None,
            memory: Mutex::default(),
        })
    }

    /// The same with a key, sent as `authorization: Bearer`.
    pub fn with_key(mut self, key: Secret) -> Self {
        self.key = Some(key);
        self
    }

    /// Whether one request more is within the budget of the hour; counts it if so.
    fn may_ask(&self, now: Timestamp) -> bool {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        while memory
            .asked_at
            .front()
            .is_some_and(|at| now.since(*at) >= HOUR)
        {
            memory.asked_at.pop_front();
        }
        let may = memory.asked_at.len() < self.config.requests_per_hour;
        if may {
            memory.asked_at.push_back(now);
        }
        may
    }

    async fn send(&self, cx: &Context, prompt: &Prompt) -> Result<HttpResponse, AnalyzeError> {
        let limit = cx
            .remaining()
            .map_or(self.config.timeout, |left| left.min(self.config.timeout));
        let mut request = HttpRequest::post(&self.config.url, "application/json", prompt.body());
        request.max_body = self.config.max_answer_bytes;
        let mut request = request.within(limit);
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {}", key.expose()));
        }
        let answer = timeout(&**cx.clock(), limit, self.http.send(request)).await;
        let answer = answer.map_err(|_| AnalyzeError::Timeout {
            during: "asking the model".to_owned(),
        })?;
        let answer = answer.map_err(|error| AnalyzeError::Failed {
            what: "asking the model".to_owned(),
            kind: error.kind(),
            source: Some(error.into()),
        })?;
        if answer.is_success() {
            return Ok(answer);
        }
        let kind = match answer.status {
            429 | 500..=599 => ErrorKind::Transient,
            _ => ErrorKind::Permanent,
        };
        Err(AnalyzeError::Failed {
            what: format!("asking the model (status {})", answer.status),
            kind,
            source: None,
        })
    }

    async fn ask(
        &self,
        cx: &Context,
        prompt: &Prompt,
    ) -> Result<Option<HttpResponse>, AnalyzeError> {
        for attempt in 0.. {
            if !self.may_ask(cx.now()) {
                tracing::debug!("the model is not asked: its budget of requests is spent");
                return Ok(None);
            }
            match self.send(cx, prompt).await {
                Err(error)
                    if error.kind() == ErrorKind::Transient && attempt < self.config.retries =>
                {
                    cx.clock().sleep(BACKOFF).await;
                }
                answer => return answer.map(Some),
            }
        }
        Ok(None)
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
        let question = Digest::of_bytes(prompt.body().as_bytes());
        let known = {
            let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            let found = memory.answers.iter().find(|(asked, _)| *asked == question);
            found.map(|(_, findings)| findings.clone())
        };
        if let Some(findings) = known {
            return Ok(findings);
        }
        let Some(answer) = self.ask(cx, &prompt).await? else {
            return Ok(Vec::new());
        };
        let findings = answer::read(&self.config, &prompt, &answer.body, &*self.redactor)?;
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.answers.push_back((question, findings.clone()));
        while memory.answers.len() > MAX_REMEMBERED {
            memory.answers.pop_front();
        }
        Ok(findings)
    }
}
