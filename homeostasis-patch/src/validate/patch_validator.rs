//! The validator.

use homeostasis_core::record::{PatchCandidate, RiskLevel};
use homeostasis_core::{ConfigError, Digest};

use super::fact::{ChangedLines, Difference, Fact, Sense, compare};
use super::names::Names;
use super::references::{self, references};
use super::time_limits::{self, TimeLimit};
use super::token::{FlatTree, line_starts};
use super::validation::{Flag, shortened};
use super::{
    Refusal, RefusalReason, RiskFactor, TextSide, Validation, ValidatorConfig, assertions,
    characters, dead_code, errors, flags, guard_changes, handlers, hosts, identity, lints, logs,
    protected, resources, secrets, settings, test_cases,
};
use crate::edit::Format;
use crate::syntax::Syntax;
use crate::{
    DEFAULT_CONTEXT, DiffError, FilePatch, FilePatchError, Language, LineKind, UnifiedDiff,
};

/// A change over more lines than this, from the first to the last, is not even compared.
const MAX_SPAN: usize = 5_000;

/// People do not write lines of more bytes than this.
const MAX_LINE: usize = 2_000;

/// Judges a change of one file by what it adds and takes away, as syntax.
///
/// What was there before may stay. Refused is what is new and dangerous (processes, text run as
/// code, objects read from data, the network, native and unsafe code, credentials, characters that
/// deceive), what protected and is gone or weaker (assertions, tests, checks of permission, error
/// handling, logs, time limits, verification), and what is not a patch's business (the build, the
/// tests, the pipeline, files that are created or deleted, large changes). The rest is a matter of
/// risk: see [`Flag`].
///
/// It is a filter, not a proof: a name can be hidden from any reader of syntax, so a patch is also
/// tested in a sandbox.
///
/// A change that is larger than allowed is refused for that alone and not looked at further.
/// Otherwise it takes some ten milliseconds for a file of usual size; it reads no files and panics on
/// nothing.
///
/// # Examples
/// ```
/// use homeostasis::patch::{PatchValidator, RefusalReason};
///
/// let validator = PatchValidator::default();
/// let old = "def mean(values):\n    return sum(values) / len(values)\n";
///
/// let guard = "def mean(values):\n    if not values:\n        return 0.0\n    return sum(values) / len(values)\n";
/// assert!(validator.validate("app/stats.py", old, guard).is_accepted());
///
/// let swallow = "def mean(values):\n    try:\n        return sum(values) / len(values)\n    except Exception:\n        pass\n";
/// let validation = validator.validate("app/stats.py", old, swallow);
/// assert!(validation.is_refused_for(RefusalReason::SwallowedError));
/// assert!(validation.is_refused_for(RefusalReason::BroadenedCatch));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PatchValidator {
    config: ValidatorConfig,
}

impl PatchValidator {
    /// A validator with these limits.
    ///
    /// # Errors
    /// Everything in `config` that is out of its range.
    pub fn new(config: ValidatorConfig) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self { config })
    }

    /// The limits.
    pub fn config(&self) -> &ValidatorConfig {
        &self.config
    }

    /// Why no patch may touch the file `path` (relative to the project), if so.
    pub fn protection(&self, path: &str) -> Option<String> {
        protected::protection(path, &self.config)
    }

    /// Judges the change of the file `path` (relative to the project) from `old` to `new`.
    pub fn validate(&self, path: &str, old: &str, new: &str) -> Validation {
        let mut judge = Judge::new(path);
        if protected::is_odd(path) {
            judge.refuse(RefusalReason::PathEscape, path);
            return judge.finish(&self.config);
        }
        if let Some(why) = protected::protection(path, &self.config) {
            judge.refuse(RefusalReason::ProtectedFile, &why);
        }
        let n_bytes = old.len().max(new.len());
        if n_bytes > self.config.max_bytes {
            let expected = format!("at most {} bytes", self.config.max_bytes);
            judge.refuse_as(
                RefusalReason::TooLarge,
                &format!("{n_bytes} bytes"),
                &expected,
            );
            return judge.finish(&self.config);
        }
        if old == new {
            judge.refuse(RefusalReason::Unchanged, path);
            return judge.finish(&self.config);
        }
        let Some(changed) = judge.measure(old, new, &self.config) else {
            return judge.finish(&self.config);
        };
        let language = Language::from_path(path.as_ref());
        let format = Format::from_path(path);
        let (before, after) = match (language, format) {
            (Some(language), _) => judge.code(language, old, new, &changed),
            (None, Some(format)) => judge.configuration(format, old, new),
            (None, None) => {
                judge.refuse(RefusalReason::UnknownLanguage, path);
                (secrets::plain_facts(old), secrets::plain_facts(new))
            }
        };
        let is_java = language == Some(Language::Java);
        judge.differences(&before, &after, &changed);
        let (before, after) = (
            characters::facts(old, is_java),
            characters::facts(new, is_java),
        );
        judge.differences(&before, &after, &changed);
        judge.finish(&self.config)
    }

    /// Judges a patch on the text it was made for.
    pub fn validate_patch(&self, patch: &FilePatch, source: &str) -> Validation {
        match patch.apply(source) {
            Ok(new) => self.validate(&patch.path, source, &new),
            Err(error) => {
                let mut judge = Judge::new(&patch.path);
                let reason = match error {
                    FilePatchError::Drifted { .. } => RefusalReason::Drifted,
                    _ => RefusalReason::UnreadableDiff,
                };
                judge.refuse(reason, &error.to_string());
                judge.finish(&self.config)
            }
        }
    }

    /// Judges a candidate on the text it was made for. The risk is the change's own: compare it
    /// with the one the patcher gave.
    pub fn validate_candidate(&self, candidate: &PatchCandidate, source: &str) -> Validation {
        let path = candidate.path.as_str();
        let mut judge = Judge::new(path);
        if protected::is_odd(path) {
            judge.refuse(RefusalReason::PathEscape, path);
        } else if Digest::of_bytes(source.as_bytes()) != candidate.base {
            judge.refuse(RefusalReason::Drifted, path);
        } else {
            match judge.patched(&candidate.diff, source, self.config.max_bytes) {
                Some(new) => return self.validate(path, source, &new),
                None => return judge.finish(&self.config),
            }
        }
        judge.finish(&self.config)
    }
}

/// A validation in the making.
struct Judge {
    validation: Validation,
}

impl Judge {
    fn new(path: &str) -> Self {
        let validation = Validation {
            file: path.to_owned(),
            refusals: Vec::new(),
            factors: Vec::new(),
            score: 0,
            risk: RiskLevel::Low,
            n_added: 0,
            n_removed: 0,
            n_hunks: 0,
        };
        Self { validation }
    }

    fn refuse(&mut self, reason: RefusalReason, text: &str) {
        self.refuse_as(reason, text, reason.expected());
    }

    fn refuse_as(&mut self, reason: RefusalReason, text: &str, expected: &str) {
        self.refuse_at(reason, text, expected, 0, TextSide::New);
    }

    fn refuse_at(
        &mut self,
        reason: RefusalReason,
        text: &str,
        expected: &str,
        line: usize,
        side: TextSide,
    ) {
        let refusal = Refusal {
            reason,
            file: self.validation.file.clone(),
            line,
            side,
            text: shortened(text),
            expected: expected.to_owned(),
        };
        if !self.validation.refusals.contains(&refusal) {
            self.validation.refusals.push(refusal);
        }
    }

    fn flag(&mut self, flag: Flag, line: usize, side: TextSide, text: &str) {
        if self
            .validation
            .factors
            .iter()
            .any(|factor| factor.flag == flag)
        {
            return;
        }
        let (points, text) = (flag.points(), shortened(text));
        self.validation.factors.push(RiskFactor {
            flag,
            points,
            line,
            side,
            text,
        });
    }

    /// The text the diff of a candidate gives, if it may be looked at.
    fn patched(&mut self, diff: &str, source: &str, max_bytes: usize) -> Option<String> {
        if diff.len() > max_bytes {
            let expected = format!("at most {max_bytes} bytes");
            self.refuse_as(
                RefusalReason::TooLarge,
                &format!("a diff of {} bytes", diff.len()),
                &expected,
            );
            return None;
        }
        let path = self.validation.file.clone();
        let parsed: UnifiedDiff = match diff.parse() {
            Ok(parsed) => parsed,
            Err(error) => {
                let reason = match &error {
                    DiffError::Path { .. } => RefusalReason::PathEscape,
                    DiffError::Parse { .. } if changes_kind(diff) => RefusalReason::FileKind,
                    _ => RefusalReason::UnreadableDiff,
                };
                self.refuse(reason, &error.to_string());
                return None;
            }
        };
        let [file] = parsed.files() else {
            let (n, many) = (parsed.files().len(), RefusalReason::TooManyFiles);
            let reason = if n == 0 {
                RefusalReason::Unchanged
            } else {
                many
            };
            self.refuse(reason, &format!("{n} files"));
            return None;
        };
        if file.creates() || file.deletes() || changes_kind(diff) && file.hunks().is_empty() {
            self.refuse(RefusalReason::FileKind, file.path());
            return None;
        }
        if file.path() != path {
            let expected = format!("{path}, the file of the candidate");
            self.refuse_as(RefusalReason::PathEscape, file.path(), &expected);
            return None;
        }
        match parsed.apply(source) {
            Ok(new) => Some(new),
            Err(error) => {
                self.refuse(RefusalReason::UnreadableDiff, &error.to_string());
                None
            }
        }
    }

    /// Counts lines and hunks, and tells which lines are touched. A change that is too large is
    /// not looked at further: `None`. That bounds what a parser gets to read that the project did
    /// not hold before.
    fn measure(&mut self, old: &str, new: &str, config: &ValidatorConfig) -> Option<ChangedLines> {
        let mut changed = ChangedLines::default();
        let span = span(old, new);
        if span > MAX_SPAN {
            let expected = format!("a change within {MAX_SPAN} lines");
            let text = format!("a change over {span} lines");
            self.refuse_as(RefusalReason::TooManyLines, &text, &expected);
            return None;
        }
        let diff = match UnifiedDiff::between(
            &self.validation.file,
            Some(old),
            Some(new),
            DEFAULT_CONTEXT,
        ) {
            Ok(diff) => diff,
            Err(error) => {
                self.refuse(RefusalReason::UnreadableDiff, &error.to_string());
                return None;
            }
        };
        let mut longest = 0;
        for hunk in diff.files().iter().flat_map(crate::FileDiff::hunks) {
            self.validation.n_hunks += 1;
            let (mut at_old, mut at_new) = (hunk.old_start() + 1, hunk.new_start() + 1);
            for line in hunk.lines() {
                match line.kind {
                    LineKind::Delete => changed.old.push(at_old),
                    LineKind::Insert => {
                        longest = longest.max(line.text.len());
                        changed.new.push(at_new);
                    }
                    LineKind::Context => {}
                }
                at_old += usize::from(line.kind != LineKind::Insert);
                at_new += usize::from(line.kind != LineKind::Delete);
            }
        }
        let (n_added, n_removed) = (changed.new.len(), changed.old.len());
        (self.validation.n_added, self.validation.n_removed) = (n_added, n_removed);
        if n_added.max(n_removed) > config.max_lines {
            let expected = format!("at most {} of either", config.max_lines);
            let text = format!("{n_added} lines added, {n_removed} removed");
            self.refuse_as(RefusalReason::TooManyLines, &text, &expected);
        } else if n_added.max(n_removed) > 10 {
            self.flag(
                Flag::ManyLines,
                0,
                TextSide::New,
                &format!("{n_added} added, {n_removed} removed"),
            );
        }
        if self.validation.n_hunks > config.max_hunks {
            let expected = format!("at most {}", config.max_hunks);
            self.refuse_as(
                RefusalReason::TooManyHunks,
                &format!("{} hunks", self.validation.n_hunks),
                &expected,
            );
        }
        if longest > MAX_LINE {
            let expected = format!("added lines of at most {MAX_LINE} bytes");
            let text = format!("a line of {longest} bytes");
            self.refuse_as(RefusalReason::TooLarge, &text, &expected);
        }
        let is_small = self.validation.refusals.iter().all(|refusal| {
            !matches!(
                refusal.reason,
                RefusalReason::TooManyLines | RefusalReason::TooManyHunks | RefusalReason::TooLarge
            )
        });
        is_small.then_some(changed)
    }

    fn code(
        &mut self,
        language: Language,
        old: &str,
        new: &str,
        changed: &ChangedLines,
    ) -> (Vec<Fact>, Vec<Fact>) {
        self.flag(Flag::Code, 0, TextSide::New, &language.to_string());
        let (old_syntax, new_syntax) = (Syntax::parse(language, old), Syntax::parse(language, new));
        let (n_old, errors) = (old_syntax.errors().len(), new_syntax.errors());
        if errors.len() > n_old {
            let lines = line_starts(new);
            let line_of = |offset: usize| lines.partition_point(|start| *start <= offset);
            let found = || errors.iter().map(|range| line_of(range.start));
            let is_changed = |line: &usize| changed.new.binary_search(line).is_ok();
            let line = found()
                .find(is_changed)
                .or_else(|| found().min())
                .unwrap_or(0);
            let text = new.lines().nth(line.saturating_sub(1)).unwrap_or_default();
            let reason = RefusalReason::SyntaxError;
            self.refuse_at(reason, text, reason.expected(), line, TextSide::New);
        }
        let (old_tree, new_tree) = (
            FlatTree::new(&old_syntax, old),
            FlatTree::new(&new_syntax, new),
        );
        let old_names = Names::of(&old_tree);
        let path = self.validation.file.clone();
        let before = code_facts(&old_tree, old, &path, &old_names, &old_names);
        let after = code_facts(&new_tree, new, &path, &Names::of(&new_tree), &old_names);
        self.near_danger(&new_tree, &after, changed);
        self.found(guard_changes::differences(&old_tree, &new_tree, changed));
        let (old_limits, new_limits) = (
            time_limits::time_limits(&old_tree),
            time_limits::time_limits(&new_tree),
        );
        for (was, now) in time_limits::wider(&old_limits, &new_limits) {
            self.wider_limit(was, now);
        }
        (before, after)
    }

    fn wider_limit(&mut self, was: &TimeLimit, now: Option<&TimeLimit>) {
        let reason = RefusalReason::WiderTimeLimit;
        match now {
            Some(now) => {
                let expected = format!("{}: {:?}", reason.expected(), was.text);
                self.refuse_at(reason, &now.text, &expected, now.line, TextSide::New);
            }
            None => self.refuse_at(
                reason,
                &was.text,
                reason.expected(),
                was.line,
                TextSide::Old,
            ),
        }
    }

    /// A change in a function with something that would be refused if it were new.
    fn near_danger(&mut self, tree: &FlatTree<'_>, facts: &[Fact], changed: &ChangedLines) {
        let function_at = |line: usize| {
            let token = tree.tokens.partition_point(|t| t.line < line);
            tree.function_of(token)
        };
        let touched: Vec<_> = changed
            .new
            .iter()
            .filter_map(|line| function_at(*line))
            .collect();
        let near = facts.iter().find(|fact| {
            let is_danger = matches!(
                fact.sense,
                Sense::Forbidden(
                    RefusalReason::Process
                        | RefusalReason::Evaluation
                        | RefusalReason::Deserialization
                        | RefusalReason::ForeignCode
                        | RefusalReason::UnsafeCode
                        | RefusalReason::Destruction
                )
            );
            is_danger && function_at(fact.line).is_some_and(|function| touched.contains(&function))
        });
        if let Some(fact) = near {
            self.flag(Flag::NearDanger, fact.line, TextSide::New, &fact.text);
        }
    }

    fn configuration(&mut self, format: Format, old: &str, new: &str) -> (Vec<Fact>, Vec<Fact>) {
        let mut after = secrets::plain_facts(new);
        let mut before = secrets::plain_facts(old);
        before.extend(settings::config_facts(old, format).unwrap_or_default());
        match settings::config_facts(new, format) {
            Ok(facts) => after.extend(facts),
            Err(error) => self.refuse(RefusalReason::SyntaxError, &error),
        }
        hosts::soften(&before, &mut after);
        (before, after)
    }

    fn differences(&mut self, before: &[Fact], after: &[Fact], changed: &ChangedLines) {
        self.found(compare(before, after, changed));
    }

    fn found(&mut self, differences: Vec<Difference>) {
        for Difference { fact, side } in differences {
            match fact.sense {
                Sense::Forbidden(reason) | Sense::Required(reason) => {
                    self.refuse_at(reason, &fact.text, reason.expected(), fact.line, side);
                }
                Sense::Risky(flag) | Sense::Kept(flag) => {
                    self.flag(flag, fact.line, side, &fact.text);
                }
            }
        }
    }

    fn finish(mut self, config: &ValidatorConfig) -> Validation {
        let validation = &mut self.validation;
        validation
            .refusals
            .sort_by_key(|refusal| (refusal.reason, refusal.line));
        validation.factors.sort_by_key(|factor| factor.flag);
        validation.score = validation.factors.iter().map(|factor| factor.points).sum();
        validation.risk = match validation.score {
            score if score >= config.high_from => RiskLevel::High,
            score if score >= config.medium_from => RiskLevel::Medium,
            _ => RiskLevel::Low,
        };
        self.validation
    }
}

fn code_facts(
    tree: &FlatTree<'_>,
    text: &str,
    path: &str,
    names: &Names,
    before: &Names,
) -> Vec<Fact> {
    let references = references(tree);
    let mut found = references::facts(tree, names, &references, before);
    found.extend(assertions::facts(tree, names, &references));
    found.extend(dead_code::facts(tree));
    found.extend(errors::facts(tree));
    found.extend(logs::facts(tree, names, &references));
    found.extend(test_cases::facts(tree, names, &references));
    found.extend(hosts::facts(tree));
    found.extend(resources::facts(tree, names, &references));
    found.extend(identity::facts(tree, names, &references));
    found.extend(lints::facts(tree));
    found.extend(handlers::facts(tree, names, &references));
    found.extend(settings::facts(tree));
    found.extend(secrets::facts(tree, text));
    found.extend(flags::facts(tree, names, &references, path));
    found
}

/// The diff has lines, outside of hunks, about the kind of a file.
fn changes_kind(diff: &str) -> bool {
    let starts = [
        "new file mode",
        "deleted file mode",
        "old mode",
        "new mode",
        "rename from",
        "copy from",
        "GIT binary patch",
        "Binary files",
        "similarity index",
    ];
    diff.lines()
        .any(|line| starts.iter().any(|start| line.starts_with(start)))
}

/// How many lines lie between the first and the last that differ, in the longer text.
fn span(old: &str, new: &str) -> usize {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[start..], &new[start..]);
    let end = old
        .iter()
        .rev()
        .zip(new.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    old.len().max(new.len()) - end
}
