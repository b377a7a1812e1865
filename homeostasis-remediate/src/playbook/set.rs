//! The playbooks of a host.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use homeostasis_core::{ConfigError, Violation, Violations};

use super::check::CheckRegistry;
use super::definition::Playbook;
use crate::action::ActionRegistry;
use crate::file::read_small;

/// The longest playbook file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Playbooks by id; no id occurs twice. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct PlaybookSet {
    playbooks: BTreeMap<String, Arc<Playbook>>,
}

impl PlaybookSet {
    /// Reads `(source, text)` pairs.
    ///
    /// # Errors
    /// Everything that is wrong with any of them, and every id that occurs twice.
    pub fn parse<'a>(
        texts: impl IntoIterator<Item = (&'a str, &'a str)>,
        actions: &ActionRegistry,
        checks: &CheckRegistry,
    ) -> Result<Self, ConfigError> {
        let mut set = Self::default();
        let mut violations = Violations::new();
        for (source, text) in texts {
            let read = Playbook::parse(source, text, actions, checks);
            if let Some(playbook) = violations.absorb(read) {
                set.add(playbook, &mut violations);
            }
        }
        violations.into_result(set)
    }

    /// Reads every `.yaml`, `.yml` and `.json` file of the folder `dir`, in the order of their
    /// names; subfolders, hidden files and other files are passed over.
    ///
    /// # Errors
    /// Everything that is wrong with any of them, every file that cannot be read (links are not
    /// followed), and every id that occurs twice.
    pub fn load_dir(
        dir: &Path,
        actions: &ActionRegistry,
        checks: &CheckRegistry,
    ) -> Result<Self, ConfigError> {
        let unreadable = |path: &Path, error: &std::io::Error| {
            Violation::new("", error, "a readable file or folder")
                .in_source(path.display().to_string())
        };
        let entries = fs::read_dir(dir).map_err(|error| unreadable(dir, &error))?;
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| unreadable(dir, &error))?.path();
            let hidden = path
                .file_name()
                .is_none_or(|name| name.to_string_lossy().starts_with('.'));
            let named = path
                .extension()
                .is_some_and(|ending| ["yaml", "yml", "json"].iter().any(|known| ending == *known));
            if named && !hidden && !path.is_dir() {
                paths.push(path);
            }
        }
        paths.sort();
        let mut violations = Violations::new();
        let mut texts = Vec::new();
        for path in paths {
            match read_small(&path, MAX_FILE) {
                Ok(text) => texts.push((path.display().to_string(), text.unwrap_or_default())),
                Err(error) => violations.push(unreadable(&path, &error)),
            }
        }
        let texts = texts
            .iter()
            .map(|(source, text)| (source.as_str(), text.as_str()));
        let set = violations.absorb(Self::parse(texts, actions, checks));
        violations.into_result(set.unwrap_or_default())
    }

    fn add(&mut self, playbook: Playbook, violations: &mut Violations) {
        if let Some(first) = self.playbooks.get(playbook.id()) {
            violations.push(
                Violation::new(
                    "playbook_id",
                    format!("{:?}", playbook.id()),
                    format!("an id of its own; {} has the same", first.source()),
                )
                .in_source(playbook.source()),
            );
            return;
        }
        self.playbooks
            .insert(playbook.id().to_owned(), Arc::new(playbook));
    }

    /// The playbook with this id.
    pub fn get(&self, id: &str) -> Option<&Arc<Playbook>> {
        self.playbooks.get(id)
    }

    /// All playbooks, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Playbook>> {
        self.playbooks.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.playbooks.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.playbooks.is_empty()
    }
}
