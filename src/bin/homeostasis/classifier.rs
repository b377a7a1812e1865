//! `homeostasis classifier …`

use std::fmt::Write as _;
use std::io::Read as _;

use homeostasis::core::ConfigError;
use homeostasis::rca::{
    ClassifierTrainer, ErrorClassifier, ErrorText, Evaluation, HybridClassifier, HybridConfig,
    LabeledError, RuleSet,
};
use serde_json::{Value, json};

use crate::Answer;

/// What the command says of itself.
pub(crate) const HELP: &str = "\
homeostasis classifier COMMAND [options] [FILE...]

commands of classifier
  train      learns from the errors of the FILEs and tells how it does in cross-validation
    --out FILE        where the model goes; without it, to standard output
    --folds N         of the cross-validation; 2 to 100, default 10
    --examples        learns from the examples of the shipped rules, too
  evaluate   tells how the model, and model and shipped rules together, do on the errors of the FILEs
    --by-family       instead, trains and tells how it does on families of errors held back
  explain    tells what the model makes of a text and which features spoke
    --text TEXT       the text; - for standard input
    --language NAME   the language of the text

FILEs are JSON lines with text and category and, if known, language and family
  --model FILE        for evaluate and explain, the model; without it, the shipped one
  --json              answers in JSON

exit codes: 0 all is well; 1 something is wrong with a FILE or the model, or nothing is sure enough
to be said; 2 the command is wrong";

/// How many features of a text are told.
const MAX_FEATURES: usize = 10;

/// What is given after the verb.
#[derive(Debug, Default, PartialEq, Eq)]
struct Given {
    files: Vec<String>,
    values: Vec<(&'static str, String)>,
    flags: Vec<&'static str>,
}

impl Given {
    fn value(&self, name: &str) -> Option<&str> {
        let found = self.values.iter().find(|(given, _)| *given == name);
        found.map(|(_, value)| value.as_str())
    }

    fn has(&self, name: &str) -> bool {
        self.flags.contains(&name)
    }
}

/// Why it came to no answer, and the exit code for it.
struct Stopped(String, u8);

impl From<ConfigError> for Stopped {
    fn from(error: ConfigError) -> Self {
        let violations: Vec<String> = error.violations().iter().map(ToString::to_string).collect();
        let n = violations.len();
        Self(format!("{}\n{n} mistakes\n", violations.join("\n")), 1)
    }
}

/// Runs it with what follows the word `classifier`.
pub(crate) fn run(args: &[String]) -> Answer {
    let Some((verb, rest)) = args.split_first() else {
        return wrong("no command of classifier, expected train, evaluate or explain");
    };
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        return Answer {
            out: format!("{HELP}\n"),
            ..Answer::default()
        };
    }
    let (values, flags): (&[&'static str], &[&'static str]) = match verb.as_str() {
        "train" => (&["--out", "--folds"], &["--examples", "--json"]),
        "evaluate" => (&["--model"], &["--by-family", "--json"]),
        "explain" => (&["--text", "--language", "--model"], &["--json"]),
        other => {
            return wrong(&format!(
                "command of classifier {other:?}, expected train, evaluate or explain"
            ));
        }
    };
    let given = match parse(rest, values, flags) {
        Ok(given) => given,
        Err(message) => return wrong(&message),
    };
    let done = match verb.as_str() {
        "train" => train(&given),
        "evaluate" => evaluate(&given),
        _ => explain(&given),
    };
    match done {
        Ok((value, text, code)) => Answer {
            out: if given.has("--json") {
                format!("{value}\n")
            } else {
                text
            },
            code,
            ..Answer::default()
        },
        Err(Stopped(message, 2)) => wrong(&message),
        Err(Stopped(err, code)) => Answer {
            err,
            code,
            ..Answer::default()
        },
    }
}

type Done = Result<(Value, String, u8), Stopped>;

fn train(given: &Given) -> Done {
    let folds = given.value("--folds").unwrap_or("10");
    let folds = folds.parse().ok().filter(|n| (2..=100).contains(n));
    let folds = folds.ok_or_else(|| {
        let folds = given.value("--folds").unwrap_or_default();
        Stopped(format!("--folds {folds:?}, expected 2 to 100"), 2)
    })?;
    if given.has("--json") && given.value("--out").is_none() {
        let message = "train --json needs --out FILE: the model itself is JSON";
        return Err(Stopped(message.to_owned(), 2));
    }
    let mut rows = labeled(given, given.has("--examples"))?;
    if given.has("--examples") {
        rows.extend(LabeledError::of_rules(&RuleSet::shipped()?));
    }
    let trainer = ClassifierTrainer::new().folds(folds);
    let model = trainer
        .train(&rows)
        .map_err(|error| Stopped(format!("{error}\n"), 1))?;
    let Some(out) = given.value("--out") else {
        return Ok((Value::Null, model.to_json() + "\n", 0));
    };
    std::fs::write(out, model.to_json() + "\n")
        .map_err(|error| Stopped(format!("{out}: {error}, expected a file to write"), 2))?;
    let features = model.n_features();
    let text = format!(
        "{out}: {features} features of {} errors; in cross-validation:\n{}",
        rows.len(),
        told(model.evaluation())
    );
    let value = json!({
        "out": out,
        "features": features,
        "training": model.training(),
        "evaluation": model.evaluation(),
    });
    Ok((value, text, 0))
}

fn evaluate(given: &Given) -> Done {
    let rows = labeled(given, false)?;
    if given.has("--by-family") {
        if given.value("--model").is_some() {
            let message = "--by-family trains models of its own, expected no --model";
            return Err(Stopped(message.to_owned(), 2));
        }
        let found = ClassifierTrainer::new()
            .evaluate_by_family(&rows)
            .map_err(|error| Stopped(format!("{error}\n"), 1))?;
        let text = format!("families held back:\n{}", told(&found));
        return Ok((json!({"by_family": found}), text, 0));
    }
    let hybrid = hybrid(given)?;
    let alone = rows
        .iter()
        .map(|row| (row.category, hybrid.classifier().answer(&row.text)));
    let together = rows.iter().map(|row| {
        let found = hybrid.answer(&row.text);
        (
            row.category,
            found.map(|found| (found.category, found.confidence)),
        )
    });
    let alone = Evaluation::of(&alone.collect::<Vec<_>>());
    let together = Evaluation::of(&together.collect::<Vec<_>>());
    let text = format!(
        "rules and classifier:\n{}classifier alone:\n{}",
        told(&together),
        told(&alone)
    );
    Ok((json!({"hybrid": together, "classifier": alone}), text, 0))
}

fn explain(given: &Given) -> Done {
    let text = match given.value("--text") {
        Some("-") => {
            let mut bytes = Vec::new();
            std::io::stdin()
                .read_to_end(&mut bytes)
                .map_err(|error| Stopped(format!("-: {error}, expected a text"), 2))?;
            String::from_utf8_lossy(&bytes).into_owned()
        }
        Some(text) => text.to_owned(),
        None => return Err(Stopped("classifier explain needs --text".to_owned(), 2)),
    };
    if let Some(file) = given.files.first() {
        return Err(Stopped(
            format!("{file:?}, expected no FILE for explain"),
            2,
        ));
    }
    let error =
        ErrorText::of_text(&text).in_language(given.value("--language").unwrap_or_default());
    let hybrid = hybrid(given)?;
    let model = hybrid.classifier();
    let answer = hybrid.answer(&error);
    let prediction = model.predict(&error);
    let mut shown = String::new();
    match &answer {
        Some(found) => {
            let rule = found
                .rule
                .as_ref()
                .map_or("no rule", |found| &found.rule.id);
            let (category, sure) = (found.category, found.confidence);
            let _ = writeln!(
                shown,
                "{category}, {sure:.3} sure ({rule} and the classifier)"
            );
        }
        None => {
            shown.push_str("no answer: no rule matches, and the classifier is not sure enough\n");
        }
    }
    let mut features = Vec::new();
    if let Some(found) = &prediction {
        for (category, probability) in found.probabilities() {
            let _ = writeln!(shown, "  {probability:.3} {category}");
        }
        features = model.explain(&error, found.category(), MAX_FEATURES);
        let _ = writeln!(shown, "what spoke for {}:", found.category());
        for (feature, adds) in &features {
            let _ = writeln!(shown, "  {adds:+.3} {feature}");
        }
    } else {
        shown.push_str("the classifier knows no feature of the text\n");
    }
    let category_and = |(category, probability): &(_, f64)| json!([category, probability]);
    let value = json!({
        "category": answer.as_ref().map(|found| found.category),
        "confidence": answer.as_ref().map(|found| found.confidence),
        "rule": answer.as_ref().and_then(|found| Some(&found.rule.as_ref()?.rule.id)),
        "probabilities": prediction.map(|found| {
            found.probabilities().iter().map(category_and).collect::<Vec<_>>()
        }),
        "features": features,
    });
    Ok((value, shown, u8::from(answer.is_none())))
}

/// The shipped rules with the model that is given, or the shipped one.
fn hybrid(given: &Given) -> Result<HybridClassifier, Stopped> {
    let model = match given.value("--model") {
        Some(file) => ErrorClassifier::read(file, &read(file)?)?,
        None => ErrorClassifier::shipped()?,
    };
    Ok(HybridClassifier::new(
        RuleSet::shipped()?,
        model,
        HybridConfig::default(),
    )?)
}

/// The errors of the files; none is wrong unless there are others.
fn labeled(given: &Given, has_others: bool) -> Result<Vec<LabeledError>, Stopped> {
    if given.files.is_empty() && !has_others {
        return Err(Stopped(
            "no FILE, expected JSON lines of errors".to_owned(),
            2,
        ));
    }
    let mut rows = Vec::new();
    for file in &given.files {
        rows.extend(LabeledError::read_lines(file, &read(file)?)?);
    }
    Ok(rows)
}

fn read(file: &str) -> Result<String, Stopped> {
    std::fs::read_to_string(file)
        .map_err(|error| Stopped(format!("{file}: {error}, expected a file of UTF-8"), 2))
}

fn told(found: &Evaluation) -> String {
    let mut text = format!(
        "  {} errors, accuracy {:.3}, macro-F1 {:.3}\n",
        found.rows, found.accuracy, found.macro_f1
    );
    for category in &found.categories {
        let (name, n, f1) = (category.category, category.rows, category.f1);
        let _ = writeln!(text, "  {name}: {n} errors, F1 {f1:.3}");
    }
    for bin in &found.reliability {
        let _ = writeln!(
            text,
            "  sure from {:.1}: {} answers, {:.3} right",
            bin.from, bin.answers, bin.precision
        );
    }
    text
}

fn parse(
    args: &[String],
    values: &[&'static str],
    flags: &[&'static str],
) -> Result<Given, String> {
    let mut given = Given::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let of = |names: &[&'static str]| names.iter().copied().find(|name| name == arg);
        if arg == "--" {
            given.files.extend(args.by_ref().cloned());
        } else if let Some(flag) = of(flags) {
            given.flags.push(flag);
        } else if let Some(name) = of(values) {
            let value = args.next();
            let value = value.ok_or_else(|| format!("{name} without a value, expected one"))?;
            if given.value(name).is_some() {
                return Err(format!("{name} {value:?}, but it is given already"));
            }
            given.values.push((name, value.clone()));
        } else if arg.starts_with('-') {
            let known = [values, flags].concat().join(", ");
            return Err(format!("option {arg:?}, expected {known}"));
        } else {
            given.files.push(arg.clone());
        }
    }
    Ok(given)
}

fn wrong(message: &str) -> Answer {
    Answer {
        err: format!("{message}\n\n{HELP}\n"),
        code: 2,
        ..Answer::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn said(args: &[&str]) -> Answer {
        crate::answer(args.iter().map(ToString::to_string))
    }

    fn json_of(args: &[&str]) -> (u8, Value) {
        let answer = said(&[args, &["--json"]].concat());
        (answer.code, serde_json::from_str(&answer.out).unwrap())
    }

    /// Vouchers are data, peers network; each a family of its own kind.
    fn errors() -> String {
        let row = |n: usize| {
            let (word, category) = [("voucher", "data_validation"), ("peer", "network")][n % 2];
            let text = format!("ShopError: the {word} is odd");
            let family = format!("family {}", n % 4);
            json!({"text": text, "category": category, "language": "python", "family": family})
        };
        (0..40).fold(String::new(), |text, n| text + &row(n).to_string() + "\n")
    }

    #[test]
    fn a_trained_model_is_kept_evaluated_and_explained() {
        let folder = tempfile::tempdir().unwrap();
        let rows = file(&folder, "errors.jsonl", &errors());
        let model = file(&folder, "model.json", "");
        let train = [
            "classifier",
            "train",
            &rows,
            "--out",
            &model,
            "--folds",
            "5",
        ];
        let (code, trained) = json_of(&train);
        assert_eq!((code, &trained["evaluation"]["accuracy"]), (0, &json!(1.0)));
        // To standard output goes the same model.
        let printed = said(&["classifier", "train", &rows, "--folds", "5"]);
        assert_eq!(printed.out, std::fs::read_to_string(&model).unwrap());
        let (code, found) = json_of(&["classifier", "evaluate", "--model", &model, &rows]);
        assert_eq!((code, &found["classifier"]["rows"]), (0, &json!(40)));
        assert_eq!(found["classifier"]["accuracy"], 1.0, "{found}");
        let text = "ShopError: a voucher";
        let (code, found) = json_of(&["classifier", "explain", "--model", &model, "--text", text]);
        assert_eq!((code, &found["category"]), (0, &json!("data_validation")));
        let spoke = found["features"].as_array().unwrap();
        assert!(spoke.iter().any(|f| f[0] == "word:voucher"), "{found}");
        let (code, found) = json_of(&["classifier", "evaluate", "--by-family", &rows]);
        assert_eq!((code, &found["by_family"]["rows"]), (0, &json!(40)));
    }

    #[test]
    fn the_exit_code_says_how_it_went() {
        let folder = tempfile::tempdir().unwrap();
        let rows = file(&folder, "errors.jsonl", &errors());
        let wrong_row = file(
            &folder,
            "wrong.jsonl",
            &errors().replacen("network", "net", 1),
        );
        let few = file(&folder, "few.jsonl", errors().lines().next().unwrap());
        let refused = "ConnectionRefusedError: [Errno 111] Connection refused";
        for (args, code, expected) in [
            (&["explain", "--text", refused][..], 0, "network, 0."),
            (&["explain", "--text", "zzz qqq"], 1, "no answer: no rule"),
            (&["explain"], 2, "classifier explain needs --text"),
            (
                &["explain", "--text", "a", "b"],
                2,
                "\"b\", expected no FILE",
            ),
            (&["evaluate", &rows], 0, "classifier alone:\n  40 errors"),
            (
                &["evaluate", &wrong_row],
                1,
                "wrong.jsonl:2 = unknown variant `net`",
            ),
            (&["evaluate"], 2, "no FILE, expected JSON lines"),
            (
                &["evaluate", "--by-family", "--model", "m", &rows],
                2,
                "expected no --model",
            ),
            (&["evaluate", "--model", &rows, &rows], 1, "errors.jsonl = "),
            (&["evaluate", "no such file"], 2, "no such file: "),
            (
                &["train", &few],
                1,
                "1 errors of 1 categories, expected at least 10",
            ),
            (
                &["train", &rows, "--folds", "1"],
                2,
                "--folds \"1\", expected 2 to 100",
            ),
            (&["train", &rows, "--folds"], 2, "--folds without a value"),
            (&["train", &rows, "--json"], 2, "train --json needs --out"),
            (
                &["train", "--text", "a"],
                2,
                "option \"--text\", expected --out, --folds",
            ),
            (
                &["learn"],
                2,
                "command of classifier \"learn\", expected train",
            ),
            (&[], 2, "no command of classifier"),
            (&["train", "--help"], 0, "homeostasis classifier COMMAND"),
        ] {
            let answer = said(&[&["classifier"], args].concat());
            assert_eq!(answer.code, code, "{args:?}: {answer:?}");
            let all = answer.out + &answer.err;
            assert!(all.contains(expected), "{args:?}: {all}");
        }
        let help = said(&["--help"]).out;
        assert!(help.contains("homeostasis classifier COMMAND"), "{help}");
    }
}
