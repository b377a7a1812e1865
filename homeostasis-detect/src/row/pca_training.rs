//! How a PCA residual learns, in pieces.

use homeostasis_core::stage::Rows;

use super::calibration::{Calibration, quantile};
use super::eigen::Jacobi;
use super::pca_residual::{
    Basis, FLOOR, Model, N_COMPLETIONS, PcaResidualConfig, Track, smoothed, squares,
};
use super::scaler::Scaler;

/// About how many multiplications a piece may take.
const PIECE: usize = 1 << 21;

/// And how many rows, however narrow.
const MAX_ROWS: usize = 8192;

/// A pass over all rows, or a sweep over the matrix, at a time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Training {
    values: Vec<f64>,
    width: usize,
    next_row: usize,
    stage: Stage,
    basis: Basis,
    track: Track,
}

#[derive(Debug, Clone, PartialEq)]
enum Stage {
    /// Means and deviations of the features.
    Scale,
    /// Products of the scaled features.
    Products { sums: Vec<f64> },
    /// The components.
    Components(Jacobi),
    /// Deviations of residuals and changes.
    Deviations {
        residual: Vec<f64>,
        change: Vec<f64>,
    },
    /// Both statistics, smoothed, row by row.
    Statistics {
        residual: Vec<f64>,
        change: Vec<f64>,
        relations: Vec<f64>,
        changes: Vec<f64>,
    },
}

impl Training {
    pub(super) fn new(rows: Rows<'_>) -> Self {
        let width = rows.width();
        Self {
            values: rows.values().to_vec(),
            width,
            next_row: 0,
            stage: Stage::Scale,
            basis: Basis {
                scaler: Scaler::new(width),
                components: Vec::new(),
            },
            track: Track::default(),
        }
    }

    /// The next piece; the model when it is done.
    pub(super) fn step(&mut self, config: &PcaResidualConfig) -> Option<Model> {
        let width = self.width;
        if let Stage::Components(jacobi) = &mut self.stage {
            let n_steps = PIECE / (6 * width * width) + 1;
            if (0..n_steps).all(|_| jacobi.step()) {
                return None;
            }
            self.basis.components = components(jacobi, config.variance);
            return self.enter(Stage::Deviations {
                residual: vec![0.0; width],
                change: vec![0.0; width],
            });
        }
        let all = self.values.len() / width;
        let rows = &self.values[self.next_row * width..];
        let mut left = PIECE;
        let (basis, track, kept) = (&mut self.basis, &mut self.track, config.change_rows);
        for row in rows.chunks_exact(width) {
            if left == 0 {
                break;
            }
            let completes = matches!(
                self.stage,
                Stage::Deviations { .. } | Stage::Statistics { .. }
            ) && row.iter().any(|value| !value.is_finite());
            let completion = if completes {
                2 * N_COMPLETIONS * basis.components.len()
            } else {
                0
            };
            let cost = (width * width + completion).max(PIECE / MAX_ROWS);
            left = left.saturating_sub(cost);
            self.next_row += 1;
            match &mut self.stage {
                Stage::Scale => basis.scaler.learn(row),
                Stage::Products { sums } => {
                    let scaled = basis.scaled(track, row);
                    for (sums, a) in sums.chunks_exact_mut(width).zip(&scaled) {
                        for (sum, b) in sums.iter_mut().zip(&scaled) {
                            *sum += a * b;
                        }
                    }
                    track.push(scaled, kept);
                }
                Stage::Deviations { residual, change } => {
                    let measured = basis.measure(track, row);
                    for (sums, values) in
                        [(residual, &measured.residuals), (change, &measured.changes)]
                    {
                        for (sum, value) in sums.iter_mut().zip(values) {
                            *sum += value * value;
                        }
                    }
                    track.push(measured.scaled, kept);
                }
                Stage::Statistics {
                    residual,
                    change,
                    relations,
                    changes,
                } => {
                    let measured = basis.measure(track, row);
                    for (all, values, deviations) in [
                        (relations, &measured.residuals, residual),
                        (changes, &measured.changes, change),
                    ] {
                        let now = squares(values, deviations).sum();
                        let before = all.last().copied().unwrap_or(0.0);
                        all.push(smoothed(before, now, config.smoothing));
                    }
                    track.push(measured.scaled, kept);
                }
                Stage::Components(_) => {}
            }
        }
        if self.next_row < all {
            None
        } else {
            self.close(config)
        }
    }

    /// Ends a pass over all rows.
    fn close(&mut self, config: &PcaResidualConfig) -> Option<Model> {
        let n_rows = (self.values.len() / self.width) as f64;
        let next = match &mut self.stage {
            Stage::Scale => {
                self.basis.scaler.finish(config.resolution);
                Stage::Products {
                    sums: vec![0.0; self.width * self.width],
                }
            }
            Stage::Products { sums } => {
                let covariance = sums.iter().map(|sum| sum / n_rows).collect();
                Stage::Components(Jacobi::new(covariance, self.width))
            }
            Stage::Components(_) => return None,
            Stage::Deviations { residual, change } => {
                let deviation = |sum: &f64| (sum / n_rows + FLOOR * FLOOR).sqrt();
                Stage::Statistics {
                    residual: residual.iter().map(deviation).collect(),
                    change: change.iter().map(deviation).collect(),
                    relations: Vec::new(),
                    changes: Vec::new(),
                }
            }
            Stage::Statistics {
                residual,
                change,
                relations,
                changes,
            } => {
                let unit =
                    |values: &[f64]| quantile(&mut values.to_vec(), 0.99).max(f64::MIN_POSITIVE);
                let (relation_unit, change_unit) = (unit(relations), unit(changes));
                let both = relations.iter().zip(changes);
                let mut both: Vec<f64> = both
                    .map(|(relation, change)| relation / relation_unit + *change / change_unit)
                    .collect();
                return Some(Model {
                    basis: std::mem::take(&mut self.basis),
                    residual_deviation: std::mem::take(residual),
                    change_deviation: std::mem::take(change),
                    relation_unit,
                    change_unit,
                    calibration: Calibration::of(&mut both, config.contamination),
                });
            }
        };
        self.enter(next)
    }

    fn enter(&mut self, stage: Stage) -> Option<Model> {
        self.stage = stage;
        self.next_row = 0;
        self.track = Track::default();
        None
    }
}

/// The first components that keep at least the share `variance` of all.
fn components(jacobi: &Jacobi, variance: f64) -> Vec<f64> {
    let pairs = jacobi.sorted();
    let whole: f64 = pairs.iter().map(|(value, _)| value.max(0.0)).sum();
    let (mut kept, mut components) = (0.0, Vec::new());
    for (value, vector) in pairs {
        if kept >= variance * whole {
            break;
        }
        kept += value.max(0.0);
        components.extend_from_slice(vector);
    }
    components
}

#[cfg(test)]
mod tests {
    use homeostasis_core::stage::{RowDetector, Rows};

    use super::Training;
    use crate::row::testing;
    use crate::{PcaResidual, PcaResidualConfig};

    fn kernel() -> PcaResidual {
        PcaResidual::new(PcaResidualConfig::default()).unwrap()
    }

    #[test]
    fn rows_with_missing_values_make_pieces_of_fewer_rows() {
        let n_pieces = |past: &[f64]| {
            let mut training = Training::new(Rows::new(past, 32).unwrap());
            let config = PcaResidualConfig::default();
            1 + (0..1000)
                .take_while(|_| training.step(&config).is_none())
                .count()
        };
        let mut past = testing::noise(300, 32, 5);
        let whole = n_pieces(&past);
        for row in past.chunks_mut(32) {
            row[0] = f64::NAN;
        }
        let missing = n_pieces(&past);
        assert!(missing >= whole + 8, "{missing} pieces, {whole} without");
    }

    #[test]
    fn it_keeps_the_contract_of_rows() {
        testing::check(kernel);
    }

    /// Two features that go together, and a third of its own.
    fn pair(n_rows: usize) -> Vec<f64> {
        let noise = testing::noise(n_rows, 3, 5);
        let row = |row: &[f64]| [100.0 + row[0], 5.0 - 2.0 * row[0] + 0.02 * row[1], row[2]];
        noise.chunks(3).flat_map(row).collect()
    }

    #[test]
    fn usual_values_that_do_not_belong_together_are_found() {
        let mut kernel = kernel();
        kernel.fit(Rows::new(&pair(2000), 3).unwrap()).unwrap();
        assert_eq!(kernel.n_components(), Some(2));
        for time in 0..20 {
            let usual = kernel
                .update(testing::at(time), &[100.5, 4.0, 0.0])
                .unwrap();
            assert!(usual.score.get() < 0.5, "{usual:?}");
        }
        let odd = kernel.update(testing::at(20), &[100.5, 6.0, 0.0]).unwrap();
        assert!(odd.score.get() > 0.5, "{odd:?}");
        let parts = kernel.contributions();
        assert!(
            parts[1] > 10.0 * parts[0] && parts[1] > 10.0 * parts[2],
            "{parts:?}"
        );
    }

    #[test]
    fn a_missing_value_is_what_the_others_say_of_it() {
        let mut kernel = kernel();
        kernel.fit(Rows::new(&pair(2000), 3).unwrap()).unwrap();
        for time in 0..30 {
            let along = 1.4 * f64::from(u8::from(time % 2 == 0)) - 0.7;
            let row = [100.0 + along, f64::NAN, 0.1];
            let usual = kernel.update(testing::at(time), &row).unwrap();
            assert!(usual.score.get() < 0.5, "{time}: {usual:?}");
            assert_eq!(kernel.contributions()[1], 0.0);
        }
    }

    #[test]
    fn a_feature_that_never_moved_is_odd_when_it_moves() {
        let noise = testing::noise(500, 3, 6);
        let past: Vec<f64> = noise
            .chunks(3)
            .flat_map(|row| [row[0], row[1], row[2], 0.0])
            .collect();
        let mut kernel = kernel();
        kernel.fit(Rows::new(&past, 4).unwrap()).unwrap();
        kernel.update(testing::at(0), &[0.0; 4]).unwrap();
        let odd = kernel
            .update(testing::at(1), &[0.0, 0.0, 0.0, 1e-3])
            .unwrap();
        assert!(odd.score.get() > 0.5, "{odd:?}");
        assert!(kernel.contributions()[3] > 50.0);
    }

    #[test]
    fn after_a_gap_nothing_changed_suddenly() {
        let past = pair(2000);
        let rows = Rows::new(&past, 3).unwrap();
        let mut kernel = kernel();
        kernel.fit(rows).unwrap();
        kernel.update(testing::at(0), &[101.4, 2.2, 1.0]).unwrap();
        let mut other = kernel.clone();
        let (low, soon, late) = ([98.6, 7.8, -1.0], testing::at(10), testing::at(4000));
        let jump = kernel.update(soon, &low).unwrap();
        let fresh = other.update(late, &low).unwrap();
        assert!(fresh.score < jump.score, "{fresh:?} {jump:?}");
        assert!(other.contributions().iter().all(|part| *part == 0.0));
    }

    #[test]
    fn every_field_out_of_range_is_named() {
        let error = PcaResidual::new(PcaResidualConfig {
            variance: 1.0,
            change_rows: 0,
            smoothing: 0.0,
            contamination: 0.5,
            resolution: 0.0,
            max_gap: std::time::Duration::ZERO,
        })
        .unwrap_err();
        assert_eq!(error.violations().len(), 6, "{error}");
    }
}
