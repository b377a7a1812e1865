//! Isolation trees in flat arrays, laid out for scoring.
//!
//! A tree is complete, eight levels deep. A node is one word: a threshold in the upper 24 bits, a feature in
//! the lower 8; a value is its 24 bits with ones below. So one comparison of words decides a step, there are no
//! branches to predict, and four levels fit a cache line. Where a branch ends early the nodes below it are
//! 0, which sends every value to the right, to the last leaf below.

use homeostasis_core::Rng;

/// How many rows a tree is grown from at most, and how many leaves it has.
pub(super) const N_LEAVES: usize = 256;
/// Blocks of 15 nodes over four levels, the first slot unused: the root's, then one for each of its 16 exits.
pub(super) const N_NODES: usize = 17 * BLOCK;
const BLOCK: usize = 16;
const N_LEVELS: u32 = 8;
/// The largest value of 24 bits.
pub(super) const MAX_VALUE: u32 = (1 << 24) - 1;
/// How many descents run beside each other, so that one does not wait for the memory of another.
const ABREAST: usize = 10;
/// How many rows make a block; they stay in the first cache.
pub(super) const N_ROWS: usize = 16 * ABREAST;
/// How many levels a block goes at once.
const N_BEGUN: u32 = 3;
/// The unit of path lengths in leaves.
const STEPS: f64 = 2048.0;

type Nodes = [u32; N_NODES];
type Leaves = [u16; N_LEAVES];

/// A value as trees compare it.
pub(super) fn word(value: u32) -> u32 {
    (value.min(MAX_VALUE) << 8) | 0xff
}

/// The expected length of an unsuccessful search in a binary tree of `n` keys, `2 H(n-1) - 2 (n-1) / n`
/// with the exact harmonic number.
pub(super) fn expected_path(n: usize) -> f64 {
    let harmonic: f64 = (1..n).map(|i| 1.0 / i as f64).sum();
    if n < 2 {
        0.0
    } else {
        2.0 * harmonic - 2.0 * (n - 1) as f64 / n as f64
    }
}

/// Trees one after another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trees<'a> {
    nodes: &'a [Nodes],
    leaves: &'a [Leaves],
}

impl<'a> Trees<'a> {
    /// The trees in arrays of [`N_NODES`] and [`N_LEAVES`] each.
    pub(super) fn new(nodes: &'a [u32], leaves: &'a [u16]) -> Self {
        Self {
            nodes: nodes.as_chunks().0,
            leaves: leaves.as_chunks().0,
        }
    }

    /// The mean path length of a row of words.
    pub(super) fn path<const LANES: usize>(self, row: &[u32; LANES]) -> f64 {
        let (nodes, nodes_left) = self.nodes.as_chunks::<ABREAST>();
        let (leaves, leaves_left) = self.leaves.as_chunks::<ABREAST>();
        let mut sum = 0;
        for (nodes, leaves) in nodes.iter().zip(leaves) {
            sum += descend(
                nodes.each_ref(),
                leaves.each_ref(),
                [row; ABREAST],
                (0, [1; ABREAST]),
            )
            .iter()
            .sum::<u32>();
        }
        for (nodes, leaves) in nodes_left.iter().zip(leaves_left) {
            sum += descend([nodes], [leaves], [row], (0, [1]))[0];
        }
        self.mean(sum)
    }

    /// The mean path lengths of the rows of a block, tree by tree; the same as one by one.
    pub(super) fn paths<const LANES: usize>(self, block: &Block<LANES>, out: &mut [f64]) {
        let (mut sums, mut begun) = ([0; N_ROWS], [0; N_ROWS]);
        for (nodes, leaves) in self.nodes.iter().zip(self.leaves) {
            block.begin(nodes, &mut begun);
            let rows = block.rows.as_chunks::<ABREAST>().0;
            let begun = begun.as_chunks().0;
            let sums = sums.as_chunks_mut::<ABREAST>().0;
            for ((rows, begun), sums) in rows.iter().zip(begun).zip(sums) {
                let from = (N_BEGUN, *begun);
                let (nodes, leaves) = ([nodes; ABREAST], [leaves; ABREAST]);
                let found = descend(nodes, leaves, rows.each_ref(), from);
                for (sum, found) in sums.iter_mut().zip(found) {
                    *sum += found;
                }
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = self.mean(sum);
        }
    }

    /// Whole numbers are added, so the order of trees does not matter.
    fn mean(self, sum: u32) -> f64 {
        f64::from(sum) / (STEPS * self.nodes.len() as f64)
    }
}

/// Rows that are scored together, by row and by feature.
pub(super) struct Block<const LANES: usize> {
    rows: Vec<[u32; LANES]>,
    /// Words in the order of signed numbers, which is the one that is compared abreast.
    columns: Vec<[i32; N_ROWS]>,
}

impl<const LANES: usize> Block<LANES> {
    pub(super) fn new() -> Self {
        Self {
            rows: vec![[0; LANES]; N_ROWS],
            columns: vec![[0; N_ROWS]; LANES],
        }
    }

    pub(super) fn set(&mut self, row: usize, feature: usize, word: u32) {
        self.rows[row][feature] = word;
        self.columns[feature][row] = signed(word);
    }

    /// Where the rows stand after three levels: all seven nodes are asked and the answers picked, which
    /// takes several rows at once and is faster than to follow each.
    fn begin(&self, nodes: &Nodes, places: &mut [u32; N_ROWS]) {
        let column = |slot: usize| &self.columns[nodes[slot] as usize % LANES];
        let [_, c1, c2, c3, c4, c5, c6, c7]: [_; 8] = std::array::from_fn(column);
        let node = |slot: usize| signed(nodes[slot]);
        let [_, n1, n2, n3, n4, n5, n6, n7]: [_; 8] = std::array::from_fn(node);
        let pick = |which: u32, right: u32, left: u32| (which & right) | (!which & left);
        for (row, place) in places.iter_mut().enumerate() {
            let right =
                |column: &[i32; N_ROWS], node| if column[row] >= node { u32::MAX } else { 0 };
            let first = right(c1, n1);
            let second = pick(first, right(c3, n3), right(c2, n2));
            let third = pick(
                first,
                pick(second, right(c7, n7), right(c6, n6)),
                pick(second, right(c5, n5), right(c4, n4)),
            );
            *place = 8 + (first & 4) + (second & 2) + (third & 1);
        }
    }
}

fn signed(word: u32) -> i32 {
    (word ^ (1 << 31)).cast_signed()
}

/// Follows the rows from where they stand after some of the first four levels.
#[inline(always)]
#[expect(clippy::inline_always, reason = "the arrays must stay in registers")]
fn descend<const LANES: usize, const N: usize>(
    nodes: [&Nodes; N],
    leaves: [&Leaves; N],
    rows: [&[u32; LANES]; N],
    (n_levels, mut at): (u32, [u32; N]),
) -> [u32; N] {
    for _ in n_levels..N_LEVELS / 2 {
        for lane in 0..N {
            at[lane] = step(nodes[lane][at[lane] as usize % BLOCK], at[lane], rows[lane]);
        }
    }
    let exits = at.map(|at| at as usize % BLOCK);
    let blocks: [&[u32; BLOCK]; N] =
        std::array::from_fn(|lane| &nodes[lane].as_chunks().0[1 + exits[lane]]);
    at = [1; N];
    for _ in 0..N_LEVELS / 2 {
        for lane in 0..N {
            at[lane] = step(
                blocks[lane][at[lane] as usize % BLOCK],
                at[lane],
                rows[lane],
            );
        }
    }
    std::array::from_fn(|lane| {
        let leaf = exits[lane] * BLOCK + at[lane] as usize % BLOCK;
        u32::from(leaves[lane][leaf])
    })
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "five instructions of the innermost loop"
)]
fn step<const LANES: usize>(node: u32, at: u32, row: &[u32; LANES]) -> u32 {
    2 * at + u32::from(row[node as usize % LANES] >= node)
}

/// The rows a tree is grown from: values of 24 bits, row after row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample<'a> {
    pub(super) values: &'a [u32],
    /// Values of a row, 1 to 256.
    pub(super) width: usize,
}

/// Grows one tree from at most [`N_LEAVES`] rows and appends it.
///
/// It stops at the depth at which a balanced tree of that many rows would have isolated each of them.
pub(super) fn grow(sample: Sample<'_>, rng: &mut Rng, nodes: &mut Vec<u32>, leaves: &mut Vec<u16>) {
    let n_rows = (sample.values.len() / sample.width).min(N_LEAVES);
    let max_depth = n_rows.max(1).next_power_of_two().trailing_zeros();
    let (first_node, first_leaf) = (nodes.len(), leaves.len());
    nodes.resize(first_node + N_NODES, 0);
    leaves.resize(first_leaf + N_LEAVES, 0);
    let mut rows: Vec<usize> = (0..n_rows).collect();
    let mut growth = Growth {
        sample,
        rng,
        max_depth,
        nodes: &mut nodes[first_node..],
        leaves: &mut leaves[first_leaf..],
    };
    growth.branch(&mut rows, 0, 0);
}

struct Growth<'a> {
    sample: Sample<'a>,
    rng: &'a mut Rng,
    max_depth: u32,
    nodes: &'a mut [u32],
    leaves: &'a mut [u16],
}

impl Growth<'_> {
    /// The branch at `place`, counted from the left of its `level`.
    fn branch(&mut self, rows: &mut [usize], level: u32, place: usize) {
        let split = if rows.len() > 1 && level < self.max_depth {
            self.split(rows)
        } else {
            None
        };
        let Some((feature, threshold)) = split else {
            let length = f64::from(level) + expected_path(rows.len());
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "at most 8 + 10.3 steps of 2048"
            )]
            let length = (length * STEPS).round() as u16;
            let below = N_LEVELS - level;
            self.leaves[((place + 1) << below) - 1] = length;
            return;
        };
        let slot = if level < N_LEVELS / 2 {
            (1 << level) + place
        } else {
            let depth_in_block = level - N_LEVELS / 2;
            let exit = place >> depth_in_block;
            (1 + exit) * BLOCK + (1 << depth_in_block) + (place - (exit << depth_in_block))
        };
        self.nodes[slot] = (threshold << 8) | u32::from(feature);
        let mut n_left = 0;
        for at in 0..rows.len() {
            if self.value(rows[at], usize::from(feature)) < threshold {
                rows.swap(at, n_left);
                n_left += 1;
            }
        }
        let (left, right) = rows.split_at_mut(n_left);
        self.branch(left, level + 1, 2 * place);
        self.branch(right, level + 1, 2 * place + 1);
    }

    /// A feature by chance among those that vary, and a threshold by chance above its least value.
    fn split(&mut self, rows: &[usize]) -> Option<(u8, u32)> {
        let width = self.sample.width;
        let mut features: [u8; 256] = std::array::from_fn(|i| u8::try_from(i).unwrap_or(u8::MAX));
        for n_left in (1..=width.min(256)).rev() {
            let drawn = usize::try_from(self.rng.below(n_left as u64)).unwrap_or(0);
            features.swap(drawn, n_left - 1);
            let feature = features[n_left - 1];
            let values = rows
                .iter()
                .map(|row| self.value(*row, usize::from(feature)));
            let (low, high) = values.fold((u32::MAX, 0), |(low, high), value| {
                (low.min(value), high.max(value))
            });
            if low < high {
                let drawn = self.rng.below(u64::from(high - low));
                return Some((feature, low + 1 + u32::try_from(drawn).unwrap_or(0)));
            }
        }
        None
    }

    fn value(&self, row: usize, feature: usize) -> u32 {
        self.sample.values[row * self.sample.width + feature]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis_core::Rng;
    use proptest::prelude::*;

    /// The same descent, written as the definition says it.
    fn plain(nodes: &[u32], row: &[u32; 8]) -> usize {
        let (mut level, mut place) = (0_u32, 0_usize);
        while level < N_LEVELS {
            let slot = if level < 4 {
                (1 << level) + place
            } else {
                let exit = place >> (level - 4);
                (1 + exit) * 16 + (1 << (level - 4)) + (place & ((1 << (level - 4)) - 1))
            };
            let (feature, threshold) = ((nodes[slot] & 0xff) as usize, nodes[slot] >> 8);
            place = 2 * place + usize::from((row[feature] >> 8) >= threshold);
            level += 1;
        }
        place
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn descents_find_the_leaf_of_the_definition_in_any_grouping(
            values in prop::collection::vec(0_u32..=MAX_VALUE, 5 * 60),
            seed in any::<u64>(),
        ) {
            let (mut nodes, mut leaves) = (Vec::new(), Vec::new());
            let sample = Sample { values: &values, width: 5 };
            for tree in 0..13 {
                grow(sample, &mut Rng::from_seed(seed).fork(tree), &mut nodes, &mut leaves);
            }
            let rows: Vec<[u32; 8]> = values
                .chunks(5)
                .map(|row| std::array::from_fn(|i| word(row.get(i).copied().unwrap_or(0))))
                .collect();
            let trees = Trees::new(&nodes, &leaves);
            let mut batch = vec![0.0; rows.len()];
            let mut block = Block::<8>::new();
            for (at, row) in rows.iter().enumerate() {
                for (feature, word) in row.iter().enumerate() {
                    block.set(at, feature, *word);
                }
            }
            trees.paths(&block, &mut batch);
            for (row, batched) in rows.iter().zip(&batch) {
                let sum: u32 = (0..13)
                    .map(|tree| {
                        let leaf = plain(&nodes[tree * N_NODES..], row);
                        u32::from(leaves[tree * N_LEAVES + leaf])
                    })
                    .sum();
                prop_assert_eq!(trees.path(row), f64::from(sum) / (2048.0 * 13.0));
                prop_assert_eq!(trees.path(row), *batched);
            }
        }
    }

    #[test]
    fn the_expected_path_is_that_of_a_search_tree() {
        // By hand: one key needs no step, two need one, three need 2 (1 + 1/2) - 4/3.
        for (n, path) in [(0, 0.0), (1, 0.0), (2, 1.0), (3, 5.0 / 3.0)] {
            assert!((expected_path(n) - path).abs() < 1e-12, "{n}");
        }
    }

    #[test]
    fn a_constant_sample_is_one_leaf() {
        let (mut nodes, mut leaves) = (Vec::new(), Vec::new());
        let sample = Sample {
            values: &[7; 30],
            width: 3,
        };
        grow(sample, &mut Rng::from_seed(1), &mut nodes, &mut leaves);
        assert!(nodes.iter().all(|node| *node == 0));
        let path = Trees::new(&nodes, &leaves).path(&[0; 8]);
        assert!((path - expected_path(10)).abs() < 1e-3);
    }
}
