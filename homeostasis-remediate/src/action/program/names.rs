//! Names of units, pods, nodes, interfaces: checked by the grammar of each before an argument exists.

use homeostasis_core::ConfigError;
use serde_json::{Map, Value};

use crate::action::glob::Glob;
use crate::action::{ActionCall, ActionError, ArgumentProblem};

/// A kind of name: which texts are one, and what that is in words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grammar {
    pub(super) expected: &'static str,
    is_one: fn(&str) -> bool,
}

/// The types of units that may be started, stopped or limited.
const UNIT_TYPES: [&str; 9] = [
    "service",
    "socket",
    "timer",
    "path",
    "mount",
    "automount",
    "swap",
    "slice",
    "scope",
];

/// A unit of systemd, `systemd.unit(5)`: no pattern, no template without instance, no option.
pub(super) const UNIT: Grammar = Grammar {
    expected: "the name of a unit with its type, such as `nginx.service` or `worker@2.service`: letters, digits, `:`, `_`, `.`, `@`, `\\`, `-`, beginning with a letter, digit or `_`, without `..`, at most 255 bytes",
    is_one: |text| {
        let Some((stem, kind)) = text.rsplit_once('.') else {
            return false;
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || ":_.@\\-".contains(c);
        text.len() <= 255
            && UNIT_TYPES.contains(&kind)
            && stem.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && stem.chars().all(allowed)
            && !stem.contains("..")
            && !stem.ends_with('@')
            && stem.matches('@').count() <= 1
    },
};

/// One label of RFC 1123: a namespace.
pub(super) const LABEL: Grammar = Grammar {
    expected: "a label of RFC 1123: small letters, digits and `-`, beginning and ending with a letter or digit, at most 63",
    is_one: is_label,
};

/// Labels joined by dots: pods, deployments, nodes.
pub(super) const SUBDOMAIN: Grammar = Grammar {
    expected: "a name of RFC 1123: small letters, digits, `-` and `.`, each part beginning and ending with a letter or digit, at most 253",
    is_one: |text| text.len() <= 253 && text.split('.').all(is_label),
};

/// A network interface: what the kernel takes (`IFNAMSIZ`), without what programs take for more.
pub(super) const INTERFACE: Grammar = Grammar {
    expected: "the name of an interface: at most 15 letters, digits, `.`, `_` and `-`, beginning with a letter or digit, without `..`",
    is_one: |text| {
        text.len() <= 15
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
            && !text.contains("..")
    },
};

/// A table or chain of nftables.
pub(super) const NFT_NAME: Grammar = Grammar {
    expected: "letters, digits, `_` and `-`, beginning with a letter, at most 31",
    is_one: |text| {
        text.len() <= 31
            && text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    },
};

fn is_label(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= 63
        && text.starts_with(edge)
        && text.ends_with(edge)
        && text.chars().all(|c| edge(c) || c == '-')
}

impl Grammar {
    pub(super) fn is_one(&self, text: &str) -> bool {
        (self.is_one)(text)
    }
}

/// Which names a host allows: patterns with `*` and `?`. None is allowed by default.
#[derive(Debug, Clone, Default)]
pub(super) struct Allowed(Vec<(String, Glob)>);

impl Allowed {
    /// # Errors
    /// If a pattern is none; `path` names the place.
    pub(super) fn new<I: Into<String>>(
        path: &str,
        patterns: impl IntoIterator<Item = I>,
    ) -> Result<Self, ConfigError> {
        let parse = |text: String| match Glob::parse(&text) {
            Some(glob) => Ok((text, glob)),
            None => Err(ConfigError::single(
                path,
                format!("{text:?}"),
                Glob::EXPECTED,
            )),
        };
        let patterns = patterns.into_iter().map(|text| parse(text.into()));
        Ok(Self(patterns.collect::<Result<_, _>>()?))
    }

    fn expected(&self) -> String {
        if self.0.is_empty() {
            return "nothing: the host allows none".to_owned();
        }
        let patterns: Vec<_> = self.0.iter().map(|(text, _)| format!("`{text}`")).collect();
        format!("one that the host allows: {}", patterns.join(", "))
    }
}

/// A name argument: its parameter, what it must be, and which the host allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) param: &'static str,
    pub(super) grammar: Grammar,
    pub(super) allowed: Option<&'a Allowed>,
}

impl Named<'_> {
    fn expected(&self, text: &str) -> Option<String> {
        if !self.grammar.is_one(text) {
            return Some(self.grammar.expected.to_owned());
        }
        let allowed = self.allowed?;
        let fits = allowed.0.iter().any(|(_, glob)| glob.matches(text));
        (!fits).then(|| allowed.expected())
    }

    /// What is wrong with it, if it is known already.
    pub(super) fn problem(&self, args: &Map<String, Value>) -> Option<ArgumentProblem> {
        let text = args.get(self.param)?.as_str()?;
        let is_template = text.contains("${");
        let expected = self.expected(text).filter(|_| !is_template)?;
        Some(ArgumentProblem::new(format!("/{}", self.param), expected))
    }

    /// The name, checked once more now that placeholders are filled in.
    pub(super) fn of<'c>(&self, call: &ActionCall<'c>) -> Result<&'c str, ActionError> {
        let text = call.text(self.param)?;
        match self.expected(text) {
            None => Ok(text),
            Some(expected) => {
                let shown: String = text.chars().take(80).collect();
                let what = format!("argument `{}` is {shown:?}", self.param);
                Err(ActionError::invalid(what, format!("expected {expected}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_grammar_takes_its_names_and_nothing_else() {
        let x = |n: usize| "x".repeat(n);
        let cases: [(Grammar, &[&str], &[&str]); 5] = [
            (
                UNIT,
                &[
                    "nginx.service",
                    "worker@2.service",
                    "_a.b:c-d.timer",
                    "a\\x2db.mount",
                    "my-app.slice",
                ],
                &[
                    "nginx",
                    "nginx.target.wants",
                    "-.mount",
                    "a b.service",
                    "*.service",
                    "a@.service",
                    "a..b.service",
                    ".service",
                    "a@b@c.service",
                    "ngіnx.service",
                ],
            ),
            (
                LABEL,
                &["default", "a", "kube-system", "0"],
                &["A", "a.b", "-a", "a-", "a_b", "ü"],
            ),
            (
                SUBDOMAIN,
                &["web-7d4b9c-x2z", "node-1.eu.example"],
                &["a..b", ".a", "a.", "Web", "a/b", "-web"],
            ),
            (
                INTERFACE,
                &["eth0", "br-lan", "eth0.100", "wg_0"],
                &["-eth0", "eth0 ", "a/b", "..", "eth0:1", "lönk"],
            ),
            (
                NFT_NAME,
                &["filter", "my_chain", "in-put"],
                &["1a", "a b", "a;b", "{", "\"a\"", "@set"],
            ),
        ];
        let too_long = [
            x(256),
            x(64),
            format!("{}.{}", x(63), x(63)).repeat(3),
            x(16),
            x(32),
        ];
        for ((grammar, good, evil), long) in cases.into_iter().zip(too_long) {
            for text in good {
                assert!(grammar.is_one(text), "{text}: {}", grammar.expected);
            }
            let everywhere = [
                "", "--force", "a\nb", "a\0", "$(id)", "`id`", "a;id", "'a'", "\"a\"", "../a",
                "/a", "a|b", "${x}",
            ];
            for text in evil.iter().chain(&everywhere).chain([&long.as_str()]) {
                assert!(!grammar.is_one(text), "{text}: {}", grammar.expected);
            }
        }
    }

    #[test]
    fn nothing_is_allowed_until_the_host_allows_it() {
        let args = serde_json::json!({"unit": "web-1.service"});
        let args = args.as_object().unwrap();
        let problem = |patterns: &[&str]| {
            let allowed = Allowed::new("units", patterns.iter().copied()).unwrap();
            let named = Named {
                param: "unit",
                grammar: UNIT,
                allowed: Some(&allowed),
            };
            named.problem(args).map(|problem| problem.expected)
        };
        assert_eq!(problem(&["db.service", "web-*.service"]), None);
        assert!(problem(&[]).unwrap().contains("allows none"));
        assert!(problem(&["db.service"]).unwrap().contains("`db.service`"));
        assert!(Allowed::new("units", ["a/b"]).is_err());
    }
}
