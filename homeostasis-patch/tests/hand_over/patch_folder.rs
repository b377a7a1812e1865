use homeostasis_patch::PatchFolder;

use super::*;

#[test]
fn a_patch_file_obeys_the_contract() {
    let (root, folder) = (project(), tempfile::tempdir().unwrap());
    let way = PatchFolder::new(root.path(), folder.path().join("made/on/demand"));
    obeys_the_contract(&way, || format!("{:?}", below(folder.path())));
    assert!(is_old(root.path()));
}

#[test]
fn a_patch_file_is_read_by_people_and_applied_by_git() {
    if !git_is_there() {
        return;
    }
    let (root, folder) = (project(), tempfile::tempdir().unwrap());
    let proposal = proposal();
    let way = PatchFolder::new(root.path(), folder.path());
    let receipt = way.hand_over(&proposal, proposal.hash()).unwrap();
    let text = fs::read_to_string(&receipt.place).unwrap();
    for wanted in [
        "# app/mean.py and 1 more: an empty list gives None",
        "# - ZeroDivisionError in mean of app/mean.py\n",
        "# - the traceback names line 2\n",
        "# - the trigger no longer raises\n",
        "# Risk: medium\n",
        "# - git apply -R",
        &format!("# Incident: {}\n", proposal.incident),
        &format!("# Patch-Hash: {}\n", proposal.hash()),
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
    git(root.path(), &["apply", &receipt.place]);
    assert!(is_new(root.path()));
    git(root.path(), &["apply", "-R", &receipt.place]);
    assert!(is_old(root.path()));
}

#[test]
fn another_file_with_that_name_is_left_alone() {
    let (root, folder) = (project(), tempfile::tempdir().unwrap());
    let (way, proposal) = (PatchFolder::new(root.path(), folder.path()), proposal());
    let receipt = way.hand_over(&proposal, proposal.hash()).unwrap();
    fs::write(&receipt.place, "# mine\n").unwrap();
    let taken = way.hand_over(&proposal, proposal.hash()).unwrap_err();
    assert!(matches!(taken, HandOverError::Taken { .. }), "{taken}");
    assert!(way.take_back(&proposal).is_err());
    assert_eq!(fs::read_to_string(&receipt.place).unwrap(), "# mine\n");
}
