//! Where the model is, and how much it may cost and say.

use std::collections::BTreeMap;
use std::time::Duration;

use homeostasis_core::document::duration_text;
use homeostasis_core::port::ChatBudget;
use homeostasis_core::record::Category;
use homeostasis_core::{ConfigError, Violation, Violations};
use serde::{Deserialize, Serialize};

/// How a [`ModelAnalyzer`](super::ModelAnalyzer) asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The whole address of the endpoint, such as `http://127.0.0.1:8000/v1/chat/completions`.
    /// `https` needs a client that speaks TLS.
    pub url: String,
    /// The name of the model, as the endpoint knows it.
    pub model: String,
    /// The causes it may name, with their families; default those of the furnished analyzers.
    #[serde(default = "vocabulary")]
    pub causes: BTreeMap<String, Category>,
    /// All that one answer says of a service counts no more, either way, in nats; more than 0, at most
    /// 2; default 1.
    #[serde(default = "one")]
    pub max_nats: f64,
    /// Findings of one answer that are read; 1 to 16; default 3.
    #[serde(default = "three")]
    pub max_findings: usize,
    /// Pieces of evidence that are told; 1 to 500; default 60.
    #[serde(default = "sixty")]
    pub max_evidence: usize,
    /// How large a question may be, in bytes; what is beyond is left out; 4 KiB to 1 MiB; default
    /// 24 KiB.
    #[serde(default = "question")]
    pub max_question_bytes: usize,
    /// How large an answer may be, in bytes, all of the response; 1 KiB to 1 MiB; default 32 KiB.
    #[serde(default = "answer")]
    pub max_answer_bytes: usize,
    /// Tokens of an answer; 64 to 8192; default 800.
    #[serde(default = "tokens")]
    pub max_tokens: u32,
    /// How long one attempt may take, such as `20s`; 100 ms to 5 min; default 20 s. All attempts share
    /// what the analyzer's own deadline leaves.
    #[serde(default = "patience", with = "duration_text")]
    pub timeout: Duration,
    /// How often an attempt that may help is repeated; at most 3; default 1.
    #[serde(default = "once")]
    pub retries: u32,
    /// Requests in any hour, repeated ones included; 1 to 10 000; default 20.
    #[serde(default = "twenty")]
    pub requests_per_hour: usize,
}

fn vocabulary() -> BTreeMap<String, Category> {
    use Category::{
        ApplicationError, Concurrency, Configuration, DependencyFailure, Network,
        ResourceExhaustion, Security,
    };
    let causes = [
        ("application_exception", ApplicationError),
        ("authentication_failed", Security),
        ("bad_deploy", Configuration),
        ("bad_migration", Configuration),
        ("certificate_expired", Security),
        ("configuration_error", Configuration),
        ("connection_pool_exhausted", ResourceExhaustion),
        ("connection_refused", Network),
        ("cpu_saturation", ResourceExhaustion),
        ("database_unavailable", DependencyFailure),
        ("deadlock", Concurrency),
        ("descriptor_leak", ResourceExhaustion),
        ("disk_full", ResourceExhaustion),
        ("dns_failure", Network),
        ("error_rate", ApplicationError),
        ("memory_leak", ResourceExhaustion),
        ("process_down", ApplicationError),
        ("rate_limited", DependencyFailure),
        ("slow_response", ResourceExhaustion),
        ("thread_leak", ResourceExhaustion),
    ];
    causes.map(|(name, of)| (name.to_owned(), of)).into()
}

fn one() -> f64 {
    1.0
}
fn three() -> usize {
    3
}
fn sixty() -> usize {
    60
}
fn question() -> usize {
    24 << 10
}
fn answer() -> usize {
    32 << 10
}
fn tokens() -> u32 {
    800
}
fn patience() -> Duration {
    Duration::from_secs(20)
}
fn once() -> u32 {
    1
}
fn twenty() -> usize {
    20
}

impl ModelConfig {
    /// The defaults, asking `model` at `url`.
    pub fn new(url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            model: model.into(),
            causes: vocabulary(),
            max_nats: one(),
            max_findings: three(),
            max_evidence: sixty(),
            max_question_bytes: question(),
            max_answer_bytes: answer(),
            max_tokens: tokens(),
            timeout: patience(),
            retries: once(),
            requests_per_hour: twenty(),
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
        expect(
            !self.model.is_empty(),
            "model",
            String::new(),
            "the name of a model",
        );
        let named = !self.causes.is_empty() && self.causes.keys().all(|name| !name.is_empty());
        let n = self.causes.len().to_string();
        expect(named, "causes", n, "at least one cause with a name");
        let nats = self.max_nats > 0.0 && self.max_nats <= 2.0;
        expect(nats, "max_nats", self.max_nats.to_string(), "0 < nats <= 2");
        for (path, value, low, high) in [
            ("max_findings", self.max_findings, 1, 16),
            ("max_evidence", self.max_evidence, 1, 500),
            (
                "max_question_bytes",
                self.max_question_bytes,
                4 << 10,
                1 << 20,
            ),
        ] {
            let fits = (low..=high).contains(&value);
            expect(fits, path, value.to_string(), &format!("{low} to {high}"));
        }
        let tokens = (64..=8192).contains(&self.max_tokens);
        expect(
            tokens,
            "max_tokens",
            self.max_tokens.to_string(),
            "64 to 8192",
        );
        violations.into_result(())
    }
}
