//! `apply_patch`: test the candidates, and hand over the first that passes.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::stage::PatchCheck;
use homeostasis_core::{Context, Digest, ErrorKind, IdempotencyKey, async_trait, timeout};
use homeostasis_patch::{ChangeSet, HandOver, HandOverError, Receipt};
use homeostasis_remediate::action::{
    Action, ActionCall, ActionError, ActionSpec, MAX_OUTPUT_BYTES, Param, ParamKind, ProbeAnswer,
};
use serde_json::{Map, Value, json};

/// The name of [`ApplyPatch`].
pub(super) const APPLY_PATCH: &str = "apply_patch";

/// What is left of a step's time for handing over when the checks have used theirs up.
pub(super) const HAND_OVER_TIME: Duration = Duration::from_secs(60);

/// How many notes of checks the journal keeps of a patch.
const MAX_NOTES: usize = 64;

/// How much of a refusal is said when no candidate passed, in bytes.
const MAX_REASON: usize = 1024;

/// How many undos that failed on the way are remembered.
const MAX_UNDOS: usize = 64;

/// Tests the candidates of a plan in order and hands over the first that passes.
#[derive(Debug)]
pub(super) struct ApplyPatch {
    spec: ActionSpec,
    root: PathBuf,
    way: Arc<dyn HandOver>,
    checks: Vec<Arc<dyn PatchCheck>>,
    /// What is done after the files were put back.
    then: Vec<(Arc<dyn Action>, Map<String, Value>)>,
    /// How much of it was done by undos that then failed, by their keys.
    n_followed: Mutex<BTreeMap<IdempotencyKey, usize>>,
}

/// What became of one candidate.
enum Fate {
    HandedOver(Receipt, Vec<String>),
    Refused(String),
}

impl ApplyPatch {
    pub(super) fn new(
        root: PathBuf,
        way: Arc<dyn HandOver>,
        checks: Vec<Arc<dyn PatchCheck>>,
        then: Vec<(Arc<dyn Action>, Map<String, Value>)>,
    ) -> Self {
        // A proposal is for people to answer, and stays.
        let inverse = if way.is_live() {
            Inverse::Captured("the files as they were, kept by the hand-over".to_owned())
        } else {
            Inverse::Nothing
        };
        let list = ParamKind::List(Box::new(ParamKind::Any));
        let proposals = Param::required("proposals", list, "the candidates, best first");
        let spec = ActionSpec::new("test patches and hand over the first that passes")
            .with_params([proposals])
            .with_effect(EffectClass::Probeable)
            .with_risk(RiskLevel::High)
            .with_inverse(inverse);
        Self {
            spec,
            root,
            way,
            checks,
            then,
            n_followed: Mutex::default(),
        }
    }

    /// Does something with the way, which blocks.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn HandOver) -> Result<T, HandOverError> + Send + 'static,
    ) -> Result<T, HandOverError> {
        let way = Arc::clone(&self.way);
        let worker = tokio::task::spawn_blocking(move || work(&*way));
        worker.await.unwrap_or_else(|gone| {
            Err(HandOverError::Io {
                path: self.way.name().to_owned(),
                doing: "handing over",
                source: io::Error::other(gone),
            })
        })
    }

    async fn try_one(
        &self,
        cx: &Context,
        call: &ActionCall<'_>,
        mut proposal: ChangeSet,
    ) -> Result<Fate, ActionError> {
        for check in &self.checks {
            let name = check.name();
            let left = call.deadline.since(cx.now()).saturating_sub(HAND_OVER_TIME);
            let asked = check.check(cx, &proposal.patches, &self.root);
            let Ok(answer) = timeout(&**cx.clock(), left, asked).await else {
                let late = format!("the time for checks was over during `{name}`");
                return Err(ActionError::not_begun(
                    APPLY_PATCH,
                    ErrorKind::Permanent,
                    late,
                ));
            };
            match answer {
                Ok(report) => {
                    if let Some(reason) = report.refused {
                        return Ok(Fate::Refused(format!("{name}: {reason}")));
                    }
                    proposal.tests.push(format!("passed {name}"));
                    let notes = report.notes.into_iter();
                    proposal
                        .tests
                        .extend(notes.map(|note| format!("{name}: {note}")));
                }
                Err(error)
                    if error.kind().is_retryable() || error.kind() == ErrorKind::Cancelled =>
                {
                    return Err(not_begun(&format!("`{name}`"), error.kind(), error));
                }
                Err(error) => {
                    let why = error.report();
                    return Ok(Fate::Refused(format!("{name} gave no answer: {why}")));
                }
            }
        }
        let tests = proposal.tests.clone();
        let handed_over = self.blocking(move |way| way.hand_over(&proposal, proposal.hash()));
        match handed_over.await {
            Ok(receipt) => Ok(Fate::HandedOver(receipt, tests)),
            Err(error @ HandOverError::Unsettled { .. }) => Err(ActionError::Undecided {
                reason: error.to_string(),
            }),
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Denied) => {
                Ok(Fate::Refused(error.to_string()))
            }
            // All or nothing is what the way promises, but it may have been cut off.
            Err(error) => Err(not_begun("handing over", error.kind(), error).begun()),
        }
    }

    /// Does what follows a removal, each once for an undo that is tried again; one that was killed
    /// begins anew.
    async fn follow_removal(&self, cx: &Context, call: &ActionCall<'_>) -> Result<(), ActionError> {
        let done = |key| *locked(&self.n_followed).get(key).unwrap_or(&0);
        for (idx, (action, args)) in self.then.iter().enumerate().skip(done(call.key)) {
            let target = action.touches(call.target, args);
            // Keys of their own, or a target that knows keys would take the second for the first.
            let key = call.key.part(idx);
            let again = ActionCall::new(&target, args, &key)
                .with_attempt(call.attempt)
                .with_deadline(call.deadline)
                .with_token(call.token);
            action.perform(cx, &again).await?;
            let mut n_followed = locked(&self.n_followed);
            if n_followed.len() >= MAX_UNDOS {
                n_followed.pop_first();
            }
            n_followed.insert(call.key.clone(), idx + 1);
        }
        locked(&self.n_followed).remove(call.key);
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A candidate that was not handed over, and why.
struct Refused {
    hash: Digest,
    why: String,
}

/// What the step leaves in the journal. What was seen is shortened until all of it fits into what the
/// journal keeps of a step: the receipt is never lost.
fn output(receipt: &Receipt, tests: &[String], refused: &[Refused]) -> Value {
    let made = |limit: usize| {
        let mut kept: Vec<String> = tests
            .iter()
            .take(MAX_NOTES)
            .map(|note| shortened(note, limit))
            .collect();
        if tests.len() > MAX_NOTES {
            kept.push(format!("{} more are not kept", tests.len() - MAX_NOTES));
        }
        let refused = refused
            .iter()
            .map(|it| json!({ "hash": it.hash, "why": shortened(&it.why, limit) }));
        let refused: Vec<_> = refused.collect();
        json!({ "handed_over": receipt, "tests": kept, "refused": refused })
    };
    let limits = [4096, 1024, 256, 64];
    let mut sizes = limits.into_iter().map(made);
    let fits = |output: &Value| output.to_string().len() <= MAX_OUTPUT_BYTES;
    let least =
        || json!({ "handed_over": receipt, "tests": ["too much to be kept"], "refused": [] });
    sizes.find(fits).unwrap_or_else(least)
}

/// The beginning of `text`, of `limit` bytes at most, and how much is left out.
fn shortened(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let at_char = |at: &usize| text.is_char_boundary(*at);
    let kept = (0..=limit).rev().find(at_char).unwrap_or(0);
    format!("{} … ({} bytes more)", &text[..kept], text.len() - kept)
}

fn not_begun(
    what: &str,
    kind: ErrorKind,
    error: impl Error + Send + Sync + 'static,
) -> ActionError {
    ActionError::not_begun(what, kind, error)
}

/// The candidates of a step.
pub(super) fn proposals(args: &Map<String, Value>) -> Result<Vec<ChangeSet>, ActionError> {
    let listed = args.get("proposals").cloned().unwrap_or_default();
    serde_json::from_value(listed).map_err(|error| {
        ActionError::argument("proposals", &format!("a list of proposals ({error})"))
    })
}

#[async_trait]
impl Action for ApplyPatch {
    fn name(&self) -> &str {
        APPLY_PATCH
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    async fn perform(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let mut refused = Vec::new();
        let mut reasons = Vec::new();
        for proposal in proposals(call.args)? {
            let (hash, what) = (proposal.hash(), proposal.subject());
            match self.try_one(cx, call, proposal).await? {
                Fate::HandedOver(receipt, tests) => {
                    return Ok(output(&receipt, &tests, &refused));
                }
                Fate::Refused(why) => {
                    reasons.push(format!("{what}: {}", shortened(&why, MAX_REASON)));
                    refused.push(Refused { hash, why });
                }
            }
        }
        Err(ActionError::Denied {
            reason: format!("no candidate passed: {}", reasons.join("; ")),
        })
    }

    async fn probe(&self, _: &Context, call: &ActionCall<'_>) -> ProbeAnswer {
        let candidates = match proposals(call.args) {
            Ok(candidates) => candidates,
            Err(error) => return ProbeAnswer::CannotTell(error.to_string()),
        };
        for proposal in candidates {
            match self.blocking(move |way| way.find(&proposal)).await {
                Ok(None) => {}
                Ok(Some(receipt)) => {
                    let tests = ["passed all checks before the process ended".to_owned()];
                    return ProbeAnswer::Happened(output(&receipt, &tests, &[]));
                }
                Err(error) => return ProbeAnswer::CannotTell(error.to_string()),
            }
        }
        ProbeAnswer::DidNot
    }

    async fn undo(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let mut taken_back = Vec::new();
        for proposal in proposals(call.args)? {
            let hash = proposal.hash();
            let taken = self.blocking(move |way| way.take_back(&proposal)).await;
            match taken {
                Ok(true) => taken_back.push(hash),
                Ok(false) => {}
                Err(error) => {
                    return Err(not_begun("taking a patch back", error.kind(), error).begun());
                }
            }
        }
        // Also if it was taken back before: the process may have ended in between.
        self.follow_removal(cx, call).await?;
        Ok(json!({ "taken_back": taken_back }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_kept_whatever_else_there_is_to_say() {
        let receipt = json!({
            "way": "live_tree",
            "place": "sessions/1",
            "hash": Digest::of_bytes(b"x"),
        });
        let receipt: Receipt = serde_json::from_value(receipt).unwrap();
        let refused = |why: &str| -> Vec<Refused> {
            let one = |_| Refused {
                hash: Digest::of_bytes(b"y"),
                why: why.to_owned(),
            };
            (0..20).map(one).collect()
        };
        let long = "é".repeat(100_000);
        let control = "\u{1}".repeat(100_000);
        for text in ["short", &long, &control] {
            for n_tests in [0, 1, 5000] {
                let tests = vec![text.to_owned(); n_tests];
                let made = output(&receipt, &tests, &refused(text));
                assert!(made.to_string().len() <= MAX_OUTPUT_BYTES);
                let kept: Receipt = serde_json::from_value(made["handed_over"].clone()).unwrap();
                assert_eq!(kept, receipt);
                assert!(n_tests == 0 || made["tests"][0].is_string());
            }
        }
        let said = output(&receipt, &[long], &[])["tests"][0].to_string();
        assert!(
            said.contains("é … (") && said.contains(" bytes more)"),
            "{}",
            said.len()
        );
        let many = output(&receipt, &vec!["t".to_owned(); 65], &[]);
        assert_eq!(many["tests"][64], "1 more are not kept");
    }
}
