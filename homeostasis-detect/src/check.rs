//! Checks of configurations: each pushes what it finds and lets the others go on.

use std::fmt::Display;
use std::time::Duration;

use homeostasis_core::document::format_duration;
use homeostasis_core::{Violation, Violations};

/// Pushes a violation unless `holds`.
pub(crate) fn that(
    found: &mut Violations,
    holds: bool,
    path: &str,
    value: impl Display,
    expected: &str,
) {
    if !holds {
        found.push(Violation::new(path, value, expected));
    }
}

/// A finite number above zero.
pub(crate) fn positive(found: &mut Violations, path: &str, value: f64) {
    let holds = value.is_finite() && value > 0.0;
    that(found, holds, path, value, "a finite number above 0");
}

/// A duration above zero.
pub(crate) fn lasting(found: &mut Violations, path: &str, value: Duration) {
    let holds = !value.is_zero();
    that(
        found,
        holds,
        path,
        format_duration(value),
        "a duration above 0s",
    );
}

/// A name that is not blank.
pub(crate) fn named(found: &mut Violations, path: &str, value: &str) {
    that(
        found,
        !value.trim().is_empty(),
        path,
        format!("{value:?}"),
        "a name that is not empty",
    );
}
