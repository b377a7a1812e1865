//! The folder `target/storefront`: one run at a time, a folder a run, and nothing left running.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::BoxError;
use crate::args::{SERVICE_ROLE, SHOP_ROLE};
use crate::json_log;
use crate::process::{Identity, find_by_arguments};

/// This many older runs are kept for reading.
const KEPT_RUNS: usize = 4;

/// The locked folder. Dropping it stops every process that was started in it, also on a panic.
#[derive(Debug)]
pub(crate) struct State {
    root: PathBuf,
    run_dir: PathBuf,
    _lock: File,
}

impl State {
    /// Locks the folder, stops what an earlier run left behind, and makes a folder for this run.
    pub(crate) fn open() -> Result<Self, BoxError> {
        // Under cargo the package's folder, wherever the command was given; else the current one.
        let base = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(std::env::current_dir, |dir| Ok(dir.into()))?;
        let root = base.join("target/storefront");
        fs::create_dir_all(&root)?;
        let root = root.canonicalize()?;
        let lock = File::create(root.join("lock"))?;
        lock.try_lock()
            .map_err(|error| format!("another storefront uses {}: {error}", root.display()))?;
        sweep(&root);
        forget_old_runs(&root)?;
        let name = json_log::now().strftime("run-%Y%m%d-%H%M%S").to_string();
        let run_dir = root.join(format!("{name}-{}", std::process::id()));
        fs::create_dir(&run_dir)?;
        Ok(Self {
            root,
            run_dir,
            _lock: lock,
        })
    }

    /// Where the reports go.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where this run keeps its files.
    pub(crate) fn run_dir(&self) -> &Path {
        &self.run_dir
    }
}

impl Drop for State {
    fn drop(&mut self) {
        sweep(&self.root);
    }
}

/// Stops the shop first, so that nothing is started again, then every service. Processes are
/// found by their arguments and not only by pid file: one just started has no pid file yet.
fn sweep(root: &Path) {
    for role in [SHOP_ROLE, SERVICE_ROLE] {
        for (signal, patience) in [(Signal::TERM, 4), (Signal::KILL, 2)] {
            let found = find_by_arguments(&[role], role == SERVICE_ROLE, root);
            for process in &found {
                // A process that ended meanwhile is what we want.
                let _ = process.signal(signal);
            }
            wait_gone(&found, Duration::from_secs(patience));
        }
    }
}

fn wait_gone(processes: &[Identity], patience: Duration) {
    let started = Instant::now();
    while started.elapsed() < patience && processes.iter().any(|process| process.is_alive()) {
        thread::sleep(Duration::from_millis(10));
    }
}

fn forget_old_runs(root: &Path) -> io::Result<()> {
    let mut runs = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("run-") && entry.file_type()?.is_dir() {
            runs.push(entry.path());
        } else if name == "report.json" || name.starts_with("incident-") {
            fs::remove_file(entry.path())?;
        }
    }
    runs.sort();
    let surplus = runs.len().saturating_sub(KEPT_RUNS);
    runs.iter().take(surplus).try_for_each(fs::remove_dir_all)
}
