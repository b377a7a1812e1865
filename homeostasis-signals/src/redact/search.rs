//! What is known while a text is searched, and the text without what was found.

use std::cmp::Reverse;
use std::ops::Range;

use super::marker;

/// Where a secret stands.
#[derive(Debug)]
pub(super) struct Span<'a> {
    pub(super) range: Range<usize>,
    pub(super) by: By,
    pub(super) kind: &'a str,
}

/// How a secret was found. Of two in the same place its look says best what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum By {
    Look,
    Name,
}

/// What is known while a text is searched.
#[derive(Debug, Default)]
pub(super) struct Search<'a> {
    pub(super) spans: Vec<Span<'a>>,
    pub(super) markers: Vec<Range<usize>>,
    /// The last secret or marker: literals within it say nothing.
    pub(super) decided: Range<usize>,
    /// The end of the last identifier that was looked at.
    pub(super) named: usize,
    /// How far was looked for values drawn by chance.
    pub(super) near: usize,
    pub(super) bare: Range<usize>,
    /// What had the shape of a row and failed its check, with its end.
    pub(super) failed: Vec<(usize, usize)>,
}

impl Search<'_> {
    pub(super) fn step_over(&mut self, text: &str, start: usize) {
        if let Some(end) = marker::end(text, start) {
            self.decided = start..end;
            self.markers.push(start..end);
        }
    }

    /// Whether the range begins or ends within a marker, or is a part of one.
    pub(super) fn cuts_a_marker(&self, range: &Range<usize>) -> bool {
        let first = self
            .markers
            .partition_point(|marker| marker.end <= range.start);
        let last = self
            .markers
            .partition_point(|marker| marker.start < range.end);
        self.markers[first..last.max(first)]
            .iter()
            .take(1)
            .chain(self.markers[first..last.max(first)].last())
            .any(|marker| marker.start < range.start || range.end < marker.end)
    }

    /// `text` with a marker for every span; spans that overlap become one.
    pub(super) fn apply(mut self, text: &str) -> String {
        self.spans
            .sort_unstable_by_key(|span| (span.range.start, Reverse(span.range.end), span.by));
        let mut redacted = String::with_capacity(text.len());
        let mut done = 0;
        for span in &self.spans {
            if span.range.start >= done {
                redacted.push_str(&text[done..span.range.start]);
                marker::push(&mut redacted, span.kind);
            }
            done = done.max(span.range.end);
        }
        redacted.push_str(&text[done..]);
        redacted
    }
}
