use homeostasis_patch::{LiveTree, SessionState};

use super::*;

fn one(number: u32) -> ChangeSet {
    let (old, new) = (
        format!("size = {}\n", number - 1),
        format!("size = {number}\n"),
    );
    let patches = [patch("conf.toml", &old, &new)];
    ChangeSet::new(
        IncidentId::from_u128(u128::from(number)),
        Timestamp::EPOCH,
        patches,
    )
}

#[test]
fn the_live_tree_obeys_the_contract() {
    let (root, store) = (project(), tempfile::tempdir().unwrap());
    let tree = LiveTree::new(root.path(), store.path());
    obeys_the_contract(&tree, || format!("{:?}", texts(root.path())));
    assert!(is_old(root.path()));
}

#[test]
fn five_sessions_are_kept_and_each_is_rolled_back_in_turn() {
    let (root, store) = (project(), tempfile::tempdir().unwrap());
    let tree = LiveTree::new(root.path(), store.path());
    fs::write(root.path().join("conf.toml"), "size = 0\n").unwrap();
    for number in 1..=7 {
        let proposal = one(number);
        tree.hand_over(&proposal, proposal.hash()).unwrap();
    }
    let sessions = tree.sessions().unwrap();
    let incidents: Vec<_> = sessions.iter().map(|it| it.incident.as_u128()).collect();
    assert_eq!(incidents, [7, 6, 5, 4, 3]);
    assert_eq!(below(&store.path().join("copies")).len(), 5);
    // Of those not kept nothing is said to be taken back that is not.
    assert!(!tree.take_back(&one(1)).unwrap());
    // An older one cannot be taken back before those that came after it.
    let early = tree.roll_back(&sessions[1].id, false).unwrap_err();
    assert_eq!(early.kind(), ErrorKind::Conflict, "{early}");
    for session in &sessions {
        tree.roll_back(&session.id, false).unwrap();
        let again = tree.roll_back(&session.id, false).unwrap();
        assert!(again.restored.is_empty());
    }
    let text = fs::read_to_string(root.path().join("conf.toml")).unwrap();
    assert_eq!(text, "size = 2\n");
    let unknown = tree.roll_back("00000001-0123456789ab", false).unwrap_err();
    assert!(
        unknown.to_string().contains("no such session is kept"),
        "{unknown}"
    );
    assert_eq!(tree.recover().unwrap(), []);
}

#[test]
fn what_cannot_be_taken_back_any_more_is_an_error_while_it_is_there() {
    let (root, store) = (project(), tempfile::tempdir().unwrap());
    let tree = LiveTree::new(root.path(), store.path()).keeping(1);
    fs::write(root.path().join("conf.toml"), "size = 0\n").unwrap();
    let early = one(1);
    tree.hand_over(&early, early.hash()).unwrap();
    let other = proposal();
    let later = ChangeSet::new(
        IncidentId::from_u128(9),
        Timestamp::EPOCH,
        other
            .patches
            .iter()
            .filter(|it| it.path != "conf.toml")
            .cloned(),
    );
    tree.hand_over(&later, later.hash()).unwrap();
    assert_eq!(tree.sessions().unwrap().len(), 1);
    let gone = tree.take_back(&early).unwrap_err();
    assert!(gone.to_string().contains("restore it by hand"), "{gone}");
    let text = fs::read_to_string(root.path().join("conf.toml")).unwrap();
    assert_eq!(text, "size = 1\n");
}

#[test]
fn what_somebody_changed_since_is_kept_unless_by_force_and_then_recorded() {
    let (root, store) = (project(), tempfile::tempdir().unwrap());
    let tree = LiveTree::new(root.path(), store.path());
    let proposal = proposal();
    let receipt = tree.hand_over(&proposal, proposal.hash()).unwrap();
    let mine = "size = 99\n";
    fs::write(root.path().join("conf.toml"), mine).unwrap();
    for error in [
        tree.roll_back(&receipt.place, false).unwrap_err(),
        tree.take_back(&proposal).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().starts_with("conf.toml: "), "{error}");
    }
    assert_eq!(texts(root.path()), (NEW.to_owned(), mine.to_owned()));
    let done = tree.roll_back(&receipt.place, true).unwrap();
    assert!(is_old(root.path()));
    let [overwritten] = &done.overwritten[..] else {
        panic!("{done:?}")
    };
    assert_eq!(overwritten.path, "conf.toml");
    assert_eq!(overwritten.found, Digest::of_bytes(mine.as_bytes()));
    let kept = store
        .path()
        .join("copies")
        .join(overwritten.found.to_string());
    assert_eq!(fs::read_to_string(kept).unwrap(), mine);
    assert_eq!(tree.sessions().unwrap()[0].overwritten, done.overwritten);
}

#[test]
fn an_interrupted_session_whose_file_was_changed_is_named_and_stops_others() {
    let (root, store) = (project(), tempfile::tempdir().unwrap());
    let tree = LiveTree::new(root.path(), store.path());
    let first = proposal();
    let receipt = tree.hand_over(&first, first.hash()).unwrap();
    // As a kill between the two files leaves it, and then somebody edits the second.
    let record = store
        .path()
        .join("sessions")
        .join(format!("{}.json", receipt.place));
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("\"applied\"", "\"applying\"")).unwrap();
    write(root.path(), NEW, "size = 1\n");
    let settled = tree.recover().unwrap();
    assert_eq!(settled.len(), 1);
    assert_eq!(settled[0].changed, ["conf.toml"]);
    assert_eq!(settled[0].state, SessionState::Applying);
    let (mean, conf) = texts(root.path());
    assert_eq!((mean.as_str(), conf.as_str()), (OLD, "size = 1\n"));
    let next = one(2);
    let refused = tree.hand_over(&next, next.hash()).unwrap_err();
    assert!(
        matches!(refused, HandOverError::Unsettled { .. }),
        "{refused}"
    );
    tree.roll_back(&receipt.place, true).unwrap();
    assert!(is_old(root.path()));
    assert_eq!(tree.recover().unwrap(), []);
}

#[test]
fn a_damaged_store_is_told_and_the_tree_left_alone() {
    let (root, store) = (project(), tempfile::tempdir().unwrap());
    let tree = LiveTree::new(root.path(), store.path());
    let proposal = proposal();
    let receipt = tree.hand_over(&proposal, proposal.hash()).unwrap();
    for copy in below(&store.path().join("copies")) {
        fs::write(copy, "torn").unwrap();
    }
    let error = tree.take_back(&proposal).unwrap_err();
    assert!(
        error.to_string().contains("reading a kept version failed"),
        "{error}"
    );
    assert!(is_new(root.path()));
    let record = store
        .path()
        .join("sessions")
        .join(format!("{}.json", receipt.place));
    let text = fs::read_to_string(&record).unwrap();
    fs::write(
        &record,
        text.replace("\"schema_version\": 1", "\"schema_version\": 2"),
    )
    .unwrap();
    let error = tree.sessions().unwrap_err();
    assert!(
        error.to_string().contains("schema_version = 2, expected 1"),
        "{error}"
    );
}

#[test]
fn only_one_works_on_a_store_at_a_time() {
    let (root, store) = (project(), tempfile::tempdir().unwrap());
    let tree = LiveTree::new(root.path(), store.path());
    tree.recover().unwrap();
    let lock = fs::File::open(store.path().join("lock")).unwrap();
    lock.lock().unwrap();
    let busy = tree.sessions().unwrap_err();
    assert!(matches!(busy, HandOverError::Busy { .. }), "{busy}");
    assert_eq!(busy.kind(), ErrorKind::Transient);
    drop(lock);
    assert_eq!(tree.sessions().unwrap(), []);
}

#[cfg(unix)]
#[test]
fn a_second_file_that_cannot_be_replaced_leaves_the_first_alone() {
    use std::os::unix::fs::PermissionsExt;

    let (root, store) = (project(), tempfile::tempdir().unwrap());
    let tree = LiveTree::new(root.path(), store.path());
    let locked = fs::Permissions::from_mode(0o444);
    fs::set_permissions(root.path().join("conf.toml"), locked).unwrap();
    let proposal = proposal();
    let refused = tree.hand_over(&proposal, proposal.hash()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied, "{refused}");
    assert!(is_old(root.path()));
    assert_eq!(tree.sessions().unwrap(), []);
}
