//! What of a message is the same every time.

/// How much of a message counts.
const MAX_BYTES: usize = 400;
/// Stands for everything that varies.
const VALUE: &str = "<>";

/// The first line of `message` with everything that differs from one occurrence to the next
/// replaced: words with a digit (numbers, ids, times, addresses), hexadecimal ids, paths, and
/// quoted texts that hold one of them or white space. Values in a row count as one.
pub(super) fn template(message: &str) -> String {
    let line = message.lines().find(|line| !line.trim().is_empty());
    let line = line.unwrap_or_default().trim();
    let mut out = String::with_capacity(line.len().min(MAX_BYTES));
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        if out.len() >= MAX_BYTES {
            break;
        }
        let quoted = matches!(first, '\'' | '"' | '`')
            .then(|| quoted(rest, first, out.chars().next_back()))
            .flatten();
        let taken = if let Some(inside) = quoted {
            if is_variable(inside) || inside.contains(char::is_whitespace) {
                value(&mut out);
            } else {
                out.push_str(inside);
            }
            inside.len() + 2 * first.len_utf8()
        } else {
            let len = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let word = rest.get(..len).unwrap_or_default();
            if word.is_empty() {
                out.push(first);
                first.len_utf8()
            } else {
                // Punctuation at the end belongs to the sentence.
                let core = word.trim_end_matches(['.', ':', '-', '/', ',']);
                if is_variable(core) {
                    value(&mut out);
                    core.len()
                } else {
                    out.push_str(word);
                    len
                }
            }
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    out
}

/// Adds a value, unless only punctuation parts it from the one before.
fn value(out: &mut String) {
    let before = out.trim_end_matches([' ', ',', ';', ':', '.', '-', '/', '+']);
    if before.ends_with(VALUE) {
        out.truncate(before.len());
    } else {
        out.push_str(VALUE);
    }
}

/// The text between two equal quotes, if `rest` begins with one that is no apostrophe.
fn quoted(rest: &str, quote: char, before: Option<char>) -> Option<&str> {
    if before.is_some_and(char::is_alphanumeric) {
        return None;
    }
    let inside = rest.get(quote.len_utf8()..)?;
    inside.get(..inside.find(quote)?)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric()
        || matches!(
            c,
            '_' | '-' | '.' | ':' | '/' | '\\' | '@' | '#' | '%' | '~' | '+'
        )
}

fn is_variable(word: &str) -> bool {
    word.contains(char::is_numeric)
        || word.starts_with(['/', '\\', '~'])
        || word.contains("://")
        || word.contains(":\\")
        || word.contains('@')
        || (word.len() >= 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_varies_is_left_out_and_what_matters_stays() {
        for (message, expected) in [
            (
                "index out of bounds: the len is 3 but the index is 7",
                "index out of bounds: the len is <> but the index is <>",
            ),
            (
                "order 7f3a-11 at 2026-11-22T01:00:00.123Z failed",
                "order <> at <> failed",
            ),
            ("at 2026-11-22 01:00:00, 3 left", "at <> left"),
            (
                "[Errno 2] No such file or directory: '/tmp/tmpab/x'",
                "[Errno <>] No such file or directory: <>",
            ),
            ("cannot open /tmp/abc/def.", "cannot open <>."),
            ("'host'", "host"),
            ("user 'u-17' and \"Ann Lee\"", "user <> and <>"),
            ("user 'anna'", "user anna"),
            ("can't do what isn't done", "can't do what isn't done"),
            ("object at 0x7fe0 is deadbeef", "object at <> is <>"),
            ("rows [1, 2, 3] and 4", "rows [<>] and <>"),
            ("GET https://x.y/z: refused", "GET <>: refused"),
            ("\n  first\nsecond", "first"),
            ("", ""),
        ] {
            assert_eq!(template(message), expected, "{message:?}");
        }
    }

    #[test]
    fn endless_messages_cost_what_counts_of_them() {
        assert!(template(&"é ".repeat(100_000)).len() < MAX_BYTES + 8);
        assert!(template(&"'".repeat(100_000)).len() < MAX_BYTES + 8);
        assert!(template(&format!("'{}", "x'y".repeat(50_000))).len() <= 200_000);
    }
}
