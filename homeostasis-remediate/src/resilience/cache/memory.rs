//! The level in memory: bounded in entries and bytes, the least used give way.

use std::collections::HashMap;
use std::sync::Arc;

/// Entries on a ring over which a hand goes: what was used since it last came by is passed over once,
/// the rest gives way. An entry is new until it is used a second time, so that a scan does not push out
/// what is used.
///
/// O(1) amortized. Source: F. Corbató, *A Paging Experiment with the Multics System*, 1968 (CLOCK).
#[derive(Debug)]
pub(super) struct Memory<T> {
    index: HashMap<Arc<str>, usize>,
    ring: Vec<Option<Slot<T>>>,
    free: Vec<usize>,
    hand: usize,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Slot<T> {
    key: Arc<str>,
    value: T,
    bytes: usize,
    used: bool,
}

impl<T> Memory<T> {
    pub(super) fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self {
            index: HashMap::new(),
            ring: Vec::new(),
            free: Vec::new(),
            hand: 0,
            bytes: 0,
            max_entries,
            max_bytes,
        }
    }

    pub(super) fn get(&mut self, key: &str) -> Option<&T> {
        let slot = self.ring[*self.index.get(key)?].as_mut()?;
        slot.used = true;
        Some(&slot.value)
    }

    /// Stores `value`, which counts as `bytes` and its key's; what is larger than the whole is not
    /// stored, and what it would have replaced is gone.
    pub(super) fn insert(&mut self, key: Arc<str>, value: T, bytes: usize) {
        self.remove(&key);
        let bytes = bytes.saturating_add(key.len());
        if bytes > self.max_bytes || self.max_entries == 0 {
            return;
        }
        while self.index.len() >= self.max_entries || self.bytes > self.max_bytes - bytes {
            self.evict();
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.ring.push(None);
            self.ring.len() - 1
        });
        self.index.insert(Arc::clone(&key), place);
        self.bytes += bytes;
        self.ring[place] = Some(Slot {
            key,
            value,
            bytes,
            used: false,
        });
    }

    pub(super) fn remove(&mut self, key: &str) {
        if let Some(place) = self.index.remove(key) {
            self.clear(place);
        }
    }

    /// Keeps what `keep` says; gives how many went.
    pub(super) fn retain(&mut self, keep: impl Fn(&str, &T) -> bool) -> u64 {
        let gone: Vec<Arc<str>> = self
            .ring
            .iter()
            .flatten()
            .filter(|slot| !keep(&slot.key, &slot.value))
            .map(|slot| Arc::clone(&slot.key))
            .collect();
        for key in &gone {
            self.remove(key);
        }
        gone.len() as u64
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The next slot that was not used since the hand last came by gives way; there is one.
    fn evict(&mut self) {
        loop {
            let place = self.hand;
            self.hand = (self.hand + 1) % self.ring.len().max(1);
            match self.ring.get_mut(place) {
                Some(Some(slot)) if slot.used => slot.used = false,
                Some(Some(slot)) => {
                    let key = Arc::clone(&slot.key);
                    return self.remove(&key);
                }
                Some(None) => {}
                None => return,
            }
        }
    }

    fn clear(&mut self, place: usize) {
        if let Some(slot) = self.ring[place].take() {
            self.bytes -= slot.bytes;
            self.free.push(place);
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
            ops in proptest::collection::vec((0_u8..3, 0_u8..12, 0_usize..30), 1..200),
        ) {
            let mut memory = Memory::new(max_entries, max_bytes);
            let mut last = HashMap::new();
            for (number, (op, key, bytes)) in ops.into_iter().enumerate() {
                let name: Arc<str> = Arc::from(key.to_string());
                match op {
                    0 => {
                        memory.insert(Arc::clone(&name), number, bytes);
                        last.insert(key, number);
                        let fits = bytes + name.len() <= max_bytes;
                        prop_assert_eq!(memory.get(&name).is_some(), fits);
                    }
                    1 => {
                        memory.remove(&name);
                        last.remove(&key);
                    }
                    _ => if let Some(found) = memory.get(&name) {
                        prop_assert_eq!(Some(found), last.get(&key));
                    },
                }
                prop_assert!(memory.len() <= max_entries && memory.bytes() <= max_bytes);
                let sum: usize = memory.ring.iter().flatten().map(|slot| slot.bytes).sum();
                prop_assert_eq!(memory.bytes(), sum);
            }
        }
    }

    #[test]
    fn a_scan_does_not_push_out_what_is_used() {
        let mut memory = Memory::new(10, usize::MAX);
        for key in ["a", "b", "c"] {
            memory.insert(Arc::from(key), 0, 0);
        }
        for scanned in 0..1000 {
            memory.insert(Arc::from(format!("scan{scanned}")), 0, 0);
            for key in ["a", "b", "c"] {
                assert!(memory.get(key).is_some(), "{key} after {scanned}");
            }
        }
    }
}
