#![doc = include_str!("../README.md")]

mod incident_record;
pub mod kpi;
mod markdown;
mod project;
mod report;

#[cfg(test)]
mod fixture;

pub use incident_record::{
    Classification, Detection, DetectionMethod, Impact, IncidentRecord, LineError, Metadata,
    RECORD_VERSION, Remediation, RemediationOutcome, ResolutionMethod, ResolutionRecord,
    StepRecord,
};
pub use kpi::Kpis;
pub use markdown::escape_markdown;
pub use project::{ProjectError, project};
pub use report::incident_report_markdown;
