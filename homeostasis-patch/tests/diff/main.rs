//! Our diffs against the real `git apply`, and git's diffs against our parser.
// Helpers of tests are tests, which the lint cannot see.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

use homeostasis_patch::UnifiedDiff;

/// Runs git in an empty configuration and gives its output; panics when it fails.
// The reference implementation is a program: this test is about agreeing with it.
#[allow(clippy::disallowed_methods)]
fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "core.autocrlf=false", "-c", "core.safecrlf=false"])
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "")
        .env("HOME", dir)
        .env("GIT_CEILING_DIRECTORIES", dir.parent().unwrap())
        .output()
        .expect("git is installed");
    let ok = output.status.success();
    assert!(
        ok,
        "git {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// Old and new text of each file.
type Case = (&'static str, Option<&'static str>, Option<&'static str>);

const CASES: [Case; 12] = [
    ("plain.txt", Some("a\nb\nc\n"), Some("a\nB\nc\n")),
    ("no newline.txt", Some("a\nb"), Some("a\nb\nc")),
    ("gains.txt", Some("a\nb"), Some("a\nb\n")),
    ("loses.txt", Some("a\nb\n"), Some("a\nb")),
    (
        "crlf.yaml",
        Some("a: 1\r\nb: 2\r\n"),
        Some("a: 1\r\nb: 3\r\n"),
    ),
    ("dir/made.toml", None, Some("x = 1\n")),
    ("dir/gone.toml", Some("x = 1\n"), None),
    ("empty-made", None, Some("")),
    ("empty-gone", Some(""), None),
    ("emptied", Some("x\n"), Some("")),
    ("é \"q\".txt", Some("-- a\n++ b\n"), Some("++ b\n-- a\n")),
    (
        "far.txt",
        Some("1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n17\n18\n"),
        Some("0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n18\n"),
    ),
];

fn write(dir: &Path, path: &str, text: Option<&str>) {
    let file = dir.join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    if let Some(text) = text {
        fs::write(file, text).unwrap();
    }
}

fn read(dir: &Path, path: &str) -> Option<String> {
    fs::read_to_string(dir.join(path)).ok()
}

#[test]
fn git_applies_our_diffs_and_their_inverses() {
    for context in [0, 1, 3] {
        let dir = tempfile::tempdir().unwrap();
        let mut diff = UnifiedDiff::default();
        for (path, old, new) in CASES {
            write(dir.path(), path, old);
            diff = diff
                .join(UnifiedDiff::between(path, old, new, context).unwrap())
                .unwrap();
        }
        let patches = tempfile::tempdir().unwrap();
        let forth = patches.path().join("forth.diff");
        let back = patches.path().join("back.diff");
        fs::write(&forth, diff.to_string()).unwrap();
        fs::write(&back, diff.inverted().to_string()).unwrap();

        // Without context git wants to be told so; it never guesses then.
        let flag = if context == 0 {
            "--unidiff-zero"
        } else {
            "--whitespace=nowarn"
        };
        git(dir.path(), &["apply", flag, forth.to_str().unwrap()]);
        for (path, _, new) in CASES {
            assert_eq!(
                read(dir.path(), path).as_deref(),
                new,
                "{path}, context {context}"
            );
        }
        git(dir.path(), &["apply", flag, back.to_str().unwrap()]);
        for (path, old, _) in CASES {
            assert_eq!(
                read(dir.path(), path).as_deref(),
                old,
                "{path}, context {context}"
            );
        }
    }
}

#[test]
fn diffs_of_git_are_read_and_applied() {
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("work");
    fs::create_dir(&work).unwrap();
    git(&work, &["init", "-q"]);
    for (path, old, _) in CASES {
        write(&work, path, old);
    }
    git(&work, &["add", "-A"]);
    let tree = git(&work, &["write-tree"]);
    for (path, _, new) in CASES {
        match new {
            Some(_) => write(&work, path, new),
            None => fs::remove_file(work.join(path)).unwrap(),
        }
    }
    git(&work, &["add", "-A"]);
    for options in [
        &["--no-renames"][..],
        &["--no-renames", "--no-prefix", "-U1"],
    ] {
        let args = [&["diff", "--cached", tree.trim()], options].concat();
        let text = git(&work, &args);
        let diff: UnifiedDiff = text.parse().unwrap();
        assert_eq!(diff.files().len(), CASES.len(), "{text}");
        let old = |path: &str| CASES.iter().find(|c| c.0 == path).and_then(|c| c.1);
        let changed = diff
            .apply_to_tree(|path| old(path).map(str::to_owned))
            .unwrap();
        for (path, _, new) in CASES {
            assert_eq!(changed[path].as_deref(), new, "{path}");
        }
    }
}
