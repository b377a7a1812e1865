//! The playbooks of a running healer: read again, linted, dry-run, without touching a run in flight.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use homeostasis_core::policy::Policy;
use homeostasis_core::record::Scenario;
use homeostasis_core::{
    ConfigError, Digest, ErrorKind, ErrorReport, Target, Violation, Violations,
};
use homeostasis_remediate::PlaybookRemediator;
use homeostasis_remediate::playbook::{DryRun, Lint, PlaybookSet};

use crate::config::ConditionRule;
use crate::engine::{Homeostasis, Rehearsal};

/// Where playbooks come from, and who uses them.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) remediator: PlaybookRemediator,
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) texts: Vec<(String, String)>,
    pub(crate) triggers: Triggers,
    pub(crate) scenarios: ScenarioCheck,
    /// One reload at a time; the digest of the files that were read last.
    pub(crate) turn: Mutex<Digest>,
}

/// Says why a scenario cannot be done here; by default nobody knows, and so nobody objects.
#[derive(Clone, Default)]
pub(crate) struct ScenarioCheck(Option<Arc<ScenarioProblem>>);

type ScenarioProblem = dyn Fn(&Scenario) -> Option<String> + Send + Sync;

impl ScenarioCheck {
    #[cfg(feature = "verify")]
    pub(crate) fn new(
        problem: impl Fn(&Scenario) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self(Some(Arc::new(problem)))
    }

    /// Every scenario of the playbooks that cannot be done.
    pub(crate) fn violations(&self, set: &PlaybookSet) -> Vec<Violation> {
        let Some(problem) = &self.0 else {
            return Vec::new();
        };
        let scenarios = set.iter().flat_map(|playbook| {
            let check = playbook.verification().into_iter();
            let all = check.flat_map(|check| &check.scenarios);
            all.map(move |scenario| (playbook.id(), scenario))
        });
        scenarios
            .filter_map(|(id, scenario)| {
                let expected = format!("one that can be done here ({})", problem(scenario)?);
                let path = format!("{id}.verification.scenarios");
                Some(Violation::new(
                    path,
                    format!("{:?}", scenario.name),
                    expected,
                ))
            })
            .collect()
    }
}

/// Every comparison with a time that is forgotten when it is asked for.
pub(crate) fn unreachable_baselines(set: &PlaybookSet, remembered: Duration) -> Vec<Violation> {
    let comparisons = set.iter().flat_map(|playbook| {
        let check = playbook.verification().into_iter();
        let all = check.flat_map(|check| &check.comparisons);
        all.map(move |comparison| (playbook.id(), comparison))
    });
    comparisons
        .filter_map(|(id, comparison)| {
            let needed = comparison.baseline.ago()? + comparison.window;
            (remembered < needed).then(|| {
                Violation::new(
                    format!("{id}.verification.comparison"),
                    format!("{} with {:?}", comparison.metric, comparison.baseline),
                    format!(
                        "a baseline that is remembered: `engine.window` is {remembered:?}, this needs \
                         {needed:?}"
                    ),
                )
            })
        })
        .collect()
}

impl fmt::Debug for ScenarioCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ScenarioCheck")
            .field(&self.0.is_some())
            .finish()
    }
}

/// The triggers that are to be watched; the detector takes what is new.
#[derive(Debug, Clone, Default)]
pub(crate) struct Triggers(Arc<Mutex<(u64, Vec<ConditionRule>)>>);

impl Triggers {
    pub(crate) fn replace(&self, rules: Vec<ConditionRule>) {
        let mut wanted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *wanted = (wanted.0 + 1, rules);
    }

    /// What is wanted, if it is not what version `known` was.
    #[cfg(feature = "detect")]
    pub(crate) fn newer(&self, known: u64) -> Option<(u64, Vec<ConditionRule>)> {
        let wanted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (wanted.0 != known).then(|| wanted.clone())
    }
}

/// What a reload changed, by id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Reloaded {
    /// Playbooks that were not there before.
    pub added: Vec<String>,
    /// Playbooks whose text is another one now.
    pub changed: Vec<String>,
    /// Playbooks that are gone.
    pub removed: Vec<String>,
}

impl Reloaded {
    fn between(before: &PlaybookSet, after: &PlaybookSet) -> Self {
        let mut reloaded = Self::default();
        for playbook in after.iter() {
            match before.get(playbook.id()) {
                None => reloaded.added.push(playbook.id().to_owned()),
                Some(known) if known.hash() != playbook.hash() => {
                    reloaded.changed.push(playbook.id().to_owned());
                }
                Some(_) => {}
            }
        }
        let gone = before
            .iter()
            .filter(|known| after.get(known.id()).is_none());
        reloaded.removed = gone.map(|known| known.id().to_owned()).collect();
        reloaded
    }

    /// Whether everything is as it was.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// What a playbook would do, and what the gate would say to it now. `Display` prints it for people.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DryRunReport {
    /// The plan it would become, step by step.
    pub dry_run: DryRun,
    /// What the gate would answer.
    pub gate: Rehearsal,
}

impl fmt::Display for DryRunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dry_run, self.gate)
    }
}

impl Homeostasis {
    pub(crate) fn with_shelf(mut self, shelf: Option<Shelf>) -> Self {
        self.shelf = shelf.map(Arc::new);
        self
    }

    fn shelf(&self) -> Result<&Shelf, ConfigError> {
        self.shelf.as_deref().ok_or_else(|| {
            let expected = "a healer that was started with a playbook or a path of playbooks";
            ConfigError::single("playbooks", "", expected)
        })
    }

    /// The playbooks that are in force; none if the healer was started without any.
    #[cfg_attr(docsrs, doc(cfg(feature = "remediate")))]
    pub fn playbooks(&self) -> PlaybookSet {
        let shelf = self.shelf.as_deref();
        shelf.map_or_else(PlaybookSet::default, |shelf| shelf.remediator.playbooks())
    }

    /// Reads the files and folders of playbooks again, with the actions and checks of the start, and
    /// puts what they hold in force all at once; texts that were given to the builder stay.
    ///
    /// An incident that has its plans keeps them, and a run keeps the plan it was opened for: both are
    /// in the journal. Triggers that did not change go on counting.
    ///
    /// # Errors
    /// Everything that is wrong with any of them. Then the playbooks stay what they were, and the
    /// healer says so in [`health`](Homeostasis::health).
    #[cfg_attr(docsrs, doc(cfg(feature = "remediate")))]
    pub fn reload_playbooks(&self) -> Result<Reloaded, ConfigError> {
        let shelf = self.shelf()?;
        self.load(shelf, Files::read(&shelf.paths))
    }

    fn load(&self, shelf: &Shelf, files: Files) -> Result<Reloaded, ConfigError> {
        let mut loaded = shelf.turn.lock().unwrap_or_else(PoisonError::into_inner);
        *loaded = files.digest();
        match shelf.parse(files, &self.shared.settings) {
            Ok((set, rules)) => {
                let reloaded = Reloaded::between(&shelf.remediator.playbooks(), &set);
                shelf.remediator.replace(set);
                shelf.triggers.replace(rules);
                tracing::info!(?reloaded, "playbooks read again");
                Ok(reloaded)
            }
            Err(error) => {
                let what = format!("the playbooks stay as they were: {error}");
                let report = ErrorReport::message(ErrorKind::Permanent, what);
                self.shared.blame("playbooks", "reload", &report);
                Err(error)
            }
        }
    }

    /// Looks at the files of playbooks now and then, and reads them again when they changed, until
    /// the healer shuts down. A change that does not load is said once, and tried again when the
    /// files change again.
    ///
    /// The first part of a playbook may be a playbook, one without its `safety`: a change comes into
    /// force when two looks in a row found the same, and a writer that pauses for longer than `every`
    /// is taken to be done. Write beside the file and rename.
    #[cfg_attr(docsrs, doc(cfg(feature = "remediate")))]
    pub fn watch_playbooks(&self, every: Duration) {
        let Some(shelf) = self.shelf.clone() else {
            return;
        };
        let healer = self.clone();
        self.spawn(async move {
            let mut seen = None;
            loop {
                healer.clock().sleep(every.max(MIN_WATCH)).await;
                let (shelf, healer) = (Arc::clone(&shelf), healer.clone());
                // Files may stand on a network.
                let looked = move || {
                    let files = Files::read(&shelf.paths);
                    let now = files.digest();
                    if seen == Some(now) && now != shelf.loaded() {
                        // It says itself what is wrong.
                        let _ = healer.load(&shelf, files);
                    }
                    now
                };
                match tokio::task::spawn_blocking(looked).await {
                    Ok(now) => seen = Some(now),
                    Err(_) => return,
                }
            }
        });
    }

    /// What the linter finds in the playbooks that are in force, by id.
    #[cfg_attr(docsrs, doc(cfg(feature = "remediate")))]
    pub fn lint_playbooks(&self) -> BTreeMap<String, Vec<Lint>> {
        let Some(shelf) = self.shelf.as_deref() else {
            return BTreeMap::new();
        };
        let policy: &Policy = &self.shared.policy;
        let actions = shelf.remediator.actions();
        let set = shelf.remediator.playbooks();
        set.iter()
            .map(|playbook| {
                let lints = playbook.lint(actions, policy.permit_ttl);
                (playbook.id().to_owned(), lints)
            })
            .collect()
    }

    /// What the playbook `id` would do to `target`, and what the gate would answer now. Nothing is
    /// touched: no action is called, nothing is captured, opened, counted or asked for.
    ///
    /// # Errors
    /// If no such playbook is in force, or no plan can be made of it for this target.
    #[cfg_attr(docsrs, doc(cfg(feature = "remediate")))]
    pub async fn dry_run(&self, id: &str, target: &Target) -> Result<DryRunReport, ConfigError> {
        let shelf = self.shelf()?;
        let set = shelf.remediator.playbooks();
        let Some(playbook) = set.get(id) else {
            let known: Vec<_> = set.iter().map(|known| known.id()).collect();
            let expected = format!("one of {}", known.join(", "));
            return Err(ConfigError::single(
                "playbook_id",
                format!("{id:?}"),
                expected,
            ));
        };
        let actions = shelf.remediator.actions();
        let dry_run = playbook.dry_run(actions, target, self.topology())?;
        let gate = self
            .rehearse(&dry_run.plan, playbook.severity())
            .await
            .map_err(|error| ConfigError::single(id, error, "a plan within the bounds of plans"))?;
        Ok(DryRunReport { dry_run, gate })
    }
}

/// Files are looked at no more often.
const MIN_WATCH: Duration = Duration::from_secs(1);

impl Shelf {
    fn parse(
        &self,
        files: Files,
        settings: &crate::engine::EngineSettings,
    ) -> Result<(PlaybookSet, Vec<ConditionRule>), ConfigError> {
        let mut violations = files.unreadable;
        let mut texts = self.texts.clone();
        texts.extend(files.texts);
        let pairs = texts
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()));
        let (actions, checks) = (self.remediator.actions(), self.remediator.checks());
        let set = violations.absorb(PlaybookSet::parse(pairs, actions, checks));
        if let Some(set) = &set {
            violations.merge(self.scenarios.violations(set));
            violations.merge(unreachable_baselines(set, settings.window));
        }
        let rules = set.as_ref().map(rules_of).unwrap_or_default();
        #[cfg(feature = "detect")]
        for rule in &rules {
            violations.absorb(crate::furnished::watch(
                rule,
                crate::furnished::reraise(settings),
            ));
        }
        #[cfg(not(feature = "detect"))]
        let _ = settings;
        violations.into_result((set.unwrap_or_default(), rules))
    }

    /// The digest of the files that were loaded last, or refused.
    fn loaded(&self) -> Digest {
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files of playbooks as they were at one look: what is judged is what is loaded.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) texts: Vec<(String, String)>,
    pub(crate) unreadable: Violations,
}

impl Files {
    pub(crate) fn read(paths: &[PathBuf]) -> Self {
        let mut unreadable = Violations::new();
        let texts = read_paths(paths, &mut unreadable);
        Self { texts, unreadable }
    }

    /// Changes when any file does.
    pub(crate) fn digest(&self) -> Digest {
        let broken = self.unreadable.clone().into_error();
        Digest::of(&(&self.texts, broken.map(|error| error.to_string())))
    }
}

/// What is watched for the playbooks of `set`: a trigger that names a cause waits for the diagnosis,
/// and only a bare condition is watched.
pub(crate) fn rules_of(set: &PlaybookSet) -> Vec<ConditionRule> {
    set.iter()
        .filter_map(|playbook| {
            let trigger = playbook.trigger();
            Some(ConditionRule {
                name: format!("playbook.{}", playbook.id()),
                condition: trigger.condition.clone()?,
                duration: trigger.duration,
                severity: playbook.severity(),
            })
        })
        .collect()
}

/// The texts of files, and of the files in folders, each with its path.
fn read_paths(paths: &[PathBuf], violations: &mut Violations) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for path in paths {
        let files = if path.is_dir() {
            files_in(path, violations)
        } else {
            vec![path.clone()]
        };
        texts.extend(crate::furnished::read_all(&files, "playbooks", violations));
    }
    texts
}

fn files_in(folder: &Path, violations: &mut Violations) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(folder).and_then(|entries| {
        entries
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<Vec<_>>>()
    });
    match listed {
        Ok(mut files) => {
            files.retain(|file| {
                file.extension().is_some_and(|ending| {
                    ["yaml", "yml", "json"].iter().any(|known| ending == *known)
                })
            });
            files.sort();
            files
        }
        Err(error) => {
            let expected = format!("a folder that can be read ({error})");
            let folder = folder.display().to_string();
            violations.push(Violation::new("playbooks", folder, expected));
            Vec::new()
        }
    }
}
