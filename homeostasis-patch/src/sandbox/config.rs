//! What a sandbox is made of, and how much a program may use.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use homeostasis_core::document::duration_text;
use homeostasis_core::{ConfigError, Violation, Violations};
use serde::{Deserialize, Serialize};

use super::layer::Layer;

const MIB: u64 = 1024 * 1024;

/// How a sandbox holds programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxConfig {
    /// The layers without which nothing is run; default namespaces, seccomp and rlimits.
    ///
    /// Where the machine refuses namespaces, `[landlock, seccomp, rlimits]` is the next best.
    /// **Warning:** with an empty set programs run with whatever holds, and be it nothing.
    pub minimum: BTreeSet<Layer>,
    /// How many programs run at once, the others wait; default 4, 1 to 64.
    pub parallel: usize,
    /// Further files and folders a program may read, absolute: toolchains, registries, virtual
    /// environments outside the project; default none.
    pub read_only: Vec<PathBuf>,
    /// Variables of a program's environment, beside `HOME`, `TMPDIR`, `PATH` and `LANG`, which may be
    /// given here too; default none. Nothing of our own environment reaches a program.
    pub variables: BTreeMap<String, String>,
    /// How many bytes each of `/tmp`, `/dev/shm` and the home folder hold, in memory; default 64 MiB, at
    /// least 64 KiB.
    pub scratch_bytes: u64,
    /// Folders of control groups the host was given for its own use (`Delegate=` of systemd): one of
    /// version 2, or one of each controller of version 1; default none, which leaves this layer out.
    ///
    /// A group is made below each for every program, and removed after it.
    pub cgroups: Vec<PathBuf>,
    /// The program `bwrap`; default the first of `/usr/bin/bwrap`, `/usr/local/bin/bwrap` and
    /// `/bin/bwrap`. Never looked up on the `PATH`.
    pub bubblewrap: Option<PathBuf>,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            minimum: [Layer::Namespaces, Layer::Seccomp, Layer::Rlimits].into(),
            parallel: 4,
            read_only: Vec::new(),
            variables: BTreeMap::new(),
            scratch_bytes: 64 * MIB,
            cgroups: Vec::new(),
            bubblewrap: None,
        }
    }
}

impl SandboxConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let mut violations = Violations::new();
        if !(1..=64).contains(&self.parallel) {
            violations.push(Violation::new(
                "sandbox.parallel",
                self.parallel,
                "1 <= parallel <= 64",
            ));
        }
        if self.scratch_bytes < 64 * 1024 {
            violations.push(Violation::new(
                "sandbox.scratch_bytes",
                self.scratch_bytes,
                "at least 65536 bytes",
            ));
        }
        let folders = [
            ("read_only", &self.read_only[..]),
            ("cgroups", &self.cgroups),
        ];
        for (name, paths) in folders {
            for (index, path) in paths.iter().enumerate() {
                require_plain(&mut violations, &format!("sandbox.{name}[{index}]"), path);
            }
        }
        if let Some(path) = &self.bubblewrap {
            require_plain(&mut violations, "sandbox.bubblewrap", path);
        }
        for (name, value) in &self.variables {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                violations.push(Violation::new(
                    "sandbox.variables",
                    name,
                    "a name without `=`, and no NUL in name or value",
                ));
            }
        }
        violations.into_result(())
    }
}

/// An absolute path below the root without `..`.
fn require_plain(violations: &mut Violations, place: &str, path: &Path) {
    let plain = path.is_absolute()
        && path.components().count() > 1
        && !path
            .components()
            .any(|part| matches!(part, Component::ParentDir));
    if !plain {
        violations.push(Violation::new(
            place,
            path.display(),
            "an absolute path below / without `..`",
        ));
    }
}

/// How much one program, with all processes it starts, may use.
///
/// A program that goes beyond one is killed with all it started, and the report says which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// How long it may run; default 120 s, 10 ms to 24 h. The deadline of the context may be earlier.
    #[serde(with = "duration_text")]
    pub time: Duration,
    /// Memory of all processes together, in bytes; default 1024 MiB, at least 16 MiB.
    pub memory_bytes: u64,
    /// What it may write to its standard output and error; default 16 MiB. The report keeps the last 64 KiB.
    pub output_bytes: u64,
    /// How many bytes the copy may grow by, and how large one file may become; default 1024 MiB.
    pub disk_bytes: u64,
    /// Tasks at once: processes and their threads; default 512, at least 8.
    pub tasks: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self::testing()
    }
}

impl Limits {
    /// For tests: 1024 MiB of memory, 120 s, 512 tasks.
    pub fn testing() -> Self {
        Self {
            time: Duration::from_secs(120),
            memory_bytes: 1024 * MIB,
            output_bytes: 16 * MIB,
            disk_bytes: 1024 * MIB,
            tasks: 512,
        }
    }

    /// For analyses: 512 MiB of memory, 30 s, 128 tasks.
    pub fn analysis() -> Self {
        Self {
            time: Duration::from_secs(30),
            memory_bytes: 512 * MIB,
            disk_bytes: 256 * MIB,
            tasks: 128,
            ..Self::testing()
        }
    }

    /// What is out of range, each with its path below `limits`.
    pub(crate) fn violations(&self) -> Violations {
        let mut violations = Violations::new();
        let day = Duration::from_secs(24 * 3600);
        if self.time < Duration::from_millis(10) || self.time > day {
            let value = format!("{:?}", self.time);
            violations.push(Violation::new("limits.time", value, "10ms to 24h"));
        }
        let numbers = [
            ("limits.memory_bytes", self.memory_bytes, 16 * MIB),
            ("limits.output_bytes", self.output_bytes, 1),
            ("limits.disk_bytes", self.disk_bytes, 1),
            ("limits.tasks", u64::from(self.tasks), 8),
        ];
        for (place, value, least) in numbers {
            if value < least {
                violations.push(Violation::new(place, value, format!("at least {least}")));
            }
        }
        violations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_value_is_named_at_once() {
        let config: SandboxConfig = serde_json::from_str(
            r#"{"parallel":0,"read_only":["usr","/a/../b","/"],"scratch_bytes":1,"variables":{"A=B":"c"}}"#,
        )
        .unwrap();
        let error = config.validate().unwrap_err();
        let places: Vec<&str> = error.violations().iter().map(|v| v.path.as_str()).collect();
        assert_eq!(
            places,
            [
                "sandbox.parallel",
                "sandbox.scratch_bytes",
                "sandbox.read_only[0]",
                "sandbox.read_only[1]",
                "sandbox.read_only[2]",
                "sandbox.variables"
            ]
        );
        assert!(SandboxConfig::default().validate().is_ok());
        assert!(serde_json::from_str::<SandboxConfig>(r#"{"paralel":2}"#).is_err());
    }

    #[test]
    fn defaults_are_those_promised() {
        let analysis = Limits::analysis();
        assert_eq!(
            (analysis.time.as_secs(), analysis.memory_bytes / MIB),
            (30, 512)
        );
        let testing: Limits = serde_json::from_str("{}").unwrap();
        assert_eq!(
            (testing.time.as_secs(), testing.memory_bytes / MIB),
            (120, 1024)
        );
        assert!(testing.violations().is_empty());
        let none = Limits {
            time: Duration::ZERO,
            memory_bytes: 0,
            output_bytes: 0,
            disk_bytes: 0,
            tasks: 0,
        };
        assert_eq!(none.violations().len(), 5);
    }
}
