//! The way from the top of a document to a value, as people write it.

/// `key` below `path`; keys that are not plain words are quoted in brackets.
pub(super) fn field(path: &str, key: &str) -> String {
    let is_word = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    match (is_word, path.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{path}.{key}"),
        (false, _) => format!("{path}[{key:?}]"),
    }
}

/// The item `idx` of the list at `path`.
pub(super) fn item(path: &str, idx: usize) -> String {
    format!("{path}[{idx}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_joined_by_dots_and_other_keys_are_quoted() {
        assert_eq!(field("", "a"), "a");
        assert_eq!(field("a", "b-c"), "a.b-c");
        assert_eq!(field("a", "b.c"), "a[\"b.c\"]");
        assert_eq!(item("a", 2), "a[2]");
    }
}
