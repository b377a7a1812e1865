//! Bounded maps whose oldest unused entry gives way.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

/// Keys are hashes already.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct AsIs(u64);

impl Hasher for AsIs {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

pub(super) type ByHash<V> = HashMap<u64, V, BuildHasherDefault<AsIs>>;

/// A map that remembers which entries were used since it last looked for one to give away.
#[derive(Debug)]
pub(super) struct SecondChance<V> {
    map: ByHash<Entry<V>>,
    /// From the oldest to the newest, each with its place as its entry knows it; others are gone.
    queue: VecDeque<(u64, u64)>,
    n_places: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    place: u64,
    is_used: bool,
}

impl<V> Default for SecondChance<V> {
    fn default() -> Self {
        Self {
            map: ByHash::default(),
            queue: VecDeque::new(),
            n_places: 0,
        }
    }
}

impl<V> SecondChance<V> {
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn has(&self, key: u64) -> bool {
        self.map.contains_key(&key)
    }

    pub(super) fn peek(&self, key: u64) -> Option<&V> {
        self.map.get(&key).map(|entry| &entry.value)
    }

    pub(super) fn peek_mut(&mut self, key: u64) -> Option<&mut V> {
        self.map.get_mut(&key).map(|entry| &mut entry.value)
    }

    /// The value, which counts as used.
    pub(super) fn get(&mut self, key: u64) -> Option<&mut V> {
        let entry = self.map.get_mut(&key)?;
        entry.is_used = true;
        Some(&mut entry.value)
    }

    /// Adds a value at the end of the queue.
    pub(super) fn insert(&mut self, key: u64, value: V, is_used: bool) {
        let place = self.next_place(key);
        let entry = Entry {
            value,
            place,
            is_used,
        };
        self.map.insert(key, entry);
        if self.queue.len() > 2 * self.map.len() + 64 {
            let map = &self.map;
            self.queue
                .retain(|(key, place)| map.get(key).is_some_and(|entry| entry.place == *place));
        }
    }

    fn next_place(&mut self, key: u64) -> u64 {
        self.n_places += 1;
        self.queue.push_back((key, self.n_places));
        self.n_places
    }

    pub(super) fn remove(&mut self, key: u64) -> Option<V> {
        self.map.remove(&key).map(|entry| entry.value)
    }

    /// Gives away the oldest entry that was not used since it was last looked at.
    pub(super) fn evict(&mut self) -> Option<(u64, V)> {
        while let Some((key, place)) = self.queue.pop_front() {
            let next = self.n_places + 1;
            match self.map.get_mut(&key) {
                Some(entry) if entry.place != place => {}
                Some(entry) if entry.is_used => {
                    (entry.is_used, entry.place) = (false, next);
                    self.next_place(key);
                }
                Some(_) => return self.remove(key).map(|value| (key, value)),
                None => {}
            }
        }
        None
    }

    /// Every entry in the order of the queue, with whether it was used.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &V, bool)> {
        self.queue.iter().filter_map(|(key, place)| {
            let entry = self.map.get(key)?;
            (entry.place == *place).then_some((*key, &entry.value, entry.is_used))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_oldest_of_the_rest_goes() {
        let mut map = SecondChance::default();
        for key in 0..4 {
            map.insert(key, key * 10, false);
        }
        assert_eq!(map.get(0), Some(&mut 0));
        assert_eq!(map.evict(), Some((1, 10)));
        assert_eq!(map.remove(2), Some(20));
        assert_eq!(map.evict(), Some((3, 30)));
        assert_eq!((map.evict(), map.evict()), (Some((0, 0)), None));
        assert_eq!(map.len(), 0);
    }

    #[test]
    fn the_queue_does_not_outgrow_the_map() {
        let mut map = SecondChance::default();
        for round in 0..10_000_u64 {
            map.insert(round % 3, round, true);
            map.remove(round % 3);
        }
        assert!(map.queue.len() <= 70, "{}", map.queue.len());
        map.insert(7, 7, true);
        map.remove(7);
        map.insert(7, 8, true);
        assert_eq!(map.iter().map(|(key, ..)| key).collect::<Vec<_>>(), [7]);
    }
}
