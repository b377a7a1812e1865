//! `homeostasis playbook …`: what can be said of playbooks without the host that runs them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use homeostasis::core::condition::Truth;
use homeostasis::core::document::{Node, Parser};
use homeostasis::core::policy::Policy;
use homeostasis::core::{Context, Target, Topology, async_trait};
use homeostasis::remediate::action::{
    Action, ActionCall, ActionError, ActionRegistry, ActionSpec, Capture, Param, ParamKind,
};
use homeostasis::remediate::playbook::{CheckRegistry, LintRule, Playbook, PlaybookSet};
use serde_json::Value;

use crate::Answer;

/// What the command says of itself.
pub(crate) const HELP: &str = "\
homeostasis playbook COMMAND [options] [FILE...]

commands of playbook
  lint FILE...        tells every mistake with its place, and what is allowed but probably not meant
  show FILE           tells what was read
  dry-run FILE        tells the plan it would become, as far as it is known without the host
    --target TARGET   for which service, or service/instance
  schema              the JSON Schema of playbooks

Actions and checks belong to the host: here each that is named is taken for registered, and for
opaque, irreversible and of high risk; what only an action can know is not linted";

const COMMANDS: &str = "lint, show, dry-run or schema";

/// Fields of a step that are no parameters of its action.
const STEP_FIELDS: [&str; 7] = [
    "step",
    "name",
    "action",
    "target",
    "timeout",
    "retry",
    "expected_recovery",
];

/// Runs it.
pub(crate) fn run(args: &[String]) -> Answer {
    let wrong = |message: String| Answer {
        err: format!("{message}\n\n{HELP}\n"),
        code: 2,
        ..Answer::default()
    };
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => wrong(format!("no command of playbook, expected {COMMANDS}")),
        ["--help" | "-h", ..] => Answer {
            out: format!("{HELP}\n"),
            ..Answer::default()
        },
        ["lint"] => wrong("no FILE, expected at least one".to_owned()),
        ["lint", ref files @ ..] => lint(files),
        ["show", file] => with_one(file, |playbook, _| Ok(show(playbook))),
        ["dry-run", file, "--target", target] | ["dry-run", "--target", target, file] => {
            with_one(file, |playbook, actions| dry_run(playbook, actions, target))
        }
        ["dry-run", ..] => wrong("expected dry-run FILE --target TARGET".to_owned()),
        ["show", ..] => wrong("expected show FILE".to_owned()),
        ["schema"] => schema(),
        [given, ..] => wrong(format!(
            "command of playbook {given:?}, expected {COMMANDS}"
        )),
    }
}

fn lint(files: &[&str]) -> Answer {
    let mut answer = Answer::default();
    let mut texts = Vec::new();
    for file in files {
        match std::fs::read_to_string(file) {
            Ok(text) => texts.push((*file, text)),
            Err(error) => {
                let _ = writeln!(
                    answer.err,
                    "{file}, expected a file that can be read: {error}"
                );
                answer.code = 2;
            }
        }
    }
    let (actions, checks) = assumed(texts.iter().map(|(_, text)| text.as_str()));
    let pairs = texts.iter().map(|(file, text)| (*file, text.as_str()));
    match PlaybookSet::parse(pairs, &actions, &checks) {
        Err(error) => {
            for violation in error.violations() {
                let _ = writeln!(answer.out, "{violation}");
            }
            answer.code = answer.code.max(1);
        }
        Ok(set) => {
            // What the real actions say is not known: the rules that ask them have nothing to ask.
            let (nothing, ttl) = (ActionRegistry::default(), Policy::default().permit_ttl);
            for playbook in set.iter() {
                for lint in playbook.lint(&nothing, ttl) {
                    let asks_actions = matches!(
                        lint.rule,
                        LintRule::UnregisteredName | LintRule::NeedlessAllow
                    );
                    if !asks_actions {
                        let _ = writeln!(answer.out, "{}:{lint}", playbook.source());
                        answer.code = answer.code.max(1);
                    }
                }
            }
        }
    }
    answer
}

fn with_one(
    file: &str,
    say: impl FnOnce(&Playbook, &ActionRegistry) -> Result<String, String>,
) -> Answer {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            return Answer {
                err: format!("{file}, expected a file that can be read: {error}\n"),
                code: 2,
                ..Answer::default()
            };
        }
    };
    let (actions, checks) = assumed([text.as_str()]);
    let said = Playbook::parse(file, &text, &actions, &checks)
        .map_err(|error| error.to_string())
        .and_then(|playbook| say(&playbook, &actions));
    match said {
        Ok(out) => Answer {
            out,
            ..Answer::default()
        },
        Err(error) => Answer {
            out: format!("{error}\n"),
            code: 1,
            ..Answer::default()
        },
    }
}

fn show(playbook: &Playbook) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = (|| {
        writeln!(
            out,
            "{} {}: {}",
            playbook.id(),
            playbook.version(),
            playbook.name()
        )?;
        writeln!(out, "  hash     {}", playbook.hash())?;
        let trigger = playbook.trigger();
        for (name, value) in [
            (
                "condition",
                trigger.condition.as_ref().map(ToString::to_string),
            ),
            ("cause", trigger.cause.clone()),
            (
                "category",
                trigger.category.map(|category| category.to_string()),
            ),
            ("service", trigger.service.as_ref().map(ToString::to_string)),
        ] {
            if let Some(value) = value {
                writeln!(out, "  trigger  {name} {value}")?;
            }
        }
        for step in playbook.steps() {
            let together = if step.with_previous {
                " at the same time"
            } else {
                ""
            };
            writeln!(
                out,
                "  step     {}{together}: {} ({})",
                step.path, step.name, step.action
            )?;
        }
        let people = &playbook.escalation().notify;
        if !people.is_empty() {
            writeln!(out, "  people   {}", people.join(", "))?;
        }
        Ok::<(), std::fmt::Error>(())
    })();
    out
}

fn dry_run(playbook: &Playbook, actions: &ActionRegistry, target: &str) -> Result<String, String> {
    let target: Target = target
        .parse()
        .map_err(|_| format!("--target {target:?}, expected a service, or service/instance"))?;
    let report = playbook.dry_run(actions, &target, &Topology::default());
    report
        .map(|report| report.to_string())
        .map_err(|error| error.to_string())
}

#[cfg(feature = "schema")]
fn schema() -> Answer {
    Answer {
        out: format!(
            "{:#}\n",
            homeostasis::remediate::playbook::playbook_schema()
        ),
        ..Answer::default()
    }
}

#[cfg(not(feature = "schema"))]
fn schema() -> Answer {
    Answer {
        err: "schema, expected a command that was built with the feature \"schema\"\n".to_owned(),
        code: 2,
        ..Answer::default()
    }
}

/// An action of which only its name and the parameters it is given are known.
#[derive(Debug)]
struct Assumed {
    name: String,
    spec: ActionSpec,
}

#[async_trait]
impl Action for Assumed {
    fn name(&self) -> &str {
        &self.name
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    async fn perform(&self, _: &Context, _: &ActionCall<'_>) -> Result<Value, ActionError> {
        let name = format!("{:?}", self.name);
        Err(ActionError::permanent(name, "nobody registered it"))
    }
}

/// The actions and checks that the texts name, with the parameters they give them.
fn assumed<'a>(texts: impl IntoIterator<Item = &'a str>) -> (ActionRegistry, CheckRegistry) {
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut asked = BTreeSet::new();
    for text in texts {
        // What is no YAML is told when it is read.
        let Ok(node) = Parser::new().parse(text) else {
            continue;
        };
        let list = |name| node.pointer(name).and_then(Node::as_sequence);
        for step in list("/remediation_steps").into_iter().flatten() {
            let together = step.pointer("/parallel").and_then(Node::as_sequence);
            for step in together.unwrap_or(std::slice::from_ref(step)) {
                let action = step.pointer("/action").and_then(Node::as_str);
                let (Some(action), Some(fields)) = (action, step.as_mapping()) else {
                    continue;
                };
                let names = fields.iter().map(|entry| entry.key.clone());
                let given = names.filter(|name| !STEP_FIELDS.contains(&name.as_str()));
                named.entry(action.to_owned()).or_default().extend(given);
            }
        }
        let checks = list("/pre_conditions").into_iter().flatten();
        let checks = checks.filter_map(|it| it.pointer("/check").and_then(Node::as_str));
        asked.extend(checks.map(str::to_owned));
    }
    let (mut actions, mut checks) = (ActionRegistry::default(), CheckRegistry::default());
    for (name, given) in named {
        // The command ends soon, and their names are wanted until then.
        let params = given.into_iter().map(|name| {
            let name: &'static str = Box::leak(name.into_boxed_str());
            Param::optional(name, ParamKind::Any, "as written").taking(Capture::Word { max: 128 })
        });
        let mut spec = ActionSpec::new("an action of the host").with_params(params);
        spec.max_timeout = std::time::Duration::from_secs(24 * 3600);
        // A name that is none is told when the playbook is read.
        let _ = actions.register(Assumed { name, spec });
    }
    for name in asked {
        let _ = checks.register_fn(name, |_, _| Truth::Unknown);
    }
    (actions, checks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "\
playbook_id: sound
name: Sound
version: '1'
trigger: {cause: memory_leak, service: orders}
pre_conditions: [{check: quiet}]
remediation_steps:
  - {step: 1, action: restart, process: '${target.service}'}
  - parallel: [{action: warm, cache: a}, {action: warm, cache: b}]
verification: {check: heap_bytes < 5MB}
";

    fn with_file(text: &str, args: &[&str]) -> Answer {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p.yaml");
        std::fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        let args: Vec<String> = args.iter().map(|arg| arg.replace("FILE", file)).collect();
        run(&args)
    }

    #[test]
    fn a_sound_playbook_is_shown_and_dry_run_without_its_host() {
        let answer = with_file(SOUND, &["lint", "FILE"]);
        assert_eq!((answer.code, answer.out.as_str()), (0, ""));
        let answer = with_file(SOUND, &["show", "FILE"]);
        assert!(
            answer.out.starts_with("sound 1: Sound\n  hash     "),
            "{}",
            answer.out
        );
        assert!(
            answer
                .out
                .contains("remediation_steps[1].parallel[1] at the same time")
        );
        let answer = with_file(SOUND, &["dry-run", "FILE", "--target", "orders/0"]);
        assert_eq!(answer.code, 0, "{}", answer.out);
        assert!(
            answer.out.contains("argument process = \"orders\""),
            "{}",
            answer.out
        );
        assert!(answer.out.contains("only if check quiet"), "{}", answer.out);
    }

    #[test]
    fn findings_and_mistakes_have_places_and_a_code() {
        let doubtful = SOUND.replace("verification: {check: heap_bytes < 5MB}\n", "");
        let answer = with_file(&doubtful, &["lint", "FILE"]);
        assert_eq!(answer.code, 1);
        assert!(
            answer.out.contains("p.yaml:1:1: verification: "),
            "{}",
            answer.out
        );
        assert!(
            answer.out.contains("[missing-verification]"),
            "{}",
            answer.out
        );
        let wrong = SOUND.replace("version: '1'\n", "");
        let answer = with_file(&wrong, &["lint", "FILE"]);
        assert_eq!(answer.code, 1);
        assert!(
            answer.out.contains("p.yaml:1:1: version is missing"),
            "{}",
            answer.out
        );
        assert_eq!(with_file(SOUND, &["lint", "FILE.none"]).code, 2);
        assert_eq!(with_file(SOUND, &["dry-run", "FILE"]).code, 2);
        assert_eq!(with_file(SOUND, &["mend", "FILE"]).code, 2);
        let answer = with_file(SOUND, &["dry-run", "FILE", "--target", ""]);
        assert_eq!(answer.code, 1);
    }
}
