//! The evidence of the last look at each incident, as long as there is room.

use std::collections::VecDeque;
use std::sync::Arc;

use homeostasis_core::{Flags, IncidentId, Timestamp};

use super::budget::LeftOut;
use super::frozen::Frozen;

/// One look at an incident: the stretch, and what was seen in it.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    pub(crate) besides: Arc<[(Timestamp, Timestamp)]>,
    /// How many events the incident had.
    pub(crate) n_events: u64,
    pub(crate) flags: Flags,
    pub(crate) frozen: Arc<Frozen>,
    pub(crate) left_out: LeftOut,
}

/// Looks, oldest first; together they take no more than the budget of one.
#[derive(Debug, Default)]
pub(crate) struct KeptEvidence {
    looks: VecDeque<(IncidentId, Look, u64)>,
    bytes: u64,
}

impl KeptEvidence {
    /// Keeps `look` in place of earlier ones of `id`; the oldest make room.
    pub(crate) fn keep(&mut self, id: IncidentId, look: Look, budget: u64) {
        if let Some(place) = self.looks.iter().position(|(of, ..)| *of == id)
            && let Some((.., bytes)) = self.looks.remove(place)
        {
            self.bytes -= bytes;
        }
        let bytes = look.frozen.bytes();
        self.looks.push_back((id, look, bytes));
        self.bytes += bytes;
        while self.bytes > budget
            && self.looks.len() > 1
            && let Some((.., bytes)) = self.looks.pop_front()
        {
            self.bytes -= bytes;
        }
    }

    /// The last look at `id`, if it is still kept.
    pub(crate) fn of(&self, id: IncidentId) -> Option<&Look> {
        let found = self.looks.iter().find(|(of, ..)| *of == id);
        found.map(|(_, look, _)| look)
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::SeriesWindow;
    use homeostasis_core::signal::SeriesKey;

    use super::*;

    fn look(points: usize) -> Look {
        let points = vec![(Timestamp::EPOCH, 1.0); points];
        let key = Arc::new(SeriesKey::new("up"));
        let frozen = Frozen {
            series: vec![SeriesWindow { key, points }],
            ..Frozen::default()
        };
        Look {
            from: Timestamp::EPOCH,
            to: Timestamp::EPOCH,
            besides: Arc::from([]),
            n_events: 1,
            flags: Flags::default(),
            frozen: Arc::new(frozen),
            left_out: LeftOut::default(),
        }
    }

    #[test]
    fn the_newest_looks_are_kept_within_the_budget() {
        let mut kept = KeptEvidence::default();
        let [a, b, c] = [1, 2, 3].map(IncidentId::from_u128);
        let is_kept = |kept: &KeptEvidence| [a, b, c].map(|id| kept.of(id).is_some());
        kept.keep(a, look(50), 1_600);
        kept.keep(b, look(50), 1_600);
        assert_eq!(is_kept(&kept), [true, true, false]);
        // A second look at the first makes it the newest.
        kept.keep(a, look(40), 1_600);
        kept.keep(c, look(50), 1_600);
        assert_eq!(is_kept(&kept), [true, false, true]);
        assert_eq!(kept.bytes, 90 * 16);
        // One that is as large as everything stands alone.
        kept.keep(b, look(1_000), 1_600);
        assert_eq!(is_kept(&kept), [false, true, false]);
    }
}
