//! What the validator allows.

use std::collections::BTreeSet;

use homeostasis_core::{ConfigError, Violation, Violations};
use serde::{Deserialize, Serialize};

/// How large a change may be, and of which files. The default is careful.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidatorConfig {
    /// So many lines may be added, and so many removed; 1 to 1000, default 20.
    pub max_lines: usize,
    /// So many hunks (with three lines of context) a change may have; 1 to 100, default 3.
    pub max_hunks: usize,
    /// So many bytes either text may have; 1 to 4 MiB, default 1 MiB.
    pub max_bytes: usize,
    /// Files that are protected beside the ones that always are: paths relative to the project, a
    /// trailing `/` for everything below. Default none.
    pub protected_files: BTreeSet<String>,
    /// Files, written as paths, that are protected by their name but may be changed all the same;
    /// not folders. Default none. **Warning:** a change of the build or the tests can undo every
    /// other check.
    pub exempt_files: BTreeSet<String>,
    /// A score from here on is a medium risk; at least 1, default 3.
    pub medium_from: u32,
    /// A score from here on is a high risk; more than `medium_from`, default 6.
    pub high_from: u32,
}

impl ValidatorConfig {
    /// The largest `max_bytes`: what a file of a patch may have at all.
    pub const MAX_BYTES: usize = 4 * 1024 * 1024;

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let mut found = Violations::new();
        for (name, value, most) in [
            ("max_lines", self.max_lines, 1000),
            ("max_hunks", self.max_hunks, 100),
            ("max_bytes", self.max_bytes, Self::MAX_BYTES),
        ] {
            if !(1..=most).contains(&value) {
                let expected = format!("1 to {most}");
                found.push(Violation::new(name, value.to_string(), expected));
            }
        }
        for (list, paths, folders) in [
            ("protected_files", &self.protected_files, true),
            ("exempt_files", &self.exempt_files, false),
        ] {
            for path in paths {
                let folder = path.strip_suffix('/').filter(|_| folders);
                if super::protected::is_odd(folder.unwrap_or(path)) {
                    let expected = "a plain relative path inside the project";
                    found.push(Violation::new(list, path, expected));
                }
            }
        }
        if self.medium_from == 0 {
            found.push(Violation::new("medium_from", "0", "at least 1"));
        }
        if self.high_from <= self.medium_from {
            let expected = format!("more than medium_from ({})", self.medium_from);
            let value = self.high_from.to_string();
            found.push(Violation::new("high_from", value, expected));
        }
        found.into_result(())
    }
}

impl Default for ValidatorConfig {
    fn default() -> Self {
        Self {
            max_lines: 20,
            max_hunks: 3,
            max_bytes: 1024 * 1024,
            protected_files: BTreeSet::new(),
            exempt_files: BTreeSet::new(),
            medium_from: 3,
            high_from: 6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_wrong_is_told_at_once() {
        let config = ValidatorConfig {
            max_lines: 0,
            max_bytes: usize::MAX,
            protected_files: ["../x".to_owned(), "auth/".to_owned()].into(),
            exempt_files: ["tests/".to_owned()].into(),
            medium_from: 9,
            high_from: 9,
            ..ValidatorConfig::default()
        };
        let error = config.check().unwrap_err().to_string();
        for place in ["max_lines", "max_bytes", "../x", "tests/", "high_from"] {
            assert!(error.contains(place), "{place}: {error}");
        }
        assert_eq!(error.lines().count(), 5, "{error}");
        assert!(ValidatorConfig::default().check().is_ok());
    }

    #[test]
    fn unknown_fields_are_refused() {
        assert!(serde_json::from_str::<ValidatorConfig>(r#"{"max_line": 3}"#).is_err());
        let config: ValidatorConfig = serde_json::from_str(r#"{"max_lines": 3}"#).unwrap();
        assert_eq!((config.max_lines, config.max_hunks), (3, 3));
    }
}
