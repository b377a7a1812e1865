//! Limits for all processes of a program together, where the host has control groups of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::config::Limits;

/// The groups of one program, one below each folder; removed when dropped, after its last process.
#[derive(Debug)]
pub(super) struct Cgroup {
    folders: Vec<PathBuf>,
    /// What is limited, in words.
    pub how: String,
}

impl Cgroup {
    /// Makes a group below each of `parents` and writes the limits its controllers take.
    pub(super) fn make(parents: &[PathBuf], limits: &Limits) -> Result<Self, String> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if parents.is_empty() {
            return Err("the host names no control group of its own".to_owned());
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("homeostasis-{}-{number}", std::process::id());
        let mut group = Self {
            folders: Vec::new(),
            how: String::new(),
        };
        let mut limited = Vec::new();
        for parent in parents {
            let folder = parent.join(&name);
            let said = |error: io::Error| format!("{}: {error}", folder.display());
            fs::create_dir(&folder).map_err(said)?;
            group.folders.push(folder.clone());
            limited.extend(limit(&folder, limits).map_err(said)?);
        }
        if limited.is_empty() {
            return Err("none of the groups has a controller of memory or tasks".to_owned());
        }
        group.how = format!("all processes together: {}", limited.join(" and "));
        Ok(group)
    }

    /// The files a process writes `0` to in order to join.
    pub(super) fn doors(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.folders
            .iter()
            .map(|folder| folder.join("cgroup.procs"))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for folder in &self.folders {
            // A process that just died is a moment longer in its group.
            for _ in 0..100 {
                match fs::remove_dir(folder) {
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                        thread::sleep(Duration::from_millis(10));
                    }
                    _ => break,
                }
            }
        }
    }
}

/// Writes what this group's controllers take: version 2, then version 1.
fn limit(folder: &Path, limits: &Limits) -> io::Result<Vec<&'static str>> {
    let memory = limits.memory_bytes.to_string();
    let tasks = limits.tasks.saturating_add(8).to_string();
    let files = [
        ("memory.max", memory.as_str(), Some("memory")),
        ("memory.swap.max", "0", None),
        ("memory.limit_in_bytes", &memory, Some("memory")),
        ("pids.max", &tasks, Some("tasks")),
    ];
    let mut limited = Vec::new();
    for (name, value, what) in files {
        let path = folder.join(name);
        if path.exists() {
            fs::write(path, value)?;
            limited.extend(what);
        }
    }
    Ok(limited)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_gets_the_limits_its_files_take() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits::testing();
        assert_eq!(limit(folder.path(), &limits).unwrap(), [""; 0]);
        let file = |name: &str| folder.path().join(name);
        fs::write(file("memory.max"), "max").unwrap();
        fs::write(file("pids.max"), "max").unwrap();
        assert_eq!(limit(folder.path(), &limits).unwrap(), ["memory", "tasks"]);
        let read = |name: &str| fs::read_to_string(file(name)).unwrap();
        assert_eq!(
            (read("memory.max"), read("pids.max")),
            ("1073741824".into(), "520".into())
        );
    }

    #[test]
    fn a_folder_without_controllers_is_no_layer_and_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let parents = [parent.path().to_owned()];
        let why = Cgroup::make(&parents, &Limits::testing()).unwrap_err();
        assert!(why.contains("controller"), "{why}");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
        assert!(Cgroup::make(&[], &Limits::testing()).is_err());
    }
}
