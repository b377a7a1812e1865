//! Patches in the cycle: candidates become plans, and a plan's run tests and hands them over.

mod apply_patch;
mod healing_event;
mod remediator;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::record::{
    EffectClass, PatchCandidate, PatchKind, RecoveryStrategy, RiskLevel, VerificationSpec,
};
use homeostasis_core::stage::{PatchCheck, PatchProof, Patcher};
use homeostasis_core::{Violation, Violations};
use homeostasis_patch::HandOver;
use homeostasis_remediate::action::ActionRegistry;
use serde_json::{Map, Value};

pub use healing_event::{HealingEvent, HealingVerdict, PatchedFile};
pub(crate) use remediator::{PatchRemediator, Recovery};

/// The name of the remediator of patches in plans, journal and configuration.
pub const PATCHES: &str = "patches";

/// Longest time that checks may be given: a step lasts 24 h at most, with the hand-over.
const MAX_TEST_TIME: Duration = Duration::from_secs(23 * 3600);

/// What a host wants done with patches: who proposes them, what they must pass, where they go.
///
/// After a diagnosis every patcher is asked. What they propose becomes at most one plan for each
/// kind of patch (configuration, code), tried behind the playbooks whose cause fits.
/// The gate decides about the plan: [`PatchPolicy`](homeostasis_core::policy::PatchPolicy) says
/// which kinds, how many a day, which files.
/// Its run has one step, `apply_patch`: the candidates go through the checks in order, best first, and
/// the first that passes all of them is handed over.
/// The step can be probed, so that a run that was killed goes on; it is taken back, byte for byte,
/// when the verdict is bad.
/// The approval covers every candidate of the plan by its text.
///
/// Without a check only the best candidate is in the plan.
/// A patch that goes to what runs needs the approval of people, unless its checks prove what
/// [`lifts_approval`](Patching::lifts_approval) asks for: of code that it was validated and tested, of
/// configuration that it was tested.
/// Where the patch goes to people (a branch, a file), nothing is taken back: the proposal stays.
///
/// # Examples
/// ```
/// use homeostasis::{Homeostasis, Patching};
/// use homeostasis::patch::{ConfigPatcher, LiveTree};
///
/// let remedies = "\
/// remedies:
///   - {cause: slow_dependency, file: app.toml, edits: [{set: timeout_ms, to: 900}]}
/// ";
/// let tree = LiveTree::new("/srv/shop", "/var/lib/shop/patches");
/// let patching = Patching::new("/srv/shop", tree)
///     .patcher(ConfigPatcher::from_document("remedies.yaml", remedies)?);
/// let builder = Homeostasis::builder().patching(patching);
/// # drop(builder);
/// # Ok::<(), homeostasis::core::ConfigError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Patching {
    root: PathBuf,
    way: Arc<dyn HandOver>,
    patchers: Vec<Arc<dyn Patcher>>,
    checks: Vec<Arc<dyn PatchCheck>>,
    then: Vec<(String, Map<String, Value>)>,
    max_risk: RiskLevel,
    max_candidates: usize,
    test_time: Duration,
    verification: VerificationSpec,
    lifting: BTreeMap<PatchKind, BTreeSet<PatchProof>>,
    reviewed: BTreeSet<RecoveryStrategy>,
}

impl Patching {
    /// Patches of the project at `root`, which go that way; nobody proposes any yet.
    pub fn new(root: impl Into<PathBuf>, way: impl HandOver + 'static) -> Self {
        Self {
            root: root.into(),
            way: Arc::new(way),
            patchers: Vec::new(),
            checks: Vec::new(),
            then: Vec::new(),
            max_risk: RiskLevel::Medium,
            max_candidates: 5,
            test_time: Duration::from_secs(10 * 60),
            verification: VerificationSpec::default(),
            lifting: BTreeMap::from([
                (PatchKind::Configuration, [PatchProof::Tested].into()),
                (
                    PatchKind::Code,
                    [PatchProof::Validated, PatchProof::Tested].into(),
                ),
            ]),
            reviewed: BTreeSet::new(),
        }
    }

    /// One more who proposes.
    pub fn patcher(mut self, patcher: impl Patcher + 'static) -> Self {
        self.patchers.push(Arc::new(patcher));
        self
    }

    /// One more check that every candidate must pass; they are asked in this order.
    pub fn check(mut self, check: impl PatchCheck + 'static) -> Self {
        self.checks.push(Arc::new(check));
        self
    }

    /// One more action that follows on the target of the plan, such as the restart of the service
    /// that runs the file. It is done again when the patch was taken back, so it must not be opaque.
    pub fn then(mut self, action: impl Into<String>, args: Map<String, Value>) -> Self {
        self.then.push((action.into(), args));
        self
    }

    /// Candidates of higher risk are passed over. Default medium.
    pub fn max_risk(mut self, risk: RiskLevel) -> Self {
        self.max_risk = risk;
        self
    }

    /// How many candidates a plan may have, 1 to 20. Default 5.
    pub fn max_candidates(mut self, n_candidates: usize) -> Self {
        self.max_candidates = n_candidates;
        self
    }

    /// What the checks must prove of patches of `kind` so that one that goes to what runs needs no
    /// approval for being unproven; the policy may ask for one all the same. Default for configuration
    /// that it is tested, for code that it is validated and tested.
    ///
    /// A check says itself what it [proves](PatchCheck::proves). What a patcher wants reviewed, and what
    /// no check looked at, always needs approval.
    /// **Warning:** with no proofs, any check at all lifts it.
    pub fn lifts_approval(
        mut self,
        kind: PatchKind,
        proofs: impl IntoIterator<Item = PatchProof>,
    ) -> Self {
        self.lifting.insert(kind, proofs.into_iter().collect());
        self
    }

    /// After which patches of code people are asked, where they go to what runs: those with which the
    /// program goes on so where it failed before, and those of which nobody says how it does. Default none.
    ///
    /// ```
    /// use homeostasis::Patching;
    /// use homeostasis::core::record::RecoveryStrategy;
    /// use homeostasis::patch::LiveTree;
    ///
    /// let tree = LiveTree::new("/srv/shop", "/var/lib/shop/patches");
    /// // No value stands in for another one, and nothing is left out, without somebody's word.
    /// let patching = Patching::new("/srv/shop", tree)
    ///     .reviews([RecoveryStrategy::Substitute, RecoveryStrategy::Skip]);
    /// # drop(patching);
    /// ```
    pub fn reviews(mut self, recoveries: impl IntoIterator<Item = RecoveryStrategy>) -> Self {
        self.reviewed = recoveries.into_iter().collect();
        self
    }

    /// Whether people must see a candidate first, by what it says itself.
    fn wants_review(&self, candidate: &PatchCandidate) -> bool {
        let is_reviewed = match candidate.recovery {
            Some(recovery) => self.reviewed.contains(&recovery),
            None => !self.reviewed.is_empty(),
        };
        candidate.requires_review || candidate.kind == PatchKind::Code && is_reviewed
    }

    /// What the checks leave unproven of patches of `kind`, in words; `None` if it needs no approval.
    fn unproven(&self, kind: PatchKind) -> Option<String> {
        if self.checks.is_empty() {
            return Some("no check looks at it".to_owned());
        }
        let proven: BTreeSet<_> = self.checks.iter().flat_map(PatchCheck::proves).collect();
        let all = BTreeSet::from([PatchProof::Validated, PatchProof::Tested]);
        let needed = self.lifting.get(&kind).unwrap_or(&all);
        let missing: Vec<_> = needed
            .difference(&proven)
            .map(ToString::to_string)
            .collect();
        let said = format!("no check shows it to be {}", missing.join(" and "));
        (!missing.is_empty()).then_some(said)
    }

    /// How long the checks of all candidates of a plan may take, 1 s to 23 h. Default 10 min.
    pub fn test_time(mut self, limit: Duration) -> Self {
        self.test_time = limit;
        self
    }

    /// How it is judged whether a patch helped.
    pub fn verified_by(mut self, verification: VerificationSpec) -> Self {
        self.verification = verification;
        self
    }

    /// What is wrong with it, as `patching.…`.
    fn check_against(&self, actions: &ActionRegistry, violations: &mut Violations) {
        if !(1..=20).contains(&self.max_candidates) {
            let (place, value) = ("patching.max_candidates", self.max_candidates.to_string());
            violations.push(Violation::new(place, value, "1..=20"));
        }
        if !(Duration::from_secs(1)..=MAX_TEST_TIME).contains(&self.test_time) {
            let (place, value) = ("patching.test_time", format!("{:?}", self.test_time));
            violations.push(Violation::new(place, value, "1s..=23h"));
        }
        if self.patchers.is_empty() {
            violations.push(Violation::new("patching.patchers", "none", "at least one"));
        }
        if let Some(broken) = self.verification.violation() {
            let (place, expected) = ("patching.verification", "one within its bounds");
            violations.push(Violation::new(place, broken, expected));
        }
        for (idx, (name, args)) in self.then.iter().enumerate() {
            let place = format!("patching.then[{idx}]");
            let Some(action) = actions.get(name) else {
                violations.push(Violation::new(place, name.as_str(), "a registered action"));
                continue;
            };
            if action.effect(args) == EffectClass::Opaque {
                let expected = "an action that may be repeated, or can tell whether it happened";
                violations.push(Violation::new(&place, name.as_str(), expected));
            }
            let mut args = args.clone();
            action.spec().fill_defaults(&mut args);
            let mut problems = action.spec().problems(&args, false);
            problems.extend(action.check(&args));
            for problem in problems {
                let place = format!("{place}{}", problem.pointer);
                violations.push(Violation::new(place, name.as_str(), problem.expected));
            }
        }
    }
}

impl fmt::Debug for Patching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patching")
            .field("root", &self.root)
            .field("way", &self.way)
            .field("patchers", &self.patchers)
            .field("checks", &self.checks)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use homeostasis_core::Digest;
    use homeostasis_patch::LiveTree;

    use super::*;

    #[test]
    fn patches_that_recover_as_is_reviewed_ask_people_and_so_do_those_that_do_not_say() {
        let patching = || Patching::new("/srv/shop", LiveTree::new("/srv/shop", "/srv/kept"));
        let candidate = |kind, recovery| {
            let base = Digest::of_bytes(b"x");
            let mut made = PatchCandidate::new("p", kind, "a.py", base, "d");
            made.recovery = recovery;
            made
        };
        let (free, careful) = (
            patching(),
            patching().reviews([RecoveryStrategy::Substitute, RecoveryStrategy::Skip]),
        );
        for (recovery, is_asked) in [
            (Some(RecoveryStrategy::Substitute), true),
            (Some(RecoveryStrategy::Skip), true),
            (Some(RecoveryStrategy::Propagate), false),
            (Some(RecoveryStrategy::Correct), false),
            (None, true),
        ] {
            let code = candidate(PatchKind::Code, recovery);
            assert_eq!(careful.wants_review(&code), is_asked, "{recovery:?}");
            assert!(!free.wants_review(&code), "{recovery:?}");
            let settings = candidate(PatchKind::Configuration, recovery);
            assert!(!careful.wants_review(&settings), "{recovery:?}");
        }
        let mut asks = candidate(PatchKind::Configuration, None);
        asks.requires_review = true;
        assert!(free.wants_review(&asks));
    }
}
