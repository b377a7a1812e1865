//! A real child process that commits in a loop is killed with SIGKILL, again and again; then the
//! file is opened: nothing it acknowledged may be lost, and at most the one write that was under
//! way may be there beyond that.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use homeostasis_core::port::{Commit, Store, Version};
use homeostasis_core::record::{EventKind, HealEvent, SCHEMA_VERSION};
use homeostasis_core::{IncidentId, NodeId, Rng, Timestamp};
use homeostasis_store::RedbStore;

const FILE: &str = "HOMEOSTASIS_STORE_KILL_TEST_FILE";

fn incident() -> IncidentId {
    IncidentId::from_u128(1)
}

fn event(seq: u64) -> HealEvent {
    HealEvent {
        schema_version: SCHEMA_VERSION,
        incident: incident(),
        seq,
        at: Timestamp::EPOCH,
        node: NodeId::default(),
        kind: EventKind::Escalated {
            reason: format!("write {seq} {}", "x".repeat(500)),
        },
    }
}

/// The child: continues where the journal ends and prints each acknowledged number of events.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(FILE) else {
        return; // This is the parent's test run.
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(async {
        let store = RedbStore::open(path).unwrap();
        let n_events = store.read(incident()).await.unwrap().len() as u64;
        let mut out = std::io::stdout();
        writeln!(out, "\nacknowledged {n_events}").unwrap();
        for seq in n_events.. {
            let commit = Commit::append(Version(seq), vec![event(seq)]).hit("k", Timestamp::EPOCH);
            let version = store.commit(commit).await.unwrap();
            writeln!(out, "acknowledged {}", version.0).unwrap();
        }
    });
}

/// Runs the child until it acknowledged `n_more` writes, kills it, and returns the last number it
/// acknowledged.
#[allow(
    clippy::disallowed_methods,
    reason = "the process to kill is the subject of the test"
)]
fn run_and_kill(path: &Path, n_more: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "child_that_writes_until_it_is_killed",
            "--nocapture",
        ])
        .env(FILE, path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut first = None;
    let mut last = 0;
    for line in lines {
        let line = line.unwrap();
        if let Some(n) = line.strip_prefix("acknowledged ") {
            last = n.parse().unwrap();
            if last == *first.get_or_insert(last) + n_more {
                // Lines that are in the pipe already are still read below the kill.
                child.kill().unwrap();
            }
        }
    }
    let status = child.wait().unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(9),
        "the child ended by itself: {status}"
    );
    last
}

#[test]
fn no_acknowledged_write_is_lost_to_sigkill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    let mut rng = Rng::from_seed(7);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut before = 0;
    for round in 0..12 {
        let n_more = rng.next_u64() % 20;
        let acknowledged = run_and_kill(&path, n_more);
        assert!(acknowledged >= before + n_more, "round {round}");
        runtime.block_on(async {
            let store = RedbStore::open(&path).unwrap();
            let events = store.read(incident()).await.unwrap();
            let found = events.len() as u64;
            assert!(
                found == acknowledged || found == acknowledged + 1,
                "round {round}: {acknowledged} acknowledged, {found} found"
            );
            let expected: Vec<_> = (0..found).map(event).collect();
            assert!(
                events == expected,
                "round {round}: events differ from those written"
            );
            let hits = store.hits("k", Timestamp::EPOCH).await.unwrap();
            assert_eq!(hits, found, "round {round}: hits and events parted");
            before = found;
        });
    }
    assert!(before > 0);
}
