//! Every shipped playbook is linted, and dry-run word for word.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use homeostasis_core::policy::Policy;
use homeostasis_remediate::playbook::PlaybookLibrary;

use crate::host;

/// Compares with a committed file, or writes it.
pub(crate) fn compare(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_PLAYBOOKS").is_some() {
        fs::write(path, text).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().zip(committed.lines()).find(|(a, b)| a != b);
    assert!(
        text == committed,
        "{} is not what the playbooks say; UPDATE_PLAYBOOKS=1 writes it anew. First difference: {line:?}",
        path.display()
    );
}

pub(crate) fn committed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[tokio::test]
async fn every_shipped_playbook_lints_clean() {
    let dir = tempfile::tempdir().unwrap();
    let actions = host::actions(dir.path());
    let mut found = Vec::new();
    for playbook in host::examples(&actions).iter() {
        let lints = playbook.lint(&actions, Policy::default().permit_ttl);
        found.extend(
            lints
                .iter()
                .map(|lint| format!("{}:{lint}", playbook.source())),
        );
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[tokio::test]
async fn every_shipped_playbook_says_everything_that_a_playbook_can() {
    let dir = tempfile::tempdir().unwrap();
    let actions = host::actions(dir.path());
    for playbook in host::examples(&actions).iter() {
        let id = playbook.id();
        assert!(
            playbook.severity().is_some() && playbook.category().is_some(),
            "{id}"
        );
        assert!(
            !playbook.pre_conditions().is_empty(),
            "{id}: no pre-condition"
        );
        assert!(playbook.verification().is_some(), "{id}: no verification");
        assert!(playbook.rollback().is_some(), "{id}: no rollback");
        assert!(playbook.escalation().on_failure, "{id}: nobody is called");
        assert!(playbook.safety().blast_radius.is_some(), "{id}: no reach");
        for step in playbook.steps() {
            assert!(
                step.expected_recovery.is_some(),
                "{id}: {} expects nothing",
                step.name
            );
            assert!(
                playbook.text().contains("    timeout: "),
                "{id}: no time-out"
            );
        }
    }
}

#[tokio::test]
async fn every_dry_run_is_the_committed_one() {
    let dir = tempfile::tempdir().unwrap();
    let actions = host::actions(dir.path());
    let target = "shop/shop-1".parse().unwrap();
    let playbooks = host::examples(&actions);
    let mut text = String::new();
    for template in PlaybookLibrary::shipped().unwrap().iter() {
        let playbook = playbooks.get(template.name()).unwrap();
        let dry_run = playbook.dry_run(&actions, &target, &host::topology());
        let dry_run = dry_run.unwrap_or_else(|error| panic!("{error}"));
        writeln!(text, "{}\n{dry_run}", template.source()).unwrap();
    }
    let folder = dir.path().display().to_string();
    compare(
        &committed("tests/playbooks/dry_runs.txt"),
        &text.replace(&folder, "DIR"),
    );
}
