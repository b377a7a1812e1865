//! YAML through the markers of `saphyr-parser`'s events.

use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::datum::{Datum, MAX_DEPTH};
use super::flow::skip_trivia;
use super::splice::line_column;
use super::tree::{ANCHOR, Entry, Kind, Layout, Node, TAG};
use super::yaml_scalar::resolve_plain;
use super::{EditError, Format};

pub(crate) fn parse(source: &str) -> Result<Node, EditError> {
    let offsets = source
        .char_indices()
        .map(|(i, _)| i)
        .chain([source.len()])
        .collect();
    let mut builder = Builder {
        source,
        offsets,
        events: Parser::new_from_str(source),
        at: 0,
    };
    let mut root = None;
    loop {
        match builder.next()? {
            (Event::StreamEnd, _) => break,
            (Event::StreamStart | Event::DocumentEnd | Event::Nothing, _) => {}
            (Event::DocumentStart(_), span) => {
                if root.is_some() {
                    return Err(EditError::Unsafe {
                        path: "(document)".to_owned(),
                        found: format!("a second document on line {}", span.start.line()),
                        expected: "one document per file",
                    });
                }
                let first = builder.next()?;
                root = Some(builder.node(first, 0)?);
            }
            _ => return Err(builder.error("expected a document")),
        }
    }
    root.ok_or_else(|| builder.error("expected a document, found none"))
}

struct Builder<'s> {
    source: &'s str,
    /// Byte offset of each character, and of the end.
    offsets: Vec<usize>,
    events: Parser<'s, StrInput<'s>>,
    at: usize,
}

type Spanned<'s> = (Event<'s>, Span);

impl<'s> Builder<'s> {
    fn next(&mut self) -> Result<Spanned<'s>, EditError> {
        match self.events.next() {
            Some(Ok((event, span))) => {
                self.at = self.bytes(span).start;
                Ok((event, span))
            }
            Some(Err(error)) => Err(EditError::Parse {
                format: Format::Yaml,
                line: error.marker().line(),
                column: error.marker().col() + 1,
                message: error.info().to_owned(),
            }),
            None => Err(self.error("expected more")),
        }
    }

    fn node(&mut self, (event, span): Spanned<'s>, depth: usize) -> Result<Node, EditError> {
        if depth > MAX_DEPTH {
            return Err(self.error("nested too deeply, expected at most 96 levels"));
        }
        let bytes = self.bytes(span);
        let (kind, span, anchor, tagged) = match event {
            Event::Alias(id) => (Kind::Alias(id), bytes, 0, false),
            Event::Scalar(text, style, anchor, tag) => {
                let span = self.scalar_span(bytes, style);
                let kind = match style {
                    ScalarStyle::Literal | ScalarStyle::Folded => {
                        Kind::BlockScalar(text.into_owned())
                    }
                    _ if tag.is_some() => {
                        let tag = tag.as_ref().map(ToString::to_string).unwrap_or_default();
                        Kind::Scalar(Datum::Opaque(format!("{tag} {text}")))
                    }
                    ScalarStyle::Plain => Kind::Scalar(resolve_plain(&text)),
                    _ => Kind::Scalar(Datum::Str(text.into_owned())),
                };
                (kind, span, anchor, tag.is_some())
            }
            Event::SequenceStart(anchor, tag) => {
                let mut items = Vec::new();
                loop {
                    let next = self.next()?;
                    if next.0 == Event::SequenceEnd {
                        break;
                    }
                    items.push(self.node(next, depth + 1)?);
                }
                let last = items.last().map(end);
                let (span, layout) = self.layout(bytes, items.first(), last, "[", "]");
                (Kind::Sequence(items, layout), span, anchor, tag.is_some())
            }
            Event::MappingStart(anchor, tag) => {
                let mut entries: Vec<Entry> = Vec::new();
                loop {
                    let next = self.next()?;
                    if next.0 == Event::MappingEnd {
                        break;
                    }
                    entries.push(self.entry(next, depth, entries.len())?);
                }
                let last = entries.last().map(|e| end(&e.value).max(e.key_span.end));
                let (mut span, layout) = self.layout(bytes, None, last, "{", "}");
                if let (Some(first), true) = (entries.first(), layout == Layout::Block) {
                    span.start = first.key_span.start;
                }
                (Kind::Mapping(entries, layout), span, anchor, tag.is_some())
            }
            _ => return Err(self.error("expected a value")),
        };
        let property = if anchor > 0 {
            Some(ANCHOR)
        } else {
            tagged.then_some(TAG)
        };
        Ok(Node {
            span,
            kind,
            property,
        })
    }

    fn entry(
        &mut self,
        (event, span): Spanned<'s>,
        depth: usize,
        index: usize,
    ) -> Result<Entry, EditError> {
        let key_span = self.bytes(span);
        let (key, merges) = match &event {
            Event::Scalar(text, style, _, _) => (
                text.to_string(),
                *style == ScalarStyle::Plain && text == "<<",
            ),
            // A key that is itself a collection or an alias has no name a path could use.
            _ => (format!("\0key {index}"), false),
        };
        let key_node = self.node((event, span), depth + 1)?;
        let key_span = key_span.start..key_node.span.end.max(key_span.start);
        let next = self.next()?;
        let mut value = self.node(next, depth + 1)?;
        if value.span.is_empty() {
            // A value left out is reported at its key: it belongs behind the colon.
            let rest = &self.source[key_span.end..];
            let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
            if rest[blanks..].starts_with(':') {
                let after = key_span.end + blanks + 1;
                value.span = after..after;
            }
        }
        Ok(Entry {
            key,
            key_span,
            merges,
            value,
        })
    }

    /// The text of a scalar. The parser's spans of quoted scalars run on over blanks and a
    /// comment, those of block scalars over blank lines.
    fn scalar_span(&self, span: Range<usize>, style: ScalarStyle) -> Range<usize> {
        let text = &self.source[span.clone()];
        let quote = match style {
            ScalarStyle::SingleQuoted => '\'',
            ScalarStyle::DoubleQuoted => '"',
            ScalarStyle::Plain => {
                let comment = text
                    .match_indices('#')
                    .find(|(i, _)| text[..*i].ends_with([' ', '\t', '\n', '\r']));
                let text = comment.map_or(text, |(i, _)| &text[..i]);
                return span.start..span.start + text.trim_end().len();
            }
            // Block scalars: the blank lines below are nobody's.
            _ => return span.start..span.start + text.trim_end().len(),
        };
        let Some(open) = text.find(quote) else {
            return span;
        };
        let mut chars = text
            .char_indices()
            .skip_while(|(i, _)| *i <= open)
            .peekable();
        while let Some((i, c)) = chars.next() {
            match c {
                '\\' if quote == '"' => {
                    chars.next();
                }
                '\'' if quote == '\'' && chars.peek().is_some_and(|(_, next)| *next == '\'') => {
                    chars.next();
                }
                c if c == quote => return span.start + open..span.start + i + 1,
                _ => {}
            }
        }
        span
    }

    /// The span and layout of a collection whose start event has the given bytes.
    fn layout(
        &self,
        start: Range<usize>,
        first: Option<&Node>,
        last: Option<usize>,
        open: &str,
        close: &str,
    ) -> (Range<usize>, Layout) {
        // The start event's span has the anchor and tag before the bracket, and blanks behind it.
        let bracket = self.source[start.clone()].find(open);
        let Some(open_at) = bracket.map(|i| start.start + i) else {
            let layout = if self.opened_by_bracket(start.start) {
                Layout::Bare
            } else {
                Layout::Block
            };
            // The parser reports an unindented sequence at its key: look for the first dash.
            let before = first.map_or("", |f| self.source[..f.span.start].trim_end());
            let from = if before.ends_with('-') {
                before.len() - 1
            } else {
                start.end
            };
            return (from..last.unwrap_or(start.end).max(from), layout);
        };
        let inside = open_at + open.len();
        let mut at = last.unwrap_or(inside);
        loop {
            at = skip_trivia(self.source, at, Format::Yaml);
            let rest = &self.source[at..];
            if rest.starts_with(close) {
                return (open_at..at + close.len(), Layout::Flow);
            }
            // `{a: }` and `{a}` leave the colon and comma after the last known end.
            if !rest.starts_with([',', ':']) {
                return (open_at..last.unwrap_or(inside), Layout::Bare);
            }
            at += 1;
        }
    }

    /// Whether an unbracketed mapping is a pair inside a flow sequence, as in `[a: 1]`.
    fn opened_by_bracket(&self, at: usize) -> bool {
        self.source[..at].trim_end().ends_with(['[', ','])
    }

    fn bytes(&self, span: Span) -> Range<usize> {
        let byte = |i: usize| self.offsets.get(i).copied().unwrap_or(self.source.len());
        let start = byte(span.start.index());
        start..byte(span.end.index()).max(start)
    }

    fn error(&self, message: &str) -> EditError {
        let (line, column) = line_column(self.source, self.at);
        EditError::Parse {
            format: Format::Yaml,
            line,
            column,
            message: message.to_owned(),
        }
    }
}

fn end(node: &Node) -> usize {
    node.span.end
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn span_of<'s>(source: &'s str, keys: &[&str]) -> &'s str {
        let root = parse(source).unwrap();
        let mut node = &root;
        for key in keys {
            node = match &node.kind {
                Kind::Mapping(entries, _) => &entries.iter().find(|e| e.key == *key).unwrap().value,
                Kind::Sequence(items, _) => &items[key.parse::<usize>().unwrap()],
                _ => panic!("no {key}"),
            };
        }
        &source[node.span.clone()]
    }

    #[test]
    fn spans_are_exact_in_block_and_flow() {
        let source =
            "é: 1\nb:\n  - x  # c\n  - k: v\n    z: 'q' # w\nd: { x: 1, y: [1, 2,], } # e\nf:\n";
        assert_eq!(span_of(source, &["é"]), "1");
        assert_eq!(span_of(source, &["b", "0"]), "x");
        assert_eq!(span_of(source, &["b", "1"]), "k: v\n    z: 'q'");
        assert_eq!(span_of(source, &["b"]), "- x  # c\n  - k: v\n    z: 'q'");
        assert_eq!(span_of(source, &["d"]), "{ x: 1, y: [1, 2,], }");
        assert_eq!(span_of(source, &["d", "y"]), "[1, 2,]");
        assert_eq!(span_of(source, &["f"]), "");
    }

    #[test]
    fn second_document_is_refused() {
        assert!(matches!(
            parse("a: 1\n---\nb: 2\n"),
            Err(EditError::Unsafe { .. })
        ));
        assert!(parse("---\na: 1\n...\n").is_ok());
    }

    #[test]
    fn deep_nesting_is_refused_not_overflowed() {
        assert!(parse(&"[".repeat(50_000)).is_err());
        assert!(parse(&"- ".repeat(2_000)).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in r"[\[\]{}:,'#&*!|>\- \n\tabé0-9?%]{0,40}") {
            let _ = parse(&text).map(|n| n.datum());
        }
    }
}
