//! Text of a foreign value, cut where it gets too long and empty-handed where it panics.

use std::fmt::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The longest text kept of one message or field value, in bytes.
pub(super) const MAX_VALUE_BYTES: usize = 8 * 1024;

/// What stands for the value of a formatter that panicked.
const PANICKED: &str = "<value panicked while it was formatted>";

/// What stands for a value that is longer than the limit and cannot be cut between words.
const ONE_WORD: &str = "<one word, longer than is kept>…";

/// Collects formatted text and stops the formatter once the limit is reached.
#[derive(Debug, Default)]
struct Bounded {
    text: String,
    full: bool,
}

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.full {
            return Err(fmt::Error);
        }
        let room = MAX_VALUE_BYTES - self.text.len();
        if part.len() <= room {
            self.text.push_str(part);
            return Ok(());
        }
        let cut = part.floor_char_boundary_compat(room);
        self.text.push_str(&part[..cut]);
        let kept = whole_words(&self.text, part[cut..].chars().next()).len();
        self.text.truncate(kept);
        self.full = true;
        Err(fmt::Error)
    }
}

trait FloorCharBoundary {
    fn floor_char_boundary_compat(&self, index: usize) -> usize;
}

impl FloorCharBoundary for str {
    /// The last boundary of a character at or before `index`.
    fn floor_char_boundary_compat(&self, index: usize) -> usize {
        (0..=index.min(self.len()))
            .rev()
            .find(|at| self.is_char_boundary(*at))
            .unwrap_or(0)
    }
}

/// The text of `value`, at most [`MAX_VALUE_BYTES`] and an ellipsis.
///
/// A `Debug` or `Display` of the host that panics must not bring the host down only because
/// somebody looks: its panic ends here.
pub(super) fn text_of(value: fmt::Arguments<'_>) -> String {
    if let Some(text) = value.as_str() {
        return cut(text);
    }
    let mut out = Bounded::default();
    let formatted = catch_unwind(AssertUnwindSafe(|| out.write_fmt(value)));
    if formatted.is_err() {
        return PANICKED.to_owned();
    }
    if out.full {
        return cut_short(&out.text);
    }
    out.text
}

/// `text`, at most [`MAX_VALUE_BYTES`] and an ellipsis.
pub(super) fn cut(text: &str) -> String {
    cut_at(text, MAX_VALUE_BYTES)
}

/// `text`, at most `max` bytes and an ellipsis, without the word that the limit would break: of a
/// token or an address with a password half is enough to harm, and the redactor, which comes
/// later, knows only whole ones. A text that is one long word is told by a notice alone.
pub(super) fn cut_at(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let (head, tail) = text.split_at(text.floor_char_boundary_compat(max));
    cut_short(whole_words(head, tail.chars().next()))
}

/// `name`, at most `max` bytes and an ellipsis, broken wherever the limit falls: for what the
/// program's text names, which holds no secrets.
pub(super) fn cut_name(name: &str, max: usize) -> String {
    if name.len() <= max {
        return name.to_owned();
    }
    format!("{}…", &name[..name.floor_char_boundary_compat(max)])
}

/// `text` up to the end of its last whole word, where `next` is the character that follows.
///
/// Words end at white space and at `"`; no other sign does, since addresses, keys and passwords
/// hold them all.
fn whole_words(text: &str, next: Option<char>) -> &str {
    let ends_word = |c: char| c.is_whitespace() || c == '"';
    if next.is_none_or(ends_word) {
        return text;
    }
    let end = text
        .char_indices()
        .rfind(|(_, c)| ends_word(*c))
        .map_or(0, |(at, c)| at + c.len_utf8());
    &text[..end]
}

fn cut_short(kept: &str) -> String {
    if kept.trim().is_empty() {
        return ONE_WORD.to_owned();
    }
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::SecretRedactor;
    use homeostasis_core::port::Redactor;

    #[test]
    fn an_endless_value_stops_being_formatted_at_the_limit() {
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("äöü ")?;
                }
            }
        }
        let text = text_of(format_args!("{Endless}"));
        assert!(text.len() <= MAX_VALUE_BYTES + '…'.len_utf8() && text.ends_with('…'));
        assert!(text.starts_with("äöü äöü"));
        assert_eq!(cut(&"é".repeat(MAX_VALUE_BYTES)), ONE_WORD);
        assert_eq!(cut_name("metric_é", 8), "metric_…");
    }

    #[test]
    fn a_secret_across_the_limit_goes_entirely() {
        let redactor = SecretRedactor::default();
        let jwt = format!(
            "eyJhbGciOiJIUzI1NiJ9.{}.{}",
            "eyJzdWIiOiJh".repeat(9),
            "sig0".repeat(9)
        );
        for secret in [
            "postgres://svc:hunter2hunter2@db/x",
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "password='hunter2hunter2'",
            r#"{"password":"hunter2 hunter2"}"#,
            jwt.as_str(),
        ] {
            for max in (0..=secret.len()).map(|n| 512 + n) {
                let text = format!("{}{secret} and more", "word ".repeat(102));
                let kept = cut_at(&text, max);
                assert!(kept.len() <= max + '…'.len_utf8());
                let told = redactor.text(&kept);
                for part in ["hunter2", "ghp_16", "eyJzdWIi"] {
                    assert!(!told.contains(part), "{secret} at {max}: {told}");
                }
                let long = format!("{}{text}", " ".repeat(MAX_VALUE_BYTES - max));
                assert_eq!(text_of(format_args!("{long}{}", "!")), cut(&long));
            }
        }
        assert_eq!(cut_at("all whole, not this", 9), "all …");
        assert_eq!(cut_at("all whole, not this", 10), "all whole,…");
    }

    #[test]
    fn a_formatter_that_panics_gives_a_notice_and_no_panic() {
        struct Broken;
        impl fmt::Debug for Broken {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("broken Debug")
            }
        }
        assert_eq!(text_of(format_args!("{Broken:?}")), PANICKED);
    }
}
