//! From an error to ranked candidates.

use std::sync::Arc;

use homeostasis_core::record::{PatchCandidate, PatchKind};
use homeostasis_core::signal::{ErrorEvent, Frame};
use homeostasis_core::{Clock, Confidence, ConfigError};

use super::budget::{Meter, ProposalBudget};
use super::coded;
use super::draft::{Draft, Drafts};
use super::site::Site;
use super::source_tree::SourceTree;
use super::template_set::TemplateSet;
use crate::syntax::Syntax;
use crate::{FilePatch, Language};

/// The most candidates of one error.
const MAX_CANDIDATES: usize = 20;

/// The most candidates of one template, so that one does not push out the others.
const MAX_OF_ONE: usize = 4;

/// What is left of the confidence from one frame to its caller.
const CALLER: f64 = 0.8;

/// What a [`Proposer`] made of an error.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Proposal {
    /// Best first, at most 20, all different, each of which parses as well as the text it is for.
    pub candidates: Vec<PatchCandidate>,
    /// Why nothing is proposed for this kind of error, where that is known.
    pub refusals: Vec<TemplateRefusal>,
    /// What was made and not kept.
    pub dropped: Dropped,
    /// Files that frames name and that could not be read, with the reason.
    pub unread: Vec<String>,
    /// Which part of the [`ProposalBudget`] ended, and where; `None` if everything was looked at.
    pub ended: Option<String>,
    /// Why there are no candidates, in a sentence; `None` if there are.
    pub reason: Option<String>,
}

/// Why nothing is proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TemplateRefusal {
    /// The template that says so.
    pub template: String,
    /// Its reason.
    pub reason: String,
}

/// How many drafts were not kept, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Dropped {
    /// The result did not parse as well as the source.
    pub unparsable: usize,
    /// It would have evaluated twice what has an effect.
    pub evaluates_twice: usize,
    /// It would have asked in front of a statement what the statement evaluates under a condition, or
    /// caught the errors of more than what failed.
    pub unsound: usize,
    /// Less confidence than the template asks for.
    pub doubtful: usize,
    /// The same change came of something better, or nothing changed.
    pub repeated: usize,
    /// More than may be proposed.
    pub surplus: usize,
}

/// Makes candidates of an error's frames and a set of templates.
///
/// Every frame that lies in the tree is looked at, the callee first, of the error and of the one
/// that began it. A match must stand on the line of a frame, and hold its column if one is known.
/// Ranked by confidence: of the template, less for callers, for places that fit less well, and for
/// values that had to be invented.
///
/// ```
/// use homeostasis::core::signal::{ErrorEvent, Frame};
/// use homeostasis::patch::{Proposer, SourceTree, TemplateSet};
///
/// let root = tempfile::tempdir()?;
/// std::fs::write(root.path().join("cart.py"), "def price(d):\n    return d['price'] * 2\n")?;
/// let mut error = ErrorEvent::new("python", "KeyError", "'price'");
/// error.frames.push(Frame { file: "cart.py".into(), line: 2, ..Frame::default() });
///
/// let proposer = Proposer::new(TemplateSet::built_in()?);
/// let proposal = proposer.propose(&SourceTree::new(root.path()), &error);
/// assert!(proposal.candidates[0].diff.contains("+    return d.get('price', 0) * 2"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Proposer {
    templates: Arc<TemplateSet>,
    budget: ProposalBudget,
}

impl Proposer {
    /// The name that candidates carry.
    pub const NAME: &'static str = "template";

    /// A proposer with these templates, and those in code.
    pub fn new(templates: TemplateSet) -> Self {
        Self {
            templates: Arc::new(templates),
            budget: ProposalBudget::default(),
        }
    }

    /// The same proposer with another budget for each error.
    ///
    /// # Errors
    /// Everything in the budget that is out of range.
    pub fn within(self, budget: ProposalBudget) -> Result<Self, ConfigError> {
        budget.validate()?;
        Ok(Self { budget, ..self })
    }

    /// Proposes; reads the files of the frames and writes nothing. Files that cannot be read are
    /// named in [`Proposal::unread`]. Takes time linear in the sizes of the files for each pattern of
    /// their language, bounded by the [`ProposalBudget`] but for its time, which needs a clock.
    pub fn propose(&self, tree: &SourceTree, error: &ErrorEvent) -> Proposal {
        self.propose_metered(tree, error, Meter::new(&self.budget, None))
    }

    /// Proposes as [`propose`](Self::propose) does, and no longer than the budget says by `clock`.
    pub fn propose_timed(
        &self,
        tree: &SourceTree,
        error: &ErrorEvent,
        clock: &dyn Clock,
    ) -> Proposal {
        self.propose_metered(tree, error, Meter::new(&self.budget, Some(clock)))
    }

    fn propose_metered(&self, tree: &SourceTree, error: &ErrorEvent, meter: Meter<'_>) -> Proposal {
        let mut search = Search {
            templates: &self.templates,
            meter,
            proposal: Proposal::default(),
            ranked: Vec::new(),
            n_sites: 0,
            languages: Vec::new(),
            is_known: false,
        };
        let root = error.root();
        search.of_error(tree, error, 1.0);
        if !std::ptr::eq(root, error) {
            search.of_error(tree, root, 0.98);
        }
        let silence = search.silence(error);
        let Search {
            meter,
            mut proposal,
            mut ranked,
            ..
        } = search;
        proposal.ended = meter.ended();
        ranked.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        for (_, candidate) in ranked {
            let is_same =
                |c: &PatchCandidate| (&c.path, &c.diff) == (&candidate.path, &candidate.diff);
            let n_of_it = proposal
                .candidates
                .iter()
                .filter(|c| c.template == candidate.template)
                .count();
            if proposal.candidates.iter().any(is_same) {
                proposal.dropped.repeated += 1;
            } else if n_of_it >= MAX_OF_ONE || proposal.candidates.len() >= MAX_CANDIDATES {
                proposal.dropped.surplus += 1;
            } else {
                proposal.candidates.push(candidate);
            }
        }
        if proposal.candidates.is_empty() {
            proposal.reason = Some(silence);
        }
        proposal
    }
}

/// What is found for an error, and what it has cost.
struct Search<'a> {
    templates: &'a TemplateSet,
    meter: Meter<'a>,
    proposal: Proposal,
    ranked: Vec<(f64, PatchCandidate)>,
    /// How many places in the project were looked at.
    n_sites: usize,
    languages: Vec<Language>,
    /// Whether a template is for such an error.
    is_known: bool,
}

impl Search<'_> {
    /// Why there is nothing, should there be nothing.
    fn silence(&self, error: &ErrorEvent) -> String {
        let proposal = &self.proposal;
        let kind = &error.root().kind;
        if !proposal.refusals.is_empty() {
            let reasons: Vec<&str> = proposal.refusals.iter().map(|it| &*it.reason).collect();
            return reasons.join("; ");
        }
        if let Some(ended) = self.meter.what_ended() {
            return ended.to_owned();
        }
        if self.n_sites == 0 {
            let n = error.frames.len();
            return proposal.unread.first().map_or_else(
                || format!("none of the {n} frames of {kind} lies in a source of the project"),
                |unread| format!("no source of {kind} could be read: {unread}"),
            );
        }
        if !self.is_known {
            let languages: Vec<String> = self.languages.iter().map(ToString::to_string).collect();
            return format!("no template of {} knows {kind}", languages.join(" or "));
        }
        let n = self.n_sites;
        let dropped = &proposal.dropped;
        let n_dropped = dropped.unparsable
            + dropped.evaluates_twice
            + dropped.unsound
            + dropped.doubtful
            + dropped.repeated;
        format!(
            "what templates know for {kind} fits none of the {n} places where it passed; \
             {n_dropped} changes were dropped"
        )
    }

    fn of_error(&mut self, tree: &SourceTree, error: &ErrorEvent, weight: f64) {
        let mut seen: Vec<&Frame> = Vec::new();
        let mut weight = weight;
        for frame in &error.frames {
            let is_seen = |f: &&Frame| (&f.file, f.line) == (&frame.file, frame.line);
            if frame.line == 0 || seen.iter().any(is_seen) {
                continue;
            }
            let Some(path) = tree.locate(frame) else {
                continue;
            };
            let Some(language) = Language::from_path(path.as_ref()) else {
                continue;
            };
            seen.push(frame);
            match tree.read(&path) {
                Ok(text) => {
                    let place = format!("{path}:{}", frame.line);
                    if !self.meter.takes_frame(&place, text.len()) {
                        return;
                    }
                    self.of_frame((&path, language, &text), error, frame, weight);
                }
                Err(error) => self.proposal.unread.push(error.to_string()),
            }
            weight *= CALLER;
        }
    }

    fn of_frame(
        &mut self,
        (path, language, text): (&str, Language, &str),
        error: &ErrorEvent,
        frame: &Frame,
        weight: f64,
    ) {
        let Some(site) = Site::new(language, text, error, frame.line, frame.column) else {
            let line = frame.line;
            self.proposal.unread.push(format!(
                "{path}: has no line {line}, expected the file that ran"
            ));
            return;
        };
        let place = format!("{path}:{}", frame.line);
        let n_nodes = site.root().dfs().count();
        if !self.meter.takes_nodes(&place, n_nodes) {
            return;
        }
        self.n_sites += 1;
        if !self.languages.contains(&language) {
            self.languages.push(language);
        }
        let templates = self.templates;
        for template in templates.of(language) {
            if template.treats(error).is_none() {
                continue;
            }
            self.is_known = true;
            if !self.meter.has_time(&place) {
                return;
            }
            if let Some(reason) = &template.refusal {
                let refusal = TemplateRefusal {
                    template: template.id.clone(),
                    reason: reason.clone(),
                };
                if !self.proposal.refusals.contains(&refusal) {
                    self.proposal.refusals.push(refusal);
                }
                continue;
            }
            self.keep(
                template.drafts(&site),
                (path, language, text),
                &place,
                weight,
            );
        }
        self.is_known |= coded::knows(&site);
        self.keep(coded::drafts(&site), (path, language, text), &place, weight);
    }

    fn keep(
        &mut self,
        drafts: Drafts,
        (path, language, text): (&str, Language, &str),
        place: &str,
        weight: f64,
    ) {
        let dropped = &mut self.proposal.dropped;
        dropped.evaluates_twice += drafts.n_twice;
        dropped.unsound += drafts.n_unsound;
        dropped.doubtful += drafts.n_doubtful;
        for draft in drafts.made {
            if !self.meter.takes_change(place) {
                return;
            }
            let confidence = draft.confidence * weight;
            match candidate(path, language, text, draft, confidence) {
                Ok(made) => self.ranked.push((confidence, made)),
                Err(NotKept::Unparsable) => self.proposal.dropped.unparsable += 1,
                Err(NotKept::Same) => self.proposal.dropped.repeated += 1,
            }
        }
    }
}

enum NotKept {
    Unparsable,
    Same,
}

fn candidate(
    path: &str,
    language: Language,
    text: &str,
    draft: Draft,
    confidence: f64,
) -> Result<PatchCandidate, NotKept> {
    let changed = draft.apply(text).ok_or(NotKept::Unparsable)?;
    let new = with_imports(language, changed, &draft.imports);
    if !parses_as_well(language, text, &new) {
        return Err(NotKept::Unparsable);
    }
    let patch = FilePatch::from_texts(path, text, &new).map_err(|_| NotKept::Same)?;
    let mut made = PatchCandidate::new(
        Proposer::NAME,
        PatchKind::Code,
        path,
        patch.base_hash,
        patch.diff.to_string(),
    );
    made.template = draft.template;
    made.explanation = draft.explanation;
    made.behaviour = draft.behaviour;
    made.recovery = Some(draft.recovery);
    made.confidence = Confidence::new(confidence.clamp(0.0, 1.0)).unwrap_or(Confidence::ZERO);
    made.risk = draft.risk;
    made.requires_review = draft.requires_review;
    Ok(made)
}

/// Whether the new text has no more errors of syntax than the old one.
pub(crate) fn parses_as_well(language: Language, old: &str, new: &str) -> bool {
    let n_errors = |text| Syntax::parse(language, text).errors().len();
    n_errors(new) <= n_errors(old)
}

/// The text with these lines among its imports: after the last one, or after what must come first.
fn with_imports(language: Language, text: String, imports: &[String]) -> String {
    let missing: Vec<&String> = imports
        .iter()
        .filter(|import| !text.lines().any(|line| line.trim() == import.as_str()))
        .collect();
    if missing.is_empty() {
        return text;
    }
    let syntax = Syntax::parse(language, &text);
    let mut after = 0;
    for (idx, node) in syntax.root().children().enumerate() {
        let kind = node.kind();
        let is_docstring = idx == 0
            && kind == "expression_statement"
            && node.child(0).is_some_and(|first| first.kind() == "string");
        let is_import = kind.starts_with("import")
            || kind.starts_with("future_import")
            || matches!(
                kind.as_ref(),
                "use_declaration" | "package_declaration" | "package_clause"
            );
        let is_comment_on_top = after == node.range().start && kind.contains("comment");
        if is_docstring || is_import || is_comment_on_top {
            after = text[node.range().end..]
                .find('\n')
                .map_or(text.len(), |end| node.range().end + end + 1);
        }
    }
    drop(syntax);
    let mut lines = String::new();
    for line in &missing {
        lines.push_str(line);
        lines.push('\n');
    }
    if after > 0 && !text[..after].ends_with('\n') {
        lines.insert(0, '\n');
    }
    let mut new = text;
    new.insert_str(after, &lines);
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_come_after_what_must_be_first_and_once() {
        let with = |text: &str| {
            with_imports(
                Language::Python,
                text.to_owned(),
                &["import math".to_owned()],
            )
        };
        assert_eq!(
            with(
                "#!/usr/bin/env python3\n\"\"\"Doc.\"\"\"\nfrom __future__ import annotations\nx = 1\n"
            ),
            "#!/usr/bin/env python3\n\"\"\"Doc.\"\"\"\nfrom __future__ import annotations\nimport math\nx = 1\n"
        );
        assert_eq!(with("x = 1\n"), "import math\nx = 1\n");
        assert_eq!(with("import math\n"), "import math\n");
    }

    #[test]
    fn nothing_that_has_an_effect_is_done_twice() {
        let root = tempfile::tempdir().unwrap();
        let tree = SourceTree::new(root.path());
        let proposer = Proposer::new(TemplateSet::built_in().unwrap());
        for (line, attribute) in [
            ("q.get().name", "name"),
            ("charge_card(order).receipt", "receipt"),
        ] {
            let text = format!("def f(q, order):\n    return {line}\n");
            std::fs::write(root.path().join("shop.py"), text).unwrap();
            let message = format!("'NoneType' object has no attribute '{attribute}'");
            let mut error = ErrorEvent::new("python", "AttributeError", message);
            error.frames = vec![Frame {
                function: "f".to_owned(),
                file: "shop.py".to_owned(),
                line: 2,
                column: 0,
                in_project: true,
            }];
            let proposal = proposer.propose(&tree, &error);
            let call = line.split('(').next().unwrap();
            for candidate in &proposal.candidates {
                let added = candidate.diff.lines().filter(|line| line.starts_with('+'));
                let n_calls: usize = added.map(|line| line.matches(call).count()).sum();
                assert!(n_calls <= 1, "{}", candidate.diff);
            }
            assert!(proposal.dropped.evaluates_twice > 0, "{proposal:?}");
        }
    }
}
