//! The decision matrix: from what the checks of a target say to its state.

use homeostasis_core::signal::HealthState;
use homeostasis_core::{ConfigError, Violations};
use serde::{Deserialize, Serialize};

use super::tally::{HealthTally, TierTally};
use crate::check;

/// How many failing checks make which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthMatrixConfig {
    /// So many failing shallow checks are *unhealthy*, fewer are *degraded*; default 3, at least 1.
    pub shallow_unhealthy: u32,
    /// So many failing deep checks are *unhealthy*, fewer are *degraded*; default 1, at least 1.
    pub deep_unhealthy: u32,
    /// So many failing comprehensive checks are *critical*, fewer are *unhealthy*; default 1, at
    /// least 1.
    pub comprehensive_critical: u32,
}

impl Default for HealthMatrixConfig {
    fn default() -> Self {
        Self {
            shallow_unhealthy: 3,
            deep_unhealthy: 1,
            comprehensive_critical: 1,
        }
    }
}

/// What a state asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthAction {
    /// Nothing.
    Nothing,
    /// Ask the deep checks: not enough is known.
    AskDeep,
    /// Remediate.
    Remediate,
    /// Call people, and do nothing by itself.
    CallPeople,
}

/// What the matrix says of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthJudgement {
    /// How it is; `None` if no check says anything.
    pub state: Option<HealthState>,
    /// What that asks for.
    pub action: HealthAction,
}

/// The decision matrix, a pure function.
///
/// The first row that applies decides:
///
/// | what the checks say | state | asks for |
/// |---|---|---|
/// | a comprehensive failure | critical | people |
/// | a deep failure, or three shallow ones | unhealthy | remediation |
/// | one or two shallow failures | degraded | the deep checks |
/// | nothing at all, or nothing that is still fresh | unknown | the deep checks |
/// | no failure, but a check of which nothing is known, or one that says *degraded* | degraded | the deep checks |
/// | every check passes | healthy | nothing |
///
/// What is not known is never healthy, and it is never a failure: no data is no evidence. The
/// numbers are those of the default configuration; where it is stricter or milder, failures that do
/// not reach a tier's own number count one state lower.
///
/// # Examples
/// ```
/// use homeostasis::core::signal::{HealthState, HealthTier};
/// use homeostasis::detect::{HealthAction, HealthMatrix, HealthTally};
///
/// let mut tally = HealthTally::default();
/// tally.count(HealthTier::Shallow, Some(HealthState::Unhealthy));
/// let judged = HealthMatrix::default().judge(&tally);
/// assert_eq!((judged.state, judged.action), (Some(HealthState::Degraded), HealthAction::AskDeep));
/// tally.count(HealthTier::Deep, Some(HealthState::Unhealthy));
/// assert_eq!(HealthMatrix::default().judge(&tally).action, HealthAction::Remediate);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HealthMatrix {
    config: HealthMatrixConfig,
}

impl HealthMatrix {
    /// A matrix with other numbers.
    ///
    /// # Errors
    /// If a number is 0.
    pub fn new(config: HealthMatrixConfig) -> Result<Self, ConfigError> {
        let mut found = Violations::new();
        for (path, n) in [
            ("shallow_unhealthy", config.shallow_unhealthy),
            ("deep_unhealthy", config.deep_unhealthy),
            ("comprehensive_critical", config.comprehensive_critical),
        ] {
            let path = format!("matrix.{path}");
            check::that(&mut found, n > 0, &path, n, "at least 1 check");
        }
        found.into_result(Self { config })
    }

    /// The state of a target whose checks say this.
    pub fn judge(&self, tally: &HealthTally) -> HealthJudgement {
        let state = self.state(tally);
        let action = match state {
            Some(HealthState::Healthy) => HealthAction::Nothing,
            Some(HealthState::Degraded) | None => HealthAction::AskDeep,
            Some(HealthState::Unhealthy) => HealthAction::Remediate,
            Some(HealthState::Critical) => HealthAction::CallPeople,
        };
        HealthJudgement { state, action }
    }

    fn state(&self, tally: &HealthTally) -> Option<HealthState> {
        let failed = [
            tally.shallow.failed,
            tally.deep.failed,
            tally.comprehensive.failed,
        ];
        let [shallow, deep, comprehensive] = failed;
        if comprehensive >= self.config.comprehensive_critical {
            Some(HealthState::Critical)
        } else if comprehensive > 0
            || deep >= self.config.deep_unhealthy
            || shallow >= self.config.shallow_unhealthy
        {
            Some(HealthState::Unhealthy)
        } else if shallow > 0 || deep > 0 {
            Some(HealthState::Degraded)
        } else if tally.total(TierTally::n_known) == 0 {
            None
        } else if tally.total(|of| of.unknown.saturating_add(of.degraded)) > 0 {
            Some(HealthState::Degraded)
        } else {
            Some(HealthState::Healthy)
        }
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::signal::HealthTier;
    use proptest::prelude::*;

    use super::*;
    use HealthAction::{AskDeep, CallPeople, Nothing, Remediate};
    use HealthState::{Critical, Degraded, Healthy, Unhealthy};

    /// Passed, degraded, failed, unknown.
    type Row = [u32; 4];

    fn tally(rows: [Row; 3]) -> HealthTally {
        let [shallow, deep, comprehensive] =
            rows.map(|[passed, degraded, failed, unknown]| TierTally {
                passed,
                degraded,
                failed,
                unknown,
            });
        HealthTally {
            shallow,
            deep,
            comprehensive,
        }
    }

    #[test]
    fn every_row_of_the_matrix() {
        const NONE: Row = [0, 0, 0, 0];
        const PASS: Row = [1, 0, 0, 0];
        const FAIL: Row = [0, 0, 1, 0];
        let rows: [([Row; 3], Option<HealthState>, HealthAction); 22] = [
            // All shallow checks pass.
            ([PASS, NONE, NONE], Some(Healthy), Nothing),
            ([[9, 0, 0, 0], PASS, PASS], Some(Healthy), Nothing),
            ([NONE, PASS, NONE], Some(Healthy), Nothing),
            // One or two shallow failures.
            ([[9, 0, 1, 0], NONE, NONE], Some(Degraded), AskDeep),
            ([[0, 0, 1, 0], PASS, PASS], Some(Degraded), AskDeep),
            ([[9, 0, 2, 0], PASS, PASS], Some(Degraded), AskDeep),
            ([[0, 0, 2, 5], NONE, NONE], Some(Degraded), AskDeep),
            // Three shallow failures.
            ([[9, 0, 3, 0], PASS, PASS], Some(Unhealthy), Remediate),
            ([[0, 0, 4, 0], NONE, NONE], Some(Unhealthy), Remediate),
            // A deep failure.
            ([PASS, FAIL, PASS], Some(Unhealthy), Remediate),
            ([NONE, [5, 0, 1, 0], NONE], Some(Unhealthy), Remediate),
            ([[0, 0, 2, 0], FAIL, NONE], Some(Unhealthy), Remediate),
            // A comprehensive failure.
            ([PASS, PASS, FAIL], Some(Critical), CallPeople),
            ([[0, 0, 9, 0], FAIL, FAIL], Some(Critical), CallPeople),
            ([NONE, NONE, [3, 0, 1, 0]], Some(Critical), CallPeople),
            // What is not known.
            ([NONE, NONE, NONE], None, AskDeep),
            ([[0, 0, 0, 3], NONE, NONE], None, AskDeep),
            ([[0, 0, 0, 3], [0, 0, 0, 1], NONE], None, AskDeep),
            ([[8, 0, 0, 1], PASS, NONE], Some(Degraded), AskDeep),
            ([PASS, [0, 0, 0, 1], NONE], Some(Degraded), AskDeep),
            // What says so itself.
            ([[2, 1, 0, 0], PASS, NONE], Some(Degraded), AskDeep),
            ([PASS, PASS, [0, 1, 0, 0]], Some(Degraded), AskDeep),
        ];
        for (said, state, action) in rows {
            let judged = HealthMatrix::default().judge(&tally(said));
            assert_eq!(judged, HealthJudgement { state, action }, "{said:?}");
        }
    }

    #[test]
    fn other_numbers_and_failures_below_them() {
        let matrix = HealthMatrix::new(HealthMatrixConfig {
            shallow_unhealthy: 1,
            deep_unhealthy: 2,
            comprehensive_critical: 2,
        })
        .unwrap();
        let state = |rows| matrix.judge(&tally(rows)).state;
        assert_eq!(state([[5, 0, 1, 0], [0; 4], [0; 4]]), Some(Unhealthy));
        assert_eq!(state([[5, 0, 0, 0], [0, 0, 1, 0], [0; 4]]), Some(Degraded));
        assert_eq!(state([[5, 0, 0, 0], [0; 4], [0, 0, 1, 0]]), Some(Unhealthy));
        let none: HealthMatrixConfig = serde_json::from_str(
            r#"{"shallow_unhealthy":0,"deep_unhealthy":0,"comprehensive_critical":0}"#,
        )
        .unwrap();
        let error = HealthMatrix::new(none).unwrap_err().to_string();
        for path in [
            "shallow_unhealthy",
            "deep_unhealthy",
            "comprehensive_critical",
        ] {
            let told = format!("matrix.{path} = 0, expected at least 1 check");
            assert!(error.contains(&told), "{error}");
        }
    }

    type Said = (HealthTier, Option<HealthState>);

    fn check() -> impl Strategy<Value = Said> {
        let tier = prop::sample::select(HealthTier::ALL.to_vec());
        let states = [Healthy, Degraded, Unhealthy, Critical].map(Some);
        (tier, prop::sample::select([&states[..], &[None]].concat()))
    }

    fn judge(checks: &[Said]) -> Option<HealthState> {
        let mut tally = HealthTally::default();
        for (tier, state) in checks {
            tally.count(*tier, *state);
        }
        HealthMatrix::default().judge(&tally).state
    }

    proptest! {
        #[test]
        fn more_failures_never_improve_a_state(
            mut checks in prop::collection::vec(check(), 1..12),
            at in any::<prop::sample::Index>(),
            added in prop::sample::select(HealthTier::ALL.to_vec()),
        ) {
            let before = judge(&checks);
            let i = at.index(checks.len());
            let mut worse = checks.clone();
            worse[i].1 = worse[i].1.map_or(Some(Unhealthy), |state| Some(state.max(Unhealthy)));
            prop_assert!(judge(&worse) >= before, "{checks:?} -> {worse:?}");
            checks.push((added, Some(Unhealthy)));
            prop_assert!(judge(&checks) >= before);
        }

        #[test]
        fn order_does_not_matter_and_the_unknown_is_never_healthy(
            checks in prop::collection::vec(check(), 0..12),
            turn in any::<prop::sample::Index>(),
        ) {
            let mut turned = checks.clone();
            if !turned.is_empty() {
                turned.rotate_left(turn.index(checks.len()));
            }
            prop_assert_eq!(judge(&turned), judge(&checks));
            turned.reverse();
            prop_assert_eq!(judge(&turned), judge(&checks));
            if checks.is_empty() || checks.iter().any(|(_, state)| *state != Some(Healthy)) {
                prop_assert_ne!(judge(&checks), Some(Healthy));
            }
        }
    }
}
