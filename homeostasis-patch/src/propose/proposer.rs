//! From an error to ranked candidates.

use std::sync::Arc;

use homeostasis_core::Confidence;
use homeostasis_core::record::{PatchCandidate, PatchKind};
use homeostasis_core::signal::{ErrorEvent, Frame};

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

/// The most frames that are looked at.
const MAX_FRAMES: usize = 16;

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
}

impl Proposer {
    /// The name that candidates carry.
    pub const NAME: &'static str = "template";

    /// A proposer with these templates, and those in code.
    pub fn new(templates: TemplateSet) -> Self {
        Self {
            templates: Arc::new(templates),
        }
    }

    /// Proposes; reads the files of the frames and writes nothing. Files that cannot be read are
    /// named in [`Proposal::unread`]. Takes time linear in the sizes of at most 16 files for each
    /// pattern of their language.
    pub fn propose(&self, tree: &SourceTree, error: &ErrorEvent) -> Proposal {
        let mut proposal = Proposal::default();
        let mut ranked: Vec<(f64, PatchCandidate)> = Vec::new();
        let root = error.root();
        self.of_error(tree, error, 1.0, &mut proposal, &mut ranked);
        if !std::ptr::eq(root, error) {
            self.of_error(tree, root, 0.98, &mut proposal, &mut ranked);
        }
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
        proposal
    }

    fn of_error(
        &self,
        tree: &SourceTree,
        error: &ErrorEvent,
        weight: f64,
        proposal: &mut Proposal,
        ranked: &mut Vec<(f64, PatchCandidate)>,
    ) {
        let mut seen: Vec<&Frame> = Vec::new();
        let mut weight = weight;
        for frame in &error.frames {
            if seen.len() == MAX_FRAMES {
                break;
            }
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
                    let place = (path.as_str(), language, text.as_str());
                    self.of_frame(place, error, frame, weight, proposal, ranked);
                }
                Err(error) => proposal.unread.push(error.to_string()),
            }
            weight *= CALLER;
        }
    }

    fn of_frame(
        &self,
        (path, language, text): (&str, Language, &str),
        error: &ErrorEvent,
        frame: &Frame,
        weight: f64,
        proposal: &mut Proposal,
        ranked: &mut Vec<(f64, PatchCandidate)>,
    ) {
        let Some(site) = Site::new(language, text, error, frame.line, frame.column) else {
            let line = frame.line;
            proposal.unread.push(format!(
                "{path}: has no line {line}, expected the file that ran"
            ));
            return;
        };
        let mut all: Vec<Drafts> = Vec::new();
        for template in self.templates.of(language) {
            if let (Some(reason), Some(_)) = (&template.refusal, template.treats(error)) {
                let refusal = TemplateRefusal {
                    template: template.id.clone(),
                    reason: reason.clone(),
                };
                if !proposal.refusals.contains(&refusal) {
                    proposal.refusals.push(refusal);
                }
                continue;
            }
            all.push(template.drafts(&site));
        }
        all.push(coded::drafts(&site));
        for drafts in all {
            proposal.dropped.evaluates_twice += drafts.n_twice;
            proposal.dropped.doubtful += drafts.n_doubtful;
            for draft in drafts.made {
                let confidence = draft.confidence * weight;
                match candidate(path, language, text, draft, confidence) {
                    Ok(made) => ranked.push((confidence, made)),
                    Err(NotKept::Unparsable) => proposal.dropped.unparsable += 1,
                    Err(NotKept::Same) => proposal.dropped.repeated += 1,
                }
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
