//! The watched series, spread over shards that work side by side.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use homeostasis_core::Timestamp;
use homeostasis_core::signal::{Sample, SeriesCatalog, SeriesId, SeriesKey};
use homeostasis_core::stage::SeriesDetector;

use super::alerting::Alerting;
use super::slot::{Alarm, Slot};

/// Fewer samples are not worth the threads.
const PARALLEL_FROM: usize = 4096;

/// What is known of a handle of the catalog; a handle that is not known has no entry or the last of these.
const IGNORED: u32 = u32::MAX - 2;
const UNTARGETED: u32 = u32::MAX - 1;
const UNKNOWN: u32 = u32::MAX;

/// What becomes of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// It goes to this place.
    Place(u32),
    /// Its series is not selected.
    Ignored,
    /// Its series names no target.
    Untargeted,
    /// It has to be found out.
    Unknown,
}

/// Slots in shards, each series in the shard its name hashes to.
///
/// Samples are first noted for their shards ([`note`](Self::note)), then [`run`](Self::run): each shard alone takes its
/// own, in order, on a thread of its own if there are enough of them.
/// Nothing is shared while they run but what nobody changes, so no lock is taken, and what is found does not
/// depend on the number of shards.
#[derive(Debug)]
pub(super) struct Shards<K> {
    all: Vec<Shard<K>>,
    /// Where a series stands.
    places: HashMap<Arc<SeriesKey>, u32>,
    /// By the index of its handle in `catalog`: a place, or one of the constants.
    routes: Vec<u32>,
    catalog: Option<SeriesCatalog>,
    n_slots: usize,
    /// Since when, at least, each series is silent, the longest first; one entry each. Made when it is first asked for.
    silent: Option<BinaryHeap<Silence>>,
}

type Silence = Reverse<(Timestamp, Arc<SeriesKey>)>;

#[derive(Debug)]
struct Shard<K> {
    slots: Vec<Slot<K>>,
    /// Slots and the positions of their samples in the batch.
    work: Vec<(u32, u32)>,
    alarms: Vec<(u32, u32, Alarm)>,
}

impl<K> Shards<K> {
    pub(super) fn n_shards(&self) -> usize {
        self.all.len()
    }

    pub(super) fn len(&self) -> usize {
        self.n_slots
    }
}

impl<K: SeriesDetector> Shards<K> {
    pub(super) fn new(n_shards: usize) -> Self {
        let shard = || Shard {
            slots: Vec::new(),
            work: Vec::new(),
            alarms: Vec::new(),
        };
        Self {
            all: (0..n_shards.max(1)).map(|_| shard()).collect(),
            places: HashMap::new(),
            routes: Vec::new(),
            catalog: None,
            n_slots: 0,
            silent: None,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot<K>> {
        self.all.iter().flat_map(|shard| &shard.slots)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slot<K>> {
        self.all.iter_mut().flat_map(|shard| &mut shard.slots)
    }

    pub(super) fn into_slots(self) -> impl Iterator<Item = Slot<K>> {
        self.all.into_iter().flat_map(|shard| shard.slots)
    }

    /// The slot at `place`, as [`take_alarms`](Self::take_alarms) names it.
    pub(super) fn slot(&self, place: u32) -> Option<&Slot<K>> {
        let (shard, slot) = self.split(place);
        self.all[shard].slots.get(slot)
    }

    /// Begins a batch of this catalog. What a panic left of the last one is dropped.
    pub(super) fn begin(&mut self, catalog: &SeriesCatalog) {
        for shard in &mut self.all {
            shard.work.clear();
            shard.alarms.clear();
        }
        if !self
            .catalog
            .as_ref()
            .is_some_and(|known| known.is_same(catalog))
        {
            self.catalog = Some(catalog.clone());
            self.routes.clear();
            for shard in &mut self.all {
                for slot in &mut shard.slots {
                    slot.handle = None;
                }
            }
        }
    }

    /// What is known of a handle; O(1), no lock.
    pub(super) fn route(&self, id: SeriesId) -> Route {
        match self.routes.get(id.index()).copied() {
            None | Some(UNKNOWN) => Route::Unknown,
            Some(IGNORED) => Route::Ignored,
            Some(UNTARGETED) => Route::Untargeted,
            Some(place) => Route::Place(place),
        }
    }

    /// Remembers that the series of a handle is not watched, and why.
    pub(super) fn dismiss(&mut self, id: SeriesId, is_selected: bool) {
        self.set_route(id, if is_selected { UNTARGETED } else { IGNORED });
    }

    /// The place of the series of a handle, if it is watched already: restored, or by another catalog so far.
    pub(super) fn find(&mut self, id: SeriesId, key: &Arc<SeriesKey>) -> Option<u32> {
        let place = *self.places.get(key)?;
        let (shard, slot) = self.split(place);
        let slot = self.all[shard].slots.get_mut(slot)?;
        slot.handle = Some(id);
        self.set_route(id, place);
        Some(place)
    }

    /// Whether a series is watched.
    pub(super) fn has(&self, key: &SeriesKey) -> bool {
        self.places.contains_key(key)
    }

    /// Adds a slot; its place, or nothing if there are four billion.
    pub(super) fn insert(&mut self, slot: Slot<K>) -> Option<u32> {
        let n_shards = self.all.len();
        let mut hasher = DefaultHasher::new();
        slot.key.hash(&mut hasher);
        let shard = usize::try_from(hasher.finish() % n_shards as u64).unwrap_or(0);
        let place = self.all[shard].slots.len() * n_shards + shard;
        let place = u32::try_from(place).ok().filter(|place| *place < IGNORED)?;
        if let Some(handle) = slot.handle {
            self.set_route(handle, place);
        }
        self.places.insert(Arc::clone(&slot.key), place);
        if let Some(silent) = &mut self.silent {
            silent.push(slot.silence());
        }
        self.all[shard].slots.push(slot);
        self.n_slots += 1;
        Some(place)
    }

    /// The series that was silent longest; of several, the first by name.
    ///
    /// O(n) at first, then O(log n) amortized over the samples and series that came since.
    pub(super) fn quietest(&mut self) -> Option<(u32, Timestamp)> {
        let mut silent = match self.silent.take() {
            Some(silent) => silent,
            None => self.iter().map(Slot::silence).collect(),
        };
        let mut found = None;
        while let Some(mut top) = silent.peek_mut() {
            let Reverse((since, key)) = &*top;
            let place = self.places.get(key).copied();
            let Some((place, slot)) = place.and_then(|place| Some((place, self.slot(place)?)))
            else {
                PeekMut::pop(top);
                continue;
            };
            if slot.last_seen == *since {
                found = Some((place, slot.last_seen));
                break;
            }
            // It was heard of since; when `top` goes, it sinks to its place.
            *top = slot.silence();
        }
        self.silent = Some(silent);
        found
    }

    #[cfg(test)]
    pub(super) fn n_notes(&self) -> Option<usize> {
        self.silent.as_ref().map(BinaryHeap::len)
    }

    /// Every slot whose last sample is later than `latest`, which no clock can have said rightly.
    pub(super) fn ahead(&mut self, latest: Timestamp) -> impl Iterator<Item = &mut Slot<K>> {
        // Times go back: what is known of silence is no bound any more.
        self.silent = None;
        let slots = self.all.iter_mut().flat_map(|shard| &mut shard.slots);
        slots.filter(move |slot| slot.last_seen > latest)
    }

    /// Drops the slot at `place`, which [`quietest`](Self::quietest) said. Nothing may be noted.
    pub(super) fn remove(&mut self, place: u32) {
        let (shard, slot) = self.split(place);
        let slots = &mut self.all[shard].slots;
        if slot >= slots.len() {
            return;
        }
        let gone = slots.swap_remove(slot);
        let moved = slots
            .get(slot)
            .map(|moved| (Arc::clone(&moved.key), moved.handle));
        self.n_slots -= 1;
        self.places.remove(&gone.key);
        // It is the first of them: only the quietest goes.
        if let Some(top) = self.silent.as_mut().and_then(BinaryHeap::peek_mut)
            && top.0.1 == gone.key
        {
            PeekMut::pop(top);
        }
        if let Some(handle) = gone.handle {
            self.set_route(handle, UNKNOWN);
        }
        if let Some((key, handle)) = moved {
            self.places.insert(key, place);
            if let Some(handle) = handle {
                self.set_route(handle, place);
            }
        }
    }

    /// Notes that the sample at `idx` of the batch is for the slot at `place`.
    pub(super) fn note(&mut self, place: u32, idx: u32) {
        let (shard, slot) = self.split(place);
        self.all[shard]
            .work
            .push((u32::try_from(slot).unwrap_or(place), idx));
    }

    /// Gives every shard what was noted for it.
    pub(super) fn run(&mut self, alerting: &Alerting, samples: &[Sample]) {
        let n_noted: usize = self.all.iter().map(|shard| shard.work.len()).sum();
        let n_busy = self
            .all
            .iter()
            .filter(|shard| !shard.work.is_empty())
            .count();
        if n_busy > 1 && n_noted >= PARALLEL_FROM {
            self.run_parallel(alerting, samples);
        }
        // All of them, or those for which the system gave no thread.
        for shard in &mut self.all {
            shard.run(alerting, samples);
        }
    }

    fn run_parallel(&mut self, alerting: &Alerting, samples: &[Sample]) {
        let Some((first, others)) = self.all.split_first_mut() else {
            return;
        };
        thread::scope(|scope| {
            let mut running = Vec::with_capacity(others.len());
            for shard in others {
                let run = move || shard.run(alerting, samples);
                running.extend(thread::Builder::new().spawn_scoped(scope, run));
            }
            first.run(alerting, samples);
            for handle in running {
                if let Err(panic) = handle.join() {
                    // As if there was one shard: the engine names the detector.
                    resume_unwind(panic);
                }
            }
        });
    }

    /// The alarms of the samples that were run: the positions of the samples, in order, and the places of their slots.
    pub(super) fn take_alarms(&mut self) -> Vec<(u32, u32, Alarm)> {
        let n_shards = self.all.len();
        let mut alarms = Vec::new();
        for (shard, it) in self.all.iter_mut().enumerate() {
            let place = |slot: u32| u32::try_from(slot as usize * n_shards + shard);
            let drained = it.alarms.drain(..);
            alarms.extend(
                drained.filter_map(|(idx, slot, alarm)| Some((idx, place(slot).ok()?, alarm))),
            );
        }
        alarms.sort_by_key(|(idx, ..)| *idx);
        alarms
    }

    /// About the bytes held for the series: slots, names, pictures, look-ups and the heap of kernels.
    pub(super) fn state_bytes(&self) -> usize {
        // A hash map keeps one byte of control for each place, and at most 7 of 8 places are taken.
        let lookup = size_of::<(Arc<SeriesKey>, u32)>() + 1;
        let slots: usize = self.iter().map(Slot::state_bytes).sum();
        let silent = self.silent.as_ref().map_or(0, BinaryHeap::capacity) * size_of::<Silence>();
        slots
            + silent
            + self.places.capacity() * lookup * 8 / 7
            + self.routes.capacity() * size_of::<u32>()
    }

    fn set_route(&mut self, id: SeriesId, route: u32) {
        let idx = id.index();
        if idx >= self.routes.len() {
            self.routes.resize(idx + 1, UNKNOWN);
        }
        self.routes[idx] = route;
    }

    /// The shard and the position in it.
    fn split(&self, place: u32) -> (usize, usize) {
        let place = place as usize;
        (place % self.all.len(), place / self.all.len())
    }
}

impl<K: SeriesDetector> Shard<K> {
    fn run(&mut self, alerting: &Alerting, samples: &[Sample]) {
        // Taken out first: what a panic leaves behind must not be run again.
        let mut work = std::mem::take(&mut self.work);
        for (place, idx) in work.drain(..) {
            let (Some(slot), Some(sample)) = (
                self.slots.get_mut(place as usize),
                samples.get(idx as usize),
            ) else {
                continue;
            };
            if let Some(alarm) = slot.take(alerting, sample.at, sample.value) {
                self.alarms.push((idx, place, alarm));
            }
        }
        self.work = work;
    }
}
