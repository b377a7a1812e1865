//! Patches in a running engine: from a diagnosis to files of a real tree, and back.
//!
//! The service is ill as long as its file is not the healthy version.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homeostasis::core::policy::Policy;
use homeostasis::core::port::{MemoryStore, Store};
use homeostasis::core::record::{
    EffectClass, EventKind, Inverse, Outcome, PatchCandidate, PatchKind, Resolution, RiskLevel,
    VerdictKind,
};
use homeostasis::core::signal::{ErrorEvent, Level, LogRecord};
use homeostasis::core::stage::{
    PatchCheck, PatchError, PatchProof, PatchReport, PatchRequest, Patcher,
};
use homeostasis::core::testing::engine::Scratch;
use homeostasis::core::testing::store::{CrashPoint, CrashStore};
use homeostasis::core::{Clock, Confidence, Context, Target, async_trait};
use homeostasis::patch::{ConfigPatcher, FilePatch, LiveTree, PatchFolder, SessionState};
use homeostasis::remediate::action::{Action, ActionCall, ActionError, ActionSpec};
use homeostasis::{Builder, EngineSettings, HealingEvent, Homeostasis, Patching};
use serde_json::{Map, Value};

use crate::world::{World, is, pass, until};

pub(crate) const OLD: &str = "# of the shop\ntimeout_ms = 500 # low\n";
pub(crate) const NEW: &str = "# of the shop\ntimeout_ms = 900 # low\n";
const REMEDIES: &str = "\
remedies:
  - cause: illness
    file: app.toml
    edits: [{set: timeout_ms, to: 900, expecting: 500}]
    explanation: the database answers within 800 ms
    risk: low
";

/// Says what it is told to of each candidate, by the result.
#[derive(Debug)]
struct Check {
    takes: Duration,
    refuses: BTreeSet<&'static str>,
    asked: Arc<AtomicU32>,
    recovered: Arc<AtomicU32>,
    proves: BTreeSet<PatchProof>,
    notes: Vec<String>,
}

impl Default for Check {
    fn default() -> Self {
        Self {
            takes: Duration::ZERO,
            refuses: BTreeSet::new(),
            asked: Arc::default(),
            recovered: Arc::default(),
            proves: [PatchProof::Validated, PatchProof::Tested].into(),
            notes: vec!["12 of 12 tests passed".to_owned()],
        }
    }
}

#[async_trait]
impl PatchCheck for Check {
    fn name(&self) -> &str {
        "tests"
    }

    async fn check(
        &self,
        cx: &Context,
        patches: &[PatchCandidate],
        root: &Path,
    ) -> Result<PatchReport, PatchError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        cx.clock().sleep(self.takes).await;
        let present = fs::read_to_string(root.join(&patches[0].path)).unwrap();
        let result = FilePatch::from_candidate(&patches[0], &present)
            .and_then(|patch| patch.apply(&present))
            .map_err(|error| PatchError::permanent("applying it to a copy", error))?;
        Ok(match self.refuses.get(result.as_str()) {
            Some(_) => PatchReport::refused("test_checkout failed"),
            None => PatchReport::passed(self.notes.clone()),
        })
    }

    fn proves(&self) -> BTreeSet<PatchProof> {
        self.proves.clone()
    }

    async fn recover(&self) -> Result<(), PatchError> {
        self.recovered.fetch_add(1, Ordering::SeqCst);
        Err(PatchError::invalid("the folder", "not there"))
    }
}

/// Proposes these texts for the file, best first.
#[derive(Debug)]
struct Texts(PatchKind, RiskLevel, &'static [&'static str]);

#[async_trait]
impl Patcher for Texts {
    fn name(&self) -> &str {
        "texts"
    }

    async fn propose(
        &self,
        _: &Context,
        request: PatchRequest<'_>,
    ) -> Result<Vec<PatchCandidate>, PatchError> {
        let present = fs::read_to_string(request.root.join("app.toml")).unwrap();
        let made = self.2.iter().filter(|text| **text != present).map(|text| {
            let made = FilePatch::from_texts("app.toml", &present, text).unwrap();
            let (base, diff) = (made.base_hash, made.diff.to_string());
            let mut patch = PatchCandidate::new("texts", self.0, "app.toml", base, diff);
            patch.risk = self.1;
            patch.confidence = Confidence::new(0.9).unwrap();
            patch
        });
        Ok(made.collect())
    }
}

/// Counts what it does.
#[derive(Debug)]
struct Restart(ActionSpec, Arc<AtomicU32>);

#[async_trait]
impl Action for Restart {
    fn name(&self) -> &str {
        "restart_shop"
    }

    fn spec(&self) -> &ActionSpec {
        &self.0
    }

    async fn perform(&self, _: &Context, _: &ActionCall<'_>) -> Result<Value, ActionError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        Ok(Value::Null)
    }
}

pub(crate) struct Shop {
    pub(crate) world: Arc<World>,
    folder: PathBuf,
    /// Removes the folder.
    _scratch: Option<Scratch>,
    /// How long a check takes.
    pub(crate) takes: Duration,
    store: Arc<dyn Store>,
    restarts: Arc<AtomicU32>,
    asked: Arc<AtomicU32>,
    refuses: BTreeSet<&'static str>,
    /// The text with which it is healthy.
    pub(crate) healthy: Mutex<&'static str>,
}

impl Shop {
    fn new() -> Arc<Self> {
        Arc::new(Self::made())
    }

    fn made() -> Self {
        let scratch = Scratch::new();
        let shop = Self::at(scratch.path());
        fs::create_dir(scratch.path().join("root")).unwrap();
        fs::write(scratch.path().join("root/app.toml"), OLD).unwrap();
        Self {
            _scratch: Some(scratch),
            ..shop
        }
    }

    /// One whose project is in the folder `root` of this one.
    pub(crate) fn at(folder: &Path) -> Self {
        Self {
            world: Arc::default(),
            folder: folder.to_owned(),
            _scratch: None,
            takes: Duration::from_secs(20),
            store: Arc::new(MemoryStore::default()),
            restarts: Arc::default(),
            asked: Arc::default(),
            refuses: BTreeSet::new(),
            healthy: Mutex::new(NEW),
        }
    }

    pub(crate) fn text(&self) -> String {
        fs::read_to_string(self.folder.join("root/app.toml")).unwrap()
    }

    pub(crate) fn tree(&self) -> LiveTree {
        let folder = &self.folder;
        LiveTree::new(folder.join("root"), folder.join("sessions"))
    }

    fn patching(&self) -> Patching {
        Patching::new(self.folder.join("root"), self.tree())
            .check(Check {
                takes: self.takes,
                refuses: self.refuses.clone(),
                asked: Arc::clone(&self.asked),
                ..Check::default()
            })
            .then("restart_shop", Map::new())
    }

    pub(crate) fn configured(&self) -> Patching {
        let patcher = ConfigPatcher::from_document("remedies.yaml", REMEDIES).unwrap();
        self.patching().patcher(patcher)
    }

    pub(crate) fn builder(&self, patching: Patching) -> Builder {
        let mut settings = EngineSettings::default();
        settings.quiet = Duration::from_secs(30);
        settings.shutdown_grace = Duration::ZERO;
        let spec = ActionSpec::new("a test")
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::Low)
            .with_inverse(Inverse::Nothing);
        let mut policy = Policy {
            min_interval: Duration::ZERO,
            ..Policy::default()
        };
        policy.pre_approved = ["apply_patch", "restart_shop"].map(str::to_owned).into();
        policy.patches.per_file_per_day = 9;
        self.world
            .without_doctor()
            .settings(settings)
            .policy(policy)
            .store(Arc::clone(&self.store))
            .action(Restart(spec, Arc::clone(&self.restarts)))
            .patching(patching)
    }

    /// The service is as its file makes it.
    pub(crate) fn run(self: &Arc<Self>, healer: &Homeostasis) {
        self.world.watch(healer, &["a"]);
        let (shop, clock) = (Arc::clone(self), healer.clock());
        healer.spawn(async move {
            loop {
                if shop.text() == *shop.healthy.lock().unwrap() {
                    shop.world.cured_by_hand("a");
                } else {
                    shop.world.fall_ill("a");
                }
                clock.sleep(Duration::from_secs(1)).await;
            }
        });
    }

    /// A whole story until `last`, and its documents.
    async fn story(
        self: &Arc<Self>,
        builder: Builder,
        last: &'static str,
    ) -> (Vec<EventKind>, Vec<HealingEvent>) {
        let healer = builder.start().await.unwrap();
        let mut events = healer.subscribe();
        self.run(&healer);
        let ended = until(&healer, &mut events, is(last)).await;
        let documents = healer.healing_events(ended.incident).await.unwrap();
        healer.shutdown().await;
        let events = self.store.read(ended.incident).await.unwrap();
        (events.into_iter().map(|it| it.kind).collect(), documents)
    }
}

#[tokio::test(start_paused = true)]
async fn a_patch_is_planned_gated_tested_applied_verified_and_documented() {
    let shop = Shop::new();
    let (events, documents) = shop.story(shop.builder(shop.configured()), "closed").await;
    assert_eq!(shop.text(), NEW);
    assert_eq!(shop.restarts.load(Ordering::SeqCst), 1);
    assert_eq!(shop.asked.load(Ordering::SeqCst), 1);
    let plans = events.iter().find_map(|kind| match kind {
        EventKind::Planned { plans, .. } => Some(plans),
        _ => None,
    });
    let [plan] = &plans.unwrap()[..] else {
        panic!("{plans:?}")
    };
    assert_eq!(plan.remediator, "patches");
    let patched: Vec<_> = plan
        .patches
        .iter()
        .map(|it| (it.path.as_str(), it.kind))
        .collect();
    assert_eq!(patched, [("app.toml", PatchKind::Configuration)]);
    assert!(
        events
            .iter()
            .any(|kind| matches!(kind, EventKind::Gated { .. }))
    );
    let [document] = &documents[..] else {
        panic!("{documents:?}")
    };
    assert_eq!(document.schema_version, HealingEvent::SCHEMA_VERSION);
    assert_eq!(document.cause, "illness");
    assert!(
        document.files[0]
            .diff
            .contains("-timeout_ms = 500 # low\n+timeout_ms = 900 # low\n")
    );
    assert!(document.files[0].explanation.contains("within 800 ms"));
    assert_eq!(
        document.tests,
        ["passed tests", "tests: 12 of 12 tests passed"]
    );
    assert_eq!(
        document.verdict.as_ref().unwrap().kind,
        VerdictKind::Success
    );
    assert_eq!(document.taken_back, None);
    assert!(matches!(
        document.resolution,
        Some(Resolution::Healed { .. })
    ));
    let sessions = shop.tree().sessions().unwrap();
    let receipt = document.handed_over.as_ref().unwrap();
    assert_eq!(receipt.place, sessions[0].id);
    assert_eq!(Some(sessions[0].hash), document.patch_hash);
    assert_eq!(sessions[0].state, SessionState::Applied);
    let json = serde_json::to_string(document).unwrap();
    assert_eq!(
        &serde_json::from_str::<HealingEvent>(&json).unwrap(),
        document
    );
}

/// Notes which errors it is told of, and proposes nothing.
#[derive(Debug, Clone, Default)]
struct Hearing(Arc<Mutex<Vec<String>>>);

#[async_trait]
impl Patcher for Hearing {
    fn name(&self) -> &str {
        "hearing"
    }

    async fn propose(
        &self,
        _: &Context,
        request: PatchRequest<'_>,
    ) -> Result<Vec<PatchCandidate>, PatchError> {
        let told = request
            .errors
            .iter()
            .map(|it| format!("{} {}", it.kind, it.message));
        self.0.lock().unwrap().extend(told);
        Ok(Vec::new())
    }
}

#[tokio::test(start_paused = true)]
async fn patchers_are_told_the_errors_of_the_target_the_most_frequent_first() {
    let shop = Shop::new();
    let hearing = Hearing::default();
    let builder = shop.builder(shop.patching().patcher(hearing.clone()));
    let healer = builder.start().await.unwrap();
    let mut events = healer.subscribe();
    let recorder = healer.recorder();
    for (service, kind) in [
        ("a", "E1"),
        ("a", "E2"),
        ("a", "E2"),
        ("b", "E3"),
        ("a", "E1"),
        ("a", "E2"),
    ] {
        let mut record = LogRecord::new(healer.clock().now(), Level::Error, "failed");
        record.target = Some(Target::service(service).unwrap());
        record.error = Some(Box::new(ErrorEvent::new("python", kind, "m")));
        recorder.log(record);
    }
    shop.run(&healer);
    until(&healer, &mut events, is("planned")).await;
    healer.shutdown().await;
    assert_eq!(*hearing.0.lock().unwrap(), ["E2 m", "E1 m"]);
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_does_not_help_is_taken_back_to_the_byte_and_the_service_restarted() {
    let shop = Shop::new();
    *shop.healthy.lock().unwrap() = "something else";
    let (_, documents) = shop
        .story(shop.builder(shop.configured()), "escalated")
        .await;
    assert_eq!(shop.text(), OLD);
    assert_eq!(
        shop.restarts.load(Ordering::SeqCst),
        2,
        "after the patch, and after its removal"
    );
    assert_eq!(
        documents[0].verdict.as_ref().unwrap().kind,
        VerdictKind::Failed
    );
    assert_eq!(documents[0].taken_back, Some(Outcome::Completed));
    assert_eq!(
        shop.tree().sessions().unwrap()[0].state,
        SessionState::RolledBack
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_candidate_that_passes_is_handed_over() {
    let mut shop = Shop::made();
    shop.refuses = ["timeout_ms = 1\n", "timeout_ms = 2\n"].into();
    let shop = Arc::new(shop);
    let texts = &["timeout_ms = 1\n", NEW, "timeout_ms = 3\n"];
    let texts = Texts(PatchKind::Configuration, RiskLevel::Low, texts);
    let builder = shop.builder(shop.patching().patcher(texts));
    let (_, documents) = shop.story(builder, "closed").await;
    assert_eq!(shop.text(), NEW);
    assert_eq!(
        shop.asked.load(Ordering::SeqCst),
        2,
        "the third was not needed"
    );
    assert_eq!(documents[0].refused, ["tests: test_checkout failed"]);
    assert_eq!(documents[0].files.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn where_no_candidate_passes_nothing_is_touched_and_people_learn_why() {
    let mut shop = Shop::made();
    shop.refuses = [NEW].into();
    let shop = Arc::new(shop);
    let (_, documents) = shop
        .story(shop.builder(shop.configured()), "escalated")
        .await;
    assert_eq!(shop.text(), OLD);
    assert_eq!(shop.tree().sessions().unwrap(), []);
    assert!(matches!(documents[0].outcome, Some(Outcome::Failed { .. })));
    let why = documents[0].refused.concat();
    assert!(why.contains("tests: test_checkout failed"), "{why}");
    assert!(documents[0].files.is_empty() && documents[0].handed_over.is_none());
}

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
async fn checks_clear_away_what_a_killed_life_left_before_anything_starts() {
    let shop = Shop::new();
    let recovered = Arc::<AtomicU32>::default();
    let check = Check {
        recovered: Arc::clone(&recovered),
        ..Check::default()
    };
    let builder = shop.builder(shop.configured().check(check));
    // It says that it failed, which stops nothing.
    let healer = builder.start().await.unwrap();
    assert_eq!(recovered.load(Ordering::SeqCst), 1);
    healer.shutdown().await;
    assert_eq!(recovered.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_report_of_any_length_is_cut_and_the_receipt_kept() {
    let shop = Shop::new();
    let talkative = Check {
        notes: vec!["é".repeat(40_000); 3],
        ..Check::default()
    };
    let patching = shop.configured().check(talkative);
    let (_, documents) = shop.story(shop.builder(patching), "closed").await;
    let receipt = documents[0].handed_over.as_ref().unwrap();
    assert_eq!(receipt.place, shop.tree().sessions().unwrap()[0].id);
    assert_eq!(documents[0].files.len(), 1);
    let last = documents[0].tests.last().unwrap();
    assert!(last.ends_with("bytes more)"), "{last}");
}

/// Fails each time it is done for the second time, and counts.
#[derive(Debug)]
struct Stumbles(ActionSpec, Arc<AtomicU32>);

#[async_trait]
impl Action for Stumbles {
    fn name(&self) -> &str {
        "warm_up"
    }

    fn spec(&self) -> &ActionSpec {
        &self.0
    }

    async fn perform(&self, _: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let n_before = self.1.fetch_add(1, Ordering::SeqCst);
        if n_before == 1 {
            return Err(ActionError::transient("warming up", "not now"));
        }
        if n_before > 1 {
            assert!(call.key.as_str().ends_with("/undo/1"), "{}", call.key);
        }
        Ok(Value::Null)
    }
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

#[tokio::test(start_paused = true)]
async fn what_follows_a_removal_is_done_once_although_a_later_part_fails_and_is_tried_again() {
    let shop = Shop::new();
    *shop.healthy.lock().unwrap() = "something else";
    let spec = ActionSpec::new("a test")
        .with_effect(EffectClass::Idempotent)
        .with_risk(RiskLevel::Low)
        .with_inverse(Inverse::Nothing);
    let warmed = Arc::<AtomicU32>::default();
    let mut policy = Policy {
        min_interval: Duration::ZERO,
        ..Policy::default()
    };
    policy.pre_approved = ["apply_patch", "restart_shop", "warm_up"]
        .map(str::to_owned)
        .into();
    let builder = shop
        .builder(shop.configured().then("warm_up", Map::new()))
        .policy(policy)
        .action(Stumbles(spec, Arc::clone(&warmed)));
    let (_, documents) = shop.story(builder, "escalated").await;
    assert_eq!(documents[0].taken_back, Some(Outcome::Completed));
    assert_eq!(shop.text(), OLD);
    // After the patch; after its removal, where it failed at first and was tried again.
    assert_eq!(warmed.load(Ordering::SeqCst), 3);
    assert_eq!(shop.restarts.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_patch_file_for_people_stays_when_the_trouble_stays() {
    let shop = Shop::new();
    let (root, out) = (shop.folder.join("root"), shop.folder.join("out"));
    let patching = Patching::new(&root, PatchFolder::new(&root, &out))
        .patcher(ConfigPatcher::from_document("r", REMEDIES).unwrap())
        .check(Check::default());
    let (_, documents) = shop.story(shop.builder(patching), "escalated").await;
    assert_eq!(shop.text(), OLD);
    let receipt = documents[0].handed_over.as_ref().unwrap();
    let text = fs::read_to_string(&receipt.place).unwrap();
    assert!(
        text.contains("# - tests: 12 of 12 tests passed\n"),
        "{text}"
    );
    assert!(text.contains("+timeout_ms = 900 # low\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn everything_that_is_wrong_with_patching_is_told_before_anything_starts() {
    let shop = Shop::new();
    let patching = Patching::new("/nowhere", shop.tree())
        .then("no_such_action", Map::new())
        .max_candidates(0)
        .test_time(Duration::ZERO);
    let error = shop
        .builder(patching)
        .start()
        .await
        .unwrap_err()
        .to_string();
    for place in ["max_candidates", "test_time", "patchers", "then[0]"] {
        assert!(
            error.contains(&format!("patching.{place}")),
            "{place}: {error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_kill_left_half_done_is_settled_when_the_healer_starts() {
    let shop = Shop::new();
    shop.story(shop.builder(shop.configured()), "closed").await;
    // As a kill in the middle of the exchange leaves it; nothing is wrong that would be patched.
    let records = shop.folder.join("sessions/sessions");
    let record = fs::read_dir(records)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("\"applied\"", "\"rolling_back\"")).unwrap();
    *shop.healthy.lock().unwrap() = OLD;
    let healer = shop.builder(shop.configured()).start().await.unwrap();
    assert_eq!(shop.text(), OLD);
    assert_eq!(
        shop.tree().sessions().unwrap()[0].state,
        SessionState::RolledBack
    );
    healer.shutdown().await;
}

/// One life that dies at `point`; says how many writes it began.
async fn die_at(shop: &Arc<Shop>, point: Option<CrashPoint>) -> u64 {
    let frozen = CrashStore::of(Arc::clone(&shop.store)).hanging();
    let crashing = Arc::new(match point {
        Some(point) => frozen.crash_at(point),
        None => frozen,
    });
    let builder = shop.builder(shop.configured());
    let builder = builder.store(Arc::clone(&crashing) as Arc<_>);
    let life = async {
        let healer = builder.start().await.unwrap();
        shop.run(&healer);
        healer.clock().sleep(Duration::from_secs(120)).await;
        healer.shutdown().await;
    };
    // A life that dies while it starts never gets to its end.
    let _ = tokio::time::timeout(Duration::from_secs(240), life).await;
    crashing.n_writes()
}

#[tokio::test(start_paused = true)]
async fn dying_at_every_write_ends_with_one_patch_whether_it_helps_or_not() {
    for helps in [true, false] {
        let made = || {
            let shop = Shop::new();
            if !helps {
                *shop.healthy.lock().unwrap() = "something else";
            }
            shop
        };
        let n_writes = die_at(&made(), None).await;
        assert!(
            n_writes >= 10,
            "a whole heal has more than {n_writes} writes"
        );
        for n in 1..=n_writes {
            for point in [CrashPoint::Before(n), CrashPoint::After(n)] {
                let shop = made();
                let story = format!("helps: {helps}, {point:?}");
                die_at(&shop, Some(point)).await;
                let healer = shop.builder(shop.configured()).start().await.unwrap();
                shop.run(&healer);
                pass(&healer, 300).await;
                healer.shutdown().await;
                let sessions = shop.tree().sessions().unwrap();
                let states: Vec<_> = sessions.iter().map(|it| it.state).collect();
                let (text, wanted) = if helps {
                    (NEW, SessionState::Applied)
                } else {
                    (OLD, SessionState::RolledBack)
                };
                assert_eq!(shop.text(), text, "{story}");
                assert_eq!(states, [wanted], "{story}");
            }
        }
    }
}
