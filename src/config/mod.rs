//! Configuration: one YAML tree, read so that every violation is named at once with its line.

mod access;
mod decode;
#[cfg(feature = "detect")]
mod detection;
mod escalation;
mod policy;
mod source;

use std::path::PathBuf;
use std::time::Duration;

use homeostasis_core::condition::Condition;
use homeostasis_core::policy::{EscalationRules, Policy};
use homeostasis_core::port::Retention;
use homeostasis_core::record::Severity;
use homeostasis_core::{ConfigError, Flags, Mode, NodeId, Topology};

use crate::engine::EngineSettings;

pub use access::AccessConfig;
#[cfg(feature = "detect")]
pub(crate) use detection::n_shards;
#[cfg(feature = "detect")]
pub use detection::{ComponentWatch, DetectionConfig, OperationWatch, RowModel, SeriesWatch};
pub use source::ConfigSource;

/// A condition over metrics that is an anomaly when it holds for a while.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ConditionRule {
    /// Its name: unique, and the name of its detector.
    pub name: String,
    /// What must hold: `error_ratio > 5%`.
    pub condition: Condition,
    /// For how long without a break; 0 is at once.
    pub duration: Duration,
    /// How bad it is at least.
    pub severity: Option<Severity>,
}

/// Everything a file can say about a healer.
///
/// Plug-ins and actions are code and come from the [`Builder`](crate::Builder); a configuration
/// says how they are used.
///
/// ```
/// use homeostasis::{Config, core::Mode};
/// let config = Config::parse(r"
/// mode: auto
/// store: { path: var/journal.redb, retention: { max_age: 90d, max_bytes: 1GiB } }
/// engine: { tick: 50ms }
/// services:
///   gateway: { depends_on: [orders] }
///   orders: { instances: 3 }
/// conditions:
///   - { name: errors, condition: error_ratio > 5%, for: 10s, severity: sev2 }
/// ")?;
/// assert_eq!(config.mode, Mode::Auto);
/// assert_eq!(config.topology.n_services(), 2);
/// assert_eq!(config.retention.max_bytes, Some(1 << 30));
///
/// let wrong = Config::parse("mode: fast\nengine: { tick: 0s, tock: 1s }").unwrap_err();
/// assert_eq!(wrong.violations().len(), 3);
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Config {
    /// The name of this copy of the healer.
    pub node: NodeId,
    /// Which environment this is; empty if not said.
    pub environment: String,
    /// How far the healer may go by itself. Default observe.
    pub mode: Mode,
    /// The durable journal's file; none keeps the journal in memory.
    pub store: Option<PathBuf>,
    /// How many closed incidents the journal keeps, and how long; see
    /// [`Builder::retention`](crate::Builder::retention).
    pub retention: Retention,
    /// The folder where closed incidents go before the journal forgets them; none forgets them.
    pub archive: Option<PathBuf>,
    /// The engine's rhythm, bounds and deadlines.
    pub engine: EngineSettings,
    /// What the healer may do by itself.
    pub policy: Policy,
    /// Who is called about which incident, when; channels come from the [`Builder`](crate::Builder::channel).
    pub escalation: EscalationRules,
    /// Feature flags.
    pub flags: Flags,
    /// Who is who and who may what; `None` if the file does not say.
    pub access: Option<AccessConfig>,
    /// Nothing is done while something is there.
    pub kill_switch_file: Option<PathBuf>,
    /// Who depends on whom.
    pub topology: Topology,
    /// Conditions that are anomalies.
    pub conditions: Vec<ConditionRule>,
    /// Which detectors watch logs, traces and series.
    #[cfg(feature = "detect")]
    #[cfg_attr(docsrs, doc(cfg(feature = "detect")))]
    pub detection: DetectionConfig,
    /// Files and folders with playbooks.
    pub playbooks: Vec<PathBuf>,
    /// Shipped playbooks that are picked, with what the host sets of them.
    pub library: Vec<LibraryPick>,
    /// Files with root-cause rules, beside those that are shipped.
    pub rules: Vec<PathBuf>,
    /// Secrets beside the shipped kinds, and what is none.
    #[cfg(feature = "signals")]
    #[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
    pub redaction: homeostasis_signals::RedactionConfig,
}

/// One entry of `library:`: a shipped playbook or a category of them, and its parameters.
///
/// ```
/// let config = homeostasis::Config::parse(
///     "library: [{playbook: turn_off_feature, called: no-checkout, set: {service: shop, flag: checkout}}]",
/// )?;
/// assert_eq!(config.library[0].called.as_deref(), Some("no-checkout"));
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct LibraryPick {
    /// The name of one playbook; either this or a category.
    pub playbook: Option<String>,
    /// All playbooks of a category.
    pub category: Option<String>,
    /// Another `playbook_id`, so that one playbook can be picked several times.
    pub called: Option<String>,
    /// The parameters, by name.
    pub set: std::collections::BTreeMap<String, serde_json::Value>,
}

impl Config {
    /// Reads a configuration from text, without environment variables and overlays.
    ///
    /// # Errors
    /// All violations at once, each with its line, value and what was expected.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        ConfigSource::new(text).read()
    }
}
