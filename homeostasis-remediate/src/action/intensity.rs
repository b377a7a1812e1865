//! How often something may be restarted before restarting is not what helps.

use std::collections::VecDeque;
use std::time::Duration;

use homeostasis_core::Timestamp;

/// At most `max` starts within `period`, as Erlang's supervisors count.
///
/// Source: Erlang/OTP, *Supervisor Behaviour*, "Tuning the Restart Intensity and Period".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartIntensity {
    /// How often. With 0 nothing is ever started.
    pub max: u32,
    /// Within which time.
    pub period: Duration,
}

impl Default for RestartIntensity {
    /// 5 times in 60 s.
    fn default() -> Self {
        Self {
            max: 5,
            period: Duration::from_secs(60),
        }
    }
}

impl RestartIntensity {
    /// Counts a start at `now` if one more is allowed; `starts` holds those that were counted.
    pub(crate) fn admit(&self, starts: &mut VecDeque<Timestamp>, now: Timestamp) -> bool {
        starts.retain(|at| now.since(*at) < self.period);
        let room = starts.len() < usize::try_from(self.max).unwrap_or(usize::MAX);
        if room {
            starts.push_back(now);
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_window_ever_holds_more_starts_than_allowed(
            max in 0_u32..5,
            gaps in proptest::collection::vec(0_u64..30, 0..60),
        ) {
            let period = Duration::from_secs(60);
            let intensity = RestartIntensity { max, period };
            let (mut starts, mut admitted, mut now) = (VecDeque::new(), Vec::new(), Timestamp::EPOCH);
            for gap in gaps {
                now = now + Duration::from_secs(gap);
                let before = admitted.iter().filter(|at| now.since(**at) < period).count();
                let admits = intensity.admit(&mut starts, now);
                prop_assert_eq!(admits, before < max as usize);
                if admits {
                    admitted.push(now);
                }
            }
            prop_assert!(starts.len() <= max as usize);
        }
    }
}
