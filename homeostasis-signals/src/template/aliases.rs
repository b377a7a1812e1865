//! What became of the ids of templates that were united with others.

use std::collections::{HashMap, VecDeque};

/// Leads from an id that was given up to the one it was united into; bounded: the oldest are
/// forgotten.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    map: HashMap<u64, u64>,
    /// From the oldest to the newest. An id is united into another only while it stands for itself,
    /// so that all that leads to it is older than where it leads itself, and nothing leads in a
    /// circle.
    order: VecDeque<u64>,
}

impl Aliases {
    pub(super) const MOST: usize = 65_536;

    /// The id that stands for `id` today.
    pub(super) fn resolve(&self, mut id: u64) -> u64 {
        while let Some(next) = self.map.get(&id) {
            id = *next;
        }
        id
    }

    /// Both stand for themselves so far.
    pub(super) fn add(&mut self, from: u64, to: u64) {
        if from == to || self.map.insert(from, to).is_some() {
            return;
        }
        self.order.push_back(from);
        if self.order.len() > Self::MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.map.remove(&oldest);
        }
    }

    pub(super) fn has(&self, id: u64) -> bool {
        self.map.contains_key(&id)
    }

    /// The id stands for itself again. O(n), for what seldom happens.
    pub(super) fn remove(&mut self, id: u64) {
        if self.map.remove(&id).is_some() {
            self.order.retain(|from| *from != id);
        }
    }

    /// From the oldest to the newest.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.order
            .iter()
            .filter_map(|from| Some((*from, *self.map.get(from)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_lead_to_their_end_and_the_oldest_are_forgotten() {
        let mut aliases = Aliases::default();
        aliases.add(9, 5);
        aliases.add(5, 2);
        aliases.add(2, 2);
        assert_eq!([9, 5, 2, 7].map(|id| aliases.resolve(id)), [2, 2, 2, 7]);
        aliases.remove(5);
        assert_eq!([9, 5, 2].map(|id| aliases.resolve(id)), [5, 5, 2]);
        aliases.add(5, 2);
        assert_eq!(aliases.iter().collect::<Vec<_>>(), [(9, 5), (5, 2)]);
        let first = 100;
        for id in first..=first + Aliases::MOST as u64 {
            aliases.add(id, 1);
        }
        assert_eq!(aliases.iter().count(), Aliases::MOST);
        assert_eq!([9, 5, first].map(|id| aliases.resolve(id)), [9, 5, first]);
        assert_eq!(aliases.resolve(first + 1), 1);
    }
}
