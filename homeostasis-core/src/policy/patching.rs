//! Which changes of text may be made, and how often.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::record::patch::leaves_project;
use crate::record::{PatchKind, PlanPatch, RiskLevel};
use crate::time::Timestamp;

/// What plans that change files may do. The default is careful.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PatchPolicy {
    /// Kinds of patches that are allowed here; others are refused. Default configuration only.
    pub kinds: BTreeSet<PatchKind>,
    /// Patches of higher risk need approval. Default low.
    pub max_risk: RiskLevel,
    /// At most so many files may be changed within a day; 0 allows none. Default 10.
    pub per_day: u64,
    /// At most so many changes of one file within a day. Default 2.
    pub per_file_per_day: u64,
    /// After a patch of a file failed it is left alone for so long. Default 24 h.
    pub cool_down: Duration,
    /// Files that only change with two approvals: paths relative to the project, a trailing `/` for
    /// everything below. Default none.
    pub critical_files: BTreeSet<String>,
}

impl Default for PatchPolicy {
    fn default() -> Self {
        Self {
            kinds: [PatchKind::Configuration].into(),
            max_risk: RiskLevel::Low,
            per_day: 10,
            per_file_per_day: 2,
            cool_down: Duration::from_secs(24 * 3600),
            critical_files: BTreeSet::new(),
        }
    }
}

impl PatchPolicy {
    /// Critical files that no patch can name: not written as paths inside the project are.
    pub fn misspelled(&self) -> impl Iterator<Item = &str> {
        let files = self.critical_files.iter().map(String::as_str);
        files.filter(|path| leaves_project(path.strip_suffix('/').unwrap_or(path)))
    }

    /// Whether `path` is one of the critical files or below one of the folders.
    pub fn is_critical(&self, path: &str) -> bool {
        self.critical_files
            .iter()
            .any(|critical| match critical.strip_suffix('/') {
                Some(folder) => path
                    .strip_prefix(folder)
                    .is_some_and(|rest| rest.starts_with('/')),
                None => path == critical,
            })
    }
}

/// How much was patched lately, as far as a plan's patches go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PatchUse {
    /// How many files were changed within the last day.
    pub today: u64,
    /// What is known of each file of the plan, in the order of its patches.
    pub files: Vec<FileUse>,
}

/// How much one file was patched lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileUse {
    /// How often it was changed within the last day.
    pub today: u64,
    /// When a patch of it last failed.
    pub failed_at: Option<Timestamp>,
}

impl PatchUse {
    /// The counter that every patch hits.
    pub const COUNTER: &'static str = "patches";

    /// The counter that a patch of this file hits.
    pub fn counter(patch: &PlanPatch) -> String {
        format!("patches/file/{}", patch.path)
    }

    /// The counter that a failed patch of this file hits.
    pub fn failures(patch: &PlanPatch) -> String {
        format!("patches/failed/{}", patch.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_spelling() {
        let critical_files = [
            "auth/", "a/b.toml", "./c", "/d", "e//f", "g\\h", "../i", "/",
        ];
        let policy = PatchPolicy {
            critical_files: critical_files.map(str::to_owned).into(),
            ..PatchPolicy::default()
        };
        let odd: Vec<_> = policy.misspelled().collect();
        assert_eq!(odd, ["../i", "./c", "/", "/d", "e//f", "g\\h"]);
    }

    #[test]
    fn a_critical_folder_covers_what_is_below_it_and_nothing_beside_it() {
        let policy = PatchPolicy {
            critical_files: ["auth/".to_owned(), "config.toml".to_owned()].into(),
            ..PatchPolicy::default()
        };
        for (path, critical) in [
            ("auth/keys.toml", true),
            ("auth", false),
            ("authors.toml", false),
            ("config.toml", true),
            ("config.toml.bak", false),
            ("x/config.toml", false),
        ] {
            assert_eq!(policy.is_critical(path), critical, "{path}");
        }
    }
}
