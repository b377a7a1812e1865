//! Growing and shrinking bracketed collections: JSON, YAML flow style, TOML arrays and inline tables.

use std::ops::Range;

use super::Format;
use super::splice::{
    Splice, indentation, line_break, line_end, line_prefix, line_start, next_line, opens_line,
};

/// A collection between two brackets.
#[derive(Debug)]
pub(crate) struct Flow<'s> {
    pub(crate) source: &'s str,
    pub(crate) format: Format,
    /// Brackets included.
    pub(crate) span: Range<usize>,
    /// Each item, from the start of its key (if it has one) to the end of its value.
    pub(crate) items: Vec<Range<usize>>,
}

impl Flow<'_> {
    /// Puts `text` before item `index`; `None` where comments make the place unclear.
    pub(crate) fn insert(&self, index: usize, text: &str) -> Option<Vec<Splice>> {
        let source = self.source;
        let eol = line_break(source);
        if let Some(next) = self.items.get(index) {
            let glue = if opens_line(source, next.start) {
                format!("{text},{eol}{}", indentation(source, next.start))
            } else {
                format!("{text}, ")
            };
            return Some(vec![Splice::insert(next.start, glue)]);
        }
        let Some(last) = self.items.last() else {
            let inside = self.span.start + 1..self.span.end - 1;
            let old = source.get(inside.clone())?;
            if !old.trim().is_empty() {
                return None;
            }
            let new = if old.contains('\n') && self.format != Format::Yaml {
                let outer = indentation(source, self.span.end - 1);
                format!("{eol}{outer}  {text}{eol}{outer}")
            } else {
                text.to_owned()
            };
            return Some(vec![Splice::replace(inside, new)]);
        };
        let comma = self.comma_after(last.end);
        let listed = comma.map_or(last.end, |c| c + 1);
        let rest_of_line = self.skip_inline(listed);
        let ends_line = rest_of_line == line_end(source, listed) && rest_of_line < self.span.end;
        let mut splices = Vec::new();
        if comma.is_none() {
            splices.push(Splice::insert(last.end, ","));
        }
        let tail = if comma.is_some() { "," } else { "" };
        if ends_line && opens_line(source, last.start) {
            let indent = indentation(source, last.start);
            splices.push(Splice::insert(
                rest_of_line,
                format!("{eol}{indent}{text}{tail}"),
            ));
        } else if comma.is_none() {
            splices = vec![Splice::insert(last.end, format!(", {text}"))];
        } else {
            splices.push(Splice::insert(listed, format!(" {text},")));
        }
        Some(splices)
    }

    /// Takes item `index` out with its comma, and with its line when it has one of its own.
    pub(crate) fn remove(&self, index: usize) -> Option<Vec<Splice>> {
        let source = self.source;
        let item = self.items.get(index)?.clone();
        let comma = self.comma_after(item.end);
        let end = comma.map_or(item.end, |c| c + 1);
        let mut splices = Vec::new();
        let is_last = index + 1 == self.items.len();
        if is_last && comma.is_none() && index > 0 {
            let previous = &self.items[index - 1];
            let dangling = self.comma_after(previous.end)?;
            let between = source.get(dangling + 1..item.start)?;
            if between.chars().all(|c| c == ' ' || c == '\t') {
                return Some(vec![Splice::delete(previous.end..item.end)]);
            }
            splices.push(Splice::delete(dangling..dangling + 1));
        }
        let rest_of_line = self.skip_inline(end);
        let ends_line = rest_of_line == line_end(source, end) && rest_of_line < self.span.end;
        let range = if ends_line && opens_line(source, item.start) {
            line_start(source, item.start)..next_line(source, end)
        } else if is_last || ends_line {
            let blanks = line_prefix(source, item.start);
            let kept = blanks.trim_end_matches([' ', '\t']).len();
            let start = item.start - (blanks.len() - kept);
            (if index == 0 || kept == 0 {
                item.start
            } else {
                start
            })..end
        } else {
            let rest = &source[end..];
            let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
            item.start..end + blanks
        };
        splices.push(Splice::delete(range));
        Some(splices)
    }

    /// The comma that follows byte `at`, comments and line breaks between them allowed.
    fn comma_after(&self, at: usize) -> Option<usize> {
        let at = skip_trivia(self.source, at, self.format);
        (self.source[at..].starts_with(',')).then_some(at)
    }

    /// Skips blanks and comments up to the end of the line; a block comment that runs over the
    /// line is not skipped.
    fn skip_inline(&self, mut at: usize) -> usize {
        loop {
            let rest = &self.source[at..];
            let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
            at += blanks;
            match comment_len(&self.source[at..], self.format) {
                Some(len) if !self.source[at..at + len].contains('\n') => at += len,
                _ => return at,
            }
        }
    }
}

/// Skips white space (line breaks too) and comments.
pub(crate) fn skip_trivia(source: &str, mut at: usize, format: Format) -> usize {
    loop {
        let rest = &source[at..];
        at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
        match comment_len(&source[at..], format) {
            Some(len) => at += len,
            None => return at,
        }
    }
}

/// Length of the comment that opens `rest`, its line break not included.
fn comment_len(rest: &str, format: Format) -> Option<usize> {
    if format == Format::Json {
        if let Some(body) = rest.strip_prefix("/*") {
            return Some(body.find("*/")? + 4);
        }
        if !rest.starts_with("//") {
            return None;
        }
    } else if !rest.starts_with('#') {
        return None;
    }
    Some(line_end(rest, 0))
}
