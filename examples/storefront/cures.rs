//! How an operator would cure each fault by hand: the self-check proves with it that the faults
//! are curable, and the conductor cleans up with it after a fault that was not healed, so that
//! the next one is judged on its own.

use rustix::process::Signal;
use serde_json::json;

use crate::BoxError;
use crate::deployment::ServiceName;
use crate::faults::Fault;
use crate::http::Call;
use crate::shop;
use crate::world::World;

impl Fault {
    /// Takes the fault away. Harmless if it is gone already.
    pub(crate) async fn cure(self, world: &World) -> Result<(), BoxError> {
        match self {
            Self::OrdersKilled => ensure_running(world, ServiceName::Orders).await,
            Self::CatalogLeaks => restart(world, ServiceName::Catalog).await,
            Self::BadDeployment => roll_back_gateway(world),
            Self::CatalogSlow => {
                restart(world, ServiceName::Catalog).await?;
                set_catalog_fallback(world, false).await
            }
            Self::HealerKilled => {
                if world.shop().is_none() {
                    world.start_shop().await?;
                }
                ensure_running(world, ServiceName::Orders).await
            }
            Self::TroublePasses => {
                world.carrier.set_answering(true);
                Ok(())
            }
        }
    }
}

/// Makes the gateway answer without catalog, or with it again.
pub(crate) async fn set_catalog_fallback(world: &World, enabled: bool) -> Result<(), BoxError> {
    let gateway = world.deployment.service(ServiceName::Gateway)?.address;
    let path = "/admin/flags/catalog_fallback";
    let call = Call::post(gateway, path, json!({"enabled": enabled}));
    world.command(call).await
}

fn roll_back_gateway(world: &World) -> Result<(), BoxError> {
    world.deployment.gateway_slots()?.point_to("v1")?;
    world
        .running(ServiceName::Gateway)?
        .signal(Signal::HUP)
        .map_err(Into::into)
}

async fn restart(world: &World, name: ServiceName) -> Result<(), BoxError> {
    if let Ok(process) = world.running(name) {
        process.stop(shop::GRACE).await?;
    }
    ensure_running(world, name).await
}

async fn ensure_running(world: &World, name: ServiceName) -> Result<(), BoxError> {
    world.ensure_running(world.deployment.service(name)?).await
}
