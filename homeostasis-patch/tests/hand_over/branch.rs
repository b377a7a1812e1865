use homeostasis_patch::{Author, PatchBranch};

use super::*;

/// A repository with the project in the folder `service`, something staged and something unsaved.
fn repository() -> (TempDir, PathBuf) {
    let repository = tempfile::tempdir().unwrap();
    let root = repository.path().join("service");
    fs::create_dir_all(root.join("app")).unwrap();
    write(&root, OLD, CONF_OLD);
    git(repository.path(), &["init", "-q", "-b", "main"]);
    git(repository.path(), &["add", "-A"]);
    git(repository.path(), &["commit", "-q", "-m", "first"]);
    fs::write(repository.path().join("staged"), "s").unwrap();
    git(repository.path(), &["add", "staged"]);
    fs::write(repository.path().join("unsaved"), "u").unwrap();
    (repository, root)
}

fn way(root: &Path) -> PatchBranch {
    PatchBranch::new(root, Author::new("Healer", "healer@example.org")).unwrap()
}

/// Branches, the index, and what is checked out.
fn state(repository: &Path) -> String {
    let index = fs::read(repository.join(".git/index")).unwrap();
    let files: Vec<_> = below(repository)
        .into_iter()
        .filter(|path| !path.starts_with(repository.join(".git")))
        .map(|path| (fs::read_to_string(&path).unwrap(), path))
        .collect();
    format!(
        "{}{}{}{files:?}",
        git(repository, &["for-each-ref", "--format=%(refname) %(tree)"]),
        git(repository, &["symbolic-ref", "HEAD"]),
        Digest::of_bytes(&index)
    )
}

#[test]
fn a_branch_obeys_the_contract() {
    if !git_is_there() {
        return;
    }
    let (repository, root) = repository();
    obeys_the_contract(&way(&root), || state(repository.path()));
}

#[test]
fn a_branch_is_one_commit_with_a_review_text_and_nothing_else_is_touched() {
    if !git_is_there() {
        return;
    }
    let (repository, root) = repository();
    let before = state(repository.path());
    let proposal = proposal();
    let receipt = way(&root).hand_over(&proposal, proposal.hash()).unwrap();
    let name = receipt.place.as_str();
    let short = proposal.hash().short();
    assert_eq!(name, format!("homeostasis/{}-{short}", proposal.incident));
    let at = |what: &str| {
        git(
            repository.path(),
            &["log", "-1", &format!("--format={what}"), name],
        )
    };
    assert_eq!(
        at("%an <%ae> %ad%n%cn <%ce>").lines().collect::<Vec<_>>(),
        [
            "Healer <healer@example.org> Tue Nov 14 22:13:20 2023 +0000",
            "Healer <healer@example.org>"
        ]
    );
    assert_eq!(at("%P"), git(repository.path(), &["rev-parse", "HEAD"]));
    let trailers = at("%(trailers)");
    assert_eq!(
        trailers.trim_end(),
        format!(
            "Incident: {}\nPatch-Hash: {}",
            proposal.incident,
            proposal.hash()
        )
    );
    let message = at("%B");
    for wanted in [
        "an empty list gives None",
        "- the trigger no longer raises",
        "git revert",
    ] {
        assert!(message.contains(wanted), "{wanted:?} is not in\n{message}");
    }
    let changed = git(repository.path(), &["diff", "--name-only", "HEAD", name]);
    assert_eq!(changed, "service/app/mean.py\nservice/conf.toml\n");
    let mean = git(
        repository.path(),
        &["show", &format!("{name}:service/app/mean.py")],
    );
    assert_eq!(mean, NEW);
    git(repository.path(), &["branch", "-q", "-D", name]);
    assert_eq!(state(repository.path()), before);
    let left = |path: &Path| path.to_string_lossy().contains("/homeostasis-");
    assert!(
        !below(&repository.path().join(".git"))
            .iter()
            .any(|path| left(path))
    );
}

#[test]
fn a_branch_with_another_change_is_refused_and_kept() {
    if !git_is_there() {
        return;
    }
    let (repository, root) = repository();
    let (way, proposal) = (way(&root), proposal());
    let receipt = way.hand_over(&proposal, proposal.hash()).unwrap();
    // Somebody adds to it.
    let tree = git(repository.path(), &["rev-parse", "HEAD^{tree}"]);
    let args = [
        "commit-tree",
        tree.trim(),
        "-p",
        &receipt.place,
        "-m",
        "more",
    ];
    let more = git(repository.path(), &args);
    git(
        repository.path(),
        &["branch", "-f", &receipt.place, more.trim()],
    );
    let before = state(repository.path());
    assert_eq!(way.find(&proposal).unwrap(), None);
    let taken = way.hand_over(&proposal, proposal.hash()).unwrap_err();
    assert!(matches!(taken, HandOverError::Taken { .. }), "{taken}");
    assert!(way.take_back(&proposal).is_err());
    assert_eq!(state(repository.path()), before);
}

#[test]
fn repeating_it_after_head_moved_on_is_harmless() {
    if !git_is_there() {
        return;
    }
    let (repository, root) = repository();
    let (way, proposal) = (way(&root), proposal());
    let receipt = way.hand_over(&proposal, proposal.hash()).unwrap();
    git(repository.path(), &["commit", "-q", "-m", "second"]);
    let before = state(repository.path());
    assert_eq!(way.hand_over(&proposal, proposal.hash()).unwrap(), receipt);
    assert_eq!(state(repository.path()), before);
}

#[test]
fn what_head_does_not_have_is_refused() {
    if !git_is_there() {
        return;
    }
    let (repository, root) = repository();
    let way = way(&root);
    let at = |path: &str, old: &str| {
        let proposal = proposal();
        let patches = [patch(path, old, "x\n")];
        let proposal = ChangeSet::new(proposal.incident, proposal.at, patches);
        way.hand_over(&proposal, proposal.hash()).unwrap_err()
    };
    fs::write(root.join("new.py"), "n\n").unwrap();
    let missing = at("new.py", "n\n");
    assert!(missing.to_string().contains("no such file"), "{missing}");
    // The work tree has it, HEAD has another text.
    fs::write(root.join("conf.toml"), "size = 7\n").unwrap();
    assert_eq!(at("conf.toml", "size = 7\n").kind(), ErrorKind::Conflict);
    let pattern = at("conf.tom?", CONF_OLD);
    assert!(pattern.to_string().contains("no such file"), "{pattern}");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("conf.toml", root.join("link.toml")).unwrap();
        git(repository.path(), &["add", "service/link.toml"]);
        git(repository.path(), &["commit", "-q", "-m", "link"]);
        assert_eq!(at("link.toml", "conf.toml").kind(), ErrorKind::Denied);
    }
    let nowhere = tempfile::tempdir().unwrap();
    let error = PatchBranch::new(nowhere.path(), Author::default()).unwrap_err();
    assert!(
        error.to_string().contains("not a git repository"),
        "{error}"
    );
    drop(repository);
}

/// Whatever the repository's own configuration would start, nothing of it runs.
#[cfg(unix)]
#[test]
fn hooks_monitors_and_filters_of_the_repository_do_not_run() {
    use std::os::unix::fs::PermissionsExt;

    if !git_is_there() {
        return;
    }
    let (repository, root) = repository();
    let ran = repository.path().join("ran");
    let script = repository.path().join(".git/script");
    fs::write(
        &script,
        format!("#!/bin/sh\necho \"$0\" >> '{}'\n", ran.display()),
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let hooks = repository.path().join(".git/hooks");
    fs::create_dir_all(&hooks).unwrap();
    for hook in [
        "reference-transaction",
        "pre-commit",
        "post-commit",
        "post-index-change",
    ] {
        fs::copy(&script, hooks.join(hook)).unwrap();
    }
    let program = script.to_str().unwrap();
    for (key, value) in [
        ("core.fsmonitor", program),
        ("filter.f.clean", program),
        ("filter.f.smudge", program),
        ("core.pager", program),
        ("gpg.program", program),
        ("commit.gpgSign", "true"),
    ] {
        git(repository.path(), &["config", key, value]);
    }
    fs::write(
        repository.path().join(".git/info/attributes"),
        "* filter=f\n",
    )
    .unwrap();
    let proposal = proposal();
    way(&root).hand_over(&proposal, proposal.hash()).unwrap();
    assert!(way(&root).take_back(&proposal).unwrap());
    let said = fs::read_to_string(&ran).unwrap_or_default();
    assert_eq!(said, "", "these ran");
}
