//! The validator and the trial as checks that patches pass before they are handed over.

use std::collections::BTreeSet;
use std::path::Path;

use async_trait::async_trait;
use homeostasis_core::Context;
use homeostasis_core::record::PatchCandidate;
#[cfg(feature = "code")]
use homeostasis_core::record::RiskLevel;
use homeostasis_core::stage::{PatchCheck, PatchError, PatchProof, PatchReport};

#[cfg(all(feature = "sandbox", target_os = "linux"))]
use crate::trial::{Level, TrialTest, TrialVerdict};

/// Refuses what the validator refuses, and what is more dangerous than its patcher said: the gate
/// decided by that.
#[cfg(feature = "code")]
#[async_trait]
impl PatchCheck for crate::PatchValidator {
    fn name(&self) -> &str {
        "validator"
    }

    /// # Errors
    /// If a file cannot be read, with the kind of
    /// [`FilePatchError::kind`](crate::FilePatchError::kind).
    async fn check(
        &self,
        _: &Context,
        patches: &[PatchCandidate],
        root: &Path,
    ) -> Result<PatchReport, PatchError> {
        let mut notes = Vec::new();
        for patch in patches {
            let found = validated(self, patch, root)?;
            if !found.is_accepted() {
                return Ok(PatchReport::refused(found.to_string()));
            }
            if found.risk > patch.risk {
                let (risk, said) = (found.risk, patch.risk);
                let reason = format!(
                    "{}: its risk is {risk}, its patcher said {said}",
                    patch.path
                );
                return Ok(PatchReport::refused(reason));
            }
            let (path, risk) = (&patch.path, found.risk);
            let (added, removed) = (found.n_added, found.n_removed);
            notes.push(format!(
                "{path}: {added} lines added, {removed} removed, risk {risk}"
            ));
        }
        Ok(PatchReport::passed(notes))
    }

    /// # Errors
    /// As [`check`](PatchCheck::check).
    async fn risk(
        &self,
        _: &Context,
        patch: &PatchCandidate,
        root: &Path,
    ) -> Result<Option<RiskLevel>, PatchError> {
        Ok(Some(validated(self, patch, root)?.risk))
    }

    fn proves(&self) -> BTreeSet<PatchProof> {
        [PatchProof::Validated].into()
    }
}

#[cfg(feature = "code")]
fn validated(
    validator: &crate::PatchValidator,
    patch: &PatchCandidate,
    root: &Path,
) -> Result<crate::Validation, PatchError> {
    let file = crate::project_file::ProjectFile::read(root, &patch.path);
    let file = file.map_err(|error| PatchError::Failed {
        what: format!("reading {}", patch.path),
        kind: error.kind(),
        source: Some(error.into()),
    })?;
    Ok(validator.validate_candidate(patch, file.text()))
}

/// Tests one patch on a copy of the project.
#[cfg(all(feature = "sandbox", target_os = "linux"))]
#[async_trait]
impl PatchCheck for crate::trial::Trial {
    fn name(&self) -> &str {
        "trial"
    }

    /// # Errors
    /// If it is not one patch, or nothing could be tested, with the kind of
    /// [`TrialError::kind`](crate::trial::TrialError::kind).
    async fn check(
        &self,
        cx: &Context,
        patches: &[PatchCandidate],
        root: &Path,
    ) -> Result<PatchReport, PatchError> {
        let [patch] = patches else {
            let detail = format!("{} patches, expected one", patches.len());
            return Err(PatchError::invalid("a trial", detail));
        };
        let report = self.test(cx, root, patch).await;
        let report = report.map_err(|error| PatchError::Failed {
            what: format!("a trial of {}", patch.path),
            kind: error.kind(),
            source: Some(error.into()),
        })?;
        if let TrialVerdict::Refused(reasons) = &report.verdict {
            return Ok(PatchReport::refused(reasons.join("; ")));
        }
        let held = report.after.first().map(|test| {
            let layers = test
                .layers
                .in_force
                .iter()
                .map(|held| held.layer.to_string());
            format!("held by {}", layers.collect::<Vec<_>>().join(", "))
        });
        let notes = report.after.iter().map(|test| {
            let n_runs = test.attempts.len();
            let cached = if test.cached {
                ", as tested before"
            } else {
                ""
            };
            match &test.timing {
                Some(timing) => format!("{}: {:?}: {timing}", test.name, test.result),
                None => format!("{}: {:?} in {n_runs} runs{cached}", test.name, test.result),
            }
        });
        Ok(PatchReport::passed(notes.chain(held)))
    }

    /// Tested, if something besides the triggers and timings must pass: what only makes the fault go
    /// away proves nothing of what the service is for.
    fn proves(&self) -> BTreeSet<PatchProof> {
        let of_service = |level| !matches!(level, Level::Trigger | Level::Performance);
        let must_pass = |test: &TrialTest| test.required && of_service(test.level);
        let tested = self.plan().tests.iter().any(must_pass);
        tested.then_some(PatchProof::Tested).into_iter().collect()
    }

    async fn recover(&self) -> Result<(), PatchError> {
        let swept = self.sweep().await.map_err(|error| PatchError::Failed {
            what: "removing the copies of killed trials".to_owned(),
            kind: error.kind(),
            source: Some(error.into()),
        })?;
        if swept > 0 {
            tracing::info!(swept, "copies of killed trials were removed");
        }
        Ok(())
    }
}
