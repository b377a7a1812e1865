//! Stored states as nobody stored them: numbers at their extremes, lists of another length.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::{Value, json};

/// Of longer lists only the first and the last item are changed.
const ITEMS: usize = 4;
/// How many faults are told.
const TOLD: usize = 20;

/// Gives `attempt` copies of `state`, each with one number at an extreme or one list empty, one shorter or twice as long.
///
/// Integers become 0, `u32::MAX`, `u64::MAX` and the extremes of `i64`, other numbers 0, the least and the largest ones.
/// Of lists of more than four items, which are alike, the first and the last are gone into.
/// `attempt` should take up the state and, unless it is refused, go on: nothing may panic.
/// The number of attempts grows with the number of fields, not with that of items.
///
/// # Panics
/// With the places and values of the states at which `attempt` panicked.
pub fn survives(state: &Value, mut attempt: impl FnMut(&Value)) {
    let (mut sites, mut faults) = (Vec::new(), Vec::new());
    walk(state, String::new(), &mut sites);
    let mut hostile = state.clone();
    for site in sites {
        let Some(original) = state.pointer(&site) else {
            continue;
        };
        for (what, extreme) in extremes(original) {
            if let Some(slot) = hostile.pointer_mut(&site) {
                *slot = extreme;
            }
            if catch_unwind(AssertUnwindSafe(|| attempt(&hostile))).is_err() {
                faults.push(format!("{site} {what}"));
            }
        }
        if let Some(slot) = hostile.pointer_mut(&site) {
            slot.clone_from(original);
        }
    }
    assert!(
        faults.is_empty(),
        "it panics for {} states that were changed in one place, expected an error or an answer:\n{}",
        faults.len(),
        faults[..faults.len().min(TOLD)].join("\n")
    );
}

/// The places of numbers and lists in `value`, which is at `way`.
fn walk(value: &Value, way: String, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            let n = items.len();
            for (idx, item) in items.iter().enumerate() {
                if n <= ITEMS || idx == 0 || idx + 1 == n {
                    walk(item, format!("{way}/{idx}"), found);
                }
            }
            found.push(way);
        }
        Value::Object(fields) => {
            for (name, item) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                walk(item, format!("{way}/{name}"), found);
            }
        }
        Value::Number(_) => found.push(way),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn extremes(original: &Value) -> Vec<(String, Value)> {
    let numbers: &[Value] = match original {
        Value::Array(items) => {
            let shorter = items[..items.len().saturating_sub(1)].to_vec();
            let twice = items.iter().chain(items).cloned().collect();
            return vec![
                ("empty".to_owned(), json!([])),
                ("without its last item".to_owned(), Value::Array(shorter)),
                ("twice as long".to_owned(), Value::Array(twice)),
            ];
        }
        number if number.is_f64() => &[
            json!(0.0),
            json!(5e-324),
            json!(-1.0),
            json!(f64::MAX),
            json!(f64::MIN),
        ],
        _ => &[
            json!(0),
            json!(u32::MAX),
            json!(u64::MAX),
            json!(i64::MAX),
            json!(i64::MIN),
        ],
    };
    let named = |number: &Value| (format!("= {number}"), number.clone());
    numbers.iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_brought_to_its_extremes_and_what_panics_is_told() {
        let state = json!({"a/b": {"n": 3}, "list": [1.5, 2.5, 3.5, 4.5, 5.5], "name": "x"});
        let mut seen = Vec::new();
        survives(&state, |hostile| seen.push(hostile.clone()));
        // One integer, two of five numbers, one list.
        assert_eq!(seen.len(), 5 + 2 * 5 + 3);
        let differs = |hostile: &&Value| **hostile != state;
        assert_eq!(seen.iter().filter(differs).count(), seen.len());
        assert!(seen.iter().all(|hostile| hostile["name"] == "x"));
        let found = catch_unwind(|| {
            survives(&state, |hostile| {
                assert!(hostile["a/b"]["n"] != json!(u64::MAX), "overflow");
            });
        });
        let message = *found.unwrap_err().downcast::<String>().unwrap();
        assert!(
            message.contains("for 1 states")
                && message.contains(&format!("/a~1b/n = {}", u64::MAX)),
            "{message}"
        );
    }
}
