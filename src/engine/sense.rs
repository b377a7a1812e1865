//! Sensing: intake to detectors to incidents, turn by turn.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use homeostasis_core::record::{Anomaly, EventKind};
use homeostasis_core::signal::{Interest, SignalSink};
use homeostasis_core::stage::Detector;
use homeostasis_core::{ErrorKind, ErrorReport, Timestamp};
use tokio::sync::{mpsc, oneshot};

use crate::engine::board::Route;
use crate::engine::gatekeeper::seen_counter;
use crate::engine::guard;
use crate::engine::heal::Heal;
use crate::engine::intake::Batch;
use crate::engine::journal::{IncidentJournal, JournalError, describe};
use crate::engine::models::Ask;
use crate::engine::refine::refine;
use crate::engine::shared::Shared;
use crate::engine::triage::triage;
use crate::engine::watchman::SwitchWatch;

/// A detector that misbehaved rests at first this long, then twice as long each time.
const FIRST_REST: Duration = Duration::from_secs(1);

/// … but never longer than this.
const LONGEST_REST: Duration = Duration::from_secs(300);

/// Misdeeds this recent are named in a new incident.
const BLAME_WINDOW: Duration = Duration::from_secs(600);

/// A heal that panics is begun again this often.
const MAX_LIVES: u32 = 3;

/// Occurrences of a fingerprint are counted over this long.
pub(crate) const HISTORY_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// One detector on a task of its own.
#[derive(Debug)]
struct Worker {
    name: String,
    jobs: mpsc::Sender<Job>,
    /// The answer that is still owed: the detector blocks its thread.
    owed: Option<oneshot::Receiver<Answer>>,
    rests_until: Option<Timestamp>,
    rest: Duration,
}

type Answer = Result<Vec<Anomaly>, ErrorReport>;

#[derive(Debug)]
struct Job {
    batch: Arc<Batch>,
    reply: oneshot::Sender<Answer>,
}

/// Looks at signals until the engine shuts down. Where models are kept, `asked` has one receiver
/// for each detector, and none otherwise.
pub(crate) async fn run(
    shared: Arc<Shared>,
    detectors: Vec<Box<dyn Detector>>,
    asked: Vec<mpsc::Receiver<Ask>>,
) {
    let mut asked = asked.into_iter();
    let mut workers: Vec<_> = detectors
        .into_iter()
        .map(|detector| Worker::start(&shared, detector, asked.next()))
        .collect();
    let mut switch = SwitchWatch::default();
    loop {
        switch.look(&shared);
        let now = shared.now();
        let mut batch = shared.intake.take(now);
        refine(&shared, &mut batch).await;
        let batch = Arc::new(batch);
        shared.window.add(&batch, now);
        #[cfg(feature = "signals")]
        for report in &batch.health {
            shared.health_board.record(report);
        }
        let n_logs: u64 = batch.logs.iter().map(|log| u64::from(log.weight)).sum();
        let n_records =
            n_logs + (batch.spans.len() + batch.changes.len() + batch.health.len()) as u64;
        shared.vitals.turn(now, batch.samples.len(), n_records);
        let mut anomalies = Vec::new();
        for (worker, answer) in ask_all(&shared, &mut workers, &batch).await {
            match answer {
                Ok(found) => anomalies.extend(found),
                Err(report) => blame_detector(&shared, &worker, report).await,
            }
        }
        settle_doubts(&shared).await;
        // While an opening is in doubt, the same anomaly would open a second incident.
        if shared.doubtful().is_empty() {
            for anomaly in anomalies {
                take_in(&shared, anomaly).await;
            }
        }
        // Afterwards: what an incident was opened for is known to it too.
        shared.board().hear(&batch.health, shared.now());
        // A queue that fills faster than it is emptied is emptied without a pause.
        let busy = shared.intake.depth() > shared.settings.sample_queue / 2;
        let pause = if busy {
            Duration::ZERO
        } else {
            shared.settings.tick
        };
        if !shared.pause(pause).await {
            return;
        }
    }
}

impl Worker {
    fn start(
        shared: &Arc<Shared>,
        detector: Box<dyn Detector>,
        asked: Option<mpsc::Receiver<Ask>>,
    ) -> Self {
        let (jobs, queue) = mpsc::channel(1);
        let name = detector.name().to_owned();
        shared
            .tasks
            .spawn(work(Arc::clone(shared), detector, queue, asked));
        Self {
            name,
            jobs,
            owed: None,
            rests_until: None,
            rest: FIRST_REST,
        }
    }

    /// Sends the batch unless the detector rests or still owes an answer.
    fn send(&mut self, batch: &Arc<Batch>, now: Timestamp) -> Option<oneshot::Receiver<Answer>> {
        if let Some(owed) = &mut self.owed {
            match owed.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => return None,
                // Late answers are about a past that was already judged without them.
                _ => self.owed = None,
            }
        }
        if self.rests_until.is_some_and(|until| until > now) {
            return None;
        }
        let (reply, answer) = oneshot::channel();
        self.jobs
            .try_send(Job {
                batch: Arc::clone(batch),
                reply,
            })
            .ok()?;
        Some(answer)
    }

    fn misbehaved(&mut self, now: Timestamp) {
        self.rests_until = Some(now + self.rest);
        self.rest = (self.rest * 2).min(LONGEST_REST);
    }
}

/// The detector's own task: one job after another, each within its deadline, and its model between
/// them if it is asked for.
async fn work(
    shared: Arc<Shared>,
    mut detector: Box<dyn Detector>,
    mut jobs: mpsc::Receiver<Job>,
    asked: Option<mpsc::Receiver<Ask>>,
) {
    // Without anybody to ask.
    let mut asked = asked.unwrap_or_else(|| mpsc::channel(1).1);
    let interest = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| detector.interest()));
    let interest = interest.unwrap_or_else(|_| {
        let report =
            ErrorReport::message(ErrorKind::Permanent, "panicked when asked what it wants");
        shared.blame("detector", detector.name(), &report);
        Interest::all()
    });
    let mut is_sound = true;
    loop {
        let job = tokio::select! {
            biased;
            () = shared.cancellation.cancelled() => break,
            job = jobs.recv() => job,
            Some(ask) = asked.recv() => {
                ask.answer(&*detector, is_sound);
                continue;
            }
        };
        let Some(job) = job else { break };
        let answer = detect(&shared, detector.as_mut(), interest, &job.batch).await;
        // What panicked or was cut short may be half done.
        is_sound = answer.is_ok();
        // Nobody waits any more if the answer comes too late.
        let _ = job.reply.send(answer);
    }
    // Nobody waits for what is not done any more.
    drop(jobs);
    // What it knows at the end is stored too.
    while let Some(ask) = asked.recv().await {
        ask.answer(&*detector, is_sound);
    }
}

async fn detect(
    shared: &Shared,
    detector: &mut dyn Detector,
    interest: Interest,
    batch: &Batch,
) -> Answer {
    let limit = shared.settings.detect_deadline;
    let cx = shared.context(None, limit);
    let signals = batch.as_signals(shared.intake.catalog()).filtered(interest);
    let call = async {
        detector
            .detect(&cx, signals)
            .await
            .map_err(|error| error.report())
    };
    guard::call(&**shared.clock(), limit, call).await
}

/// Gives every detector the batch, and waits for the answers until the deadline.
async fn ask_all(
    shared: &Shared,
    workers: &mut [Worker],
    batch: &Arc<Batch>,
) -> Vec<(String, Answer)> {
    let now = shared.now();
    // The margin is for detectors that block: their own deadline cannot fire.
    let limit = shared.settings.detect_deadline + Duration::from_millis(100);
    let asked: Vec<_> = workers
        .iter_mut()
        .filter_map(|worker| worker.send(batch, now).map(|answer| (worker, answer)))
        .collect();
    let mut answers = Vec::new();
    for (worker, mut answer) in asked {
        let left = (now + limit).since(shared.now());
        let waited = async { Ok((&mut answer).await) };
        let received = guard::call(&**shared.clock(), left, waited).await;
        let checked = match received {
            Ok(Ok(answer)) => answer.and_then(|found| admissible(shared, found)),
            Ok(Err(_)) => Err(ErrorReport::message(ErrorKind::Cancelled, "its task ended")),
            Err(_) => {
                worker.owed = Some(answer);
                let message = format!("blocked its thread for more than {limit:?}");
                Err(ErrorReport::message(ErrorKind::Timeout, message))
            }
        };
        // At the end tasks go, and calls are cut short: that is nobody's fault.
        if checked.is_err() && shared.cancellation.is_cancelled() {
            continue;
        }
        shared.vitals.skips(&worker.name, checked.is_err());
        match &checked {
            Ok(_) => worker.rest = FIRST_REST,
            Err(_) => worker.misbehaved(shared.now()),
        }
        answers.push((worker.name.clone(), checked));
    }
    answers
}

/// The post-conditions of a detector's answer.
fn admissible(shared: &Shared, mut found: Vec<Anomaly>) -> Answer {
    let max = shared.settings.max_anomalies;
    if found.len() > max {
        shared.vitals.dropped_anomalies(found.len());
        let message = format!(
            "flooded: {} anomalies in one turn, expected at most {max}",
            found.len()
        );
        return Err(ErrorReport::message(ErrorKind::Permanent, message));
    }
    if let Some(broken) = found.iter().find_map(Anomaly::violation) {
        let message = format!("broke its post-condition: {broken}");
        return Err(ErrorReport::message(ErrorKind::Permanent, message));
    }
    // Before anything is compared with what the journal holds.
    for anomaly in &mut found {
        anomaly.redact(&*shared.journal.redactor);
    }
    Ok(found)
}

/// Names a detector in the engine's health and in every open incident that does not name it yet.
async fn blame_detector(shared: &Shared, name: &str, report: ErrorReport) {
    shared.blame("detector", name, &report);
    let open: Vec<_> = shared.journals().values().map(Arc::clone).collect();
    for journal in open {
        let incident = journal.incident().await;
        let named = incident
            .blamed
            .iter()
            .any(|(stage, plugin)| stage == "detector" && plugin == name);
        if !named && !incident.is_closed() {
            let kind = blamed(name, report.clone());
            note_failure(shared, journal.append(vec![kind]).await);
        }
    }
}

fn blamed(name: &str, report: ErrorReport) -> EventKind {
    EventKind::Blamed {
        stage: "detector".to_owned(),
        plugin: name.to_owned(),
        report,
    }
}

/// Puts an anomaly where it belongs.
async fn take_in(shared: &Arc<Shared>, anomaly: Anomaly) {
    shared.vitals.anomaly();
    let now = shared.now();
    let route = shared
        .board()
        .route(&anomaly, &shared.topology, shared.grouping(), now);
    match route {
        Route::Duplicate(_) | Route::Aftershock => {}
        Route::Full | Route::Crowded(_) => shared.vitals.dropped_anomalies(1),
        Route::Join(id) => {
            let Some(journal) = shared.journal_of(id) else {
                return;
            };
            let incident = journal.incident().await;
            let mut anomalies = incident.anomalies.clone();
            anomalies.push(anomaly.clone());
            // How often the same was seen is not asked again.
            let seen_before = incident.score.map_or(0, |score| score.seen_before());
            let (score, radius) = triage(&anomalies, &shared.topology, seen_before, now);
            let severity = score.severity.min(incident.severity);
            // A milder score is not why the incident stays as severe as it was.
            let score = (score.severity <= incident.severity).then_some(score);
            let fingerprint = anomaly.fingerprint();
            let kind = EventKind::AnomalyJoined {
                anomaly: Box::new(anomaly),
                severity,
                radius,
                score,
            };
            let joined = journal.append(vec![kind]).await;
            if joined.is_err() {
                shared.board().forget(id, fingerprint);
            }
            note_failure(shared, joined);
        }
        Route::Open => {
            let opened = open(shared, anomaly, now).await;
            note_failure(shared, opened);
        }
    }
}

async fn open(shared: &Arc<Shared>, anomaly: Anomaly, now: Timestamp) -> Result<(), JournalError> {
    let store = &shared.journal.store;
    let seen = seen_counter(anomaly.fingerprint());
    let seen_before = store.hits(&seen, now - HISTORY_WINDOW).await?;
    let (score, radius) = triage(
        std::slice::from_ref(&anomaly),
        &shared.topology,
        seen_before,
        now,
    );
    let tenant = shared.tenant.clone();
    let mut kinds = vec![EventKind::Opened {
        tenant,
        anomaly: Box::new(anomaly),
        severity: score.severity,
        radius,
        score: Some(score),
    }];
    let recent = shared.vitals.blames_since(now - BLAME_WINDOW);
    kinds.extend(
        recent
            .into_iter()
            .filter(|blame| blame.stage == "detector")
            .map(|blame| blamed(&blame.plugin, blame.report)),
    );
    let id = shared.new_incident_id();
    match IncidentJournal::open(shared.journal.clone(), id, kinds, Some(seen)).await {
        Ok(journal) => {
            start_heal(shared, Arc::new(journal)).await;
            Ok(())
        }
        Err(error) => {
            // It may be durable all the same: then it must be found and healed, not opened twice.
            shared.doubtful().push(id);
            Err(error)
        }
    }
}

/// Looks whether incidents whose opening failed are durable after all, and takes them up.
async fn settle_doubts(shared: &Arc<Shared>) {
    let doubtful = std::mem::take(&mut *shared.doubtful());
    for id in doubtful {
        match IncidentJournal::resume(shared.journal.clone(), id).await {
            Ok(journal) => start_heal(shared, Arc::new(journal)).await,
            Err(JournalError::Unknown(_)) => {}
            Err(_) => shared.doubtful().push(id),
        }
    }
}

/// Starts the task that heals an incident.
pub(crate) async fn start_heal(shared: &Arc<Shared>, journal: Arc<IncidentJournal>) {
    let id = journal.id();
    let incident = journal.incident().await;
    shared.board().note(&incident, shared.now());
    shared.journals().insert(id, Arc::clone(&journal));
    let shared = Arc::clone(shared);
    let told = Arc::new(AtomicBool::new(incident.is_closed()));
    let tasks = Arc::clone(&shared);
    tasks.tasks.spawn(async move {
        for life in 1..=MAX_LIVES {
            let heal = Heal::new(Arc::clone(&shared), Arc::clone(&journal), Arc::clone(&told));
            let Err(report) = guard::catch_panic(heal.run()).await else {
                break;
            };
            // A defect of ours: the incident goes on from its journal, as after a crash.
            shared.blame("engine", "heal", &report);
            if life == MAX_LIVES || !shared.pause(FIRST_REST).await {
                break;
            }
        }
        shared.journals().remove(&id);
    });
}

fn note_failure<T>(shared: &Shared, result: Result<T, JournalError>) {
    if let Err(error) = result {
        shared.vitals.store_error();
        tracing::error!(
            error = describe(&error),
            "an anomaly was not recorded; it will be raised again"
        );
    }
}
