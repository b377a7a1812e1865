//! Faults of a service and its parts, broken for real and healed.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use homeostasis::SystemClock;
use homeostasis_core::{BoxFuture, Cancellation, Clock, timeout};
use homeostasis_remediate::action::{
    Action, ActionRegistry, ClearCache, DeploymentSlots, LoadShedder, Priority, ProcessId,
    ProcessSpec, ProcessSupervisor, ReloadConfig, ResetBreaker, ResizePool, RestartIntensity,
    RestartProcess, RestartTask, RollbackDeployment, SetFlag, SetResourceLimit, ShedLoad,
    TaskSupervisor,
};
use homeostasis_remediate::resilience::{CircuitBreaker, CircuitBreakerConfig, CircuitPass};

use crate::clinic::{attempt_in, context, heal, heal_in, seeing};
use crate::host::{example, shop};

fn registry(action: impl Action + 'static) -> ActionRegistry {
    let mut actions = ActionRegistry::default();
    actions.register(action).unwrap();
    actions
}

/// Waits for real until something holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            SystemClock.sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = timeout(&SystemClock, Duration::from_secs(60), waiting).await;
    assert!(waited.is_ok(), "not in time: {what}");
}

#[tokio::test]
async fn a_cache_that_nobody_can_read_is_emptied_and_read_from_the_source() {
    // After a deployment the entries are of the old form; the reader fails on every hit.
    let cache = Arc::new(Mutex::new(std::collections::BTreeMap::from([(
        "tea",
        "price=3".to_owned(),
    )])));
    let read = || -> Result<u32, std::num::ParseIntError> {
        let mut cache = cache.lock().unwrap();
        cache.entry("tea").or_insert_with(|| "3".to_owned()).parse()
    };
    assert!(read().is_err());
    let inner = Arc::clone(&cache);
    let clear = ClearCache::default().cache("prices", shop(), move || {
        let n = std::mem::take(&mut *inner.lock().unwrap()).len();
        Box::pin(async move { Ok(n as u64) })
    });
    heal(
        &example("clear_application_cache"),
        registry(clear.unwrap()),
    )
    .await;
    assert_eq!(read(), Ok(3));
}

#[tokio::test]
async fn a_tripped_breaker_lets_calls_pass_again() {
    let config = CircuitBreakerConfig::default();
    let breaker = CircuitBreaker::new("payments", config, Arc::new(SystemClock)).unwrap();
    let breaker = Arc::new(breaker);
    let tripped = || (0..1000).any(|_| breaker.admit().map(CircuitPass::failed).is_err());
    assert!(tripped(), "it opens when every call fails");
    let reset = ResetBreaker::default()
        .breaker(shop(), Arc::clone(&breaker))
        .unwrap();
    heal(&example("circuit_breaker_reset"), registry(reset)).await;
    assert!(breaker.admit().is_ok());
}

#[tokio::test]
async fn a_task_that_hangs_is_started_anew_and_works() {
    let beats = Arc::new(AtomicU64::new(0));
    let starts = Arc::new(AtomicU64::new(0));
    let tasks = TaskSupervisor::new(Arc::new(SystemClock), tokio::runtime::Handle::current());
    let (beat, start) = (Arc::clone(&beats), Arc::clone(&starts));
    let task = move |stop: Cancellation| -> BoxFuture<'static, _> {
        let (beat, is_first) = (Arc::clone(&beat), start.fetch_add(1, Ordering::SeqCst) == 0);
        Box::pin(async move {
            if is_first {
                // It waits for something that never comes, and for no end either.
                std::future::pending::<()>().await;
            }
            while !stop.is_cancelled() {
                beat.fetch_add(1, Ordering::SeqCst);
                SystemClock.sleep(Duration::from_millis(5)).await;
            }
            Ok(())
        })
    };
    tasks
        .supervise("mailer", shop(), RestartIntensity::default(), task)
        .unwrap();
    until("it started", || starts.load(Ordering::SeqCst) == 1).await;
    heal(
        &example("restart_supervised_task"),
        registry(RestartTask::new(tasks.clone())),
    )
    .await;
    until("it works", || beats.load(Ordering::SeqCst) > 3).await;
    tasks.stop_all();
}

#[tokio::test]
async fn load_is_shed_while_a_service_is_slow_and_no_longer_when_taken_back() {
    let shedder = Arc::new(LoadShedder::new(Arc::new(SystemClock)));
    let refused = |shedder: &LoadShedder, class| {
        (0..1000)
            .filter(|_| shedder.try_admit(class).is_none())
            .count()
    };
    assert_eq!(refused(&shedder, Priority::Normal), 0);
    let shed = ShedLoad::default()
        .shedder("front", shop(), 50, Arc::clone(&shedder))
        .unwrap();
    let healed = heal(&example("shed_load").with("percent", 30), registry(shed)).await;
    let n = refused(&shedder, Priority::Normal);
    assert!((280..=320).contains(&n), "{n} of 1000");
    assert_eq!(refused(&shedder, Priority::Critical), 0);
    healed.take_back().await;
    assert_eq!(refused(&shedder, Priority::Normal), 0);
}

#[tokio::test]
async fn a_broken_configuration_gives_way_to_the_last_good_one_and_back() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("last-good"), "limit=10").unwrap();
    fs::write(dir.path().join("8"), "limit=ten").unwrap();
    let in_force = Arc::new(Mutex::new("8".to_owned()));
    let limit = {
        let (dir, in_force) = (dir.path().to_owned(), Arc::clone(&in_force));
        move || {
            let text = fs::read_to_string(dir.join(&*in_force.lock().unwrap())).unwrap();
            text.trim_start_matches("limit=").parse::<u32>()
        }
    };
    assert!(limit().is_err());
    let (read, write, folder) = (
        Arc::clone(&in_force),
        Arc::clone(&in_force),
        dir.path().to_owned(),
    );
    let config = ReloadConfig::default().config(
        "limits",
        shop(),
        move || read.lock().unwrap().clone(),
        move |wanted| {
            let wanted = wanted.unwrap_or_else(|| "8".to_owned());
            let is_there = folder.join(&wanted).is_file();
            let write = Arc::clone(&write);
            Box::pin(async move {
                if !is_there {
                    return Err(format!("there is no version {wanted}").into());
                }
                *write.lock().unwrap() = wanted;
                Ok(())
            })
        },
    );
    let healed = heal(
        &example("roll_back_configuration"),
        registry(config.unwrap()),
    )
    .await;
    assert_eq!(limit(), Ok(10));
    healed.take_back().await;
    assert_eq!(*in_force.lock().unwrap(), "8");
}

#[tokio::test]
async fn a_feature_that_fails_is_turned_off_and_on_again_when_taken_back() {
    let feature = Arc::new(AtomicBool::new(true));
    let checkout = |feature: &AtomicBool| -> Result<(), &str> {
        if feature.load(Ordering::SeqCst) {
            Err("division by zero")
        } else {
            Ok(())
        }
    };
    assert!(checkout(&feature).is_err());
    let (get, set) = (Arc::clone(&feature), Arc::clone(&feature));
    let flag = SetFlag::default().flag(
        "new_checkout",
        shop(),
        move || get.load(Ordering::SeqCst),
        move |on| set.store(on, Ordering::SeqCst),
    );
    let healed = heal(&example("turn_off_feature"), registry(flag.unwrap())).await;
    assert_eq!(checkout(&feature), Ok(()));
    healed.take_back().await;
    assert!(feature.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_pool_that_is_used_up_serves_who_waits() {
    let pool = Arc::new(tokio::sync::Semaphore::new(2));
    let _leaked = Arc::clone(&pool).acquire_many_owned(2).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "the test's own caller waits")]
    let waits = tokio::spawn(Arc::clone(&pool).acquire_owned());
    let size = Arc::new(AtomicU64::new(2));
    let (get, set, grown) = (Arc::clone(&size), Arc::clone(&size), Arc::clone(&pool));
    let resize = ResizePool::default().pool(
        "database",
        shop(),
        1..=64,
        move || get.load(Ordering::SeqCst),
        move |to| {
            let from = set.swap(to, Ordering::SeqCst);
            match usize::try_from(to.saturating_sub(from)) {
                Ok(0) | Err(_) => grown.forget_permits(usize::try_from(from - to)?),
                Ok(more) => {
                    grown.add_permits(more);
                    more
                }
            };
            Ok(())
        },
    );
    assert!(!waits.is_finished());
    let healed = heal(&example("grow_connection_pool"), registry(resize.unwrap())).await;
    assert!(waits.await.unwrap().is_ok(), "who waited is served");
    healed.take_back().await;
    assert_eq!(size.load(Ordering::SeqCst), 2);
}

/// A supervised shell in a folder of its own.
struct Shell {
    supervisor: ProcessSupervisor,
    _dir: tempfile::TempDir,
}

impl Shell {
    async fn start(script: &str, dir: tempfile::TempDir) -> Self {
        let supervisor = ProcessSupervisor::new(Arc::new(SystemClock));
        let argv = ["/bin/sh", "-c", script];
        let mut spec = ProcessSpec::new(shop(), argv, dir.path().join("shop.pid"));
        spec.cwd = Some(dir.path().to_owned());
        spec.grace = Duration::from_secs(1);
        supervisor.register("shop", spec).unwrap();
        supervisor.start("shop").await.unwrap();
        Self {
            supervisor,
            _dir: dir,
        }
    }

    fn running(&self) -> Option<ProcessId> {
        self.supervisor.running("shop").unwrap()
    }

    fn restart(&self) -> RestartProcess {
        RestartProcess::new(self.supervisor.clone())
    }
}

fn signal(process: ProcessId, signal: &str) {
    #[expect(clippy::disallowed_methods, reason = "the test breaks a process")]
    let killed = std::process::Command::new("kill")
        .args([signal, &process.pid.to_string()])
        .status();
    assert!(killed.unwrap().success());
}

#[tokio::test]
async fn a_killed_process_runs_again() {
    let shell = Shell::start("while :; do sleep 1; done", tempfile::tempdir().unwrap()).await;
    let first = shell.running().unwrap();
    signal(first, "-KILL");
    until("it is dead", || shell.running().is_none()).await;
    heal(&example("restart_service"), registry(shell.restart())).await;
    assert!(shell.running().is_some_and(|now| now != first));
    shell.supervisor.stop("shop").await.unwrap();
}

#[tokio::test]
async fn a_process_that_leaks_and_hangs_begins_small_again() {
    // Its first life grows to some 20 MB and does not hear the request to end.
    let leak = "trap '' TERM; if [ ! -e grown ]; then x=$(head -c 20000000 /dev/zero | tr '\\0' x); \
        echo grown > grown; fi; while :; do sleep 1; done";
    let dir = tempfile::tempdir().unwrap();
    let grown = dir.path().join("grown");
    let shell = Shell::start(leak, dir).await;
    let memory = |process: ProcessId| -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    until("it leaked", || grown.exists()).await;
    let first = shell.running().unwrap();
    let leaked = memory(first);
    assert!(leaked > 20_000, "{leaked} kB");
    signal(first, "-STOP");
    let pick = example("restart_leaking_service").with("healthy_below", "10MB");
    let measured = [("process_resident_memory_bytes", leaked as f64 * 1024.0)];
    heal_in(
        seeing(context(), &measured),
        &pick,
        registry(shell.restart()),
    )
    .await;
    let second = shell.running().unwrap();
    assert_ne!(second, first);
    assert!(memory(second) < 10_000, "{} kB", memory(second));
    assert!(
        !std::path::Path::new(&format!("/proc/{}", first.pid)).exists(),
        "the old one is gone"
    );
    shell.supervisor.stop("shop").await.unwrap();
}

#[tokio::test]
async fn a_process_out_of_descriptors_gets_room_until_taken_back() {
    let shell = Shell::start(
        "ulimit -S -n 64; while :; do sleep 1; done",
        tempfile::tempdir().unwrap(),
    )
    .await;
    let process = shell.running().unwrap();
    let limit = || -> String {
        let limits = fs::read_to_string(format!("/proc/{}/limits", process.pid)).unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"))
            .unwrap();
        line.split_whitespace().nth(3).unwrap().to_owned()
    };
    until("it bounded itself", || limit() == "64").await;
    let action = SetResourceLimit::new(shell.supervisor.clone());
    let healed = heal(
        &example("raise_descriptor_limit").with("limit", 256),
        registry(action),
    )
    .await;
    assert_eq!(limit(), "256");
    healed.take_back().await;
    assert_eq!(limit(), "64");
    shell.supervisor.stop("shop").await.unwrap();
}

#[tokio::test]
async fn a_bad_deployment_gives_way_to_the_one_before_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_owned();
    for (version, script) in [
        ("1.0.0", "echo well > state; exec sleep 600"),
        ("2.0.0", "echo ill > state; exec sleep 600"),
    ] {
        let slot = root.join("slots").join(version);
        fs::create_dir_all(&slot).unwrap();
        fs::write(slot.join("run"), script).unwrap();
    }
    fs::write(root.join("current"), "2.0.0\n").unwrap();
    let state = root.join("state");
    let says = |word: &str| fs::read_to_string(&state).is_ok_and(|text| text.trim() == word);
    let shell = Shell::start("exec /bin/sh slots/$(cat current)/run", dir).await;
    until("it is ill", || says("ill")).await;
    let slots = DeploymentSlots::new(shop(), &root);
    let mut actions = registry(
        RollbackDeployment::default()
            .deployment("shop", slots)
            .unwrap(),
    );
    actions.register(shell.restart()).unwrap();
    let healed = heal(&example("rollback_deployment"), actions).await;
    until("it is well", || says("well")).await;
    healed.take_back().await;
    assert_eq!(
        fs::read_to_string(root.join("current")).unwrap().trim(),
        "2.0.0"
    );
    shell.supervisor.stop("shop").await.unwrap();
}

#[tokio::test]
async fn a_playbook_that_cannot_help_says_so_and_is_no_success() {
    let config = ReloadConfig::default().config(
        "limits",
        shop(),
        || "8".to_owned(),
        |_| Box::pin(async { Err("the file is gone".into()) }),
    );
    let pick = example("roll_back_configuration");
    let (_, outcome) = attempt_in(context(), &pick, registry(config.unwrap())).await;
    assert!(
        format!("{outcome:?}").contains("the file is gone"),
        "{outcome:?}"
    );
}
