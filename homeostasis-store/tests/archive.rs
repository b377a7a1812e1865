//! The archive as a host sees it: there and back, twice, cut short, damaged.
#![cfg(feature = "archive")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use homeostasis_core::port::{Archive, Commit, MemoryStore, Store, StoreError, Version};
use homeostasis_core::record::{EventKind, HealEvent, Resolution, SCHEMA_VERSION};
use homeostasis_core::{IncidentId, NodeId, Timestamp};
use homeostasis_store::{ArchiveError, FileArchive, RedbStore};
use proptest::prelude::*;

const NOVEMBER: &str = "2026-11-22T01:00:00Z";

fn incident(n: u128, at: &str, reasons: &[&str]) -> Vec<HealEvent> {
    let mut kinds: Vec<_> = reasons
        .iter()
        .map(|reason| EventKind::Escalated {
            reason: (*reason).to_owned(),
        })
        .collect();
    kinds.push(EventKind::Closed {
        resolution: Resolution::Recovered,
    });
    (0..)
        .zip(kinds)
        .map(|(seq, kind)| HealEvent {
            schema_version: SCHEMA_VERSION,
            incident: IncidentId::from_u128(n),
            seq,
            at: at.parse().unwrap(),
            node: NodeId::default(),
            kind,
        })
        .collect()
}

fn archive() -> (tempfile::TempDir, FileArchive) {
    let folder = tempfile::tempdir().unwrap();
    let archive = FileArchive::open(folder.path().join("archive")).unwrap();
    (folder, archive)
}

fn november(archive: &FileArchive) -> PathBuf {
    archive.folder().join("incidents-2026-11.jsonl.gz")
}

fn read(archive: &FileArchive) -> (Vec<Vec<HealEvent>>, Vec<ArchiveError>) {
    let (mut incidents, mut problems) = (Vec::new(), Vec::new());
    for item in archive.read().unwrap() {
        match item {
            Ok(incident) => incidents.push(incident),
            Err(problem) => problems.push(problem),
        }
    }
    (incidents, problems)
}

fn cut(path: &Path, n_bytes: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - n_bytes)
        .unwrap();
}

#[tokio::test]
async fn incidents_lie_in_the_month_of_their_closing_and_come_back_once() {
    let (_folder, archive) = archive();
    let (a, b, c) = (
        incident(1, "2026-10-31T23:59:59.9Z", &["a", "ü\n\"\\"]),
        incident(2, NOVEMBER, &[]),
        incident(3, NOVEMBER, &["c"]),
    );
    archive.append(&[a.clone(), b.clone()]).await.unwrap();
    // The process died before it forgot `b`, and archives it again.
    archive.append(&[b.clone(), c.clone()]).await.unwrap();
    assert!(archive.folder().join("incidents-2026-10.jsonl.gz").exists());
    assert!(november(&archive).exists());
    let (incidents, problems) = read(&archive);
    assert_eq!(incidents, [a, b, c]);
    assert!(problems.is_empty(), "{problems:?}");
}

#[tokio::test]
async fn a_torn_end_is_named_the_rest_is_read_and_the_next_append_cuts_it_off() {
    let (_folder, archive) = archive();
    let (a, b, c) = (
        incident(1, NOVEMBER, &["a"]),
        incident(2, NOVEMBER, &["b"]),
        incident(3, NOVEMBER, &["c"]),
    );
    archive.append(std::slice::from_ref(&a)).await.unwrap();
    let whole = fs::metadata(november(&archive)).unwrap().len();
    archive.append(&[b]).await.unwrap();
    let all = fs::metadata(november(&archive)).unwrap().len();
    for left in [all - 1, whole + 20, whole + 1] {
        let now = fs::metadata(november(&archive)).unwrap().len();
        cut(&november(&archive), now - left);
        let (incidents, problems) = read(&archive);
        assert_eq!(incidents, std::slice::from_ref(&a));
        assert!(
            matches!(&problems[..], [ArchiveError::Damaged { offset, bytes, is_torn: true, .. }]
                if *offset == whole && *bytes == left - whole),
            "{left}: {problems:?}"
        );
    }
    // The next process appends.
    let next = FileArchive::open(archive.folder()).unwrap();
    next.append(std::slice::from_ref(&c)).await.unwrap();
    let (incidents, problems) = read(&next);
    assert_eq!(incidents, [a, c]);
    assert!(problems.is_empty(), "{problems:?}");
}

#[tokio::test]
async fn damage_in_the_middle_costs_what_it_hits_and_is_named() {
    let (_folder, archive) = archive();
    let all: Vec<_> = (1..=3)
        .map(|n| incident(n, NOVEMBER, &["x", "y"]))
        .collect();
    let mut ends = Vec::new();
    for one in &all {
        archive.append(std::slice::from_ref(one)).await.unwrap();
        ends.push(fs::metadata(november(&archive)).unwrap().len());
    }
    let mut bytes = fs::read(november(&archive)).unwrap();
    let (from, to) = (
        usize::try_from(ends[0]).unwrap(),
        usize::try_from(ends[1]).unwrap(),
    );
    bytes[usize::midpoint(from, to)] ^= 0x55;
    fs::write(november(&archive), &bytes).unwrap();
    let (incidents, problems) = read(&archive);
    assert_eq!(incidents, [all[0].clone(), all[2].clone()]);
    assert!(
        matches!(&problems[..], [ArchiveError::Damaged { offset, bytes, is_torn: false, .. }]
            if *offset == ends[0] && *bytes == ends[1] - ends[0]),
        "{problems:?}"
    );
}

#[tokio::test]
async fn lines_that_are_no_events_are_named_and_cost_their_incident() {
    let (_folder, archive) = archive();
    let (a, b) = (incident(1, NOVEMBER, &["a"]), incident(2, NOVEMBER, &["b"]));
    let json = |event: &HealEvent| serde_json::to_string(event).unwrap();
    let lines = [
        json(&a[0]),
        "no event".to_owned(),
        json(&a[1]),
        json(&b[0]),
        json(&b[1]),
    ];
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(lines.join("\n").as_bytes()).unwrap();
    fs::write(november(&archive), packer.finish().unwrap()).unwrap();
    let (incidents, problems) = read(&archive);
    assert_eq!(incidents, [b]);
    assert!(
        matches!(
            &problems[..],
            [ArchiveError::Malformed {
                offset: 0,
                line: 2,
                ..
            }]
        ),
        "{problems:?}"
    );
}

#[tokio::test]
async fn a_first_line_that_cannot_be_read_costs_its_own_incident_only() {
    let json = |event: &HealEvent| serde_json::to_string(event).unwrap();
    let (a, b) = (incident(1, NOVEMBER, &["a"]), incident(2, NOVEMBER, &["b"]));
    let more = HealEvent {
        seq: 2,
        ..a[0].clone()
    };
    let broken = || "no event".to_owned();
    let begin = [json(&a[0]), json(&a[1]), broken()];
    for (rest, expected) in [
        (vec![json(&b[1])], vec![a.clone()]),
        (vec![broken(), json(&b[1])], vec![a.clone()]),
        (vec![], vec![a.clone()]),
        // It was opened again: what is there is not all of it.
        (vec![json(&more)], vec![]),
    ] {
        let (_folder, archive) = archive();
        let lines = [&begin[..], &rest].concat().join("\n");
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(lines.as_bytes()).unwrap();
        fs::write(november(&archive), packer.finish().unwrap()).unwrap();
        assert_eq!(read(&archive).0, expected, "{lines}");
    }
}

#[tokio::test]
async fn two_versions_of_an_incident_are_a_conflict() {
    let (_folder, archive) = archive();
    let (one, other) = (incident(1, NOVEMBER, &["a"]), incident(1, NOVEMBER, &["b"]));
    archive.append(std::slice::from_ref(&one)).await.unwrap();
    archive.append(&[other]).await.unwrap();
    let (incidents, problems) = read(&archive);
    assert_eq!(incidents, [one]);
    assert!(
        matches!(&problems[..], [ArchiveError::Conflict { .. }]),
        "{problems:?}"
    );
}

#[tokio::test]
async fn what_is_no_incident_is_refused_and_nothing_is_written() {
    let (_folder, archive) = archive();
    let mut gap = incident(1, NOVEMBER, &["a"]);
    gap.remove(0);
    for wrong in [Vec::new(), gap] {
        let refused = archive.append(&[incident(2, NOVEMBER, &[]), wrong]).await;
        assert!(
            matches!(refused, Err(StoreError::Invalid { .. })),
            "{refused:?}"
        );
    }
    assert!(!november(&archive).exists());
}

#[tokio::test]
async fn restoring_is_idempotent_and_overwrites_nothing() {
    let (folder, archive) = archive();
    let all: Vec<_> = (1..=3).map(|n| incident(n, NOVEMBER, &["x"])).collect();
    archive.append(&all).await.unwrap();
    let store = RedbStore::open(folder.path().join("journal.redb")).unwrap();
    let mine = incident(2, NOVEMBER, &["mine"]);
    store
        .commit(Commit::append(Version::NONE, mine.clone()))
        .await
        .unwrap();
    for (n_restored, n_present) in [(2, 0), (0, 2)] {
        let restored = archive.restore_into(&store).await.unwrap();
        assert_eq!(
            (restored.n_restored, restored.n_present),
            (n_restored, n_present)
        );
        assert_eq!(restored.conflicts, [IncidentId::from_u128(2)]);
        assert!(restored.damage.is_empty());
    }
    assert_eq!(store.read(IncidentId::from_u128(1)).await.unwrap(), all[0]);
    assert_eq!(store.read(IncidentId::from_u128(2)).await.unwrap(), mine);
    assert_eq!(store.closed_incidents().await.unwrap().len(), 3);
}

/// The events of every kind that core keeps as its promise of the format.
fn every_kind() -> Vec<HealEvent> {
    include_str!("../../homeostasis-core/testdata/events-v1.jsonl")
        .lines()
        .map(|line| HealEvent::from_json(line).unwrap())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn whatever_goes_in_comes_out(
        incidents in prop::collection::vec(
            (prop::collection::vec(0_usize..48, 1..20), 0_i64..100_000_000, "\\PC{0,30}"), 1..8),
        n_appends in 1_usize..4,
    ) {
        let kinds = every_kind();
        prop_assert_eq!(kinds.len(), 48);
        let incidents: Vec<Vec<HealEvent>> = (1..)
            .zip(incidents)
            .map(|(n, (picks, at, text))| {
                let mut events = incident(n, NOVEMBER, &[text.as_str()]);
                events.extend(picks.into_iter().map(|pick| kinds[pick].clone()));
                for (event, seq) in events.iter_mut().zip(0_u64..) {
                    event.incident = IncidentId::from_u128(n);
                    event.seq = seq;
                    event.at = Timestamp::from_secs(1_700_000_000 + at + i64::try_from(seq).unwrap());
                }
                events
            })
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (_folder, archive) = archive();
            for part in incidents.chunks(incidents.len().div_ceil(n_appends)) {
                archive.append(part).await.unwrap();
            }
            let by_id = |all: Vec<Vec<HealEvent>>| -> BTreeMap<_, _> {
                all.into_iter().map(|events| (events[0].incident, events)).collect()
            };
            let (found, problems) = read(&archive);
            prop_assert!(problems.is_empty(), "{:?}", problems);
            prop_assert_eq!(by_id(found), by_id(incidents.clone()));
            let store = MemoryStore::default();
            let restored = archive.restore_into(&store).await.unwrap();
            prop_assert_eq!(restored.n_restored, incidents.len() as u64);
            for events in &incidents {
                prop_assert_eq!(&store.read(events[0].incident).await.unwrap(), events);
            }
            Ok(())
        })?;
    }
}
