//! Paths as diffs write them: git's C-style quotes, and no way out of the tree.

use std::fmt::Write as _;

use super::DiffError;

/// Refuses absolute paths, `..`, empty steps and what no file name may hold.
pub(crate) fn check_path(path: &str) -> Result<(), DiffError> {
    let refuse = |expected| {
        Err(DiffError::Path {
            path: path.to_owned(),
            expected,
        })
    };
    if path.is_empty() || path.contains('\0') {
        return refuse("a file name");
    }
    if path.starts_with('/') || path.split(['/', '\\']).any(|part| part == "..") {
        return refuse("a relative path that stays inside the tree");
    }
    if path.split('/').any(|part| part.is_empty() || part == ".") {
        return refuse("a path without empty or `.` steps");
    }
    let mut start = path.chars();
    if start.next().is_some_and(|c| c.is_ascii_alphabetic()) && start.next() == Some(':') {
        return refuse("a path without a drive letter");
    }
    Ok(())
}

/// The path as in a header line, with its prefix (`a/`, `b/`).
pub(super) fn quoted(prefix: &str, path: &str) -> String {
    let plain = |c: char| !c.is_control() && c != '"' && c != '\\';
    if path.chars().all(plain) {
        return format!("{prefix}{path}");
    }
    let mut out = format!("\"{prefix}");
    for c in path.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(out, "\\{byte:03o}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The first name in `text` and what follows it; an unquoted one ends at a tab or the end.
pub(super) fn first_name(text: &str) -> Option<(String, &str)> {
    let Some(inside) = text.strip_prefix('"') else {
        let end = text.find('\t').unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut bytes = Vec::new();
    let mut chars = inside.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return Some((String::from_utf8(bytes).ok()?, &inside[i + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => bytes.push(b'\n'),
                't' => bytes.push(b'\t'),
                'r' => bytes.push(b'\r'),
                'a' => bytes.push(7),
                'b' => bytes.push(8),
                'v' => bytes.push(11),
                'f' => bytes.push(12),
                c @ ('"' | '\\') => bytes.push(u8::try_from(c).ok()?),
                high @ '0'..='3' => {
                    let digits = [high, chars.next()?.1, chars.next()?.1];
                    let octal: String = digits.iter().collect();
                    bytes.push(u8::from_str_radix(&octal, 8).ok()?);
                }
                _ => return None,
            },
            c => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_that_leave_the_tree_are_refused() {
        for path in [
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a//b",
            "",
            "./a",
            "C:\\x",
            "a\\..\\b",
        ] {
            assert!(check_path(path).is_err(), "{path:?}");
        }
        for path in ["a", "conf/app.toml", "a..b/c", ".github/x y.yml"] {
            assert!(check_path(path).is_ok(), "{path:?}");
        }
    }

    #[test]
    fn octal_escapes_of_git_are_read() {
        assert_eq!(
            first_name(r#""a/\303\251" rest"#),
            Some(("a/é".into(), " rest"))
        );
        assert_eq!(first_name(r#""a/\q""#), None);
    }

    proptest! {
        #[test]
        fn quoted_names_read_back(path in "[^\t\0]{1,20}") {
            prop_assume!(!path.starts_with('"'));
            let text = quoted("a/", &path);
            prop_assert!(!text.contains('\n'));
            prop_assert_eq!(first_name(&text), Some((format!("a/{path}"), "")));
        }
    }
}
