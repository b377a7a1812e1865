//! A host that lends every action, to read and dry-run playbooks with: nothing of it is ever called.

use std::path::Path;
use std::sync::Arc;

use homeostasis::SystemClock;
use homeostasis_core::condition::Truth;
use homeostasis_core::{ServiceFacts, Target, Topology};
use homeostasis_remediate::action::{
    ActionRegistry, CleanFiles, ClearCache, CompressFiles, DeploymentSlots, FileRoots,
    HaproxyConfig, HaproxyInstances, HaproxyServer, Kubectl, LoadShedder, LogWriter,
    NetworkInterfaces, NginxConfig, NginxReload, PgPromoteReplica, PgReindex, PgSessions, PgVacuum,
    PostgresServerConfig, PostgresServers, ProcessSpec, ProcessSupervisor, Program,
    RedisDeleteKeys, RedisKillClients, RedisMemoryPurge, RedisPromoteReplica, RedisServerConfig,
    RedisServers, RedisSetConfig, ReloadConfig, RelocateFiles, ResetBreaker, ResizePool,
    RestartIntensity, RestartProcess, RestartTask, RollbackDeployment, RotateLog, RunProgram,
    SetFlag, SetResourceLimit, ShedLoad, Systemctl, TaskSupervisor, Tool, flush_dns_cache,
};
use homeostasis_remediate::playbook::{
    CheckRegistry, NotRecovered, PlaybookLibrary, PlaybookPick, PlaybookSet,
};
use homeostasis_remediate::resilience::{CircuitBreaker, CircuitBreakerConfig};

pub(crate) fn shop() -> Target {
    Target::service("shop").unwrap()
}

/// What a host must answer; here the answer is always yes.
pub(crate) fn checks() -> CheckRegistry {
    let mut checks = CheckRegistry::default();
    checks.register(NotRecovered).unwrap();
    for name in [
        "no_active_backups",
        "nobody_deploys",
        "cluster_has_room",
        "dependency_is_healthy",
        "primary_is_fenced",
        "certificate_was_renewed",
    ] {
        checks.register_fn(name, |_, _| Truth::True).unwrap();
    }
    checks
}

pub(crate) fn topology() -> Arc<Topology> {
    let mut topology = Topology::default();
    topology.insert("shop", ServiceFacts::default());
    Arc::new(topology)
}

/// A pick of one playbook with every example it has.
pub(crate) fn example(name: &str) -> PlaybookPick {
    let library = PlaybookLibrary::shipped().unwrap();
    let pick = library.pick(name).unwrap();
    let parameters = pick.templates()[0].parameters().clone();
    let set = parameters
        .into_iter()
        .filter(|(_, parameter)| parameter.default.is_none());
    set.fold(pick, |pick, (name, parameter)| {
        pick.with(name, parameter.example)
    })
}

/// The whole library with its examples.
pub(crate) fn examples(actions: &ActionRegistry) -> PlaybookSet {
    let library = PlaybookLibrary::shipped().unwrap();
    let texts: Vec<_> = library
        .iter()
        .flat_map(|template| example(template.name()).texts().unwrap())
        .collect();
    let texts = texts
        .iter()
        .map(|(source, text)| (source.as_str(), text.as_str()));
    PlaybookSet::parse(texts, actions, &checks()).unwrap_or_else(|error| panic!("{error}"))
}

/// Every action, with the names the examples use; programs and folders are below `dir`.
pub(crate) fn actions(dir: &Path) -> ActionRegistry {
    let mut actions = ActionRegistry::default();
    in_process(&mut actions);
    processes(&mut actions, dir);
    files(&mut actions, dir);
    programs(&mut actions, dir);
    servers(&mut actions, dir);
    actions
}

fn in_process(actions: &mut ActionRegistry) {
    let clock = Arc::new(SystemClock);
    let cache = ClearCache::default().cache("prices", shop(), || Box::pin(async { Ok(0) }));
    actions.register(cache.unwrap()).unwrap();
    let breaker = CircuitBreaker::new(
        "payments",
        CircuitBreakerConfig::default(),
        Arc::clone(&clock) as _,
    );
    let reset = ResetBreaker::default().breaker(shop(), Arc::new(breaker.unwrap()));
    actions.register(reset.unwrap()).unwrap();
    let shedder = Arc::new(LoadShedder::new(Arc::clone(&clock) as _));
    let shed = ShedLoad::default().shedder("front", shop(), 50, shedder);
    actions.register(shed.unwrap()).unwrap();
    let flag = SetFlag::default().flag("new_checkout", shop(), || true, |_| ());
    actions.register(flag.unwrap()).unwrap();
    let pool = ResizePool::default().pool("database", shop(), 1..=64, || 8, |_| Ok(()));
    actions.register(pool.unwrap()).unwrap();
    let load = |_| -> homeostasis_core::BoxFuture<'static, _> { Box::pin(async { Ok(()) }) };
    let config = ReloadConfig::default().config("limits", shop(), || "7".to_owned(), load);
    actions.register(config.unwrap()).unwrap();
    let tasks = TaskSupervisor::new(clock, tokio::runtime::Handle::current());
    let idle = |stop: homeostasis_core::Cancellation| -> homeostasis_core::BoxFuture<'static, _> {
        Box::pin(async move {
            stop.cancelled().await;
            Ok(())
        })
    };
    tasks
        .supervise("mailer", shop(), RestartIntensity::default(), idle)
        .unwrap();
    tasks.stop_all();
    actions.register(RestartTask::new(tasks)).unwrap();
}

fn processes(actions: &mut ActionRegistry, dir: &Path) {
    let supervisor = ProcessSupervisor::new(Arc::new(SystemClock));
    let spec = ProcessSpec::new(shop(), ["/bin/true"], dir.join("shop.pid"));
    supervisor.register("shop", spec).unwrap();
    actions
        .register(RestartProcess::new(supervisor.clone()))
        .unwrap();
    actions.register(SetResourceLimit::new(supervisor)).unwrap();
    let slots = DeploymentSlots::new(shop(), dir);
    let rollback = RollbackDeployment::default().deployment("shop", slots);
    actions.register(rollback.unwrap()).unwrap();
}

fn files(actions: &mut ActionRegistry, dir: &Path) {
    let mut roots = FileRoots::default();
    for name in ["tmp", "logs", "exports", "archive"] {
        std::fs::create_dir_all(dir.join(name)).unwrap();
        roots = roots.root(name, dir.join(name)).unwrap();
    }
    let writer = LogWriter::new(dir.join("app.pid"), "/bin/true");
    let rotate = RotateLog::new(roots.clone()).writer("app", writer).unwrap();
    actions.register(rotate).unwrap();
    actions.register(CleanFiles::new(roots.clone())).unwrap();
    actions.register(CompressFiles::new(roots.clone())).unwrap();
    actions.register(RelocateFiles::archive(roots)).unwrap();
}

fn programs(actions: &mut ActionRegistry, dir: &Path) {
    let path = |name: &str| {
        let path = dir.join(name);
        std::fs::write(&path, "").unwrap();
        path
    };
    let tool = |name: &str| Tool::at(path(name)).unwrap();
    let systemctl = Systemctl::new(tool("systemctl"), ["shop.service", "nginx.service"]).unwrap();
    actions.register(systemctl.restart_unit()).unwrap();
    actions.register(systemctl.reload_unit()).unwrap();
    actions.register(systemctl.set_unit_limits()).unwrap();
    let kubectl = Kubectl::new(tool("kubectl")).namespaces(["prod"]).unwrap();
    let kubectl = kubectl.nodes(["shop-*"]).unwrap();
    actions.register(kubectl.delete_pod()).unwrap();
    actions.register(kubectl.drain_node()).unwrap();
    actions.register(kubectl.scale_deployment()).unwrap();
    actions.register(kubectl.undo_rollout()).unwrap();
    let interfaces = NetworkInterfaces::new(tool("ip"), ["eth1"]).unwrap();
    actions.register(interfaces.restart_interface()).unwrap();
    actions
        .register(flush_dns_cache(&tool("resolvectl")))
        .unwrap();
    let run = ["kubectl", "ip", "nft", "hypervisor", "cloud"]
        .into_iter()
        .fold(RunProgram::default(), |run, name| {
            run.allow(name, Program::new(path(name))).unwrap()
        });
    actions.register(run).unwrap();
}

fn servers(actions: &mut ActionRegistry, dir: &Path) {
    let postgres = ["orders-db", "orders-standby"].into_iter().fold(
        PostgresServers::default(),
        |servers, name| {
            let config = PostgresServerConfig::new(shop(), "127.0.0.1:5432", "healer");
            servers.server(name, config).unwrap()
        },
    );
    for action in [
        PgSessions::cancel_long_queries(postgres.clone()),
        PgSessions::terminate_idle_in_transaction(postgres.clone()),
        PgSessions::reset_connections(postgres.clone()),
    ] {
        actions.register(action).unwrap();
    }
    actions.register(PgVacuum::new(postgres.clone())).unwrap();
    actions.register(PgReindex::new(postgres.clone())).unwrap();
    actions.register(PgPromoteReplica::new(postgres)).unwrap();
    let redis =
        ["cache", "cache-replica"]
            .into_iter()
            .fold(RedisServers::default(), |servers, name| {
                let mut config = RedisServerConfig::new(shop(), "127.0.0.1:6379");
                config.deletable = vec!["prices:".to_owned()];
                servers.server(name, config).unwrap()
            });
    actions
        .register(RedisSetConfig::new(redis.clone()))
        .unwrap();
    actions
        .register(RedisMemoryPurge::new(redis.clone()))
        .unwrap();
    actions
        .register(RedisDeleteKeys::new(redis.clone()))
        .unwrap();
    actions
        .register(RedisKillClients::new(redis.clone()))
        .unwrap();
    actions.register(RedisPromoteReplica::new(redis)).unwrap();
    let edge = HaproxyConfig::new(shop(), dir.join("admin").display().to_string());
    let edge = HaproxyInstances::default().instance("edge", edge).unwrap();
    actions.register(HaproxyServer::set_state(edge)).unwrap();
    let nginx = NginxConfig::new(shop()).with_upstream("app", dir.join("app.conf"));
    let reload = NginxReload::default().nginx("edge", nginx).unwrap();
    actions.register(reload).unwrap();
}
