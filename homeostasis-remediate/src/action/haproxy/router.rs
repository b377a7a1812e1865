//! Shares of traffic through the weights of servers.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use async_trait::async_trait;
use homeostasis_core::port::{TrafficError, TrafficRouter, Weights};
use homeostasis_core::{Clock, ConfigError, ErrorKind, Violation};
use serde::{Deserialize, Serialize};

use super::runtime::HaproxyConfig;
use super::server::{Found, servers, statistic};
use crate::action::flag::new_name;
use crate::action::is_name;
use crate::action::servers::ServerConfig as _;
use crate::traffic::{apportion, grows, slot_violations, sums};

/// The weight of `HAProxy`'s servers goes up to this.
const MAX_WEIGHT: u32 = 256;
/// Commands of one line, in bytes; `HAProxy` reads 16 KiB.
const MAX_LINE: usize = 8 * 1024;

/// A service behind one backend of an `HAProxy`, and which servers are which slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HaproxySlots {
    /// Where it is.
    pub haproxy: HaproxyConfig,
    /// The backend: every server in it that takes requests is in a slot, but for backup servers.
    pub backend: String,
    /// The names of the servers of each slot.
    pub slots: BTreeMap<String, Vec<String>>,
}

impl HaproxySlots {
    /// Without slots.
    pub fn new(haproxy: HaproxyConfig, backend: impl Into<String>) -> Self {
        Self {
            haproxy,
            backend: backend.into(),
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

/// Shifts traffic through the Runtime API of `HAProxy`.
///
/// The shares become weights from 0 to 256 of the servers. They are shares of what is balanced: with
/// `balance roundrobin` (the default) or `random`, and within one point; `leastconn` follows them as load
/// allows; with `static-rr`, `source` and other maps without `hash-type consistent`, and with `first`,
/// weights cannot be changed, and that is an error. Requests that a cookie or a stick table binds to a
/// server follow it also at weight zero, until [`in_flight`](TrafficRouter::in_flight) and their table are
/// empty. Servers that a person or a health check took out stay out.
///
/// Of the port's promises:
/// - *Somebody always serves:* one line of commands raises, the largest first, and only when that is read
///   back, and every slot that is to get more has a server with a weight that takes requests, another one
///   lowers. A slot that is to get less may be dead. On the
///   way from equal weights to others a slot's share lies between the old and the new; where a person set
///   the weights before, it may pass that for as long as `HAProxy` takes to read one line.
/// - *Nothing is cut:* weight zero is what `HAProxy` calls drain; nothing is closed.
/// - *Read back:* the weights from `show servers state`, compared server by server after setting. They are
///   told whatever the health of a server is: while one is down or in maintenance, `HAProxy` gives its part
///   to the others, and what is told is the split that holds again once it is back. So a flapping health
///   check is never mistaken for a split to be restored.
/// - Only servers that take requests at the moment of setting are refused as strangers; one that comes up
///   later outside every slot gets its share unseen. Backup servers in a slot are not told apart.
/// - Nothing is written to `HAProxy`'s file: a restart, and a reload without a state file, forget it, and
///   the next reading tells.
/// - It copies no requests.
///
/// ```
/// use std::sync::Arc;
/// use homeostasis::core::{ManualClock, Target, Timestamp};
/// use homeostasis::remediate::action::HaproxyConfig;
/// use homeostasis::remediate::traffic::{HaproxyRouter, HaproxySlots};
///
/// let edge = HaproxyConfig::new(Target::service("edge")?, "/run/haproxy/admin.sock");
/// let orders = HaproxySlots::new(edge, "orders")
///     .slot("stable", ["orders-1", "orders-2"])
///     .slot("canary", ["orders-3"]);
/// # let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
/// let router = HaproxyRouter::new(clock).service("orders", orders)?;
/// # let _ = router;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct HaproxyRouter {
    services: BTreeMap<String, HaproxySlots>,
    clock: Arc<dyn Clock>,
}

impl HaproxyRouter {
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
    /// If the name is taken or not a plain word, the instance is not well configured, or there is a slot
    /// without servers, a name that is not a plain word, or a server in two slots.
    pub fn service(
        mut self,
        service: impl Into<String>,
        slots: HaproxySlots,
    ) -> Result<Self, ConfigError> {
        let service = new_name("services", service.into(), &self.services)?;
        let path = format!("services.{service}");
        let mut wrong = slots.haproxy.violations(&format!("{path}.haproxy"));
        let expected = "a plain word: letters, digits, '.', '_', '-'";
        if !is_name(&slots.backend) {
            let found = format!("{:?}", slots.backend);
            wrong.push(Violation::new(format!("{path}.backend"), found, expected));
        }
        let path = format!("{path}.slots");
        let of_slots = slot_violations(&path, &slots.slots, is_name, expected);
        wrong.merge(of_slots);
        wrong.into_result(())?;
        self.services.insert(service, slots);
        Ok(self)
    }

    fn of(&self, service: &str) -> Result<&HaproxySlots, TrafficError> {
        self.services.get(service).ok_or_else(|| {
            let known: Vec<_> = self.services.keys().collect();
            let detail = format!("{service:?}, expected one of {known:?}");
            TrafficError::invalid("service", detail)
        })
    }
}

impl HaproxySlots {
    async fn say(&self, clock: &dyn Clock, what: &str, line: &str) -> Result<String, TrafficError> {
        let answer = self.haproxy.say(clock, line).await;
        answer.map_err(|unsaid| unsaid.into_traffic_error(what))
    }

    /// The servers of the backend, by name.
    async fn look(&self, clock: &dyn Clock) -> Result<BTreeMap<String, Found>, TrafficError> {
        let what = "reading the state of the servers";
        let command = format!("show servers state {}", self.backend);
        let answer = self.say(clock, what, &command).await?;
        if answer.trim().is_empty() {
            return Err(TrafficError::transient(
                what,
                "HAProxy closed without an answer",
            ));
        }
        let found = servers(&answer).ok_or_else(|| {
            let detail = format!("HAProxy says {:?}, expected its servers", short(&answer));
            TrafficError::invalid(format!("backend {}", self.backend), detail)
        })?;
        Ok(found
            .into_iter()
            .map(|one| (one.name.clone(), one))
            .collect())
    }

    /// The weights of slots, whoever is down; `None` if all are zero.
    fn told(&self, found: &BTreeMap<String, Found>) -> Option<Weights> {
        let weight = |server: &str| {
            let weight = found.get(server).map_or(0, |one| one.weight);
            u32::try_from(weight).unwrap_or(u32::MAX)
        };
        sums(&self.slots, weight)
    }

    /// Refuses what would not be shared as asked, or would leave nobody to serve.
    fn refuse(
        &self,
        (weights, wanted): (&Weights, &BTreeMap<String, u32>),
        told: Option<&Weights>,
        found: &BTreeMap<String, Found>,
    ) -> Result<(), TrafficError> {
        let place = |slot: &str| format!("slot {slot} of backend {}", self.backend);
        for (slot, servers) in &self.slots {
            if let Some(server) = servers.iter().find(|server| !found.contains_key(*server)) {
                let known: Vec<_> = found.keys().collect();
                let detail = format!("server {server:?}, expected one of {known:?}");
                return Err(TrafficError::invalid(place(slot), detail));
            }
            // Rounding may leave servers of a small slot without a weight.
            let weighted = servers.iter().filter(|server| wanted[*server] > 0);
            let servers: Vec<_> = weighted.collect();
            let takes = |server: &&String| found[*server].may_take_requests();
            if grows(slot, weights, told) && !servers.iter().any(takes) {
                let detail = format!("none of {servers:?} takes requests, expected one that does");
                return Err(TrafficError::transient(place(slot), detail));
            }
        }
        Ok(())
    }

    /// Refuses a backend where others get a share too.
    async fn refuse_strangers(
        &self,
        clock: &dyn Clock,
        found: &BTreeMap<String, Found>,
    ) -> Result<(), TrafficError> {
        let ours = |name: &String| self.slots.values().flatten().any(|server| server == name);
        let strange = |(name, one): &(&String, &Found)| one.takes_requests() && !ours(name);
        let strangers: Vec<_> = found.iter().filter(strange).map(|(name, _)| name).collect();
        if strangers.is_empty() {
            return Ok(());
        }
        let csv = self.statistics(clock).await?;
        let is_backup = |name: &str| statistic(&csv, &self.backend, name, "bck") == Some(1);
        match strangers.into_iter().find(|name| !is_backup(name)) {
            None => Ok(()),
            Some(name) => {
                let detail = format!("server {name:?} takes requests, expected it in a slot");
                Err(TrafficError::invalid(
                    format!("backend {}", self.backend),
                    detail,
                ))
            }
        }
    }

    async fn statistics(&self, clock: &dyn Clock) -> Result<String, TrafficError> {
        let command = format!("show stat {} 4 -1", self.backend);
        self.say(clock, "counting requests", &command).await
    }

    /// Sets these weights, in this order, and reads them back.
    async fn set(
        &self,
        clock: &dyn Clock,
        changes: &[(&String, u32)],
    ) -> Result<BTreeMap<String, Found>, TrafficError> {
        let what = format!("setting weights of backend {}", self.backend);
        let mut said = String::new();
        for line in self.lines(changes) {
            said += &self.say(clock, &what, &line).await?;
        }
        let found = self.look(clock).await?;
        let is = |server: &String| found.get(server).map(|one| one.weight);
        let other = changes
            .iter()
            .find(|(server, weight)| is(server) != Some((*weight).into()));
        match other {
            None => Ok(found),
            Some((server, weight)) => Err(TrafficError::Failed {
                what,
                kind: ErrorKind::Permanent,
                source: Some(
                    format!(
                        "server {server:?} has {:?}, expected {weight}; HAProxy says {:?}",
                        is(server),
                        short(&said)
                    )
                    .into(),
                ),
            }),
        }
    }

    /// As few lines of commands as can be: what stands in one is done in one go.
    fn lines(&self, changes: &[(&String, u32)]) -> Vec<String> {
        let mut lines = vec![String::new()];
        for (server, weight) in changes {
            if lines.last().is_some_and(|line| line.len() > MAX_LINE) {
                lines.push(String::new());
            }
            if let Some(line) = lines.last_mut() {
                let end = if line.is_empty() { "" } else { ";" };
                let backend = &self.backend;
                // Writing to a `String` cannot fail.
                let _ = write!(line, "{end}set server {backend}/{server} weight {weight}");
            }
        }
        lines.retain(|line| !line.is_empty());
        lines
    }
}

/// What `HAProxy` said, for people.
fn short(answer: &str) -> String {
    answer.trim().chars().take(200).collect()
}

#[async_trait]
impl TrafficRouter for HaproxyRouter {
    async fn set_weights(&self, service: &str, weights: &Weights) -> Result<(), TrafficError> {
        let (slots, clock) = (self.of(service)?, &*self.clock);
        let wanted = apportion(service, weights, &slots.slots, MAX_WEIGHT)?;
        let found = slots.look(clock).await?;
        let told = slots.told(&found);
        slots.refuse((weights, &wanted), told.as_ref(), &found)?;
        slots.refuse_strangers(clock, &found).await?;
        let changes = wanted.iter().filter_map(|(server, weight)| {
            let before = found.get(server)?.weight;
            (before != u64::from(*weight)).then_some((server, *weight, before))
        });
        let (mut raised, lowered): (Vec<_>, Vec<_>) =
            changes.partition(|(_, weight, before)| u64::from(*weight) > *before);
        // The largest first: a small one would otherwise meet others that are smaller still.
        raised.sort_by_key(|(_, weight, _)| std::cmp::Reverse(*weight));
        let only = |changes: Vec<(_, u32, u64)>| -> Vec<_> {
            let changes = changes.into_iter();
            changes
                .map(|(server, weight, _)| (server, weight))
                .collect()
        };
        if !raised.is_empty() {
            let found = slots.set(clock, &only(raised)).await?;
            slots.refuse((weights, &wanted), told.as_ref(), &found)?;
        }
        if !lowered.is_empty() {
            slots.set(clock, &only(lowered)).await?;
        }
        Ok(())
    }

    async fn weights(&self, service: &str) -> Result<Option<Weights>, TrafficError> {
        let Some(slots) = self.services.get(service) else {
            return Ok(None);
        };
        let found = slots.look(&*self.clock).await?;
        // Shares among slots are none where somebody else has one, too.
        slots.refuse_strangers(&*self.clock, &found).await?;
        slots.told(&found).map(Some).ok_or_else(|| {
            let what = format!("backend {}", slots.backend);
            TrafficError::transient(what, "no server of a slot has a weight above zero")
        })
    }

    /// The sessions of its servers, and those that wait for one of them.
    async fn in_flight(&self, service: &str, slot: &str) -> Result<Option<u64>, TrafficError> {
        let slots = self.of(service)?;
        let Some(servers) = slots.slots.get(slot) else {
            return Ok(None);
        };
        let csv = slots.statistics(&*self.clock).await?;
        let backend = &slots.backend;
        let of = |server: &String| {
            let waiting = statistic(&csv, backend, server, "qcur")?;
            Some(statistic(&csv, backend, server, "scur")? + waiting)
        };
        Ok(servers.iter().map(of).sum())
    }
}
