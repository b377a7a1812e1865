//! From an incident to a run: a diagnosis, the remediator's choice, and the durable run engine.

use std::sync::Arc;
use std::time::Duration;

use homeostasis::SystemClock;
use homeostasis_core::record::{Category, Diagnosis, Hypothesis, Outcome, Plan, PlanStep};
use homeostasis_core::signal::SeriesKey;
use homeostasis_core::stage::{PlanRequest, Remediator, Selection};
use homeostasis_core::testing::RecordedObservations;
use homeostasis_core::testing::remediator::{Crash, RunHarness};
use homeostasis_core::{
    Clock, Confidence, Context, Incident, IncidentId, PlanId, Target, Timestamp,
};
use homeostasis_remediate::PlaybookRemediator;
use homeostasis_remediate::action::ActionRegistry;
use homeostasis_remediate::playbook::{PlaybookPick, PlaybookSet};

use crate::host;

/// An incident at `target`; `hint` is the playbook that a condition asks for.
pub(crate) fn incident(target: &Target, hint: Option<&str>, now: Timestamp) -> Incident {
    let id = IncidentId::from_u128(2);
    let mut plan = Plan::new(PlanId::from_u128(1), id, "x", "x", target.clone());
    plan.steps.push(PlanStep::new("x", "x", target.clone()));
    let mut incident = RunHarness::new(plan, now).incident();
    incident.anomalies[0].playbook_hint = hint.map(str::to_owned);
    incident
}

pub(crate) fn diagnosis(target: &Target, cause: &str) -> Diagnosis {
    Diagnosis {
        hypotheses: vec![Hypothesis {
            target: target.clone(),
            cause: cause.to_owned(),
            category: Category::ApplicationError,
            confidence: Confidence::new(0.9).unwrap(),
            evidence: Vec::new(),
            explanation: "the test broke it".to_owned(),
        }],
        abstained: None,
        chain: None,
    }
}

pub(crate) fn context() -> Context {
    context_of(Arc::new(SystemClock))
}

pub(crate) fn context_of(clock: Arc<dyn Clock>) -> Context {
    Context::new(clock, 1)
        .for_incident(IncidentId::from_u128(2))
        .in_topology(host::topology())
}

/// The same where these were measured of `shop/shop-1` just now.
pub(crate) fn seeing(cx: Context, measured: &[(&str, f64)]) -> Context {
    let mut world = RecordedObservations::new();
    for (metric, value) in measured {
        let key = SeriesKey::new(*metric)
            .with("service", "shop")
            .with("instance", "shop-1");
        world = world.with_point(key, cx.now() - Duration::from_secs(1), *value);
    }
    cx.observing(Arc::new(world))
}

pub(crate) async fn select(
    remediator: &PlaybookRemediator,
    cx: &Context,
    incident: &Incident,
    diagnosis: &Diagnosis,
) -> Selection {
    let request = PlanRequest::new(incident, diagnosis);
    remediator.select(cx, request).await.unwrap()
}

/// A run of a picked playbook that was chosen for the incident it is for, and completed.
pub(crate) struct Healed {
    harness: RunHarness,
    remediator: PlaybookRemediator,
    cx: Context,
}

/// The whole way in real time, for an incident of the playbook's own cause at `shop/shop-1`.
pub(crate) async fn heal(pick: &PlaybookPick, actions: ActionRegistry) -> Healed {
    heal_in(context(), pick, actions).await
}

pub(crate) async fn heal_in(cx: Context, pick: &PlaybookPick, actions: ActionRegistry) -> Healed {
    let (healed, outcome) = attempt_in(cx, pick, actions).await;
    let events = healed.harness.events();
    assert_eq!(outcome, Outcome::Completed, "{events:#?}");
    healed
}

/// The same, whatever the outcome.
pub(crate) async fn attempt_in(
    cx: Context,
    pick: &PlaybookPick,
    actions: ActionRegistry,
) -> (Healed, Outcome) {
    let texts = pick.texts().unwrap_or_else(|error| panic!("{error}"));
    let texts = texts
        .iter()
        .map(|(source, text)| (source.as_str(), text.as_str()));
    let set = PlaybookSet::parse(texts, &actions, &host::checks());
    let set = set.unwrap_or_else(|error| panic!("{error}"));
    let playbook = Arc::clone(set.iter().next().unwrap());
    let remediator = PlaybookRemediator::new(set, actions, host::checks());
    let target: Target = "shop/shop-1".parse().unwrap();
    let (hint, diagnosis) = match &playbook.trigger().cause {
        Some(cause) => (None, diagnosis(&target, cause)),
        None => (Some(playbook.id()), Diagnosis::abstain("a condition asks")),
    };
    let incident = incident(&target, hint, cx.now());
    let mut selection = select(&remediator, &cx, &incident, &diagnosis).await;
    assert_eq!(selection.plans.len(), 1, "{:?}", selection.considered);
    let plan = selection.plans.remove(0);
    let harness = RunHarness::new(plan, cx.now());
    let outcome = harness
        .execute(&remediator, &cx, Crash::Never)
        .await
        .unwrap();
    let healed = Healed {
        harness,
        remediator,
        cx,
    };
    (healed, outcome)
}

impl Healed {
    /// The verdict is that it did not help: the run is taken back.
    pub(crate) async fn take_back(self) {
        self.harness.condemn(self.cx.now());
        assert!(self.harness.wants_undo());
        let undone = self
            .harness
            .undo(&self.remediator, &self.cx, Crash::Never)
            .await;
        assert_eq!(
            undone.unwrap(),
            Outcome::Completed,
            "{:#?}",
            self.harness.events()
        );
    }
}
