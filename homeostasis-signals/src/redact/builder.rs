//! What a host adds to the shipped kinds, or takes away.

use homeostasis_core::{ConfigError, Violation, Violations};
use regex::{Regex, RegexSet};
use serde::{Deserialize, Serialize};

use super::marker;
use super::redactor::{Additions, Own, SecretRedactor};

/// How many names a host may add to each list.
const MAX_NAMES: usize = 1000;

/// What a host knows of its own secrets.
///
/// ```
/// use homeostasis::core::port::Redactor;
/// use homeostasis::signals::{RedactionConfig, SecretRedactor};
/// let config: RedactionConfig = serde_json::from_str(
///     r#"{ "patterns": [{ "name": "badge", "regex": "BADGE-[0-9]{8}" }], "names": ["door_code"] }"#,
/// )?;
/// let redactor = SecretRedactor::new(config)?;
/// assert_eq!(redactor.text("BADGE-12345678 at gate 4"), "[redacted:badge] at gate 4");
/// assert_eq!(redactor.field("north.door-code", "7781"), "[redacted:secret]");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RedactionConfig {
    /// Patterns beside the shipped ones. Default none. All of them together cost one more pass over
    /// every text, and each that occurs another.
    pub patterns: Vec<RedactionPattern>,
    /// Names of fields whose values are secret, beside the shipped ones. Default none. Separators
    /// and the case of letters do not count, and what ends with such a name is one too.
    pub names: Vec<String>,
    /// Names of fields that only look as if their values were secret. Default none. They are
    /// compared like `names`, and win over them; the value is still searched as a text.
    pub innocent_names: Vec<String>,
    /// Expressions of secrets that are none: what one matches anywhere is left alone. Default none.
    ///
    /// **Warning:** one that matches too much switches redaction off; write `^` and `$`.
    pub allow: Vec<String>,
    /// Shipped kinds that are not looked for. Default none.
    pub without: Vec<String>,
}

/// A pattern of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedactionPattern {
    /// What stands in the marker: 1 to 48 small letters, digits or `-`.
    pub name: String,
    /// What is replaced; of a match with the group `secret` only that. It runs in linear time.
    pub regex: String,
}

impl RedactionPattern {
    /// A pattern; it is checked when a redactor is made of it.
    pub fn new(name: impl Into<String>, regex: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            regex: regex.into(),
        }
    }
}

impl SecretRedactor {
    /// A redactor with the shipped kinds and what `config` says.
    ///
    /// # Errors
    /// All violations at once: an expression that cannot be read or that matches the empty text, a
    /// name that cannot stand in a marker or has no letters, more than 1000 names, a kind that is not
    /// shipped.
    pub fn new(config: RedactionConfig) -> Result<Self, ConfigError> {
        let mut violations = Violations::new();
        let mut own = Vec::new();
        for (i, pattern) in config.patterns.iter().enumerate() {
            let path = format!("redaction.patterns[{i}]");
            if !marker::is_name(&pattern.name) {
                let expected = "1 to 48 small letters, digits or `-`";
                violations.push(Violation::new(
                    format!("{path}.name"),
                    &pattern.name,
                    expected,
                ));
            }
            if let Some(regex) =
                expression(format!("{path}.regex"), &pattern.regex, &mut violations)
            {
                let name = pattern.name.clone();
                own.push(Own { name, regex });
            }
        }
        for (i, regex) in config.allow.iter().enumerate() {
            expression(format!("redaction.allow[{i}]"), regex, &mut violations);
        }
        for (path, names) in [
            ("redaction.names", &config.names),
            ("redaction.innocent_names", &config.innocent_names),
        ] {
            // The search over them is one table, which grows with their letters.
            if names.len() > MAX_NAMES {
                let expected = format!("at most {MAX_NAMES} names");
                violations.push(Violation::new(path, names.len(), expected));
            }
            for (i, name) in names.iter().enumerate() {
                if !(1..=64).contains(&name.len())
                    || !name.contains(|c: char| c.is_ascii_alphanumeric())
                {
                    let expected = "a name of 1 to 64 bytes with a letter or digit of ASCII";
                    violations.push(Violation::new(format!("{path}[{i}]"), name, expected));
                }
            }
        }
        let kinds = Self::kinds();
        for (i, name) in config.without.iter().enumerate() {
            if !kinds.iter().any(|(kind, _)| kind == name) {
                let expected = "a kind of SecretRedactor::kinds";
                violations.push(Violation::new(
                    format!("redaction.without[{i}]"),
                    name,
                    expected,
                ));
            }
        }
        let set = |path, regexes: &[&str], violations: &mut Violations| {
            let made = RegexSet::new(regexes);
            made.map_err(|error| {
                violations.push(Violation::new(
                    path,
                    regexes.len().to_string(),
                    format!("expressions that fit together ({error})"),
                ));
            })
            .unwrap_or_else(|()| RegexSet::empty())
        };
        violations.clone().into_result(())?;
        let patterns: Vec<_> = config
            .patterns
            .iter()
            .map(|pattern| pattern.regex.as_str())
            .collect();
        let allow: Vec<_> = config.allow.iter().map(String::as_str).collect();
        let own_set = set("redaction.patterns", &patterns, &mut violations);
        let allowed = set("redaction.allow", &allow, &mut violations);
        violations.into_result(())?;
        Ok(Self::with(Additions {
            own,
            own_set,
            names: config.names,
            innocent_names: config.innocent_names,
            allowed,
            without: config.without,
        }))
    }
}

fn expression(path: String, regex: &str, violations: &mut Violations) -> Option<Regex> {
    let expected = match Regex::new(regex) {
        Ok(made) if made.is_match("") => {
            "an expression that does not match the empty text".to_owned()
        }
        Ok(made) => return Some(made),
        Err(error) => format!("a regular expression ({error})"),
    };
    violations.push(Violation::new(path, regex, expected));
    None
}

/// Puts a [`SecretRedactor`] together; made by [`SecretRedactor::builder`].
///
/// ```
/// use homeostasis::core::port::Redactor;
/// use homeostasis::signals::SecretRedactor;
/// let redactor = SecretRedactor::builder()
///     .pattern("ticket", r"TICKET-[0-9]{6}")
///     .name("door_code")
///     .allow("^4111111111111111$")
///     .build()?;
/// assert_eq!(redactor.text("TICKET-123456"), "[redacted:ticket]");
/// assert_eq!(redactor.text("test card 4111111111111111"), "test card 4111111111111111");
///
/// let wrong = SecretRedactor::builder().pattern("Ticket", "(").without("tickets").build();
/// assert_eq!(wrong.unwrap_err().violations().len(), 3);
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct SecretRedactorBuilder {
    config: RedactionConfig,
}

impl SecretRedactorBuilder {
    /// One pattern more; see [`RedactionPattern`].
    pub fn pattern(mut self, name: impl Into<String>, regex: impl Into<String>) -> Self {
        self.config
            .patterns
            .push(RedactionPattern::new(name, regex));
        self
    }

    /// One name of fields more; see [`RedactionConfig::names`].
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.names.push(name.into());
        self
    }

    /// A name that only looks secret; see [`RedactionConfig::innocent_names`].
    pub fn innocent_name(mut self, name: impl Into<String>) -> Self {
        self.config.innocent_names.push(name.into());
        self
    }

    /// What is no secret; see [`RedactionConfig::allow`].
    pub fn allow(mut self, regex: impl Into<String>) -> Self {
        self.config.allow.push(regex.into());
        self
    }

    /// A shipped kind that is not looked for.
    pub fn without(mut self, kind: impl Into<String>) -> Self {
        self.config.without.push(kind.into());
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// See [`SecretRedactor::new`].
    pub fn build(self) -> Result<SecretRedactor, ConfigError> {
        SecretRedactor::new(self.config)
    }
}
