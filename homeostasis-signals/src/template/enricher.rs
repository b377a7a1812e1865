//! Templates on log records.

use std::sync::{Mutex, MutexGuard, PoisonError};

use homeostasis_core::ConfigError;
use homeostasis_core::port::Enricher;
use homeostasis_core::signal::LogRecord;
use serde_json::Value;

use super::miner::{MinedTemplate, TemplateMiner, TemplateMinerStats};

/// Gives every log record the template of its message: one [`TemplateMiner`], shared.
///
/// It shall see messages without secrets, so that none becomes part of a template; the engine takes
/// them out before it calls its enrichers. The furnished pipeline has one already.
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

    /// All templates known now, by id.
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
        self.miner().save()
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
    /// Fills in `record.template`.
    fn enrich(&self, record: &mut LogRecord) {
        if record.template.is_none() {
            record.template = Some(self.miner().template(&record.message));
        }
    }
}
