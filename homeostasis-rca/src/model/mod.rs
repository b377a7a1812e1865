//! Asking a language model, and believing it little.

mod answer;
mod config;
mod duration_text;
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

/// For so long a question that failed is not asked again.
const FAILED_FOR: Duration = Duration::from_secs(300);

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
    http: Arc<dyn HttpClient>,
    redactor: Arc<dyn Redactor>,
    key: Option<Secret>,
    memory: Mutex<Remembered>,
}

#[derive(Debug, Default)]
struct Remembered {
    answers: VecDeque<(Digest, Vec<Finding>)>,
    asked_at: VecDeque<Timestamp>,
    /// Questions that failed: when, how, and what was said.
    failed: VecDeque<(Digest, Timestamp, ErrorKind, String)>,
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

    /// Sends it once; as many as `attempts` share the time that is left.
    async fn send(
        &self,
        cx: &Context,
        prompt: &Prompt,
        attempts: u32,
    ) -> Result<HttpResponse, AnalyzeError> {
        // Who is late by the engine's clock is blamed for it: it keeps a tenth.
        let share = cx
            .remaining()
            .map(|left| left.mul_f64(0.9) / attempts.max(1));
        let limit = share.map_or(self.config.timeout, |share| share.min(self.config.timeout));
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

    /// What is known of `question`: its answer, or that it failed a moment ago.
    fn remembered(
        &self,
        question: &Digest,
        now: Timestamp,
    ) -> Option<Result<Vec<Finding>, AnalyzeError>> {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = memory.answers.iter().find(|(asked, _)| asked == question) {
            return Some(Ok(found.clone()));
        }
        let mut failed = memory.failed.iter();
        let failed = failed.find(|(asked, at, ..)| asked == question && is_fresh(*at, now));
        failed.map(|(_, at, kind, told)| {
            Err(AnalyzeError::Failed {
                what: format!("the same question to the model, last at {at} ({told})"),
                kind: *kind,
                source: None,
            })
        })
    }

    fn remember(
        &self,
        question: Digest,
        now: Timestamp,
        answer: &Result<Vec<Finding>, AnalyzeError>,
    ) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(findings) => memory.answers.push_back((question, findings.clone())),
            Err(error) => {
                memory.failed.retain(|(asked, ..)| *asked != question);
                let told = error.report().to_string();
                memory.failed.push_back((question, now, error.kind(), told));
            }
        }
        while memory.answers.len() > MAX_REMEMBERED {
            memory.answers.pop_front();
        }
        while memory.failed.len() > MAX_REMEMBERED {
            memory.failed.pop_front();
        }
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
            let attempts = self.config.retries.saturating_sub(attempt) + 1;
            let may_wait = || cx.remaining().is_none_or(|left| left > BACKOFF * 2);
            match self.send(cx, prompt, attempts).await {
                Err(error)
                    if error.kind() == ErrorKind::Transient
                        && attempt < self.config.retries
                        && may_wait() =>
                {
                    cx.clock().sleep(BACKOFF).await;
                }
                answer => return answer.map(Some),
            }
        }
        Ok(None)
    }
}

/// Whether a failure at `at` still counts; none of the future does.
fn is_fresh(at: Timestamp, now: Timestamp) -> bool {
    at <= now && now.since(at) < FAILED_FOR
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
        if let Some(known) = self.remembered(&question, cx.now()) {
            return known;
        }
        let answer = match self.ask(cx, &prompt).await {
            Ok(Some(answer)) => answer::read(&self.config, &prompt, &answer.body, &*self.redactor),
            Ok(None) => return Ok(Vec::new()),
            Err(error) => Err(error),
        };
        self.remember(question, cx.now(), &answer);
        answer
    }
}
