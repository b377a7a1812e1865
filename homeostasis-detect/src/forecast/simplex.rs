//! Minimizing a function of a few variables inside a box.

/// The minimum of `f` inside the box from `low` to `high`, as found from `start`: where, and how much.
///
/// The simplex of Nelder and Mead with its usual coefficients (1, 2, 0.5, 0.5); points outside the box count as
/// the nearest inside.
/// Deterministic; at most about `max_evals` evaluations, fewer when the values of the simplex agree to 1e-10.
/// A value of NaN counts as infinitely bad.
/// Source: J. A. Nelder and R. Mead, *A simplex method for function minimization*, Computer Journal 7 (1965).
pub(super) fn minimize(
    mut f: impl FnMut(&[f64]) -> f64,
    start: &[f64],
    low: &[f64],
    high: &[f64],
    max_evals: usize,
) -> (Vec<f64>, f64) {
    let n = start.len();
    let inside = |point: &mut Vec<f64>| {
        for (x, (low, high)) in point.iter_mut().zip(low.iter().zip(high)) {
            *x = x.clamp(*low, *high);
        }
    };
    let mut n_evals = 0;
    let mut value = |point: &[f64]| {
        n_evals += 1;
        let found = f(point);
        (if found.is_nan() { f64::INFINITY } else { found }, n_evals)
    };
    let mut first = start.to_vec();
    inside(&mut first);
    let at_first = value(&first).0;
    let mut simplex = vec![(first.clone(), at_first)];
    for i in 0..n {
        let mut point = first.clone();
        let side = 0.25 * (high[i] - low[i]);
        point[i] += if point[i] + side <= high[i] {
            side
        } else {
            -side
        };
        inside(&mut point);
        let found = value(&point).0;
        simplex.push((point, found));
    }
    loop {
        simplex.sort_by(|a, b| a.1.total_cmp(&b.1));
        let (best, worst) = (simplex[0].1, simplex[n].1);
        if n == 0 || worst - best <= 1e-10 * best.abs() {
            break;
        }
        let toward = |factor: f64| {
            let mut point: Vec<f64> = (0..n)
                .map(|i| {
                    let center = simplex[..n].iter().map(|(p, _)| p[i]).sum::<f64>() / n as f64;
                    center + factor * (simplex[n].0[i] - center)
                })
                .collect();
            inside(&mut point);
            point
        };
        let mut next = toward(-1.0);
        let (mut found, mut used) = value(&next);
        if found < best {
            let further = toward(-2.0);
            let (at_further, evals) = value(&further);
            used = evals;
            if at_further < found {
                (next, found) = (further, at_further);
            }
        } else if found >= simplex[n - 1].1 {
            let nearer = toward(if found < worst { -0.5 } else { 0.5 });
            (found, used) = value(&nearer);
            next = nearer;
        }
        if found < simplex[n - 1].1 || found < worst {
            simplex[n] = (next, found);
        } else {
            let center = simplex[0].0.clone();
            for (point, at) in &mut simplex[1..] {
                for (x, center) in point.iter_mut().zip(&center) {
                    *x = f64::midpoint(*x, *center);
                }
                (*at, used) = value(point);
            }
        }
        if used >= max_evals {
            simplex.sort_by(|a, b| a.1.total_cmp(&b.1));
            break;
        }
    }
    simplex.swap_remove(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valley_is_followed_to_its_end() {
        let rosenbrock = |p: &[f64]| (1.0 - p[0]).powi(2) + 100.0 * (p[1] - p[0] * p[0]).powi(2);
        let (at, value) = minimize(rosenbrock, &[-1.2, 1.0], &[-2.0; 2], &[2.0; 2], 1000);
        assert!(value < 1e-8, "{value}");
        assert!((at[0] - 1.0).abs() < 1e-3 && (at[1] - 1.0).abs() < 1e-3);
    }

    #[test]
    fn a_minimum_outside_is_found_on_the_edge_and_nan_is_avoided() {
        let slope = |p: &[f64]| if p[0] > 0.9 { f64::NAN } else { p[0] + p[1] };
        let (at, _) = minimize(slope, &[0.95, 0.5], &[0.1, 0.2], &[1.0, 1.0], 400);
        assert!(
            (at[0] - 0.1).abs() < 1e-6 && (at[1] - 0.2).abs() < 1e-6,
            "{at:?}"
        );
    }
}
