//! Redaction of what is journaled, in place.
//!
//! What people read is redacted. What is executed is not: a plan's parameters and a step's captured
//! state decide what happens, and hashes are bound to them. They must hold no secret at all, and
//! [`Plan::secret_parameter`] and [`EventKind::secret_parameter`] say where one does.
//!
//! Every structure is taken apart field by field, so that a new field does not compile until
//! somebody decided about it. Names of services and of plug-ins, ids, times and numbers stay.

use std::borrow::Cow;

use serde_json::Value;

use crate::error::ErrorReport;
use crate::policy::GateRecord;
use crate::port::Redactor;
use crate::record::{
    Anomaly, CausalChain, ChainStep, CheckResult, Criterion, Diagnosis, EventKind, Expectation,
    Expected, Finding, Hypothesis, Inverse, Outcome, Plan, PlanStep, Proof, Resolution, Scenario,
    ScenarioCall, ScenarioStep, StepIntent, StepOutcome, Subject, Verdict,
};
use crate::signal::redact_text;

impl EventKind {
    /// Takes the secrets out of its texts. Redacting twice changes nothing.
    pub fn redact(&mut self, redactor: &dyn Redactor) {
        match self {
            Self::Opened { anomaly, .. } | Self::AnomalyJoined { anomaly, .. } => {
                anomaly.redact(redactor);
            }
            Self::Blamed { report, .. } => report.redact(redactor),
            Self::Diagnosed { diagnosis } => diagnosis.redact(redactor),
            Self::Planned { plans, considered } => {
                for plan in plans {
                    plan.redact(redactor);
                }
                for candidate in considered {
                    redact_text(&mut candidate.why, redactor);
                }
            }
            Self::Gated { record, .. } => {
                let GateRecord {
                    decision: _,
                    answers,
                } = record;
                for answer in answers {
                    redact_text(&mut answer.detail, redactor);
                }
            }
            Self::ApprovalDecided { by, reason, .. }
            | Self::HandOverAnswered { by, reason, .. }
            | Self::RunCancelled { by, reason, .. } => {
                redact_text(by, redactor);
                redact_text(reason, redactor);
            }
            Self::StepEnded { outcome, .. } => match outcome {
                StepOutcome::Done { output } => redact_value("", output, redactor),
                StepOutcome::Failed { report } => report.redact(redactor),
                StepOutcome::Unknown { reason } | StepOutcome::Skipped { reason } => {
                    redact_text(reason, redactor);
                }
            },
            Self::RunEnded { outcome, .. } | Self::UndoEnded { outcome, .. } => {
                outcome.redact(redactor);
            }
            Self::Verified { verdict, .. } => verdict.redact(redactor),
            Self::Escalated { reason }
            | Self::Notified { reason, .. }
            | Self::TriggerFired { reason, .. } => redact_text(reason, redactor),
            Self::Acknowledged { by, note } => {
                redact_text(by, redactor);
                redact_text(note, redactor);
            }
            Self::Closed { resolution } => match resolution {
                Resolution::Healed { .. } | Resolution::Recovered => {}
                Resolution::Manual { by, note } => {
                    redact_text(by, redactor);
                    redact_text(note, redactor);
                }
            },
            Self::EscalationBegun { .. }
            | Self::Woken { .. }
            | Self::RunOpened { .. }
            | Self::RunResumed { .. }
            | Self::StepIntended { .. } => {}
        }
    }

    /// The place of the first secret in what would be executed: a plan's parameters, the captured
    /// state of a step.
    pub fn secret_parameter(&self, redactor: &dyn Redactor) -> Option<String> {
        match self {
            Self::Planned { plans, .. } => plans.iter().find_map(|plan| {
                let place = plan.secret_parameter(redactor)?;
                Some(format!("{}, {place}", plan.id))
            }),
            Self::StepIntended {
                intent: StepIntent {
                    step_idx, captured, ..
                },
                ..
            } => {
                let place = secret_within("", captured, redactor)?;
                Some(format!("state captured for step {}{place}", step_idx + 1))
            }
            _ => None,
        }
    }
}

impl Anomaly {
    /// Takes the secrets out of its texts; the names of detector, target and playbook stay.
    pub fn redact(&mut self, redactor: &dyn Redactor) {
        match &mut self.subject {
            Subject::Series(key) => {
                if let Cow::Owned(redacted) = key.redacted(redactor) {
                    *key = redacted;
                }
            }
            Subject::Logs(text)
            | Subject::Template { text, .. }
            | Subject::Operation(text)
            | Subject::Health(text)
            | Subject::Condition(text) => redact_text(text, redactor),
        }
        if let Expectation::Words(words) = &mut self.expected {
            redact_text(words, redactor);
        }
        redact_text(&mut self.explanation, redactor);
        for contribution in &mut self.contributions {
            redact_text(&mut contribution.feature, redactor);
        }
    }
}

impl ErrorReport {
    /// Takes the secrets out of its message and causes.
    pub fn redact(&mut self, redactor: &dyn Redactor) {
        let Self {
            kind: _,
            message,
            chain,
        } = self;
        redact_text(message, redactor);
        for cause in chain {
            redact_text(cause, redactor);
        }
    }
}

impl Diagnosis {
    fn redact(&mut self, redactor: &dyn Redactor) {
        let Self {
            hypotheses,
            abstained,
            chain,
        } = self;
        for hypothesis in hypotheses {
            let Hypothesis {
                target: _,
                cause,
                category: _,
                confidence: _,
                evidence,
                explanation,
            } = hypothesis;
            redact_text(cause, redactor);
            redact_text(explanation, redactor);
            for finding in evidence {
                finding.redact(redactor);
            }
        }
        if let Some(reason) = abstained {
            redact_text(reason, redactor);
        }
        if let Some(CausalChain { steps, broken }) = chain {
            for step in steps {
                step.redact(redactor);
            }
            if let Some(why) = broken {
                redact_text(why, redactor);
            }
        }
    }
}

impl ChainStep {
    fn redact(&mut self, redactor: &dyn Redactor) {
        let Self {
            place: _,
            target: _,
            what,
            at: _,
            probability: _,
            through: _,
            proofs,
        } = self;
        redact_text(what, redactor);
        for proof in proofs {
            proof.redact(redactor);
        }
    }
}

impl Proof {
    fn redact(&mut self, redactor: &dyn Redactor) {
        let Self {
            kind,
            reference,
            at: _,
            statement,
        } = self;
        for text in [kind, reference, statement] {
            redact_text(text, redactor);
        }
    }
}

impl Finding {
    fn redact(&mut self, redactor: &dyn Redactor) {
        let Self {
            analyzer: _,
            target: _,
            cause,
            category: _,
            role: _,
            log_likelihood_ratio: _,
            onset: _,
            proofs,
            explanation,
        } = self;
        redact_text(cause, redactor);
        redact_text(explanation, redactor);
        for proof in proofs {
            proof.redact(redactor);
        }
    }
}

impl Plan {
    /// Takes the secrets out of what it says of itself; what it does stays as it is.
    ///
    /// It changes the [`hash`](Plan::hash): redact a plan before anybody is bound to it.
    pub fn redact(&mut self, redactor: &dyn Redactor) {
        let Self {
            id: _,
            incident: _,
            remediator: _,
            playbook: _,
            // A name: told apart from those of people who approve.
            author: _,
            ordered_by: _,
            title,
            target: _,
            steps,
            patches: _,
            radius: _,
            require_approval: _,
            notify: _,
            verification: _,
            fitness: _,
        } = self;
        redact_text(title, redactor);
        for PlanStep {
            name,
            action: _,
            target: _,
            args: _,
            effect: _,
            risk: _,
            inverse,
            timeout: _,
            retry: _,
            with_previous: _,
            watches: _,
            pivot: _,
        } in steps
        {
            redact_text(name, redactor);
            match inverse {
                Inverse::Nothing => {}
                Inverse::Captured(text) | Inverse::Irreversible(text) => {
                    redact_text(text, redactor);
                }
            }
        }
    }

    /// The place of the first secret among its parameters; it must not be journaled.
    ///
    /// A parameter may name a secret (an environment variable, a file), but not hold it.
    pub fn secret_parameter(&self, redactor: &dyn Redactor) -> Option<String> {
        self.steps
            .iter()
            .enumerate()
            .find_map(|(i, step)| {
                let mut args = step.args.iter();
                let place = args.find_map(|(name, value)| {
                    let place = secret_within(name, value, redactor)?;
                    Some(format!("/{name}{place}"))
                })?;
                Some(format!("step {}: {place}", i + 1))
            })
            .or_else(|| {
                let phases = &self.verification.phases;
                let criteria = self.verification.criteria.iter().chain(&phases.immediate);
                criteria
                    .filter_map(|criterion| match criterion {
                        Criterion::Functional { scenario } => Some(scenario),
                        _ => None,
                    })
                    .find_map(|scenario| secret_of_scenario(scenario, redactor))
            })
    }
}

impl Outcome {
    fn redact(&mut self, redactor: &dyn Redactor) {
        match self {
            Self::Completed => {}
            Self::Failed {
                step_idx: _,
                report,
            } => report.redact(redactor),
            Self::Unknown {
                step_idx: _,
                reason,
            }
            | Self::Halted { reason } => redact_text(reason, redactor),
        }
    }
}

impl Verdict {
    fn redact(&mut self, redactor: &dyn Redactor) {
        let Self {
            kind: _,
            at: _,
            reason,
            recommendation: _,
            checks,
        } = self;
        redact_text(reason, redactor);
        for CheckResult {
            criterion,
            outcome: _,
            detail,
        } in checks
        {
            redact_text(criterion, redactor);
            redact_text(detail, redactor);
        }
    }
}

/// The place of the first secret in a scenario: in a URL, a body, an argument, an expected answer.
fn secret_of_scenario(scenario: &Scenario, redactor: &dyn Redactor) -> Option<String> {
    if matches!(redactor.text(&scenario.name), Cow::Owned(_)) {
        return Some("the name of a scenario".to_owned());
    }
    scenario.steps.iter().enumerate().find_map(|(i, step)| {
        // By field, so that a new one is not forgotten.
        let ScenarioStep {
            name,
            call,
            expect:
                Expected {
                    status: _,
                    contains,
                    json: expected,
                    within: _,
                },
            timeout: _,
            side_effects: _,
        } = step;
        let is_secret = |text: &str| matches!(redactor.text(text), Cow::Owned(_));
        let place = match call {
            ScenarioCall::Http { url, .. } if is_secret(url) => Some("/url".to_owned()),
            ScenarioCall::Http { json, .. } => json.as_ref().and_then(|json| {
                let place = secret_within("json", json, redactor)?;
                Some(format!("/json{place}"))
            }),
            ScenarioCall::Function { args, .. } => args.iter().find_map(|(name, value)| {
                let place = secret_within(name, value, redactor)?;
                Some(format!("/args/{name}{place}"))
            }),
        };
        let place = place.or_else(|| is_secret(name).then(|| "/name".to_owned()));
        let place = place.or_else(|| {
            let is_secret = contains.as_deref().is_some_and(is_secret);
            is_secret.then(|| "/expect/contains".to_owned())
        });
        let place = place.or_else(|| {
            expected.iter().find_map(|(pointer, value)| {
                let name = pointer.rsplit('/').next().unwrap_or_default();
                let place = secret_within(name, value, redactor)?;
                Some(format!("/expect/json{pointer}{place}"))
            })
        })?;
        Some(format!("step {} of a scenario: {place}", i + 1))
    })
}

/// Takes the secrets out of a JSON value; `name` is what it is called.
fn redact_value(name: &str, value: &mut Value, redactor: &dyn Redactor) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => {
            // A PIN is a number too.
            let text = number.to_string();
            if let Cow::Owned(redacted) = redactor.field(name, &text) {
                *value = Value::String(redacted);
            }
        }
        Value::String(text) => {
            if let Cow::Owned(redacted) = redactor.field(name, text) {
                *text = redacted;
            }
        }
        Value::Array(items) => {
            for item in items {
                redact_value(name, item, redactor);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                redact_value(name, value, redactor);
            }
            // A name that is a secret goes; its value stands under the marker.
            let secret: Vec<_> = fields
                .keys()
                .filter_map(|name| match redactor.text(name) {
                    Cow::Owned(redacted) => Some((name.clone(), redacted)),
                    Cow::Borrowed(_) => None,
                })
                .collect();
            for (name, redacted) in secret {
                if let Some(value) = fields.remove(&name) {
                    fields.insert(redacted, value);
                }
            }
        }
    }
}

/// The JSON pointer of the first secret in `value`; empty if it is the value itself.
fn secret_within(name: &str, value: &Value, redactor: &dyn Redactor) -> Option<String> {
    match value {
        Value::String(text) => {
            matches!(redactor.field(name, text), Cow::Owned(_)).then(String::new)
        }
        Value::Array(items) => items.iter().enumerate().find_map(|(i, item)| {
            let place = secret_within(name, item, redactor)?;
            Some(format!("/{i}{place}"))
        }),
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            if matches!(redactor.text(name), Cow::Owned(_)) {
                return Some("/(a secret as a name)".to_owned());
            }
            let place = secret_within(name, value, redactor)?;
            Some(format!("/{name}{place}"))
        }),
        // A PIN is a number too.
        Value::Number(number) => {
            matches!(redactor.field(name, &number.to_string()), Cow::Owned(_)).then(String::new)
        }
        Value::Null | Value::Bool(_) => None,
    }
}

#[cfg(test)]
mod tests;
