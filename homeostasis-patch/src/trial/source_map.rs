//! From units of a generated script to places in the sources it was made of.
//!
//! Source of the format: ECMA-426, "Source map", sections on mappings and on base64 variable-length quantities;
//! sections of indexed maps are not read.

use serde::Deserialize;

/// A source map, its sources as absolute URLs.
#[derive(Debug, Deserialize)]
pub(super) struct SourceMap {
    sources: Vec<Option<String>>,
    mappings: String,
}

/// What a place in a generated script was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// In the generated script, both counted from 0, the column in UTF-16 units.
    pub(super) made: (usize, usize),
    /// In the source, likewise.
    pub(super) of: (usize, usize),
}

impl SourceMap {
    /// The segments that were made of the source that `is_it` knows by its URL, up to the first one that cannot
    /// be read.
    pub(super) fn segments_of(&self, is_it: impl Fn(&str) -> bool) -> Vec<Segment> {
        let wanted: Vec<bool> = self
            .sources
            .iter()
            .map(|source| source.as_deref().is_some_and(&is_it))
            .collect();
        let mut found = Vec::new();
        // Each number but the column within a line counts from the one before.
        let (mut source, mut line, mut column) = (0_i64, 0_i64, 0_i64);
        for (made_line, of_line) in self.mappings.split(';').enumerate() {
            let mut made_column = 0_i64;
            for segment in of_line.split(',').filter(|segment| !segment.is_empty()) {
                let Some(numbers) = quantities(segment) else {
                    return found;
                };
                let [by_column, rest @ ..] = &numbers[..] else {
                    return found;
                };
                made_column = made_column.saturating_add(*by_column);
                let [by_source, by_line, by_original, ..] = rest else {
                    continue;
                };
                source = source.saturating_add(*by_source);
                line = line.saturating_add(*by_line);
                column = column.saturating_add(*by_original);
                let place = |number: i64| usize::try_from(number).ok();
                let is_wanted = place(source).and_then(|at| wanted.get(at)) == Some(&true);
                if let (true, Some(made_column), Some(line), Some(column)) =
                    (is_wanted, place(made_column), place(line), place(column))
                {
                    found.push(Segment {
                        made: (made_line, made_column),
                        of: (line, column),
                    });
                }
            }
        }
        found
    }
}

/// The numbers of a segment: five bits a digit, the lowest first, the highest bit saying that more follow, and
/// the lowest of the whole being the sign. `None` if they are none.
fn quantities(segment: &str) -> Option<Vec<i64>> {
    let mut numbers = Vec::with_capacity(5);
    let (mut number, mut shift) = (0_i64, 0_u32);
    for digit in segment.bytes() {
        let digit = i64::from(match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        });
        // Numbers have 32 bits.
        if shift > 30 {
            return None;
        }
        number |= (digit & 31) << shift;
        if digit & 32 != 0 {
            shift += 5;
            continue;
        }
        let size = number >> 1;
        numbers.push(if number & 1 == 1 { -size } else { size });
        (number, shift) = (0, 0);
    }
    (shift == 0).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_signed_and_may_have_several_digits() {
        assert_eq!(quantities("AAgBC").unwrap(), [0, 0, 16, 1]);
        assert_eq!(quantities("DsuBA").unwrap(), [-1, 742, 0]);
        assert_eq!(quantities("").unwrap(), [0_i64; 0]);
        for broken in ["g", "A-", "ggggggggA", "é"] {
            assert_eq!(quantities(broken), None, "{broken}");
        }
    }

    #[test]
    fn segments_count_from_those_before_and_only_those_of_the_source_are_told() {
        let map = |mappings: &str| SourceMap {
            sources: vec![None, Some("a".to_owned()), Some("b".to_owned())],
            mappings: mappings.to_owned(),
        };
        let segment = |made, of| Segment { made, of };
        // Of `a` 0:0; of `b` 1:4 at column 4, then nothing of anybody; of `a` again a line later.
        let found = |of: &str| map("ACAA,ICCI,C;ADAJ,CCAA").segments_of(|url| url == of);
        assert_eq!(
            found("a"),
            [segment((0, 0), (0, 0)), segment((1, 0), (1, 0))],
            "the second line begins one source back"
        );
        assert_eq!(
            found("b"),
            [segment((0, 4), (1, 4)), segment((1, 1), (1, 0))]
        );
        assert_eq!(found("c"), []);
        // What is before what cannot be read counts, and nothing lies before the beginning.
        assert_eq!(map("ACAA,!").segments_of(|_| true).len(), 1);
        assert_eq!(map("ACDA").segments_of(|_| true), []);
        assert_eq!(map("ADAA").segments_of(|_| true), []);
    }
}
