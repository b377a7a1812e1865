//! Asking a language model, within a budget: for the stages that may ask one and trust it little.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::http::{HttpClient, HttpError, HttpRequest};
use crate::context::Context;
use crate::digest::Digest;
use crate::error::ErrorKind;
use crate::secret::Secret;
use crate::time::{Timestamp, timeout};
use crate::violation::{Violation, Violations};

/// Answers, and failures, that are remembered.
const MAX_REMEMBERED: usize = 64;

/// Before an attempt is repeated.
const BACKOFF: Duration = Duration::from_millis(500);

/// For so long a question that failed is not asked again.
const FAILED_FOR: Duration = Duration::from_secs(300);

const HOUR: Duration = Duration::from_secs(3600);

/// Where a model is, and what asking it may cost.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ChatBudget {
    /// The whole address of a chat completions endpoint, such as
    /// `http://127.0.0.1:8000/v1/chat/completions`. `https` needs a client that speaks TLS.
    pub url: String,
    /// How large a response may be, in bytes; 1 KiB to 1 MiB; default 32 KiB.
    pub max_answer_bytes: usize,
    /// How long one attempt may take; 100 ms to 5 min; default 20 s. All attempts share what the
    /// deadline leaves.
    pub timeout: Duration,
    /// How often an attempt that may help is repeated; at most 3; default 1.
    pub retries: u32,
    /// Requests in any hour, repeated ones included; 1 to 10 000; default 20.
    pub requests_per_hour: usize,
}

impl ChatBudget {
    /// The defaults, for `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            max_answer_bytes: 32 << 10,
            timeout: Duration::from_secs(20),
            retries: 1,
            requests_per_hour: 20,
        }
    }

    /// Adds every value out of its range, at its name.
    pub fn check(&self, violations: &mut Violations) {
        let mut expect = |holds: bool, path: &str, value: String, expected: &str| {
            if !holds {
                violations.push(Violation::new(path, value, expected));
            }
        };
        let host = self.url.split_once("://");
        let is_url = host.is_some_and(|(scheme, rest)| {
            matches!(scheme, "http" | "https") && !rest.is_empty() && !rest.contains(['@', ' '])
        });
        let url = without_user(&self.url);
        expect(is_url, "url", url, "an http or https URL without a user");
        for (path, value, low, high) in [
            ("max_answer_bytes", self.max_answer_bytes, 1 << 10, 1 << 20),
            ("requests_per_hour", self.requests_per_hour, 1, 10_000),
        ] {
            let fits = (low..=high).contains(&value);
            expect(fits, path, value.to_string(), &format!("{low} to {high}"));
        }
        let waits = (Duration::from_millis(100)..=Duration::from_secs(300)).contains(&self.timeout);
        let timeout = format!("{:?}", self.timeout);
        expect(waits, "timeout", timeout, "100ms to 300s");
        let retries = self.retries.to_string();
        expect(self.retries <= 3, "retries", retries, "0 to 3");
    }
}

/// Where `url` leads: its scheme and host. The rest may hold a password.
fn without_user(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = host.split(['/', '?', '#']).next().unwrap_or_default();
    format!("{scheme}{host}")
}

/// A model behind a chat completions endpoint (`/v1/chat/completions`), and what its answers were
/// read as.
///
/// The same question is asked once: what its answer was read as is remembered (the last 64), so that a
/// stage keeps its contract within a process. A question is the body of its request, and, where that shows
/// a part of something, the digest of the whole ([`ask_about`](Self::ask_about)).
/// A question that failed is not asked again for five minutes: it is the same error until then.
///
/// # Examples
/// ```
/// # use std::sync::Arc;
/// use homeostasis::core::port::{ChatBudget, ChatModel, HttpError, NoHttp};
/// use homeostasis::core::Context;
/// # fn main() {}
/// # async fn ask(cx: &Context) -> Result<(), HttpError> {
/// let budget = ChatBudget::new("http://127.0.0.1:8000/v1/chat/completions");
/// let model: ChatModel<usize> = ChatModel::new(budget, Arc::new(NoHttp));
/// let body = r#"{"model": "small", "messages": []}"#;
/// let n_bytes = model.ask(cx, body, |answer| Ok::<_, HttpError>(answer.len())).await?;
/// # let _ = n_bytes; Ok(()) }
/// ```
#[derive(Debug)]
pub struct ChatModel<T> {
    budget: ChatBudget,
    http: Arc<dyn HttpClient>,
    key: Option<Secret>,
    memory: Mutex<Remembered<T>>,
}

#[derive(Debug)]
struct Remembered<T> {
    answers: VecDeque<(Digest, T)>,
    asked_at: VecDeque<Timestamp>,
    /// Questions that failed: when, how, and what was said.
    failed: VecDeque<(Digest, Timestamp, ErrorKind, String)>,
}

/// An error of a stage that asks a model.
pub trait FromChat: From<HttpError> {
    /// How it is told when the same question is put again, and what may be done next.
    fn told(&self) -> (ErrorKind, String);
}

impl<T: Clone> ChatModel<T> {
    /// A model that is asked through `http`.
    pub fn new(budget: ChatBudget, http: Arc<dyn HttpClient>) -> Self {
        let memory = Remembered {
            answers: VecDeque::new(),
            asked_at: VecDeque::new(),
            failed: VecDeque::new(),
        };
        Self {
            budget,
            http,
            key: None,
            memory: Mutex::new(memory),
        }
    }

    /// The same with a key, sent as `authorization: Bearer`.
    pub fn with_key(mut self, key: Secret) -> Self {
        self.key = Some(key);
        self
    }

    /// What `read` makes of the answer to `body`; `None` if the budget of the hour was spent before the
    /// first attempt.
    ///
    /// What `read` makes must rest on `body` and the answer alone, for the same `body` is not asked again;
    /// see [`ask_about`](Self::ask_about).
    ///
    /// # Errors
    /// No answer came, or one with an error status, or `read` refused it. If the budget is spent after an
    /// attempt that failed, what that one failed with.
    pub async fn ask<E: FromChat>(
        &self,
        cx: &Context,
        body: &str,
        read: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        self.ask_for(Digest::of_bytes(body.as_bytes()), cx, body, read)
            .await
    }

    /// The same for a question about something of which `body` shows a part: `whole` is the digest of all
    /// that `read` rests on. Of another whole the same `body` is another question.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn ask_about<E: FromChat>(
        &self,
        cx: &Context,
        body: &str,
        whole: Digest,
        read: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        self.ask_for(whole.chain(body.as_bytes()), cx, body, read)
            .await
    }

    async fn ask_for<E: FromChat>(
        &self,
        question: Digest,
        cx: &Context,
        body: &str,
        read: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        if let Some(known) = self.remembered(&question, cx.now()) {
            return known.map(Some).map_err(E::from);
        }
        let answer = match self.attempts(cx, body).await {
            Ok(Some(answer)) => read(&answer),
            Ok(None) => return Ok(None),
            Err(error) => Err(E::from(error)),
        };
        self.remember(question, cx.now(), &answer);
        answer.map(Some)
    }

    async fn attempts(&self, cx: &Context, body: &str) -> Result<Option<Vec<u8>>, HttpError> {
        if !self.may_ask(cx.now()) {
            return Ok(None);
        }
        let mut left = self.budget.retries;
        loop {
            let answer = self.send(cx, body, left + 1).await;
            let may_wait = || cx.remaining().is_none_or(|left| left > BACKOFF * 2);
            match answer {
                Err(error) if error.kind() == ErrorKind::Transient && left > 0 && may_wait() => {
                    left -= 1;
                    cx.clock().sleep(BACKOFF).await;
                    if !self.may_ask(cx.now()) {
                        return Err(error);
                    }
                }
                answer => return answer.map(Some),
            }
        }
    }

    /// Sends it once; as many as `n_attempts` share the time that is left.
    async fn send(&self, cx: &Context, body: &str, n_attempts: u32) -> Result<Vec<u8>, HttpError> {
        // Who is late by the engine's clock is blamed for it: a tenth is kept.
        let share = cx.remaining().map(|left| left.mul_f64(0.9) / n_attempts);
        let limit = share.map_or(self.budget.timeout, |share| share.min(self.budget.timeout));
        let mut request = HttpRequest::post(&self.budget.url, "application/json", body);
        request.max_body = self.budget.max_answer_bytes;
        let mut request = request.within(limit);
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {}", key.expose()));
        }
        let answer = timeout(&**cx.clock(), limit, self.http.send(request)).await;
        let answer = answer.map_err(|_| HttpError::Timeout {
            during: "asking the model".to_owned(),
        })?;
        let answer = answer.map_err(|error| HttpError::Failed {
            what: "asking the model".to_owned(),
            kind: error.kind(),
            source: Some(error.into()),
        })?;
        if answer.is_success() {
            return Ok(answer.body);
        }
        Err(HttpError::Failed {
            what: format!("asking the model (status {})", answer.status),
            kind: match answer.status {
                429 | 500..=599 => ErrorKind::Transient,
                _ => ErrorKind::Permanent,
            },
            source: None,
        })
    }

    /// Whether one request more is within the budget of the hour; counts it if so.
    fn may_ask(&self, now: Timestamp) -> bool {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = &mut memory.asked_at;
        while asked.front().is_some_and(|at| now.since(*at) >= HOUR) {
            asked.pop_front();
        }
        let may = asked.len() < self.budget.requests_per_hour;
        if may {
            asked.push_back(now);
        }
        may
    }

    /// What is known of `question`: its answer, or that it failed a moment ago.
    fn remembered(&self, question: &Digest, now: Timestamp) -> Option<Result<T, HttpError>> {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, read)) = memory.answers.iter().find(|(asked, _)| asked == question) {
            return Some(Ok(read.clone()));
        }
        let mut failed = memory.failed.iter();
        let failed = failed.find(|(asked, at, ..)| asked == question && is_fresh(*at, now));
        failed.map(|(_, at, kind, told)| {
            Err(HttpError::Failed {
                what: format!("the same question to the model, last at {at} ({told})"),
                kind: *kind,
                source: None,
            })
        })
    }

    fn remember<E: FromChat>(&self, question: Digest, now: Timestamp, answer: &Result<T, E>) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(read) => memory.answers.push_back((question, read.clone())),
            Err(error) => {
                let (kind, told) = error.told();
                memory.failed.retain(|(asked, ..)| *asked != question);
                memory.failed.push_back((question, now, kind, told));
            }
        }
        while memory.answers.len() > MAX_REMEMBERED {
            memory.answers.pop_front();
        }
        while memory.failed.len() > MAX_REMEMBERED {
            memory.failed.pop_front();
        }
    }
}

/// Whether a failure at `at` still counts; none of the future does.
fn is_fresh(at: Timestamp, now: Timestamp) -> bool {
    at <= now && now.since(at) < FAILED_FOR
}

/// Errors of a stage are made of those of the request they failed with.
macro_rules! from_chat {
    ($name:ty) => {
        impl From<HttpError> for $name {
            fn from(error: HttpError) -> Self {
                match error {
                    HttpError::Invalid { what, detail } => Self::Invalid { what, detail },
                    HttpError::Failed { what, kind, source } => Self::Failed { what, kind, source },
                    HttpError::Timeout { during } => Self::Timeout { during },
                    HttpError::Cancelled { during } => Self::Cancelled { during },
                    HttpError::Denied { reason } => Self::Denied { reason },
                }
            }
        }

        impl FromChat for $name {
            fn told(&self) -> (ErrorKind, String) {
                (self.kind(), self.report().to_string())
            }
        }
    };
}
from_chat!(crate::stage::AnalyzeError);
from_chat!(crate::stage::PatchError);

impl FromChat for HttpError {
    fn told(&self) -> (ErrorKind, String) {
        (self.kind(), self.report().to_string())
    }
}
