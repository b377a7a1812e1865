//! What the healer may do: restart the shop's processes, go back to an earlier slot, flip the
//! gateway's fallback. Everything else is out of its reach.

use std::sync::Arc;
use std::time::Duration;

use homeostasis::remediate::action::{
    DeploymentSlots, HttpRequestAction, PidFileWriter, ProcessSpec, ProcessSupervisor,
    RestartIntensity, RestartProcess, RollbackDeployment,
};
use homeostasis::signals::HyperClient;
use homeostasis::{Builder, SystemClock};

use crate::BoxError;
use crate::deployment::{Deployment, ServiceName};
use crate::healer::target;
use crate::shop::GRACE;

/// Runs the services; they outlive this process and are adopted by the next.
pub(super) fn supervisor(deployment: &Deployment) -> Result<ProcessSupervisor, BoxError> {
    let supervisor = ProcessSupervisor::new(Arc::new(SystemClock));
    for service in &deployment.services {
        let argv = service.argv.iter().cloned();
        let mut spec = ProcessSpec::new(target(service.name)?, argv, &service.pid_file);
        spec.pid_file_writer = PidFileWriter::Process;
        spec.output_file = Some(service.output_file.clone());
        spec.grace = GRACE;
        spec.intensity = RestartIntensity {
            max: 10,
            period: Duration::from_secs(60),
        };
        supervisor.register(service.name.as_str(), spec)?;
    }
    Ok(supervisor)
}

/// Registers the actions and the playbooks that use them.
pub(super) fn register(
    builder: Builder,
    deployment: &Deployment,
    supervisor: ProcessSupervisor,
) -> Result<Builder, BoxError> {
    let gateway = deployment.service(ServiceName::Gateway)?;
    let slots = deployment.gateway_slots()?;
    let fallback = gateway
        .flags
        .iter()
        .find(|flag| flag.name == "catalog_fallback")
        .ok_or("the gateway has no flag `catalog_fallback`")?;
    let client = Arc::new(HyperClient::new(Arc::new(SystemClock)));
    let gateway_slots = DeploymentSlots::new(target(ServiceName::Gateway)?, &slots.root);
    let builder = builder
        .action(RestartProcess::new(supervisor))
        .action(RollbackDeployment::default().deployment("gateway", gateway_slots)?)
        .action(HttpRequestAction::new(
            client,
            [format!("http://{}", gateway.address)],
        )?);
    // Addresses are known only now: they are written into the playbooks before they are read.
    let playbook = |builder: Builder, name: &str, text: &str| {
        let text = text
            .replace("{gateway_reload}", &slots.reload_url)
            .replace("{catalog_fallback}", &fallback.url);
        builder.playbook(name, text)
    };
    let texts = [
        (
            "restart-down.yaml",
            include_str!("playbooks/restart-down.yaml"),
        ),
        (
            "restart-leaking.yaml",
            include_str!("playbooks/restart-leaking.yaml"),
        ),
        (
            "roll-back-gateway.yaml",
            include_str!("playbooks/roll-back-gateway.yaml"),
        ),
        (
            "relieve-slow-catalog.yaml",
            include_str!("playbooks/relieve-slow-catalog.yaml"),
        ),
    ];
    Ok(texts.into_iter().fold(builder, |builder, (name, text)| {
        playbook(builder, name, text)
    }))
}
