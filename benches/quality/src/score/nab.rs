//! The score of the Numenta Anomaly Benchmark, version 1.1.
//!
//! Rows before `min(15 %, 750)` do not count. A window counts once, by its earliest flagged row:
//! nearly 1 at its left edge, 0 at its right; a window without one costs `missed`. A flagged row
//! outside of windows costs up to `false_alarm`, less shortly after a window. Sums are normalized
//! so that flagging nothing is 0 and each window at its first row 100.
//!
//! Source: A. Lavin and S. Ahmad, *Evaluating real-time anomaly detection algorithms: the Numenta
//! Anomaly Benchmark*, ICMLA 2015.

use std::collections::{BTreeMap, HashMap};

/// What hits, false alarms and misses weigh.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Profile {
    pub(crate) name: &'static str,
    false_alarm: f64,
    missed: f64,
}

/// The three profiles of the benchmark; a hit weighs 1 in each.
pub(crate) const PROFILES: [Profile; 3] = [
    Profile {
        name: "standard",
        false_alarm: 0.11,
        missed: 1.0,
    },
    Profile {
        name: "reward_low_fp",
        false_alarm: 0.22,
        missed: 1.0,
    },
    Profile {
        name: "reward_low_fn",
        false_alarm: 0.11,
        missed: 2.0,
    },
];

/// No score is above this: a threshold that flags nothing.
const NOTHING: f64 = 1.1;

/// What a flagged row is worth before weights.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Row {
    /// In the window of that number.
    Hit { window: usize, worth: f64 },
    /// Outside; the worth is mostly negative.
    False { worth: f64 },
}

/// A series with its windows, and the scores of a detector.
#[derive(Debug)]
pub(crate) struct Scored {
    /// The rows that count, with the score of each.
    rows: Vec<(Row, f64)>,
    /// Windows with a row that counts, and all of them.
    n_live: usize,
    n_windows: usize,
}

/// What was flagged in one series or in many.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Flagged {
    /// The sum before it is normalized.
    pub(crate) raw: f64,
    pub(crate) windows_hit: usize,
    pub(crate) false_rows: usize,
}

/// The logistic curve of the benchmark: 1 far left of 0, -1 far right.
fn squashed(x: f64) -> f64 {
    2.0 / (1.0 + (5.0 * x).exp()) - 1.0
}

/// A time without an empty fraction of a second.
fn stamp(text: &str) -> &str {
    match text.split_once('.') {
        Some((whole, zeros)) if zeros.bytes().all(|b| b == b'0') => whole,
        _ => text,
    }
}

impl Scored {
    /// Places windows, given by their first and last time, over rows with these times.
    ///
    /// # Errors
    /// A window that ends before it begins, or begins or ends at a time that is no row's.
    pub(crate) fn new(
        times: &[String],
        windows: &[(String, String)],
        scores: &[f64],
    ) -> Result<Self, String> {
        assert_eq!(times.len(), scores.len(), "one score for each row");
        let mut first = HashMap::new();
        for (i, time) in times.iter().enumerate() {
            first.entry(stamp(time)).or_insert(i);
        }
        let row = |time: &str| {
            let found = first.get(stamp(time)).copied();
            found.ok_or_else(|| format!("window edge {time:?}, expected the time of a row"))
        };
        let mut spans = Vec::new();
        for (begin, end) in windows {
            let span = (row(begin)?, row(end)?);
            if span.0 > span.1 {
                return Err(format!(
                    "window {begin:?} to {end:?}, expected an end after its begin"
                ));
            }
            spans.push(span);
        }
        spans.sort_unstable();
        let n = times.len();
        let mut rows = vec![Row::False { worth: -1.0 }; n];
        let next = spans.iter().skip(1).map(|span| span.0).chain([n]);
        for ((window, (begin, end)), next) in spans.iter().copied().enumerate().zip(next) {
            let width = (end - begin + 1) as f64;
            for (j, row) in rows[begin..=end].iter_mut().enumerate() {
                let worth = squashed(-(width - j as f64) / width) / squashed(-1.0);
                *row = Row::Hit { window, worth };
            }
            for (j, row) in rows.iter_mut().enumerate().take(next).skip(end + 1) {
                let x = (j - end) as f64 / (width - 1.0).max(1e-12);
                let worth = if x > 3.0 { -1.0 } else { squashed(x) };
                *row = Row::False { worth };
            }
        }
        // floor(15 %), in whole numbers.
        let probation = (n * 15 / 100).min(750);
        let rows: Vec<_> = rows
            .into_iter()
            .zip(scores.iter().copied())
            .skip(probation)
            .collect();
        let n_live = spans.iter().filter(|span| span.1 >= probation).count();
        Ok(Self {
            rows,
            n_live,
            n_windows: spans.len(),
        })
    }

    /// What a threshold flags: every row that scores at least that.
    pub(crate) fn flagged(&self, threshold: f64, profile: Profile) -> Flagged {
        let mut best: BTreeMap<usize, f64> = BTreeMap::new();
        let mut flagged = Flagged::default();
        for (row, _) in self.rows.iter().filter(|(_, score)| *score >= threshold) {
            match *row {
                Row::Hit { window, worth } => {
                    let best = best.entry(window).or_insert(worth);
                    *best = best.max(worth);
                }
                Row::False { worth } => {
                    flagged.raw += profile.false_alarm * worth;
                    flagged.false_rows += 1;
                }
            }
        }
        flagged.windows_hit = best.len();
        let n_missed = self.n_live - best.len();
        flagged.raw += best.values().sum::<f64>() - profile.missed * n_missed as f64;
        flagged
    }
}

/// The sum over series, and the series' own.
pub(crate) fn flagged(all: &[&Scored], threshold: f64, profile: Profile) -> Flagged {
    all.iter().fold(Flagged::default(), |sum, one| {
        let one = one.flagged(threshold, profile);
        Flagged {
            raw: sum.raw + one.raw,
            windows_hit: sum.windows_hit + one.windows_hit,
            false_rows: sum.false_rows + one.false_rows,
        }
    })
}

/// A raw sum as a share of the perfect one, in percent; `None` without windows.
pub(crate) fn normalized(raw: f64, all: &[&Scored], profile: Profile) -> Option<f64> {
    let n_live: usize = all.iter().map(|one| one.n_live).sum();
    let n_windows: usize = all.iter().map(|one| one.n_windows).sum();
    let nothing = -profile.missed * n_live as f64;
    let perfect = n_windows as f64;
    (perfect > nothing).then(|| 100.0 * (raw - nothing) / (perfect - nothing))
}

/// The thresholds that are best for a set of series, with all of them and with each left out.
pub(crate) struct Thresholds {
    pub(crate) all: f64,
    pub(crate) without: Vec<f64>,
}

/// Finds the best thresholds: O(series · rows).
pub(crate) fn best_thresholds(all: &[&Scored], profile: Profile) -> Thresholds {
    let mut rows: Vec<(f64, usize, Row)> = Vec::new();
    for (file, one) in all.iter().enumerate() {
        rows.extend(one.rows.iter().map(|(row, score)| (*score, file, *row)));
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let without = (0..all.len())
        .map(|left_out| sweep(&rows, Some(left_out), profile))
        .collect();
    Thresholds {
        all: sweep(&rows, None, profile),
        without,
    }
}

/// The highest threshold with the largest sum, by taking rows in from the highest score down.
fn sweep(rows: &[(f64, usize, Row)], left_out: Option<usize>, profile: Profile) -> f64 {
    let mut rows = rows.iter().filter(|row| Some(row.1) != left_out).peekable();
    let mut best_of: HashMap<(usize, usize), f64> = HashMap::new();
    let (mut sum, mut largest, mut threshold) = (0.0, 0.0, NOTHING);
    while let Some((score, file, row)) = rows.next() {
        match *row {
            Row::False { worth } => sum += profile.false_alarm * worth,
            Row::Hit { window, worth } => {
                let best = best_of.entry((*file, window)).or_insert(-profile.missed);
                sum += (worth - *best).max(0.0);
                *best = best.max(worth);
            }
        }
        let is_last_of_its_score = rows
            .peek()
            .is_none_or(|next| next.0.total_cmp(score).is_ne());
        if is_last_of_its_score && sum > largest {
            (largest, threshold) = (sum, *score);
        }
    }
    threshold
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A series whose times are its rows' numbers, and scores that repeat and tie.
    fn series(n: usize, windows: &[(usize, usize)], factor: usize) -> Scored {
        let times: Vec<String> = (0..n).map(|i| format!("{i:05}.000")).collect();
        let edges: Vec<_> = windows
            .iter()
            .map(|(a, b)| (format!("{a:05}"), format!("{b:05}")))
            .collect();
        let scores: Vec<f64> = (0..n)
            .map(|i| (i * factor % 1009) as f64 / 1009.0)
            .collect();
        Scored::new(&times, &edges, &scores).unwrap()
    }

    fn corpus() -> [Scored; 4] {
        [
            series(400, &[(100, 139), (300, 319)], 7919),
            series(6000, &[(700, 760), (2000, 2099), (2150, 2249)], 104_729),
            series(250, &[], 31),
            series(90, &[(3, 9), (60, 60)], 577),
        ]
    }

    #[test]
    fn scores_are_those_of_the_reference_scorer() {
        // What score_nab.py (numpy) prints for the same rows: at .99, at its best threshold and with
        // each series left out.
        let expected: [[f64; 4]; 3] = [
            [
                1.394_133_832,
                0.993_062_438,
                15.746_423_041,
                -36.604_181_489,
            ],
            [
                -40.527_712_879,
                0.999_008_920,
                7.092_875_966,
                -97.141_323_775,
            ],
            [
                16.743_354_727,
                0.993_062_438,
                26.563_342_081,
                -14.518_650_493,
            ],
        ];
        let corpus = corpus();
        let all: Vec<&Scored> = corpus.iter().collect();
        for (profile, expected) in PROFILES.into_iter().zip(expected) {
            let best = best_thresholds(&all, profile);
            let of = |raw| normalized(raw, &all, profile).unwrap();
            let left_out: f64 = best
                .without
                .iter()
                .zip(&all)
                .map(|(threshold, one)| one.flagged(*threshold, profile).raw)
                .sum();
            let found = [
                of(flagged(&all, 0.99, profile).raw),
                best.all,
                of(flagged(&all, best.all, profile).raw),
                of(left_out),
            ];
            for (found, expected) in found.into_iter().zip(expected) {
                assert!(
                    (found - expected).abs() < 1e-6,
                    "{} {found} {expected}",
                    profile.name
                );
            }
        }
    }

    #[test]
    fn the_first_row_of_each_window_is_perfect_and_nothing_is_zero() {
        let times: Vec<String> = (0..100).map(|i| format!("{i:03}")).collect();
        let windows = [("050".to_owned(), "059".to_owned())];
        let scores: Vec<f64> = (0..100).map(|i| if i == 50 { 1.0 } else { 0.0 }).collect();
        let one = Scored::new(&times, &windows, &scores).unwrap();
        let all = [&one];
        let found = flagged(&all, 0.5, PROFILES[0]);
        assert_eq!((found.windows_hit, found.false_rows), (1, 0));
        assert_eq!(normalized(found.raw, &all, PROFILES[0]), Some(100.0));
        let none = flagged(&all, NOTHING, PROFILES[0]);
        assert_eq!(normalized(none.raw, &all, PROFILES[0]), Some(0.0));
    }

    #[test]
    fn an_edge_that_is_no_row_is_named() {
        let times = ["1".to_owned(), "2".to_owned()];
        let windows = [("1".to_owned(), "7".to_owned())];
        let error = Scored::new(&times, &windows, &[0.0, 0.0]).unwrap_err();
        assert!(error.contains("\"7\""), "{error}");
    }
}
