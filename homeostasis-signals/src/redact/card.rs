//! Numbers of payment cards: the one secret that holds no literal.

use std::ops::Range;

use super::check::{follows_escape, is_card};

/// The kind.
pub(super) const KIND: &str = "payment-card";

/// The fewest digits of a number.
const FEWEST: usize = 14;

/// Where card numbers stand: 14 to 19 digits in one row, or in groups parted by single blanks or
/// single dashes, with a valid check digit and nothing but punctuation around them.
///
/// Any window of 14 bytes within a number consists of digits and separators alone, so the search
/// looks at every fourteenth byte and at all only where that is one.
pub(super) fn numbers(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let bytes = text.as_bytes();
    let is_part = |byte: u8| byte.is_ascii_digit() || byte == b' ' || byte == b'-';
    let mut i = 0;
    let mut left = 0;
    std::iter::from_fn(move || {
        while let Some(last) = bytes.get(i + FEWEST - 1) {
            if !is_part(*last) {
                i += FEWEST;
                continue;
            }
            let window = &bytes[i..i + FEWEST];
            if let Some(bad) = window.iter().rposition(|byte| !is_part(*byte)) {
                i += bad + 1;
                continue;
            }
            // A run of digits and separators around the window.
            let before = bytes[left..i]
                .iter()
                .rev()
                .take_while(|byte| is_part(**byte));
            let start = i - before.count();
            let end = i + bytes[i..].iter().take_while(|byte| is_part(**byte)).count();
            left = end;
            i = end;
            if let Some(range) = number_within(bytes, start..end) {
                // The rest of the run is looked at again.
                i = range.end;
                left = range.end;
                return Some(range);
            }
        }
        None
    })
}

/// The first number in a run of digits and separators.
fn number_within(bytes: &[u8], run: Range<usize>) -> Option<Range<usize>> {
    let mut start = run.start;
    while start < run.end {
        let is_beginning = bytes[start].is_ascii_digit() && stands_free(bytes, start, false);
        if is_beginning && let Some(end) = number_at(bytes, start, run.end) {
            return Some(start..end);
        }
        // On to the next group.
        let digits = bytes[start..run.end]
            .iter()
            .take_while(|byte| byte.is_ascii_digit());
        start += digits.count().max(1);
    }
    None
}

/// The end of the number that begins at `start`.
fn number_at(bytes: &[u8], start: usize, end: usize) -> Option<usize> {
    let mut digits = [0_u8; 19];
    let (mut n_digits, mut separator, mut i) = (0, None, start);
    let mut group = 0;
    while i < end && n_digits < digits.len() {
        let byte = bytes[i];
        if byte.is_ascii_digit() {
            digits[n_digits] = byte;
            n_digits += 1;
            group += 1;
        } else if group >= 4 && separator.is_none_or(|known| known == byte) {
            let whole = is_card(&digits[..n_digits]) && stands_free(bytes, i, true);
            if whole {
                return Some(i);
            }
            separator = Some(byte);
            group = 0;
        } else {
            break;
        }
        i += 1;
    }
    (is_card(&digits[..n_digits]) && group > 0 && stands_free(bytes, i, true)).then_some(i)
}

/// Whether nothing at the border `i` makes the digits a part of something longer.
fn stands_free(bytes: &[u8], i: usize, is_end: bool) -> bool {
    let beside = if is_end {
        bytes.get(i)
    } else {
        i.checked_sub(1).and_then(|i| bytes.get(i))
    };
    beside.is_none_or(|byte| match byte {
        b'_' | b'-' | b'/' | b'+' => false,
        b'.' => is_end && !bytes.get(i + 1).is_some_and(u8::is_ascii_digit),
        byte => !byte.is_ascii_alphanumeric() || (!is_end && follows_escape(bytes, i)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        numbers(text).map(|range| &text[range]).collect()
    }

    #[test]
    fn numbers_are_found_in_rows_and_groups() {
        assert_eq!(
            found("card 4111111111111111 was declined"),
            ["4111111111111111"]
        );
        assert_eq!(found("4111 1111 1111 1111"), ["4111 1111 1111 1111"]);
        assert_eq!(found("pan=5555-5555-5555-4444."), ["5555-5555-5555-4444"]);
        assert_eq!(found("3782 822463 10005 12/27"), ["3782 822463 10005"]);
        let two = "4111111111111111 5555555555554444";
        assert_eq!(found(two), ["4111111111111111", "5555555555554444"]);
    }

    #[test]
    fn other_long_numbers_are_left_alone() {
        for text in [
            "blk_-4111111111111111",
            "id 41111111111111110",
            "at 1700000000000000000",
            "4111111111111112",
            "0.4111111111111111",
            "x4111111111111111",
            "2025-11-22 05:20:09",
            "10 20 30 40 50 60 70 80 90 10 11 12",
            "- - - - - - - - - - - - - - - -",
            "",
        ] {
            assert!(found(text).is_empty(), "{text}");
        }
    }
}
