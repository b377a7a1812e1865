//! The decision rules of widely used canary tools, for comparison and for those who want them.
//!
//! They decide by thresholds on points, not by evidence: they have no error rate to choose, and
//! what they do on small or noisy traffic is measured by the suite `canary` of the quality bench.
//! Rebuilt from what the tools document and what their users report; each says where it differs.

mod argo;
mod flagger;
mod kayenta;

pub use argo::{ArgoPhase, ArgoRule};
pub use flagger::FlaggerRule;
pub use kayenta::{Direction, GroupScore, KayentaClass, KayentaMetric, NanStrategy, kayenta_score};
