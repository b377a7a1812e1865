//! Small systems of linear equations.

/// The sums of products of a response (column 0) and regressors, from which a least-squares fit of any subset is solved.
#[derive(Debug, Clone)]
pub(super) struct Gram {
    n_columns: usize,
    /// Row by row.
    sums: Vec<f64>,
}

impl Gram {
    /// For rows of `n_columns` numbers, the response first.
    pub(super) fn new(n_columns: usize) -> Self {
        Self {
            n_columns,
            sums: vec![0.0; n_columns * n_columns],
        }
    }

    /// Adds a row.
    pub(super) fn add(&mut self, row: &[f64]) {
        for (line, a) in self.sums.chunks_exact_mut(self.n_columns).zip(row) {
            for (slot, b) in line.iter_mut().zip(row) {
                *slot += a * b;
            }
        }
    }

    /// The same with another column, `new`; `columns` are those it has so far.
    pub(super) fn with(&self, columns: &[Vec<f64>], new: &[f64]) -> Self {
        let (old, n) = (self.n_columns, self.n_columns + 1);
        let mut wider = Self::new(n);
        for (wide, line) in wider
            .sums
            .chunks_exact_mut(n)
            .zip(self.sums.chunks_exact(old.max(1)))
        {
            wide[..old].copy_from_slice(line);
        }
        let dot = |column: &[f64]| column.iter().zip(new).map(|(a, b)| a * b).sum::<f64>();
        for (i, column) in columns.iter().enumerate() {
            let product = dot(column);
            wider.sums[i * n + old] = product;
            wider.sums[old * n + i] = product;
        }
        wider.sums[old * n + old] = dot(new);
        wider
    }

    fn get(&self, i: usize, j: usize) -> f64 {
        self.sums[i * self.n_columns + j]
    }

    /// The coefficients of the regressors `chosen` and the sum of the squared residuals; `None` where
    /// sums are not finite.
    ///
    /// By Cholesky's method; a regressor that the ones before it explain to 1e-10 gets 0.
    /// O(k³) for k regressors.
    pub(super) fn solve(&self, chosen: &[usize]) -> Option<Fit> {
        let (k, y) = (chosen.len(), 0);
        let mut lower = vec![0.0; k * k];
        let mut half = vec![0.0; k];
        for i in 0..k {
            for j in 0..=i {
                let done: f64 = (0..j).map(|l| lower[i * k + l] * lower[j * k + l]).sum();
                let rest = self.get(chosen[i], chosen[j]) - done;
                lower[i * k + j] = if i == j {
                    let size = self.get(chosen[i], chosen[i]);
                    if rest > 1e-10 * size {
                        rest.sqrt()
                    } else {
                        0.0
                    }
                } else if lower[j * k + j] > 0.0 {
                    rest / lower[j * k + j]
                } else {
                    0.0
                };
            }
            let done: f64 = (0..i).map(|l| lower[i * k + l] * half[l]).sum();
            let pivot = lower[i * k + i];
            half[i] = if pivot > 0.0 {
                (self.get(chosen[i], y) - done) / pivot
            } else {
                0.0
            };
        }
        let rest = self.get(y, y) - half.iter().map(|x| x * x).sum::<f64>();
        let mut found = vec![0.0; k];
        for i in (0..k).rev() {
            let pivot = lower[i * k + i];
            if pivot > 0.0 {
                let done: f64 = (i + 1..k).map(|l| lower[l * k + i] * found[l]).sum();
                found[i] = (half[i] - done) / pivot;
            }
        }
        let is_sound = rest.is_finite() && found.iter().chain(&lower).all(|x| x.is_finite());
        is_sound.then(|| Fit {
            found,
            rest: rest.max(0.0),
            lower,
        })
    }
}

/// A least-squares fit.
#[derive(Debug, Clone)]
pub(super) struct Fit {
    pub(super) found: Vec<f64>,
    /// The sum of the squared residuals.
    pub(super) rest: f64,
    /// The Cholesky factor of the regressors, row by row.
    lower: Vec<f64>,
}

impl Fit {
    /// The covariance of the last two coefficients, in variances of the response: of one, of both, of the other.
    ///
    /// `None` if one of them is not determined.
    pub(super) fn covariance_of_last_two(&self) -> Option<[f64; 3]> {
        let k = self.found.len();
        if k < 2 {
            return None;
        }
        let (a, b, c) = (
            self.lower[(k - 2) * k + k - 2],
            self.lower[(k - 1) * k + k - 2],
            self.lower[(k - 1) * k + k - 1],
        );
        // The inverse of L Lᵀ with L = [a 0; b c].
        let found = [
            (1.0 + (b / c).powi(2)) / (a * a),
            -b / (a * c * c),
            1.0 / (c * c),
        ];
        found.iter().all(|x| x.is_finite()).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_plane_is_found_and_a_repeated_regressor_gets_nothing() {
        let mut gram = Gram::new(4);
        for i in 0..20 {
            let (a, b) = (f64::from(i), f64::from(i * i % 7));
            gram.add(&[3.0 * a - 2.0 * b, a, b, a]);
        }
        let Fit { found, rest, .. } = gram.solve(&[1, 2, 3]).unwrap();
        for (found, expected) in found.iter().zip([3.0, -2.0, 0.0]) {
            assert!((found - expected).abs() < 1e-9, "{found}");
        }
        assert!(rest < 1e-6, "{rest}");
        gram.add(&[1e300, 1e300, 0.0, 0.0]);
        assert!(gram.solve(&[1]).is_none());
    }
}
