//! Real processes killed in the middle of changing a live tree.
// Helpers of tests are tests, which the lint cannot see.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use homeostasis_core::record::{PatchCandidate, PatchKind};
use homeostasis_core::{Digest, IncidentId, Rng, Timestamp};
use tempfile::TempDir;

use super::{ChangeSet, HandOver, LiveTree, SessionState};
use crate::FilePatch;

const FILES: [(&str, &str, &str); 3] = [
    ("app/main.py", "limit = 5\n", "limit = 50\n"),
    (
        "app/worker.py",
        "x = 1\ny = 2\n",
        "x = 1\nif x:\n    y = 2\n",
    ),
    ("conf.toml", "size = 5\n", "size = 20\n"),
];

static N_PASSED: AtomicU64 = AtomicU64::new(0);

/// Stops for good at the place whose number the parent gave, so that it can be killed there.
pub(crate) fn killable() {
    let Some(wanted) = std::env::var_os("HOMEOSTASIS_KILL_AT") else {
        return;
    };
    let here = N_PASSED.fetch_add(1, Ordering::SeqCst) + 1;
    if wanted.to_str().and_then(|n| n.parse().ok()) == Some(here) {
        say("reached");
        loop {
            thread::park();
        }
    }
}

fn say(word: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "\n{word}").unwrap();
    out.flush().unwrap();
}

struct World {
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = Self { folder };
        for (path, old, _) in FILES {
            let at = world.root().join(path);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(at, old).unwrap();
        }
        world
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn tree(&self) -> LiveTree {
        tree(self.folder.path())
    }

    /// A child that does `what`, stopped at the place with this number, or at work if it is 0.
    fn child(&self, what: &str, at: u64) -> Child {
        let mut command = child_command();
        command
            .env("HOMEOSTASIS_KILL_IN", self.folder.path())
            .env("HOMEOSTASIS_KILL_WHAT", what);
        if at > 0 {
            command.env("HOMEOSTASIS_KILL_AT", at.to_string());
        }
        command.spawn().unwrap()
    }

    /// Kills a child that does `what` at the place with this number; `false` if it has no such
    /// place and came to its end.
    fn kill_at(&self, what: &str, at: u64) -> bool {
        let mut child = self.child(what, at);
        let was_reached = await_word(&mut child, "reached");
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert!(was_reached || status.success(), "{what} at {at}: {status}");
        was_reached
    }

    /// The version that all files are; panics at a mixture.
    fn version(&self) -> &'static str {
        let is = |pick: fn(&(&'static str, &'static str, &'static str)) -> &'static str| {
            FILES
                .iter()
                .all(|file| fs::read_to_string(self.root().join(file.0)).unwrap() == pick(file))
        };
        match (is(|file| file.1), is(|file| file.2)) {
            (true, false) => "old",
            (false, true) => "new",
            _ => panic!("the tree is a mixture"),
        }
    }

    /// Each file alone is always one of the two versions.
    fn assert_no_torn_file(&self, story: &str) {
        for (path, old, new) in FILES {
            let text = fs::read_to_string(self.root().join(path)).unwrap();
            assert!(text == old || text == new, "{story}: {path}: {text:?}");
        }
    }

    /// Recovers, and looks whether the tree is whole and nothing is left behind.
    fn assert_sound(&self, story: &str) -> &'static str {
        self.assert_no_torn_file(story);
        let settled = self.tree().recover().unwrap();
        assert!(settled.iter().all(|it| it.changed.is_empty()), "{story}");
        let version = self.version();
        let sessions = self.tree().sessions().unwrap();
        let newest = sessions.first().map(|session| session.state);
        let wanted = match newest {
            Some(SessionState::Applied) => "new",
            Some(SessionState::Applying | SessionState::RollingBack) => panic!("{story}: open"),
            _ => "old",
        };
        assert_eq!(version, wanted, "{story}: the record says {newest:?}");
        let mut left = Vec::new();
        files_below(self.folder.path(), &mut left);
        let is_known = |path: &&PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let folder = path.parent().unwrap().file_name().unwrap();
            let is_copy = folder == "copies" && name.parse::<Digest>().is_ok();
            let is_record = folder == "sessions" && path.extension().is_some_and(|it| it == "json");
            let is_lock = folder == "store" && name == "lock";
            let is_file = FILES.iter().any(|file| path.ends_with(file.0));
            is_copy || is_record || is_lock || is_file
        };
        let odd: Vec<_> = left.iter().filter(|path| !is_known(path)).collect();
        assert!(odd.is_empty(), "{story}: left behind: {odd:?}");
        version
    }
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn tree(folder: &Path) -> LiveTree {
    LiveTree::new(folder.join("root"), folder.join("store")).keeping(2)
}

fn proposal(number: u128) -> ChangeSet {
    let patches = FILES.map(|(path, old, new)| {
        let made = FilePatch::from_texts(path, old, new).unwrap();
        let (base, diff) = (made.base_hash, made.diff.to_string());
        PatchCandidate::new("kill", PatchKind::Code, path, base, diff)
    });
    ChangeSet::new(IncidentId::from_u128(number), Timestamp::EPOCH, patches)
}

#[expect(clippy::disallowed_methods, reason = "the test kills real processes")]
fn child_command() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "hand_over::kill_tests::child",
            "--ignored",
            "--nocapture",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

fn await_word(child: &mut Child, word: &str) -> bool {
    let out = BufReader::new(child.stdout.take().unwrap());
    out.lines().map_while(Result::ok).any(|line| line == word)
}

/// What a child does; started by the tests below.
#[test]
#[ignore = "a part of the tests that kill it"]
fn child() {
    let (Some(folder), Some(what)) = (
        std::env::var_os("HOMEOSTASIS_KILL_IN"),
        std::env::var_os("HOMEOSTASIS_KILL_WHAT"),
    ) else {
        return;
    };
    let live = tree(Path::new(&folder));
    match what.to_str().unwrap() {
        "apply" => {
            let proposal = proposal(1);
            live.hand_over(&proposal, proposal.hash()).unwrap();
        }
        "take back" => {
            live.take_back(&proposal(1)).unwrap();
        }
        "recover" => {
            live.recover().unwrap();
        }
        "all day" => {
            say("begun");
            for number in 2.. {
                let proposal = proposal(number);
                live.hand_over(&proposal, proposal.hash()).unwrap();
                live.take_back(&proposal).unwrap();
            }
        }
        other => panic!("{other}"),
    }
}

/// At every place of a change, of its taking back, and of the recovery from each of those; then at
/// random times, until it is 200 kills.
#[test]
fn two_hundred_kills_leave_the_old_or_the_new_version_and_nothing_else() {
    let mut n_kills = 0;
    let mut versions = [0; 2];
    for what in ["apply", "take back"] {
        let mut at = 1;
        loop {
            let world = World::new();
            if what == "take back" {
                let proposal = proposal(1);
                world.tree().hand_over(&proposal, proposal.hash()).unwrap();
            }
            let story = format!("{what} killed at {at}");
            if !world.kill_at(what, at) {
                break;
            }
            world.assert_no_torn_file(&story);
            n_kills += 1;
            // And in the recovery, at a place that moves along.
            if world.kill_at("recover", 1 + at % 7) {
                n_kills += 1;
            }
            let version = world.assert_sound(&story);
            versions[usize::from(version == "new")] += 1;
            // Whoever goes on comes to the end that was asked for.
            if what == "apply" {
                let proposal = proposal(1);
                world.tree().hand_over(&proposal, proposal.hash()).unwrap();
                assert_eq!(world.assert_sound(&story), "new");
            } else {
                world.tree().take_back(&proposal(1)).unwrap();
                assert_eq!(world.assert_sound(&story), "old");
            }
            at += 1;
        }
        assert!(at > 20, "{what} has only {at} places");
    }
    assert!(versions.iter().all(|n| *n > 0), "{versions:?}");
    let (world, mut rng) = (World::new(), Rng::from_seed(7));
    while n_kills < 200 {
        let mut child = world.child("all day", 0);
        assert!(await_word(&mut child, "begun"));
        thread::sleep(Duration::from_micros(rng.below(30_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        world.assert_sound(&format!("kill {n_kills} at a random time"));
        if world.version() == "new" {
            let newest = world.tree().sessions().unwrap()[0].id.clone();
            world.tree().roll_back(&newest, false).unwrap();
        }
        n_kills += 1;
    }
}
