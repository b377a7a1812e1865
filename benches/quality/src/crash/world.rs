//! The world outside of the healer: services on disk that fall ill, and everything done to them.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use homeostasis::core::record::{EffectClass, StepPhase};
use serde::{Deserialize, Serialize};

use super::playbooks::Illness;

/// The services; none depends on another, so that their heals overlap.
pub(crate) const SERVICES: [&str; 6] = ["auth", "cart", "mail", "media", "orders", "search"];

/// The length of one line of an effects log. It divides the page size: a line never crosses a page,
/// so the kernel takes it whole or not at all, whenever the writer is killed.
const RECORD: usize = 256;

/// One effect, as the world knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct EffectRecord {
    pub(crate) service: String,
    pub(crate) action: String,
    pub(crate) key: String,
    /// What the action is by its nature, whatever it declares.
    pub(crate) nature: EffectClass,
    pub(crate) phase: StepPhase,
    pub(crate) attempt: u32,
    /// `false` if the target dropped the request because it knew the key.
    pub(crate) applied: bool,
    pub(crate) pid: u32,
}

/// The world in a folder.
#[derive(Debug)]
pub(crate) struct World {
    folder: PathBuf,
    ill: Mutex<BTreeMap<String, Illness>>,
    /// Held while a target looks for a key and writes it.
    targets: Mutex<()>,
}

impl World {
    /// The world in `folder`; what is missing is made.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let mut ill = BTreeMap::new();
        for service in SERVICES {
            let home = folder.join("world").join(service);
            fs::create_dir_all(&home)?;
            match fs::read_to_string(home.join("ill")) {
                Ok(text) => {
                    let illness = Illness::named(text.trim())
                        .ok_or_else(|| io::Error::other(format!("{service} has {text:?}")))?;
                    ill.insert(service.to_owned(), illness);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            ill: Mutex::new(ill),
            targets: Mutex::default(),
        })
    }

    fn path(&self, service: &str, name: &str) -> PathBuf {
        self.folder.join("world").join(service).join(name)
    }

    fn ill(&self) -> MutexGuard<'_, BTreeMap<String, Illness>> {
        self.ill.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn illness(&self, service: &str) -> Option<Illness> {
        self.ill().get(service).copied()
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.ill().is_empty()
    }

    pub(crate) fn fall_ill(&self, service: &str, illness: Illness) -> io::Result<()> {
        let mut ill = self.ill();
        self.replace(service, "ill", illness.name())?;
        ill.insert(service.to_owned(), illness);
        Ok(())
    }

    pub(crate) fn cure(&self, service: &str) -> io::Result<()> {
        let mut ill = self.ill();
        if ill.remove(service).is_some() {
            fs::remove_file(self.path(service, "ill"))?;
        }
        Ok(())
    }

    /// The setting that the idempotent action writes; empty if it was never written.
    pub(crate) fn setting(&self, service: &str) -> io::Result<String> {
        match fs::read_to_string(self.path(service, "setting")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other,
        }
    }

    pub(crate) fn set(&self, service: &str, value: &str) -> io::Result<()> {
        self.replace(service, "setting", value)
    }

    /// The whole file or the former one, never a part.
    fn replace(&self, service: &str, name: &str, text: &str) -> io::Result<()> {
        let draft = self.path(service, &format!("{name}.new"));
        fs::write(&draft, text)?;
        fs::rename(draft, self.path(service, name))
    }

    /// Notes an effect; it is on disk when this returns.
    pub(crate) fn append(&self, record: &EffectRecord) -> io::Result<()> {
        let mut line = serde_json::to_string(record)?;
        if line.len() >= RECORD {
            return Err(io::Error::other(format!(
                "a record of {} bytes",
                line.len()
            )));
        }
        line.extend(std::iter::repeat_n(' ', RECORD - 1 - line.len()));
        line.push('\n');
        let mut file: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(&record.service, "effects.log"))?;
        file.write_all(line.as_bytes())?;
        file.sync_data()
    }

    /// A request to a target that knows its keys: applied the first time, dropped after that.
    pub(crate) fn append_keyed(&self, mut record: EffectRecord) -> io::Result<()> {
        let _one_at_a_time = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        record.applied = !self.has(&record.service, &record.key)?;
        self.append(&record)
    }

    /// Whether `service` has an effect with this key.
    pub(crate) fn has(&self, service: &str, key: &str) -> io::Result<bool> {
        Ok(self
            .effects_on(service)?
            .iter()
            .any(|known| known.key == key))
    }

    /// Everything that was done to `service`, oldest first.
    ///
    /// # Errors
    /// If the log cannot be read or a line of it was torn.
    pub(crate) fn effects_on(&self, service: &str) -> io::Result<Vec<EffectRecord>> {
        let path = self.path(service, "effects.log");
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        if text.len() % RECORD != 0 {
            return Err(io::Error::other(format!(
                "a torn line in {}",
                path.display()
            )));
        }
        text.lines()
            .map(|line| serde_json::from_str(line).map_err(io::Error::other))
            .collect()
    }

    /// Everything that was done.
    pub(crate) fn effects(&self) -> io::Result<Vec<EffectRecord>> {
        let mut all = Vec::new();
        for service in SERVICES {
            all.extend(self.effects_on(service)?);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_outlives_who_acts_on_it_and_drops_a_known_key() {
        let folder = tempfile::tempdir().unwrap();
        let record = EffectRecord {
            service: "cart".to_owned(),
            action: "order".to_owned(),
            key: "run-0/0".to_owned(),
            nature: EffectClass::Keyed,
            phase: StepPhase::Do,
            attempt: 1,
            applied: true,
            pid: 7,
        };
        let world = World::open(folder.path()).unwrap();
        world
            .fall_ill("cart", Illness::named("hung").unwrap())
            .unwrap();
        world.append_keyed(record.clone()).unwrap();
        world.append_keyed(record).unwrap();
        let again = World::open(folder.path()).unwrap();
        assert_eq!(again.illness("cart"), Illness::named("hung"));
        let applied: Vec<_> = again
            .effects()
            .unwrap()
            .iter()
            .map(|effect| effect.applied)
            .collect();
        assert_eq!(applied, [true, false]);
        again.cure("cart").unwrap();
        assert!(World::open(folder.path()).unwrap().is_healthy());
    }
}
