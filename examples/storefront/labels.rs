//! The labels: a small service in Python whose workers stand in two slots behind a front.
//!
//! Its sources are laid into the run's folder, where they are what runs: a patch changes them there.
//! A machine without Python has no labels, and the chapters about them are skipped.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::BoxError;
use crate::deployment::{ServiceName, Slot};

/// Where Python is looked for: a sandbox shows the system's programs, and no others.
const PYTHON: [&str; 2] = ["/usr/bin/python3", "/usr/local/bin/python3"];

/// The file in which the faults are.
pub(crate) const SOURCE: &str = "labels.py";

/// The sources of the service, and its tests.
const FILES: [(&str, &str); 3] = [
    (SOURCE, include_str!("python/labels.py")),
    ("serve.py", include_str!("python/serve.py")),
    ("test_labels.py", include_str!("python/test_labels.py")),
];

/// Where the labels run, and from what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LabelsSpec {
    /// Where customers ask.
    pub(crate) front: SocketAddr,
    pub(crate) python: PathBuf,
    /// The sources that run.
    pub(crate) project: PathBuf,
    /// Where earlier versions of the sources are kept.
    pub(crate) sessions: PathBuf,
    /// Where copies are tested.
    pub(crate) trials: PathBuf,
    /// Of both workers.
    pub(crate) log_file: PathBuf,
    pub(crate) workers: Vec<LabelWorker>,
}

/// The worker of one slot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LabelWorker {
    pub(crate) slot: Slot,
    pub(crate) address: SocketAddr,
    pub(crate) argv: Vec<String>,
    pub(crate) pid_file: PathBuf,
    pub(crate) output_file: PathBuf,
}

impl LabelsSpec {
    /// Lays the sources out; `None` without Python.
    pub(crate) fn prepare(
        run_dir: &Path,
        ports: &mut impl Iterator<Item = SocketAddr>,
    ) -> Result<Option<Self>, BoxError> {
        let Some(python) = PYTHON.into_iter().find(|path| Path::new(path).is_file()) else {
            return Ok(None);
        };
        let folder = run_dir.join("labels");
        let project = folder.join("app");
        fs::create_dir_all(&project)?;
        for (name, text) in FILES {
            fs::write(project.join(name), text)?;
        }
        let trials = folder.join("trials");
        fs::create_dir(&trials)?;
        let mut port = || ports.next().ok_or("a port is missing");
        let log_file = run_dir.join("logs/labels.jsonl");
        let serve = project.join("serve.py");
        let start = [Path::new(python), &serve];
        let front = port()?;
        let mut workers = Vec::new();
        for slot in Slot::ALL {
            let stem = slot.process_of(ServiceName::Labels);
            let address = port()?;
            let mut argv = start
                .map(|path| path.to_string_lossy().into_owned())
                .to_vec();
            argv.extend([
                address.port().to_string(),
                log_file.to_string_lossy().into_owned(),
            ]);
            workers.push(LabelWorker {
                slot,
                address,
                argv,
                pid_file: run_dir.join(format!("pids/{stem}.pid")),
                output_file: run_dir.join(format!("logs/{stem}.out")),
            });
        }
        Ok(Some(Self {
            front,
            python: python.into(),
            sessions: folder.join("sessions"),
            trials,
            project,
            log_file,
            workers,
        }))
    }

    /// The source with the faults, as it is now.
    pub(crate) fn source(&self) -> Result<String, BoxError> {
        Ok(fs::read_to_string(self.project.join(SOURCE))?)
    }
}

/// Why the chapters about the labels are skipped where they are.
pub(crate) fn no_python() -> String {
    format!("there is no {}", PYTHON.join(" and no "))
}
