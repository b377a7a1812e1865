//! All processes that a program started: who they are, what they hold, and their end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use rustix::param::page_size;

/// What processes hold together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// Processes and threads.
    pub tasks: u64,
    /// Resident memory, pages they share counted for each.
    pub resident_bytes: u64,
}

/// One line of `/proc/<pid>/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: u32,
    group: u32,
    threads: u64,
    resident_pages: u64,
}

/// The living processes, also those of which only later threads live, below `root` and of its process group, `root` left out.
///
/// Reads the whole process table.
pub(super) fn members(root: u32) -> Vec<u32> {
    below(root, &table())
}

/// What the members hold; memory is corrected for sharing where the plain sum is above `memory_bytes`
/// and the tasks are not above `tasks`.
pub(super) fn held(root: u32, memory_bytes: u64, tasks: u64) -> Held {
    let table = table();
    let page = u64::try_from(page_size()).unwrap_or(4096);
    let members: Vec<(u32, Stat)> = below(root, &table)
        .into_iter()
        .filter_map(|pid| Some((pid, *table.get(&pid)?)))
        .collect();
    let mut held = Held::default();
    for (_, stat) in &members {
        held.tasks += stat.threads;
        held.resident_bytes += stat.resident_pages.saturating_mul(page);
    }
    // The correction is slow, and a flood of processes must be seen at once.
    if held.resident_bytes > memory_bytes && held.tasks <= tasks {
        // One that does not tell its share counts whole, so a program cannot hide.
        let share = |(pid, stat): &(u32, Stat)| {
            proportional_bytes(*pid).unwrap_or(stat.resident_pages.saturating_mul(page))
        };
        held.resident_bytes = members.iter().map(share).fold(0, u64::saturating_add);
    }
    held
}

fn below(root: u32, table: &BTreeMap<u32, Stat>) -> Vec<u32> {
    let mut found: BTreeSet<u32> = BTreeSet::from([root]);
    let mut ready: Vec<u32> = table
        .iter()
        .filter(|(_, stat)| stat.group == root)
        .map(|(pid, _)| *pid)
        .collect();
    ready.push(root);
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (pid, stat) in table {
        children.entry(stat.parent).or_default().push(*pid);
    }
    while let Some(pid) = ready.pop() {
        found.insert(pid);
        let new = children.get(&pid).into_iter().flatten();
        ready.extend(new.filter(|child| !found.contains(child)));
    }
    found.remove(&root);
    found.into_iter().collect()
}

fn table() -> BTreeMap<u32, Stat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    entries
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let mut stat = stat(&text)?;
            if stat.resident_pages == 0 {
                // The memory of a process whose first thread ended is told by the others only.
                stat.resident_pages = resident_pages_of_threads(pid);
            }
            Some((pid, stat))
        })
        .collect()
}

/// What any living thread of the process says; they share their memory.
fn resident_pages_of_threads(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().filter_map(Result::ok);
    let told = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("stat")).ok()?;
        Some(stat(&text)?.resident_pages)
    });
    told.max().unwrap_or(0)
}

/// `None` for a dead process that nobody waited for.
fn stat(text: &str) -> Option<Stat> {
    // The name before them may itself hold blanks and parentheses.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let threads = fields.get(17)?.parse().ok()?;
    // A first thread that ended is a zombie as long as others of its process live.
    let is_dead = match *fields.first()? {
        "Z" => threads <= 1,
        "X" => true,
        _ => false,
    };
    if is_dead {
        return None;
    }
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        threads,
        resident_pages: fields.get(21)?.parse().ok()?,
    })
}

fn proportional_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_is_read() {
        let text = "7 (a) b) S 1 5 5 0 -1 0 0 0 0 0 0 0 0 0 20 0 3 0 4242 0 99 0";
        let read = stat(text).unwrap();
        assert_eq!(
            (read.parent, read.group, read.threads, read.resident_pages),
            (1, 5, 3, 99)
        );
    }

    #[test]
    fn the_dead_are_no_members_and_a_first_thread_that_ended_is() {
        let text = "7 (a) Z 1 5 5 0 -1 0 0 0 0 0 0 0 0 0 20 0 3 0 4242 0 0 0";
        assert_eq!(stat(text).map(|read| read.threads), Some(3));
        assert_eq!(stat(&text.replace(" 20 0 3 0 ", " 20 0 1 0 ")), None);
        assert_eq!(stat(&text.replace(" Z ", " X ")), None);
    }

    #[test]
    fn children_of_children_and_the_group_are_members() {
        let one = |parent, group| Stat {
            parent,
            group,
            threads: 1,
            resident_pages: 1,
        };
        let table = BTreeMap::from([
            (10, one(1, 10)),
            (11, one(10, 10)),
            (12, one(11, 12)),
            (13, one(1, 10)),
            (14, one(13, 14)),
            (20, one(1, 20)),
        ]);
        assert_eq!(below(10, &table), [11, 12, 13, 14]);
        assert_eq!(below(99, &table), [0_u32; 0]);
    }
}
