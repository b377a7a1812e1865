//! What the model answered, as far as it can be checked.

use std::collections::{BTreeMap, BTreeSet};

use homeostasis_core::Target;
use homeostasis_core::port::{Redactor, chat_content};
use homeostasis_core::record::{Finding, Proof, Role};
use homeostasis_core::stage::AnalyzeError;
use serde::Deserialize;

use super::ModelAnalyzer;
use super::config::ModelConfig;
use super::prompt::Prompt;

/// Characters of its reason that are kept.
const MAX_WHY: usize = 300;

/// Proofs of one finding.
const MAX_PROOFS: usize = 8;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    findings: Vec<Said>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    target: String,
    cause: String,
    direction: Direction,
    strength: f64,
    evidence: Vec<String>,
    why: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Direction {
    For,
    Against,
}

/// The findings of `body` that hold; each target and cause once, the first that says it.
pub(super) fn read(
    config: &ModelConfig,
    prompt: &Prompt,
    body: &[u8],
    redactor: &dyn Redactor,
) -> Result<Vec<Finding>, AnalyzeError> {
    let answer: Answer = serde_json::from_str(chat_content(body)?.trim())
        .map_err(|error| AnalyzeError::invalid("the model's answer", error.to_string()))?;
    let mut known = BTreeSet::new();
    let mut findings = Vec::new();
    for said in answer.findings.into_iter().take(config.max_findings) {
        let (target, cause) = (said.target.clone(), said.cause.clone());
        match finding(config, prompt, &said, redactor) {
            Ok(finding) if known.insert((target, cause)) => findings.push(finding),
            Ok(_) => {}
            Err(why) => tracing::debug!(why, "a finding of the model is dropped"),
        }
    }
    bound(&mut findings, config.max_nats);
    Ok(findings)
}

/// Takes back what the findings of one service say together beyond `max_nats`.
fn bound(findings: &mut [Finding], max_nats: f64) {
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    for finding in &*findings {
        let sum = sums.entry(finding.target.service_name().to_owned());
        *sum.or_default() += finding.log_likelihood_ratio.abs();
    }
    for finding in findings {
        let sum = sums.get(finding.target.service_name()).copied();
        if let Some(sum) = sum.filter(|sum| *sum > max_nats) {
            finding.log_likelihood_ratio *= max_nats / sum;
        }
    }
}

fn finding(
    config: &ModelConfig,
    prompt: &Prompt,
    said: &Said,
    redactor: &dyn Redactor,
) -> Result<Finding, &'static str> {
    let category = config.causes.get(&said.cause).ok_or("an unknown cause")?;
    if !prompt.targets.contains(&said.target) {
        return Err("an unknown target");
    }
    let target = Target::service(&said.target).map_err(|_| "no target")?;
    if !(0.0..=1.0).contains(&said.strength) {
        return Err("a strength out of range");
    }
    let cited: Vec<_> = said
        .evidence
        .iter()
        .map(|id| prompt.pieces.get(id))
        .collect::<Option<_>>()
        .ok_or("a piece it was not given")?;
    if !cited
        .iter()
        .any(|piece| piece.target.service_name() == said.target)
    {
        return Err("no piece of that service");
    }
    let sign = match said.direction {
        Direction::For => 1.0,
        Direction::Against => -1.0,
    };
    let nats = sign * said.strength * config.max_nats;
    let why: String = redactor
        .text(&said.why)
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_WHY)
        .collect();
    let made = Finding::new(
        ModelAnalyzer::NAME,
        target,
        said.cause.clone(),
        *category,
        Role::Context,
        nats,
    );
    let mut made = made.saying(format!(
        "the model {} says, unverified: {why}",
        config.model
    ));
    for piece in cited.into_iter().take(MAX_PROOFS) {
        made.proofs.push(Proof {
            kind: "cited".to_owned(),
            reference: piece.target.to_string(),
            at: Some(piece.at),
            statement: piece.text.clone(),
        });
    }
    Ok(made)
}
