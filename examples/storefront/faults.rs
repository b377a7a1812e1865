//! What goes wrong in the shop. Each fault is really injected; only the conductor knows of it.

use std::time::Duration;

use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::json;

use crate::BoxError;
use crate::deployment::{ServiceName, Slot};
use crate::http::Call;
use crate::observed::{Observer, RootCause};
use crate::service::gateway::{Rounding, Settings};
use crate::world::{LOOK, World};

/// A lookup of a product takes this long, one after the other: four a second, where ten times as
/// many are asked for.
const SLOW_MS: u64 = 250;

/// How long the shop stays without a healer after the healer was killed.
const WITHOUT_HEALER: Duration = Duration::from_secs(1);

/// The faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    OrdersKilled,
    CatalogLeaks,
    BadDeployment,
    CatalogSlow,
    HealerKilled,
    TroublePasses,
}

impl Fault {
    pub(crate) const fn letter(self) -> char {
        match self {
            Self::OrdersKilled => 'a',
            Self::CatalogLeaks => 'b',
            Self::BadDeployment => 'c',
            Self::CatalogSlow => 'd',
            Self::HealerKilled => 'e',
            Self::TroublePasses => 'p',
        }
    }

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::OrdersKilled => "orders is killed",
            Self::CatalogLeaks => "catalog leaks memory",
            Self::BadDeployment => "a bad gateway is deployed",
            Self::CatalogSlow => "catalog is slow, calls pile up",
            Self::HealerKilled => "the healer is killed mid-heal",
            Self::TroublePasses => "a trouble passes by itself",
        }
    }

    /// What the healer must name; `None` for what is nothing of the shop's.
    pub(crate) fn root_cause(self) -> Option<RootCause> {
        let (service, cause) = match self {
            Self::OrdersKilled | Self::HealerKilled => (ServiceName::Orders, "process_down"),
            Self::CatalogLeaks => (ServiceName::Catalog, "memory_leak"),
            Self::BadDeployment => (ServiceName::Gateway, "bad_deploy"),
            Self::CatalogSlow => (ServiceName::Catalog, "slow_response"),
            Self::TroublePasses => return None,
        };
        Some(RootCause {
            service: service.to_string(),
            cause: cause.to_owned(),
        })
    }

    /// What the healer may say of what it did: that it helped, and no such thing where it only
    /// seems so.
    pub(crate) const fn verdicts(self) -> &'static [&'static str] {
        match self {
            Self::TroublePasses => &["partial", "uncertain"],
            _ => &["success"],
        }
    }

    /// Makes it happen. [`Fault::HealerKilled`] and [`Fault::TroublePasses`] look at what the healer
    /// does.
    pub(crate) async fn inject(
        self,
        world: &World,
        observer: &mut Observer,
    ) -> Result<(), BoxError> {
        match self {
            Self::OrdersKilled => kill_orders(world).await,
            Self::CatalogLeaks => leak_catalog(world).await,
            Self::BadDeployment => deploy_bad_gateway(world),
            Self::CatalogSlow => slow_catalog(world).await,
            Self::HealerKilled => kill_healer_mid_heal(world, observer).await,
            Self::TroublePasses => let_trouble_pass(world, observer).await,
        }
    }
}

/// SIGKILL, in the middle of whatever orders is doing.
pub(crate) async fn kill_orders(world: &World) -> Result<(), BoxError> {
    world.kill_service(ServiceName::Orders).await
}

/// Memory is allocated, touched and never given back.
pub(crate) async fn leak_catalog(world: &World) -> Result<(), BoxError> {
    let rate = world.pace.leak_bytes_per_second;
    order_catalog(world, json!({"leak_bytes_per_second": rate})).await
}

/// Every lookup keeps a lock for a while, so that lookups queue.
pub(crate) async fn slow_catalog(world: &World) -> Result<(), BoxError> {
    order_catalog(world, json!({"slow_ms": SLOW_MS})).await
}

async fn order_catalog(world: &World, order: serde_json::Value) -> Result<(), BoxError> {
    let catalog = world.deployment.service(ServiceName::Catalog)?;
    let call = Call::post(catalog.address, "/admin/fault", order);
    world.command(call).await
}

/// Version 2 rounds prices in another way, as intended, and asks catalog at a path that does not
/// exist, as not intended.
pub(crate) fn deploy_bad_gateway(world: &World) -> Result<(), BoxError> {
    let address = |name| {
        world
            .deployment
            .service(name)
            .map(|service| service.address)
    };
    let mut settings = Settings::standard(
        "v2",
        address(ServiceName::Catalog)?,
        address(ServiceName::Orders)?,
    );
    settings.pricing_rounding = Rounding::HalfEven;
    "/api/products".clone_into(&mut settings.catalog.path);
    let slots = world.deployment.gateway_slots()?;
    slots.write("v2", &settings)?;
    slots.point_to("v2")?;
    world.running(ServiceName::Gateway)?.signal(Signal::HUP)?;
    Ok(())
}

/// Orders is killed; as soon as the healer has begun to act on it, the healer is killed too, and
/// a moment later started again.
async fn kill_healer_mid_heal(world: &World, observer: &mut Observer) -> Result<(), BoxError> {
    let begun = crate::json_log::now();
    kill_orders(world).await?;
    let acting = acting(world, observer, begun).await;
    acting.map_err(|error| format!("{error}, so it was not killed"))?;
    world.kill_shop().await?;
    world.narrator.say("    the healer is dead");
    tokio::time::sleep(WITHOUT_HEALER).await;
    world.start_shop().await?;
    world.narrator.say("    the healer is started again");
    Ok(())
}

/// The carrier falls silent, so that the surcharge of both workers grows old; as soon as the healer has
/// begun to act on one of them the carrier answers again, as it would have anyway.
async fn let_trouble_pass(world: &World, observer: &mut Observer) -> Result<(), BoxError> {
    world.start_worker(Slot::Blue).await?;
    world.start_worker(Slot::Green).await?;
    let begun = crate::json_log::now();
    world.carrier.set_answering(false);
    let acting = acting(world, observer, begun).await;
    world.carrier.set_answering(true);
    world.narrator.say("    the carrier answers again");
    acting
}

/// Waits until the healer is in the middle of a heal that began after `begun`.
async fn acting(world: &World, observer: &mut Observer, begun: Timestamp) -> Result<(), BoxError> {
    let acting = async {
        loop {
            observer.refresh()?;
            let incidents = observer.since(begun);
            if incidents.iter().any(|incident| incident.is_acting()) {
                return Ok::<(), BoxError>(());
            }
            // Faster than elsewhere: a heal may be over soon.
            tokio::time::sleep(LOOK / 10).await;
        }
    };
    tokio::time::timeout(world.pace.heal_within, acting)
        .await
        .map_err(|_| "the healer never began to act")?
}
