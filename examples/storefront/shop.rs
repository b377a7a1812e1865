//! The shop: the process that owns the services and in which Homeostasis is embedded.
//!
//! It may be killed at any moment. The services go on running, and the next shop adopts them: the
//! pid file says who they are, the start time in it that they still are.

use std::io;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::BoxError;
use crate::args::ShopOptions;
use crate::deployment::{Deployment, ServiceName, ServiceSpec, Slot};
use crate::healer;
use crate::json_log::JsonLog;
use crate::process::{Identity, PidFile};

/// How long a service may take to finish its requests after SIGTERM.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

/// How long a started service may take to claim its pid file.
const START_PATIENCE: Duration = Duration::from_secs(5);

/// The services as their owner sees them.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) deployment: Deployment,
    pub(crate) log: JsonLog,
}

/// How a service came to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It ran already, started by an earlier shop.
    Adopted(Identity),
    Started(Identity),
}

/// Runs the shop until SIGTERM, then stops the services.
pub(crate) async fn run(options: ShopOptions) -> Result<ExitCode, BoxError> {
    let deployment = Deployment::load(&options.deployment)?;
    let _pid_file = PidFile::claim(&deployment.shop_pid_file)?;
    let log = JsonLog::open(&deployment.shop_log_file, "shop")?;
    let shop = Shop { deployment, log };
    let mut terminate = signal(SignalKind::terminate())?;
    let outcome = tokio::select! {
        outcome = shop.work(options.heal) => outcome,
        _ = terminate.recv() => {
            shop.stop_all().await;
            Ok(())
        }
    };
    if let Err(error) = &outcome {
        shop.log
            .error("the shop gives up", json!({"error": error.to_string()}));
    }
    outcome.map(|()| ExitCode::SUCCESS)
}

impl Shop {
    async fn work(&self, heal: bool) -> Result<(), BoxError> {
        if heal {
            healer::tend(self).await
        } else {
            self.open().await?;
            std::future::pending().await
        }
    }

    /// Sees to it that every service runs, callees first.
    pub(crate) async fn open(&self) -> Result<(), BoxError> {
        for service in &self.deployment.services {
            self.ensure_running(service).await?;
        }
        self.ensure_running(&self.deployment.worker(Slot::Blue)?.service)
            .await?;
        Ok(())
    }

    /// Adopts the service if it runs, starts it if not. Harmless when repeated.
    pub(crate) async fn ensure_running(&self, service: &ServiceSpec) -> Result<Presence, BoxError> {
        let name = service.name;
        if let Some(identity) = service.running() {
            self.log.info(
                "adopted a running service",
                json!({"kind": "adopt", "child": name, "pid": identity.pid}),
            );
            return Ok(Presence::Adopted(identity));
        }
        let identity = start(service, self.log.clone()).await?;
        self.log.info(
            "started a service",
            json!({"kind": "spawn", "child": name, "pid": identity.pid}),
        );
        Ok(Presence::Started(identity))
    }

    async fn stop_all(&self) {
        let labels = self.deployment.labels.iter().flat_map(|it| &it.workers);
        for worker in labels {
            if let Some(identity) = PidFile::read(&worker.pid_file)
                && let Err(error) = identity.stop(GRACE).await
            {
                let child = worker.slot.process_of(ServiceName::Labels);
                let fields = json!({"child": child, "error": error.to_string()});
                self.log.error("cannot stop a service", fields);
            }
        }
        // Callers first, so that nobody is left calling into nothing.
        let workers = self.deployment.quotes.workers.iter();
        let workers = workers.map(|worker| &worker.service);
        for service in workers.chain(self.deployment.services.iter().rev()) {
            if let Some(identity) = service.running()
                && let Err(error) = identity.stop(GRACE).await
            {
                self.log.error(
                    "cannot stop a service",
                    json!({"child": service.name, "error": error.to_string()}),
                );
            }
        }
    }
}

/// Starts a service and waits until it has claimed its pid file; its end is logged and reaped.
pub(crate) async fn start(service: &ServiceSpec, log: JsonLog) -> Result<Identity, BoxError> {
    let name = service.name;
    let mut child = service
        .spawn()
        .map_err(|error| format!("cannot start {name}: {error}"))?;
    let claimed = async {
        loop {
            if let Some(identity) = service.running() {
                return identity;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        identity = claimed => {
            tokio::spawn(async move { note_end(name, child.wait().await, &log) });
            Ok(identity)
        }
        ended = child.wait() => {
            note_end(name, ended, &log);
            Err(format!("{name} ended at once; see {}", service.output_file.display()).into())
        }
        () = tokio::time::sleep(START_PATIENCE) => {
            child.start_kill()?;
            Err(format!("{name} has not claimed {}", service.pid_file.display()).into())
        }
    }
}

fn note_end(name: ServiceName, ended: io::Result<ExitStatus>, log: &JsonLog) {
    let how = match ended {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    log.warn(
        "a service ended",
        json!({"kind": "exit", "child": name, "how": how}),
    );
}

/// Waits until every service answers on its health page.
pub(crate) async fn wait_healthy(
    deployment: &Deployment,
    client: &crate::http::Client,
    patience: Duration,
) -> Result<(), BoxError> {
    let healthy = async {
        for service in &deployment.services {
            let call = crate::http::Call::get(service.address, "/healthz");
            while !client
                .send(&call)
                .await
                .is_ok_and(|a| a.status.is_success())
            {
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        }
    };
    tokio::time::timeout(patience, healthy)
        .await
        .map_err(|_| format!("the services are not healthy after {patience:?}").into())
}
