//! What is deployed where: the one description that conductor, shop and healer share.
//!
//! It names what an operator would know (addresses, programs, pid files, logs, slots) and nothing
//! about faults.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::BoxError;
use crate::args::SERVICE_ROLE;
use crate::files::write_atomically;
use crate::labels::LabelsSpec;
use crate::process::{Identity, PidFile};
use crate::service::gateway::Settings;
use crate::service::quotes::{Tariff, ZONES};

/// The shop's programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ServiceName {
    Catalog,
    Orders,
    Gateway,
    Quotes,
    Labels,
}

impl ServiceName {
    const ALL: [Self; 5] = [
        Self::Catalog,
        Self::Orders,
        Self::Gateway,
        Self::Quotes,
        Self::Labels,
    ];

    /// Those that run once and always, in the order they are started: callees first.
    pub(crate) const RESIDENT: [Self; 3] = [Self::Catalog, Self::Orders, Self::Gateway];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Catalog => "catalog",
            Self::Orders => "orders",
            Self::Gateway => "gateway",
            Self::Quotes => "quotes",
            Self::Labels => "labels",
        }
    }

    /// The services this one calls.
    pub(crate) const fn calls(self) -> &'static [Self] {
        match self {
            Self::Gateway => &[Self::Catalog, Self::Orders],
            Self::Catalog | Self::Orders | Self::Quotes | Self::Labels => &[],
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ServiceName {
    type Err = UnknownService;

    fn from_str(text: &str) -> Result<Self, UnknownService> {
        Self::ALL
            .into_iter()
            .find(|name| name.as_str() == text)
            .ok_or(UnknownService)
    }
}

/// No service of the shop has this name.
#[derive(Debug)]
pub(crate) struct UnknownService;

/// Everything an operator knows about the shop.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Deployment {
    /// The folder of this run; every other path lies in it.
    pub(crate) run_dir: PathBuf,
    /// Held by the shop process while it lives.
    pub(crate) shop_pid_file: PathBuf,
    pub(crate) shop_log_file: PathBuf,
    /// Where the healer writes what it does: one JSON event a line.
    pub(crate) events_file: PathBuf,
    /// Where the healer keeps its journal.
    pub(crate) journal_file: PathBuf,
    /// Callees first.
    pub(crate) services: Vec<ServiceSpec>,
    pub(crate) quotes: QuotesSpec,
    /// Where operators order releases; customers do not know it.
    pub(crate) desk: SocketAddr,
    /// `None` on a machine without Python.
    pub(crate) labels: Option<LabelsSpec>,
}

/// The quotes: workers in two slots behind a front. One has the traffic, the other a new version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct QuotesSpec {
    /// Where customers ask.
    pub(crate) front: SocketAddr,
    /// Whom the workers ask; no part of the shop.
    pub(crate) carrier: SocketAddr,
    pub(crate) workers: Vec<WorkerSpec>,
}

/// The worker of one slot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WorkerSpec {
    pub(crate) slot: Slot,
    pub(crate) service: ServiceSpec,
    /// Its version: read when it starts.
    pub(crate) tariff_file: PathBuf,
}

/// Where a version of the quotes runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Slot {
    Blue,
    Green,
}

impl Slot {
    pub(crate) const ALL: [Self; 2] = [Self::Blue, Self::Green];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }

    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }

    /// The name of its process.
    pub(crate) fn process(self) -> String {
        self.process_of(ServiceName::Quotes)
    }

    /// The name of the process of a service in this slot.
    pub(crate) fn process_of(self, service: ServiceName) -> String {
        format!("{service}-{}", self.as_str())
    }
}

/// One service: how to start it, where to look at it, whom it calls.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ServiceSpec {
    pub(crate) name: ServiceName,
    pub(crate) address: SocketAddr,
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// Written and locked by the service itself: `{"pid":…,"start_ticks":…}`.
    pub(crate) pid_file: PathBuf,
    /// JSON lines, among them the change records.
    pub(crate) log_file: PathBuf,
    /// Standard output and standard error.
    pub(crate) output_file: PathBuf,
    pub(crate) data_dir: PathBuf,
    pub(crate) health_url: String,
    pub(crate) metrics_url: String,
    pub(crate) calls: Vec<ServiceName>,
    /// Deployment slots, for a service that has them.
    pub(crate) slots: Option<SlotsSpec>,
    /// Runtime flags: `GET` and `POST {"enabled": bool}` on the URL.
    pub(crate) flags: Vec<FlagSpec>,
}

/// Deployment slots: `<root>/slots/<version>/config.toml`, and `<root>/current` naming a version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SlotsSpec {
    pub(crate) root: PathBuf,
    /// After `current` has changed: `POST` here, or send SIGHUP, or start the service again.
    pub(crate) reload_url: String,
}

/// A runtime flag of a service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FlagSpec {
    pub(crate) name: String,
    pub(crate) url: String,
}

impl Deployment {
    /// Chooses free ports and lays the run's folder out: configuration slot `v1` is deployed.
    pub(crate) fn prepare(run_dir: &Path) -> Result<Self, BoxError> {
        for folder in ["pids", "logs", "data"] {
            fs::create_dir_all(run_dir.join(folder))?;
        }
        let program = std::env::current_exe()?
            .into_os_string()
            .into_string()
            .map_err(|path| format!("the program's path is not UTF-8: {}", path.display()))?;
        let mut ports =
            free_ports(ServiceName::RESIDENT.len() + 2 * Slot::ALL.len() + 4)?.into_iter();
        let mut port = || ports.next().ok_or("a port is missing");
        let mut services = Vec::new();
        for name in ServiceName::RESIDENT {
            let stem = name.as_str();
            services.push(ServiceSpec::new((name, stem), port()?, &program, run_dir)?);
        }
        let (front, carrier, desk) = (port()?, port()?, port()?);
        let mut workers = Vec::new();
        for slot in Slot::ALL {
            let stem = slot.process();
            let name = (ServiceName::Quotes, stem.as_str());
            let mut service = ServiceSpec::new(name, port()?, &program, run_dir)?;
            let tariff_file = service.data_dir.join("tariff.json");
            let carrier = carrier.to_string();
            for (flag, value) in [("--tariff", utf8(&tariff_file)?), ("--carrier", &carrier)] {
                service.argv.extend([flag.to_owned(), value.to_owned()]);
            }
            Tariff::up_to("v1", ZONES).write(&tariff_file)?;
            workers.push(WorkerSpec {
                slot,
                service,
                tariff_file,
            });
        }
        let labels = LabelsSpec::prepare(run_dir, &mut ports)?;
        let deployment = Self {
            run_dir: run_dir.to_owned(),
            shop_pid_file: run_dir.join("pids/shop.pid"),
            shop_log_file: run_dir.join("logs/shop.jsonl"),
            events_file: run_dir.join("events.jsonl"),
            journal_file: run_dir.join("journal.redb"),
            services,
            quotes: QuotesSpec {
                front,
                carrier,
                workers,
            },
            desk,
            labels,
        };
        deployment.gateway_slots()?.write(
            "v1",
            &Settings::standard(
                "v1",
                deployment.service(ServiceName::Catalog)?.address,
                deployment.service(ServiceName::Orders)?.address,
            ),
        )?;
        deployment.gateway_slots()?.point_to("v1")?;
        write_atomically(&deployment.file(), &serde_json::to_vec_pretty(&deployment)?)?;
        Ok(deployment)
    }

    /// The file in which the description itself is kept.
    pub(crate) fn file(&self) -> PathBuf {
        self.run_dir.join("deployment.json")
    }

    pub(crate) fn load(file: &Path) -> Result<Self, BoxError> {
        let text =
            fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        serde_json::from_slice(&text)
            .map_err(|error| format!("{} is no deployment: {error}", file.display()).into())
    }

    pub(crate) fn service(&self, name: ServiceName) -> Result<&ServiceSpec, BoxError> {
        self.services
            .iter()
            .find(|service| service.name == name)
            .ok_or_else(|| format!("the deployment has no service `{name}`").into())
    }

    pub(crate) fn worker(&self, slot: Slot) -> Result<&WorkerSpec, BoxError> {
        let mut workers = self.quotes.workers.iter();
        workers
            .find(|worker| worker.slot == slot)
            .ok_or_else(|| format!("the deployment has no worker `{}`", slot.process()).into())
    }

    pub(crate) fn gateway_slots(&self) -> Result<&SlotsSpec, BoxError> {
        self.service(ServiceName::Gateway)?
            .slots
            .as_ref()
            .ok_or_else(|| "the gateway has no deployment slots".into())
    }
}

impl ServiceSpec {
    fn new(
        (name, stem): (ServiceName, &str),
        address: SocketAddr,
        program: &str,
        run_dir: &Path,
    ) -> Result<Self, BoxError> {
        let pid_file = run_dir.join(format!("pids/{stem}.pid"));
        let log_file = run_dir.join(format!("logs/{stem}.jsonl"));
        let data_dir = run_dir.join(format!("data/{stem}"));
        let slots = (name == ServiceName::Gateway).then(|| SlotsSpec {
            root: run_dir.join("deploy/gateway"),
            reload_url: format!("http://{address}/admin/reload"),
        });
        let flags = match name {
            ServiceName::Gateway => vec![FlagSpec {
                name: "catalog_fallback".to_owned(),
                url: format!("http://{address}/admin/flags/catalog_fallback"),
            }],
            ServiceName::Catalog
            | ServiceName::Orders
            | ServiceName::Quotes
            | ServiceName::Labels => Vec::new(),
        };
        fs::create_dir_all(&data_dir)?;
        let mut argv = vec![
            program.to_owned(),
            SERVICE_ROLE.to_owned(),
            name.to_string(),
            "--listen".to_owned(),
            address.to_string(),
        ];
        let mut paths = vec![
            ("--pid-file", &pid_file),
            ("--log-file", &log_file),
            ("--data-dir", &data_dir),
        ];
        paths.extend(slots.as_ref().map(|slots| ("--slots", &slots.root)));
        for (flag, path) in paths {
            argv.extend([flag.to_owned(), utf8(path)?.to_owned()]);
        }
        Ok(Self {
            name,
            address,
            argv,
            output_file: run_dir.join(format!("logs/{stem}.out")),
            pid_file,
            log_file,
            data_dir,
            health_url: format!("http://{address}/healthz"),
            metrics_url: format!("http://{address}/metrics"),
            calls: name.calls().to_vec(),
            slots,
            flags,
        })
    }

    /// The process that runs this service now, whoever started it.
    pub(crate) fn running(&self) -> Option<Identity> {
        PidFile::read(&self.pid_file)
    }

    /// Starts the service in a process group of its own, so that it outlives its parent and a
    /// Ctrl-C at the terminal does not reach it.
    pub(crate) fn spawn(&self) -> io::Result<tokio::process::Child> {
        spawn_detached(&self.argv, &self.output_file)
    }
}

/// Starts `argv` in its own process group with its output appended to a file.
pub(crate) fn spawn_detached(argv: &[String], output: &Path) -> io::Result<tokio::process::Child> {
    let (program, arguments) = argv
        .split_first()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an empty argument vector"))?;
    let output = OpenOptions::new().create(true).append(true).open(output)?;
    tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .spawn()
}

impl SlotsSpec {
    /// Writes a version's configuration without deploying it.
    pub(crate) fn write(&self, version: &str, settings: &Settings) -> io::Result<()> {
        let slot = self.root.join("slots").join(version);
        fs::create_dir_all(&slot)?;
        write_atomically(&slot.join("config.toml"), settings.to_toml().as_bytes())
    }

    /// Makes a version the current one; it takes effect when the service reloads.
    pub(crate) fn point_to(&self, version: &str) -> io::Result<()> {
        write_atomically(
            &self.root.join("current"),
            format!("{version}\n").as_bytes(),
        )
    }
}

fn utf8(path: &Path) -> Result<&str, BoxError> {
    path.to_str()
        .ok_or_else(|| format!("{} is not UTF-8", path.display()).into())
}

/// Loopback addresses that nobody uses: bound all at once, so that they differ, and released.
fn free_ports(count: usize) -> io::Result<Vec<SocketAddr>> {
    let listeners = (0..count)
        .map(|_| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<io::Result<Vec<_>>>()?;
    listeners
        .iter()
        .map(std::net::TcpListener::local_addr)
        .collect()
}
