//! What the model answered, as far as it can be checked.

use homeostasis_core::Confidence;
use homeostasis_core::port::chat_content;
use homeostasis_core::record::{PatchCandidate, PatchKind, RiskLevel};
use homeostasis_core::stage::PatchError;
use serde::Deserialize;

use super::ModelPatcher;
use super::prompt::{Prompt, whole_lines};
use crate::FilePatch;

/// Characters of its sentences that are kept.
const MAX_SENTENCE: usize = 300;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    patches: Vec<Said>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    file: String,
    old: String,
    new: String,
    behaviour: String,
    why: String,
}

/// The proposals of `body` that hold, in its order, each once.
pub(super) fn read(
    asking: &ModelPatcher,
    prompt: &Prompt,
    body: &[u8],
) -> Result<Vec<PatchCandidate>, PatchError> {
    let content = chat_content(body)?;
    let answer: Answer = serde_json::from_str(content.trim())
        .map_err(|error| PatchError::invalid("the model's answer", error.to_string()))?;
    let mut candidates: Vec<PatchCandidate> = Vec::new();
    for said in answer.patches.iter().take(asking.config.max_candidates) {
        match candidate(asking, prompt, said) {
            Ok(made) => {
                let is_same = |c: &PatchCandidate| (&c.path, &c.diff) == (&made.path, &made.diff);
                if !candidates.iter().any(is_same) {
                    candidates.push(made);
                }
            }
            Err(why) => tracing::info!(patcher = ModelPatcher::NAME, %why, "a proposal is dropped"),
        }
    }
    Ok(candidates)
}

fn candidate(
    asking: &ModelPatcher,
    prompt: &Prompt,
    said: &Said,
) -> Result<PatchCandidate, String> {
    let config = &asking.config;
    let file = prompt
        .files
        .get(&said.file)
        .ok_or_else(|| format!("file {:?}, expected one that was shown", said.file))?;
    let ends_line = |text: &str| text.ends_with('\n');
    let old = said.old.trim_end_matches('\n');
    if old.trim().is_empty() || !file.shows(old) {
        return Err(format!("{}: lines that were not shown so", file.path));
    }
    let mut places = whole_lines(&file.source, old);
    let at = match (places.next(), places.next()) {
        (Some(at), None) => at,
        (None, _) => return Err(format!("{}: lines that were redacted", file.path)),
        (Some(_), Some(_)) => return Err(format!("{}: lines that stand there twice", file.path)),
    };
    let (before, after) = (&file.source[..at], &file.source[at + old.len()..]);
    let new = if ends_line(&said.new) {
        said.new.trim_end_matches('\n')
    } else {
        said.new.as_str()
    };
    // Whole lines go with their end.
    let (new, after) = if new.is_empty() {
        let rest = after.strip_prefix("\r\n").or(after.strip_prefix('\n'));
        ("", rest.unwrap_or(after))
    } else {
        (new, after)
    };
    let text = format!("{before}{new}{after}");
    let made = FilePatch::from_texts(&file.path, &file.source, &text);
    let made = made.map_err(|error| error.to_string())?;
    let sentence = |text: &str| -> String {
        let text = asking.redactor.text(text);
        let shown = text.chars().filter(|c| !c.is_control());
        shown.take(MAX_SENTENCE).collect()
    };
    let kind = PatchKind::Code;
    let diff = made.diff.to_string();
    let mut candidate =
        PatchCandidate::new(ModelPatcher::NAME, kind, &file.path, made.base_hash, diff);
    candidate.explanation = format!(
        "the model {} says, unverified: {}",
        config.model,
        sentence(&said.why)
    );
    candidate.behaviour = sentence(&said.behaviour);
    candidate.template = format!("model/{}", config.model);
    candidate.confidence = Confidence::saturating(config.confidence);
    let judged = asking.validator.validate(&file.path, &file.source, &text);
    candidate.risk = judged.risk.max(RiskLevel::Medium);
    candidate.requires_review = true;
    Ok(candidate)
}
