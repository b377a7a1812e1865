//! The validator as a check of patches that are about to be handed over.
#![cfg(feature = "code")]
// Helpers of tests are tests, which the lint cannot see.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::sync::Arc;

use homeostasis_core::record::{PatchCandidate, PatchKind, RiskLevel};
use homeostasis_core::stage::{PatchCheck, PatchReport};
use homeostasis_core::{Context, ManualClock, Timestamp};
use homeostasis_patch::{FilePatch, PatchValidator, ValidatorConfig};

const OLD: &str = "def mean(xs):\n    return sum(xs) / len(xs)\n";
const GUARD: &str =
    "def mean(xs):\n    if not xs:\n        return None\n    return sum(xs) / len(xs)\n";
const SWALLOW: &str = "def mean(xs):\n    try:\n        return sum(xs) / len(xs)\n    except Exception:\n        pass\n";

async fn report(new: &str, risk: RiskLevel) -> PatchReport {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("mean.py"), OLD).unwrap();
    let made = FilePatch::from_texts("mean.py", OLD, new).unwrap();
    let (base, diff) = (made.base_hash, made.diff.to_string());
    let mut patch = PatchCandidate::new("test", PatchKind::Code, "mean.py", base, diff);
    patch.risk = risk;
    let validator = PatchValidator::new(ValidatorConfig::default()).unwrap();
    let cx = Context::new(Arc::new(ManualClock::new(Timestamp::EPOCH)), 1);
    validator.check(&cx, &[patch], root.path()).await.unwrap()
}

#[tokio::test]
async fn a_guard_passes_and_an_error_that_is_swallowed_does_not() {
    let passed = report(GUARD, RiskLevel::High).await;
    assert_eq!(passed.refused, None, "{passed:?}");
    assert!(
        passed.notes[0].starts_with("mean.py: 2 lines added, 0 removed"),
        "{passed:?}"
    );
    let refused = report(SWALLOW, RiskLevel::High).await;
    assert!(refused.refused.is_some(), "{refused:?}");
}

#[tokio::test]
async fn a_change_that_is_more_dangerous_than_was_said_is_refused() {
    // Who calls it sees another signature, and a default value where money is counted.
    let odd = "def mean(xs, price=0):\n    return sum(xs) / len(xs) if xs else price\n";
    let passed = report(odd, RiskLevel::Critical).await;
    assert_eq!(passed.refused, None, "{passed:?}");
    let said_low = report(odd, RiskLevel::Low).await;
    let why = said_low.refused.unwrap_or_default();
    assert!(why.ends_with(", its patcher said low"), "{why:?}");
}
