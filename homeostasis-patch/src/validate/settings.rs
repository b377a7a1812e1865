//! Settings that switch protection off, in programs and in configuration files.

use super::RefusalReason::{
    self, DebugMode, Deserialization, OpenCors, OpenPermissions, RemovedAuthorization, SilencedLog,
    UnverifiedTls, WildcardHost,
};
use super::fact::{Fact, Sense};
use super::time_limits::is_time_limit;
use super::token::{FlatTree, Kind, Token, line_starts};
use super::validation::Flag;
use super::words::name_words;
use super::{hosts, secrets};
use crate::edit::{self, Datum, Node};

/// What must not be false.
const VERIFIES: &str = "verify verifyssl sslverify verifytls tlsverify verifypeer verifyhost verifyhostname \
    checkhostname rejectunauthorized verifycertificates verifycerts validatecerts strictssl verifysignature \
    verifyjwt usetls";

/// What must not be true.
const TRUSTS: &str = "insecure insecureskipverify skipverify skiptlsverify tlsskipverify skipsslvalidation \
    dangeracceptinvalidcerts dangeracceptinvalidhostnames acceptinvalidcerts acceptinvalidhostnames trustall \
    trustallcerts allowselfsigned allowinsecure insecuretls disablessl disabletls noverify nosslverify";

const DEBUGS: &str = "debug debugmode debugenabled enabledebug flaskdebug usedebugger appdebug";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Setting<'v> {
    Bool(bool),
    Text(&'v str),
}

/// `path` holds the names above the setting, too; `name` is its own.
fn judged(path: &str, name: &str, value: Setting<'_>, in_file: bool) -> Option<RefusalReason> {
    let plain = plain(name);
    let listed = |list: &str| list.split_ascii_whitespace().any(|known| known == plain);
    let is_off = matches!(
        value,
        Setting::Bool(false)
            | Setting::Text("0" | "off" | "no" | "none" | "disable" | "disabled" | "false")
    );
    let is_on = matches!(
        value,
        Setting::Bool(true) | Setting::Text("1" | "on" | "yes" | "true" | "enabled")
    );
    let above = plain_path(path);
    let about_tls = ["tls", "ssl", "https", "certificate"]
        .iter()
        .any(|word| above.contains(word));
    let is_switch = matches!(
        plain.as_str(),
        "enabled" | "enable" | "tls" | "ssl" | "sslmode" | "required"
    );
    if listed(VERIFIES) && is_off
        || listed(TRUSTS) && is_on
        || in_file && about_tls && is_switch && is_off
    {
        return Some(UnverifiedTls);
    }
    if listed(DEBUGS) && is_on {
        return Some(DebugMode);
    }
    let is_identity = name_words(path).iter().any(|word| {
        matches!(
            word.as_str(),
            "auth" | "authentication" | "authorization" | "csrf" | "rbac" | "mfa" | "acl"
        )
    });
    let turns_off = name_words(name)
        .iter()
        .any(|word| matches!(word.as_str(), "disable" | "disabled" | "skip" | "anonymous"));
    if is_identity
        && (is_off && !turns_off || is_on && turns_off)
        && (in_file || matches!(value, Setting::Bool(_)))
    {
        return Some(RemovedAuthorization);
    }
    if plain == "disabled" && is_on && above.contains("log")
        || plain == "propagate" && is_off && above.contains("log")
    {
        return Some(SilencedLog);
    }
    let Setting::Text(text) = value else {
        return None;
    };
    if text == "*" && (above.contains("origin") || above.contains("cors")) {
        return Some(OpenCors);
    }
    if text == "*" && above.contains("host") || is_any_address(text) {
        return Some(WildcardHost);
    }
    if plain.contains("algorithm") && text.eq_ignore_ascii_case("none") {
        return Some(UnverifiedTls);
    }
    let is_mode = plain.ends_with("mode")
        || plain.contains("permission")
        || plain == "chmod"
        || plain == "umask";
    (is_mode && everybody_writes(text)).then_some(OpenPermissions)
}

fn plain(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

fn plain_path(path: &str) -> String {
    path.to_lowercase()
}

fn is_any_address(text: &str) -> bool {
    matches!(text, "0.0.0.0" | "::" | "[::]" | "*:*")
        || text.starts_with("0.0.0.0:")
        || text.starts_with("[::]:")
        || text.starts_with("*:")
}

/// An octal mode whose last digit lets others write.
fn everybody_writes(text: &str) -> bool {
    let digits = text
        .trim_start_matches("0o")
        .trim_start_matches("0O")
        .trim_start_matches('0');
    let is_octal = digits.len() == 3 && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
    is_octal && digits.bytes().last().is_some_and(|b| (b - b'0') & 2 != 0)
        || matches!(text, "a+rwx" | "o+w" | "a+w" | "ugo+rwx")
}

/// The settings of a program.
pub(super) fn facts(tree: &FlatTree<'_>) -> Vec<Fact> {
    let mut found = Vec::new();
    let tokens = &tree.tokens;
    for (idx, token) in tokens.iter().enumerate() {
        let mut push = |reason, key: String| {
            found.push(Fact::new(
                Sense::Forbidden(reason),
                key.clone(),
                token.line,
                &key,
            ));
        };
        if let Some(name) = setting_name(token) {
            for value in values(tokens, idx) {
                if let Some(reason) = judged(&owner(tokens, idx, name), name, value, false) {
                    push(reason, format!("{name} = {value:?}"));
                    break;
                }
            }
        }
        if let Some(text) = token.value() {
            let near = || {
                tokens[idx.saturating_sub(8)..idx]
                    .iter()
                    .map(|t| t.text.to_lowercase())
            };
            if text == "*" && near().any(|word| word.contains("origin") || word.contains("cors")) {
                push(OpenCors, "*".to_owned());
            } else if text == "*" && near().any(|word| word.contains("host")) {
                push(WildcardHost, "*".to_owned());
            } else if is_any_address(text) {
                push(WildcardHost, text.to_owned());
            } else if everybody_writes(text)
                && near().any(|word| word.contains("chmod") || word.contains("perm"))
            {
                push(OpenPermissions, text.to_owned());
            }
        }
        let is_octal =
            token.kind == Kind::Number && token.text.starts_with('0') && token.text.len() >= 4;
        if is_octal && everybody_writes(token.text) {
            push(OpenPermissions, token.text.to_owned());
        }
        let is_umask = token.is("umask") && tokens.get(idx + 1).is_some_and(|t| t.is("("));
        let opens = |t: &Token<'_>| {
            t.kind == Kind::Number && t.text.chars().all(|c| matches!(c, '0' | 'o' | 'O'))
        };
        if is_umask && tokens.get(idx + 2).is_some_and(opens) {
            push(OpenPermissions, "umask(0)".to_owned());
        }
    }
    found
}

fn setting_name<'a>(token: &'a Token<'_>) -> Option<&'a str> {
    match &token.kind {
        Kind::Word => Some(token.text),
        Kind::Text(text) if text.len() < 60 && !text.contains(' ') => Some(text),
        _ => None,
    }
}

/// What hangs before the name: `logger.disabled`.
fn owner(tokens: &[Token<'_>], idx: usize, name: &str) -> String {
    if idx >= 2 && tokens[idx - 1].is(".") {
        return format!("{}.{name}", tokens[idx - 2].text);
    }
    name.to_owned()
}

/// The values given to the name at `idx`: `= x`, `: x`, `: type = x`, `(x)`, `, x` and lists of them.
fn values<'a>(tokens: &'a [Token<'_>], idx: usize) -> Vec<Setting<'a>> {
    let sign = tokens.get(idx + 1).map_or("", |t| t.text);
    let mut at = match sign {
        "=" | ":" | "(" | "," | ":=" | "=>" => idx + 2,
        "]" if tokens.get(idx + 2).is_some_and(|t| t.is("=")) => idx + 3,
        _ => return Vec::new(),
    };
    if sign == ":" && tokens.get(idx + 3).is_some_and(|t| t.is("=")) {
        at = idx + 4;
    }
    let mut found = Vec::new();
    for token in tokens.iter().skip(at).take(6) {
        match &token.kind {
            Kind::Text(text) => found.push(Setting::Text(text)),
            Kind::Number if found.is_empty() => found.push(Setting::Text(token.text)),
            Kind::Word if matches!(token.text, "true" | "True") => found.push(Setting::Bool(true)),
            Kind::Word if matches!(token.text, "false" | "False" | "None" | "null" | "nil") => {
                found.push(Setting::Bool(false));
            }
            Kind::Punctuation if matches!(token.text, "[" | "(" | "{") && found.is_empty() => {
                continue;
            }
            _ => {}
        }
        break;
    }
    found
}

/// The facts of a configuration file.
///
/// # Errors
/// What the parser says, and the line if it tells one.
pub(super) fn config_facts(text: &str, format: edit::Format) -> Result<Vec<Fact>, String> {
    let root = edit::parse(text, format).map_err(|error| error.to_string())?;
    let lines = line_starts(text);
    let mut found = Vec::new();
    // Documents nest at most 96 deep: the parsers refuse more.
    let mut stack: Vec<(String, String, &Node)> = vec![(String::new(), String::new(), &root)];
    while let Some((path, name, node)) = stack.pop() {
        match &node.kind {
            edit::Kind::Mapping(entries, _) => {
                for entry in entries {
                    stack.push((
                        format!("{path}.{}", entry.key),
                        entry.key.clone(),
                        &entry.value,
                    ));
                }
            }
            edit::Kind::Sequence(items, _) => {
                stack.extend(items.iter().map(|item| (path.clone(), name.clone(), item)));
            }
            edit::Kind::Scalar(datum) => {
                let line = lines.partition_point(|start| *start <= node.span.start);
                scalar_facts(&path, &name, datum, line, &mut found);
            }
            edit::Kind::BlockScalar(block) => {
                let line = lines.partition_point(|start| *start <= node.span.start);
                scalar_facts(&path, &name, &Datum::Str(block.clone()), line, &mut found);
            }
            edit::Kind::Alias(_) => {}
        }
    }
    for (idx, line) in text.lines().enumerate() {
        let builds = ["!!python", "!!java", "!ruby", "!!perl", "!!js", "!!javax"]
            .iter()
            .any(|tag| line.contains(tag));
        if format == edit::Format::Yaml && builds {
            found.push(Fact::new(
                Sense::Forbidden(Deserialization),
                line.trim(),
                idx + 1,
                line,
            ));
        }
    }
    Ok(found)
}

fn scalar_facts(path: &str, name: &str, datum: &Datum, line: usize, found: &mut Vec<Fact>) {
    let number;
    let value = match datum {
        Datum::Bool(value) => Setting::Bool(*value),
        Datum::Str(text) => Setting::Text(text),
        Datum::Int(value) => {
            number = value.to_string();
            Setting::Text(&number)
        }
        _ => return,
    };
    let path = path.trim_start_matches('.');
    let text = match value {
        Setting::Bool(value) => format!("{path}: {value}"),
        Setting::Text(value) => format!("{path}: {value}"),
    };
    if let Some(reason) = judged(path, name, value, true) {
        found.push(Fact::new(
            Sense::Forbidden(reason),
            text.clone(),
            line,
            &text,
        ));
    }
    if let Setting::Text(value) = value
        && let Some(fact) = secrets::of_setting(name, value, line)
    {
        found.push(fact);
    }
    if let Setting::Text(value) = value {
        found.extend(hosts::of_setting(path, value, line));
    }
    if is_time_limit(name) {
        found.push(Fact::new(
            Sense::Kept(Flag::TimeLimit),
            text.clone(),
            line,
            &text,
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(text: &str, format: edit::Format) -> Vec<String> {
        let facts = config_facts(text, format).unwrap();
        facts
            .iter()
            .map(|fact| format!("{:?} {}", fact.sense, fact.text))
            .collect()
    }

    #[test]
    fn a_mode_lets_everybody_write_by_its_last_digit() {
        for (mode, open) in [
            ("0777", true),
            ("0o666", true),
            ("0o755", false),
            ("0660", false),
            ("2024", false),
        ] {
            assert_eq!(everybody_writes(mode), open, "{mode}");
        }
    }

    #[test]
    fn settings_are_judged_by_name_place_and_value() {
        let found = reasons(
            "tls:\n  enabled: false\nfeature:\n  enabled: false\n",
            edit::Format::Yaml,
        );
        assert_eq!(found, ["Forbidden(UnverifiedTls) tls.enabled: false"]);
        let found = reasons("debug_level = 3\nport = 0\n", edit::Format::Toml);
        assert_eq!(found, Vec::<String>::new());
    }
}
