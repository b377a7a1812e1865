//! The most probable way from a callee up to a caller.

use std::collections::{BTreeMap, BTreeSet};

use crate::calls::Calls;

/// For every service between two steps of which nothing is known.
const SILENT: f64 = 0.9;

/// From one ill service to an ill caller, perhaps through others that say nothing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Link<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) probability: f64,
    pub(super) through: Vec<&'a str>,
    /// How many calls it is.
    pub(super) calls: usize,
}

/// All links among ill services.
#[derive(Debug)]
pub(super) struct Paths<'a> {
    links: Vec<Link<'a>>,
    depth: usize,
}

impl<'a> Paths<'a> {
    /// `probability` says how probable a link is, from the callee, the caller, and what the calls
    /// between them count.
    pub(super) fn new(
        calls: &'a Calls,
        ill: &BTreeSet<&'a str>,
        depth: usize,
        probability: impl Fn(&str, &str, f64) -> f64,
    ) -> Self {
        let mut links = Vec::new();
        for from in ill {
            for (to, (by_calls, through)) in callers(calls, ill, from, depth) {
                links.push(Link {
                    from,
                    to,
                    probability: probability(from, to, by_calls),
                    calls: through.len() + 1,
                    through,
                });
            }
        }
        Self { links, depth }
    }

    /// The most probable way from `start` to `goal` over links of at least `threshold`, within the
    /// depth; of equals the one with fewer calls, then the first by name.
    pub(super) fn best(&self, start: &str, goal: &str, threshold: f64) -> Option<Vec<Link<'a>>> {
        let drawn = self.links.iter().filter(|it| it.probability >= threshold);
        let drawn: Vec<&Link<'a>> = drawn.collect();
        // By how many calls were walked: of each service its probability and the link to it.
        let mut reached: Vec<BTreeMap<&str, (f64, Option<&Link<'a>>)>> =
            vec![BTreeMap::new(); self.depth + 1];
        reached[0].insert(start, (1.0, None));
        for n in 1..=self.depth {
            for link in drawn.iter().filter(|link| link.calls <= n) {
                let before = reached[n - link.calls].get(link.from).copied();
                let Some((so_far, _)) = before.filter(|_| link.to != start) else {
                    continue;
                };
                let sure = so_far * link.probability;
                let known = reached[n].entry(link.to).or_insert((-1.0, None));
                if sure > known.0 {
                    *known = (sure, Some(link));
                }
            }
        }
        let found = (1..=self.depth).filter_map(|n| Some((n, reached[n].get(goal)?.0)));
        // The last of equals is the greatest: fewest calls last.
        let (mut n, _) = found.rev().max_by(|a, b| a.1.total_cmp(&b.1))?;
        let mut way = Vec::new();
        let mut present = goal;
        while let Some((_, Some(link))) = reached[n].get(present) {
            way.push((*link).clone());
            n -= link.calls;
            present = link.from;
        }
        way.reverse();
        Some(way)
    }
}

/// Who calls `from`, directly or over services that are not ill, in each number of calls: what the
/// most probable of such ways counts, and who is between.
fn callers<'a>(
    calls: &'a Calls,
    ill: &BTreeSet<&'a str>,
    from: &'a str,
    depth: usize,
) -> Vec<(&'a str, (f64, Vec<&'a str>))> {
    let mut found = Vec::new();
    let mut open: BTreeMap<&str, (f64, Vec<&str>)> = BTreeMap::from([(from, (1.0, Vec::new()))]);
    for _ in 0..depth {
        let mut next: BTreeMap<&str, (f64, Vec<&str>)> = BTreeMap::new();
        for (present, (mut sure, mut through)) in open {
            if present != from {
                sure *= SILENT;
                through.push(present);
            }
            for (caller, by_calls) in calls.callers_of(present) {
                let by_calls = sure * by_calls;
                let is_passed = caller == from || through.contains(&caller);
                let known = next.get(caller).map_or(0.0, |(known, _)| *known);
                if !is_passed && by_calls > known {
                    next.insert(caller, (by_calls, through.clone()));
                }
            }
        }
        let (reached, silent) = next
            .into_iter()
            .partition(|(caller, _)| ill.contains(caller));
        open = silent;
        found.extend::<BTreeMap<_, _>>(reached);
    }
    found
}
