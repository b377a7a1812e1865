//! A patcher that knows remedies.

use std::cmp::Reverse;
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::document::{Fields, Parser, decode, list, nested};
use homeostasis_core::record::{Hypothesis, PatchCandidate, PatchKind};
use homeostasis_core::stage::{PatchError, PatchRequest, Patcher};
use homeostasis_core::{ConfigError, Context, ErrorKind, Violations};

use crate::project_file::ProjectFile;
use crate::{ConfigRemedy, FilePatch, FilePatchError, Format};

/// The most a patcher may propose.
const MAX_CANDIDATES: usize = 20;

/// Proposes changes of settings from remedies that people wrote down.
///
/// It goes through the hypotheses of a diagnosis, best first (none if it abstained), and makes a
/// candidate of every remedy that treats one and would change its file as data.
/// Each remedy is tried once, for the best hypothesis it treats, whose confidence the candidate
/// takes. Candidates are ordered by confidence, then by risk (the least first), then as written.
///
/// It reads files of at most 4 MiB below the root, blocking, follows no symbolic link and writes
/// nothing. A remedy that fails while another does not is told to `tracing` as a warning.
///
/// # Examples
/// ```
/// use homeostasis::patch::ConfigPatcher;
///
/// let patcher = ConfigPatcher::from_document("remedies.yaml", "\
/// remedies:
///   - cause: slow_dependency
///     service: orders
///     file: deploy/orders/config.toml
///     edits:
///       - {set: server.timeout_ms, to: 1000, expecting: 500}
///     explanation: the database answers within 800 ms after a failover
///     risk: low
/// ")?;
/// assert_eq!(patcher.remedies().len(), 1);
///
/// let error = ConfigPatcher::from_document("r.yaml", "remedies: [{cause: x, file: /etc/passwd}]");
/// assert_eq!(
///     error.unwrap_err().to_string(),
///     "r.yaml:1:12: remedies[0].edits is missing, expected a list of at least 1\n\
///      r.yaml:1:29: remedies[0].file = \"/etc/passwd\", \
///      expected a relative path that stays inside the tree",
/// );
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigPatcher {
    remedies: Vec<ConfigRemedy>,
}

impl ConfigPatcher {
    /// A patcher with these remedies; with none it proposes nothing.
    ///
    /// # Errors
    /// Everything that is wrong with them, as `remedies[0].file` and so on.
    pub fn new(remedies: impl IntoIterator<Item = ConfigRemedy>) -> Result<Self, ConfigError> {
        let remedies: Vec<_> = remedies.into_iter().collect();
        let mut violations = Violations::new();
        for (idx, remedy) in remedies.iter().enumerate() {
            remedy.check(&format!("remedies[{idx}]"), &mut violations);
        }
        violations.into_result(Self { remedies })
    }

    /// Reads a document (YAML, or JSON) with a list `remedies`; see [`ConfigRemedy::read`].
    ///
    /// # Errors
    /// Everything that is wrong with it, with line and column.
    pub fn from_document(source: &str, text: &str) -> Result<Self, ConfigError> {
        let node = Parser::new().source(source).parse(text)?;
        let remedies = decode(
            &node,
            nested(|d: &mut Fields<'_>| d.required("remedies", list(nested(ConfigRemedy::read)))),
        )?;
        Self::new(remedies)
    }

    /// The remedies, as written.
    pub fn remedies(&self) -> &[ConfigRemedy] {
        &self.remedies
    }
}

#[async_trait]
impl Patcher for ConfigPatcher {
    // The trait gives names that may be computed.
    #[allow(clippy::unnecessary_literal_bound)]
    fn name(&self) -> &str {
        "config"
    }

    /// # Errors
    /// - [`PatchError::Failed`]: all matching remedies failed, each named with its reason; its
    ///   kind is transient if any may pass, denied if all were, else permanent.
    /// - [`PatchError::Cancelled`], [`PatchError::Timeout`]: looked for between files.
    async fn propose(
        &self,
        cx: &Context,
        request: PatchRequest<'_>,
    ) -> Result<Vec<PatchCandidate>, PatchError> {
        let ranked = match request.diagnosis.root_cause() {
            Some(_) => request.diagnosis.hypotheses.as_slice(),
            None => return Ok(Vec::new()),
        };
        let mut candidates: Vec<PatchCandidate> = Vec::new();
        let mut failures = Vec::new();
        let mut n_done = 0;
        for (idx, remedy) in self.remedies.iter().enumerate() {
            let Some(hypothesis) = ranked.iter().find(|h| remedy.treats(h)) else {
                continue;
            };
            check_time(cx)?;
            match candidate(self.name(), remedy, hypothesis, request.root) {
                Ok(Some(found)) => {
                    let is_same =
                        |c: &PatchCandidate| (&c.path, &c.diff) == (&found.path, &found.diff);
                    match candidates.iter_mut().find(|c| is_same(c)) {
                        Some(known) if known.confidence < found.confidence => *known = found,
                        Some(_) => {}
                        None => candidates.push(found),
                    }
                }
                Ok(None) => n_done += 1,
                Err(error) => failures.push((idx, error)),
            }
        }
        if candidates.is_empty() && n_done == 0 && !failures.is_empty() {
            return Err(all_failed(&failures));
        }
        for (idx, error) in &failures {
            let reason = with_causes(error);
            tracing::warn!(patcher = self.name(), remedy = idx, %reason, "remedy was skipped");
        }
        candidates.sort_by_key(|c| (Reverse(c.confidence), c.risk));
        candidates.truncate(MAX_CANDIDATES);
        Ok(candidates)
    }
}

fn check_time(cx: &Context) -> Result<(), PatchError> {
    let during = || "reading configuration files".to_owned();
    if cx.cancellation().is_cancelled() {
        return Err(PatchError::Cancelled { during: during() });
    }
    if cx.remaining() == Some(Duration::ZERO) {
        return Err(PatchError::Timeout { during: during() });
    }
    Ok(())
}

/// `None` if the file says already what the remedy asks for.
fn candidate(
    patcher: &str,
    remedy: &ConfigRemedy,
    hypothesis: &Hypothesis,
    root: &Path,
) -> Result<Option<PatchCandidate>, FilePatchError> {
    let path = remedy.file.as_str();
    let format = Format::from_path(path).ok_or_else(|| FilePatchError::Format {
        path: path.to_owned(),
    })?;
    let file = ProjectFile::read(root, path)?;
    let mut text = file.text().to_owned();
    let mut changes = Vec::new();
    let mut edits = Vec::new();
    for edit in &remedy.edits {
        let change = edit
            .change(&text, format)
            .map_err(|source| FilePatchError::Edit {
                path: path.to_owned(),
                source,
            })?;
        if let Some(change) = change {
            text = change.text;
            changes.push(change.sentence);
            edits.push(edit.clone());
        }
    }
    if text == file.text() {
        return Ok(None);
    }
    let made = FilePatch::from_edits(path, file.text(), edits)?;
    let mut candidate = PatchCandidate::new(
        patcher,
        PatchKind::Configuration,
        path,
        made.base_hash,
        made.diff.to_string(),
    );
    candidate.confidence = hypothesis.confidence;
    candidate.risk = remedy.risk;
    candidate.explanation = format!(
        "{} in {path}, because of {} of {}",
        changes.join(", "),
        hypothesis.cause,
        hypothesis.target
    );
    if !remedy.explanation.trim().is_empty() {
        candidate.explanation.push_str(": ");
        candidate.explanation.push_str(remedy.explanation.trim());
    }
    Ok(Some(candidate))
}

fn all_failed(failures: &[(usize, FilePatchError)]) -> PatchError {
    let all = |kind| failures.iter().all(|(_, error)| error.kind() == kind);
    let kind = if failures.iter().any(|(_, e)| e.kind().is_retryable()) {
        ErrorKind::Transient
    } else if all(ErrorKind::Denied) {
        ErrorKind::Denied
    } else {
        ErrorKind::Permanent
    };
    let reasons: Vec<_> = failures
        .iter()
        .map(|(idx, error)| format!("remedies[{idx}]: {}", with_causes(error)))
        .collect();
    PatchError::Failed {
        what: format!("each of the {} matching remedies", failures.len()),
        kind,
        source: Some(reasons.join("; ").into()),
    }
}

fn with_causes(error: &FilePatchError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
