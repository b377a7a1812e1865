//! Bounds on what plug-ins return: nothing waits for ever, grows without end, or cannot be stored.

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::time::Duration;

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// Characters of a text that a plug-in writes for people.
pub(super) const MAX_TEXT: usize = 4096;

/// A sentence if `value` is outside of `range`.
pub(super) fn within<T: Copy + PartialOrd + Debug>(
    name: &str,
    value: &T,
    range: &RangeInclusive<T>,
) -> Option<String> {
    (!range.contains(value)).then(|| format!("{name} = {value:?}, expected {range:?}"))
}

/// A sentence if there are more than `max`.
pub(super) fn at_most(name: &str, n: usize, max: usize) -> Option<String> {
    (n > max).then(|| format!("{n} {name}, expected at most {max}"))
}

/// A sentence if `value` is NaN or infinite: the journal cannot hold it.
pub(super) fn finite(name: &str, value: f64) -> Option<String> {
    (!value.is_finite()).then(|| format!("{name} = {value}, expected a finite number"))
}

/// A sentence if `text` is longer than [`MAX_TEXT`].
pub(super) fn short(name: &str, text: &str) -> Option<String> {
    // Bytes are counted first: most texts are short, and counting characters reads all of them.
    if text.len() <= MAX_TEXT {
        return None;
    }
    let n = text.chars().count();
    (n > MAX_TEXT).then(|| format!("{name} of {n} characters, expected at most {MAX_TEXT}"))
}
