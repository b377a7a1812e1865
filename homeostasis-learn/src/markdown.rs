//! Text that stays text in Markdown.

/// Escapes `text` so that Markdown shows it as it is, in one line, also in a cell of a table.
///
/// Line breaks become spaces; other control characters and marks that turn the direction of
/// writing are left out. Nothing in the result opens a tag, a link, a code span or a list.
///
/// ```
/// use homeostasis::learn::escape_markdown;
/// assert_eq!(escape_markdown("a|b\n<i>_c_"), r"a\|b \<i\>\_c\_");
/// ```
pub fn escape_markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut only_digits = true;
    let chars: Vec<char> = text.trim().chars().collect();
    for (idx, c) in chars.iter().copied().enumerate() {
        let next = chars.get(idx + 1).copied();
        let special = match c {
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '(' | ')' | '#' | '!'
            | '|' | '~' | '&' | '$' | '@' => true,
            // Bare addresses become links.
            ':' => next == Some('/'),
            '.' => {
                (only_digits && next.is_none_or(char::is_whitespace))
                    || out.to_ascii_lowercase().ends_with("www")
            }
            // Lists, rules and headings begin a line.
            '-' | '+' | '=' => idx == 0,
            _ => false,
        };
        only_digits = only_digits && c.is_ascii_digit();
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            c if c.is_control() || turns_direction(c) => {}
            c => {
                if special {
                    out.push('\\');
                }
                out.push(c);
            }
        }
    }
    out
}

fn turns_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_would_be_markup_stays_text() {
        for (text, expected) in [
            ("- no list", r"\- no list"),
            ("1. no list", r"1\. no list"),
            ("v1.2 is fine", "v1.2 is fine"),
            ("1.2.0", "1.2.0"),
            ("# no heading", r"\# no heading"),
            ("[x](javascript:y)", r"\[x\]\(javascript:y\)"),
            ("see https://evil.example", r"see https\://evil.example"),
            ("www.evil.example", r"www\.evil.example"),
            ("\u{202e}abc", "abc"),
            ("a\r\nb", "a  b"),
            ("", ""),
        ] {
            assert_eq!(escape_markdown(text), expected);
        }
    }

    proptest! {
        #[test]
        fn every_special_character_is_escaped_and_one_line_is_left(text in any::<String>()) {
            let escaped = escape_markdown(&text);
            prop_assert!(!escaped.contains(['\n', '\r']));
            let mut chars = escaped.chars();
            while let Some(c) = chars.next() {
                if c == '\\' {
                    prop_assert!(chars.next().is_some_and(|c| c.is_ascii_punctuation()));
                } else {
                    prop_assert!(!"`*_[]<>|#&~".contains(c), "{:?}", escaped);
                }
            }
        }

        #[test]
        fn taking_the_backslashes_away_gives_the_text_back(text in "[ -~]{0,40}") {
            let mut plain = String::new();
            let escaped = escape_markdown(&text);
            let mut chars = escaped.chars();
            while let Some(c) = chars.next() {
                plain.push(if c == '\\' { chars.next().unwrap() } else { c });
            }
            prop_assert_eq!(plain, text.trim());
        }
    }
}
