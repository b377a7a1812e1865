//! The templates of logs that were written by chance in the styles of three dozen programs.

mod dice;
mod systems;

use std::collections::{BTreeMap, BTreeSet};

use dice::{Dice, lines};
use homeostasis_signals::TemplateMiner;
use systems::{SYSTEMS, System};

/// The share of lines whose group is exactly that of their template (grouping accuracy).
fn accuracy(labels: &[usize], ids: &[u64]) -> f64 {
    let mut by_id = BTreeMap::<u64, BTreeSet<usize>>::new();
    let mut by_label = BTreeMap::<usize, usize>::new();
    for (id, label) in ids.iter().zip(labels) {
        by_id.entry(*id).or_default().insert(*label);
        *by_label.entry(*label).or_default() += 1;
    }
    let mut sizes = BTreeMap::<u64, usize>::new();
    for id in ids {
        *sizes.entry(*id).or_default() += 1;
    }
    let is_right =
        |(id, label): &(&u64, &usize)| by_id[id].len() == 1 && sizes[id] == by_label[label];
    let n_right = ids.iter().zip(labels).filter(is_right).count();
    n_right as f64 / ids.len() as f64
}

/// The labels and what a new miner makes of the lines, as it sees them in the end.
fn mine(lines: &[(usize, String)]) -> (Vec<usize>, Vec<u64>) {
    let mut miner = TemplateMiner::default();
    let ids: Vec<u64> = lines.iter().map(|(_, line)| miner.mine(line)).collect();
    let labels = lines.iter().map(|(label, _)| *label).collect();
    (labels, ids.iter().map(|id| miner.resolve(*id)).collect())
}

fn shuffle<T>(all: &mut [T], seed: u64) {
    let mut dice = Dice(seed);
    for at in (1..all.len()).rev() {
        all.swap(at, dice.below(at + 1));
    }
}

fn in_every_order(systems: &[System], seed: u64) {
    let mut all = Vec::new();
    let mut wrong = Vec::new();
    let mut n = 0_usize;
    let mut sum = 0.0;
    for (number, system) in systems.iter().enumerate() {
        let mut lines = lines(system, 1000, seed);
        let mut check = |order: &str, lines: &[(usize, String)]| {
            let (labels, ids) = mine(lines);
            let accuracy = accuracy(&labels, &ids);
            (n, sum) = (n + 1, sum + accuracy);
            if accuracy < 1.0 {
                wrong.push(format!("{} {order}: {accuracy:.3}", system.0));
            }
        };
        check("in order", &lines);
        lines.reverse();
        check("reversed", &lines);
        shuffle(&mut lines, seed);
        check("shuffled", &lines);
        all.extend(
            lines
                .into_iter()
                .map(|(label, line)| (number * 1000 + label, line)),
        );
    }
    let mean = sum / n as f64;
    assert!(
        mean >= 0.99,
        "mean {mean:.4}, expected 0.99 or more: {wrong:#?}"
    );
    shuffle(&mut all, seed);
    let (labels, ids) = mine(&all);
    let together = accuracy(&labels, &ids);
    assert!(together >= 0.985, "{together:.4} in one stream: {wrong:#?}");
}

#[test]
fn the_lines_of_a_template_are_found_in_every_order_and_in_one_stream() {
    in_every_order(SYSTEMS, 7);
}

#[test]
fn other_chances_give_the_same_answer() {
    for seed in [1, 2] {
        in_every_order(SYSTEMS, seed);
    }
}

#[test]
fn the_measure_punishes_what_is_split_and_what_is_mixed() {
    assert_eq!(accuracy(&[1, 1, 2, 3], &[7, 7, 8, 9]), 1.0);
    assert_eq!(accuracy(&[1, 1, 2, 3], &[7, 6, 8, 9]), 0.5);
    assert_eq!(accuracy(&[1, 1, 2, 3], &[7, 7, 8, 8]), 0.5);
}

#[test]
fn a_miner_that_was_stored_goes_on_as_if_nothing_had_happened() {
    let mut all: Vec<String> = SYSTEMS
        .iter()
        .flat_map(|system| lines(system, 200, 3))
        .map(|(_, line)| line)
        .collect();
    shuffle(&mut all, 5);
    let mut miner = TemplateMiner::default();
    let expected: Vec<u64> = all.iter().map(|line| miner.mine(line)).collect();
    for middle in [0, 1, all.len() / 3, all.len() - 1] {
        let mut first = TemplateMiner::default();
        for line in &all[..middle] {
            first.mine(line);
        }
        let text = first.save().to_string();
        let mut second = TemplateMiner::default();
        second.mine("what it knew before is gone");
        second.load(&serde_json::from_str(&text).unwrap()).unwrap();
        let ids: Vec<u64> = all[middle..].iter().map(|line| second.mine(line)).collect();
        assert_eq!(ids, expected[middle..], "after {middle}");
        assert_eq!(second.save(), miner.save(), "after {middle}");
        assert_eq!(second.templates(), miner.templates());
    }
}
