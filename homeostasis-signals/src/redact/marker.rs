//! The marker that stands in the place of a secret: `[redacted:kind]`.

/// How it begins.
pub(super) const HEAD: &str = "[redacted:";

/// The longest name of a kind.
pub(super) const LONGEST_NAME: usize = 48;

/// Whether `name` can stand in a marker: small letters, digits and `-`.
pub(super) fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Whether `text` begins with a marker.
pub(super) fn begins(text: &str) -> bool {
    end(text, 0).is_some()
}

/// The end of the marker that begins at `start`.
pub(super) fn end(text: &str, start: usize) -> Option<usize> {
    let name = text.get(start..)?.strip_prefix(HEAD)?;
    let reach = name.bytes().take(LONGEST_NAME + 1);
    let len = reach.take_while(|byte| *byte != b']').count();
    let is_marker = name.as_bytes().get(len) == Some(&b']') && is_name(name.get(..len)?);
    is_marker.then_some(start + HEAD.len() + len + 1)
}

/// The marker of `kind`, appended to `text`.
pub(super) fn push(text: &mut String, kind: &str) {
    text.push_str(HEAD);
    text.push_str(kind);
    text.push(']');
}
