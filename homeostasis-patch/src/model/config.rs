//! Where the model is, what it is shown, and how much it may cost and say.

use std::time::Duration;

use homeostasis_core::document::duration_text;
use homeostasis_core::port::ChatBudget;
use homeostasis_core::{ConfigError, Violation, Violations};
use serde::{Deserialize, Serialize};

/// How a [`ModelPatcher`](super::ModelPatcher) asks.
///
/// # Examples
/// ```
/// use homeostasis::patch::ModelPatcherConfig;
///
/// let config: ModelPatcherConfig = serde_json::from_str(
///     r#"{"url": "http://127.0.0.1:8000/v1/chat/completions", "model": "coder", "timeout": "90s"}"#,
/// )?;
/// assert_eq!(config.max_candidates, 3);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ModelPatcherConfig {
    /// The whole address of the endpoint, such as `http://127.0.0.1:8000/v1/chat/completions`.
    /// `https` needs a client that speaks TLS.
    pub url: String,
    /// The name of the model, as the endpoint knows it.
    pub model: String,
    /// How sure its proposals count, more than 0, at most 0.5; default 0.2: behind templates.
    #[serde(default = "little")]
    pub confidence: f64,
    /// Proposals of one answer that are read; 1 to 10; default 3.
    #[serde(default = "three")]
    pub max_candidates: usize,
    /// Files that are shown; 1 to 10; default 4.
    #[serde(default = "four")]
    pub max_files: usize,
    /// Lines shown before and after each line of a frame; 0 to 500; default 40.
    #[serde(default = "forty")]
    pub context_lines: usize,
    /// How large a question may be, in bytes; what is beyond is left out, the outermost files
    /// first; 4 KiB to 1 MiB; default 32 KiB.
    #[serde(default = "bytes")]
    pub max_question_bytes: usize,
    /// How large an answer may be, in bytes, all of the response; 1 KiB to 1 MiB; default 32 KiB.
    #[serde(default = "bytes")]
    pub max_answer_bytes: usize,
    /// Tokens of an answer; 64 to 16384; default 2000.
    #[serde(default = "tokens")]
    pub max_tokens: u32,
    /// How long one attempt may take, such as `60s`; 100 ms to 5 min; default 60 s. All attempts
    /// share what the patcher's own deadline leaves.
    #[serde(default = "patience", with = "duration_text")]
    pub timeout: Duration,
    /// How often an attempt that may help is repeated; at most 3; default 1.
    #[serde(default = "once")]
    pub retries: u32,
    /// Requests in any hour, repeated ones included; 1 to 10 000; default 10.
    #[serde(default = "ten")]
    pub requests_per_hour: usize,
}

fn little() -> f64 {
    0.2
}
fn three() -> usize {
    3
}
fn four() -> usize {
    4
}
fn forty() -> usize {
    40
}
fn bytes() -> usize {
    32 << 10
}
fn tokens() -> u32 {
    2000
}
fn patience() -> Duration {
    Duration::from_secs(60)
}
fn once() -> u32 {
    1
}
fn ten() -> usize {
    10
}

impl ModelPatcherConfig {
    /// The defaults, asking `model` at `url`.
    pub fn new(url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            model: model.into(),
            confidence: little(),
            max_candidates: three(),
            max_files: four(),
            context_lines: forty(),
            max_question_bytes: bytes(),
            max_answer_bytes: bytes(),
            max_tokens: tokens(),
            timeout: patience(),
            retries: once(),
            requests_per_hour: ten(),
        }
    }

    /// What asking may cost.
    pub(super) fn budget(&self) -> ChatBudget {
        let mut budget = ChatBudget::new(&self.url);
        budget.max_answer_bytes = self.max_answer_bytes;
        budget.timeout = self.timeout;
        budget.retries = self.retries;
        budget.requests_per_hour = self.requests_per_hour;
        budget
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let mut violations = Violations::new();
        self.budget().check(&mut violations);
        let mut expect = |holds: bool, path: &str, value: String, expected: &str| {
            if !holds {
                violations.push(Violation::new(path, value, expected));
            }
        };
        let is_named = !self.model.is_empty();
        expect(is_named, "model", String::new(), "the name of a model");
        let is_little = self.confidence > 0.0 && self.confidence <= 0.5;
        let confidence = self.confidence.to_string();
        expect(is_little, "confidence", confidence, "0 < confidence <= 0.5");
        for (path, value, low, high) in [
            ("max_candidates", self.max_candidates, 1, 10),
            ("max_files", self.max_files, 1, 10),
            ("context_lines", self.context_lines, 0, 500),
            (
                "max_question_bytes",
                self.max_question_bytes,
                4 << 10,
                1 << 20,
            ),
            ("max_tokens", self.max_tokens as usize, 64, 16_384),
        ] {
            let fits = (low..=high).contains(&value);
            expect(fits, path, value.to_string(), &format!("{low} to {high}"));
        }
        violations.into_result(())
    }
}
