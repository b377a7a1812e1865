//! Texts with variables: `${name}`.

use std::collections::BTreeMap;

/// How a value is written into a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escape {
    /// As it is.
    None,
    /// Percent-encoded, all but what RFC 3986 calls unreserved.
    Url,
    /// As the inside of a JSON text.
    Json,
}

/// The names of the variables of `text`.
///
/// # Errors
/// The place where a brace is not closed.
pub(super) fn variables(text: &str) -> Result<Vec<&str>, &str> {
    let (mut names, mut rest) = (Vec::new(), text);
    while let Some((_, inside)) = rest.split_once("${") {
        let (name, behind) = inside.split_once('}').ok_or(inside)?;
        names.push(name);
        rest = behind;
    }
    Ok(names)
}

/// `text` with values in the place of variables; `None` if one has no value.
pub(super) fn fill(
    text: &str,
    values: &BTreeMap<String, String>,
    escape: Escape,
) -> Option<String> {
    let (mut filled, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, inside)) = rest.split_once("${") {
        let (name, behind) = inside.split_once('}')?;
        filled.push_str(before);
        push(&mut filled, values.get(name)?, escape);
        rest = behind;
    }
    filled.push_str(rest);
    Some(filled)
}

fn push(text: &mut String, value: &str, escape: Escape) {
    match escape {
        Escape::None => text.push_str(value),
        Escape::Json => {
            let quoted = serde_json::Value::from(value).to_string();
            text.push_str(&quoted[1..quoted.len() - 1]);
        }
        Escape::Url => {
            for byte in value.bytes() {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    text.push(char::from(byte));
                } else {
                    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                    text.push('%');
                    text.push(char::from(DIGITS[usize::from(byte >> 4)]));
                    text.push(char::from(DIGITS[usize::from(byte & 15)]));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("user".to_owned(), value.to_owned())])
    }

    #[test]
    fn a_value_cannot_leave_its_place() {
        let url = fill("http://s/u/${user}?x=1", &values("../a b?&é"), Escape::Url);
        assert_eq!(url.unwrap(), "http://s/u/..%2Fa%20b%3F%26%C3%A9?x=1");
        let body = fill(
            r#"{"n":"${user}"}"#,
            &values("a\",\"admin\":\"1"),
            Escape::Json,
        );
        let read: serde_json::Value = serde_json::from_str(&body.unwrap()).unwrap();
        assert_eq!(read["n"], "a\",\"admin\":\"1");
    }

    #[test]
    fn a_variable_without_value_and_an_open_brace_are_seen() {
        assert_eq!(fill("${other}", &values("x"), Escape::None), None);
        assert_eq!(variables("a ${user"), Err("user"));
        assert_eq!(variables("${a}${b} {c}"), Ok(vec!["a", "b"]));
    }

    proptest! {
        #[test]
        fn any_value_comes_back_out_of_json(value in ".*") {
            let body = fill(r#"["${user}"]"#, &values(&value), Escape::Json).unwrap();
            let read: Vec<String> = serde_json::from_str(&body).unwrap();
            prop_assert_eq!(&read[0], &value);
        }

        #[test]
        fn any_text_is_read_without_panic(text in "[${}a-b]*") {
            if let Ok(names) = variables(&text) {
                let values = names.iter().map(|name| ((*name).to_owned(), String::new())).collect();
                prop_assert!(fill(&text, &values, Escape::Url).is_some());
            }
        }
    }
}
