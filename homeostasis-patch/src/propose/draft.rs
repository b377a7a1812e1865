//! A change of one text before it becomes a candidate.

use std::ops::Range;

use homeostasis_core::record::{RecoveryStrategy, RiskLevel};

/// A change of one text, and what is said of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Draft {
    pub(crate) template: String,
    /// What is replaced, in bytes, and by what; apart from each other.
    pub(crate) edits: Vec<(Range<usize>, String)>,
    /// Lines that must stand among the imports.
    pub(crate) imports: Vec<String>,
    pub(crate) explanation: String,
    pub(crate) behaviour: String,
    pub(crate) recovery: RecoveryStrategy,
    /// 0 to 1.
    pub(crate) confidence: f64,
    pub(crate) risk: RiskLevel,
    pub(crate) requires_review: bool,
}

impl Draft {
    /// The changed text; `None` if an edit lies outside of it or over another.
    pub(crate) fn apply(&self, text: &str) -> Option<String> {
        let mut edits: Vec<_> = self.edits.iter().collect();
        edits.sort_by_key(|(range, _)| range.start);
        let mut new = String::with_capacity(text.len() + 128);
        let mut done = 0;
        for (range, with) in edits {
            new.push_str(text.get(done..range.start)?);
            new.push_str(with);
            done = range.end;
        }
        new.push_str(text.get(done..)?);
        Some(new)
    }
}

/// What came of a template at a site.
#[derive(Debug, Default)]
pub(crate) struct Drafts {
    pub(crate) made: Vec<Draft>,
    /// Would have evaluated twice what must be evaluated once.
    pub(crate) n_twice: usize,
    /// Would have asked in front of a statement what the statement asks under a condition, or
    /// caught errors of more than what failed.
    pub(crate) n_unsound: usize,
    /// Less confidence than the template asks for.
    pub(crate) n_doubtful: usize,
}
