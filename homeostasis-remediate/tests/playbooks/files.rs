//! Folders that fill up, and what mends that.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use homeostasis::{Config, Homeostasis, SimulatedClock, SystemClock};
use homeostasis_core::record::{EventKind, Resolution};
use homeostasis_core::signal::SeriesKey;
use homeostasis_core::testing::engine::Engine;
use homeostasis_core::{Clock, Context, ManualClock, timeout};
use homeostasis_remediate::action::{
    ActionRegistry, CleanFiles, CompressFiles, FileRoots, LogWriter, RelocateFiles, ReopenSignal,
    RotateLog,
};

use crate::application::until;
use crate::clinic::{context_of, heal_in, seeing};
use crate::host::example;

struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Self {
        let disk = Self(tempfile::tempdir().unwrap());
        for name in ["tmp", "logs", "exports", "archive", "elsewhere"] {
            fs::create_dir(disk.path(name)).unwrap();
        }
        disk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: usize) {
        let line = "the same line again and again\n";
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), line.repeat(bytes / line.len())).unwrap();
    }

    fn roots(&self) -> FileRoots {
        ["tmp", "logs", "exports", "archive"]
            .into_iter()
            .fold(FileRoots::default(), |roots, name| {
                roots.root(name, self.path(name)).unwrap()
            })
    }

    /// What a folder holds on the disk, in bytes.
    fn used(&self, name: &str) -> u64 {
        fn walk(path: &Path) -> u64 {
            let found = fs::symlink_metadata(path).unwrap();
            let below = if found.is_dir() {
                fs::read_dir(path)
                    .unwrap()
                    .map(|entry| walk(&entry.unwrap().path()))
                    .sum()
            } else {
                0
            };
            found.blocks() * 512 + below
        }
        walk(&self.path(name))
    }
}

/// So much later: what was written just now is old then, and nobody can make a file look older.
fn later(by: Duration) -> Context {
    context_of(Arc::new(ManualClock::new(SystemClock.now() + by)))
}

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn a_disk_full_of_old_files_has_room_again_and_nothing_else_is_touched() {
    let disk = Disk::new();
    for n in 0..40 {
        disk.write(&format!("tmp/job-{n}/scratch"), 100_000);
    }
    disk.write("logs/app.log.1", 2_000_000);
    disk.write("logs/app.log", 10_000);
    disk.write("elsewhere/precious", 10_000);
    std::os::unix::fs::symlink(disk.path("elsewhere"), disk.path("tmp/link")).unwrap();
    let before = (disk.used("tmp"), disk.used("logs"));
    assert!(before.0 > 4_000_000 && before.1 > 2_000_000, "{before:?}");
    let mut actions = ActionRegistry::default();
    actions.register(CleanFiles::new(disk.roots())).unwrap();
    actions.register(CompressFiles::new(disk.roots())).unwrap();
    let cx = seeing(later(DAY * 8), &[("host_disk_used_ratio", 0.97)]);
    heal_in(cx, &example("disk_space_cleanup"), actions).await;
    let after = (disk.used("tmp"), disk.used("logs"));
    assert!(after.0 < 500_000 && after.1 < 200_000, "{after:?}");
    assert!(disk.path("logs/app.log.1.gz").exists() && disk.path("logs/app.log").exists());
    assert!(disk.path("elsewhere/precious").exists());
}

#[tokio::test]
async fn old_files_leave_for_the_archive_and_come_back_when_taken_back() {
    let disk = Disk::new();
    for n in 0..10 {
        disk.write(&format!("exports/{n}.csv"), 100_000);
    }
    let full = disk.used("exports");
    let mut actions = ActionRegistry::default();
    actions
        .register(RelocateFiles::archive(disk.roots()))
        .unwrap();
    let pick = example("archive_old_files");
    let cx = seeing(later(DAY * 31), &[("host_disk_used_ratio", 0.9)]);
    let healed = heal_in(cx, &pick, actions).await;
    assert!(disk.used("exports") < full / 10);
    assert!(disk.used("archive") > full / 2);
    healed.take_back().await;
    assert_eq!(fs::read_dir(disk.path("exports")).unwrap().count(), 10);
}

#[tokio::test]
async fn a_flooded_log_begins_anew_and_its_writer_loses_no_line() {
    let disk = Disk::new();
    disk.write("logs/app.log.1", 1_000_000);
    disk.write("logs/app.log.2", 1_000_000);
    let (log, pid_file) = (disk.path("logs/app.log"), disk.path("app.pid"));
    // It numbers its lines, and opens its log anew when it is told; not by SIGHUP, which no shell
    // can be told below `nohup`.
    let script = r#"exec >> "$0"; trap 'exec >> "$0"' USR1; echo $$ > "$1"
        n=0; while :; do n=$((n + 1)); echo line $n; sleep 0.01; done"#;
    #[expect(clippy::disallowed_methods, reason = "a test runs a real writer")]
    let mut writer = Command::new("/bin/sh");
    writer.args(["-c", script]).arg(&log).arg(&pid_file);
    let mut writer = Engine::start(writer);
    let lines = |path: &Path| fs::read_to_string(path).unwrap_or_default().lines().count();
    until("it writes", || lines(&log) > 3 && pid_file.exists()).await;
    let program = fs::read_link(format!("/proc/{}/exe", writer.id())).unwrap();
    let roots = disk.roots();
    let reopened = LogWriter::new(&pid_file, program).signal(ReopenSignal::Usr1);
    let rotate = RotateLog::new(roots.clone()).writer("app", reopened);
    let mut actions = ActionRegistry::default();
    actions.register(rotate.unwrap()).unwrap();
    actions.register(CompressFiles::new(roots)).unwrap();
    heal_in(later(DAY), &example("rotate_and_compress_logs"), actions).await;
    until("it writes into the new one", || lines(&log) > 3).await;
    writer.kill();
    let names = || {
        fs::read_dir(disk.path("logs"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
    };
    let packed = names().filter(|path| path.extension().is_some_and(|end| end == "gz"));
    assert_eq!(packed.count(), 2, "{:?}", names().collect::<Vec<_>>());
    let is_rotated =
        |path: &PathBuf| *path != log && path.extension().is_none_or(|end| end != "gz");
    let rotated = names().find(is_rotated).unwrap();
    let text = fs::read_to_string(rotated).unwrap() + &fs::read_to_string(&log).unwrap();
    let numbers: Vec<usize> = text
        .lines()
        .map(|line| line.trim_start_matches("line ").parse().unwrap())
        .collect();
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
}

/// Nothing but the time is pretended: files fill a folder, a detector sees it, and a whole healer that
/// picked the playbook in its configuration empties it and looks that it helped.
#[tokio::test(start_paused = true)]
async fn a_whole_healer_finds_a_disk_that_fills_heals_it_and_verifies_that() {
    const CONFIG: &str = "
mode: auto
policy: { pre_approved: [exports-to-archive] }
services: { shop: {} }
library:
  - playbook: archive_old_files
    called: exports-to-archive
    set: { service: shop, root: exports, archive: archive, pattern: '*.csv' }
";
    let disk = Arc::new(Disk::new());
    for n in 0..10 {
        disk.write(&format!("exports/{n}.csv"), 100_000);
    }
    let capacity = disk.used("exports") as f64 * 1.1;
    let start = SystemClock.now() + DAY * 31;
    let healer = Homeostasis::builder()
        .config(Config::parse(CONFIG).unwrap())
        .clock(Arc::new(SimulatedClock::starting_at(start)))
        .action(RelocateFiles::archive(disk.roots()))
        .start()
        .await
        .unwrap();
    let mut events = healer.subscribe();
    let key = SeriesKey::new("host_disk_used_ratio").with("service", "shop");
    let (gauge, clock, measured) = (
        healer.recorder().series(&key),
        healer.clock(),
        Arc::clone(&disk),
    );
    healer.spawn(async move {
        loop {
            gauge.record(measured.used("exports") as f64 / capacity);
            clock.sleep(Duration::from_secs(10)).await;
        }
    });
    let clock = healer.clock();
    let mut story = Vec::new();
    let closing = async {
        while let Some(event) = events.next().await {
            story.push(event.kind.name());
            if let EventKind::Closed { resolution } = &event.kind {
                return resolution.clone();
            }
        }
        panic!("the engine ended");
    };
    let closed = timeout(&*clock, Duration::from_secs(7200), closing).await;
    assert!(
        matches!(closed, Ok(Resolution::Healed { .. })),
        "{closed:?} after {story:?}"
    );
    assert!(
        clock.now().since(start) >= Duration::from_secs(600),
        "the condition must last"
    );
    assert!(disk.used("archive") > disk.used("exports") * 10);
    healer.shutdown().await;
}
