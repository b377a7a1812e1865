//! Finds the time and the level of a line of text that nobody described.

use homeostasis_core::signal::Level;

/// How many words from the beginning may be the level.
const WORDS: usize = 8;

/// What the beginning of a line seems to say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hints<'a> {
    /// The text of a full date and time.
    pub(super) time: Option<&'a str>,
    pub(super) level: Option<Level>,
}

/// Looks at the beginning of the first line of `text`.
pub(super) fn hints(text: &str) -> Hints<'_> {
    let line = text.lines().next().unwrap_or_default();
    Hints {
        time: leading_time(line),
        level: line.split_whitespace().take(WORDS).find_map(level_word),
    }
}

/// `2026-01-02T15:04:05.123Z`, `2026/01/02 15:04:05,123`, also in brackets.
fn leading_time(line: &str) -> Option<&str> {
    let line = line.strip_prefix('[').unwrap_or(line);
    let shape = b"dddd-dd-ddTdd:dd:dd";
    let is_time = line.len() >= shape.len()
        && shape
            .iter()
            .zip(line.bytes())
            .all(|(wanted, byte)| match wanted {
                b'd' => byte.is_ascii_digit(),
                b'-' => matches!(byte, b'-' | b'/'),
                b'T' => matches!(byte, b'T' | b' '),
                other => *other == byte,
            });
    if !is_time {
        return None;
    }
    let rest = &line[shape.len()..];
    let fraction = rest
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b','))
        .count();
    let zone = rest[fraction..]
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'Z' | b'+' | b'-' | b':'))
        .count();
    Some(line[..shape.len() + fraction + zone].trim_end_matches([':', '-', ',', '.']))
}

/// A level in capitals (`ERROR`, `WARN:`, `WARNING:root:`), or in brackets (`[error]`, `<warn>`).
fn level_word(word: &str) -> Option<Level> {
    let in_brackets = |open, close| word.strip_prefix(open)?.split(close).next();
    let bare = word
        .split(':')
        .next()
        .filter(|word| word.len() >= 3 && word.bytes().all(|byte| byte.is_ascii_uppercase()));
    in_brackets('[', ']')
        .or_else(|| in_brackets('<', '>'))
        .or(bare)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn levels_and_times_are_found_where_loggers_put_them() {
        for (line, time, level) in [
            (
                "2026-01-02T15:04:05.1Z ERROR x",
                Some("2026-01-02T15:04:05.1Z"),
                Some(Level::Error),
            ),
            (
                "[2026-01-02 15:04:05,123] WARN  in x",
                Some("2026-01-02 15:04:05,123"),
                Some(Level::Warn),
            ),
            (
                "2026/01/02 15:04:05 [error] 1#2: x",
                Some("2026/01/02 15:04:05"),
                Some(Level::Error),
            ),
            (
                "2026-01-02 15:04:05 - db - CRITICAL - x",
                Some("2026-01-02 15:04:05"),
                Some(Level::Fatal),
            ),
            ("WARNING:root:x", None, Some(Level::Warn)),
            ("ERROR: x", None, Some(Level::Error)),
            ("an error occurred", None, None),
            ("2026-01-02 x", None, None),
            ("a b c d e f g h ERROR", None, None),
            ("", None, None),
        ] {
            assert_eq!(hints(line), Hints { time, level }, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "\\PC*|\\[?2026-01-02T15:04:05\\PC*") {
            let _ = hints(&line);
        }
    }
}
