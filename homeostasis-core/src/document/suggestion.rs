//! "Did you mean": the known name nearest to a misspelled one.

/// The name among `known` nearest to `given`, when it is near enough to be a slip of the hand.
///
/// Near enough is at most one edit per three characters, and at least one.
/// Names are compared without regard to case; an edit is an insertion, a deletion, a substitution or a swap of neighbors
/// (optimal string alignment; Damerau, "A technique for computer detection and correction of spelling errors", 1964).
/// Takes `O(n_known * len²)` time; names beyond 64 characters are not compared.
pub(super) fn nearest<'a>(
    given: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let given: Vec<char> = given.to_lowercase().chars().take(65).collect();
    if given.len() > 64 {
        return None;
    }
    known
        .into_iter()
        .filter_map(|name| {
            let candidate: Vec<char> = name.to_lowercase().chars().take(65).collect();
            if candidate.len() > 64 {
                return None;
            }
            let limit = (candidate.len().max(given.len()) / 3).max(1);
            let edits = distance(&given, &candidate);
            (edits <= limit).then_some((edits, name))
        })
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut current = vec![0; b.len() + 1];
    for i in 1..=a.len() {
        current[0] = i;
        for j in 1..=b.len() {
            let substitution = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substitution.min(last[j] + 1).min(current[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before_last[j - 2] + 1);
            }
            current[j] = best;
        }
        std::mem::swap(&mut before_last, &mut last);
        std::mem::swap(&mut last, &mut current);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_hand_finds_its_name() {
        let known = ["timeout", "max_retries", "action"];
        assert_eq!(nearest("timeuot", known), Some("timeout"));
        assert_eq!(nearest("Timeout", known), Some("timeout"));
        assert_eq!(nearest("max_retrys", known), Some("max_retries"));
        assert_eq!(nearest("acton", known), Some("action"));
    }

    #[test]
    fn another_word_finds_nothing() {
        assert_eq!(nearest("colour", ["timeout", "action"]), None);
        assert_eq!(nearest("", ["timeout"]), None);
        assert_eq!(nearest(&"x".repeat(1000), ["timeout"]), None);
    }

    #[test]
    fn distance_counts_edits() {
        let chars = |s: &str| s.chars().collect::<Vec<_>>();
        assert_eq!(distance(&chars("kitten"), &chars("sitting")), 3);
        assert_eq!(distance(&chars("ab"), &chars("ba")), 1);
        assert_eq!(distance(&[], &chars("abc")), 3);
    }
}
