//! Numbers and expectations in sentences for people.

use homeostasis_core::record::Expectation;

/// Four significant digits without trailing zeros: `0.9712`, `91.2`, `1.5e12`.
pub(crate) fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 {
            "0".to_owned()
        } else {
            value.to_string()
        };
    }
    let magnitude = value.abs();
    if !(1e-4..1e15).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    let n_decimals: usize = match magnitude {
        m if m >= 1000.0 => 0,
        m if m >= 100.0 => 1,
        m if m >= 10.0 => 2,
        m if m >= 1.0 => 3,
        m if m >= 0.1 => 4,
        m if m >= 0.01 => 5,
        m if m >= 0.001 => 6,
        _ => 7,
    };
    let text = format!("{value:.n_decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// An expectation with readable numbers.
pub(crate) fn expectation(expected: &Expectation) -> String {
    match expected {
        Expectation::Between {
            low: Some(low),
            high: Some(high),
        } => format!("{} to {}", number(*low), number(*high)),
        Expectation::Between {
            low: Some(low),
            high: None,
        } => format!("at least {}", number(*low)),
        Expectation::Between {
            low: None,
            high: Some(high),
        } => format!("at most {}", number(*high)),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_four_digits_and_no_empty_zeros() {
        for (value, text) in [
            (0.0, "0"),
            (0.97123, "0.9712"),
            (91.2, "91.2"),
            (-5.0, "-5"),
            (536_870_912.0, "536870912"),
            (1.5e18, "1.500e18"),
            (3.0e-7, "3.000e-7"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
