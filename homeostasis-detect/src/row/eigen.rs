//! Eigenvectors of small symmetric matrices, in pieces.

const MAX_SWEEPS: usize = 30;

/// Cyclic Jacobi rotations of a symmetric matrix of `n` rows.
///
/// Source: G. H. Golub, C. F. Van Loan, *Matrix Computations*, 4th edition 2013, section 8.5.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Jacobi {
    n: usize,
    matrix: Vec<f64>,
    /// Eigenvectors as rows.
    vectors: Vec<f64>,
    row: usize,
    sweeps: usize,
}

impl Jacobi {
    /// The finite symmetric matrix in `matrix`, row after row.
    pub(super) fn new(matrix: Vec<f64>, n: usize) -> Self {
        let mut vectors = vec![0.0; n * n];
        vectors
            .iter_mut()
            .step_by(n + 1)
            .for_each(|value| *value = 1.0);
        Self {
            n,
            matrix,
            vectors,
            row: 0,
            sweeps: 0,
        }
    }

    /// Rotates what lies right of the diagonal in one row; whether more is left. O(n²).
    pub(super) fn step(&mut self) -> bool {
        if self.row == 0 && (self.is_diagonal() || self.sweeps == MAX_SWEEPS) {
            return false;
        }
        for column in self.row + 1..self.n {
            self.rotate(self.row, column);
        }
        self.row += 1;
        if self.row >= self.n {
            self.row = 0;
            self.sweeps += 1;
        }
        true
    }

    /// Eigenvalues with their eigenvectors, largest first; equal ones in the order of their rows.
    pub(super) fn sorted(&self) -> Vec<(f64, &[f64])> {
        let values = self.matrix.iter().step_by(self.n + 1).copied();
        let mut pairs: Vec<_> = values.zip(self.vectors.chunks_exact(self.n)).collect();
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        pairs
    }

    fn is_diagonal(&self) -> bool {
        let (mut on, mut off) = (0.0, 0.0);
        for (at, value) in self.matrix.iter().enumerate() {
            let sum = if at % (self.n + 1) == 0 {
                &mut on
            } else {
                &mut off
            };
            *sum += value * value;
        }
        off <= 1e-24 * on
    }

    /// Makes the entry at `row` and `column` zero.
    fn rotate(&mut self, row: usize, column: usize) {
        let n = self.n;
        let off = self.matrix[row * n + column];
        if off == 0.0 {
            return;
        }
        let apart = self.matrix[column * n + column] - self.matrix[row * n + row];
        let tau = apart / (2.0 * off);
        let tangent = tau.signum() / (tau.abs() + tau.hypot(1.0));
        let cosine = 1.0 / tangent.hypot(1.0);
        let sine = tangent * cosine;
        let turn = |values: &mut [f64], at: usize, other: usize| {
            let (first, second) = (values[at], values[other]);
            values[at] = cosine * first - sine * second;
            values[other] = sine * first + cosine * second;
        };
        for k in 0..n {
            turn(&mut self.matrix, k * n + row, k * n + column);
        }
        for k in 0..n {
            turn(&mut self.matrix, row * n + k, column * n + k);
            turn(&mut self.vectors, row * n + k, column * n + k);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn vectors_are_orthonormal_and_give_the_matrix_back(
            n in 1_usize..9, values in prop::collection::vec(-10.0_f64..10.0, 81),
        ) {
            let symmetric = |i: usize, j: usize| values[i * 9 + j] + values[j * 9 + i];
            let matrix: Vec<f64> = (0..n * n).map(|at| symmetric(at / n, at % n)).collect();
            let mut jacobi = Jacobi::new(matrix.clone(), n);
            while jacobi.step() {}
            let pairs = jacobi.sorted();
            prop_assert!(pairs.is_sorted_by(|a, b| a.0 >= b.0));
            for i in 0..n {
                for j in 0..n {
                    let dot: f64 = pairs[i].1.iter().zip(pairs[j].1).map(|(a, b)| a * b).sum();
                    prop_assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-9);
                    let back: f64 = pairs.iter().map(|(value, v)| value * v[i] * v[j]).sum();
                    prop_assert!((back - matrix[i * n + j]).abs() < 1e-9);
                }
            }
        }
    }

    #[test]
    fn a_diagonal_matrix_is_done_at_once() {
        let mut jacobi = Jacobi::new(vec![2.0, 0.0, 0.0, 5.0], 2);
        assert!(!jacobi.step());
        assert_eq!(
            jacobi.sorted(),
            [(5.0, &[0.0, 1.0][..]), (2.0, &[1.0, 0.0])]
        );
        assert!(!Jacobi::new(vec![0.0; 9], 3).step());
    }
}
