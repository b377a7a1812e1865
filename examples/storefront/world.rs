//! What the conductor has in its hands: the shop from outside, the load, and the watches.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use crate::BoxError;
use crate::args::{ConductorOptions, SHOP_ROLE};
use crate::deployment::{Deployment, ServiceName, spawn_detached};
use crate::http::{Call, Client};
use crate::load::{Load, RATE_PER_SECOND};
use crate::memory_watch::MemoryWatch;
use crate::narrator::Narrator;
use crate::process::{Identity, PidFile};
use crate::report::Orders;
use crate::service::order_log::Order;
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
}

impl Pace {
    pub(crate) fn new(fast: bool) -> Self {
        const MIB: u64 = 1024 * 1024;
        if fast {
            Self {
                fault_free: Duration::from_secs(15),
                heal_within: Duration::from_secs(25),
                calm_within: Duration::from_secs(10),
                leak_bytes_per_second: 12 * MIB,
            }
        } else {
            Self {
                fault_free: Duration::from_secs(60),
                heal_within: Duration::from_secs(90),
                calm_within: Duration::from_secs(30),
                leak_bytes_per_second: 4 * MIB,
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
            heal: !options.self_check,
            deployment,
        };
        world.start_shop().await?;
        shop::wait_healthy(&world.deployment, &world.client, PATIENCE).await?;
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

    /// Sends a request that must succeed.
    pub(crate) async fn command(&self, call: Call) -> Result<(), BoxError> {
        let answer = self.client.send(&call).await?;
        if answer.status.is_success() {
            return Ok(());
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
