//! `${NAME}` in string scalars, filled in from a lookup of the caller.

/// Looks a variable up by its name; `None` when it is not set.
pub(super) type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Fills in the variables of `text`; `None` when it names none and escapes none.
///
/// # Errors
/// What was expected instead, for each variable that is missing or badly written.
/// The text names variables, never their values.
pub(super) fn interpolate(text: &str, lookup: &Lookup<'_>) -> Result<Option<String>, Vec<String>> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut out = String::with_capacity(text.len());
    let mut problems = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = (&rest[..at], &rest[at + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let Some(end) = after.find('}') else {
            problems.push("a closing `}` after `${` (write `$${` for a literal `${`)".to_owned());
            rest = "";
            break;
        };
        match resolve(&after[..end], lookup) {
            Ok(value) => out.push_str(&value),
            Err(problem) => problems.push(problem),
        }
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    if problems.is_empty() {
        Ok(Some(out))
    } else {
        Err(problems)
    }
}

fn resolve(inside: &str, lookup: &Lookup<'_>) -> Result<String, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return Err(
            "`${NAME}` or `${NAME:-default}` with a name of letters, digits and underscores \
             (write `$${` for a literal `${`)"
                .to_owned(),
        );
    }
    match (lookup(name), default) {
        // As in a shell, `:-` also replaces a variable that is set but empty.
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!(
            "the variable `{name}` to be set, or a default as in `${{{name}:-default}}`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("db-1".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${HOST}".to_owned()),
            _ => None,
        }
    }

    fn filled(text: &str) -> String {
        interpolate(text, &lookup).unwrap().unwrap()
    }

    #[test]
    fn variables_defaults_and_escapes_are_filled_in() {
        assert_eq!(filled("http://${HOST}:${PORT:-80}/"), "http://db-1:80/");
        assert_eq!(filled("${EMPTY}"), "");
        assert_eq!(filled("${EMPTY:-full}"), "full");
        assert_eq!(filled("$${HOST} is ${HOST}"), "${HOST} is db-1");
        assert_eq!(filled("${X:-}"), "");
        assert_eq!(interpolate("no $HOST, $5", &lookup), Ok(None));
    }

    #[test]
    fn values_are_not_filled_in_again() {
        assert_eq!(filled("${NESTED}"), "${HOST}");
    }

    #[test]
    fn each_missing_or_malformed_variable_is_reported() {
        let problems = interpolate("${A} ${B} ${HOST.x} ${HOST", &lookup).unwrap_err();
        assert_eq!(problems.len(), 4);
        assert!(
            problems[0].contains("`A`") && problems[1].contains("`B`"),
            "{problems:?}"
        );
        assert!(
            problems[2].contains("letters") && problems[3].contains("closing"),
            "{problems:?}"
        );
        assert!(!problems.concat().contains("db-1"));
    }
}
