//! Which change explains what went wrong, or that none does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use homeostasis_core::Timestamp;
use serde::{Deserialize, Serialize};

use super::activity::{Activity, LogCount};
use super::bundle::{EvidenceBundle, EvidenceChange};

/// A change that speaks less than this for itself is not blamed.
const BLAMED: f64 = 1.0;

/// How far after the estimated onset a change may lie and still precede it in truth.
const TOLERANCE: Duration = Duration::from_secs(60);

/// What is said of a service that is not the first suspect counts so much.
const ELSEWHERE: f64 = 0.5;

/// A change so long ago counts half.
const HALF: f64 = 12.0 * 3600.0;

/// A bound that is gone, or a number that moved by this factor, matters by itself.
const BOUND: f64 = 1.5;
const MOVED: f64 = 2.0;

/// So many lines of a change are read.
const MAX_LINES: usize = 4000;

/// Words for what keeps a program within bounds.
const BOUNDS: &[&str] = &[
    "limit", "timeout", "deadline", "max", "retry", "backoff", "batch", "pool", "cache", "ttl",
    "buffer", "throttle", "lock", "close", "nil", "null", "none", "guard", "validate",
];

/// Words of languages and protocols, which say nothing about what a change is about.
const COMMON: &[&str] = &[
    "and", "are", "but", "const", "context", "def", "else", "err", "error", "fail", "failed",
    "false", "for", "from", "func", "function", "get", "handler", "has", "http", "import", "int",
    "let", "new", "not", "per", "post", "request", "response", "return", "returned", "self",
    "server", "service", "status", "string", "svc", "that", "the", "this", "total", "true", "type",
    "upstream", "use", "var", "was", "while", "with",
];

/// Files that do not run.
const INERT: &[&str] = &[
    ".md", ".txt", ".css", ".scss", ".html", ".svg", ".png", ".lock", ".sum", "go.mod", "_test.go",
    ".test.ts", ".spec.ts", "_test.py", "_test.rs",
];

/// A change with what speaks for its guilt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlamedChange {
    /// Which.
    pub id: String,
    /// Of which service.
    #[serde(default)]
    pub service: String,
    /// When it took effect.
    #[serde(default)]
    pub at: Timestamp,
    /// How much speaks for it; 1 or more is blamed.
    pub weight: f64,
    /// What speaks for it, for people.
    pub reasons: Vec<String>,
}

/// The changes that may be the cause, most guilty first; empty if there is no change to blame.
///
/// Being close in time is no guilt: the latest deployment is nearly always innocent. A change is
/// blamed for what it takes away or brings, as sets of words in removed and added lines, so that
/// code that only moved counts nothing:
///
/// * words that also turn up in what is new in the logs, failed spans and moved measurements, less
///   those that services used before, each counted less if several changes share it;
/// * a bound that is gone (limit, timeout, batch, nil check …), or a number in an otherwise equal
///   line that moved by a factor of two or more.
///
/// Changes of other services than `suspect` count half, long ago ones less, those after the onset
/// and those of files that do not run not at all.
pub(super) fn blamed(
    bundle: &EvidenceBundle,
    suspect: Option<&str>,
    now: &Activity,
    calm: &Activity,
    moved: &BTreeSet<&str>,
) -> Vec<BlamedChange> {
    let unusual = unusual(now, calm, moved);
    let candidates: Vec<(&EvidenceChange, Edit)> = bundle
        .changes
        .iter()
        .filter(|change| change.at <= bundle.onset + TOLERANCE)
        .filter(|change| change.files.is_empty() || !change.files.iter().all(|it| is_inert(it)))
        .map(|change| (change, Edit::of(change)))
        .collect();
    let mut shared: BTreeMap<&str, f64> = BTreeMap::new();
    for (_, edit) in &candidates {
        for word in edit.removed.union(&edit.added) {
            *shared.entry(word).or_default() += 1.0;
        }
    }
    let mut blamed: Vec<BlamedChange> = candidates
        .iter()
        .filter_map(|(change, edit)| {
            let mut reasons = Vec::new();
            let mut weight = 0.0;
            let names = words(&change.service);
            for word in edit.removed.union(&edit.added) {
                if unusual.contains(word) && !names.contains(word) {
                    weight += 1.0 / shared.get(word.as_str()).copied().unwrap_or(1.0);
                    reasons.push(format!("{word:?} is in the change and in what is new"));
                }
            }
            let gone = BOUNDS.iter().filter(|word| edit.removed.contains(**word));
            let gone: Vec<&str> = gone.copied().collect();
            if !gone.is_empty() {
                weight += BOUND;
                reasons.push(format!("it takes away {}", gone.join(", ")));
            }
            if let Some((from, to)) = edit.number {
                weight += BOUND;
                reasons.push(format!("it moves a number from {from} to {to}"));
            }
            let place = if suspect == Some(change.service.as_str()) {
                1.0
            } else {
                ELSEWHERE
            };
            let weight = weight * place * fresh(change.at, bundle.onset);
            (weight >= BLAMED).then(|| BlamedChange {
                id: change.id.clone(),
                service: change.service.clone(),
                at: change.at,
                weight,
                reasons,
            })
        })
        .collect();
    blamed.sort_by(|a, b| {
        b.weight
            .total_cmp(&a.weight)
            .then_with(|| a.key().cmp(&b.key()))
    });
    blamed.dedup_by(|a, b| a.key() == b.key());
    blamed
}

impl BlamedChange {
    fn key(&self) -> (&str, &str, Timestamp) {
        (&self.id, &self.service, self.at)
    }
}

fn fresh(at: Timestamp, onset: Timestamp) -> f64 {
    (-onset.since(at).as_secs_f64() / HALF).exp2()
}

fn is_inert(file: &str) -> bool {
    INERT.iter().any(|end| file.ends_with(end)) || file.starts_with("docs/")
}

/// What a change takes away and brings.
#[derive(Debug, Default)]
struct Edit {
    removed: BTreeSet<String>,
    added: BTreeSet<String>,
    /// A number that moved far within an otherwise equal line.
    number: Option<(f64, f64)>,
}

impl Edit {
    fn of(change: &EvidenceChange) -> Self {
        let code = |sign: char| -> Vec<&str> {
            let lines = change.diff.lines().take(MAX_LINES);
            let lines = lines.filter_map(|line| line.strip_prefix(sign).map(str::trim));
            let is_comment = |line: &str| {
                ["//", "#", "--", "++", "*"]
                    .iter()
                    .any(|it| line.starts_with(it))
            };
            lines.filter(|line| !is_comment(line)).collect()
        };
        let (minus, plus) = (code('-'), code('+'));
        let all = |lines: &[&str]| -> BTreeSet<String> {
            lines.iter().flat_map(|line| words(line)).collect()
        };
        let (before, after) = (all(&minus), all(&plus));
        let twins = twins(&plus);
        let number = minus.iter().find_map(|line| {
            let (shape, from) = numbers(line);
            let to = twins.get(&shape)?.iter().find(|to| **to != from)?;
            from.into_iter().zip(to.iter().copied()).find(|(from, to)| {
                let factor = from / to;
                factor >= MOVED || factor <= 1.0 / MOVED
            })
        });
        Self {
            removed: before.difference(&after).cloned().collect(),
            added: after.difference(&before).cloned().collect(),
            number,
        }
    }
}

/// By shape the numbers of the first of `lines`, and of the first with others: a line is compared
/// with two at most.
fn twins(lines: &[&str]) -> HashMap<String, Vec<Vec<f64>>> {
    let mut twins: HashMap<String, Vec<Vec<f64>>> = HashMap::new();
    for line in lines {
        let (shape, to) = numbers(line);
        let known = twins.entry(shape).or_default();
        if known.len() < 2 && !known.contains(&to) {
            known.push(to);
        }
    }
    twins
}

/// A line without its numbers and names bound in it, and the numbers: durations in seconds.
fn numbers(line: &str) -> (String, Vec<f64>) {
    let mut shape = String::new();
    let mut found = Vec::new();
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let in_word = shape
            .chars()
            .last()
            .is_some_and(|it| it.is_alphanumeric() || it == '_');
        if c.is_ascii_digit() && !in_word {
            let end = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(rest.len());
            let (digits, after) = rest.split_at(end);
            let (unit, after) = unit(after);
            if let Ok(number) = digits.trim_end_matches('.').parse::<f64>() {
                found.push(number * unit);
            }
            shape.push('0');
            rest = after;
        } else {
            shape.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    // What a value is called does not matter, only what is done with it.
    let shape = shape
        .split_once('=')
        .map_or(shape.clone(), |(_, after)| after.trim().to_owned());
    (shape, found)
}

/// The unit of time behind a number, in seconds, and what follows it.
fn unit(text: &str) -> (f64, &str) {
    const UNITS: &[(&str, f64)] = &[
        ("*time.Millisecond", 1e-3),
        (" * time.Millisecond", 1e-3),
        ("*time.Second", 1.0),
        (" * time.Second", 1.0),
        ("*time.Minute", 60.0),
        (" * time.Minute", 60.0),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    for (name, seconds) in UNITS {
        if let Some(rest) = text.strip_prefix(name)
            && !rest.starts_with(|c: char| c.is_alphanumeric())
        {
            return (*seconds, rest);
        }
    }
    (1.0, text)
}

/// The words in a text, also those within names, in lower case and without a plural's s.
fn words(text: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut word = String::new();
    let mut was_lower = false;
    for c in text.chars().chain([' ']) {
        if !c.is_alphabetic() || (c.is_uppercase() && was_lower) {
            let stem = word
                .strip_suffix('s')
                .filter(|stem| stem.len() > 3)
                .unwrap_or(&word);
            if stem.len() >= 3 && !COMMON.contains(&stem) {
                words.insert(stem.to_owned());
            }
            word.clear();
        }
        if c.is_alphabetic() {
            word.extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase();
    }
    words
}

/// Words that are new since the onset: in lines that came or went, and in measurements that moved.
fn unusual(now: &Activity, calm: &Activity, moved: &BTreeSet<&str>) -> BTreeSet<String> {
    let kinds = |activity: &Activity| -> BTreeSet<(String, String)> {
        let key = |it: &LogCount| (it.service.clone(), it.kind.clone());
        activity.templates.iter().map(key).collect()
    };
    let (here, there) = (kinds(now), kinds(calm));
    let mut usual: BTreeSet<String> = BTreeSet::new();
    let mut unusual: BTreeSet<String> = moved.iter().flat_map(|metric| words(metric)).collect();
    for it in now.templates.iter().chain(&calm.templates) {
        let key = (it.service.clone(), it.kind.clone());
        if here.contains(&key) && there.contains(&key) {
            usual.extend(words(&it.sample));
        } else {
            unusual.extend(words(&it.sample));
        }
    }
    unusual.difference(&usual).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn edit(diff: String) -> Edit {
        Edit::of(&EvidenceChange {
            id: "a".to_owned(),
            at: Timestamp::EPOCH,
            service: "orders".to_owned(),
            summary: String::new(),
            files: Vec::new(),
            diff,
        })
    }

    #[test]
    fn a_line_is_compared_with_those_of_its_shape_alone() {
        let number = |diff: &str| edit(diff.to_owned()).number;
        assert_eq!(number("-pool(5)\n+pool(5)\n+pool(50)"), Some((5.0, 50.0)));
        assert_eq!(number("-pool(5)\n+queue(50)\n+pool(6)"), None);
        assert_eq!(number("-wait = 2s\n+wait = 100ms"), Some((2.0, 0.1)));
    }

    #[test]
    fn a_change_of_many_lines_is_read_to_its_cap_and_each_compared_with_two() {
        let mut diff = String::new();
        for i in 0..1_999 {
            let _ = writeln!(diff, "-call_{i}(steady, steady, steady, 5)");
            let _ = writeln!(diff, "+call_{i}(steady, steady, steady, 5)");
        }
        diff.push_str("-keep(5)\n+keep(50)\n");
        diff.push_str(&"-unread(1)\n+unread(100)\n".repeat(50_000));
        assert_eq!(edit(diff).number, Some((5.0, 50.0)));
        let alike: Vec<String> = (0..4_000).map(|i| format!("keep({i})")).collect();
        let lines: Vec<&str> = alike.iter().map(String::as_str).collect();
        let twins = twins(&lines);
        assert_eq!(twins.len(), 1, "one shape");
        assert_eq!(twins["keep(0)"], [[0.0], [1.0]]);
    }
}
