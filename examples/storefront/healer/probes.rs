//! What the healer sees: health pages, metrics pages, JSON logs and the process table.

use std::sync::Arc;
use std::time::Duration;

use homeostasis::signals::{
    HttpProbe, HttpProbeConfig, HyperClient, LogLinesConfig, LogTail, LogTailConfig, LogTailProbe,
    MetricsProbe, MetricsProbeConfig, PidSource, ProcessProbe, ProcessProbeConfig, StartAt,
};
use homeostasis::{Builder, SystemClock};

use crate::BoxError;
use crate::deployment::{Deployment, ServiceSpec};
use crate::healer::target;

/// How often everything is looked at.
const INTERVAL: Duration = Duration::from_millis(250);

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Registers the probes of every service.
pub(super) fn register(mut builder: Builder, deployment: &Deployment) -> Result<Builder, BoxError> {
    let client = Arc::new(HyperClient::new(Arc::new(SystemClock)));
    for service in &deployment.services {
        builder = builder
            .probe(health(service, Arc::clone(&client))?)
            .probe(metrics(service, Arc::clone(&client))?)
            .probe(process(service)?)
            .probe(log(service)?);
    }
    Ok(builder)
}

fn health(service: &ServiceSpec, client: Arc<HyperClient>) -> Result<HttpProbe, BoxError> {
    let name = format!("{}-http", service.name);
    let config = HttpProbeConfig {
        interval: INTERVAL,
        timeout: PATIENCE,
        ..HttpProbeConfig::new(name, target(service.name)?, &service.health_url)
    };
    Ok(HttpProbe::new(config, client)?)
}

fn metrics(service: &ServiceSpec, client: Arc<HyperClient>) -> Result<MetricsProbe, BoxError> {
    let name = format!("{}-metrics", service.name);
    let config = MetricsProbeConfig {
        interval: INTERVAL,
        timeout: PATIENCE,
        ..MetricsProbeConfig::new(name, target(service.name)?, &service.metrics_url)
    };
    Ok(MetricsProbe::new(config, client)?)
}

fn process(service: &ServiceSpec) -> Result<ProcessProbe, BoxError> {
    let name = format!("{}-process", service.name);
    let source = PidSource::File(service.pid_file.clone());
    let config = ProcessProbeConfig {
        interval: INTERVAL,
        ..ProcessProbeConfig::new(name, target(service.name)?, source)
    };
    Ok(ProcessProbe::new(config)?)
}

fn log(service: &ServiceSpec) -> Result<LogTailProbe, BoxError> {
    let config = LogTailConfig {
        start_at: StartAt::End,
        lines: LogLinesConfig {
            target: Some(target(service.name)?),
            ..LogLinesConfig::default()
        },
        ..LogTailConfig::new(&service.log_file)
    };
    let tail = LogTail::new(config, Arc::new(SystemClock))?;
    Ok(LogTailProbe::new(format!("{}-log", service.name), tail).every(INTERVAL))
}
