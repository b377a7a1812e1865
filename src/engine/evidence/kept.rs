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
    /// From when on no line and no span of the services in question was left out.
    pub(crate) complete_since: Timestamp,
}

/// Looks that are kept, whatever they weigh.
const MAX_LOOKS: usize = 256;

/// What a look takes beside its signals, and each of its series beside its points.
const LOOK_BYTES: u64 = 1_024;
const SERIES_BYTES: u64 = 256;

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
        let n_series = look.frozen.series.len() as u64;
        let bytes = look.frozen.bytes() + LOOK_BYTES + SERIES_BYTES * n_series;
        self.looks.push_back((id, look, bytes));
        self.bytes += bytes;
        while (self.bytes > budget || self.looks.len() > MAX_LOOKS)
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
            complete_since: Timestamp::EPOCH,
        }
    }

    #[test]
    fn the_newest_looks_are_kept_within_the_budget() {
        let mut kept = KeptEvidence::default();
        let [a, b, c] = [1, 2, 3].map(IncidentId::from_u128);
        let is_kept = |kept: &KeptEvidence| [a, b, c].map(|id| kept.of(id).is_some());
        let budget = 1_600 + 2 * (LOOK_BYTES + SERIES_BYTES);
        kept.keep(a, look(50), budget);
        kept.keep(b, look(50), budget);
        assert_eq!(is_kept(&kept), [true, true, false]);
        // A second look at the first makes it the newest.
        kept.keep(a, look(40), budget);
        kept.keep(c, look(50), budget);
        assert_eq!(is_kept(&kept), [true, false, true]);
        assert_eq!(kept.bytes, budget - 160);
        // One that is as large as everything stands alone.
        kept.keep(b, look(1_000), budget);
        assert_eq!(is_kept(&kept), [false, true, false]);
    }

    #[test]
    fn looks_at_which_there_was_nothing_to_see_are_bounded_too() {
        let mut kept = KeptEvidence::default();
        for n in 0..1_000 {
            kept.keep(IncidentId::from_u128(n), look(0), 32 << 20);
        }
        assert_eq!(kept.looks.len(), MAX_LOOKS);
        for n in 0..1_000 {
            kept.keep(IncidentId::from_u128(n), look(0), 64 << 10);
        }
        assert!(kept.looks.len() <= 64);
    }
}
