//! What the gate decides about patches, and by what.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use homeostasis::Patching;
use homeostasis::core::policy::Policy;
use homeostasis::core::record::{EventKind, PatchCandidate, PatchKind, RiskLevel};
use homeostasis::core::stage::{
    PatchCheck, PatchError, PatchProof, PatchReport, PatchRequest, Patcher,
};
use homeostasis::core::{Context, async_trait};
use homeostasis::patch::ConfigPatcher;

use super::shop::{Check, NEW, OLD, REMEDIES, Shop, Texts};
use crate::world::{is, until};

#[tokio::test(start_paused = true)]
async fn the_gate_refuses_kinds_that_are_not_allowed_and_asks_people_without_a_check() {
    let shop = Shop::new();
    let code = || Texts(PatchKind::Code, RiskLevel::Low, &[NEW]);
    let builder = shop.builder(shop.patching().patcher(code()));
    let (events, _) = shop.story(builder, "escalated").await;
    assert_eq!(shop.text(), OLD);
    let said = format!("{events:?}");
    assert!(
        said.contains("patches of code are not allowed here"),
        "{said}"
    );

    let shop = Shop::new();
    let unchecked = Patching::new(shop.folder.join("root"), shop.tree())
        .patcher(ConfigPatcher::from_document("r", REMEDIES).unwrap());
    let (events, _) = shop.story(shop.builder(unchecked), "escalated").await;
    assert_eq!(shop.text(), OLD);
    assert!(
        !events
            .iter()
            .any(|kind| matches!(kind, EventKind::RunOpened { .. }))
    );

    let shop = Shop::new();
    let mut policy = Policy {
        min_interval: Duration::ZERO,
        ..Policy::default()
    };
    policy.patches.kinds.insert(PatchKind::Code);
    policy.pre_approved = ["apply_patch", "restart_shop"].map(str::to_owned).into();
    let builder = shop.builder(shop.patching().patcher(code())).policy(policy);
    shop.story(builder, "closed").await;
    assert_eq!(shop.text(), NEW);
}

/// Finds every patch of medium risk, and lets it pass.
#[derive(Debug)]
struct Judge;

#[async_trait]
impl PatchCheck for Judge {
    fn name(&self) -> &str {
        "judge"
    }

    async fn check(
        &self,
        _: &Context,
        _: &[PatchCandidate],
        _: &Path,
    ) -> Result<PatchReport, PatchError> {
        Ok(PatchReport::passed([]))
    }

    async fn risk(
        &self,
        _: &Context,
        _: &PatchCandidate,
        _: &Path,
    ) -> Result<Option<RiskLevel>, PatchError> {
        Ok(Some(RiskLevel::Medium))
    }
}

/// Whether a low-risk patch of `kind` went to the live tree without anybody's approval.
async fn goes_unapproved(
    kind: PatchKind,
    proves: &[PatchProof],
    with: impl FnOnce(Patching) -> Patching,
) -> bool {
    let shop = Shop::new();
    let patching = Patching::new(shop.folder.join("root"), shop.tree())
        .patcher(Texts(kind, RiskLevel::Low, &[NEW]))
        .check(Check {
            proves: proves.iter().copied().collect(),
            ..Check::default()
        });
    let mut policy = Policy {
        min_interval: Duration::ZERO,
        ..Policy::default()
    };
    policy.patches.kinds.insert(PatchKind::Code);
    policy.pre_approved = ["apply_patch"].map(str::to_owned).into();
    let builder = shop.builder(with(patching)).policy(policy);
    let healer = builder.start().await.unwrap();
    let mut events = healer.subscribe();
    shop.run(&healer);
    let gated = until(&healer, &mut events, is("gated")).await;
    let asked = format!("{gated:?}").contains("NeedsApproval");
    if !asked {
        until(&healer, &mut events, is("closed")).await;
    }
    healer.shutdown().await;
    let planned = shop.store.read(gated.incident).await.unwrap();
    let said = format!("{planned:?}").contains("people must approve it: no check shows it to be");
    assert_eq!(said, asked, "who must approve learns why");
    assert_eq!(shop.text() == NEW, !asked);
    !asked
}

#[tokio::test(start_paused = true)]
async fn only_the_proofs_that_are_asked_for_lift_the_approval_of_a_live_patch() {
    use PatchProof::{Tested, Validated};
    let as_it_is = |patching: Patching| patching;
    for proves in [&[][..], &[Validated], &[Tested]] {
        assert!(!goes_unapproved(PatchKind::Code, proves, as_it_is).await);
    }
    assert!(goes_unapproved(PatchKind::Code, &[Validated, Tested], as_it_is).await);
    let configuration = PatchKind::Configuration;
    assert!(!goes_unapproved(configuration, &[Validated], as_it_is).await);
    assert!(goes_unapproved(configuration, &[Tested], as_it_is).await);

    let tests_do = |patching: Patching| patching.lifts_approval(PatchKind::Code, [Tested]);
    assert!(goes_unapproved(PatchKind::Code, &[Tested], tests_do).await);
    let anything_does = |patching: Patching| patching.lifts_approval(PatchKind::Code, []);
    assert!(goes_unapproved(PatchKind::Code, &[], anything_does).await);
}

#[tokio::test(start_paused = true)]
async fn the_gate_decides_by_the_highest_of_the_patchers_risk_and_what_the_checks_find() {
    let shop = Shop::new();
    let builder = shop.builder(shop.configured().check(Judge));
    let (events, _) = shop.story(builder, "escalated").await;
    assert_eq!(shop.text(), OLD);
    let risks: Vec<_> = events
        .iter()
        .filter_map(|kind| match kind {
            EventKind::Planned { plans, .. } => Some(plans),
            _ => None,
        })
        .flatten()
        .flat_map(|plan| plan.patches.iter().map(|patch| patch.risk))
        .collect();
    assert_eq!(risks, [RiskLevel::Medium]);
    assert_eq!(
        shop.asked.load(Ordering::SeqCst),
        0,
        "people are asked first"
    );

    let shop = Shop::new();
    let patching = shop.configured().check(Judge).max_risk(RiskLevel::Low);
    let (events, _) = shop.story(shop.builder(patching), "escalated").await;
    let said = format!("{events:?}");
    assert!(
        said.contains("its risk is medium, at most low is wanted"),
        "{said}"
    );
}

/// Proposes the text that mends, of this risk, and says why.
#[derive(Debug, Clone, Copy)]
struct Says {
    name: &'static str,
    risk: RiskLevel,
    wants_review: bool,
}

#[async_trait]
impl Patcher for Says {
    fn name(&self) -> &str {
        self.name
    }

    async fn propose(
        &self,
        cx: &Context,
        request: PatchRequest<'_>,
    ) -> Result<Vec<PatchCandidate>, PatchError> {
        let texts = Texts(PatchKind::Configuration, self.risk, &[NEW]);
        let mut proposed = texts.propose(cx, request).await?;
        for patch in &mut proposed {
            self.name.clone_into(&mut patch.patcher);
            patch.explanation = format!("{} says so", self.name);
            patch.requires_review = self.wants_review;
        }
        Ok(proposed)
    }
}

/// Of equal diffs only what the first patcher said counted.
#[tokio::test(start_paused = true)]
async fn of_patchers_that_propose_the_same_the_most_careful_counts() {
    let says = |name, risk, wants_review| Says {
        name,
        risk,
        wants_review,
    };
    let bold = says("bold", RiskLevel::Low, false);
    let careful = says("careful", RiskLevel::Medium, true);
    for (one, other) in [(bold, careful), (careful, bold)] {
        let shop = Shop::new();
        let builder = shop.builder(shop.patching().patcher(one).patcher(other));
        let healer = builder.start().await.unwrap();
        let mut events = healer.subscribe();
        shop.run(&healer);
        let gated = until(&healer, &mut events, is("gated")).await;
        healer.shutdown().await;
        assert!(format!("{gated:?}").contains("NeedsApproval"), "{gated:?}");
        let events = shop.store.read(gated.incident).await.unwrap();
        let plans = events.iter().find_map(|event| match &event.kind {
            EventKind::Planned { plans, .. } => Some(plans),
            _ => None,
        });
        let [plan] = &plans.unwrap()[..] else {
            panic!("{plans:?}")
        };
        assert!(plan.require_approval);
        assert_eq!(plan.patches[0].risk, RiskLevel::Medium);
        let proposals = plan.steps[0].args["proposals"].as_array().unwrap();
        assert_eq!(proposals.len(), 1, "one text is one candidate");
        let told = proposals[0].to_string();
        assert!(
            told.contains("bold says so") && told.contains("careful says so"),
            "{told}"
        );
    }
    // What one of them finds too dangerous is passed over, whoever comes first.
    let grave = says("grave", RiskLevel::High, false);
    for (one, other) in [(bold, grave), (grave, bold)] {
        let shop = Shop::new();
        let builder = shop.builder(shop.patching().patcher(one).patcher(other));
        let (events, _) = shop.story(builder, "escalated").await;
        assert_eq!(shop.text(), OLD);
        let said = format!("{events:?}");
        assert!(
            said.contains("its risk is high, at most medium is wanted"),
            "{said}"
        );
    }
}
