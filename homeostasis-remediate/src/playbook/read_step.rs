//! Reading the steps of a playbook: one after another, or several at once.

use std::time::Duration;

use homeostasis_core::document::{Fields, duration, integer, list, nested, non_empty_string, raw};
use homeostasis_core::record::Retry;
use homeostasis_core::{Target, Violation};
use serde_json::{Map, Value};

use super::definition::PlaybookStep;
use super::read::{DAY, HOUR, SECOND, target};
use crate::action::{ActionRegistry, captures_in};

/// Steps a playbook may have, those at once counted each.
pub(super) const MAX_STEPS: usize = 64;

/// Steps that may begin at once.
pub(super) const MAX_PARALLEL: usize = 16;

/// Fields of a step that are ours; every other one is an argument of its action.
const STEP_FIELDS: [&str; 7] = [
    "step",
    "name",
    "action",
    "target",
    "timeout",
    "retry",
    "expected_recovery",
];

/// The field in place of a step that holds several.
const PARALLEL: &str = "parallel";

/// One entry of the list: a step, or several at once.
struct Entry {
    number: Option<u64>,
    steps: Vec<PlaybookStep>,
}

/// Reads `remediation_steps`; `max_retries` is what `safety` allows, and `has_cause` whether the
/// trigger names one.
pub(super) fn steps(
    d: &mut Fields<'_>,
    actions: &ActionRegistry,
    max_retries: Option<u32>,
    has_cause: bool,
) -> Option<Vec<PlaybookStep>> {
    let entries = d.required(
        "remediation_steps",
        list(nested(|d| entry(d, actions, max_retries)))
            .at_least(1)
            .at_most(MAX_STEPS),
    )?;
    check_numbers(d, &entries);
    let steps: Vec<_> = entries.into_iter().flat_map(|entry| entry.steps).collect();
    if steps.len() > MAX_STEPS {
        d.reject(
            "remediation_steps",
            format!("at most {MAX_STEPS} steps, those at once counted each"),
        );
    }
    if !has_cause {
        check_captures(d, &steps);
    }
    Some(steps)
}

fn entry(d: &mut Fields<'_>, actions: &ActionRegistry, max_retries: Option<u32>) -> Option<Entry> {
    let number = d.optional("step", integer(1..=64_u64));
    if !d.has(PARALLEL) {
        let steps = vec![step(d, actions, max_retries)?];
        return Some(Entry {
            number: number?,
            steps,
        });
    }
    let mut steps = d.required(
        PARALLEL,
        list(nested(|d| member(d, actions, max_retries)))
            .at_least(2)
            .at_most(MAX_PARALLEL),
    )?;
    for step in steps.iter_mut().skip(1) {
        step.with_previous = true;
    }
    Some(Entry {
        number: number?,
        steps,
    })
}

fn member(
    d: &mut Fields<'_>,
    actions: &ActionRegistry,
    max_retries: Option<u32>,
) -> Option<PlaybookStep> {
    for (name, expected) in [
        ("step", "no number: steps at once have no order"),
        (PARALLEL, "a step; steps at once are not nested"),
    ] {
        if d.has(name) {
            d.reject(name, expected);
            d.ignore_rest();
            return None;
        }
    }
    step(d, actions, max_retries)
}

/// The numbers of the steps must count from 1: a gap is usually a step that got lost.
fn check_numbers(d: &mut Fields<'_>, entries: &[Entry]) {
    let wrong: Vec<_> = entries
        .iter()
        .enumerate()
        .filter(|(idx, entry)| entry.number.is_some_and(|number| number != *idx as u64 + 1))
        .map(|(idx, _)| idx)
        .collect();
    let Some(items) = d
        .peek("remediation_steps")
        .and_then(|node| node.as_sequence())
    else {
        return;
    };
    let violations: Vec<_> = wrong
        .into_iter()
        .filter_map(|idx| {
            let number = items.get(idx)?.as_mapping()?.get("step")?;
            let path = format!("remediation_steps[{idx}].step");
            Some(number.violation(
                path,
                format!("{}, as steps run in the order they are written", idx + 1),
            ))
        })
        .collect();
    d.merge(violations);
}

/// What was captured of one cause means nothing for another: who uses it says which cause it waits for.
fn check_captures(d: &mut Fields<'_>, steps: &[PlaybookStep]) {
    let used = steps.iter().find_map(|step| {
        let args = Value::Object(step.args.clone());
        let (name, _) = captures_in(&args, "").into_iter().next()?;
        Some((&step.path, name))
    });
    if let Some((path, name)) = used {
        let expected = format!("a `cause` in it, as {path} takes `${{cause.capture.{name}}}`");
        d.reject("trigger", expected);
    }
}

fn step(
    d: &mut Fields<'_>,
    actions: &ActionRegistry,
    max_retries: Option<u32>,
) -> Option<PlaybookStep> {
    let action = d.required("action", non_empty_string());
    let name = d.optional("name", non_empty_string());
    let target = d.optional("target", target());
    let is_template = |target: &Target| target.to_string().contains("${");
    if target.iter().flatten().any(is_template) {
        d.reject(
            "target",
            "a service by its name; placeholders stand in parameters only",
        );
    }
    let known = action.as_deref().and_then(|action| actions.get(action));
    if action.is_some() && known.is_none() {
        let names: Vec<_> = actions.names().map(|name| format!("`{name}`")).collect();
        d.reject(
            "action",
            if names.is_empty() {
                "a registered action; none is registered".to_owned()
            } else {
                format!("one of {}", names.join(", "))
            },
        );
    }
    let spec = known.map(|action| action.spec());
    let (default_timeout, max_timeout) = spec.map_or((30 * SECOND, DAY), |spec| {
        (spec.default_timeout, spec.max_timeout.min(DAY))
    });
    let timeout = d.default(
        "timeout",
        duration(Duration::from_millis(1)..=max_timeout),
        default_timeout,
    );
    let default_retry = Retry {
        attempts: max_retries.map_or(1, |retries| retries + 1),
        ..Retry::default()
    };
    let retry = d.default("retry", nested(retry), default_retry);
    if let (Some(retry), Some(max_retries)) = (&retry, max_retries)
        && retry.attempts > max_retries + 1
    {
        let expected = format!(
            "at most {} attempts, as `safety.max_retries` says",
            max_retries + 1
        );
        d.reject("retry", expected);
    }
    let expected_recovery = d.optional("expected_recovery", raw());
    let args = arguments(d);
    if let Some(action) = known {
        let mut problems = action.spec().problems(&args, true);
        if problems.is_empty() {
            problems = action.check(&args);
        }
        let violations: Vec<_> = problems
            .into_iter()
            .map(|problem| place(d, &problem.pointer, problem.expected))
            .collect();
        d.merge(violations);
    }
    let action = action?;
    Some(PlaybookStep {
        path: d.path().to_owned(),
        with_previous: false,
        name: name?.unwrap_or_else(|| action.replace('_', " ")),
        action,
        target: target?,
        args,
        timeout: timeout?,
        retry: retry?,
        expected_recovery: expected_recovery?.map(|raw| match raw.to_json() {
            Value::String(text) => text,
            other => other.to_string(),
        }),
    })
}

/// The fields that are not ours, as the action's arguments.
fn arguments(d: &mut Fields<'_>) -> Map<String, Value> {
    d.ignore_rest();
    let fields = d.node().as_mapping();
    fields
        .into_iter()
        .flatten()
        .filter(|entry| !STEP_FIELDS.contains(&entry.key.as_str()))
        .map(|entry| (entry.key.clone(), entry.value.to_json()))
        .collect()
}

/// A violation at a JSON pointer below the step.
fn place(d: &Fields<'_>, pointer: &str, expected: String) -> Violation {
    let mut path = d.path().to_owned();
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        path = if token.chars().all(|c| c.is_ascii_digit()) && !token.is_empty() {
            format!("{path}[{token}]")
        } else {
            format!("{path}.{token}")
        };
    }
    if let Some(node) = d.node().pointer(pointer) {
        return node.violation(path, expected);
    }
    let span = d.node().span();
    let missing = Violation::new(path, "", expected).at(span.line, span.column);
    match d.node().source() {
        Some(source) => missing.in_source(source),
        None => missing,
    }
}

fn retry(d: &mut Fields<'_>) -> Option<Retry> {
    let default = Retry::default();
    let attempts = d.default("attempts", integer(1..=20_u32), 3);
    let backoff = d.default("backoff", duration(Duration::ZERO..=HOUR), default.backoff);
    let max_backoff = d.default(
        "max_backoff",
        duration(Duration::ZERO..=HOUR),
        default.max_backoff,
    );
    if let (Some(backoff), Some(max_backoff)) = (backoff, max_backoff)
        && backoff > max_backoff
    {
        d.reject("backoff", "at most `max_backoff`");
    }
    Some(Retry {
        attempts: attempts?,
        backoff: backoff?,
        max_backoff: max_backoff?,
    })
}
