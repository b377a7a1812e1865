//! A service that is ill as long as its file is not the healthy version, and what is done about it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homeostasis::core::policy::Policy;
use homeostasis::core::port::{MemoryStore, Store};
use homeostasis::core::record::{
    EffectClass, EventKind, Inverse, PatchCandidate, PatchKind, RiskLevel,
};
use homeostasis::core::stage::{
    PatchCheck, PatchError, PatchProof, PatchReport, PatchRequest, Patcher,
};
use homeostasis::core::testing::engine::Scratch;
use homeostasis::core::{Confidence, Context, async_trait};
use homeostasis::patch::{ConfigPatcher, FilePatch, LiveTree};
use homeostasis::remediate::action::{Action, ActionCall, ActionError, ActionSpec};
use homeostasis::{Builder, EngineSettings, HealingEvent, Homeostasis, Patching};
use serde_json::{Map, Value};

use crate::world::{World, is, until};

pub(crate) const OLD: &str = "# of the shop\ntimeout_ms = 500 # low\n";
pub(crate) const NEW: &str = "# of the shop\ntimeout_ms = 900 # low\n";
pub(super) const REMEDIES: &str = "\
remedies:
  - cause: illness
    file: app.toml
    edits: [{set: timeout_ms, to: 900, expecting: 500}]
    explanation: the database answers within 800 ms
    risk: low
";

/// Says what it is told to of each candidate, by the result.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) takes: Duration,
    pub(super) refuses: BTreeSet<&'static str>,
    pub(super) asked: Arc<AtomicU32>,
    pub(super) recovered: Arc<AtomicU32>,
    pub(super) proves: BTreeSet<PatchProof>,
    pub(super) notes: Vec<String>,
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
pub(super) struct Texts(
    pub(super) PatchKind,
    pub(super) RiskLevel,
    pub(super) &'static [&'static str],
);

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
pub(super) struct Restart(ActionSpec, Arc<AtomicU32>);

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
    pub(super) folder: PathBuf,
    /// Removes the folder.
    _scratch: Option<Scratch>,
    /// How long a check takes.
    pub(crate) takes: Duration,
    pub(super) store: Arc<dyn Store>,
    pub(super) restarts: Arc<AtomicU32>,
    pub(super) asked: Arc<AtomicU32>,
    pub(super) refuses: BTreeSet<&'static str>,
    /// The text with which it is healthy.
    pub(crate) healthy: Mutex<&'static str>,
}

impl Shop {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self::made())
    }

    pub(super) fn made() -> Self {
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

    pub(super) fn patching(&self) -> Patching {
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
    pub(super) async fn story(
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
