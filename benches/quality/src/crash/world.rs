//! The world outside of the healer: services on disk that fall ill, and everything done to them.
//!
//! Several processes may act on it at once. Each service is a target as good ones are: it does one
//! thing at a time, knows the keys of requests it has served, and refuses a lease that is older than
//! the newest it has seen.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use homeostasis::core::port::FencingToken;
use homeostasis::core::record::{EffectClass, StepPhase};
use serde::{Deserialize, Serialize};

use super::playbooks::Illness;

/// The services; none depends on another, so that their heals overlap.
pub(crate) const SERVICES: [&str; 6] = ["auth", "cart", "mail", "media", "orders", "search"];

/// The length of one line of an effects log. It divides the page size: a line never crosses a page,
/// so the kernel takes it whole or not at all, whenever the writer is killed.
const RECORD: usize = 512;

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
    /// The lease it was done under.
    pub(crate) token: FencingToken,
    pub(crate) fate: Fate,
    pub(crate) pid: u32,
    /// The setting as it was, and as it is to be: noted before it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) change: Option<(String, String)>,
}

/// What the target made of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fate {
    /// It was done.
    Applied,
    /// It was dropped: the target knew the key.
    Known,
    /// It was refused: the target had seen a newer lease.
    Late,
}

/// What people were told, through which channel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Told {
    pub(crate) channel: String,
    /// The message's own key.
    pub(crate) key: String,
}

/// The world in a folder.
#[derive(Debug)]
pub(crate) struct World {
    folder: PathBuf,
}

/// A service for as long as nobody else may touch it.
#[derive(Debug)]
pub(crate) struct Visit<'a> {
    world: &'a World,
    service: &'a str,
    _lock: File,
}

impl World {
    /// The world in `folder`; what is missing is made.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        for folder_in in SERVICES.into_iter().chain(["people"]) {
            fs::create_dir_all(folder.join("world").join(folder_in))?;
        }
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    fn path(&self, service: &str, name: &str) -> PathBuf {
        self.folder.join("world").join(service).join(name)
    }

    /// A file of a service; `None` if it was never written.
    fn text(&self, service: &str, name: &str) -> io::Result<Option<String>> {
        match fs::read_to_string(self.path(service, name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    /// The whole file or the former one, never a part.
    fn replace(&self, service: &str, name: &str, text: &str) -> io::Result<()> {
        let draft = self.path(service, &format!("{name}.new"));
        fs::write(&draft, text)?;
        fs::rename(draft, self.path(service, name))
    }

    pub(crate) fn illness(&self, service: &str) -> io::Result<Option<Illness>> {
        let Some(text) = self.text(service, "ill")? else {
            return Ok(None);
        };
        match Illness::named(text.trim()) {
            None => Err(io::Error::other(format!("{service} has {text:?}"))),
            known => Ok(known),
        }
    }

    pub(crate) fn is_healthy(&self) -> io::Result<bool> {
        for service in SERVICES {
            if self.illness(service)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(crate) fn fall_ill(&self, service: &str, illness: Illness) -> io::Result<()> {
        self.replace(service, "ill", illness.name())
    }

    pub(crate) fn cure(&self, service: &str) -> io::Result<()> {
        match fs::remove_file(self.path(service, "ill")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Tells people something about an incident. The kernel has it when this returns: that outlives
    /// every kill.
    pub(crate) fn tell(&self, incident: &str, told: &Told) -> io::Result<()> {
        let mut log = OpenOptions::new();
        log.create(true).append(true);
        let mut file = log.open(self.people().join(incident))?;
        file.write_all(format!("{} {}\n", told.channel, told.key).as_bytes())
    }

    /// What people were told about an incident, in that order.
    ///
    /// # Errors
    /// If it cannot be read, or a line was torn.
    pub(crate) fn told(&self, incident: &str) -> io::Result<Vec<Told>> {
        let path = self.people().join(incident);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            other => other?,
        };
        let torn = || io::Error::other(format!("a torn line in {}", path.display()));
        let read = |line: &str| {
            let (channel, key) = line.split_once(' ').ok_or_else(torn)?;
            let (channel, key) = (channel.to_owned(), key.to_owned());
            Ok(Told { channel, key })
        };
        text.lines().map(read).collect()
    }

    /// What people were told, by incident.
    pub(crate) fn all_told(&self) -> io::Result<BTreeMap<String, Vec<Told>>> {
        let mut all = BTreeMap::new();
        for entry in fs::read_dir(self.people())? {
            let incident = entry?.file_name().to_string_lossy().into_owned();
            let told = self.told(&incident)?;
            all.insert(incident, told);
        }
        Ok(all)
    }

    fn people(&self) -> PathBuf {
        self.folder.join("world").join("people")
    }

    /// Whether nobody asked this of `service` before; from now on somebody did.
    pub(crate) fn is_new(&self, service: &str, key: &str) -> io::Result<bool> {
        let name = format!("tried-{}", key.replace('/', "-"));
        let mut file = OpenOptions::new();
        file.write(true).create_new(true);
        match file.open(self.path(service, &name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            other => other.map(|_| true),
        }
    }

    /// The setting that the idempotent action writes; empty if it was never written.
    pub(crate) fn setting(&self, service: &str) -> io::Result<String> {
        Ok(self.text(service, "setting")?.unwrap_or_default())
    }

    /// Waits until nobody else, in no process, touches `service`.
    pub(crate) fn visit<'a>(&'a self, service: &'a str) -> io::Result<Visit<'a>> {
        let mut open = OpenOptions::new();
        open.create(true).truncate(false).write(true);
        let lock = open.open(self.path(service, "lock"))?;
        lock.lock()?;
        Ok(Visit {
            world: self,
            service,
            _lock: lock,
        })
    }

    /// Everything that was asked of `service`, oldest first.
    ///
    /// # Errors
    /// If the log cannot be read or a line of it was torn.
    pub(crate) fn effects_on(&self, service: &str) -> io::Result<Vec<EffectRecord>> {
        let text = self.text(service, "effects.log")?.unwrap_or_default();
        if text.len() % RECORD != 0 {
            let path = self.path(service, "effects.log");
            let torn = format!("a torn line in {}", path.display());
            return Err(io::Error::other(torn));
        }
        text.lines()
            .map(|line| serde_json::from_str(line).map_err(io::Error::other))
            .collect()
    }

    /// Everything that was asked, service by service.
    pub(crate) fn effects(&self) -> io::Result<Vec<EffectRecord>> {
        let mut all = Vec::new();
        for service in SERVICES {
            all.extend(self.effects_on(service)?);
        }
        Ok(all)
    }
}

impl Visit<'_> {
    /// Whether this lease is not older than any the service has seen; from now on older ones are
    /// refused.
    pub(crate) fn is_newest(&self, token: FencingToken) -> io::Result<bool> {
        let seen = self.world.text(self.service, "lease")?;
        let newest: u64 = match seen {
            Some(text) => text.trim().parse().map_err(io::Error::other)?,
            None => 0,
        };
        if token.get() > newest {
            let text = token.get().to_string();
            self.world.replace(self.service, "lease", &text)?;
        }
        Ok(token.get() >= newest)
    }

    /// Whether the service has served this key.
    pub(crate) fn has(&self, key: &str) -> io::Result<bool> {
        let effects = self.world.effects_on(self.service)?;
        Ok(effects
            .iter()
            .any(|known| known.key == key && known.fate != Fate::Late))
    }

    /// Notes a request that writes `value`, if any, writes it, and says what became of it.
    pub(crate) fn write(&self, mut record: EffectRecord, value: Option<&str>) -> io::Result<Fate> {
        if let Some(value) = value {
            let before = self.world.setting(self.service)?;
            record.change = Some((before, value.to_owned()));
        }
        let fate = self.note(record)?;
        if let Some(value) = value.filter(|_| fate == Fate::Applied) {
            self.world.replace(self.service, "setting", value)?;
        }
        Ok(fate)
    }

    /// Notes a request, with what became of it; it is on disk when this returns.
    pub(crate) fn note(&self, mut record: EffectRecord) -> io::Result<Fate> {
        record.fate = if !self.is_newest(record.token)? {
            Fate::Late
        } else if record.nature == EffectClass::Keyed && self.has(&record.key)? {
            Fate::Known
        } else {
            Fate::Applied
        };
        let mut line = serde_json::to_string(&record)?;
        if line.len() >= RECORD {
            let long = format!("a record of {} bytes", line.len());
            return Err(io::Error::other(long));
        }
        line.extend(std::iter::repeat_n(' ', RECORD - 1 - line.len()));
        line.push('\n');
        let mut log = OpenOptions::new();
        log.create(true).append(true);
        let mut file = log.open(self.world.path(self.service, "effects.log"))?;
        file.write_all(line.as_bytes())?;
        file.sync_data()?;
        Ok(record.fate)
    }
}

/// A world that cannot be read or written proves nothing: the parent sees a life that ended by itself.
pub(crate) fn give_up(error: &io::Error) -> ! {
    eprintln!("the world: {error}");
    std::process::exit(5);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(key: &str, token: u64) -> EffectRecord {
        EffectRecord {
            service: "cart".to_owned(),
            action: "order".to_owned(),
            key: key.to_owned(),
            nature: EffectClass::Keyed,
            phase: StepPhase::Do,
            attempt: 1,
            token: FencingToken::new(token),
            fate: Fate::Applied,
            pid: 7,
            change: None,
        }
    }

    #[test]
    fn the_world_outlives_who_acts_on_it_and_drops_a_known_key() {
        let folder = tempfile::tempdir().unwrap();
        let world = World::open(folder.path()).unwrap();
        world
            .fall_ill("cart", Illness::named("hung").unwrap())
            .unwrap();
        world
            .visit("cart")
            .unwrap()
            .note(order("run-0/0", 1))
            .unwrap();
        world
            .visit("cart")
            .unwrap()
            .note(order("run-0/0", 1))
            .unwrap();
        let again = World::open(folder.path()).unwrap();
        assert_eq!(again.illness("cart").unwrap(), Illness::named("hung"));
        let fates: Vec<_> = again
            .effects()
            .unwrap()
            .iter()
            .map(|effect| effect.fate)
            .collect();
        assert_eq!(fates, [Fate::Applied, Fate::Known]);
        again.cure("cart").unwrap();
        assert!(World::open(folder.path()).unwrap().is_healthy().unwrap());
    }

    #[test]
    fn a_lease_older_than_one_the_service_has_seen_is_refused_and_has_not_happened() {
        let folder = tempfile::tempdir().unwrap();
        let world = World::open(folder.path()).unwrap();
        let visit = world.visit("cart").unwrap();
        assert!(visit.is_newest(FencingToken::new(5)).unwrap());
        assert_eq!(visit.note(order("run-1/0", 4)).unwrap(), Fate::Late);
        assert!(!visit.has("run-1/0").unwrap());
        assert_eq!(visit.note(order("run-1/0", 5)).unwrap(), Fate::Applied);
    }
}
