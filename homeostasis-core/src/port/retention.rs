//! Retention: which closed incidents the journal keeps, and where the others go.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::id::IncidentId;
use crate::port::{StoreError, Version};
use crate::record::HealEvent;
use crate::time::Timestamp;

/// A closed incident, as [`Store::closed_incidents`](crate::port::Store::closed_incidents) lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosedIncident {
    /// Which.
    pub id: IncidentId,
    /// How many events it has.
    pub version: Version,
    /// When the last of them happened.
    pub closed_at: Timestamp,
    /// How many bytes its events take as JSON.
    pub bytes: u64,
}

/// How much of the journal is kept.
///
/// Only closed incidents are ever removed, those that closed longest ago first; whatever limit is
/// passed decides. Open incidents, leases, tokens, counters and documents do not count.
///
/// ```
/// use homeostasis::core::port::Retention;
/// let retention = Retention { max_incidents: Some(1_000), ..Retention::default() };
/// assert_eq!(retention.max_age, None);
/// ```
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// How long after it closed an incident is kept; default no limit.
    pub max_age: Option<Duration>,
    /// How many bytes the events of closed incidents may take as JSON; default no limit. A store's
    /// own overhead comes on top.
    pub max_bytes: Option<u64>,
    /// How many closed incidents are kept; default no limit.
    pub max_incidents: Option<u64>,
}

impl Retention {
    /// Those of `closed` that must go at `now`: a leading part of it. `closed` is ordered by the
    /// time of closing, oldest first. O(n).
    pub fn due<'a>(&self, closed: &'a [ClosedIncident], now: Timestamp) -> &'a [ClosedIncident] {
        let oldest = self.max_age.map(|max| now - max);
        let mut count = closed.len() as u64;
        let mut bytes: u64 = closed.iter().map(|incident| incident.bytes).sum();
        let n_due = closed
            .iter()
            .take_while(|incident| {
                let is_due = oldest.is_some_and(|oldest| incident.closed_at < oldest)
                    || self.max_incidents.is_some_and(|max| count > max)
                    || self.max_bytes.is_some_and(|max| bytes > max);
                count -= 1;
                bytes -= incident.bytes;
                is_due
            })
            .count();
        &closed[..n_due]
    }
}

/// Where closed incidents go before the journal forgets them.
///
/// *Guarantees an implementation gives:* what was appended is durable when the call returns, also
/// against a crash during a later append. An incident that is appended again with the same events
/// is there once for whoever reads: the process may die between archiving and forgetting, and then
/// archives again.
#[async_trait]
pub trait Archive: fmt::Debug + Send + Sync {
    /// Makes `incidents` durable, each with all its events, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the medium fails, [`StoreError::Invalid`] if an incident is empty or
    /// its events do not belong together. The incidents of a failed call stay in the journal.
    async fn append(&self, incidents: &[Vec<HealEvent>]) -> Result<(), StoreError>;
}

const _: fn(&dyn Archive) = |_| {};

#[async_trait]
impl<T: Archive + ?Sized> Archive for Arc<T> {
    async fn append(&self, incidents: &[Vec<HealEvent>]) -> Result<(), StoreError> {
        (**self).append(incidents).await
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn closed(n: u64, at: i64, bytes: u64) -> ClosedIncident {
        ClosedIncident {
            id: IncidentId::from_u128(n.into()),
            version: Version(1),
            closed_at: Timestamp::from_secs(at),
            bytes,
        }
    }

    #[test]
    fn each_limit_decides_alone_and_the_oldest_go() {
        let all = [closed(1, 10, 5), closed(2, 20, 5), closed(3, 30, 5)];
        let now = Timestamp::from_secs(40);
        let aged = |secs| Retention {
            max_age: Some(Duration::from_secs(secs)),
            ..Retention::default()
        };
        assert_eq!(aged(30).due(&all, now), &all[..0]);
        assert_eq!(aged(29).due(&all, now), &all[..1]);
        let few = |max_incidents, max_bytes| Retention {
            max_bytes,
            max_incidents,
            ..Retention::default()
        };
        assert_eq!(few(Some(1), None).due(&all, now), &all[..2]);
        assert_eq!(few(None, Some(10)).due(&all, now), &all[..1]);
        assert_eq!(few(None, Some(9)).due(&all, now), &all[..2]);
        assert_eq!(few(Some(0), None).due(&all, now), &all);
        assert_eq!(few(None, None).due(&all, now + Duration::MAX), &all[..0]);
    }

    proptest! {
        #[test]
        fn what_stays_is_within_the_limits_and_nothing_goes_without_need(
            sizes in prop::collection::vec((0_i64..100, 0_u64..50), 0..30),
            max_age in 0_u64..100, max_bytes in 0_u64..500, max_incidents in 0_u64..30,
        ) {
            let mut all: Vec<_> = (0..).zip(sizes).map(|(n, (at, bytes))| closed(n, at, bytes)).collect();
            all.sort_by_key(|incident| incident.closed_at);
            let retention = Retention {
                max_age: Some(Duration::from_secs(max_age)),
                max_bytes: Some(max_bytes),
                max_incidents: Some(max_incidents),
            };
            let now = Timestamp::from_secs(100);
            let fits = |rest: &[ClosedIncident]| {
                rest.len() as u64 <= max_incidents
                    && rest.iter().map(|incident| incident.bytes).sum::<u64>() <= max_bytes
                    && rest.iter().all(|incident| incident.closed_at >= now - Duration::from_secs(max_age))
            };
            let n = retention.due(&all, now).len();
            prop_assert!(fits(&all[n..]));
            prop_assert!(n == 0 || !fits(&all[n - 1..]));
        }
    }
}
