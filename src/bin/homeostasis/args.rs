//! The command line.

/// What the command says of itself.
pub(crate) const HELP: &str = "\
homeostasis rules COMMAND [options] [FILE...]
homeostasis diagnose --evidence FILE [--config FILE] [--json]

diagnose looks again at evidence that a healer saved, as that healer would
  --evidence FILE     the evidence; - for standard input
  --config FILE       the healer's configuration: its rules and settings

commands of rules
  validate   loads rule files and tells every mistake with its place
  lint       tells over-broad, shadowed, conflicting and duplicate rules
  test       tries every example and tells which rule wins it
    --log FILE        counts which rules the lines of a log match instead; - for standard input
  explain    tells what a rule says, or which rules match a text and why
    --id ID           the rule
    --text TEXT       the text; - for standard input
    --language NAME   the language of the text
    --system NAME     the system it speaks of

FILEs are rules in YAML or JSON; without any, the rules that come with the crate are taken
  --shipped           takes those together with the FILEs
  --json              answers in JSON
  --help, --version

exit codes: 0 all is well; 1 something was found, nothing matches, or no cause is named;
2 the command is wrong";

const COMMANDS: &str = if cfg!(feature = "classifier") {
    "rules, diagnose, playbook or classifier"
} else {
    "rules, diagnose or playbook"
};

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Version,
    Rules(RulesCommand),
    Diagnose(DiagnoseCommand),
}

/// `homeostasis diagnose …`
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DiagnoseCommand {
    pub(crate) evidence: String,
    pub(crate) config: Option<String>,
    pub(crate) json: bool,
}

/// `homeostasis rules …`
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RulesCommand {
    pub(crate) verb: Verb,
    pub(crate) files: Vec<String>,
    pub(crate) shipped: bool,
    pub(crate) json: bool,
}

/// What to do with rules.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Validate,
    Lint,
    Test {
        log: Option<String>,
    },
    ExplainRule(String),
    ExplainText {
        text: String,
        language: String,
        system: String,
    },
}

/// The options with a value, and which command takes them.
const WITH_VALUE: [(&str, &str); 5] = [
    ("--log", "test"),
    ("--id", "explain"),
    ("--text", "explain"),
    ("--language", "explain"),
    ("--system", "explain"),
];

/// Reads the arguments; what is wrong with them as a sentence.
pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Command, String> {
    match args.next().as_deref() {
        Some("--help" | "-h" | "help") => return Ok(Command::Help),
        Some("--version" | "-V") => return Ok(Command::Version),
        Some("rules") => {}
        Some("diagnose") => return diagnose(args),
        given => return Err(wrong("command", given, COMMANDS)),
    }
    let verb = args.next();
    let verb = match verb.as_deref() {
        Some("--help" | "-h") => return Ok(Command::Help),
        Some(verb @ ("validate" | "lint" | "test" | "explain")) => verb,
        given => {
            return Err(wrong(
                "command of rules",
                given,
                "validate, lint, test or explain",
            ));
        }
    };
    let mut values: Vec<(&str, String)> = Vec::new();
    let (mut files, mut shipped, mut json, mut only_files) = (Vec::new(), false, false, false);
    while let Some(arg) = args.next() {
        if only_files || !arg.starts_with('-') {
            files.push(arg);
            continue;
        }
        let known = WITH_VALUE
            .iter()
            .find(|(name, of)| *name == arg && *of == verb);
        match (arg.as_str(), known) {
            ("--", _) => only_files = true,
            ("--help" | "-h", _) => return Ok(Command::Help),
            ("--shipped", _) => shipped = true,
            ("--json", _) => json = true,
            (_, Some((name, _))) => {
                let Some(value) = args.next() else {
                    return Err(format!("{name} without a value, expected one"));
                };
                if values.iter().any(|(given, _)| given == name) {
                    return Err(format!("{name} {value:?}, but it is given already"));
                }
                values.push((name, value));
            }
            (_, None) => {
                let of_verb = WITH_VALUE.iter().filter(|(_, of)| *of == verb);
                let mut known: Vec<&str> = of_verb.map(|(name, _)| *name).collect();
                known.extend(["--shipped", "--json"]);
                return Err(wrong("option", Some(&arg), &known.join(", ")));
            }
        }
    }
    let mut value = |name: &str| {
        let place = values.iter().position(|(given, _)| *given == name)?;
        Some(values.swap_remove(place).1)
    };
    let verb = match verb {
        "validate" => Verb::Validate,
        "lint" => Verb::Lint,
        "test" => Verb::Test {
            log: value("--log"),
        },
        _ => match (value("--id"), value("--text")) {
            (Some(id), None) => Verb::ExplainRule(id),
            (None, Some(text)) => Verb::ExplainText {
                text,
                language: value("--language").unwrap_or_default(),
                system: value("--system").unwrap_or_default(),
            },
            _ => return Err("rules explain needs one of --id and --text".to_owned()),
        },
    };
    // Without files there is nothing but the shipped rules to take.
    let shipped = shipped || files.is_empty();
    Ok(Command::Rules(RulesCommand {
        verb,
        files,
        shipped,
        json,
    }))
}

/// The options of `diagnose`.
fn diagnose(mut args: impl Iterator<Item = String>) -> Result<Command, String> {
    let (mut evidence, mut config, mut json) = (None, None, false);
    while let Some(arg) = args.next() {
        let value = match arg.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--json" => {
                json = true;
                continue;
            }
            "--evidence" => &mut evidence,
            "--config" => &mut config,
            _ => return Err(wrong("option", Some(&arg), "--evidence, --config, --json")),
        };
        let Some(given) = args.next() else {
            return Err(format!("{arg} without a value, expected a file"));
        };
        if value.is_some() {
            return Err(format!("{arg} {given:?}, but it is given already"));
        }
        *value = Some(given);
    }
    let evidence = evidence.ok_or("diagnose needs --evidence FILE")?;
    Ok(Command::Diagnose(DiagnoseCommand {
        evidence,
        config,
        json,
    }))
}

fn wrong(what: &str, given: Option<&str>, expected: &str) -> String {
    match given {
        Some(given) => format!("{what} {given:?}, expected {expected}"),
        None => format!("no {what}, expected {expected}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, String> {
        parse(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn options_may_stand_anywhere_after_the_command() {
        let expected = Command::Rules(RulesCommand {
            verb: Verb::Test {
                log: Some("a.log".to_owned()),
            },
            files: vec!["a.yaml".to_owned(), "-b.yaml".to_owned()],
            shipped: false,
            json: true,
        });
        assert_eq!(
            read("rules test a.yaml --json --log a.log -- -b.yaml"),
            Ok(expected)
        );
    }

    #[test]
    fn the_shipped_rules_are_taken_where_no_file_is_named() {
        let Ok(Command::Rules(command)) = read("rules lint") else {
            panic!("no command of rules");
        };
        assert!(command.shipped);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, expected) in [
            ("rule", "command \"rule\", expected rules"),
            ("diagnose", "diagnose needs --evidence FILE"),
            ("diagnose a.json", "option \"a.json\", expected --evidence"),
            ("diagnose --evidence", "--evidence without a value"),
            (
                "diagnose --evidence a --evidence b",
                "--evidence \"b\", but it is given already",
            ),
            ("rules list", "command of rules \"list\", expected validate"),
            (
                "rules lint --log a",
                "option \"--log\", expected --shipped, --json",
            ),
            ("rules test --log", "--log without a value"),
            (
                "rules test --log a --log b",
                "--log \"b\", but it is given already",
            ),
            (
                "rules explain",
                "rules explain needs one of --id and --text",
            ),
            (
                "rules explain --id a --text b",
                "rules explain needs one of --id and --text",
            ),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.starts_with(expected), "{line}: {error}");
        }
    }
}
