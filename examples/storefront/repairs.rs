//! Repairs of code: customers meet a bug of the labels that was there all the time, and the healer
//! patches the source that runs, or knows better.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::BoxError;
use crate::conductor::listen;
use crate::crowd::{Counted, Crowd};
use crate::deployment::ServiceName;
use crate::desk;
use crate::http::Call;
use crate::json_log;
use crate::labels::{LabelsSpec, no_python};
use crate::observed::{Incident, Observer};
use crate::releases::owner;
use crate::report::{FaultReport, millis};
use crate::rng::Rng;
use crate::world::{LOOK, World};

/// One request in so many takes the path with the bug.
const RARE: u64 = 250;

/// How many ask, and how long each thinks in between.
const CUSTOMERS: u64 = 4;
const PAUSE: Duration = Duration::from_millis(10);

/// So many must have been served by the patched worker.
const MIN_REQUESTS: usize = 2_000;

/// What is wrong with the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repair {
    /// A case that nobody thought of.
    RarePath,
    /// A check that is right to raise: to hide that is the only idea anybody has.
    Hiding,
}

impl Repair {
    pub(crate) const fn letter(self) -> char {
        match self {
            Self::RarePath => 'i',
            Self::Hiding => 'j',
        }
    }

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::RarePath => "a worker in Python fails in a rare path",
            Self::Hiding => "a patch would only hide an error",
        }
    }

    /// A request that takes the path with the bug.
    const fn failing(self) -> &'static str {
        match self {
            Self::RarePath => "/label/AT/3",
            Self::Hiding => "/label/DE/31",
        }
    }

    /// What the customers of this chapter ask.
    const fn question(self) -> fn(&mut Rng) -> String {
        match self {
            Self::RarePath => |rng| asked(rng, Self::RarePath),
            Self::Hiding => |rng| asked(rng, Self::Hiding),
        }
    }
}

fn asked(rng: &mut Rng, repair: Repair) -> String {
    if rng.below(RARE) == 0 {
        return repair.failing().to_owned();
    }
    let country = if rng.below(4) == 0 { "GL" } else { "DE" };
    format!("/label/{country}/{}", 1 + rng.below(30))
}

/// What was seen of a repair.
#[derive(Debug, Default)]
struct Seen {
    before: Counted,
    /// What those were served who asked after the swap.
    after: Option<Counted>,
    first_after: Option<String>,
    took: Option<Duration>,
}

/// Lets customers in, and watches what becomes of the source; without Python says why not.
pub(crate) async fn watch(
    world: &World,
    observer: &mut Observer,
    repair: Repair,
) -> Result<Result<(FaultReport, Option<Incident>), String>, BoxError> {
    let Some(labels) = &world.deployment.labels else {
        return Ok(Err(no_python()));
    };
    let narrator = &world.narrator;
    narrator.say(format!("({}) {}", repair.letter(), repair.title()));
    let old = labels.source()?;
    let injected_at = json_log::now();
    let seen = match repair {
        Repair::RarePath => until_swapped(world, observer, labels, repair).await?,
        Repair::Hiding => until_refused(world, observer, labels, repair).await?,
    };
    let incident = of_labels(observer, injected_at).cloned();
    let documents = match &incident {
        Some(incident) => desk::healing(world, &incident.id).await?,
        None => Value::Null,
    };
    let document = documents.get(0).cloned().unwrap_or_default();
    let place = world
        .deployment
        .run_dir
        .join(format!("healing-{}.json", repair.letter()));
    fs::write(place, serde_json::to_vec_pretty(&documents)?)?;
    let mut problems = match repair {
        Repair::RarePath => healed_wrongly(world, labels, &seen, &document).await,
        Repair::Hiding => refused_wrongly(&document),
    };
    let is_changed = labels.source()? != old;
    if is_changed != (repair == Repair::RarePath) {
        let how = if is_changed { "was" } else { "was not" };
        problems.push(format!("the source {how} changed"));
    }
    for said in ["tests", "refused"] {
        for line in document[said].as_array().into_iter().flatten() {
            narrator.say(format!("    {said}: {}", line.as_str().unwrap_or_default()));
        }
    }
    let verdict = document["verdict"]["kind"].as_str();
    let verdict = verdict.or(incident.as_ref().and_then(|it| it.verdict.as_deref()));
    let after = seen.after.unwrap_or_default();
    let report = FaultReport {
        root_cause_expected: Some("labels: application_exception".to_owned()),
        verdict: match repair {
            Repair::RarePath => verdict.map(str::to_owned),
            Repair::Hiding => Some("refused".to_owned()).filter(|_| problems.is_empty()),
        },
        recovered_after_ms: seen.took.map(millis),
        requests_failed: seen.before.failed + after.failed,
        requests: Some(seen.before.requests + after.requests),
        healing: Some(document).filter(|it| !it.is_null()),
        healed: problems.is_empty(),
        problems,
        ..FaultReport::of(
            repair.letter(),
            repair.title(),
            injected_at,
            incident.as_ref(),
        )
    };
    narrator.say(format!("    {}", report.summary()));
    Ok(Ok((report, incident)))
}

fn is_of_labels(incident: &Incident) -> bool {
    let labels = ServiceName::Labels.as_str();
    let mut events = incident.events.iter();
    events.any(|event| event.text("service").as_deref() == Some(labels))
}

/// The first incident of the labels since then.
fn of_labels(observer: &Observer, since: Timestamp) -> Option<&Incident> {
    let mut incidents = observer.since(since).into_iter();
    incidents.find(|it| is_of_labels(it))
}

async fn look_again(world: &World, repair: Repair, asking: &Crowd) {
    let Counted { requests, failed } = asking.counted();
    world.narrator.status(format!(
        "({}) {failed} of {requests} requests failed",
        repair.letter()
    ));
    tokio::time::sleep(LOOK).await;
}

fn crowd(world: &World, labels: &LabelsSpec, repair: Repair) -> Crowd {
    Crowd::start::<Value>(
        labels.front,
        repair.question(),
        world.seed,
        CUSTOMERS,
        PAUSE,
    )
}

/// Customers ask until the traffic is with the other worker; others then ask until the incident is
/// closed.
async fn until_swapped(
    world: &World,
    observer: &mut Observer,
    labels: &LabelsSpec,
    repair: Repair,
) -> Result<Seen, BoxError> {
    let begun_at = json_log::now();
    let begun = world.timeline.now();
    let from = owner(&desk::weights(world, ServiceName::Labels).await?);
    let mut seen = Seen::default();
    let mut before = crowd(world, labels, repair);
    let mut after: Option<Crowd> = None;
    while world.timeline.now() < begun + world.pace.roll_out_within {
        listen(world, observer)?;
        if after.is_none() && owner(&desk::weights(world, ServiceName::Labels).await?) != from {
            // Who asks from now on meets the patched worker alone.
            after = Some(crowd(world, labels, repair));
            seen.before = before.stop().await;
            seen.took = Some(world.timeline.now().saturating_sub(begun));
        }
        let incident = of_labels(observer, begun_at);
        let is_closed = incident.is_some_and(|it| it.closed);
        let served = after.as_ref().map_or(0, |crowd| crowd.counted().requests);
        if is_closed && served >= MIN_REQUESTS {
            break;
        }
        look_again(world, repair, after.as_ref().unwrap_or(&before)).await;
    }
    match after {
        Some(mut crowd) => {
            seen.after = Some(crowd.stop().await);
            seen.first_after = crowd.first_failure();
        }
        None => seen.before = before.stop().await,
    }
    listen(world, observer)?;
    Ok(seen)
}

/// Customers ask until the healer has refused what was proposed; people close the incident.
async fn until_refused(
    world: &World,
    observer: &mut Observer,
    labels: &LabelsSpec,
    repair: Repair,
) -> Result<Seen, BoxError> {
    let begun_at = json_log::now();
    let begun = world.timeline.now();
    let mut seen = Seen::default();
    let mut customers = crowd(world, labels, repair);
    while world.timeline.now() < begun + world.pace.roll_out_within {
        listen(world, observer)?;
        let incident = of_labels(observer, begun_at);
        // What was begun is undone first, and be it nothing.
        if incident.is_some_and(Incident::has_ended) {
            break;
        }
        look_again(world, repair, &customers).await;
    }
    seen.took = Some(world.timeline.now().saturating_sub(begun));
    seen.before = customers.stop().await;
    listen(world, observer)?;
    for incident in observer.since(begun_at) {
        if is_of_labels(incident) && !incident.closed {
            let note = "the check is right: customers are told in another way".to_owned();
            desk::close(world, &incident.id, note).await?;
        }
    }
    Ok(seen)
}

/// What is wrong with a heal.
async fn healed_wrongly(
    world: &World,
    labels: &LabelsSpec,
    seen: &Seen,
    document: &Value,
) -> Vec<String> {
    let mut problems = Vec::new();
    if seen.before.failed == 0 {
        problems.push("nobody met the bug".to_owned());
    }
    match seen.after {
        None => problems.push("the worker was not swapped".to_owned()),
        Some(Counted { requests, failed }) => {
            if requests < MIN_REQUESTS {
                problems.push(format!("{requests} requests after the swap"));
            }
            if failed > 0 {
                let first = seen.first_after.clone().unwrap_or_default();
                problems.push(format!(
                    "{failed} failed after the swap, the first with {first}"
                ));
            }
        }
    }
    let asked = world
        .ask(Call::get(labels.front, Repair::RarePath.failing()))
        .await;
    match asked.and_then(|answer| Ok(answer.json::<Value>()?)) {
        Ok(label) if label["cents"] == json!(690) => {}
        Ok(label) => problems.push(format!("the label is {label}, expected one of 690 cents")),
        Err(error) => problems.push(crate::chain(error.as_ref())),
    }
    if document["verdict"]["kind"] != "success" {
        problems.push(format!("the verdict is {}", document["verdict"]["kind"]));
    }
    let diff = document["files"][0]["diff"].as_str().unwrap_or_default();
    if !diff.contains("\n+") {
        problems.push("the document shows no diff".to_owned());
    }
    problems
}

/// What is wrong with a refusal.
fn refused_wrongly(document: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let refused = document["refused"].to_string();
    if !refused.contains("swallowed_error") {
        problems.push(format!(
            "refused because of {refused}, expected swallowed_error"
        ));
    }
    if document["files"]
        .as_array()
        .is_some_and(|files| !files.is_empty())
    {
        problems.push("a patch was handed over".to_owned());
    }
    problems
}

/// The bug is real: the request fails, and one beside it does not.
pub(crate) async fn check(world: &World, repair: Repair) -> Result<(), BoxError> {
    let Some(labels) = &world.deployment.labels else {
        world.narrator.say(format!("    skipped: {}", no_python()));
        return Ok(());
    };
    for (path, works) in [(repair.failing(), false), ("/label/DE/3", true)] {
        let mut python = tokio::process::Command::new(&labels.python);
        python.args(["-B", "serve.py", "--replay", path]);
        let output = python.current_dir(&labels.project).output().await?;
        if output.status.success() != works {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("{path} ended with {}: {said}", output.status).into());
        }
    }
    Ok(())
}
