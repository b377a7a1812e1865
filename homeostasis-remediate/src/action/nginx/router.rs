//! Shares of traffic through a generated upstream.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::port::{TrafficError, TrafficRouter, Weights};
use homeostasis_core::{
    Clock, ConfigError, Context, ErrorKind, IdempotencyKey, RunId, Violation, timeout,
};
use serde_json::{Map, Value};
use tokio::net::TcpStream;

use super::in_force::{in_force, is_behind, servers};
use super::reload::NginxConfig;
use super::workers::Workers;
use crate::action::address::host_and_port;
use crate::action::flag::new_name;
use crate::action::servers::ServerConfig as _;
use crate::action::{ActionCall, ActionError};
use crate::traffic::{apportion, grows, slot_violations, sums};

/// As much as `nginx_reload` takes.
const MAX_WEIGHT: u32 = 1000;
/// How long a server of a slot may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(2);

/// A service behind one upstream of an nginx, and which servers are which slot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NginxSlots {
    /// Where it is; with the upstream.
    pub nginx: NginxConfig,
    /// The servers (`host:port`) of each slot.
    pub slots: BTreeMap<String, Vec<String>>,
}

impl NginxSlots {
    /// Without slots.
    pub fn new(nginx: NginxConfig) -> Self {
        Self {
            nginx,
            slots: BTreeMap::new(),
        }
    }

    /// The same with a slot, instead of one of that name.
    #[must_use]
    pub fn slot<S: Into<String>>(
        mut self,
        name: impl Into<String>,
        servers: impl IntoIterator<Item = S>,
    ) -> Self {
        let servers = servers.into_iter().map(Into::into).collect();
        self.slots.insert(name.into(), servers);
        self
    }
}

/// Shifts traffic by the file of an upstream and a reload, as
/// [`NginxReload`](crate::action::NginxReload) does it.
///
/// The file is tried, replaced whole, tried with the configuration, and taken up by new workers; it returns
/// when no old worker takes requests any more, after 30 s at most. The generated upstream holds its servers
/// and nothing else: what else it had (`keepalive`, `zone`, another method) is gone.
///
/// Of the port's promises:
/// - *Somebody always serves:* before anything is changed, one server of every slot that is to get more
///   has to accept a connection within 2 s. Each worker has the old table or the new one; while they take
///   turns the shares lie between. Shares hold to within one point for the requests of each worker.
/// - *Nothing is cut:* old workers finish the requests they have. They close connections that idle, which
///   can meet a request that is just on its way on one of these: clients that keep connections send it again
///   on a new one, as HTTP has it (RFC 9112, section 9.3.1).
/// - *Read back:* what the workers began with. A note beside the file says so from before the file is
///   changed until the last old worker leaves, so that a setting which was cut short reads as the old one
///   until somebody reloads. Servers that nginx leaves out for a while because they fail are not seen.
/// - [`in_flight`](TrafficRouter::in_flight) of a slot at weight zero is told to be zero once no worker from
///   before is left, and unknown otherwise.
/// - It copies no requests.
///
/// Limits: workers are told from others by their number only. Where somebody else reloads the same nginx
/// while this sets weights (another service of it, `nginx_reload`, a certificate tool), those workers may be
/// taken for its own, and weights be told a reload too early: let one at a time reload an nginx.
///
/// ```
/// use std::sync::Arc;
/// use homeostasis::core::{ManualClock, Target, Timestamp};
/// use homeostasis::remediate::action::NginxConfig;
/// use homeostasis::remediate::traffic::{NginxRouter, NginxSlots};
///
/// let edge = NginxConfig::new(Target::service("edge")?)
///     .with_upstream("orders", "/etc/nginx/conf.d/orders.upstream.conf");
/// let orders = NginxSlots::new(edge)
///     .slot("stable", ["10.0.0.1:8080", "10.0.0.2:8080"])
///     .slot("canary", ["10.0.0.3:8080"]);
/// # let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
/// let router = NginxRouter::new(clock).service("orders", orders)?;
/// # let _ = router;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct NginxRouter {
    services: BTreeMap<String, NginxSlots>,
    clock: Arc<dyn Clock>,
}

impl NginxRouter {
    /// Without services.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            services: BTreeMap::new(),
            clock,
        }
    }

    /// The same with one service more.
    ///
    /// # Errors
    /// If the name is taken or not a plain word, a path is not absolute, the upstream is missing, or there
    /// is a slot without servers, a server that is not `host:port`, or one in two slots.
    pub fn service(
        mut self,
        service: impl Into<String>,
        slots: NginxSlots,
    ) -> Result<Self, ConfigError> {
        let service = new_name("services", service.into(), &self.services)?;
        let path = format!("services.{service}");
        let mut wrong = slots.nginx.violations(&format!("{path}.nginx"));
        if slots.nginx.upstream.is_none() {
            let path = format!("{path}.nginx.upstream");
            wrong.push(Violation::new(
                path,
                "",
                "the upstream that is set, and its file",
            ));
        }
        let is_server = |server: &str| host_and_port(server).is_ok();
        let path = format!("{path}.slots");
        wrong.merge(slot_violations(&path, &slots.slots, is_server, "host:port"));
        wrong.into_result(())?;
        self.services.insert(service, slots);
        Ok(self)
    }

    fn of(&self, service: &str) -> Result<&NginxSlots, TrafficError> {
        self.services.get(service).ok_or_else(|| {
            let known: Vec<_> = self.services.keys().collect();
            let detail = format!("{service:?}, expected one of {known:?}");
            TrafficError::invalid("service", detail)
        })
    }
}

impl NginxSlots {
    fn upstream(&self) -> Result<(&str, &Path), TrafficError> {
        let upstream = self.nginx.upstream.as_ref();
        let (name, file) =
            upstream.ok_or_else(|| TrafficError::invalid("upstream", "expected one"))?;
        Ok((name, file))
    }

    fn workers(&self) -> Result<Workers, TrafficError> {
        Workers::of(&self.nginx.pid_file).ok_or_else(|| {
            let why = format!(
                "{} names no master that runs",
                self.nginx.pid_file.display()
            );
            TrafficError::transient("looking at nginx", why)
        })
    }

    /// The weights that the workers of now began with.
    fn told(&self) -> Result<Option<Weights>, TrafficError> {
        let (name, file) = self.upstream()?;
        let what = || format!("upstream {name} in {}", file.display());
        let content = in_force(file, &self.workers()?);
        let content = content.map_err(|error| TrafficError::permanent(what(), error))?;
        let Some(content) = content else {
            return Ok(None);
        };
        let found = servers(&content, name)
            .ok_or_else(|| TrafficError::invalid(what(), "expected an upstream of that name"))?;
        let ours = |server: &String| self.slots.values().flatten().any(|own| own == server);
        if let Some((server, _)) = found.iter().find(|(at, weight)| *weight > 0 && !ours(at)) {
            let detail = format!("server {server:?}, expected it in a slot");
            return Err(TrafficError::invalid(what(), detail));
        }
        let weight = |server: &str| {
            let of = found.iter().filter(|(at, _)| at == server);
            of.map(|(_, weight)| *weight).fold(0, u32::saturating_add)
        };
        Ok(sums(&self.slots, weight))
    }

    /// Refuses slots where nobody listens.
    async fn refuse(
        &self,
        clock: &dyn Clock,
        (weights, wanted): (&Weights, &BTreeMap<String, u32>),
        told: Option<&Weights>,
    ) -> Result<(), TrafficError> {
        for (slot, servers) in &self.slots {
            if !grows(slot, weights, told) {
                continue;
            }
            let mut accepted = false;
            for server in servers.iter().filter(|server| wanted[*server] > 0) {
                let connected = timeout(clock, CONNECT, TcpStream::connect(server)).await;
                if matches!(connected, Ok(Ok(_))) {
                    accepted = true;
                    break;
                }
            }
            if !accepted {
                let detail = format!("none of {servers:?} accepts a connection, expected one");
                return Err(TrafficError::transient(format!("slot {slot}"), detail));
            }
        }
        Ok(())
    }
}

/// What an action says of a failure, for a router.
fn traffic_error(what: &str, error: ActionError) -> TrafficError {
    match error {
        ActionError::Invalid { what, detail } => TrafficError::Invalid { what, detail },
        error => TrafficError::Failed {
            what: what.to_owned(),
            kind: error.kind(),
            source: Some(error.into()),
        },
    }
}

#[async_trait]
impl TrafficRouter for NginxRouter {
    async fn set_weights(&self, service: &str, weights: &Weights) -> Result<(), TrafficError> {
        let slots = self.of(service)?;
        let wanted = apportion(service, weights, &slots.slots, MAX_WEIGHT)?;
        let (name, file) = slots.upstream()?;
        let what = format!("setting the upstream {name}");
        let is_behind = is_behind(file, &slots.workers()?);
        let is_behind = is_behind.map_err(|error| TrafficError::permanent(&what, error))?;
        // What is there cannot be read before it was generated for the first time. A file that is not in
        // force yet is replaced, whatever is: the next reload would take it up.
        let told = match slots.told() {
            Ok(told) => told,
            Err(TrafficError::Invalid { .. }) => None,
            Err(error) => return Err(error),
        };
        if !is_behind && told == sums(&slots.slots, |server| wanted[server]) {
            return Ok(());
        }
        let asked = (weights, &wanted);
        slots.refuse(&*self.clock, asked, told.as_ref()).await?;
        let wanted = wanted
            .into_iter()
            .map(|(at, weight)| (at, Value::from(weight)));
        let content = slots.nginx.render(&wanted.collect()).map_err(|problem| {
            let detail = format!("expected {}", problem.expected);
            TrafficError::invalid(problem.pointer, detail)
        })?;
        let (nobody, key) = (Map::new(), IdempotencyKey::new(RunId::from_u128(0), 0));
        let call = ActionCall::new(&slots.nginx.target, &nobody, &key);
        let cx = Context::new(Arc::clone(&self.clock), 0);
        let tried = slots.nginx.try_alone(&cx, &call, file, &content).await;
        tried.map_err(|error| traffic_error(&what, error))?;
        let applied = slots
            .nginx
            .apply(&cx, &call, Some((file, Some(&content))))
            .await;
        applied.map_err(|error| traffic_error(&what, error))?;
        match slots.told()? {
            Some(told) if told.distance(weights).get() <= 0.01 => Ok(()),
            told => Err(TrafficError::Failed {
                what,
                kind: ErrorKind::Conflict,
                source: Some(format!("{told:?} is in force, expected {weights:?}").into()),
            }),
        }
    }

    async fn weights(&self, service: &str) -> Result<Option<Weights>, TrafficError> {
        self.services
            .get(service)
            .map_or(Ok(None), NginxSlots::told)
    }

    async fn in_flight(&self, service: &str, slot: &str) -> Result<Option<u64>, TrafficError> {
        let slots = self.of(service)?;
        let told = slots.told()?;
        let is_drained = told.is_some_and(|told| told.share(slot).get() == 0.0);
        let is_over = is_drained && !slots.workers()?.some_are_leaving();
        Ok((is_over && slots.slots.contains_key(slot)).then_some(0))
    }
}
