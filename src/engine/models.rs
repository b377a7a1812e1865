//! Models: what detectors, enrichers and analyzers have learned outlives the process.
//!
//! A model is stored in parts, each a document of its own, and a head that says which parts belong
//! together. A part that changed is written beside the one it replaces, and the head is written
//! last: a process that dies in between leaves the model as it was stored before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::port::{Commit, Document, Enricher, StoreError, Version};
use homeostasis_core::stage::{Analyzer, DetectError, Detector, ModelPart, ModelSnapshot};
use homeostasis_core::{ErrorKind, ErrorReport, NodeId, Timestamp, timeout};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::engine::journal::describe;
use crate::engine::shared::Shared;

mod part;

pub(crate) use part::Ask;
use part::{Answer, HASH, Made, caught, make, measure, read_as, refusal};

/// How many places a part may have.
const MAX_PLACES: u8 = 4;

/// The version of the shape of heads.
const VERSION: u32 = 1;

/// How often what is stored is read at the start before it is let alone, and how long between.
const READS: u32 = 3;
const READ_PAUSE: Duration = Duration::from_millis(100);

/// The stage of blames.
const STAGE: &str = "model";

/// What of the model of a detector, an enricher or an analyzer is in the store; nothing of those that have none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ModelHealth {
    /// Whose model: `detector/latency`, `enricher/templates`, `analyzer/fusion`.
    pub of: String,
    /// Whether one was taken up when this process started.
    pub is_restored: bool,
    /// Whether nothing is stored of it while this process lives: what the store has could not be
    /// read at the start, and may know more.
    pub is_given_up: bool,
    /// When it was last found to be stored as it is.
    pub stored_at: Option<Timestamp>,
    /// Its size in the store, in bytes of JSON.
    pub bytes: u64,
    /// How many of its series, components … were left out because it is too large; 1 if it is not
    /// divided.
    pub left_out: usize,
}

/// Whose models are kept.
#[derive(Debug, Default)]
pub(crate) struct Models(Vec<Kept>);

/// One model and what the store has of it.
#[derive(Debug)]
struct Kept {
    of: String,
    /// Where its head is.
    key: String,
    learner: Learner,
    /// Whether the head and the parts are those in the store.
    is_known: bool,
    head: Version,
    parts: Vec<StoredPart>,
    left_out: usize,
    /// Whether what is stored was not read and stays as it is.
    is_given_up: bool,
}

#[derive(Debug)]
enum Learner {
    Detector(mpsc::Sender<Ask>),
    /// With the call that was not waited for any longer.
    Shared(Plugin, Option<JoinHandle<Answer>>),
}

/// Who gives its model whole, while others use it.
#[derive(Debug, Clone)]
enum Plugin {
    Enricher(Arc<dyn Enricher>),
    Analyzer(Arc<dyn Analyzer>),
}

impl Plugin {
    fn kind(&self) -> &'static str {
        match self {
            Self::Enricher(_) => "enricher",
            Self::Analyzer(_) => "analyzer",
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Enricher(enricher) => enricher.name(),
            Self::Analyzer(analyzer) => analyzer.name(),
        }
    }

    fn snapshot(&self) -> Option<ModelSnapshot> {
        match self {
            Self::Enricher(enricher) => enricher.snapshot(),
            Self::Analyzer(analyzer) => analyzer.snapshot(),
        }
    }

    fn restore(&self, part: &ModelSnapshot) -> Result<(), DetectError> {
        match self {
            Self::Enricher(enricher) => enricher.restore(part),
            Self::Analyzer(analyzer) => analyzer.restore(part),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct StoredPart {
    /// Each part has two places, and more only where one is damaged: it is written where it is not.
    place: u8,
    version: Version,
    bytes: u64,
    /// `None` for one that is not what its head names.
    hash: Option<u64>,
}

impl StoredPart {
    fn named(&self) -> Option<Named> {
        let (place, hash) = (self.place, self.hash?);
        Some(Named { place, hash })
    }
}

/// What says which parts are one model.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    version: u32,
    parts: Vec<Named>,
}

/// A part as its head names it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    place: u8,
    /// As it is written in the part: two processes of one name may write to one place.
    hash: u64,
}

impl Models {
    /// Takes up what is stored, and gives each detector where it is asked for its model.
    ///
    /// Whatever is wrong with a stored model, its detector begins anew.
    pub(crate) async fn restore(
        shared: &Shared,
        detectors: &mut [Box<dyn Detector>],
    ) -> (Self, Vec<mpsc::Receiver<Ask>>) {
        let (mut models, mut asked) = (Vec::new(), Vec::new());
        for detector in detectors {
            let (asks, queue) = mpsc::channel(1);
            asked.push(queue);
            let of = format!("detector/{}", escaped(detector.name()));
            let mut kept = Kept::new(&shared.journal.node, of, Learner::Detector(asks));
            let restore = |part: &ModelSnapshot| detector.restore_part(part);
            kept.restore(shared, restore).await;
            models.push(kept);
        }
        let enrichers = shared.enrichers.iter().map(Arc::clone);
        let analyzers = shared.stages.analyzers.iter().map(Arc::clone);
        let plugins = enrichers.map(Plugin::Enricher);
        let mut names = BTreeMap::new();
        for plugin in plugins.chain(analyzers.map(Plugin::Analyzer)) {
            let name = format!("{}/{}", plugin.kind(), escaped(plugin.name()));
            let nth = names.entry(name.clone()).or_insert(0_u32);
            *nth += 1;
            let of = match *nth {
                1 => name,
                nth => format!("{name}/{nth}"),
            };
            let learner = Learner::Shared(plugin.clone(), None);
            let mut kept = Kept::new(&shared.journal.node, of, learner);
            kept.restore(shared, |part| plugin.restore(part)).await;
            models.push(kept);
        }
        (Self(models), asked)
    }
}

/// Stores what has changed, now and then and at the end.
pub(crate) async fn run(shared: Arc<Shared>, mut models: Models) {
    let interval = shared.settings.model_interval;
    let mut life = shared.now().as_nanos().unsigned_abs();
    loop {
        // Processes that started together should not all store at once.
        let jitter = shared
            .context(None, interval)
            .rng(life)
            .jitter(interval / 10);
        life = life.wrapping_add(1);
        if !shared.pause(interval + jitter).await {
            break;
        }
        tokio::select! {
            biased;
            () = shared.cancellation.cancelled() => break,
            () = models.store(&shared, false) => {}
        }
    }
    // Others end within the grace too.
    let limit = shared.settings.shutdown_grace / 2;
    let stored = timeout(&**shared.clock(), limit, models.store(&shared, true)).await;
    if stored.is_err() {
        tracing::warn!(
            ?limit,
            "not all models were stored at the end; the earlier ones stay"
        );
    }
}

impl Models {
    async fn store(&mut self, shared: &Shared, is_last: bool) {
        let mut limit = shared.settings.stage_deadline;
        if is_last {
            // One that hangs should not cost the others theirs.
            limit = limit.min(shared.settings.shutdown_grace / 5);
        }
        for kept in self.0.iter_mut().filter(|kept| !kept.is_given_up) {
            let mut stored = kept.store(shared, limit).await;
            if matches!(stored, Err(StoreError::Conflict { .. })) {
                // Another process wrote in between, perhaps over parts of this one.
                stored = kept.store(shared, limit).await;
            }
            let Err(error) = stored else { continue };
            let (model, conflicts) = (&kept.of, matches!(error, StoreError::Conflict { .. }));
            let error = describe(&error);
            if !conflicts {
                shared.vitals.store_error();
                tracing::error!(model, error, "a model was not stored");
            } else if is_last {
                tracing::warn!(
                    model,
                    error,
                    "a model was not stored at the end: another process of this name stored its own"
                );
            }
        }
    }
}

impl Kept {
    fn new(node: &NodeId, of: String, learner: Learner) -> Self {
        Self {
            key: format!("model/{}/{of}", escaped(node.as_str())),
            of,
            learner,
            is_known: false,
            head: Version::NONE,
            parts: Vec::new(),
            left_out: 0,
            is_given_up: false,
        }
    }

    fn place(&self, idx: usize, place: u8) -> String {
        format!("{}/{idx}/{place}", self.key)
    }

    /// Takes up what is stored, all of it or, if the learner refuses a part, those before it.
    async fn restore(
        &mut self,
        shared: &Shared,
        mut restore: impl FnMut(&ModelSnapshot) -> Result<(), DetectError>,
    ) {
        let mut n_given = 0;
        let failed = match self.read_patiently(shared).await {
            Ok(Ok(parts)) => {
                let n_parts = parts.len();
                let given = parts.into_iter().try_for_each(|part| {
                    caught(|| restore(&part))?;
                    n_given += 1;
                    Ok(())
                });
                let how = match n_given {
                    0 => "begins anew".to_owned(),
                    _ => format!("begins with {n_given} of its {n_parts} parts"),
                };
                given.err().map(|report| (how, report))
            }
            Ok(Err(report)) => Some(("begins anew".to_owned(), report)),
            Err(error) => {
                shared.vitals.store_error();
                self.is_given_up = true;
                let how = "begins anew, and is not stored until the next start: the one that is \
                           stored could not be read and is kept";
                Some((how.to_owned(), ErrorReport::new(error.kind(), &error)))
            }
        };
        shared.vitals.model(ModelHealth {
            of: self.of.clone(),
            is_restored: failed.is_none() && !self.parts.is_empty(),
            is_given_up: self.is_given_up,
            stored_at: None,
            bytes: self.parts.iter().map(|part| part.bytes).sum(),
            left_out: 0,
        });
        if let Some((how, mut report)) = failed {
            report.message = format!("{how}: {}", report.message);
            shared.blame(STAGE, &self.of, &report);
        }
    }

    /// Reads all that is stored; again if the store fails for a moment or another process writes.
    async fn read_patiently(
        &mut self,
        shared: &Shared,
    ) -> Result<Result<Vec<ModelSnapshot>, ErrorReport>, StoreError> {
        let mut n_reads = 1;
        loop {
            let mut parts = Vec::new();
            let read = self.read(shared, |part| parts.push(part)).await;
            let passes = matches!(
                read.as_ref().map_err(StoreError::kind),
                Err(ErrorKind::Transient | ErrorKind::Conflict)
            );
            if !passes || n_reads == READS || !shared.pause(READ_PAUSE).await {
                return read.map(|whole| whole.map(|()| parts));
            }
            n_reads += 1;
        }
    }

    /// Reads what is stored, part by part; says what is wrong with it, if anything is.
    async fn read(
        &mut self,
        shared: &Shared,
        mut give: impl FnMut(ModelSnapshot),
    ) -> Result<Result<(), ErrorReport>, StoreError> {
        let store = &shared.journal.store;
        self.is_known = false;
        self.parts.clear();
        let document = store.document(&self.key).await?;
        self.head = document.as_ref().map_or(Version::NONE, |head| head.version);
        let Some(Document { value, .. }) = document else {
            self.is_known = true;
            return Ok(Ok(()));
        };
        let head = read_as::<Head>(value).and_then(|head| match head.version {
            VERSION => Ok(head),
            version => Err(refusal(format!(
                "its version is {version}, expected {VERSION}"
            ))),
        });
        let (named, mut whole) = match head {
            Ok(head) => (head.parts, Ok(())),
            Err(report) => (Vec::new(), Err(report)),
        };
        for (idx, Named { place, hash }) in named.into_iter().enumerate() {
            let document = store.document(&self.place(idx, place)).await;
            let mut part = StoredPart {
                place,
                version: Version::NONE,
                bytes: 0,
                hash: None,
            };
            let read = match document {
                // It will not be there the next time either.
                Err(error) if error.kind() == ErrorKind::Permanent => Err(refusal(format!(
                    "its part {idx} cannot be read: {}",
                    describe(&error)
                ))),
                Err(error) => return Err(error),
                Ok(None) => Err(refusal(format!("its part {idx} is not stored"))),
                Ok(Some(Document { version, mut value })) => {
                    (part.version, part.bytes) = (version, measure(&value).0);
                    // Not reckoned anew: a store may write numbers its own way.
                    let written = value.as_object_mut().and_then(|part| part.remove(HASH));
                    part.hash = Some(hash).filter(|hash| written == Some((*hash).into()));
                    match part.hash {
                        Some(_) => read_as(value),
                        None => Err(refusal(format!(
                            "its part {idx} is not the one its head names"
                        ))),
                    }
                }
            };
            // What is no part is still to be replaced.
            self.parts.push(part);
            match read {
                Ok(part) => give(part),
                Err(report) => whole = whole.and(Err(report)),
            }
        }
        // Parts of two models are none.
        let head = store.document(&self.key).await?;
        let found = head.map_or(Version::NONE, |head| head.version);
        if found != self.head {
            return Err(StoreError::Conflict {
                what: self.key.clone(),
                expected: self.head,
                found,
            });
        }
        self.is_known = true;
        Ok(whole)
    }

    /// Stores what has changed, each part within `limit`.
    async fn store(&mut self, shared: &Shared, limit: Duration) -> Result<(), StoreError> {
        if !self.is_known {
            let _ = self.read(shared, |_| ()).await?;
        }
        // After a failure, or if nobody waits for it any more, it is looked at the next time.
        self.is_known = false;
        self.store_parts(shared, limit).await?;
        self.is_known = true;
        Ok(())
    }

    async fn store_parts(&mut self, shared: &Shared, limit: Duration) -> Result<(), StoreError> {
        let most = shared.settings.model_bytes;
        let (mut parts, mut bytes, mut left_out) = (Vec::new(), 0, 0);
        let (mut from, mut n_left) = (None, 1);
        loop {
            let made = match self.ask(shared, from.take(), limit).await {
                Ok(Some(made)) => made,
                // It has no model, or cannot give it now.
                Ok(None) => return Ok(()),
                Err(report) => {
                    shared.blame(STAGE, &self.of, &report);
                    return Ok(());
                }
            };
            if bytes + made.bytes > most {
                left_out = n_left;
                if parts.is_empty() {
                    left_out += made.rest.map_or(0, |rest| rest.n_left);
                    self.leave_out(shared, left_out, made.bytes);
                    return Ok(());
                }
                break;
            }
            bytes += made.bytes;
            let rest = made.rest.clone();
            parts.push(self.write(shared, parts.len(), made).await?);
            match rest {
                Some(rest) => (from, n_left) = (Some(rest.from), rest.n_left),
                None => break,
            }
        }
        if left_out > 0 && self.left_out == 0 {
            let message = format!(
                "{left_out} of its series or other units are not stored: expected at most {most} bytes, as model_bytes says"
            );
            shared.blame(STAGE, &self.of, &refusal(message));
        }
        self.left_out = left_out;
        self.commit(shared, parts).await?;
        shared
            .vitals
            .model_stored(&self.of, shared.now(), bytes, left_out);
        Ok(())
    }

    /// Nothing of it fits: what is stored, of some time ago, is better than nothing.
    fn leave_out(&mut self, shared: &Shared, left_out: usize, bytes: u64) {
        if self.left_out == 0 {
            let most = shared.settings.model_bytes;
            let message = format!(
                "is not stored any more, what is stored of it stays: its first part has {bytes} bytes, expected at most {most}, as model_bytes says"
            );
            shared.blame(STAGE, &self.of, &refusal(message));
        }
        self.left_out = left_out;
        shared.vitals.model_left_out(&self.of, left_out);
    }

    async fn ask(&mut self, shared: &Shared, from: Option<Value>, limit: Duration) -> Answer {
        let clock = &**shared.clock();
        match &mut self.learner {
            Learner::Detector(asks) => {
                let (reply, answer) = oneshot::channel();
                let asked = async {
                    asks.send(Ask { from, reply }).await.ok()?;
                    answer.await.ok()
                };
                // One that blocks its thread is named by who waits for its anomalies.
                let answer = timeout(clock, limit, asked).await;
                answer.ok().flatten().unwrap_or(Ok(None))
            }
            Learner::Shared(plugin, owed) => {
                if owed.as_ref().is_some_and(|call| !call.is_finished()) {
                    return Ok(None);
                }
                let plugin = plugin.clone();
                let made = move || make(|| plugin.snapshot().map(ModelPart::last));
                // It may be large, and the host's threads have other things to do.
                let call = owed.insert(tokio::task::spawn_blocking(made));
                match timeout(clock, limit, call).await {
                    Ok(made) => {
                        *owed = None;
                        made.unwrap_or(Ok(None))
                    }
                    Err(_) => Err(ErrorReport::message(
                        ErrorKind::Timeout,
                        format!("gave no model within {limit:?}"),
                    )),
                }
            }
        }
    }

    /// Writes a part where it does not replace what is stored, unless that is the same.
    async fn write(
        &mut self,
        shared: &Shared,
        idx: usize,
        made: Made,
    ) -> Result<StoredPart, StoreError> {
        let old = self.parts.get(idx).copied();
        if let Some(old) = old.filter(|old| (old.hash, old.bytes) == (Some(made.hash), made.bytes))
        {
            return Ok(old);
        }
        let store = &shared.journal.store;
        let mut places = (0..MAX_PLACES).filter(|place| old.is_none_or(|old| old.place != *place));
        let mut place = places.next().unwrap_or_default();
        // What a process left that died before its head was written.
        let left = loop {
            match (store.document(&self.place(idx, place)).await, places.next()) {
                // What cannot be read cannot be replaced.
                (Err(error), Some(next)) if error.kind() == ErrorKind::Permanent => place = next,
                (left, _) => break left?,
            }
        };
        let key = self.place(idx, place);
        let expected = left.map_or(Version::NONE, |left| left.version);
        store
            .commit(Commit::default().put(key, expected, made.document))
            .await?;
        Ok(StoredPart {
            place,
            version: Version(expected.0 + 1),
            bytes: made.bytes,
            hash: Some(made.hash),
        })
    }

    /// Makes the parts the model, and removes those they replace.
    async fn commit(&mut self, shared: &Shared, parts: Vec<StoredPart>) -> Result<(), StoreError> {
        if parts == self.parts && (self.head != Version::NONE || parts.is_empty()) {
            return Ok(());
        }
        let head = Head {
            version: VERSION,
            parts: parts.iter().filter_map(StoredPart::named).collect(),
        };
        let head = serde_json::to_value(head).unwrap_or_default();
        let mut commit = Commit::default().put(&self.key, self.head, head);
        for (idx, old) in self.parts.iter().enumerate() {
            let stays = parts.get(idx).is_some_and(|new| new.place == old.place);
            if !stays && old.version != Version::NONE {
                let key = self.place(idx, old.place);
                commit.documents.push((key, old.version, None));
            }
        }
        shared.journal.store.commit(commit).await?;
        self.head = Version(self.head.0 + 1);
        self.parts = parts;
        Ok(())
    }
}

/// A name as a part of a key.
fn escaped(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F")
}
