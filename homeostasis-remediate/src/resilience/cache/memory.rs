//! The level in memory: bounded in entries and bytes, the least used give way.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Entries on a ring over which a hand goes: what was used since it last came by is passed over once,
/// the rest gives way. An entry is new until it is used a second time, so that a scan does not push out
/// what is used.
///
/// What leaves is given to the caller, who drops it outside its lock.
/// O(1) amortized, and per tag. Source: F. Corbató, *A Paging Experiment with the Multics System*, 1968 (CLOCK).
#[derive(Debug)]
pub(super) struct Memory<T> {
    index: HashMap<Arc<str>, usize>,
    /// By tag: the keys.
    tags: HashMap<String, HashSet<Arc<str>>>,
    ring: Vec<Slot<T>>,
    hand: usize,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Slot<T> {
    key: Arc<str>,
    tags: Vec<String>,
    value: T,
    bytes: usize,
    used: bool,
}

impl<T> Memory<T> {
    pub(super) fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self {
            index: HashMap::new(),
            tags: HashMap::new(),
            ring: Vec::new(),
            hand: 0,
            bytes: 0,
            max_entries,
            max_bytes,
        }
    }

    pub(super) fn get(&mut self, key: &str) -> Option<&T> {
        let slot = &mut self.ring[*self.index.get(key)?];
        slot.used = true;
        Some(&slot.value)
    }

    /// Stores `value`, which counts as `bytes` and its key's; what is larger than the whole is not
    /// stored, and what it would have replaced is gone.
    pub(super) fn insert(
        &mut self,
        key: Arc<str>,
        tags: &[String],
        value: T,
        bytes: usize,
    ) -> Vec<T> {
        let mut gone: Vec<T> = self.remove(&key).into_iter().collect();
        let bytes = bytes.saturating_add(key.len());
        if bytes > self.max_bytes || self.max_entries == 0 {
            gone.push(value);
            return gone;
        }
        while self.index.len() >= self.max_entries || self.bytes > self.max_bytes - bytes {
            gone.extend(self.evict());
        }
        for tag in tags {
            let keys = self.tags.entry(tag.clone()).or_default();
            keys.insert(Arc::clone(&key));
        }
        self.index.insert(Arc::clone(&key), self.ring.len());
        self.bytes += bytes;
        self.ring.push(Slot {
            key,
            tags: tags.to_vec(),
            value,
            bytes,
            used: false,
        });
        gone
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<T> {
        let place = self.index.remove(key)?;
        let slot = self.ring.swap_remove(place);
        if let Some(moved) = self.ring.get(place) {
            self.index.insert(Arc::clone(&moved.key), place);
        }
        for tag in &slot.tags {
            if let Some(keys) = self.tags.get_mut(tag) {
                keys.remove(key);
                if keys.is_empty() {
                    self.tags.remove(tag);
                }
            }
        }
        self.bytes -= slot.bytes;
        Some(slot.value)
    }

    pub(super) fn remove_tagged(&mut self, tag: &str) -> Vec<T> {
        let keys = self.tags.get(tag).cloned().unwrap_or_default();
        keys.iter().filter_map(|key| self.remove(key)).collect()
    }

    /// All that `is_wanted` wants. O(n).
    pub(super) fn remove_all(&mut self, is_wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let wanted = self.ring.iter().filter(|slot| is_wanted(&slot.value));
        let keys: Vec<Arc<str>> = wanted.map(|slot| Arc::clone(&slot.key)).collect();
        keys.iter().filter_map(|key| self.remove(key)).collect()
    }

    /// What it is, and an empty one in its place.
    pub(super) fn take(&mut self) -> Self {
        let empty = Self::new(self.max_entries, self.max_bytes);
        std::mem::replace(self, empty)
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The next slot that was not used since the hand last came by gives way; there is one.
    fn evict(&mut self) -> Option<T> {
        loop {
            let place = if self.hand < self.ring.len() {
                self.hand
            } else {
                0
            };
            self.hand = place + 1;
            let slot = self.ring.get_mut(place)?;
            if !std::mem::take(&mut slot.used) {
                let key = Arc::clone(&slot.key);
                return self.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_stays_within_its_bounds_and_never_answers_with_something_else(
            max_entries in 1_usize..8,
            max_bytes in 1_usize..60,
            ops in proptest::collection::vec((0_u8..4, 0_u8..12, 0_usize..30), 1..200),
        ) {
            let mut memory = Memory::new(max_entries, max_bytes);
            let mut last = HashMap::new();
            for (number, (op, key, bytes)) in ops.into_iter().enumerate() {
                let name: Arc<str> = Arc::from(key.to_string());
                let tag = |key: u8| format!("t{}", key % 3);
                match op {
                    0 => {
                        memory.insert(Arc::clone(&name), &[tag(key)], number, bytes);
                        last.insert(key, number);
                        let fits = bytes + name.len() <= max_bytes;
                        prop_assert_eq!(memory.get(&name).is_some(), fits);
                    }
                    1 => {
                        memory.remove(&name);
                        last.remove(&key);
                    }
                    2 => {
                        memory.remove_tagged(&tag(key));
                        last.retain(|other, _| tag(*other) != tag(key));
                    }
                    _ => if let Some(found) = memory.get(&name) {
                        prop_assert_eq!(Some(found), last.get(&key));
                    },
                }
                prop_assert!(memory.len() <= max_entries && memory.bytes() <= max_bytes);
                let sum: usize = memory.ring.iter().map(|slot| slot.bytes).sum();
                prop_assert_eq!(memory.bytes(), sum);
                prop_assert_eq!(memory.ring.len(), memory.len());
                let tagged: usize = memory.tags.values().map(HashSet::len).sum();
                prop_assert_eq!(tagged, memory.len());
                for (place, slot) in memory.ring.iter().enumerate() {
                    prop_assert_eq!(memory.index[&slot.key], place);
                    prop_assert!(last.contains_key(&slot.key.parse::<u8>().unwrap()));
                }
            }
        }
    }

    #[test]
    fn a_scan_does_not_push_out_what_is_used() {
        let mut memory = Memory::new(10, usize::MAX);
        for key in ["a", "b", "c"] {
            memory.insert(Arc::from(key), &[], 0, 0);
        }
        for scanned in 0..1000 {
            memory.insert(Arc::from(format!("scan{scanned}")), &[], 0, 0);
            for key in ["a", "b", "c"] {
                assert!(memory.get(key).is_some(), "{key} after {scanned}");
            }
        }
    }
}
