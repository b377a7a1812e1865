//! `homeostasis rules …`

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;

use homeostasis::core::ConfigError;
use homeostasis::rca::{ErrorText, Rule, RuleMatch, RuleSet};
use serde_json::{Value, json};

use crate::Answer;
use crate::args::{RulesCommand, Verb};

/// Runs it.
pub(crate) fn run(command: &RulesCommand) -> Answer {
    let mut texts = Vec::new();
    for file in &command.files {
        match std::fs::read_to_string(file) {
            Ok(text) => texts.push((file.as_str(), text)),
            Err(error) => return unreadable(file, &error),
        }
    }
    let documents = texts.iter().map(|(name, text)| (*name, text.as_str()));
    let rules = if command.shipped {
        RuleSet::shipped_with(documents)
    } else {
        RuleSet::load(documents)
    };
    let rules = match rules {
        Ok(rules) => rules,
        Err(error) => return does_not_load(&error, command.json),
    };
    let (value, text, code) = match &command.verb {
        Verb::Validate => {
            let n = rules.rules().len();
            (
                json!({"valid": true, "rules": n}),
                format!("{n} rules are sound\n"),
                0,
            )
        }
        Verb::Lint => lint(&rules),
        Verb::Test { log: None } => try_examples(&rules),
        Verb::Test { log: Some(log) } => match read(log) {
            Ok(text) => count(&rules, &text),
            Err(error) => return unreadable(log, &error),
        },
        Verb::ExplainRule(id) => explain_rule(&rules, id),
        Verb::ExplainText {
            text,
            language,
            system,
        } => {
            let read = if text == "-" {
                read("-")
            } else {
                Ok(text.clone())
            };
            match read {
                Ok(text) => explain_text(&rules, &text, language, system),
                Err(error) => return unreadable("-", &error),
            }
        }
    };
    let out = if command.json {
        format!("{value}\n")
    } else {
        text
    };
    Answer {
        out,
        code,
        ..Answer::default()
    }
}

fn lint(rules: &RuleSet) -> (Value, String, u8) {
    let found = rules.lint();
    let mut text = String::new();
    for finding in &found {
        let _ = writeln!(text, "{finding}");
    }
    let _ = writeln!(
        text,
        "{} rules, {} findings",
        rules.rules().len(),
        found.len()
    );
    let code = u8::from(!found.is_empty());
    (
        json!({"rules": rules.rules().len(), "findings": found}),
        text,
        code,
    )
}

/// The rules hold for their examples, or they would not have loaded; here it is told who wins them.
fn try_examples(rules: &RuleSet) -> (Value, String, u8) {
    let mut text = String::new();
    let mut others = Vec::new();
    let (mut n_examples, mut n_counters) = (0, 0);
    for rule in rules.rules() {
        n_counters += rule.counter_examples.len();
        for example in &rule.examples {
            n_examples += 1;
            let error = as_written(rule, example);
            let winner = rules.best(&error).map(|found| found.rule.id.as_str());
            if winner != Some(rule.id.as_str()) {
                let winner = winner.unwrap_or("no rule");
                let _ = writeln!(text, "{}: {winner} wins {example:?}", rule.id);
                others.push(json!({"rule": rule.id, "example": example, "winner": winner}));
            }
        }
    }
    let n = rules.rules().len();
    let _ = writeln!(
        text,
        "{n} rules, {n_examples} examples match, {n_counters} counter-examples do not; another rule wins {}",
        others.len()
    );
    let value = json!({
        "rules": n,
        "examples": n_examples,
        "counter_examples": n_counters,
        "won_by_others": others,
    });
    (value, text, 0)
}

/// The example in the first language and of the first system its rule is for.
fn as_written(rule: &Rule, example: &str) -> ErrorText {
    let first = |names: &[String]| names.first().cloned().unwrap_or_default();
    let text = ErrorText::of_text(example).in_language(first(&rule.languages));
    match rule.applies_to.first() {
        Some(system) => text.about(system),
        None => text,
    }
}

/// What the lines of a log match, line by line.
fn count(rules: &RuleSet, log: &str) -> (Value, String, u8) {
    let mut hits: BTreeMap<&str, (usize, String)> = BTreeMap::new();
    let (mut n_lines, mut n_matched) = (0_usize, 0_usize);
    for line in log.lines().filter(|line| !line.trim().is_empty()) {
        n_lines += 1;
        let text = ErrorText::of_text(line);
        if let Some(found) = rules.best(&text) {
            n_matched += 1;
            let hit = hits.entry(&found.rule.id);
            hit.or_insert_with(|| (0, found.line.to_owned())).0 += 1;
        }
    }
    let mut text = String::new();
    for (id, (n, first)) in &hits {
        let _ = writeln!(text, "{n:>8} {id}: {first}");
    }
    let _ = writeln!(text, "{n_lines} lines, {n_matched} match a rule");
    let by_rule: BTreeMap<_, _> = hits
        .into_iter()
        .map(|(id, (n, first))| (id, json!({"lines": n, "first": first})))
        .collect();
    let value = json!({"lines": n_lines, "matched": n_matched, "by_rule": by_rule});
    (value, text, u8::from(n_matched == 0))
}

fn explain_rule(rules: &RuleSet, id: &str) -> (Value, String, u8) {
    let Some(rule) = rules.get(id) else {
        let message = format!("no rule {id:?} among {}", rules.rules().len());
        return (json!({"error": message}), format!("{message}\n"), 1);
    };
    let value = serde_json::to_value(rule).unwrap_or_default();
    let mut text = format!("{id}: {}\n", rule.title);
    for (name, field) in value.as_object().into_iter().flatten() {
        match field {
            Value::Array(items) => {
                for item in items {
                    let _ = writeln!(text, "  {name}: {}", plain(item));
                }
            }
            _ if name == "id" || name == "title" => {}
            field => {
                let _ = writeln!(text, "  {name}: {}", plain(field));
            }
        }
    }
    (value, text, 0)
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn explain_text(rules: &RuleSet, text: &str, language: &str, system: &str) -> (Value, String, u8) {
    let mut error = ErrorText::of_text(text).in_language(language);
    if !system.is_empty() {
        error = error.about(system);
    }
    let found: Vec<RuleMatch<'_, '_>> = rules.matching(&error).collect();
    let mut shown = String::new();
    for (place, hit) in found.iter().enumerate() {
        let rule = hit.rule;
        let _ = writeln!(
            shown,
            "{}. {} ({}, {}, confidence {}, specificity {})\n   {}\n   in the line: {}",
            place + 1,
            rule.id,
            rule.category,
            rule.cause,
            rule.confidence.get(),
            hit.specificity,
            rule.title,
            hit.line
        );
        for (name, value) in hit.captures() {
            let _ = writeln!(shown, "   {name}: {value}");
        }
    }
    if found.is_empty() {
        shown = format!("no rule of {} matches\n", rules.rules().len());
    }
    let matches: Vec<Value> = found.iter().map(as_json).collect();
    let lines: Vec<&str> = error
        .lines()
        .map(homeostasis::rca::ErrorLine::text)
        .collect();
    let value = json!({"lines": lines, "frames": error.frames(), "matches": matches});
    (value, shown, u8::from(found.is_empty()))
}

fn as_json(found: &RuleMatch<'_, '_>) -> Value {
    json!({
        "rule": found.rule.id,
        "title": found.rule.title,
        "category": found.rule.category,
        "cause": found.rule.cause,
        "confidence": found.rule.confidence.get(),
        "specificity": found.specificity,
        "line": found.line,
        "captures": found.captures(),
    })
}

fn does_not_load(error: &ConfigError, json: bool) -> Answer {
    let violations: Vec<String> = error.violations().iter().map(ToString::to_string).collect();
    if json {
        let value = json!({"valid": false, "violations": violations});
        return Answer {
            out: format!("{value}\n"),
            code: 1,
            ..Answer::default()
        };
    }
    let n = violations.len();
    let err = format!("{}\n{n} mistakes\n", violations.join("\n"));
    Answer {
        err,
        code: 1,
        ..Answer::default()
    }
}

fn unreadable(file: &str, error: &std::io::Error) -> Answer {
    Answer {
        err: format!("{file}: {error}, expected a file that can be read; rules are UTF-8\n"),
        code: 2,
        ..Answer::default()
    }
}

/// The whole of a log, or of standard input for `-`; bytes that are no UTF-8 are replaced, as logs
/// have them now and then.
fn read(file: &str) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    if file == "-" {
        std::io::stdin().read_to_end(&mut bytes)?;
    } else {
        bytes = std::fs::read(file)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r"
rules:
- id: shop.voucher
  title: A voucher is past its time.
  pattern: 'voucher (?<voucher>[A-Z0-9]+) has expired'
  category: data_validation
  cause: malformed_data
  confidence: 0.9
  languages: [python]
  examples: ['shop.VoucherError: voucher SUMMER26 has expired']
  counter_examples: ['voucher SUMMER26 expires tomorrow']
";

    fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn said(args: &[&str]) -> Answer {
        crate::answer(args.iter().map(ToString::to_string))
    }

    fn json(args: &[&str]) -> (u8, Value) {
        let answer = said(&[args, &["--json"]].concat());
        (answer.code, serde_json::from_str(&answer.out).unwrap())
    }

    #[test]
    fn the_exit_code_says_how_it_went() {
        let folder = tempfile::tempdir().unwrap();
        let sound = file(&folder, "sound.yaml", RULES);
        let broken = file(
            &folder,
            "broken.yaml",
            &RULES.replace("has expired'\n  cat", "is void'\n  cat"),
        );
        let broad = file(
            &folder,
            "broad.yaml",
            &RULES.replace("voucher (?<voucher>[A-Z0-9]+) has expired", "v[a-z]{6}"),
        );
        let broad_but_tested = file(
            &folder,
            "tested.yaml",
            &RULES.replace(
                "voucher (?<voucher>[A-Z0-9]+) has expired",
                "er [A-Z]+[0-9]* h",
            ),
        );
        for (args, code, expected) in [
            (&["rules", "validate", &sound][..], 0, "1 rules are sound"),
            (
                &["rules", "validate", &broken],
                1,
                "broken.yaml:10:14: rules[0].examples[0]",
            ),
            (
                &["rules", "validate", &broad],
                1,
                "rules[0].counter_examples[0]",
            ),
            (
                &["rules", "validate", &sound, &sound],
                1,
                "an id that no other rule has",
            ),
            (&["rules", "validate", "no such file"], 2, "no such file: "),
            (&["rules", "validate"], 0, "rules are sound"),
            (&["rules", "lint", &sound], 0, "1 rules, 0 findings"),
            (
                &["rules", "lint", &broad_but_tested],
                1,
                "shop.voucher: over-broad",
            ),
            (
                &["rules", "test", &sound],
                0,
                "1 rules, 1 examples match, 1 counter-examples do not",
            ),
            (
                &["rules", "explain", "--id", "shop.voucher", &sound],
                0,
                "languages: python",
            ),
            (
                &["rules", "explain", "--id", "shop.nothing", &sound],
                1,
                "no rule \"shop.nothing\"",
            ),
            (
                &["rules", "explain", "--text", "all is well", &sound],
                1,
                "no rule of 1 matches",
            ),
            (&["rules", "explain"], 2, "rules explain needs one of"),
            (&["--version"], 0, env!("CARGO_PKG_VERSION")),
            (&["--help"], 0, "homeostasis rules COMMAND"),
        ] {
            let answer = said(args);
            assert_eq!(answer.code, code, "{args:?}: {answer:?}");
            let all = answer.out + &answer.err;
            assert!(all.contains(expected), "{args:?}: {all}");
        }
    }

    #[test]
    fn a_text_is_explained_by_rule_line_and_captures() {
        let folder = tempfile::tempdir().unwrap();
        let sound = file(&folder, "sound.yaml", RULES);
        let text = "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nshop.VoucherError: voucher XMAS25 has expired";
        let args = ["rules", "explain", &sound, "--text", text];
        let (code, value) = json(&args);
        assert_eq!(code, 0);
        assert_eq!(value["frames"], json!(["File \"a.py\", line 1, in f"]));
        assert_eq!(value["matches"][0]["rule"], "shop.voucher");
        assert_eq!(
            value["matches"][0]["captures"],
            json!({"voucher": "XMAS25"})
        );
        assert_eq!(
            value["matches"][0]["line"],
            "shop.VoucherError: voucher XMAS25 has expired"
        );
        // Another language is another matter.
        let (code, value) = json(&[&args[..], &["--language", "go"]].concat());
        assert_eq!((code, &value["matches"]), (1, &json!([])));
    }

    #[test]
    fn the_json_of_a_rule_is_what_its_file_says() {
        let folder = tempfile::tempdir().unwrap();
        let sound = file(&folder, "sound.yaml", RULES);
        let (_, value) = json(&["rules", "explain", "--id", "shop.voucher", &sound]);
        let document = json!({"rules": [value]}).to_string();
        let again = RuleSet::parse("again.json", &document).unwrap();
        assert_eq!(serde_json::to_value(&again.rules()[0]).unwrap(), value);
    }

    #[test]
    fn a_log_is_counted_by_rule() {
        let folder = tempfile::tempdir().unwrap();
        let sound = file(&folder, "sound.yaml", RULES);
        let line = "shop.VoucherError: voucher A1 has expired\n";
        let log = file(&folder, "app.log", &format!("started\n{line}\n{line}"));
        let (code, value) = json(&["rules", "test", "--log", &log, &sound]);
        assert_eq!(code, 0);
        assert_eq!(value["lines"], 3);
        assert_eq!(value["by_rule"]["shop.voucher"]["lines"], 2);
        let torn = folder.path().join("torn.log");
        std::fs::write(&torn, [b"\xff\n", line.as_bytes()].concat()).unwrap();
        let (code, value) = json(&["rules", "test", "--log", torn.to_str().unwrap(), &sound]);
        assert_eq!((code, &value["lines"]), (0, &json!(2)));
        let (code, _) = json(&[
            "rules",
            "test",
            "--log",
            &file(&folder, "b.log", "all is well"),
            &sound,
        ]);
        assert_eq!(code, 1);
    }

    #[test]
    fn mistakes_come_as_json_too() {
        let folder = tempfile::tempdir().unwrap();
        let broken = file(&folder, "broken.yaml", "rules: 7");
        let (code, value) = json(&["rules", "validate", &broken]);
        assert_eq!((code, &value["valid"]), (1, &json!(false)));
        assert_eq!(value["violations"].as_array().unwrap().len(), 1);
    }
}
