//! What a parameter takes of a text that a rule captured from a log.

/// How much is taken of what a log says: nobody vouches for it, and an attacker may have written it.
///
/// The value becomes part of the one argument it stands in and nothing else: it is never read again
/// for placeholders, never a program's name, a target or a header, and in a URL it is
/// percent-encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Capture {
    /// One word that is safe as a part of a path and is no option: letters, digits, `.`, `_` and
    /// `-`, beginning with a letter or digit, without `..`.
    Word {
        /// The most characters, at most 128.
        max: usize,
    },
    /// One line of any characters but those that control or reorder what people see, as the whole of
    /// a string. As a part of a longer one, which its receiver may parse (`DROP INDEX ...`), only a
    /// [`Word`](Self::Word) is taken.
    Line {
        /// The most characters.
        max: usize,
    },
}

/// The longest word.
const MAX_WORD: usize = 128;

impl Capture {
    /// What is taken as a part of a longer text.
    pub(crate) fn within(self) -> Self {
        match self {
            Self::Word { max } | Self::Line { max } => Self::Word {
                max: max.min(MAX_WORD),
            },
        }
    }

    /// What is wrong with `value`, as what was expected.
    pub(crate) fn problem(self, value: &str) -> Option<String> {
        // What the redactor took away is not what the log said.
        let is_redacted = value.contains("[redacted");
        let (fits, max, what) = match self {
            Self::Word { max } => (
                super::is_name(value),
                max,
                "a word of letters, digits, `.`, `_` and `-`",
            ),
            Self::Line { max } => {
                let fits = !value.is_empty() && !value.chars().any(misleads);
                (fits, max, "one line without control characters")
            }
        };
        if fits && !is_redacted && value.chars().count() <= max {
            return None;
        }
        let secret = if is_redacted {
            ", none that was redacted"
        } else {
            ""
        };
        Some(format!("{what}, at most {max} characters{secret}"))
    }
}

/// Whether it controls a terminal, breaks a line, or makes people read something else.
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_no_option_no_path_and_no_command() {
        let word = Capture::Word { max: 16 };
        for good in ["prices", "eu-west.orders_2", "7"] {
            assert_eq!(word.problem(good), None, "{good}");
        }
        for evil in [
            "",
            "--delete",
            "../etc",
            "a/../b",
            "a..b",
            "a b",
            "a;b",
            "$(x)",
            "a\0b",
            "a\nb",
            "prices\u{202E}",
            "приcеs",
            "[redacted:password]",
            "a_word_that_is_too_long",
        ] {
            assert!(word.problem(evil).is_some(), "{evil:?}");
        }
    }

    #[test]
    fn a_line_shows_people_what_it_holds() {
        let line = Capture::Line { max: 32 };
        for good in ["it's; $(not) ${a.shell}", "цена", "x"] {
            assert_eq!(line.problem(good), None, "{good}");
        }
        for evil in [
            "",
            "a\r\nb",
            "a\u{1b}[2J",
            "a\u{2028}b",
            "a\u{202E}b",
            "[redacted:token] x",
        ] {
            assert!(line.problem(evil).is_some(), "{evil:?}");
        }
        assert!(
            line.problem(&"x".repeat(33))
                .unwrap()
                .contains("at most 32")
        );
    }
}
