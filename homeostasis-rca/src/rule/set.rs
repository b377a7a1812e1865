//! Many rules, matched at the cost of few.

use homeostasis_core::document::{Parser, decode, nested};
use homeostasis_core::{ConfigError, Target, Violations};
use regex::{RegexSet, RegexSetBuilder};

use super::{Rule, document};

/// The rules that come with the crate.
const FURNISHED: [(&str, &str); 3] = [
    ("resources.yaml", include_str!("../rules/resources.yaml")),
    ("network.yaml", include_str!("../rules/network.yaml")),
    (
        "application.yaml",
        include_str!("../rules/application.yaml"),
    ),
];

/// All patterns together may take this much memory, in bytes.
const MAX_SET_SIZE: usize = 64 << 20;

/// Rules in order of priority, compiled into one automaton: a line is read once, however many rules
/// there are, and only rules that match it are looked at.
///
/// A rule file is YAML (or JSON) with a list `rules`:
///
/// ```yaml
/// rules:
///   - id: connection_refused            # required, unique: a-z, 0-9, _ and .
///     pattern: '(?i)connection refused' # required, a regular expression for one line
///     cause: connection_refused         # required, the vocabulary of playbooks
///     category: network                 # required
///     blames: dependency                # self (default) or dependency
///     criticality: high                 # low, medium (default), high, critical
///     confidence: 0.8                   # required, 0.5 to 0.99
///     languages: [rust]                 # default: any
///     applies_to: [gateway]             # services; default: any
///     root_cause_indicators: ['errno 111']           # other lines that make it surer
///     context_requirements: ['process_open_fds > 9'] # conditions on the target's metrics
///     examples: ['tcp connect error: Connection refused (os error 111)'] # required, tested
///     counter_examples: ['connection established']   # tested
///     explanation: Nothing listens where it should.  # required
/// ```
///
/// Every mistake of a file is reported with its line and column, and every example and
/// counter-example is tried when it is loaded: a rule that does not do what it says does not load.
///
/// ```
/// use homeostasis::rca::RuleSet;
///
/// let rules = RuleSet::furnished()?;
/// let rule = rules.best("dial tcp 10.0.0.7:5432: connect: connection refused", None, "go");
/// assert_eq!(rule.unwrap().cause, "connection_refused");
///
/// let error = RuleSet::parse("mine.yaml", "rules:\n- id: x\n  pattern: '(a'\n").unwrap_err();
/// assert!(error.to_string().contains("mine.yaml:3:12: rules[0].pattern"), "{error}");
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct RuleSet {
    rules: Vec<Rule>,
    patterns: RegexSet,
}

impl RuleSet {
    /// The rules of one document; `name` is shown in errors, and `.json` tells the format.
    ///
    /// # Errors
    /// Everything that is wrong with it: syntax, unknown fields, values out of range, patterns and
    /// conditions that do not parse, examples that do not match, counter-examples that do, ids
    /// given twice.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        Self::load([(name, text)])
    }

    /// The rules of several documents, given as names and texts.
    ///
    /// # Errors
    /// Everything that is wrong with all of them; see [`RuleSet::parse`].
    pub fn load<'a>(
        documents: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ConfigError> {
        let mut violations = Violations::new();
        let mut read = Vec::new();
        for (name, text) in documents {
            let node = Parser::new().source(name).parse(text);
            let rules = node.and_then(|node| decode(&node, nested(document::rules)));
            read.extend(violations.absorb(rules).into_iter().flatten());
        }
        for (idx, (id, _)) in read.iter().enumerate() {
            if read[..idx].iter().any(|(earlier, _)| **earlier == **id) {
                violations.push(id.violation("an id that no other rule has"));
            }
        }
        let mut rules = violations.into_result(
            read.into_iter()
                .map(|(_, rule)| rule)
                .collect::<Vec<Rule>>(),
        )?;
        rules.sort_by(|a, b| {
            b.specificity()
                .cmp(&a.specificity())
                .then_with(|| b.confidence.cmp(&a.confidence))
                .then_with(|| a.id.cmp(&b.id))
        });
        let patterns = RegexSetBuilder::new(rules.iter().map(|rule| rule.pattern.as_str()))
            .size_limit(MAX_SET_SIZE)
            .build()
            .map_err(|error| {
                let value = format!("{} rules", rules.len());
                ConfigError::single(
                    "rules",
                    value,
                    format!("fewer or smaller patterns ({error})"),
                )
            })?;
        Ok(Self { rules, patterns })
    }

    /// The rules that come with the crate.
    ///
    /// # Errors
    /// Never in a released version: a test loads them.
    pub fn furnished() -> Result<Self, ConfigError> {
        Self::load(FURNISHED)
    }

    /// The rules that come with the crate together with those of `documents`.
    ///
    /// # Errors
    /// Everything that is wrong with the documents; see [`RuleSet::parse`].
    pub fn furnished_with<'a>(
        documents: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ConfigError> {
        Self::load(FURNISHED.into_iter().chain(documents))
    }

    /// The rules, first priority first: the more specific, then the surer, then by id.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rules that match `line` and are meant for `target` and `language` (empty if unknown),
    /// first priority first.
    pub fn matching<'a>(
        &'a self,
        line: &str,
        target: Option<&'a Target>,
        language: &'a str,
    ) -> impl Iterator<Item = &'a Rule> {
        self.places(line, target, language)
            .filter_map(|place| self.rules.get(place))
    }

    /// The places in [`rules`](Self::rules) of those that match.
    pub(super) fn places<'a>(
        &'a self,
        line: &str,
        target: Option<&'a Target>,
        language: &'a str,
    ) -> impl Iterator<Item = usize> {
        // A set gives the indices of its patterns upwards, which is their order of priority.
        self.patterns
            .matches(line)
            .into_iter()
            .filter(move |place| {
                let rule = self.rules.get(*place);
                rule.is_some_and(|rule| rule.is_for(target, language))
            })
    }

    /// The rule of first priority among [`matching`](Self::matching).
    pub fn best<'a>(
        &'a self,
        line: &str,
        target: Option<&'a Target>,
        language: &'a str,
    ) -> Option<&'a Rule> {
        self.matching(line, target, language).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "
rules:
- id: short
  pattern: refused
  cause: connection_refused
  category: network
  confidence: 0.9
  examples: [connection refused]
  explanation: It refuses.
- id: long
  pattern: connection refused by (?:peer|host)
  cause: connection_refused
  category: network
  confidence: 0.7
  examples: [connection refused by peer]
  counter_examples: [connection refused]
  explanation: The peer refuses.
- id: ours
  pattern: refused
  cause: configuration_error
  category: configuration
  confidence: 0.5
  applies_to: [orders]
  languages: [Rust]
  examples: [refused]
  explanation: Orders is told a wrong port.
";

    #[test]
    fn the_most_specific_rule_for_the_line_comes_first() {
        let rules = RuleSet::parse("r.yaml", SOUND).unwrap();
        let orders: Target = "orders/0".parse().unwrap();
        let best = |line, target, language| rules.best(line, target, language).map(|r| &*r.id);
        let line = "connection refused by peer";
        assert_eq!(best(line, None, ""), Some("long"));
        assert_eq!(best("refused", None, ""), Some("short"));
        assert_eq!(best(line, Some(&orders), "rust"), Some("ours"));
        assert_eq!(best(line, Some(&orders), "go"), Some("long"));
        assert_eq!(best("accepted", None, ""), None);
    }

    #[test]
    fn the_order_of_files_does_not_matter() {
        let parts: Vec<String> = SOUND
            .trim()
            .trim_start_matches("rules:")
            .split("- id:")
            .skip(1)
            .map(|part| format!("rules:\n- id:{part}"))
            .collect();
        let ids = |order: [usize; 3]| -> Vec<String> {
            let named = order.map(|idx| ("r.yaml", parts[idx].as_str()));
            let rules = RuleSet::load(named).unwrap();
            rules.rules().iter().map(|rule| rule.id.clone()).collect()
        };
        assert_eq!(ids([0, 1, 2]), ids([2, 1, 0]));
        assert_eq!(ids([0, 1, 2]), ["ours", "long", "short"]);
    }

    #[test]
    fn every_mistake_is_reported_with_its_place() {
        let text = "\
rules:
- id: Bad Id
  pattern: 'a(b'
  cause: x
  category: netwrk
  confidence: 1.0
  examples: [a]
  explanation: y
  severity: high
- id: tested
  pattern: foo
  cause: x
  category: network
  confidence: 0.9
  root_cause_indicators: ['[z-a]']
  context_requirements: ['1 +']
  examples: [foo, bar]
  counter_examples: [a foo]
  explanation: y
- id: greedy
  pattern: 'a*'
  cause: x
  category: network
  confidence: 0.9
  examples: []
";
        let error = RuleSet::parse("r.yaml", text).unwrap_err().to_string();
        for expected in [
            "r.yaml:2:7: rules[0].id = \"Bad Id\", expected a name",
            "r.yaml:3:12: rules[0].pattern = \"a(b\", expected a regular expression (character 2: unclosed group)",
            "r.yaml:5:13: rules[0].category = \"netwrk\"",
            "did you mean `network`?",
            "r.yaml:6:15: rules[0].confidence = 1.0, expected a number between 0.5 and 0.99",
            "r.yaml:9:3: rules[0].severity = unknown field",
            "r.yaml:15:27: rules[1].root_cause_indicators[0] = \"[z-a]\", expected a regular expression (character 2: invalid character class range",
            "r.yaml:16:26: rules[1].context_requirements[0] = \"1 +\", expected a condition (",
            "r.yaml:17:19: rules[1].examples[1] = \"bar\", expected a text with a line that the pattern matches",
            "r.yaml:18:22: rules[1].counter_examples[0] = \"a foo\", expected a text with no line",
            "r.yaml:21:12: rules[2].pattern = \"a*\", expected a regular expression that does not match the empty line",
            "rules[2].examples = a list of 0, expected a list of at least 1",
            "rules[2].explanation is missing",
        ] {
            assert!(error.contains(expected), "{expected}\nnot in\n{error}");
        }
    }

    #[test]
    fn an_id_given_twice_is_refused_also_across_files() {
        let one = SOUND.split("- id: long").next().unwrap();
        let error = RuleSet::load([("a.yaml", one), ("b.yaml", one)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "b.yaml:3:7: rules[0].id = \"short\", expected an id that no other rule has"
        );
    }

    #[test]
    fn json_is_read_too() {
        let text = r#"{"rules": [{"id": "a", "pattern": "boom", "cause": "x", "category": "network",
            "confidence": 0.6, "examples": ["boom"], "explanation": "It went boom."}]}"#;
        assert_eq!(RuleSet::parse("r.json", text).unwrap().rules().len(), 1);
    }

    #[test]
    fn the_furnished_rules_load_and_are_more_than_a_handful() {
        let rules = RuleSet::furnished().unwrap_or_else(|error| panic!("{error}"));
        assert!(rules.rules().len() >= 30, "{}", rules.rules().len());
    }
}
