//! One component: its series on a grid of time, its window, its kernel and where its alarm stands.

use std::time::Duration;

use homeostasis_core::record::Anomaly;
use homeostasis_core::signal::SeriesKey;
use homeostasis_core::stage::{DetectError, RowDetector, RowScore, Rows};
use homeostasis_core::{Target, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::per_component::PerComponentConfig;
use crate::series::{AlertState, Alerting, Transition};

/// What a component keeps beside its kernel; as it is stored, too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) target: Target,
    pub(super) last_seen: Timestamp,
    pub(super) cells: Vec<Cell>,
    /// The step that is being filled.
    step: Option<i64>,
    /// Rows, oldest first.
    #[serde(with = "missing_as_null")]
    window: Vec<f64>,
    /// When the oldest rows of the window end, and so on.
    ends: Vec<Timestamp>,
    pub(super) alert: AlertState,
    began: Option<Timestamp>,
    /// How many rows are being learned, from the oldest on, and how many pieces are done.
    learning: Option<(usize, usize)>,
}

/// The latest of one feature.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cell {
    pub(super) key: Option<SeriesKey>,
    at: Option<Timestamp>,
    value: f64,
}

#[derive(Debug)]
pub(super) struct Component<K> {
    pub(super) record: Record,
    kernel: K,
    /// How many pieces of learning may still be done.
    pub(super) pieces_left: u32,
    /// How many of them it may do itself in this call.
    pub(super) share: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    pub(super) record: Record,
    kernel: Value,
}

/// A row that raised an alarm.
pub(super) struct Alarm {
    pub(super) at: Timestamp,
    pub(super) since: Timestamp,
    pub(super) score: RowScore,
    /// Features by their share in the score, largest first.
    pub(super) shares: Vec<(usize, f64)>,
    pub(super) row: Vec<f64>,
    /// The last points of the first of them.
    pub(super) series: Vec<(Timestamp, f64)>,
}

impl<K: RowDetector> Component<K> {
    pub(super) fn new(target: Target, width: usize, kernel: K) -> Self {
        let record = Record {
            target,
            last_seen: Timestamp::EPOCH,
            cells: vec![Cell::default(); width],
            step: None,
            window: Vec::new(),
            ends: Vec::new(),
            alert: AlertState::default(),
            began: None,
            learning: None,
        };
        Self {
            record,
            kernel,
            pieces_left: 0,
            share: u32::MAX,
        }
    }

    /// Forgets what is later than `now`: the clock was set back. A new kernel learns what is left of the window.
    pub(super) fn set_back(&mut self, now: Timestamp, kernel: K) {
        let record = &mut self.record;
        record.last_seen = now;
        record.step = None;
        for cell in &mut record.cells {
            cell.at = cell.at.filter(|at| *at <= now);
        }
        let n_rows = record.ends.partition_point(|end| *end <= now);
        record.ends.truncate(n_rows);
        record.window.truncate(n_rows * record.cells.len());
        record.alert = AlertState::default();
        (record.began, record.learning) = (None, None);
        self.kernel = kernel;
    }

    /// Takes a sample; closes the rows before its step. `None` if its row is closed already.
    pub(super) fn take(
        &mut self,
        config: &PerComponentConfig,
        alerting: &Alerting,
        (feature, at, value): (usize, Timestamp, f64),
    ) -> Option<Vec<Alarm>> {
        let step_nanos = nanos(config.step);
        let step = at.as_nanos().div_euclid(step_nanos);
        let record = &mut self.record;
        record.last_seen = record.last_seen.max(at);
        let mut alarms = Vec::new();
        match record.step {
            Some(open) if step < open => return None,
            Some(open) if step > open => {
                // After a pause only the rows are closed in which something was still known.
                let last = open.saturating_add(i64::from(config.carry)).min(step - 1);
                for closed in open..=last {
                    let end = Timestamp::from_nanos((closed + 1).saturating_mul(step_nanos));
                    alarms.extend(self.close(config, alerting, end));
                }
            }
            _ => {}
        }
        self.record.step = Some(step);
        if let Some(cell) = self.record.cells.get_mut(feature)
            && value.is_finite()
        {
            cell.at = Some(at);
            cell.value = value;
        }
        Some(alarms)
    }

    /// Ends the row that was being filled.
    fn close(
        &mut self,
        config: &PerComponentConfig,
        alerting: &Alerting,
        end: Timestamp,
    ) -> Option<Alarm> {
        let valid = config.step * (config.carry + 1);
        let value = |cell: &Cell| {
            let is_known = cell.at.is_some_and(|at| end.since(at) <= valid);
            if is_known { cell.value } else { f64::NAN }
        };
        let row: Vec<f64> = self.record.cells.iter().map(value).collect();
        if row.iter().all(|value| value.is_nan()) {
            return None;
        }
        // The kernel sees rows of the width it was made for, so it cannot refuse one.
        let score = self.kernel.update(end, &row).unwrap_or_default();
        self.record.window.extend_from_slice(&row);
        self.record.ends.push(end);
        let transition = alerting.step(&mut self.record.alert, end, score.score);
        let alarm = match transition {
            Transition::Raised { since } | Transition::Reraised { since } => {
                let shares = shares(&self.kernel.contributions());
                let first = shares.first().map_or(0, |(feature, _)| *feature);
                Some(Alarm {
                    at: end,
                    since,
                    score,
                    series: self.record.points(first),
                    shares,
                    row,
                })
            }
            Transition::Cleared { .. } | Transition::None => None,
        };
        self.learn(config, end);
        alarm
    }

    fn learn(&mut self, config: &PerComponentConfig, now: Timestamp) {
        let record = &mut self.record;
        if record.learning.is_none() {
            record.forget(config.max_rows());
            let is_due = record
                .began
                .is_none_or(|began| now.since(began) >= config.retrain);
            if !is_due || record.ends.len() < config.min_rows {
                return;
            }
            record.began = Some(now);
            record.learning = Some((record.ends.len(), 0));
            if let Err(error) = begin(&mut self.kernel, record) {
                self.give_up(&error);
                return;
            }
        }
        let most = config.pieces_per_row.min(self.share);
        for _ in 0..most.min(self.pieces_left) {
            self.pieces_left -= 1;
            self.share = self.share.saturating_sub(1);
            match self.kernel.learn() {
                Ok(true) => {
                    if let Some((_, n_pieces)) = &mut self.record.learning {
                        *n_pieces += 1;
                    }
                }
                Ok(false) => {
                    self.record.learning = None;
                    return;
                }
                Err(error) => {
                    self.give_up(&error);
                    return;
                }
            }
        }
        if self.record.ends.len() > 2 * config.max_rows() {
            // Slower than rows come; the next try may take fewer.
            self.record.forget(config.max_rows());
            self.record.learning = None;
        }
    }

    fn give_up(&mut self, error: &DetectError) {
        self.record.learning = None;
        tracing::warn!(target = %self.record.target, %error, "a model could not be learned; the last one stays");
    }

    /// How far it has come in what it learns now.
    pub(super) fn n_learned(&self) -> Option<usize> {
        self.record.learning.map(|(_, n_pieces)| n_pieces)
    }

    pub(super) fn save(&self) -> Option<Stored> {
        Some(Stored {
            record: self.record.clone(),
            kernel: self.kernel.save()?,
        })
    }

    /// What was being learned is learned again up to where it was, if these are no more than the pieces that are left;
    /// otherwise it is due again.
    pub(super) fn load(
        stored: Stored,
        width: usize,
        mut kernel: K,
        pieces_left: &mut u32,
    ) -> Result<Self, DetectError> {
        let Stored {
            mut record,
            kernel: state,
        } = stored;
        let fits = record.cells.len() == width
            && record.window.len() == record.ends.len() * width
            && record
                .learning
                .is_none_or(|(n_rows, _)| n_rows <= record.ends.len());
        crate::state::require(
            fits,
            "stored component",
            &format!("rows of {width} features"),
        )?;
        kernel.load(&state)?;
        if let Some((_, n_pieces)) = record.learning {
            let left = u32::try_from(n_pieces).ok();
            let left = left.and_then(|n_pieces| pieces_left.checked_sub(n_pieces));
            if let Some(left) = left {
                *pieces_left = left;
                begin(&mut kernel, &record)?;
                let mut goes_on = true;
                for _ in 0..n_pieces {
                    goes_on = kernel.learn()?;
                    if !goes_on {
                        break;
                    }
                }
                if !goes_on {
                    record.learning = None;
                }
            } else {
                (record.began, record.learning) = (None, None);
            }
        }
        Ok(Self {
            record,
            kernel,
            pieces_left: 0,
            share: u32::MAX,
        })
    }
}

fn begin(kernel: &mut impl RowDetector, record: &Record) -> Result<(), DetectError> {
    let width = record.cells.len();
    let n_rows = record.learning.map_or(0, |(n_rows, _)| n_rows);
    kernel.begin(Rows::new(&record.window[..n_rows * width], width)?)
}

impl Record {
    pub(super) fn n_rows(&self) -> usize {
        self.ends.len()
    }

    /// Lets the oldest rows go.
    fn forget(&mut self, max_rows: usize) {
        let n_old = self.ends.len().saturating_sub(max_rows);
        self.ends.drain(..n_old);
        self.window.drain(..n_old * self.cells.len());
    }

    /// The last points of a feature.
    fn points(&self, feature: usize) -> Vec<(Timestamp, f64)> {
        let rows = self.window.chunks_exact(self.cells.len().max(1));
        let points = self.ends.iter().zip(rows).filter_map(|(end, row)| {
            let value = row.get(feature).filter(|value| value.is_finite())?;
            Some((*end, *value))
        });
        let points: Vec<_> = points.collect();
        points[points.len().saturating_sub(Anomaly::MAX_POINTS)..].to_vec()
    }
}

/// Parts of the whole, largest first; the first in order among equals.
fn shares(contributions: &[f64]) -> Vec<(usize, f64)> {
    let whole: f64 = contributions.iter().sum();
    let share = |part: &f64| if whole > 0.0 { part / whole } else { 0.0 };
    let mut shares: Vec<_> = contributions.iter().map(share).enumerate().collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    shares
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos())
        .unwrap_or(i64::MAX)
        .max(1)
}

/// JSON has no NaN.
mod missing_as_null {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(values: &[f64], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(
            values
                .iter()
                .map(|value| value.is_finite().then_some(*value)),
        )
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
        let values = Vec::<Option<f64>>::deserialize(from)?;
        Ok(values
            .into_iter()
            .map(|value| value.unwrap_or(f64::NAN))
            .collect())
    }
}
