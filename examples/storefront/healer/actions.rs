//! What the healer may do: restart the shop's processes, go back to an earlier slot, flip the
//! gateway's fallback. Everything else is out of its reach.

use std::sync::Arc;
use std::time::Duration;

use homeostasis::core::Target;
use homeostasis::remediate::action::{
    DeploymentSlots, HttpRequestAction, PidFileWriter, ProcessSpec, ProcessSupervisor,
    RestartIntensity, RestartProcess, RollbackDeployment,
};
use homeostasis::signals::HyperClient;
use homeostasis::{Builder, SystemClock};

use crate::BoxError;
use crate::deployment::{Deployment, ServiceName, ServiceSpec, Slot};
use crate::healer::target;
use crate::shop::GRACE;

/// Runs the services and workers; they outlive this process and are adopted by the next.
pub(super) fn supervisor(deployment: &Deployment) -> Result<ProcessSupervisor, BoxError> {
    let supervisor = ProcessSupervisor::new(Arc::new(SystemClock));
    let residents = deployment.services.iter().map(|service| {
        let name = service.name;
        Ok((name.to_string(), target(name)?, service))
    });
    let workers = deployment.quotes.workers.iter().map(|worker| {
        let target = Target::instance(ServiceName::Quotes.as_str(), worker.slot.as_str())?;
        Ok((worker.slot.process(), target, &worker.service))
    });
    let labels = deployment.labels.iter().flat_map(|it| &it.workers);
    for worker in labels {
        let target = Target::instance(ServiceName::Labels.as_str(), worker.slot.as_str())?;
        let mut spec = ProcessSpec::new(target, worker.argv.iter().cloned(), &worker.pid_file);
        spec.output_file = Some(worker.output_file.clone());
        spec.grace = GRACE;
        // Bytecode beside the sources would be a part of what is tested.
        let no_bytecode = ("PYTHONDONTWRITEBYTECODE", "1");
        spec.env
            .insert(no_bytecode.0.to_owned(), no_bytecode.1.to_owned());
        supervisor.register(worker.slot.process_of(ServiceName::Labels), spec)?;
    }
    for process in residents.chain(workers) {
        let (name, target, service): (String, Target, &ServiceSpec) =
            process.map_err(|error: BoxError| error)?;
        let argv = service.argv.iter().cloned();
        let mut spec = ProcessSpec::new(target, argv, &service.pid_file);
        spec.pid_file_writer = PidFileWriter::Process;
        spec.output_file = Some(service.output_file.clone());
        spec.grace = GRACE;
        spec.intensity = RestartIntensity {
            max: 10,
            period: Duration::from_secs(60),
        };
        supervisor.register(name, spec)?;
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
    let workers = deployment.quotes.workers.iter().map(|it| &it.service);
    let origins = workers
        .chain([gateway])
        .map(|service| format!("http://{}", service.address));
    let blue = deployment.worker(Slot::Blue)?.service.address;
    let gateway_slots = DeploymentSlots::new(target(ServiceName::Gateway)?, &slots.root);
    let builder = builder
        .action(RestartProcess::new(supervisor))
        .action(RollbackDeployment::default().deployment("gateway", gateway_slots)?)
        .action(HttpRequestAction::new(client, origins)?);
    // Addresses are known only now: they are written into the playbooks before they are read.
    let playbook = |builder: Builder, name: &str, text: &str| {
        let text = text
            .replace("{gateway_reload}", &slots.reload_url)
            .replace("{catalog_fallback}", &fallback.url)
            .replace("{surcharge_refresh}", &format!("http://{blue}/surcharge"));
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
        (
            "refresh-surcharge.yaml",
            include_str!("playbooks/refresh-surcharge.yaml"),
        ),
    ];
    Ok(texts.into_iter().fold(builder, |builder, (name, text)| {
        playbook(builder, name, text)
    }))
}
