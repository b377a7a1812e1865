//! A condition that must hold several times in a row.

use std::collections::BTreeSet;
use std::time::Duration;

use homeostasis_core::condition::{Condition, Quantity, Truth, Variable};
use homeostasis_core::record::CheckOutcome;
use homeostasis_core::stage::VerifyError;
use homeostasis_core::{SeriesWindow, Target, TargetScope, Timestamp};

use super::{Look, Reading, check_window};

/// Values named in a detail.
const MAX_SHOWN: usize = 4;

#[derive(Debug, Clone)]
pub(super) struct Holding {
    condition: Condition,
    target: Target,
    window: Duration,
    consecutive: u32,
    /// How many times in a row it held, each time with a new sample.
    row: u32,
    /// The newest sample that was looked at.
    newest: Option<Timestamp>,
}

impl Holding {
    pub(super) fn new(
        condition: Condition,
        target: Target,
        window: Duration,
        consecutive: u32,
    ) -> Result<Self, VerifyError> {
        check_window(window)?;
        if consecutive == 0 {
            return Err(VerifyError::invalid(
                "criterion consecutive",
                "0, expected 1 or more",
            ));
        }
        Ok(Self {
            condition,
            target,
            window,
            consecutive,
            row: 0,
            newest: None,
        })
    }

    /// Whether it asks for a level, which noise may cross, and not for a state.
    pub(super) fn is_level(&self) -> bool {
        self.condition.asks_for_order()
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// The same of another target; `None` if the condition itself names an instance.
    pub(super) fn about(&self, other: &Target) -> Option<Self> {
        let is_named = |variable: &Variable| variable.label("instance").is_some();
        (!self.condition.variables().any(is_named)).then(|| Self {
            target: other.clone(),
            row: 0,
            newest: None,
            ..self.clone()
        })
    }

    pub(super) fn look(&mut self, look: &Look<'_>) -> Result<Reading, VerifyError> {
        let scope = TargetScope {
            observations: look.observations,
            target: Some(&self.target),
            since: look.from(self.window),
            now: look.now,
        };
        let seen = Seen::new(&self.condition, &scope);
        let truth = seen.truth(&self.condition).map_err(|error| {
            VerifyError::invalid(format!("criterion {}", self.condition), error.to_string())
        })?;
        let newest = seen.newest();
        let is_new = newest > self.newest;
        self.newest = self.newest.max(newest);
        self.row = match truth {
            Truth::True if is_new => self.row.saturating_add(1),
            Truth::True => self.row,
            Truth::False | Truth::Unknown => 0,
        };
        let values = seen.describe();
        Ok(match truth {
            Truth::Unknown => Reading::new(
                CheckOutcome::NoData,
                format!(
                    "no value of {} in the last {:?} after the remedy",
                    seen.missing(),
                    self.window.min(look.watched())
                ),
            )
            .settled_by(format!("samples of {}", seen.missing())),
            Truth::False => Reading::new(CheckOutcome::Failed, format!("does not hold: {values}")),
            Truth::True if self.row >= self.consecutive => Reading::new(
                CheckOutcome::Passed,
                format!("held {} of {} times: {values}", self.row, self.consecutive),
            ),
            Truth::True => Reading::new(
                CheckOutcome::Undecided,
                format!("held {} of {} times: {values}", self.row, self.consecutive),
            )
            .settled_by(format!(
                "{} more samples of the same",
                self.consecutive - self.row
            )),
        })
    }
}

/// The series behind the variables of a condition.
struct Seen<'a> {
    variables: Vec<(&'a Variable, Vec<SeriesWindow>)>,
}

impl<'a> Seen<'a> {
    fn new(condition: &'a Condition, scope: &TargetScope<'_>) -> Self {
        Self {
            variables: condition
                .variables()
                .map(|variable| {
                    let mut windows = scope.series(variable);
                    windows.retain(|window| window.latest().is_some());
                    (variable, windows)
                })
                .collect(),
        }
    }

    /// Holds for every instance, at the highest and at the lowest value of each variable.
    fn truth(
        &self,
        condition: &Condition,
    ) -> Result<Truth, homeostasis_core::condition::EvalError> {
        let instances: BTreeSet<&str> = self
            .variables
            .iter()
            .flat_map(|(_, windows)| windows)
            .filter_map(|window| window.key.labels.get("instance").map(String::as_str))
            .collect();
        let groups: Vec<Option<&str>> = if instances.is_empty() {
            vec![None]
        } else {
            instances.into_iter().map(Some).collect()
        };
        let mut truth = Truth::True;
        for group in groups {
            for extreme in [f64::max, f64::min] {
                let scope = |variable: &Variable| self.value(variable, group, extreme);
                truth = truth & condition.evaluate(&scope)?;
            }
        }
        Ok(truth)
    }

    fn value(
        &self,
        variable: &Variable,
        instance: Option<&str>,
        extreme: fn(f64, f64) -> f64,
    ) -> Option<Quantity> {
        self.variables
            .iter()
            .filter(|(named, _)| *named == variable)
            .flat_map(|(_, windows)| windows)
            .filter(|window| {
                let of = window.key.labels.get("instance").map(String::as_str);
                of.is_none() || of == instance
            })
            .filter_map(|window| window.latest().map(|(_, value)| value))
            .reduce(extreme)
            .map(Quantity::number)
    }

    fn newest(&self) -> Option<Timestamp> {
        self.variables
            .iter()
            .flat_map(|(_, windows)| windows)
            .filter_map(|window| window.latest().map(|(at, _)| at))
            .max()
    }

    /// The variables without a value; all of them if each has some.
    fn missing(&self) -> String {
        let name = |(variable, _): &(&Variable, Vec<SeriesWindow>)| variable.to_string();
        let empty: Vec<_> = self
            .variables
            .iter()
            .filter(|(_, windows)| windows.is_empty())
            .map(name)
            .collect();
        if !empty.is_empty() {
            return empty.join(", ");
        }
        let all: Vec<_> = self.variables.iter().map(name).collect();
        if all.is_empty() {
            "any metric".to_owned()
        } else {
            format!("{} for every instance", all.join(", "))
        }
    }

    fn describe(&self) -> String {
        let values: Vec<_> = self
            .variables
            .iter()
            .flat_map(|(_, windows)| windows)
            .filter_map(|window| {
                let (_, value) = window.latest()?;
                Some(format!(
                    "{} = {}",
                    window.key,
                    super::comparison::short(value)
                ))
            })
            .collect();
        let more = values.len().saturating_sub(MAX_SHOWN);
        let shown = values[..values.len() - more].join(", ");
        if more > 0 {
            format!("{shown} and {more} more")
        } else {
            shown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::signal::SeriesKey;
    use homeostasis_core::testing::RecordedObservations;

    const fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn key(metric: &str, instance: &str) -> SeriesKey {
        SeriesKey::new(metric)
            .with("service", "orders")
            .with("instance", instance)
    }

    fn holding(condition: &str, consecutive: u32) -> Holding {
        Holding::new(
            Condition::parse(condition).unwrap(),
            Target::service("orders").unwrap(),
            Duration::from_secs(30),
            consecutive,
        )
        .unwrap()
    }

    fn outcome(holding: &mut Holding, world: &RecordedObservations, now: i64) -> CheckOutcome {
        holding
            .look(&Look::new(world, at(0), at(100), at(now)))
            .unwrap()
            .outcome
    }

    #[test]
    fn a_value_from_before_the_remedy_ended_never_counts() {
        let world = RecordedObservations::new().with_series(
            key("up", "0"),
            [(at(99), 1.0), (at(100), 1.0), (at(104), 0.0)],
        );
        let mut up = holding("up == 1", 1);
        assert_eq!(outcome(&mut up, &world, 102), CheckOutcome::NoData);
        assert_eq!(outcome(&mut up, &world, 105), CheckOutcome::Failed);
    }

    #[test]
    fn the_same_sample_seen_twice_is_one_time_in_a_row() {
        let world = RecordedObservations::new()
            .with_series(key("up", "0"), [(at(101), 1.0), (at(111), 1.0)]);
        let mut up = holding("up == 1", 2);
        for now in [102, 103, 110] {
            assert_eq!(
                outcome(&mut up, &world, now),
                CheckOutcome::Undecided,
                "{now}"
            );
        }
        assert_eq!(outcome(&mut up, &world, 112), CheckOutcome::Passed);
    }

    #[test]
    fn a_relapse_and_a_gap_start_the_row_again() {
        let world = RecordedObservations::new().with_series(
            key("up", "0"),
            [
                (at(101), 1.0),
                (at(102), 0.0),
                (at(103), 1.0),
                (at(150), 1.0),
            ],
        );
        let mut up = holding("up == 1", 2);
        assert_eq!(outcome(&mut up, &world, 101), CheckOutcome::Undecided);
        assert_eq!(outcome(&mut up, &world, 102), CheckOutcome::Failed);
        assert_eq!(outcome(&mut up, &world, 103), CheckOutcome::Undecided);
        assert_eq!(outcome(&mut up, &world, 140), CheckOutcome::NoData);
        assert_eq!(outcome(&mut up, &world, 150), CheckOutcome::Undecided);
    }

    #[test]
    fn one_sick_instance_is_enough_to_fail_upwards_and_downwards() {
        let world = RecordedObservations::new()
            .with_point(key("up", "0"), at(101), 1.0)
            .with_point(key("up", "1"), at(101), 0.0);
        assert_eq!(
            outcome(&mut holding("up == 1", 1), &world, 102),
            CheckOutcome::Failed
        );
        assert_eq!(
            outcome(&mut holding("up < 0.5", 1), &world, 102),
            CheckOutcome::Failed
        );
        assert_eq!(
            outcome(&mut holding("up <= 1", 1), &world, 102),
            CheckOutcome::Passed
        );
    }

    #[test]
    fn a_metric_missing_for_one_instance_is_no_data_and_units_that_do_not_fit_are_an_error() {
        let world = RecordedObservations::new()
            .with_point(key("up", "0"), at(101), 1.0)
            .with_point(key("up", "1"), at(101), 1.0)
            .with_point(key("queue", "0"), at(101), 1.0);
        assert_eq!(
            outcome(&mut holding("up == 1 and queue < 5", 1), &world, 102),
            CheckOutcome::NoData
        );
        let error = holding("queue < 5s", 1)
            .look(&Look::new(&world, at(0), at(100), at(102)))
            .unwrap_err();
        assert!(error.to_string().contains("queue < 5s"), "{error}");
    }
}
