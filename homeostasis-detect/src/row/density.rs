//! Density clustering: which rows belong together.

use homeostasis_core::stage::{DetectError, Rows};
use linfa::ParamGuard as _;
use linfa::traits::Transformer as _;
use linfa_clustering::Dbscan;
use ndarray::Array2;

/// Neighbors are looked up in O(n log n) at best, and in O(n²) where all are near each other.
const MAX_ROWS: usize = 10_000;

/// For each row the number of its group, from 0 in the order of their first rows; `None` for those that
/// belong to none.
///
/// Rows with at least `min_points` rows, themselves included, within the Euclidean distance `tolerance` are the cores of a
/// group, with all that is within reach of a core. So failures that come near each other in whatever the
/// columns are (time, hop, kind) are one group, of any shape and without a number of groups given.
/// Columns must be in units in which `tolerance` means the same for all. Rows with NaN or infinities
/// belong to none. At most 10 000 rows; the same rows give the same groups.
///
/// Source: M. Ester, H.-P. Kriegel, J. Sander, X. Xu, *A density-based algorithm for discovering clusters in
/// large spatial databases with noise*, KDD 1996 (DBSCAN, as the crate `linfa-clustering` has it).
///
/// # Errors
/// If there are more rows, `min_points` is below 2, or `tolerance` is not a finite number above 0.
///
/// # Examples
/// ```
/// use homeostasis::core::stage::Rows;
/// use homeostasis::detect::density_groups;
///
/// let times = [0.0, 1.0, 2.0, 60.0, 200.0, 201.0];
/// let groups = density_groups(Rows::new(&times, 1)?, 5.0, 2)?;
/// assert_eq!(groups, [Some(0), Some(0), Some(0), None, Some(1), Some(1)]);
/// # Ok::<(), homeostasis::core::stage::DetectError>(())
/// ```
pub fn density_groups(
    rows: Rows<'_>,
    tolerance: f64,
    min_points: usize,
) -> Result<Vec<Option<usize>>, DetectError> {
    if rows.len() > MAX_ROWS {
        let found = format!("{} rows to group", rows.len());
        return Err(DetectError::invalid(
            found,
            format!("expected at most {MAX_ROWS}"),
        ));
    }
    if !tolerance.is_finite() {
        return Err(DetectError::invalid(
            format!("tolerance = {tolerance}"),
            "expected a finite number above 0",
        ));
    }
    let params = Dbscan::params::<f64>(min_points).tolerance(tolerance);
    let params = params.check().map_err(|error| {
        DetectError::invalid(
            format!("min_points = {min_points}, tolerance = {tolerance}"),
            error.to_string(),
        )
    })?;
    let is_whole = |row: &&[f64]| row.iter().all(|value| value.is_finite());
    let whole: Vec<f64> = rows.iter().filter(is_whole).flatten().copied().collect();
    let shape = (whole.len() / rows.width(), rows.width());
    let points = Array2::from_shape_vec(shape, whole)
        .map_err(|error| DetectError::invalid("rows to group", error.to_string()))?;
    let groups = params.transform(&points);
    let mut groups = groups.iter().copied();
    let group = |row: &[f64]| {
        if is_whole(&row) {
            groups.next().flatten()
        } else {
            None
        }
    };
    Ok(rows.iter().map(group).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_one_group_and_what_is_far_or_unknown_is_in_none() {
        let ring = (0..40).flat_map(|at| {
            let angle = f64::from(at) * std::f64::consts::TAU / 40.0;
            [10.0 * angle.cos(), 10.0 * angle.sin()]
        });
        let center = [0.0, 0.0, 0.1, 0.0, 0.0, 0.1];
        let values: Vec<f64> = ring
            .chain(center)
            .chain([50.0, 50.0, f64::NAN, 0.0])
            .collect();
        let groups = density_groups(Rows::new(&values, 2).unwrap(), 2.0, 3).unwrap();
        assert!(
            groups[..40].iter().all(|group| *group == Some(0)),
            "{groups:?}"
        );
        assert_eq!(groups[40..], [Some(1), Some(1), Some(1), None, None]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let rows = Rows::new(&[1.0, 2.0, 3.0], 1).unwrap();
        for (tolerance, min_points, named) in [
            (0.0, 2, "tolerance = 0"),
            (f64::NAN, 2, "tolerance = NaN"),
            (f64::INFINITY, 2, "tolerance = inf"),
            (1.0, 1, "min_points = 1"),
        ] {
            let error = density_groups(rows, tolerance, min_points)
                .unwrap_err()
                .to_string();
            assert!(error.contains(named), "{error}");
        }
        let many = vec![0.0; MAX_ROWS + 1];
        let error = density_groups(Rows::new(&many, 1).unwrap(), 1.0, 2).unwrap_err();
        assert!(error.to_string().contains("10001 rows"), "{error}");
        assert_eq!(
            density_groups(Rows::new(&[], 3).unwrap(), 1.0, 2).unwrap(),
            []
        );
        assert_eq!(
            density_groups(Rows::new(&[f64::NAN], 1).unwrap(), 1.0, 2).unwrap(),
            [None]
        );
    }
}
