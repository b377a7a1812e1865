//! Slots made of servers, and weights that engines bound.

use std::collections::{BTreeMap, BTreeSet};

use homeostasis_core::port::{TrafficError, Weights};
use homeostasis_core::{Violation, Violations};

use crate::action::is_name;

/// The servers of each slot.
pub(crate) type Slots = BTreeMap<String, Vec<String>>;

/// How far the shares of a router may be from those asked for.
const ONE_POINT: f64 = 0.01;

/// What is wrong with slots: each needs a plain name and servers, and a server is in one slot only.
pub(crate) fn slot_violations(
    path: &str,
    slots: &Slots,
    is_server: impl Fn(&str) -> bool,
    expected: &str,
) -> Violations {
    let mut wrong = Violations::new();
    if slots.is_empty() {
        wrong.push(Violation::new(path, "none", "at least one slot"));
    }
    let mut seen = BTreeSet::new();
    for (slot, servers) in slots {
        let path = format!("{path}.{slot}");
        if !is_name(slot) {
            wrong.push(Violation::new(
                &path,
                format!("{slot:?}"),
                "a plain word as name",
            ));
        }
        if servers.is_empty() {
            wrong.push(Violation::new(&path, "none", "at least one server"));
        }
        for (idx, server) in servers.iter().enumerate() {
            let path = format!("{path}[{idx}]");
            if !is_server(server) {
                wrong.push(Violation::new(path, format!("{server:?}"), expected));
            } else if !seen.insert(server) {
                let expected = "a server that is in one slot, and there once";
                wrong.push(Violation::new(path, format!("{server:?}"), expected));
            }
        }
    }
    wrong
}

/// A weight from 0 to `max` for every server, so that each slot has its share to within one point,
/// whatever the number of its servers. The servers of a slot differ by 1 at most.
///
/// # Errors
/// If a slot is asked for that is not there, or the shares cannot be had with such numbers.
pub(crate) fn apportion(
    service: &str,
    weights: &Weights,
    slots: &Slots,
    max: u32,
) -> Result<BTreeMap<String, u32>, TrafficError> {
    if let Some((slot, _)) = weights
        .iter()
        .find(|(slot, weight)| *weight > 0 && !slots.contains_key(*slot))
    {
        let known: Vec<_> = slots.keys().collect();
        let detail = format!("{slot:?}, expected one of {known:?}");
        return Err(TrafficError::invalid(format!("slot of {service}"), detail));
    }
    let weighted: Vec<_> = weights
        .iter()
        .filter_map(|(slot, weight)| Some((u128::from(weight), slots.get(slot)?)))
        .collect();
    // Whose servers get the most: they get the maximum. Compared as fractions, without rounding.
    let n = |servers: &Vec<String>| servers.len() as u128;
    let largest = weighted.iter().max_by(|(a, of_a), (b, of_b)| {
        let (a, b) = (a * n(of_b), b * n(of_a));
        a.cmp(&b)
    });
    let (top, n_top) = largest.map_or((1, 1), |(weight, servers)| (*weight, n(servers)));
    let mut given = BTreeMap::new();
    for servers in slots.values() {
        given.extend(servers.iter().map(|server| (server.clone(), 0)));
    }
    for (weight, servers) in weighted {
        let exact = weight * u128::from(max) * n_top;
        let rounded = (exact + top / 2) / top;
        let total = rounded.max(u128::from(weight > 0));
        let (each, rest) = (total / n(servers), total % n(servers));
        for (idx, server) in servers.iter().enumerate() {
            let own = each + u128::from((idx as u128) < rest);
            given.insert(server.clone(), u32::try_from(own).unwrap_or(max));
        }
    }
    let shares = sums(slots, |server| given.get(server).copied().unwrap_or(0));
    let off = shares.map_or(1.0, |shares| shares.distance(weights).get());
    if off > ONE_POINT {
        let detail = format!(
            "{weights:?}, expected shares that weights up to {max} give to within one point; they are \
            {:.1} points off",
            off * 100.0
        );
        return Err(TrafficError::invalid(
            format!("weights of {service}"),
            detail,
        ));
    }
    Ok(given)
}

/// Whether `slot` is to get more than it is told to have: only then its servers have to take requests. One
/// that shrinks or stays is never a reason to refuse, or a dead slot could not be lowered.
pub(crate) fn grows(slot: &str, weights: &Weights, told: Option<&Weights>) -> bool {
    let wanted = weights.share(slot).get();
    let had = told.map_or(0.0, |told| told.share(slot).get());
    wanted > 0.0 && (had == 0.0 || wanted > had + ONE_POINT)
}

/// The weights of slots from those of their servers; `None` if nobody has any.
pub(crate) fn sums(slots: &Slots, weight: impl Fn(&str) -> u32) -> Option<Weights> {
    let sums = slots.iter().map(|(slot, servers)| {
        let sum = servers.iter().map(|server| weight(server));
        (slot.as_str(), sum.fold(0, u32::saturating_add))
    });
    Weights::new(sums).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slots(sizes: &[usize]) -> Slots {
        let servers = |slot: usize, n: usize| (0..n).map(|i| format!("s{slot}-{i}")).collect();
        let slots = sizes.iter().enumerate();
        slots
            .map(|(slot, n)| (format!("slot{slot}"), servers(slot, *n)))
            .collect()
    }

    #[test]
    fn a_slot_grows_from_nothing_and_by_more_than_a_point() {
        let of = |stable, canary| Weights::new([("stable", stable), ("canary", canary)]).unwrap();
        let (half, told) = (of(50, 50), of(90, 10));
        assert!(grows("canary", &half, Some(&told)));
        assert!(!grows("stable", &half, Some(&told)));
        assert!(!grows("canary", &told, Some(&told)), "repeated");
        assert!(grows("canary", &of(999, 1), Some(&of(1, 0))));
        assert!(grows("canary", &told, None));
        assert!(!grows("canary", &of(1, 0), None));
    }

    fn given(weights: [u32; 2], sizes: [usize; 2]) -> Vec<u32> {
        let weights = Weights::new([("slot0", weights[0]), ("slot1", weights[1])]).unwrap();
        let given = apportion("orders", &weights, &slots(&sizes), 256).unwrap();
        given.into_values().collect()
    }

    #[test]
    fn a_share_is_that_of_the_slot_whatever_the_number_of_its_servers() {
        assert_eq!(given([100, 0], [1, 1]), [256, 0]);
        assert_eq!(given([99, 1], [1, 1]), [256, 3]);
        assert_eq!(given([50, 50], [1, 1]), [256, 256]);
        assert_eq!(given([50, 50], [2, 1]), [128, 128, 256]);
        // 3 of 259 for three servers of five.
        assert_eq!(given([99, 1], [1, 5]), [256, 1, 1, 1, 0, 0]);
        assert_eq!(given([1_000_000_000, 1], [1, 1]), [256, 1]);
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        let many = slots(&[1; 40]);
        let tiny = (0..40).map(|n| (format!("slot{n}"), if n == 0 { 1_000_000 } else { 1 }));
        let error = apportion("orders", &Weights::new(tiny).unwrap(), &many, 256).unwrap_err();
        assert!(error.to_string().contains("to within one point"), "{error}");
        let nobody = Weights::new([("slot0", 1), ("green", 1)]).unwrap();
        let error = apportion("orders", &nobody, &slots(&[1]), 256).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"slot of orders: "green", expected one of ["slot0"]"#
        );
    }

    #[test]
    fn slots_share_no_server_and_none_is_empty() {
        let text = |servers: &[&str]| servers.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
        let slots = Slots::from([
            ("blue".to_owned(), text(&["a", "b", "b"])),
            ("gr een".to_owned(), text(&[])),
            ("red".to_owned(), text(&["a", "c;d"])),
        ]);
        let wrong = slot_violations("slots", &slots, is_name, "a plain word");
        let places: Vec<_> = wrong.iter().map(|one| one.path.clone()).collect();
        let expected = [
            "slots.blue[2]",
            "slots.gr een",
            "slots.gr een",
            "slots.red[0]",
            "slots.red[1]",
        ];
        assert_eq!(places, expected);
        assert_eq!(
            slot_violations("slots", &Slots::new(), is_name, "").len(),
            1
        );
    }

    proptest! {
        #[test]
        fn shares_hold_to_a_point_and_zero_stays_zero(
            sizes in prop::collection::vec(1_usize..12, 1..4),
            asked in prop::collection::vec(0_u32..2000, 3),
            max in prop::sample::select(vec![256_u32, 1000]),
        ) {
            let asked = asked.iter().take(sizes.len()).enumerate();
            let asked = asked.map(|(n, weight)| (format!("slot{n}"), *weight));
            let Ok(weights) = Weights::new(asked) else { return Ok(()) };
            let slots = slots(&sizes);
            let given = apportion("orders", &weights, &slots, max).unwrap();
            prop_assert!(given.values().all(|weight| *weight <= max));
            let back = sums(&slots, |server| given[server]).unwrap();
            prop_assert!(back.distance(&weights).get() <= ONE_POINT);
            for (slot, weight) in weights.iter() {
                prop_assert_eq!(weight == 0, back.share(slot).get() == 0.0);
            }
        }
    }
}
