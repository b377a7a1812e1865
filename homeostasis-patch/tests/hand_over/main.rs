//! Patches handed over to real folders, real repositories and real trees.
// Helpers of tests are tests, which the lint cannot see.
#![allow(clippy::unwrap_used)]

mod branch;
mod live_tree;
mod patch_folder;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use homeostasis_core::record::{PatchCandidate, PatchKind, RiskLevel};
use homeostasis_core::testing::engine;
use homeostasis_core::{Digest, ErrorKind, IncidentId, Timestamp};
use homeostasis_patch::{ChangeSet, FilePatch, HandOver, HandOverError};
use tempfile::TempDir;

const OLD: &str = "def mean(xs):\n    return sum(xs) / len(xs)\n";
const NEW: &str =
    "def mean(xs):\n    if not xs:\n        return None\n    return sum(xs) / len(xs)\n";
const CONF_OLD: &str = "size = 5\n";
const CONF_NEW: &str = "size = 20\n";

fn patch(path: &str, old: &str, new: &str) -> PatchCandidate {
    let made = FilePatch::from_texts(path, old, new).unwrap();
    let (base, diff) = (made.base_hash, made.diff.to_string());
    let mut patch = PatchCandidate::new("templates", PatchKind::Code, path, base, diff);
    patch.explanation = "an empty list gives None instead of an error".into();
    patch.risk = RiskLevel::Medium;
    patch
}

fn proposal() -> ChangeSet {
    let patches = [
        patch("app/mean.py", OLD, NEW),
        patch("conf.toml", CONF_OLD, CONF_NEW),
    ];
    let incident = IncidentId::from_u128(0xabc);
    let mut proposal = ChangeSet::new(incident, Timestamp::from_secs(1_700_000_000), patches);
    proposal.why = "ZeroDivisionError in mean of app/mean.py".into();
    proposal.evidence = vec!["the traceback names line 2".to_owned()];
    proposal.tests = vec!["the trigger no longer raises".to_owned()];
    proposal
}

/// A project with both files.
fn project() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("app")).unwrap();
    write(root.path(), OLD, CONF_OLD);
    root
}

fn write(root: &Path, mean: &str, conf: &str) {
    fs::write(root.join("app/mean.py"), mean).unwrap();
    fs::write(root.join("conf.toml"), conf).unwrap();
}

fn texts(root: &Path) -> (String, String) {
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    (read("app/mean.py"), read("conf.toml"))
}

fn is_old(root: &Path) -> bool {
    texts(root) == (OLD.to_owned(), CONF_OLD.to_owned())
}

fn is_new(root: &Path) -> bool {
    texts(root) == (NEW.to_owned(), CONF_NEW.to_owned())
}

/// Runs git in an empty configuration and gives its output; panics when it fails.
#[expect(clippy::disallowed_methods, reason = "the test talks to real git")]
fn git(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@t",
            "-c",
            "core.autocrlf=false",
        ])
        .args(args)
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "")
        .env("HOME", folder)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {args:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// What every way to hand over promises. `world` is what it must not change unless it says so.
fn obeys_the_contract(way: &dyn HandOver, world: impl Fn() -> String) {
    let proposal = proposal();
    let before = world();
    let other = Digest::of_bytes(b"another patch");
    let refused = way.hand_over(&proposal, other).unwrap_err();
    assert!(
        matches!(refused, HandOverError::NotApproved { .. }),
        "{refused}"
    );
    assert_eq!(refused.kind(), ErrorKind::Denied);
    let nothing = ChangeSet::new(proposal.incident, proposal.at, []);
    let refused = way.hand_over(&nothing, nothing.hash()).unwrap_err();
    assert!(matches!(refused, HandOverError::Empty), "{refused}");
    let twice = ChangeSet::new(
        proposal.incident,
        proposal.at,
        [
            patch("conf.toml", CONF_OLD, CONF_NEW),
            patch("conf.toml", CONF_OLD, "size = 9\n"),
        ],
    );
    let refused = way.hand_over(&twice, twice.hash()).unwrap_err();
    assert!(matches!(refused, HandOverError::Twice { .. }), "{refused}");
    // The second of two files has drifted: nothing is handed over.
    let drifted = ChangeSet::new(
        proposal.incident,
        proposal.at,
        [
            patch("app/mean.py", OLD, NEW),
            patch("conf.toml", "size = 6\n", CONF_NEW),
        ],
    );
    let refused = way.hand_over(&drifted, drifted.hash()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    for path in ["../conf.toml", "/etc/passwd", "app/../conf.toml"] {
        let mut escaping = patch("conf.toml", CONF_OLD, CONF_NEW);
        path.clone_into(&mut escaping.path);
        let escaping = ChangeSet::new(proposal.incident, proposal.at, [escaping]);
        assert!(way.hand_over(&escaping, escaping.hash()).is_err(), "{path}");
    }
    assert_eq!(way.find(&proposal).unwrap(), None);
    assert!(!way.take_back(&proposal).unwrap());
    assert_eq!(world(), before, "what was refused changed something");

    let receipt = way.hand_over(&proposal, proposal.hash()).unwrap();
    assert_eq!(
        (receipt.way.as_str(), receipt.hash),
        (way.name(), proposal.hash())
    );
    let after = world();
    assert_ne!(after, before);
    assert_eq!(way.find(&proposal).unwrap().as_ref(), Some(&receipt));
    // Words about it may change, and repeating it is harmless.
    let mut reworded = proposal.clone();
    reworded.tests.push("one more passed".to_owned());
    let again = way.hand_over(&reworded, proposal.hash()).unwrap();
    assert_eq!((&again, world()), (&receipt, after));

    assert!(way.take_back(&proposal).unwrap());
    assert!(!way.take_back(&proposal).unwrap());
    assert_eq!(way.find(&proposal).unwrap(), None);
    assert_eq!(world(), before);
}

fn git_is_there() -> bool {
    engine::find("git", &[]).is_some()
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
