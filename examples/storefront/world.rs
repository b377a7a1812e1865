//! What the conductor has in its hands: the shop from outside, the load, and the watches.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use crate::BoxError;
use crate::args::{ConductorOptions, SHOP_ROLE};
use crate::carrier::Carrier;
use crate::deployment::{Deployment, ServiceName, ServiceSpec, Slot, spawn_detached};
use crate::http::{Answer, Call, Client};
use crate::json_log::JsonLog;
use crate::load::{Load, RATE_PER_SECOND};
use crate::memory_watch::MemoryWatch;
use crate::narrator::Narrator;
use crate::process::{Identity, PidFile};
use crate::report::Orders;
use crate::service::order_log::Order;
use crate::service::quotes::Quote;
use crate::shop;
use crate::timeline::{Normal, Timeline};

/// How long the shop may take to open, and a killed process to go.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often a condition is looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

/// How long the story may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Nothing is injected and nothing may be healed.
    pub(crate) fault_free: Duration,
    /// From injecting a fault to having healed it.
    pub(crate) heal_within: Duration,
    /// From having healed to being calm.
    pub(crate) calm_within: Duration,
    pub(crate) leak_bytes_per_second: u64,
    /// How long a stage of a release lasts at least.
    pub(crate) stage: Duration,
    /// From ordering a release to its end.
    pub(crate) roll_out_within: Duration,
}

impl Pace {
    pub(crate) fn new(fast: bool) -> Self {
        const MIB: u64 = 1024 * 1024;
        if fast {
            Self {
                fault_free: Duration::from_secs(50),
                heal_within: Duration::from_secs(25),
                calm_within: Duration::from_secs(10),
                leak_bytes_per_second: 12 * MIB,
                stage: Duration::from_secs(2),
                roll_out_within: Duration::from_secs(90),
            }
        } else {
            Self {
                fault_free: Duration::from_secs(60),
                heal_within: Duration::from_secs(90),
                calm_within: Duration::from_secs(30),
                leak_bytes_per_second: 4 * MIB,
                stage: Duration::from_secs(6),
                roll_out_within: Duration::from_secs(150),
            }
        }
    }
}

/// The shop from outside.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) deployment: Deployment,
    pub(crate) client: Client,
    pub(crate) timeline: Arc<Timeline>,
    pub(crate) catalog_memory: MemoryWatch,
    pub(crate) narrator: Narrator,
    pub(crate) pace: Pace,
    pub(crate) seed: u64,
    pub(crate) carrier: Carrier,
    heal: bool,
}

impl World {
    /// Opens the shop and lets customers in. The load is handed out apart: it ends first.
    pub(crate) async fn open(
        deployment: Deployment,
        options: &ConductorOptions,
        narrator: Narrator,
    ) -> Result<(Self, Load), BoxError> {
        let timeline = Arc::new(Timeline::new());
        let catalog = deployment.service(ServiceName::Catalog)?.clone();
        let world = Self {
            catalog_memory: MemoryWatch::start(catalog, Arc::clone(&timeline)),
            client: Client::default(),
            timeline,
            narrator,
            pace: Pace::new(options.fast),
            seed: options.seed,
            carrier: Carrier::start(deployment.quotes.carrier)?,
            heal: !options.self_check,
            deployment,
        };
        world.start_shop().await?;
        shop::wait_healthy(&world.deployment, &world.client, PATIENCE).await?;
        world.wait_quoting().await?;
        let gateway = world.deployment.service(ServiceName::Gateway)?.address;
        let load = Load::start(gateway, options.seed, Arc::clone(&world.timeline));
        Ok((world, load))
    }

    /// The process in which the healer lives.
    pub(crate) fn shop(&self) -> Option<Identity> {
        PidFile::read(&self.deployment.shop_pid_file)
    }

    pub(crate) async fn start_shop(&self) -> Result<Identity, BoxError> {
        let program = std::env::current_exe()?;
        let file = self.deployment.file();
        let mut argv = vec![
            program.to_string_lossy().into_owned(),
            SHOP_ROLE.to_owned(),
            "--deployment".to_owned(),
            file.to_string_lossy().into_owned(),
        ];
        if !self.heal {
            argv.push("--without-healer".to_owned());
        }
        let output = self.deployment.run_dir.join("logs/shop.out");
        let mut child = spawn_detached(&argv, &output)?;
        // Reaps it, whenever it ends.
        tokio::spawn(async move { child.wait().await });
        self.until(PATIENCE, || self.shop())
            .await
            .ok_or_else(|| format!("the shop does not start; see {}", output.display()).into())
    }

    pub(crate) async fn kill_shop(&self) -> Result<(), BoxError> {
        let shop = self.shop().ok_or("the shop does not run")?;
        kill(shop).await
    }

    pub(crate) fn running(&self, name: ServiceName) -> Result<Identity, BoxError> {
        self.deployment
            .service(name)?
            .running()
            .ok_or_else(|| format!("{name} does not run").into())
    }

    pub(crate) async fn kill_service(&self, name: ServiceName) -> Result<(), BoxError> {
        kill(self.running(name)?).await
    }

    /// Starts a service unless it runs.
    pub(crate) async fn ensure_running(&self, service: &ServiceSpec) -> Result<(), BoxError> {
        if service.running().is_some() {
            return Ok(());
        }
        let path = self.deployment.run_dir.join("logs/conductor.jsonl");
        let log = JsonLog::open(&path, "conductor")?;
        shop::start(service, log).await.map(|_| ())
    }

    /// Starts a worker of the quotes unless it runs, and waits until it answers.
    pub(crate) async fn start_worker(&self, slot: Slot) -> Result<(), BoxError> {
        let service = &self.deployment.worker(slot)?.service;
        self.ensure_running(service).await?;
        let answering = async {
            while self.quote(service.address).await.is_err() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let answering = tokio::time::timeout(PATIENCE, answering).await;
        answering.map_err(|_| format!("worker {} does not answer", slot.process()).into())
    }

    /// Asks the front, or a worker, for a quote that every version has.
    pub(crate) async fn quote(&self, address: SocketAddr) -> Result<Quote, BoxError> {
        Ok(self.ask(Call::get(address, "/quote/1/1")).await?.json()?)
    }

    /// Waits until the quotes can be asked for; without a healer there is no front.
    async fn wait_quoting(&self) -> Result<(), BoxError> {
        let quotes = &self.deployment.quotes;
        let address = if self.heal {
            quotes.front
        } else {
            self.deployment.worker(Slot::Blue)?.service.address
        };
        let quoting = async {
            while self.quote(address).await.is_err() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let quoting = tokio::time::timeout(PATIENCE, quoting).await;
        quoting.map_err(|_| format!("nobody quotes at {address}").into())
    }

    /// Sends a request that must succeed.
    pub(crate) async fn command(&self, call: Call) -> Result<(), BoxError> {
        self.ask(call).await.map(drop)
    }

    /// Sends a request that must succeed, for its answer.
    pub(crate) async fn ask(&self, call: Call) -> Result<Answer, BoxError> {
        let answer = self.client.send(&call).await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        Err(format!("{} {}: {} {body}", call.method, call.path, answer.status).into())
    }

    /// Waits for a condition; `None` when patience ends first.
    pub(crate) async fn until<T>(
        &self,
        patience: Duration,
        mut condition: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let met = async {
            loop {
                if let Some(value) = condition() {
                    return value;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(patience, met).await.ok()
    }

    /// Watches the shop for a while and learns what is normal.
    pub(crate) fn learn_normal(&self, from: Duration) -> Normal {
        Normal::learn(
            self.timeline.summary(from, self.timeline.now()),
            RATE_PER_SECOND,
        )
    }

    /// Compares the orders that were acknowledged with those that the orders service has.
    pub(crate) async fn check_orders(&self) -> Orders {
        let acknowledged = self.timeline.acknowledged();
        let lost = self.kept_orders().await.map(|kept| {
            let lost = acknowledged.iter().filter(|id| !kept.contains(id));
            lost.copied().collect()
        });
        Orders::new(acknowledged.len(), lost)
    }

    async fn kept_orders(&self) -> Result<BTreeSet<u64>, BoxError> {
        let orders = self.deployment.service(ServiceName::Orders)?;
        let call = Call::get(orders.address, "/orders").within(Duration::from_secs(10));
        let kept: Vec<Order> = self.client.send(&call).await?.json()?;
        Ok(kept.into_iter().map(|order| order.id).collect())
    }
}

async fn kill(process: Identity) -> Result<(), BoxError> {
    process.signal(Signal::KILL)?;
    if process.wait_gone(PATIENCE).await {
        Ok(())
    } else {
        Err(format!("process {} outlives SIGKILL", process.pid).into())
    }
}
