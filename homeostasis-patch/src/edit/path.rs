//! Paths into configuration documents.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::EditError;

/// One step of a [`ConfigPath`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathSegment {
    /// A key of a mapping (table, object).
    Key(String),
    /// A 0-based index of a sequence (array).
    Index(usize),
}

/// A place in a configuration document: `server.timeout_ms`, `upstreams[0].url`, `labels."app.io/x"`.
///
/// Bare keys hold anything but whitespace, control characters and `. [ ] " '`.
/// Other keys are quoted: `"…"` with JSON escapes, or `'…'` without escapes.
/// A path has at least one step. It is serialized as its text.
///
/// ```
/// use homeostasis::patch::{ConfigPath, PathSegment};
///
/// let path: ConfigPath = r#"upstreams[0]."weight.max""#.parse()?;
/// assert_eq!(path.segments()[1], PathSegment::Index(0));
/// assert_eq!(path.to_string(), r#"upstreams[0]."weight.max""#);
/// # Ok::<(), homeostasis::patch::EditError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ConfigPath(Vec<PathSegment>);

impl ConfigPath {
    /// A path of the given steps.
    ///
    /// # Errors
    /// [`EditError::Path`] when there is no step.
    pub fn new(segments: Vec<PathSegment>) -> Result<Self, EditError> {
        if segments.is_empty() {
            return Err(problem("", 0, "at least one key or index"));
        }
        Ok(Self(segments))
    }

    /// The steps, outermost first; never empty.
    #[must_use]
    pub fn segments(&self) -> &[PathSegment] {
        &self.0
    }

    /// The text of the first `n_steps` steps; `(document)` for none.
    pub(crate) fn prefix(&self, n_steps: usize) -> String {
        display(self.0.get(..n_steps).unwrap_or(&self.0))
    }
}

pub(crate) fn display(segments: &[PathSegment]) -> String {
    if segments.is_empty() {
        return "(document)".to_owned();
    }
    let mut text = String::new();
    for segment in segments {
        match segment {
            PathSegment::Index(i) => {
                let _ = write!(text, "[{i}]");
            }
            PathSegment::Key(key) => {
                if !text.is_empty() {
                    text.push('.');
                }
                if !key.is_empty() && key.chars().all(is_bare) {
                    text.push_str(key);
                } else {
                    text.push_str(&serde_json::Value::from(key.as_str()).to_string());
                }
            }
        }
    }
    text
}

fn is_bare(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !matches!(c, '.' | '[' | ']' | '"' | '\'')
}

fn problem(text: &str, at: usize, expected: &'static str) -> EditError {
    EditError::Path {
        text: text.to_owned(),
        at,
        expected,
    }
}

impl FromStr for ConfigPath {
    type Err = EditError;

    fn from_str(text: &str) -> Result<Self, EditError> {
        let mut segments = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            if let Some(inside) = rest.strip_prefix('[') {
                let len = inside
                    .find(']')
                    .ok_or_else(|| problem(text, at, "a closing ]"))?;
                let digits = &inside[..len];
                if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(problem(text, at + 1, "a 0-based index"));
                }
                let index = digits
                    .parse()
                    .map_err(|_| problem(text, at + 1, "an index that fits"))?;
                segments.push(PathSegment::Index(index));
                at += len + 2;
                continue;
            }
            if !segments.is_empty() {
                if !rest.starts_with('.') {
                    return Err(problem(text, at, "`.` or `[`"));
                }
                at += 1;
            }
            let (key, len) = key_at(text, at)?;
            segments.push(PathSegment::Key(key));
            at += len;
        }
        Self::new(segments)
    }
}

/// The key that starts at `at`, and its length in bytes.
fn key_at(text: &str, at: usize) -> Result<(String, usize), EditError> {
    let rest = &text[at..];
    if let Some(inside) = rest.strip_prefix('\'') {
        let len = inside
            .find('\'')
            .ok_or_else(|| problem(text, at, "a closing '"))?;
        return Ok((inside[..len].to_owned(), len + 2));
    }
    if rest.starts_with('"') {
        let mut escaped = false;
        for (i, c) in rest.char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => {
                    let key = serde_json::from_str(&rest[..=i])
                        .map_err(|_| problem(text, at, "a string with JSON escapes"))?;
                    return Ok((key, i + 1));
                }
                _ => {}
            }
        }
        return Err(problem(text, at, "a closing \""));
    }
    let len = rest.find(|c| !is_bare(c)).unwrap_or(rest.len());
    if len == 0 {
        return Err(problem(text, at, "a key"));
    }
    Ok((rest[..len].to_owned(), len))
}

impl fmt::Display for ConfigPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&display(&self.0))
    }
}

impl TryFrom<String> for ConfigPath {
    type Error = EditError;

    fn try_from(text: String) -> Result<Self, EditError> {
        text.parse()
    }
}

impl From<ConfigPath> for String {
    fn from(path: ConfigPath) -> Self {
        path.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn malformed_paths_name_the_byte_and_what_was_expected() {
        for (text, at) in [
            ("", 0),
            ("a..b", 2),
            ("a.", 2),
            ("a[x]", 2),
            ("a[", 1),
            ("a]b", 1),
            ("'x", 0),
            ("a b", 1),
        ] {
            let Err(EditError::Path { at: found, .. }) = text.parse::<ConfigPath>() else {
                panic!("{text:?} was accepted");
            };
            assert_eq!(found, at, "{text:?}");
        }
    }

    #[test]
    fn single_quotes_take_the_key_as_it_is() {
        let path: ConfigPath = r"a.'b\.c'[3]".parse().unwrap();
        assert_eq!(path.segments()[1], PathSegment::Key(r"b\.c".into()));
        assert_eq!(path.segments()[2], PathSegment::Index(3));
    }

    fn segment() -> impl Strategy<Value = PathSegment> {
        prop_oneof![
            any::<String>().prop_map(PathSegment::Key),
            any::<usize>().prop_map(PathSegment::Index),
        ]
    }

    proptest! {
        #[test]
        fn text_of_a_path_parses_back(segments in prop::collection::vec(segment(), 1..6)) {
            let path = ConfigPath::new(segments).unwrap();
            prop_assert_eq!(path.to_string().parse::<ConfigPath>().unwrap(), path);
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = text.parse::<ConfigPath>();
        }
    }
}
