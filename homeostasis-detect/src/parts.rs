//! Models of many independent units, divided into parts that are small enough to be stored one by one.

use std::io;

use homeostasis_core::stage::ModelRest;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A part has at most so many units, so that only as many need be put in order.
const MOST: usize = 256;

/// Some units of a model, and what is left.
#[derive(Debug)]
pub(crate) struct Part<T> {
    pub(crate) units: Vec<T>,
    pub(crate) rest: Option<ModelRest>,
}

/// The first units from the key `from` on, in the order of the keys, of together about `max_bytes` as JSON; at least
/// one if there is any.
///
/// `None` if `from` is no key, or a unit cannot be saved. O(n) in the number of all units, beside the work on those
/// that are taken.
pub(crate) fn part<'a, K, S: 'a, T>(
    units: impl Iterator<Item = (&'a K, &'a S)>,
    from: Option<&Value>,
    max_bytes: usize,
    save: impl Fn(&S) -> Option<T>,
) -> Option<Part<T>>
where
    K: Ord + Serialize + DeserializeOwned + 'a,
    T: Serialize,
{
    let from = match from {
        None => None,
        Some(key) => Some(K::deserialize(key).ok()?),
    };
    let is_left = |key: &K| from.as_ref().is_none_or(|from| key >= from);
    let mut left: Vec<_> = units.filter(|(key, _)| is_left(key)).collect();
    let n_left = left.len();
    if n_left > MOST {
        // The one after the last of them is the first of the next part.
        left.select_nth_unstable_by(MOST, |a, b| a.0.cmp(b.0));
        left.truncate(MOST + 1);
    }
    left.sort_unstable_by(|a, b| a.0.cmp(b.0));
    let (mut taken, mut bytes) = (Vec::new(), 0);
    for (key, unit) in left {
        let next = |n: usize| {
            Some(ModelRest {
                from: serde_json::to_value(key).ok()?,
                n_left: n_left - n,
            })
        };
        if taken.len() == MOST {
            let rest = Some(next(taken.len())?);
            return Some(Part { units: taken, rest });
        }
        let saved = save(unit)?;
        bytes += size_of_json(&saved)?;
        if bytes > max_bytes && !taken.is_empty() {
            let rest = Some(next(taken.len())?);
            return Some(Part { units: taken, rest });
        }
        taken.push(saved);
    }
    Some(Part {
        units: taken,
        rest: None,
    })
}

/// How long it is as JSON, without making it.
fn size_of_json(value: &impl Serialize) -> Option<usize> {
    struct Counts(usize);

    impl io::Write for Counts {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut counts = Counts(0);
    serde_json::to_writer(&mut counts, value).ok()?;
    Some(counts.0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_unit_is_in_one_part_in_order_and_parts_are_as_large_as_allowed(
            units in prop::collection::hash_map("[a-z]{1,6}", 0_usize..400, 0..700),
            max_bytes in 1_usize..20_000,
        ) {
            let units: HashMap<String, String> = units.into_iter().map(|(key, n)| (key, "x".repeat(n))).collect();
            let (mut all, mut from) = (Vec::new(), None);
            loop {
                let save = |unit: &String| Some(unit.clone());
                let part = part(units.iter(), from.as_ref(), max_bytes, save).unwrap();
                let bytes: usize = part.units.iter().map(|unit| unit.len() + 2).sum();
                prop_assert!(bytes <= max_bytes || part.units.len() == 1, "{bytes} of {max_bytes}");
                let next = part.rest.as_ref().map(|rest| units[rest.from.as_str().unwrap()].len() + 2);
                prop_assert!(part.units.len() == MOST || next.is_none_or(|next| bytes + next > max_bytes));
                all.extend(part.units);
                let Some(rest) = part.rest else { break };
                prop_assert_eq!(rest.n_left, units.len() - all.len());
                from = Some(rest.from);
            }
            let mut keys: Vec<_> = units.keys().collect();
            keys.sort();
            let expected: Vec<_> = keys.into_iter().map(|key| units[key].clone()).collect();
            prop_assert_eq!(all, expected);
        }
    }

    #[test]
    fn a_place_that_is_no_key_gives_no_part() {
        let units = [("a".to_owned(), 1)];
        let units = || units.iter().map(|(key, unit)| (key, unit));
        let from = serde_json::json!({ "no": "key" });
        assert!(part(units(), Some(&from), 10, |unit| Some(*unit)).is_none());
        // One that is gone meanwhile is passed over.
        let part = part(units(), Some(&"b".into()), 10, |unit| Some(*unit)).unwrap();
        assert!(part.units.is_empty() && part.rest.is_none());
    }
}
