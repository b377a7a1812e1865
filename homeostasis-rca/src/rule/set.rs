//! Many rules, matched at the cost of few.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use homeostasis_core::document::{Fields, Parser, decode, nested};
use homeostasis_core::{ConfigError, Violations};

use super::anchor::Anchor;
use super::document::{self, Trust};
use super::error_text::{ErrorLine, Place};
use super::prefilter::Prefilter;
use super::{ErrorText, Rule, shipped};

/// Rules that are compiled together: a text is read once, however many rules there are, and only
/// rules of which it contains a literal are tried.
///
/// Of several rules that match, those that are no fallback come first; of these the most specific:
/// the narrower scope
/// ([`Rule::scope_specificity`]), with the longest of its literals that is in the line; then the
/// surer; then by id. That is deterministic and does not depend on the order of files.
///
/// A rule file is YAML or JSON, with comments, that holds a list `rules`; its fields are described
/// in `rules/README.md` of this crate. Every mistake of a file is reported with its line and column,
/// and every example and counter-example is tried when it is loaded: a rule that does not do what
/// it says does not load.
///
/// The rules are shared: a clone costs nothing.
///
/// ```
/// use homeostasis::rca::{ErrorText, RuleSet};
///
/// let rules = RuleSet::shipped()?;
/// let text = ErrorText::of_text("dial tcp 10.0.0.7:5432: connect: connection refused");
/// let found = rules.best(&text).unwrap();
/// assert_eq!(found.rule.cause, "connection_refused");
///
/// let error = RuleSet::parse("mine.yaml", "rules:\n- id: x\n  pattern: '(a'\n").unwrap_err();
/// assert!(error.to_string().contains("mine.yaml:3:12: rules[0].pattern"), "{error}");
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct RuleSet(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    rules: Vec<Rule>,
    /// What each rule's specificity is without its literal.
    specificity: Vec<u32>,
    /// Whose the literals of the prefilters are.
    owners: Vec<Owner>,
    lines: Prefilter,
    templates: Prefilter,
}

/// Whose a literal is: a rule's, and of one of its patterns or of all of it.
#[derive(Debug, Clone, Copy)]
struct Owner {
    rule: usize,
    pattern: Option<usize>,
}

/// A rule that matches, and where.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct RuleMatch<'r, 't> {
    /// The rule.
    pub rule: &'r Rule,
    /// The line it matches.
    pub line: &'t str,
    /// How specific the match is.
    pub specificity: u32,
    place: usize,
    text: &'t ErrorText,
    line_idx: usize,
}

/// Where a rule may match.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    rule: usize,
    pattern: Option<usize>,
    line: usize,
    specificity: u32,
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
        Self::read(documents, Trust::Nothing)
    }

    /// The rules that come with the crate. They are read when they are first asked for.
    ///
    /// # Errors
    /// Never in a released version: a test loads them.
    pub fn shipped() -> Result<Self, ConfigError> {
        shipped::shipped()
    }

    /// The rules that come with the crate together with those of `documents`.
    ///
    /// # Errors
    /// Everything that is wrong with the documents; see [`RuleSet::parse`].
    pub fn shipped_with<'a>(
        documents: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ConfigError> {
        let shipped = Self::shipped()?;
        let (rules, violations) = read(documents, Trust::Nothing, shipped.rules());
        let rules = violations.into_result(rules)?;
        if rules.is_empty() {
            return Ok(shipped);
        }
        Self::compile(shipped.rules().iter().cloned().chain(rules).collect())
    }

    pub(super) fn read<'a>(
        documents: impl IntoIterator<Item = (&'a str, &'a str)>,
        trust: Trust,
    ) -> Result<Self, ConfigError> {
        let (rules, violations) = read(documents, trust, &[]);
        Self::compile(violations.into_result(rules)?)
    }

    fn compile(rules: Vec<Rule>) -> Result<Self, ConfigError> {
        let mut anchored: Vec<(Rule, Anchor)> = rules
            .into_iter()
            .map(|rule| {
                let anchor = Anchor::of(&rule);
                (rule, anchor)
            })
            .collect();
        anchored.sort_by(|(a, by), (b, than)| {
            let sure = |rule: &Rule, anchor: &Anchor| (anchor.specificity(), rule.confidence);
            a.fallback
                .cmp(&b.fallback)
                .then_with(|| sure(b, than).cmp(&sure(a, by)))
                .then_with(|| a.id.cmp(&b.id))
        });
        let (rules, anchors): (Vec<Rule>, Vec<Anchor>) = anchored.into_iter().unzip();
        let sets = || {
            let numbered = anchors.iter().enumerate();
            let sets = numbered.flat_map(|(rule, anchor)| {
                let owned = anchor.sets.iter().map(move |(pattern, set)| {
                    let pattern = *pattern;
                    (Owner { rule, pattern }, &set[..])
                });
                owned.map(|(owner, set)| (owner, set, anchor.in_template))
            });
            sets.enumerate()
        };
        let of = |in_template: bool| {
            let chosen = sets().filter(|(_, (.., there))| *there == in_template);
            Prefilter::new(chosen.map(|(number, (_, set, _))| (number, set)))
        };
        let too_many = |error: aho_corasick::BuildError| {
            let value = format!("{} rules", rules.len());
            ConfigError::single("rules", value, format!("fewer rules ({error})"))
        };
        let lines = of(false).map_err(too_many)?;
        let templates = of(true).map_err(too_many)?;
        Ok(Self(Arc::new(Compiled {
            specificity: anchors.iter().map(|anchor| anchor.rest).collect(),
            owners: sets().map(|(_, (owner, ..))| owner).collect(),
            lines,
            templates,
            rules,
        })))
    }

    /// The rules, first priority first: the more specific, then the surer, then by id.
    pub fn rules(&self) -> &[Rule] {
        &self.0.rules
    }

    /// The rule of this id.
    pub fn get(&self, id: &str) -> Option<&Rule> {
        self.rules().iter().find(|rule| rule.id == id)
    }

    /// The rules that match `text` and are meant for it, first priority first, each once, with the
    /// first of its lines.
    ///
    /// Costs one pass over the text, and the search for each rule whose literal is in it until the
    /// caller has enough.
    pub fn matching<'r, 't>(
        &'r self,
        text: &'t ErrorText,
    ) -> impl Iterator<Item = RuleMatch<'r, 't>> {
        self.verified(self.candidates(text, 0..text.lines().len()), text)
    }

    /// The same for one of its lines.
    pub(super) fn matching_line<'r, 't>(
        &'r self,
        text: &'t ErrorText,
        line: usize,
    ) -> impl Iterator<Item = RuleMatch<'r, 't>> {
        self.verified(self.candidates(text, line..line + 1), text)
    }

    /// The rule of first priority among [`matching`](Self::matching).
    pub fn best<'r, 't>(&'r self, text: &'t ErrorText) -> Option<RuleMatch<'r, 't>> {
        self.matching(text).next()
    }

    fn candidates(&self, text: &ErrorText, lines: std::ops::Range<usize>) -> Vec<Candidate> {
        let mut found: HashMap<(usize, usize), u32> = HashMap::new();
        let mut note = |owner: usize, line: usize, len: u32| {
            let known = found.entry((owner, line)).or_default();
            *known = len.max(*known);
        };
        for line in lines.clone() {
            if let Some(line_text) = text.line(line) {
                let scanned = line_text.text();
                self.0
                    .lines
                    .scan(scanned, |owner, len| note(owner, line, len));
            }
        }
        if !self.0.templates.is_empty() && lines.start == 0 && text.lines().len() > 0 {
            let scanned = text.template();
            self.0
                .templates
                .scan(scanned, |owner, len| note(owner, 0, len));
        }
        let candidates = found.into_iter().filter_map(|((owner, line), len)| {
            let Owner { rule, pattern } = *self.0.owners.get(owner)?;
            let rest = *self.0.specificity.get(rule)?;
            Some(Candidate {
                rule,
                pattern,
                line,
                specificity: rest.saturating_add(len),
            })
        });
        let mut candidates: Vec<Candidate> = candidates.collect();
        candidates.sort_unstable_by(|a, b| self.priority(a, b));
        candidates
    }

    fn priority(&self, a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
        let rule = |candidate: &Candidate| self.0.rules.get(candidate.rule);
        let is_fallback = |candidate| rule(candidate).is_some_and(|rule| rule.fallback);
        is_fallback(a)
            .cmp(&is_fallback(b))
            .then_with(|| b.specificity.cmp(&a.specificity))
            .then_with(|| {
                rule(b)
                    .map(|r| r.confidence)
                    .cmp(&rule(a).map(|r| r.confidence))
            })
            .then_with(|| rule(a).map(|r| &r.id).cmp(&rule(b).map(|r| &r.id)))
            .then_with(|| a.line.cmp(&b.line))
    }

    /// Those that match, each rule once: a pattern that does not match says nothing for its rule, so
    /// that a rule counts by the longest literal of a pattern that does.
    fn verified<'r, 't>(
        &'r self,
        candidates: Vec<Candidate>,
        text: &'t ErrorText,
    ) -> impl Iterator<Item = RuleMatch<'r, 't>> {
        let mut given = Vec::new();
        candidates.into_iter().filter_map(move |candidate| {
            let rule = self.0.rules.get(candidate.rule)?;
            let line = text.line(candidate.line)?;
            let one = candidate.pattern;
            if given.contains(&candidate.rule)
                || !rule.is_for(text)
                || !rule.patterns.matches_by(one, text, line)
            {
                return None;
            }
            given.push(candidate.rule);
            Some(RuleMatch {
                rule,
                line: line.text(),
                specificity: candidate.specificity,
                place: candidate.rule,
                text,
                line_idx: candidate.line,
            })
        })
    }
}

impl RuleMatch<'_, '_> {
    /// What the named groups of the rule's patterns hold, by name.
    pub fn captures(&self) -> BTreeMap<String, String> {
        let line = self.text.line(self.line_idx);
        line.map(|line| self.rule.patterns.captures(self.text, line))
            .unwrap_or_default()
    }

    /// The rule's place in [`RuleSet::rules`].
    pub(super) fn place(&self) -> usize {
        self.place
    }

    /// Whose code the line's error came from.
    pub(super) fn raised(&self) -> Place {
        let line = self.text.line(self.line_idx);
        line.map(ErrorLine::place).unwrap_or_default()
    }
}

/// The rules of `documents`; no id may be given twice, nor be one of `known`.
fn read<'a>(
    documents: impl IntoIterator<Item = (&'a str, &'a str)>,
    trust: Trust,
    known: &[Rule],
) -> (Vec<Rule>, Violations) {
    let mut violations = Violations::new();
    let mut read = Vec::new();
    for (name, text) in documents {
        let node = Parser::new().source(name).parse(text);
        let rules = |d: &mut Fields<'_>| document::rules(d, trust);
        let rules = node.and_then(|node| decode(&node, nested(rules)));
        read.extend(violations.absorb(rules).into_iter().flatten());
    }
    let mut ids: std::collections::HashSet<&str> =
        known.iter().map(|rule| rule.id.as_str()).collect();
    for (id, _) in &read {
        if !ids.insert(id) {
            violations.push(id.violation("an id that no other rule has"));
        }
    }
    let rules = read.into_iter().map(|(_, rule)| rule).collect();
    (rules, violations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Target;

    const SOUND: &str = "
rules:
- id: short
  pattern: refused
  cause: connection_refused
  category: network
  confidence: 0.9
  examples: [connection refused]
  title: It refuses.
- id: long
  pattern: connection refused by (?:peer|host)
  cause: connection_refused
  category: network
  confidence: 0.7
  examples: [connection refused by peer]
  counter_examples: [connection refused]
  title: The peer refuses.
- id: ours
  pattern: refused
  cause: configuration_error
  category: configuration
  confidence: 0.5
  services: [orders]
  languages: [Rust]
  examples: [refused]
  title: Orders is told a wrong port.
";

    #[test]
    fn the_most_specific_rule_for_the_line_comes_first() {
        let rules = RuleSet::parse("r.yaml", SOUND).unwrap();
        let orders: Target = "orders/0".parse().unwrap();
        let best = |line: &str, target: Option<&Target>, language: &str| {
            let mut text = ErrorText::of_text(line).in_language(language);
            if let Some(target) = target {
                text = text.of(target.clone());
            }
            rules.best(&text).map(|found| found.rule.id.clone())
        };
        let some = |id: &str| Some(id.to_owned());
        let line = "connection refused by peer";
        assert_eq!(best(line, None, ""), some("long"));
        assert_eq!(best("refused", None, ""), some("short"));
        assert_eq!(best(line, Some(&orders), "rust"), some("ours"));
        assert_eq!(best(line, Some(&orders), "go"), some("long"));
        assert_eq!(best("accepted", None, ""), None);
    }

    #[test]
    fn a_pattern_that_does_not_match_says_nothing_for_its_rule() {
        let rule = |id: &str, patterns: &str, example: &str| {
            format!(
                "- {{id: {id}, title: x, patterns: [{patterns}], cause: x, category: network, \
                 confidence: 0.8, examples: ['{example}']}}\n"
            )
        };
        let long = r"payment gateway of the customer answered late \d+ s";
        let a = rule("a", &format!("'{long}', 'paid twice'"), "paid twice");
        let b = "order was paid twice by card";
        let text = format!("rules:\n{a}{}", rule("b", &format!("'{b}'"), b));
        let rules = RuleSet::parse("r.yaml", &text).unwrap();
        let text = format!("payment gateway of the customer answered late again: {b}");
        let text = ErrorText::of_text(&text);
        let found = rules.matching(&text);
        let found: Vec<_> = found
            .map(|it| (it.rule.id.as_str(), it.specificity))
            .collect();
        assert_eq!(found, [("b", 28), ("a", 10)]);
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
  title: y
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
  title: y
- id: greedy
  pattern: 'a*'
  cause: x
  category: network
  confidence: 0.9
  examples: []
- id: nowhere
  title: x
  frame: main
  cause: x
  category: network
  confidence: 0.9
  examples: [a]
  references: ['http://x']
";
        let error = RuleSet::parse("r.yaml", text).unwrap_err().to_string();
        for expected in [
            "r.yaml:2:7: rules[0].id = \"Bad Id\", expected a name of a-z",
            "r.yaml:3:12: rules[0].pattern = \"a(b\", expected a regular expression (character 2: unclosed group)",
            "r.yaml:5:13: rules[0].category = \"netwrk\"",
            "did you mean `network`?",
            "r.yaml:6:15: rules[0].confidence = 1.0, expected a number between 0.5 and 0.99",
            "r.yaml:9:3: rules[0].severity = unknown field",
            "r.yaml:15:27: rules[1].root_cause_indicators[0] = \"[z-a]\", expected a regular expression (character 2: invalid character class range",
            "r.yaml:16:26: rules[1].context_requirements[0] = \"1 +\", expected a condition (",
            "r.yaml:17:19: rules[1].examples[1] = \"bar\", expected a text that the rule matches",
            "r.yaml:18:22: rules[1].counter_examples[0] = \"a foo\", expected a text that the rule does not match",
            "r.yaml:21:12: rules[2].pattern = \"a*\", expected a regular expression (it matches the empty text)",
            "rules[2].examples = a list of 0, expected a list of at least 1",
            "rules[2].title is missing",
            "rules[3].pattern is missing, expected at least one of `pattern`, `patterns`",
            "rules[3].references[0] = \"http://x\", expected an address that begins with https://",
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
    fn json_with_comments_is_read_too() {
        let text = r#"// Ours.
            {"rules": [{"id": "a", /* short */ "pattern": "boom", "cause": "x", "category": "network",
            "confidence": 0.6, "examples": ["boom"], "title": "It went boom."}]}"#;
        assert_eq!(RuleSet::parse("r.json", text).unwrap().rules().len(), 1);
    }

    #[test]
    fn a_fallback_gives_way_to_any_other_rule() {
        let text = SOUND.replace("- id: long", "- id: long\n  fallback: true");
        let rules = RuleSet::parse("r.yaml", &text).unwrap();
        let text = ErrorText::of_text("connection refused by peer");
        let ids: Vec<&str> = rules
            .matching(&text)
            .map(|found| found.rule.id.as_str())
            .collect();
        assert_eq!(ids, ["short", "long"]);
    }

    #[test]
    fn every_part_that_is_given_must_match_the_same_error() {
        let text = "
rules:
- id: parts
  title: x
  kind: 'ConnectError$'
  message: 'to (?<host>\\S+) failed'
  frame: 'in (?<function>connect)'
  cause: x
  category: network
  confidence: 0.9
  examples: [\"  File \\\"db.py\\\", line 3, in connect\\nshop.ConnectError: call to db failed\"]
  counter_examples:
  - 'shop.ConnectError: call to db failed'
  - \"  File \\\"db.py\\\", line 3, in connect\\nshop.ReadError: call to db failed\"
  - \"  File \\\"db.py\\\", line 3, in connect\\nshop.ConnectError: lost\\nshop.ReadError: call to db failed\"
- id: shape
  title: x
  template: 'order <\\*> is stuck'
  cause: x
  category: application_error
  confidence: 0.9
  examples: ['order <*> is stuck']
";
        let rules = RuleSet::parse("r.yaml", text).unwrap();
        let text = ErrorText::of_text(&rules.get("parts").unwrap().examples[0]);
        let found = rules.best(&text).unwrap();
        assert_eq!(found.rule.id, "parts");
        let captures: Vec<_> = found.captures().into_iter().collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(captures, [pair("function", "connect"), pair("host", "db")]);
        assert!(
            rules
                .best(&ErrorText::of_text("order <*> is stuck"))
                .is_some()
        );
        assert!(
            rules
                .best(&ErrorText::of_text("order 7 is stuck"))
                .is_none()
        );
    }

    #[test]
    fn a_record_that_names_another_system_is_not_for_the_rule() {
        let text = SOUND.replace("services: [orders]", "applies_to: [redis]");
        let rules = RuleSet::parse("r.yaml", &text).unwrap();
        let first = |text: ErrorText| rules.best(&text).map(|found| found.rule.id.clone());
        let refused = || ErrorText::of_text("refused");
        assert_eq!(first(refused()).as_deref(), Some("ours"));
        assert_eq!(first(refused().about("Redis")).as_deref(), Some("ours"));
        assert_eq!(first(refused().about("kafka")).as_deref(), Some("short"));
    }

    #[test]
    fn a_long_log_is_a_matter_of_moments_with_thousands_of_rules() {
        use std::fmt::Write as _;
        let mut documents = vec![String::new(); 6];
        for number in 0..3_000_usize {
            let text = &mut documents[number / 500];
            if text.is_empty() {
                text.push_str("rules:\n");
            }
            let _ = writeln!(
                text,
                "- {{id: r{number}, title: x, pattern: 'connection w{number}q', cause: x, \
                 category: network, confidence: 0.8, examples: ['connection w{number}q']}}"
            );
        }
        let named = documents.iter().map(|text| ("r.yaml", text.as_str()));
        let rules = RuleSet::load(named).unwrap();
        assert_eq!(rules.rules().len(), 3_000);
        let text = format!(
            "{}\nshop.DbError: connection w1234q",
            "connection connection w\n".repeat(1 << 20)
        );
        let text = ErrorText::of_text(&text);
        let found: Vec<&str> = rules
            .matching(&text)
            .map(|found| found.rule.id.as_str())
            .collect();
        assert_eq!(found, ["r1234"]);
        // What the prefilter lets through is what costs: one rule, on one line.
        assert_eq!(rules.candidates(&text, 0..text.lines().len()).len(), 1);
    }
}
