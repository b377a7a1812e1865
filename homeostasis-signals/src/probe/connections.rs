//! The TCP connections of a process, from Linux's tables.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Processes with more open descriptors are not looked through: each costs a system call.
pub(super) const MAX_DESCRIPTORS: usize = 4096;
/// The most bytes read of a table of connections; a hundred thousand lines.
const MAX_TABLE: u64 = 16 << 20;
/// How the tables write that a connection is established.
const ESTABLISHED: &str = "01";

/// How many established TCP connections a process has; `None` if the system does not tell.
pub(super) fn established(pid: u32) -> Option<usize> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let process = Path::new("/proc").join(pid.to_string());
    let sockets: HashSet<u64> = fs::read_dir(process.join("fd"))
        .ok()?
        .take(MAX_DESCRIPTORS)
        // What is closed meanwhile is no connection.
        .filter_map(|entry| socket_inode(&fs::read_link(entry.ok()?.path()).ok()?))
        .collect();
    if sockets.is_empty() {
        return Some(0);
    }
    let count = |table: &str| {
        let file = File::open(process.join("net").join(table)).ok()?;
        Some(count_established(
            BufReader::new(file.take(MAX_TABLE)),
            &sockets,
        ))
    };
    // A kernel without IPv6 has no second table.
    Some(count("tcp")? + count("tcp6").unwrap_or(0))
}

/// The inode in a link such as `socket:[12345]`.
fn socket_inode(link: &Path) -> Option<u64> {
    let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
    inode.parse().ok()
}

fn count_established(table: impl BufRead, sockets: &HashSet<u64>) -> usize {
    let is_ours = |line: &str| {
        let mut words = line.split_whitespace();
        let state = words.nth(3);
        let inode = words.nth(5).and_then(|inode| inode.parse().ok());
        state == Some(ESTABLISHED) && inode.is_some_and(|inode| sockets.contains(&inode))
    };
    table
        .lines()
        .map_while(Result::ok)
        .filter(|line| is_ours(line))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn established_connections_of_ours_are_told_from_others() {
        let line = |state: &str, inode: u32| {
            format!(
                "   1: 0100007F:1F90 0100007F:C350 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0000000000000000 20 4 30 10 -1\n"
            )
        };
        let table = [
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n".to_owned(),
            line("01", 71),
            line("01", 72),
            line("0A", 73),
            line("01", 99),
            "truncated 1 2\n".to_owned(),
        ]
        .concat();
        let sockets = HashSet::from([71, 72, 73]);
        assert_eq!(count_established(table.as_bytes(), &sockets), 2);
        assert_eq!(socket_inode(Path::new("socket:[71]")), Some(71));
        assert_eq!(socket_inode(Path::new("/dev/null")), None);
        assert_eq!(socket_inode(Path::new("pipe:[71]")), None);
    }
}
