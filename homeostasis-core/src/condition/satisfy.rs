//! Whether conditions can hold at all, found by trying the values at which their answers change.

use std::collections::BTreeMap;

use super::expression::{Condition, Expr, Kind};
use super::quantity::{Quantity, Scalar};
use super::scope::Variable;

/// The most combinations of values that are tried.
const MAX_TRIALS: usize = 4096;

/// How far beside a bound is looked, in parts of its size.
const BESIDE: f64 = 1e-6;

impl Condition {
    /// Whether values exist for which every one of `conditions` holds at once.
    ///
    /// `None` if that is not found out: a variable stands in arithmetic or beside another variable,
    /// or there are more combinations than 4,096. Sizes, times, counts and shares, as the names of
    /// variables tell them, are not negative.
    ///
    /// Each comparison with a constant changes its answer only at that constant, so it is enough to
    /// try each constant, a value between each two neighbors, and one beyond each end.
    ///
    /// ```
    /// use homeostasis::core::condition::Condition;
    /// let never = Condition::parse("disk_usage_percent > 90 and disk_usage_percent < 80")?;
    /// assert_eq!(Condition::can_hold([&never]), Some(false));
    /// let high = Condition::parse("disk_usage_percent > 85")?;
    /// let better = Condition::parse("disk_usage_percent < 90")?;
    /// assert_eq!(Condition::can_hold([&high, &better]), Some(true));
    /// # Ok::<(), homeostasis::core::condition::ConditionError>(())
    /// ```
    pub fn can_hold<'a>(conditions: impl IntoIterator<Item = &'a Self>) -> Option<bool> {
        let conditions: Vec<&Self> = conditions.into_iter().collect();
        let mut values: BTreeMap<String, Vec<Quantity>> = BTreeMap::new();
        for condition in &conditions {
            collect(&condition.root, &mut values)?;
        }
        for tried in values.values_mut() {
            between(tried);
        }
        let n_trials = values
            .values()
            .try_fold(1_usize, |n, tried| n.checked_mul(tried.len().max(1)))
            .filter(|n| *n <= MAX_TRIALS)?;
        for trial in 0..n_trials {
            let mut rest = trial;
            let mut chosen = BTreeMap::new();
            for (name, tried) in &values {
                chosen.insert(name.as_str(), &tried[rest % tried.len()]);
                rest /= tried.len();
            }
            let scope = |variable: &Variable| chosen.get(&*variable.to_string()).copied().cloned();
            let mut all = true;
            for condition in &conditions {
                all &= condition.evaluate(&scope).ok()?.is_true();
            }
            if all {
                return Some(true);
            }
        }
        Some(false)
    }
}

/// Adds the values at which the answer of `part` may change; `None` if that is not known.
fn collect(part: &Expr, values: &mut BTreeMap<String, Vec<Quantity>>) -> Option<()> {
    match &part.kind {
        Kind::Or(parts) | Kind::And(parts) => {
            parts.iter().try_for_each(|part| collect(part, values))
        }
        Kind::Not(part) => collect(part, values),
        Kind::Compare(left, _, right) => {
            match (&left.kind, constant(right), &right.kind, constant(left)) {
                (Kind::Variable(variable), Some(bound), ..)
                | (.., Kind::Variable(variable), Some(bound)) => {
                    around(variable, &bound, values);
                    Some(())
                }
                _ => None,
            }
        }
        Kind::In { value, items, .. } => {
            let Kind::Variable(variable) = &value.kind else {
                return None;
            };
            items.iter().try_for_each(|item| {
                around(variable, &constant(item)?, values);
                Some(())
            })
        }
        Kind::Variable(variable) => {
            let tried = values.entry(variable.to_string()).or_default();
            tried.extend([Quantity::from(true), Quantity::from(false)]);
            Some(())
        }
        Kind::Sum(..) | Kind::Product(..) | Kind::Negative(_) | Kind::Literal(_) => None,
    }
}

/// Adds a value between each two neighbors of one unit.
fn between(tried: &mut Vec<Quantity>) {
    let mut numbers: Vec<(f64, Quantity)> = tried
        .iter()
        .filter_map(|quantity| match quantity.value {
            Scalar::Number(number) => Some((number, quantity.clone())),
            _ => None,
        })
        .collect();
    numbers.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    for pair in numbers.windows(2) {
        let (low, high) = (pair[0].0, pair[1].0);
        let middle = low + (high - low) / 2.0;
        if low < middle && middle < high {
            tried.push(Quantity::number(middle).in_unit(pair[0].1.unit));
        }
    }
}

fn constant(part: &Expr) -> Option<Quantity> {
    match &part.kind {
        Kind::Literal(quantity) => Some(quantity.clone()),
        Kind::Negative(inner) => match constant(inner)? {
            Quantity {
                value: Scalar::Number(number),
                unit,
            } => Some(Quantity::number(-number).in_unit(unit)),
            _ => None,
        },
        _ => None,
    }
}

fn around(variable: &Variable, bound: &Quantity, values: &mut BTreeMap<String, Vec<Quantity>>) {
    let tried = values.entry(variable.to_string()).or_default();
    match &bound.value {
        Scalar::Number(number) => {
            let step = number.abs().max(1.0) * BESIDE;
            let is_amount = [
                "_percent", "_ratio", "_bytes", "_seconds", "_total", "_count",
            ]
            .iter()
            .any(|ending| variable.name().ends_with(ending));
            for near in [number - step, *number, number + step] {
                if near >= 0.0 || !is_amount {
                    tried.push(Quantity::number(near).in_unit(bound.unit));
                }
            }
        }
        Scalar::Text(text) => {
            tried.push(bound.clone());
            tried.push(Quantity::from(format!("{text} or another")));
        }
        Scalar::Bool(_) => tried.extend([Quantity::from(true), Quantity::from(false)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn can(texts: &[&str]) -> Option<bool> {
        let all: Vec<_> = texts
            .iter()
            .map(|text| Condition::parse(text).unwrap())
            .collect();
        Condition::can_hold(&all)
    }

    #[test]
    fn what_contradicts_itself_cannot_hold_and_what_does_not_can() {
        for (texts, expected) in [
            (&["x > 5 and x < 3"][..], Some(false)),
            (&["x > 3 and x < 5"], Some(true)),
            (&["x >= 5 and x <= 5"], Some(true)),
            (&["x > 5 and x <= 5"], Some(false)),
            (&["state == \"up\" and state == \"down\""], Some(false)),
            (&["state not in [\"up\", \"down\"]"], Some(true)),
            (&["not (x < 1 or x >= 1)"], Some(false)),
            (&["heap_bytes < 0"], Some(false)),
            (&["temperature < 0"], Some(true)),
            (&["error_ratio > 5%", "error_ratio < 0.04"], Some(false)),
            (&["error_ratio > 5%", "error_ratio < 0.06"], Some(true)),
            (&["x > 5", "y > 5", "x < 5"], Some(false)),
            (&["t > 1700000000 and t < 1700000600"], Some(true)),
            (&["r > 0.0000001 and r < 0.0000002"], Some(true)),
            (&["r >= 5e-8 and r < 5e-8"], Some(false)),
            (&["x > y"], None),
            (&["x * 2 > 3"], None),
        ] {
            assert_eq!(can(texts), expected, "{texts:?}");
        }
    }

    #[test]
    fn too_many_combinations_are_left_open() {
        let many: Vec<String> = (0..9).map(|idx| format!("v{idx} > {idx}")).collect();
        assert_eq!(can(&[&many.join(" and ")]), None);
    }
}
