//! How much an error may cost to propose for.

use std::time::Duration;

use homeostasis_core::{Clock, ConfigError, Timestamp, Violation, Violations};

/// How much one error may cost to propose for. Where one of these ends, what was found until then is
/// proposed, and [`Proposal::ended`](super::Proposal::ended) says which ended and where.
///
/// ```
/// use std::time::Duration;
/// use homeostasis::patch::{Proposer, ProposalBudget, TemplateSet};
///
/// let budget = ProposalBudget { time: Duration::from_secs(2), ..ProposalBudget::default() };
/// let proposer = Proposer::new(TemplateSet::built_in()?).within(budget)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposalBudget {
    /// How many frames of the project are looked at; default 16, 1 to 64.
    pub frames: usize,
    /// How many bytes of source are read, a file counted for each of its frames; default 8 MiB, 1 KiB
    /// to 1 GiB.
    pub bytes: usize,
    /// How many nodes of syntax are searched, those of a file counted for each of its frames; default
    /// 2 000 000, at least 1000.
    pub nodes: usize,
    /// How many changes are made and parsed; default 500, 1 to 10 000.
    pub changes: usize,
    /// How long it may take, where a clock is given; default 10 s, 1 ms to 1 h. It is looked at
    /// between templates and between changes, so it is exceeded by one of them at most.
    pub time: Duration,
}

impl Default for ProposalBudget {
    fn default() -> Self {
        Self {
            frames: 16,
            bytes: 8 << 20,
            nodes: 2_000_000,
            changes: 500,
            time: Duration::from_secs(10),
        }
    }
}

impl ProposalBudget {
    /// # Errors
    /// Everything that is out of range, at once.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let mut violations = Violations::new();
        for (name, value, least, most) in [
            ("frames", self.frames, 1, 64),
            ("bytes", self.bytes, 1 << 10, 1 << 30),
            ("nodes", self.nodes, 1000, usize::MAX),
            ("changes", self.changes, 1, 10_000),
        ] {
            if !(least..=most).contains(&value) {
                let place = format!("propose.budget.{name}");
                let expected = format!("{least} <= {name} <= {most}");
                violations.push(Violation::new(place, value, expected));
            }
        }
        let (least, most) = (Duration::from_millis(1), Duration::from_secs(3600));
        if !(least..=most).contains(&self.time) {
            violations.push(Violation::new(
                "propose.budget.time",
                format!("{:?}", self.time),
                "1ms <= time <= 1h",
            ));
        }
        violations.into_result(())
    }
}

/// What was spent of a budget.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    budget: &'a ProposalBudget,
    clock: Option<(&'a dyn Clock, Timestamp)>,
    frames: usize,
    bytes: usize,
    nodes: usize,
    changes: usize,
    ended: Option<String>,
}

impl<'a> Meter<'a> {
    /// Begins now.
    pub(crate) fn new(budget: &'a ProposalBudget, clock: Option<&'a dyn Clock>) -> Self {
        Self {
            budget,
            clock: clock.map(|clock| (clock, clock.now())),
            frames: 0,
            bytes: 0,
            nodes: 0,
            changes: 0,
            ended: None,
        }
    }

    /// What ended, and where.
    pub(crate) fn ended(self) -> Option<String> {
        self.ended
    }

    /// What ended until now.
    pub(crate) fn what_ended(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    /// Whether a frame in a file of so many bytes may be looked at.
    pub(crate) fn takes_frame(&mut self, place: &str, n_bytes: usize) -> bool {
        self.frames += 1;
        self.bytes = self.bytes.saturating_add(n_bytes);
        let (frames, bytes) = (self.budget.frames, self.budget.bytes);
        self.holds(place, self.frames <= frames, || format!("{frames} frames"))
            && self.holds(place, self.bytes <= bytes, || {
                format!("{bytes} bytes of source")
            })
            && self.has_time(place)
    }

    /// Whether so many nodes may be searched.
    pub(crate) fn takes_nodes(&mut self, place: &str, n: usize) -> bool {
        self.nodes = self.nodes.saturating_add(n);
        let nodes = self.budget.nodes;
        self.holds(place, self.nodes <= nodes, || {
            format!("{nodes} nodes of syntax")
        })
    }

    /// Whether one more change may be made.
    pub(crate) fn takes_change(&mut self, place: &str) -> bool {
        self.changes += 1;
        let changes = self.budget.changes;
        self.holds(place, self.changes <= changes, || {
            format!("{changes} changes")
        }) && self.has_time(place)
    }

    /// Whether there is time left.
    pub(crate) fn has_time(&mut self, place: &str) -> bool {
        let Some((clock, began)) = self.clock else {
            return self.ended.is_none();
        };
        let time = self.budget.time;
        let is_left = clock.now().since(began) < time;
        self.holds(place, is_left, || format!("{time:?}"))
    }

    fn holds(&mut self, place: &str, is_left: bool, what: impl Fn() -> String) -> bool {
        if !is_left && self.ended.is_none() {
            self.ended = Some(format!("the budget of {} ended at {place}", what()));
        }
        self.ended.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_value_is_named_at_once() {
        let budget = ProposalBudget {
            frames: 0,
            bytes: 1,
            nodes: 1,
            changes: 0,
            time: Duration::ZERO,
        };
        let error = budget.validate().unwrap_err();
        assert_eq!(error.violations().len(), 5, "{error}");
        assert!(ProposalBudget::default().validate().is_ok());
    }
}
