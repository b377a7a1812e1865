#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod audit;
mod builder;
mod check;
mod clock;
mod config;
mod engine;
mod furnished;
#[cfg(all(
    feature = "sandbox",
    feature = "patch",
    feature = "verify",
    target_os = "linux"
))]
mod paired_timings;
#[cfg(all(feature = "patch", feature = "remediate"))]
mod patching;
#[cfg(feature = "remediate")]
mod playbooks;
#[cfg(feature = "signals")]
mod telemetry;
#[cfg(all(feature = "detect", feature = "remediate"))]
mod triggers;
#[cfg(feature = "detect")]
mod watch_series;

pub use audit::{StoreAudit, VerifyError};
pub use builder::{Builder, StartError};
pub use clock::{SimulatedClock, SystemClock};
pub use config::{AccessConfig, ConditionRule, Config, ConfigSource, LibraryPick};
#[cfg(feature = "detect")]
pub use config::{ComponentWatch, DetectionConfig, OperationWatch, RowModel, SeriesWatch};
pub use engine::{
    Blame, ChannelHealth, CommandError, EngineError, EngineHealth, EngineSettings, Events,
    EvidenceError, FloodSettings, Homeostasis, IncidentEvidence, LeftOut, ModelHealth, Operator,
    PlaybookVersion, Recorder, Recovered, Rehearsal, Series,
};

#[cfg(feature = "remediate")]
pub use engine::RollOutError;
#[cfg(all(
    feature = "sandbox",
    feature = "patch",
    feature = "verify",
    target_os = "linux"
))]
pub use paired_timings::PairedTimings;
#[cfg(all(feature = "patch", feature = "remediate"))]
pub use patching::{HealingEvent, HealingVerdict, PATCHES, PatchedFile, Patching};
#[cfg(feature = "remediate")]
pub use playbooks::{DryRunReport, Reloaded};

pub use homeostasis_core as core;
#[cfg(feature = "detect")]
pub use homeostasis_detect as detect;
#[cfg(feature = "learn")]
pub use homeostasis_learn as learn;
#[cfg(feature = "patch")]
pub use homeostasis_patch as patch;
#[cfg(feature = "rca")]
pub use homeostasis_rca as rca;
#[cfg(feature = "remediate")]
pub use homeostasis_remediate as remediate;
#[cfg(feature = "signals")]
pub use homeostasis_signals as signals;
#[cfg(feature = "store")]
pub use homeostasis_store as store;
#[cfg(feature = "verify")]
pub use homeostasis_verify as verify;

/// The architecture and the how-to guides, so that their code is tested and their text is published.
#[cfg(any(doc, doctest))]
pub mod _documentation {
    #[doc = include_str!("../docs/architecture.md")]
    pub mod architecture {}
    #[doc = include_str!("../docs/how-to/add-a-detector.md")]
    pub mod add_a_detector {}
    #[doc = include_str!("../docs/how-to/actions-engines.md")]
    pub mod actions_engines {}
    #[doc = include_str!("../docs/how-to/add-an-action.md")]
    pub mod add_an_action {}
    #[doc = include_str!("../docs/how-to/actions.md")]
    pub mod actions {}
    #[cfg(feature = "detect")]
    #[doc = include_str!("../docs/how-to/configure-detection.md")]
    pub mod configure_detection {}
    #[doc = include_str!("../docs/how-to/embed-in-a-service.md")]
    pub mod embed_in_a_service {}
    #[doc = include_str!("../docs/how-to/escalate.md")]
    pub mod escalate {}
    #[doc = include_str!("../docs/how-to/probes.md")]
    pub mod probes {}
    #[doc = include_str!("../docs/how-to/otlp.md")]
    pub mod otlp {}
    #[doc = include_str!("../docs/how-to/health.md")]
    pub mod health {}
    #[doc = include_str!("../docs/how-to/logs.md")]
    pub mod read_logs {}
    #[cfg(feature = "signals")]
    #[doc = include_str!("../docs/how-to/redaction.md")]
    pub mod redaction {}
    #[cfg(feature = "resilience")]
    #[doc = include_str!("../docs/how-to/resilience-kit.md")]
    pub mod resilience_kit {}
    #[cfg(all(feature = "tower", feature = "haproxy"))]
    #[doc = include_str!("../docs/how-to/shift-traffic.md")]
    pub mod shift_traffic {}
    #[cfg(all(feature = "code", feature = "sandbox", target_os = "linux"))]
    #[doc = include_str!("../docs/patching.md")]
    pub mod patching {}
    #[doc = include_str!("../docs/how-to/roll-out.md")]
    pub mod roll_out {}
    #[doc = include_str!("../docs/how-to/webhooks.md")]
    pub mod webhooks {}
    #[doc = include_str!("../docs/how-to/write-a-playbook.md")]
    pub mod write_a_playbook {}
    #[cfg(feature = "rca")]
    #[doc = include_str!("../docs/how-to/write-a-rule.md")]
    pub mod write_a_rule {}
}
