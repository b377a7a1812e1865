//! A playbook goes the way it should go in real life: read, linted, dry-run, and then run by the engine on a real fault.
//!
//! Run it: `cargo run --example playbook`. It needs no network and takes a few seconds.
//!
//! The fault: version 2.0.0 of a mailer, a supervised task of this process, hangs. The cure stands
//! in `playbook.yaml`: point the deployment slot (files in a temporary folder) back at 1.0.0 and
//! restart the task. The program ends with 0 only if the healer did that by itself, its verdict was
//! success, and mails go out again.
#![expect(
    clippy::print_stdout,
    reason = "an example talks to the person who runs it"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use homeostasis::core::condition::Truth;
use homeostasis::core::record::{EventKind, Resolution, VerdictKind};
use homeostasis::core::signal::SeriesKey;
use homeostasis::core::{
    BoxError, Cancellation, Clock, Context, Target, Timestamp, async_trait, timeout,
};
use homeostasis::remediate::action::{
    Action, ActionRegistry, DeploymentSlots, RestartIntensity, RestartTask, RollbackDeployment,
    TaskSupervisor,
};
use homeostasis::remediate::playbook::{CheckRegistry, PlaybookSet, PreCheck};
use homeostasis::{Config, Homeostasis, SystemClock};

const PLAYBOOK: &str = include_str!("playbook.yaml");

/// What somebody wrote in a hurry: every field is right, and yet it says too little.
const HASTY: &str = "
playbook_id: hasty
name: Restart it
version: '0.1.0'
trigger: {condition: mail_age_seconds > 500ms}
remediation_steps:
  - {action: restart_task, task: mailer}
";

/// How the healer is set up. The times suit a demonstration that lasts seconds.
const CONFIG: &str = "
mode: auto
engine: {tick: 50ms, settle: 300ms, quiet: 5s}
policy: {pre_approved: [mailer-stuck]}
services: {mailer: {}}
";

/// The mailer: a task that sends a mail every 20 ms, if the deployed version is any good.
#[derive(Debug)]
struct Mailer {
    /// The folder with `current` and `slots/`.
    root: PathBuf,
    /// When the last mail went out, in milliseconds since the epoch.
    sent_at: AtomicI64,
}

impl Mailer {
    /// Deploys two versions, the broken one last.
    fn deploy(root: &Path) -> Result<Arc<Self>, BoxError> {
        for version in ["1.0.0", "2.0.0"] {
            fs::create_dir_all(root.join("slots").join(version))?;
        }
        fs::write(root.join("current"), "1.0.0\n")?;
        Ok(Arc::new(Self {
            root: root.to_owned(),
            sent_at: AtomicI64::new(SystemClock.now().as_millis()),
        }))
    }

    fn version(&self) -> std::io::Result<String> {
        let current = fs::read_to_string(self.root.join("current"))?;
        Ok(current.trim().to_owned())
    }

    async fn run(self: Arc<Self>, stop: Cancellation) -> Result<(), BoxError> {
        let version = self.version()?;
        println!("mailer    starts as version {version}");
        while version == "1.0.0" && !stop.is_cancelled() {
            SystemClock.sleep(Duration::from_millis(20)).await;
            self.sent_at
                .store(SystemClock.now().as_millis(), Ordering::SeqCst);
        }
        // Version 2.0.0 waits for something that never comes.
        stop.cancelled().await;
        Ok(())
    }

    fn mail_age(&self) -> Duration {
        let sent_at = Timestamp::from_millis(self.sent_at.load(Ordering::SeqCst));
        SystemClock.now() - sent_at
    }
}

/// A pre-condition only the host can answer.
#[derive(Debug, Clone)]
struct NobodyDeploys {
    lock: PathBuf,
}

#[async_trait]
impl PreCheck for NobodyDeploys {
    fn name(&self) -> &str {
        "nobody_deploys"
    }

    async fn check(&self, _: &Context, _: &Target) -> Truth {
        match self.lock.try_exists() {
            Ok(true) => Truth::False,
            Ok(false) => Truth::True,
            Err(_) => Truth::Unknown,
        }
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let folder = tempfile::tempdir()?;
    let mailer = Mailer::deploy(folder.path())?;
    let target = Target::service("mailer")?;

    // What the healer may do at all, and nothing else.
    let tasks = TaskSupervisor::new(Arc::new(SystemClock), tokio::runtime::Handle::current());
    let task = Arc::clone(&mailer);
    tasks.supervise(
        "mailer",
        target.clone(),
        RestartIntensity::default(),
        move |stop| Box::pin(Arc::clone(&task).run(stop)),
    )?;
    let slots = DeploymentSlots::new(target.clone(), folder.path());
    let allowed: [Arc<dyn Action>; 2] = [
        Arc::new(RestartTask::new(tasks.clone())),
        Arc::new(RollbackDeployment::default().deployment("mailer", slots)?),
    ];
    let check = NobodyDeploys {
        lock: folder.path().join("deploy.lock"),
    };

    let is_reviewed = review(&allowed, &check, &target)?;
    let is_healed = is_reviewed && heal(&mailer, &allowed, check, &tasks).await?;
    tasks.stop_all();
    Ok(if is_healed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What can be known of a playbook before it ever runs.
fn review(
    allowed: &[Arc<dyn Action>],
    check: &NobodyDeploys,
    target: &Target,
) -> Result<bool, BoxError> {
    let (mut actions, mut checks) = (ActionRegistry::default(), CheckRegistry::default());
    for action in allowed {
        actions.register(Arc::clone(action))?;
    }
    checks.register(check.clone())?;
    let config = Config::parse(CONFIG)?;

    // A mistake is no finding but a refusal: all of them at once, each with its place.
    let wrong = HASTY
        .replace("task: mailer", "task: mailr")
        .replace("500ms", "500MB");
    let Err(refusal) = PlaybookSet::parse([("wrong.yaml", wrong.as_str())], &actions, &checks)
    else {
        println!("FAILED    a wrong playbook was accepted");
        return Ok(false);
    };
    for violation in refusal.violations() {
        println!("refused   {violation}");
    }

    let texts = [("hasty.yaml", HASTY), ("playbook.yaml", PLAYBOOK)];
    let playbooks = PlaybookSet::parse(texts, &actions, &checks)?;
    let mut n_findings = Vec::new();
    for playbook in playbooks.iter() {
        let findings = playbook.lint(&actions, config.policy.permit_ttl);
        println!(
            "lint      {}: {} findings",
            playbook.source(),
            findings.len()
        );
        for finding in &findings {
            println!("          {finding}");
        }
        n_findings.push((playbook.id(), findings.len()));
    }
    if !matches!(n_findings[..], [("hasty", 1..), ("mailer-stuck", 0)]) {
        println!("FAILED    expected findings in the hasty playbook only");
        return Ok(false);
    }

    let playbook = playbooks.get("mailer-stuck").ok_or("it was just read")?;
    let dry_run = playbook.dry_run(&actions, target, &config.topology)?;
    for line in dry_run.to_string().lines() {
        println!("dry run   {line}");
    }
    Ok(true)
}

/// Deploys the broken version and lets the engine heal it.
async fn heal(
    mailer: &Arc<Mailer>,
    allowed: &[Arc<dyn Action>],
    check: NobodyDeploys,
    tasks: &TaskSupervisor,
) -> Result<bool, BoxError> {
    let builder = Homeostasis::builder()
        .config(Config::parse(CONFIG)?)
        .pre_check(check)
        .playbook("playbook.yaml", PLAYBOOK);
    let builder = allowed.iter().fold(builder, |builder, action| {
        builder.action(Arc::clone(action))
    });
    let healer = builder.start().await?;
    let (clock, mut events) = (healer.clock(), healer.subscribe());

    let age = healer
        .recorder()
        .series(&SeriesKey::new("mail_age_seconds").with("service", "mailer"));
    let (measured, measuring_clock) = (Arc::clone(mailer), healer.clock());
    healer.spawn(async move {
        loop {
            age.record(measured.mail_age().as_secs_f64());
            measuring_clock.sleep(Duration::from_millis(50)).await;
        }
    });

    clock.sleep(Duration::from_secs(1)).await;
    if !healer.open_incidents().is_empty() {
        println!("FAILED    an incident although all is well");
        return Ok(false);
    }
    println!("fault     version 2.0.0 is deployed");
    fs::write(mailer.root.join("current"), "2.0.0\n")?;
    tasks.restart("mailer").await?;

    let mut verdict = None;
    let story = async {
        while let Some(event) = events.next().await {
            println!("event     {event}");
            match &event.kind {
                EventKind::Verified { verdict: given, .. } => verdict = Some(given.kind),
                EventKind::Closed { resolution } => return Some(resolution.clone()),
                EventKind::Escalated { .. } => return None,
                _ => {}
            }
        }
        None
    };
    let ended = timeout(&*clock, Duration::from_secs(30), story).await;
    healer.shutdown().await;

    let version = mailer.version()?;
    let sends = mailer.mail_age() < Duration::from_millis(500);
    println!(
        "outcome   version {version}, {}",
        if sends { "mails go out" } else { "no mails" }
    );
    let is_healed = matches!(ended, Ok(Some(Resolution::Healed { .. })))
        && verdict == Some(VerdictKind::Success)
        && version == "1.0.0"
        && sends;
    println!(
        "{}",
        if is_healed {
            "ok        healed and verified"
        } else {
            "FAILED    not healed and verified"
        }
    );
    Ok(is_healed)
}
