//! What a run is scored by: hits among the first, and confidence against what came true.

use serde_json::{Map, Value, json};

/// How often the cause was among the first.
#[derive(Debug, Default)]
pub(crate) struct Hits {
    n: u32,
    /// Within the first one, two, three, four and five.
    within: [u32; 5],
}

impl Hits {
    /// Counts a case whose cause came at `place`, counted from 0, or not at all.
    pub(crate) fn add(&mut self, place: Option<usize>) {
        self.n += 1;
        for (idx, hits) in self.within.iter_mut().enumerate() {
            *hits += u32::from(place.is_some_and(|place| place <= idx));
        }
    }

    /// `ac1`, `ac3`, `ac5`, and `avg5`: the mean of the shares within the first one to five.
    pub(crate) fn report(&self) -> Map<String, Value> {
        let all: u32 = self.within.iter().sum();
        Map::from_iter([
            ("cases".to_owned(), json!(self.n)),
            ("ac1".to_owned(), json!(share(self.within[0], self.n))),
            ("ac3".to_owned(), json!(share(self.within[2], self.n))),
            ("ac5".to_owned(), json!(share(self.within[4], self.n))),
            ("avg5".to_owned(), json!(share(all, 5 * self.n))),
        ])
    }
}

/// Confidence and truth by stretches of confidence.
#[derive(Debug, Default)]
pub(crate) struct Reliability {
    /// Cases, hits and the sum of confidences.
    bins: [(u32, u32, f64); 5],
    answered: (u32, u32),
}

/// How wide the diagram is.
const CELLS: u32 = 40;

/// Where the stretches end.
const ENDS: [f64; 5] = [0.5, 0.6, 0.8, 0.95, 1.01];

impl Reliability {
    /// Counts a case.
    pub(crate) fn add(&mut self, confidence: f64, is_hit: bool, is_answered: bool) {
        let place = ENDS.iter().position(|end| confidence < *end);
        let bin = &mut self.bins[place.unwrap_or(ENDS.len() - 1)];
        bin.0 += 1;
        bin.1 += u32::from(is_hit);
        bin.2 += confidence;
        if is_answered {
            self.answered.0 += 1;
            self.answered.1 += u32::from(is_hit);
        }
    }

    /// The reliability diagram as lines of text: how often the first was right as a bar, with a mark
    /// at what confidence predicted.
    fn diagram(&self) -> Vec<String> {
        let bins = self.bins.iter().filter(|bin| bin.0 > 0);
        let line = |(n, hits, sum): &(u32, u32, f64)| {
            let (n_cases, predicted) = (f64::from(*n), sum / f64::from(*n));
            let right = f64::from(*hits) / n_cases;
            let cell = |place: u32| {
                let place = f64::from(place);
                if (place..place + 1.0).contains(&(predicted * f64::from(CELLS))) {
                    '|'
                } else if place + 0.5 < right * f64::from(CELLS) {
                    '#'
                } else {
                    '.'
                }
            };
            let bar: String = (0..CELLS).map(cell).collect();
            format!("{predicted:.3} predicted {bar} {right:.3} right of {n}")
        };
        bins.map(line).collect()
    }

    /// `answered`, `precision_answered`, `reliability` (cases, predicted and true share by stretch),
    /// and the same as a `diagram`.
    pub(crate) fn report(&self) -> Map<String, Value> {
        let n: u32 = self.bins.iter().map(|bin| bin.0).sum();
        let bins = self
            .bins
            .iter()
            .filter(|bin| bin.0 > 0)
            .map(|(n, hits, sum)| {
                let predicted = round(sum / f64::from(*n));
                json!({"cases": n, "predicted": predicted, "hit": share(*hits, *n)})
            });
        Map::from_iter([
            ("answered".to_owned(), json!(share(self.answered.0, n))),
            (
                "precision_answered".to_owned(),
                json!(share(self.answered.1, self.answered.0)),
            ),
            ("reliability".to_owned(), Value::Array(bins.collect())),
            ("diagram".to_owned(), json!(self.diagram())),
        ])
    }
}

/// A share to three digits; 0 of nothing is 0.
pub(crate) fn share(part: u32, whole: u32) -> f64 {
    round(f64::from(part) / f64::from(whole.max(1)))
}

/// To three digits.
pub(crate) fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_diagram_marks_what_was_predicted_in_a_bar_of_what_was_right() {
        let mut reliability = Reliability::default();
        for is_hit in [true, true, true, false] {
            reliability.add(0.71, is_hit, true);
        }
        let bar = "############################|#..........";
        assert_eq!(
            reliability.diagram(),
            [format!("0.710 predicted {bar} 0.750 right of 4")]
        );
    }

    #[test]
    fn hits_count_from_their_place_on() {
        let mut hits = Hits::default();
        for place in [Some(0), Some(2), Some(9), None] {
            hits.add(place);
        }
        let report = hits.report();
        assert_eq!(report["ac1"], json!(0.25));
        assert_eq!(report["ac3"], json!(0.5));
        assert_eq!(report["ac5"], json!(0.5));
        assert_eq!(report["avg5"], json!(0.4));
    }

    #[test]
    fn confidence_is_compared_with_what_came_true() {
        let mut reliability = Reliability::default();
        reliability.add(0.9, true, true);
        reliability.add(0.9, false, true);
        reliability.add(0.1, false, false);
        let report = reliability.report();
        assert_eq!(report["answered"], json!(0.667));
        assert_eq!(report["precision_answered"], json!(0.5));
        assert_eq!(
            report["reliability"][1],
            json!({"cases": 2, "predicted": 0.9, "hit": 0.5})
        );
    }
}
