//! Candidates put into real trees and taken back.
// Helpers of tests are tests, which the lint cannot see.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use homeostasis_core::record::{PatchCandidate, PatchKind};
use homeostasis_core::{Digest, ErrorKind};
use homeostasis_patch::{
    AppliedPatch, ConfigEdit, FilePatch, FilePatchError, apply_candidate, revert,
};
use tempfile::TempDir;

const OLD: &str = "pool:\n  size: 5   # per node\n";
const NEW: &str = "pool:\n  size: 20   # per node\n";

fn tree() -> (TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("conf/app.yaml");
    fs::create_dir(root.path().join("conf")).unwrap();
    fs::write(&file, OLD).unwrap();
    (root, file)
}

fn candidate(path: &str) -> PatchCandidate {
    let edit = ConfigEdit::set("pool.size".parse().unwrap(), 20);
    let made = FilePatch::from_edits(path, OLD, vec![edit]).unwrap();
    let kind = PatchKind::Configuration;
    PatchCandidate::new("test", kind, path, made.base_hash, made.diff.to_string())
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn applied_candidate_is_taken_back_to_the_byte_and_both_may_be_repeated() {
    let (root, file) = tree();
    let applied = apply_candidate(&candidate("conf/app.yaml"), root.path(), None).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), NEW);
    assert_eq!(applied.backup, None);
    assert_eq!(names(&root.path().join("conf")), ["app.yaml"]);

    let again = apply_candidate(&candidate("conf/app.yaml"), root.path(), None);
    assert!(matches!(again, Err(FilePatchError::Drifted { .. })));
    assert_eq!(fs::read_to_string(&file).unwrap(), NEW);

    let stored = serde_json::to_string(&applied).unwrap();
    let applied: AppliedPatch = serde_json::from_str(&stored).unwrap();
    assert!(revert(&applied.inverse, root.path()).unwrap());
    assert_eq!(fs::read_to_string(&file).unwrap(), OLD);
    assert!(!revert(&applied.inverse, root.path()).unwrap());
    assert_eq!(fs::read_to_string(&file).unwrap(), OLD);
}

#[test]
fn file_that_changed_since_is_kept_by_apply_and_revert() {
    let (root, file) = tree();
    let other = OLD.replace('5', "6");
    fs::write(&file, &other).unwrap();
    let error = apply_candidate(&candidate("conf/app.yaml"), root.path(), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(fs::read_to_string(&file).unwrap(), other);

    fs::write(&file, OLD).unwrap();
    let applied = apply_candidate(&candidate("conf/app.yaml"), root.path(), None).unwrap();
    fs::write(&file, &other).unwrap();
    let error = revert(&applied.inverse, root.path()).unwrap_err();
    assert!(matches!(error, FilePatchError::Drifted { .. }));
    assert_eq!(fs::read_to_string(&file).unwrap(), other);
}

#[test]
fn backup_holds_the_old_content_under_its_digest() {
    let (root, _) = tree();
    let folder = tempfile::tempdir().unwrap();
    let backups = folder.path().join("made/on/demand");
    let name = Digest::of_bytes(OLD.as_bytes()).to_string();
    // One with the right name and other content, as a crash of something else may leave it.
    fs::create_dir_all(&backups).unwrap();
    fs::write(backups.join(&name), "torn").unwrap();

    let patch = candidate("conf/app.yaml");
    let applied = apply_candidate(&patch, root.path(), Some(&backups)).unwrap();
    assert_eq!(applied.backup, Some(backups.join(&name)));
    assert_eq!(names(&backups), [name.as_str()]);
    assert_eq!(fs::read_to_string(backups.join(name)).unwrap(), OLD);
}

#[test]
fn failing_backup_leaves_the_file_alone() {
    let (root, file) = tree();
    let blocked = root.path().join("conf/app.yaml/below-a-file");
    let error = apply_candidate(&candidate("conf/app.yaml"), root.path(), Some(&blocked));
    assert!(matches!(error, Err(FilePatchError::Io { .. })));
    assert_eq!(fs::read_to_string(file).unwrap(), OLD);
}

#[test]
fn missing_file_folder_and_other_texts_are_refused() {
    let (root, file) = tree();
    let apply = |path: &str| apply_candidate(&candidate(path), root.path(), None).unwrap_err();
    assert!(matches!(
        apply("conf/no.yaml"),
        FilePatchError::Missing { .. }
    ));
    assert!(matches!(
        apply("conf/app.yaml/x.yaml"),
        FilePatchError::Missing { .. }
    ));
    fs::create_dir(root.path().join("folder.yaml")).unwrap();
    assert!(matches!(
        apply("folder.yaml"),
        FilePatchError::Refused { .. }
    ));
    fs::write(&file, b"pool: \xff\n").unwrap();
    let error = apply("conf/app.yaml").to_string();
    assert_eq!(
        error,
        "conf/app.yaml: found no UTF-8 at byte 6, expected a text in UTF-8"
    );
}

#[test]
fn path_that_leaves_the_root_is_denied() {
    let (root, file) = tree();
    for path in [
        "../app.yaml",
        "conf/../conf/app.yaml",
        file.to_str().unwrap(),
    ] {
        let mut escaping = candidate("app.yaml");
        path.clone_into(&mut escaping.path);
        let below = root.path().join("conf");
        let error = apply_candidate(&escaping, &below, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{path}");
    }
    assert_eq!(fs::read_to_string(file).unwrap(), OLD);
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn permissions_and_owner_stay() {
        let (root, file) = tree();
        for mode in [0o640, 0o755, 0o666] {
            fs::write(&file, OLD).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let before = fs::metadata(&file).unwrap();
            apply_candidate(&candidate("conf/app.yaml"), root.path(), None).unwrap();
            let after = fs::metadata(&file).unwrap();
            assert_eq!(after.mode(), before.mode());
            assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
            assert_ne!(after.ino(), before.ino(), "replaced, not overwritten");
        }
    }

    #[test]
    fn backup_is_for_the_owner_only() {
        let (root, _) = tree();
        let folder = tempfile::tempdir().unwrap();
        let patch = candidate("conf/app.yaml");
        let applied = apply_candidate(&patch, root.path(), Some(folder.path())).unwrap();
        let mode = fs::metadata(applied.backup.unwrap()).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn links_read_only_and_hard_linked_files_are_denied() {
        let (root, file) = tree();
        let (outside, target) = tree();
        symlink(&target, root.path().join("link.yaml")).unwrap();
        symlink(outside.path().join("conf"), root.path().join("folder")).unwrap();
        fs::write(root.path().join("locked.yaml"), OLD).unwrap();
        let locked = fs::Permissions::from_mode(0o444);
        fs::set_permissions(root.path().join("locked.yaml"), locked).unwrap();
        fs::hard_link(&target, root.path().join("hard.yaml")).unwrap();
        for path in ["link.yaml", "folder/app.yaml", "locked.yaml", "hard.yaml"] {
            let error = apply_candidate(&candidate(path), root.path(), None).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied, "{path}: {error}");
        }
        for untouched in [file, target, root.path().join("locked.yaml")] {
            assert_eq!(fs::read_to_string(untouched).unwrap(), OLD);
        }
    }

    #[test]
    fn root_may_be_reached_through_a_link() {
        let (root, file) = tree();
        let elsewhere = tempfile::tempdir().unwrap();
        let link = elsewhere.path().join("project");
        symlink(root.path(), &link).unwrap();
        apply_candidate(&candidate("conf/app.yaml"), &link, None).unwrap();
        assert_eq!(fs::read_to_string(file).unwrap(), NEW);
    }
}
