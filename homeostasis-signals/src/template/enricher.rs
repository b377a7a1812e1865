//! Templates on log records.

use std::sync::{Mutex, MutexGuard, PoisonError};

use homeostasis_core::ConfigError;
use homeostasis_core::port::Enricher;
use homeostasis_core::signal::LogRecord;
use homeostasis_core::stage::{DetectError, ModelSnapshot};
use serde_json::Value;

use super::miner::{MinedTemplate, TemplateMiner, TemplateMinerStats};
use super::state::{Stored, VERSION};

const NAME: &str = "templates";

/// Gives every log record the template of its message: one [`TemplateMiner`], shared.
///
/// It shall see messages without secrets, so that none becomes part of a template; the engine takes
/// them out before it calls its enrichers. The furnished pipeline has one already, and where the
/// store is durable the engine keeps what it has learnt, so that ids stay.
///
/// # Examples
/// ```
/// use homeostasis::core::Timestamp;
/// use homeostasis::core::port::Enricher;
/// use homeostasis::core::signal::{Level, LogRecord};
/// use homeostasis::signals::TemplateEnricher;
///
/// let enricher = TemplateEnricher::default();
/// let mut record = LogRecord::new(Timestamp::EPOCH, Level::Warn, "disk 3 is 97 % full");
/// enricher.enrich(&mut record);
/// let template = record.template.as_ref().unwrap();
/// assert_eq!(template.text(), "disk <*> is <*> full");
/// assert_eq!(template.variables(&record.message).collect::<Vec<_>>(), ["3", "97 %"]);
/// ```
#[derive(Debug, Default)]
pub struct TemplateEnricher {
    miner: Mutex<TemplateMiner>,
}

impl TemplateEnricher {
    /// One that goes on with what `miner` has learnt.
    pub fn new(miner: TemplateMiner) -> Self {
        Self {
            miner: Mutex::new(miner),
        }
    }

    fn miner(&self) -> MutexGuard<'_, TemplateMiner> {
        self.miner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All templates known now, the oldest first.
    pub fn templates(&self) -> Vec<MinedTemplate> {
        self.miner().templates()
    }

    /// The id that stands for `id` now.
    pub fn resolve(&self, id: u64) -> u64 {
        self.miner().resolve(id)
    }

    /// What its miner has seen.
    pub fn stats(&self) -> TemplateMinerStats {
        self.miner().stats()
    }

    /// All it has learnt.
    pub fn save(&self) -> Value {
        // Copied while records wait, written while they do not.
        let stored = Stored::of(&self.miner());
        stored.to_value()
    }

    /// Takes up what was saved, in place of what it has learnt.
    ///
    /// # Errors
    /// As [`TemplateMiner::load`].
    pub fn load(&self, state: &Value) -> Result<(), ConfigError> {
        self.miner().load(state)
    }
}

impl Enricher for TemplateEnricher {
    fn name(&self) -> &str {
        NAME
    }

    /// Fills in `record.template`.
    fn enrich(&self, record: &mut LogRecord) {
        if record.template.is_none() {
            record.template = Some(self.miner().template(&record.message));
        }
    }

    fn snapshot(&self) -> Option<ModelSnapshot> {
        Some(ModelSnapshot {
            detector: NAME.to_owned(),
            version: VERSION,
            state: self.save(),
        })
    }

    fn restore(&self, snapshot: &ModelSnapshot) -> Result<(), DetectError> {
        if (snapshot.detector.as_str(), snapshot.version) != (NAME, VERSION) {
            return Err(DetectError::invalid(
                format!(
                    "snapshot of {:?}, version {}",
                    snapshot.detector, snapshot.version
                ),
                format!("expected one of {NAME:?}, version {VERSION}"),
            ));
        }
        let loaded = self.load(&snapshot.state);
        loaded.map_err(|error| DetectError::invalid("snapshot of templates", error.to_string()))
    }
}
