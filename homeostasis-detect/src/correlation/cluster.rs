//! Clusters by density.

/// Groups `n` points by density: the number of the cluster of each, or nothing for one that stands alone.
///
/// A point with at least `min_points` points (itself among them) within `eps` is a core; cores within `eps` of each
/// other are of one cluster, and so is what lies within `eps` of a core.
/// A point within reach of several clusters belongs to the first that reaches it, in the order of the points.
/// Clusters are numbered from 0 in the order of their first core. A distance of NaN is not within anything.
/// O(n²) distances, each asked for at most twice; `distance` must be symmetric.
///
/// Source: M. Ester, H.-P. Kriegel, J. Sander, X. Xu, *A density-based algorithm for discovering clusters in large
/// spatial databases with noise*, KDD 1996, section 4.
///
/// # Examples
/// ```
/// use homeostasis::detect::dbscan;
///
/// let seconds: [f64; 6] = [0.0, 2.0, 3.0, 60.0, 100.0, 101.0];
/// let clusters = dbscan(seconds.len(), 5.0, 2, |a, b| (seconds[a] - seconds[b]).abs());
/// assert_eq!(clusters, [Some(0), Some(0), Some(0), None, Some(1), Some(1)]);
/// ```
pub fn dbscan(
    n: usize,
    eps: f64,
    min_points: usize,
    distance: impl Fn(usize, usize) -> f64,
) -> Vec<Option<usize>> {
    let near = |point: usize| -> Vec<usize> {
        let others = 0..n;
        others
            .filter(|other| *other == point || distance(point, *other) <= eps)
            .collect()
    };
    let mut clusters: Vec<Option<usize>> = vec![None; n];
    let mut n_clusters = 0;
    let mut was_open = vec![false; n];
    for point in 0..n {
        if clusters[point].is_some() {
            continue;
        }
        let reached = near(point);
        if reached.len() < min_points {
            continue;
        }
        let cluster = n_clusters;
        n_clusters += 1;
        clusters[point] = Some(cluster);
        was_open[point] = true;
        let mut open = reached;
        while let Some(next) = open.pop() {
            if clusters[next].is_none() {
                clusters[next] = Some(cluster);
            }
            if clusters[next] != Some(cluster) || was_open[next] {
                continue;
            }
            was_open[next] = true;
            let reached = near(next);
            if reached.len() >= min_points {
                open.extend(reached.into_iter().filter(|other| !was_open[*other]));
            }
        }
    }
    clusters
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_border_point_is_no_bridge() {
        // Three are dense on the left and three on the right; the one in the middle reaches both.
        let places: [f64; 7] = [0.0, 0.5, 1.0, 2.0, 3.0, 3.5, 4.0];
        let clusters =
            |min_points| dbscan(7, 1.0, min_points, |a, b| (places[a] - places[b]).abs());
        let (left, right) = (Some(0), Some(1));
        assert_eq!(clusters(4), [left, left, left, left, right, right, right]);
        // With three points it is a core, and a bridge.
        assert_eq!(clusters(3), [left; 7]);
        assert_eq!(clusters(5), [None; 7]);
        assert_eq!(dbscan(0, 1.0, 1, |_, _| 0.0), []);
        assert_eq!(dbscan(3, 1.0, 2, |_, _| f64::NAN), [None; 3]);
    }

    proptest! {
        /// By the definition: cores in reach of each other share a cluster, noise is in reach of no core.
        #[test]
        fn clusters_are_what_the_definition_says(places in prop::collection::vec(0.0..20.0_f64, 0..40), min_points in 1_usize..5) {
            let distance = |a: usize, b: usize| (places[a] - places[b]).abs();
            let n = places.len();
            let clusters = dbscan(n, 1.0, min_points, distance);
            let is_core = |a: usize| (0..n).filter(|b| distance(a, *b) <= 1.0).count() >= min_points;
            for a in 0..n {
                if is_core(a) {
                    prop_assert!(clusters[a].is_some());
                }
                let mut by_core = false;
                for b in 0..n {
                    if distance(a, b) <= 1.0 && is_core(b) {
                        by_core = true;
                        if is_core(a) {
                            prop_assert_eq!(clusters[a], clusters[b]);
                        }
                    }
                }
                prop_assert_eq!(clusters[a].is_some(), by_core);
            }
        }
    }
}
