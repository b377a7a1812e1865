//! The furnished pipeline: what a host gets without choosing, and how it adds its own parts.
//!
//! Actions, playbooks, conditions and probes are collected as they come and put together when the
//! healer starts, so that everything that is wrong is said at once and nothing half-starts.

use std::path::PathBuf;

use homeostasis_core::{Violation, Violations};

use crate::builder::Builder;
use crate::config::{ConditionRule, Config};
use crate::engine::Homeostasis;

/// An anomaly that lasts is raised again at least this often.
#[cfg(feature = "detect")]
const LONGEST_RERAISE: std::time::Duration = std::time::Duration::from_secs(60);

/// What was collected and is put together at the start.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// Whether what is shipped is wanted: rules, the detector of failing health checks, templates of logs.
    #[cfg_attr(
        not(any(feature = "rca", feature = "detect", feature = "signals")),
        expect(dead_code, reason = "nothing is shipped then")
    )]
    pub(crate) is_furnished: bool,
    pub(crate) store: Option<PathBuf>,
    pub(crate) archive: Option<PathBuf>,
    pub(crate) conditions: Vec<ConditionRule>,
    #[cfg(feature = "detect")]
    pub(crate) detection: crate::config::DetectionConfig,
    #[cfg(feature = "detect")]
    pub(crate) watched: Vec<crate::watch_series::WatchedSeries>,
    pub(crate) rules: Vec<PathBuf>,
    pub(crate) playbook_paths: Vec<PathBuf>,
    pub(crate) playbook_texts: Vec<(String, String)>,
    pub(crate) library: Vec<crate::config::LibraryPick>,
    #[cfg(feature = "remediate")]
    pub(crate) picks: Vec<homeostasis_remediate::playbook::PlaybookPick>,
    #[cfg(feature = "remediate")]
    pub(crate) shelf: Option<crate::playbooks::Shelf>,
    #[cfg(feature = "remediate")]
    pub(crate) actions: homeostasis_remediate::action::ActionRegistry,
    #[cfg(feature = "remediate")]
    pub(crate) checks: homeostasis_remediate::playbook::CheckRegistry,
    /// What judges outcomes, beside verifiers of the host's own.
    #[cfg(feature = "verify")]
    pub(crate) watch: Option<homeostasis_verify::SequentialWatch>,
    #[cfg(feature = "signals")]
    pub(crate) probes: Vec<std::sync::Arc<dyn homeostasis_signals::Probe>>,
    #[cfg(feature = "signals")]
    pub(crate) redaction: Option<homeostasis_signals::RedactionConfig>,
    #[cfg(all(feature = "patch", feature = "remediate"))]
    pub(crate) patching: Option<crate::patching::Patching>,
    #[cfg(all(feature = "patch", feature = "remediate"))]
    pub(crate) patch_recovery: Option<crate::patching::Recovery>,
    pub(crate) violations: Violations,
}

impl Homeostasis {
    /// A builder with the furnished pipeline.
    ///
    /// | stage | what is in it |
    /// |---|---|
    /// | signals | errors as structure, templates of log messages, secrets taken out (with the feature `signals`) |
    /// | detect | the health of targets as all their checks say, memory that keeps growing, the configured conditions, the triggers of playbooks |
    /// | rca | down, trend, saturation, change, environment, topology, fusion and rule analyzers; evidence added up as log odds |
    /// | remediate | playbooks over the registered actions |
    /// | verify | the sequential watch |
    ///
    /// It observes until it is told to act: see [`Builder::mode`].
    #[cfg(all(
        feature = "detect",
        feature = "rca",
        feature = "remediate",
        feature = "verify"
    ))]
    #[cfg_attr(docsrs, doc(cfg(feature = "default")))]
    pub fn builder() -> Builder {
        let mut builder = Homeostasis::empty();
        builder.parts.is_furnished = true;
        let watch =
            homeostasis_verify::SequentialWatch::new(homeostasis_verify::WatchConfig::default());
        builder.parts.watch = builder.parts.violations.absorb(watch);
        #[cfg(feature = "signals")]
        {
            let normalizer = homeostasis_signals::ErrorNormalizer::default();
            builder = builder.enricher(std::sync::Arc::new(normalizer));
        }
        builder
            .analyzer(homeostasis_rca::DownAnalyzer)
            .analyzer(homeostasis_rca::TrendAnalyzer)
            .analyzer(homeostasis_rca::SaturationAnalyzer)
            .analyzer(homeostasis_rca::ChangeAnalyzer::default())
            .analyzer(homeostasis_rca::EnvironmentAnalyzer)
            .analyzer(homeostasis_rca::TopologyWalk)
            .analyzer(homeostasis_rca::FusionAnalyzer::default())
            .fuser(homeostasis_rca::LogOddsFuser::default())
    }
}

impl Builder {
    /// Everything a configuration says. Call it before setters that shall win over it.
    pub fn config(mut self, config: Config) -> Self {
        self.settings = config.engine;
        self.policy = config.policy;
        self.escalation = config.escalation;
        self.mode = config.mode;
        self.flags = config.flags;
        self.node = config.node;
        self.environment = config.environment;
        self.access = config.access;
        self.kill_switch_files.extend(config.kill_switch_file);
        for (name, facts) in config.topology.services() {
            self.topology.insert(name, facts.clone());
        }
        self.parts.store = config.store;
        self.parts.archive = config.archive;
        self.keeping.retention = config.retention;
        self.parts.conditions.extend(config.conditions);
        #[cfg(feature = "detect")]
        {
            self.parts.detection = config.detection;
        }
        self.parts.rules.extend(config.rules);
        #[cfg(feature = "signals")]
        {
            self.parts.redaction = Some(config.redaction);
        }
        self.parts.playbook_paths.extend(config.playbooks);
        self.parts.library.extend(config.library);
        self
    }

    /// One playbook, as YAML or JSON; `name` is shown in messages.
    pub fn playbook(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.parts.playbook_texts.push((name.into(), text.into()));
        self
    }

    /// A file of one playbook, or a folder of them, read at the start and by each
    /// [reload](Homeostasis::reload_playbooks).
    pub fn playbook_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.parts.playbook_paths.push(path.into());
        self
    }

    /// Playbooks picked from a library, with what the host sets of them, such as from the
    /// [shipped one](homeostasis_remediate::playbook::PlaybookLibrary::shipped). The check
    /// `not_recovered`, which those ask for, comes with them.
    #[cfg(feature = "remediate")]
    #[cfg_attr(docsrs, doc(cfg(feature = "remediate")))]
    pub fn picked(mut self, pick: homeostasis_remediate::playbook::PlaybookPick) -> Self {
        self.parts.picks.push(pick);
        self
    }

    /// One action that playbooks can name.
    #[cfg(feature = "remediate")]
    #[cfg_attr(docsrs, doc(cfg(feature = "remediate")))]
    pub fn action(mut self, action: impl homeostasis_remediate::action::Action + 'static) -> Self {
        let registered = self.parts.actions.register(action);
        self.parts.violations.absorb(registered);
        self
    }

    /// One check that playbooks can ask for before they begin.
    #[cfg(feature = "remediate")]
    #[cfg_attr(docsrs, doc(cfg(feature = "remediate")))]
    pub fn pre_check(
        mut self,
        check: impl homeostasis_remediate::playbook::PreCheck + 'static,
    ) -> Self {
        let registered = self.parts.checks.register(check);
        self.parts.violations.absorb(registered);
        self
    }

    /// What is done with patches; nothing unless it is said. Of two that are given the later counts.
    #[cfg(all(feature = "patch", feature = "remediate"))]
    #[cfg_attr(docsrs, doc(cfg(all(feature = "patch", feature = "remediate"))))]
    pub fn patching(mut self, patching: crate::patching::Patching) -> Self {
        self.parts.patching = Some(patching);
        self
    }

    /// The sequential watch with settings of the host's own, or with what functional criteria may
    /// use, instead of the furnished one.
    ///
    /// Playbooks whose scenarios it cannot do are refused when they are read.
    #[cfg(feature = "verify")]
    #[cfg_attr(docsrs, doc(cfg(feature = "verify")))]
    pub fn sequential_watch(mut self, watch: homeostasis_verify::SequentialWatch) -> Self {
        self.parts.watch = Some(watch);
        self
    }

    /// One probe, asked at its interval for as long as the healer runs.
    #[cfg(feature = "signals")]
    #[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
    pub fn probe(mut self, probe: impl homeostasis_signals::Probe + 'static) -> Self {
        self.parts.probes.push(std::sync::Arc::new(probe));
        self
    }

    /// Turns what was collected into plug-ins.
    pub(crate) fn assemble(mut self) -> (Self, Violations) {
        let mut violations = std::mem::take(&mut self.parts.violations);
        self = self.assemble_redactor(&mut violations);
        self = self.assemble_templates();
        self = self.assemble_store(&mut violations);
        self = self.assemble_archive(&mut violations);
        self = self.assemble_rules(&mut violations);
        #[cfg(feature = "verify")]
        if let Some(watch) = self.parts.watch.clone() {
            self.verifiers.insert(0, std::sync::Arc::new(watch));
        }
        // Looked for before the playbooks take the actions, and asked behind them.
        #[cfg(all(feature = "patch", feature = "remediate"))]
        let patches = self.assemble_patching(&mut violations);
        self = self.assemble_playbooks(&mut violations);
        #[cfg(all(feature = "patch", feature = "remediate"))]
        if let Some(patches) = patches {
            self.parts.patch_recovery = Some(patches.recovery());
            self = self.remediator(patches);
        }
        self = self.assemble_conditions(&mut violations);
        #[cfg(feature = "detect")]
        {
            self = self.assemble_watched(&mut violations);
            let detection = std::mem::take(&mut self.parts.detection);
            let reraise = reraise(&self.settings);
            self = self.detectors(detection.detectors(reraise, &mut violations));
        }
        (self, violations)
    }

    #[cfg(feature = "signals")]
    fn assemble_redactor(mut self, violations: &mut Violations) -> Self {
        let config = self.parts.redaction.take();
        let Some(config) = config.filter(|_| self.redactor.is_none()) else {
            return self;
        };
        match violations.absorb(homeostasis_signals::SecretRedactor::new(config)) {
            Some(redactor) => self.redactor(std::sync::Arc::new(redactor)),
            None => self,
        }
    }

    #[cfg(not(feature = "signals"))]
    fn assemble_redactor(self, _: &mut Violations) -> Self {
        self
    }

    /// The last of the enrichers, so that one of the host's own comes first and wins.
    #[cfg(feature = "signals")]
    fn assemble_templates(self) -> Self {
        if self.parts.is_furnished {
            let miner = homeostasis_signals::TemplateEnricher::default();
            self.enricher(std::sync::Arc::new(miner))
        } else {
            self
        }
    }

    #[cfg(not(feature = "signals"))]
    fn assemble_templates(self) -> Self {
        self
    }

    #[cfg(feature = "store")]
    fn assemble_store(mut self, violations: &mut Violations) -> Self {
        let Some(path) = self.parts.store.take().filter(|_| self.store.is_none()) else {
            return self;
        };
        match homeostasis_store::RedbStore::open(&path) {
            Ok(store) => self.store(std::sync::Arc::new(store)),
            Err(error) => {
                let expected = format!(
                    "a journal that can be opened ({})",
                    crate::engine::describe(&error)
                );
                violations.push(Violation::new(
                    "store",
                    path.display().to_string(),
                    expected,
                ));
                self
            }
        }
    }

    #[cfg(not(feature = "store"))]
    fn assemble_store(self, violations: &mut Violations) -> Self {
        if let Some(path) = &self.parts.store {
            violations.push(missing("store", &path.display().to_string(), "store"));
        }
        self
    }

    #[cfg(feature = "archive")]
    fn assemble_archive(mut self, violations: &mut Violations) -> Self {
        let Some(folder) = self
            .parts
            .archive
            .take()
            .filter(|_| self.keeping.archive.is_none())
        else {
            return self;
        };
        match homeostasis_store::FileArchive::open(&folder) {
            Ok(archive) => self.archive(archive),
            Err(error) => {
                let error = crate::engine::describe(&error);
                let expected = format!("a folder for the archive ({error})");
                let folder = folder.display().to_string();
                violations.push(Violation::new("store.archive", folder, expected));
                self
            }
        }
    }

    #[cfg(not(feature = "archive"))]
    fn assemble_archive(self, violations: &mut Violations) -> Self {
        if let Some(folder) = &self.parts.archive {
            let folder = folder.display().to_string();
            violations.push(missing("store.archive", &folder, "archive"));
        }
        self
    }

    #[cfg(feature = "rca")]
    fn assemble_rules(self, violations: &mut Violations) -> Self {
        if !self.parts.is_furnished && self.parts.rules.is_empty() {
            return self;
        }
        let texts = read_all(&self.parts.rules, "rules", violations);
        let documents = texts
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()));
        match violations.absorb(homeostasis_rca::RuleSet::shipped_with(documents)) {
            Some(rules) => self.analyzer(homeostasis_rca::RuleAnalyzer::new(rules)),
            None => self,
        }
    }

    #[cfg(not(feature = "rca"))]
    fn assemble_rules(self, violations: &mut Violations) -> Self {
        for path in &self.parts.rules {
            violations.push(missing("rules", &path.display().to_string(), "rca"));
        }
        self
    }

    #[cfg(all(feature = "patch", feature = "remediate"))]
    fn assemble_patching(
        &mut self,
        violations: &mut Violations,
    ) -> Option<crate::patching::PatchRemediator> {
        let patching = self.parts.patching.take()?;
        let redactor = self.redactor.clone();
        let redactor = redactor.unwrap_or_else(crate::builder::shipped_redactor);
        let actions = &self.parts.actions;
        crate::patching::PatchRemediator::new(patching, actions, redactor, violations)
    }

    #[cfg(feature = "remediate")]
    fn assemble_playbooks(mut self, violations: &mut Violations) -> Self {
        use homeostasis_remediate::PlaybookRemediator;
        use homeostasis_remediate::playbook::PlaybookSet;
        use homeostasis_remediate::rollout::RolloutRemediator;

        use crate::playbooks::{Files, Shelf, Triggers, rules_of};

        let mut given = std::mem::take(&mut self.parts.playbook_texts);
        given.extend(self.library_texts(violations));
        let paths = std::mem::take(&mut self.parts.playbook_paths);
        let mut texts = given.clone();
        let files = Files::read(&paths);
        let read = files.digest();
        texts.extend(files.texts);
        violations.merge(files.unreadable.iter().cloned());
        let pairs = texts
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()));
        let set = PlaybookSet::parse(pairs, &self.parts.actions, &self.parts.checks);
        let Some(set) = violations.absorb(set) else {
            return self;
        };
        #[cfg(feature = "verify")]
        let scenarios = self.scenario_check();
        #[cfg(not(feature = "verify"))]
        let scenarios = crate::playbooks::ScenarioCheck::default();
        violations.merge(scenarios.violations(&set));
        violations.merge(crate::playbooks::unreachable_baselines(
            &set,
            self.settings.window,
        ));
        #[cfg(feature = "detect")]
        if self.remediators.is_empty() {
            // A remediator of the host's own may know others.
            let known: Vec<&str> = set.iter().map(|playbook| playbook.id()).collect();
            for (path, asked) in self.parts.detection.playbooks() {
                if !known.contains(&asked) {
                    let expected = format!("a playbook that is loaded ({})", known.join(", "));
                    violations.push(Violation::new(path, asked, expected));
                }
            }
        }
        let actions = std::sync::Arc::new(std::mem::take(&mut self.parts.actions));
        if actions.get("shift_traffic").is_some() {
            let rollouts = RolloutRemediator::new(std::sync::Arc::clone(&actions));
            self.rollout_actions = Some(std::sync::Arc::clone(&actions));
            self = self.remediator(rollouts);
        }
        if set.is_empty() && paths.is_empty() {
            return self;
        }
        let triggers = Triggers::default();
        triggers.replace(rules_of(&set));
        let checks = std::mem::take(&mut self.parts.checks);
        let remediator = PlaybookRemediator::new(set, actions, checks)
            .with_knowledge(std::sync::Arc::clone(&self.knowledge));
        #[cfg(feature = "detect")]
        {
            let reraise = reraise(&self.settings);
            for rule in rules_of(&remediator.playbooks()) {
                violations.absorb(watch(&rule, reraise));
            }
            let detector = crate::triggers::TriggerDetector::new(triggers.clone(), reraise);
            self = self.detector(detector);
        }
        self.parts.shelf = Some(Shelf {
            remediator: remediator.clone(),
            paths,
            texts: given,
            triggers,
            scenarios,
            turn: std::sync::Mutex::new(read),
        });
        self.remediator(remediator)
    }

    /// Who says which scenarios can be done: the watch, if there is one.
    #[cfg(all(feature = "remediate", feature = "verify"))]
    fn scenario_check(&self) -> crate::playbooks::ScenarioCheck {
        let watch = self.parts.watch.as_ref();
        watch.map_or_else(crate::playbooks::ScenarioCheck::default, |watch| {
            let scenarios = watch.scenarios().clone();
            crate::playbooks::ScenarioCheck::new(move |it| scenarios.problem(it))
        })
    }

    /// What was picked of libraries; the check they ask for is registered if something was.
    #[cfg(feature = "remediate")]
    fn library_texts(&mut self, violations: &mut Violations) -> Vec<(String, String)> {
        use homeostasis_remediate::playbook::{NotRecovered, PlaybookLibrary};

        let mut picks = std::mem::take(&mut self.parts.picks);
        for (idx, wanted) in std::mem::take(&mut self.parts.library)
            .into_iter()
            .enumerate()
        {
            let pick = PlaybookLibrary::shipped().and_then(|library| match &wanted.playbook {
                Some(name) => library.pick(name),
                None => library.pick_category(wanted.category.as_deref().unwrap_or_default()),
            });
            let pick = pick.map_err(|error| error.under(&format!("library[{idx}]")));
            let Some(mut pick) = violations.absorb(pick) else {
                continue;
            };
            for (name, value) in wanted.set {
                pick = pick.with(name, value);
            }
            picks.push(match wanted.called {
                Some(id) => pick.called(id),
                None => pick,
            });
        }
        if !picks.is_empty() && self.parts.checks.get("not_recovered").is_none() {
            violations.absorb(self.parts.checks.register(NotRecovered));
        }
        let texts = picks
            .iter()
            .filter_map(|pick| violations.absorb(pick.texts()));
        texts.flatten().collect()
    }

    #[cfg(not(feature = "remediate"))]
    fn assemble_playbooks(self, violations: &mut Violations) -> Self {
        let paths = self
            .parts
            .playbook_paths
            .iter()
            .map(|path| path.display().to_string());
        let texts = self
            .parts
            .playbook_texts
            .iter()
            .map(|(name, _)| name.clone());
        for name in paths.chain(texts) {
            violations.push(missing("playbooks", &name, "remediate"));
        }
        for pick in &self.parts.library {
            let name = pick.playbook.as_ref().or(pick.category.as_ref());
            let name = name.map_or("", String::as_str);
            violations.push(missing("library", name, "remediate"));
        }
        self
    }

    #[cfg(feature = "detect")]
    fn assemble_conditions(mut self, violations: &mut Violations) -> Self {
        use homeostasis_core::record::Severity;
        use homeostasis_detect::{HealthStateDetector, HealthStateDetectorConfig};

        let reraise = Some(reraise(&self.settings));
        if self.parts.is_furnished {
            let config = HealthStateDetectorConfig {
                reraise,
                severity_hint: Some(Severity::Sev2),
                ..HealthStateDetectorConfig::default()
            };
            if let Some(health) = violations.absorb(HealthStateDetector::new("health", config)) {
                self = self.detector(health);
            }
            if let Some(growth) = violations.absorb(memory_growth(reraise)) {
                self = self.detector(growth);
            }
        }

        for rule in std::mem::take(&mut self.parts.conditions) {
            let watched = watch(&rule, self::reraise(&self.settings));
            if let Some(detector) = violations.absorb(watched) {
                self = self.detector(detector);
            }
        }
        self
    }

    #[cfg(not(feature = "detect"))]
    fn assemble_conditions(self, violations: &mut Violations) -> Self {
        for rule in &self.parts.conditions {
            violations.push(missing("conditions", &rule.name, "detect"));
        }
        self
    }
}

/// What lasts must be raised again before its absence is taken for recovery.
#[cfg(feature = "detect")]
pub(crate) fn reraise(settings: &crate::engine::EngineSettings) -> std::time::Duration {
    (settings.quiet / 3).min(LONGEST_RERAISE)
}

/// What watches one condition.
///
/// # Errors
/// If it cannot be watched, with what is wrong under `conditions.NAME`.
#[cfg(feature = "detect")]
pub(crate) fn watch(
    rule: &ConditionRule,
    reraise: std::time::Duration,
) -> Result<homeostasis_detect::SustainedCondition, homeostasis_core::ConfigError> {
    use homeostasis_detect::{SustainedCondition, SustainedConditionConfig};

    let config = SustainedConditionConfig {
        severity_hint: rule.severity,
        playbook_hint: rule.name.strip_prefix("playbook.").map(str::to_owned),
        reraise: Some(reraise),
        ..SustainedConditionConfig::new(rule.condition.clone(), rule.duration)
    };
    SustainedCondition::new(rule.name.clone(), config)
        .map_err(|error| error.under(&format!("conditions.{}", rule.name)))
}

/// Watches the memory of every process for growth that does not stop.
#[cfg(feature = "detect")]
fn memory_growth(
    reraise: Option<std::time::Duration>,
) -> Result<homeostasis_detect::PerSeries<homeostasis_detect::Trend>, homeostasis_core::ConfigError>
{
    use homeostasis_detect::{Alerting, AlertingConfig, PerSeries, Selector, Trend, TrendConfig};

    let template = Trend::new(TrendConfig::default())?;
    let selector = Selector::metric("process_resident_memory_bytes");
    let alerting = Alerting::new(AlertingConfig {
        reraise,
        ..AlertingConfig::default()
    })?;
    let growth = PerSeries::new("memory_growth", selector, move |_| template.clone())?;
    Ok(growth.with_alerting(alerting))
}

#[cfg(not(all(
    feature = "archive",
    feature = "store",
    feature = "rca",
    feature = "remediate",
    feature = "detect"
)))]
fn missing(path: &str, value: &str, feature: &str) -> Violation {
    Violation::new(
        path,
        value,
        format!("nothing, or the feature {feature:?} turned on"),
    )
}

#[cfg(any(feature = "rca", feature = "remediate"))]
pub(crate) fn read_all(
    paths: &[PathBuf],
    what: &str,
    violations: &mut Violations,
) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for path in paths {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => texts.push((name, text)),
            Err(error) => {
                violations.push(Violation::new(
                    what,
                    name,
                    format!("a file that can be read ({error})"),
                ));
            }
        }
    }
    texts
}
