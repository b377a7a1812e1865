//! Shares of traffic through the weights of an `HTTPRoute`.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::port::{TrafficError, TrafficRouter, Weights};
use homeostasis_core::{Clock, ConfigError, Context, ErrorKind, Violation, timeout};
use serde_json::{Value, json};

use super::super::names::{LABEL, SUBDOMAIN};
use super::super::tool::{Argv, Tool, argv};
use crate::action::flag::new_name;
use crate::traffic::{apportion, grows, slot_violations, sums};

/// With its group, because others have routes too.
const ROUTE: &str = "httproute.gateway.networking.k8s.io";
const SLICES: &str = "endpointslices.discovery.k8s.io";
/// Of 1 000 000 that the API allows: enough for a point of a point.
const MAX_WEIGHT: u32 = 10_000;
/// How long the gateway has to take up a change, and how often it is asked.
/// How long one call of `kubectl` may take.
const CALL: Duration = Duration::from_secs(30);
const SETTLE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(500);

/// A service behind an `HTTPRoute` of the Gateway API, and which of its backends are which slot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpRouteSlots {
    /// Where the route and its backends are.
    pub namespace: String,
    /// The name of the route.
    pub route: String,
    /// The backends (names of Services) of each slot.
    pub slots: BTreeMap<String, Vec<String>>,
}

impl HttpRouteSlots {
    /// Without slots.
    pub fn new(namespace: impl Into<String>, route: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            route: route.into(),
            slots: BTreeMap::new(),
        }
    }

    /// The same with a slot, instead of one of that name.
    #[must_use]
    pub fn slot<S: Into<String>>(
        mut self,
        name: impl Into<String>,
        backends: impl IntoIterator<Item = S>,
    ) -> Self {
        let backends = backends.into_iter().map(Into::into).collect();
        self.slots.insert(name.into(), backends);
        self
    }
}

/// Shifts traffic through the weights of an `HTTPRoute`, by `kubectl`.
///
/// Every rule of the route that leads to a backend of a slot gets the weights, and must lead to all slots
/// and to nobody else. Who applies the route from a repository sets its own weights again: leave them out
/// there.
///
/// Of the port's promises:
/// - *Somebody always serves:* all weights are changed by one request to the cluster, which refuses it if
///   the route was changed since it was read. Before that every backend with a weight, of every slot that is to
///   get more, must have an endpoint that is ready: a gateway answers for one without with an error.
/// - *Nothing is cut* and the exactness of shares are the gateway's to keep: it drains connections as it is
///   configured.
/// - *Read back:* the weights of the route, once every gateway says that it accepted them (`Accepted` and
///   `ResolvedRefs` of the present generation); it is awaited for 30 s. Before that reading them is an error
///   that passes. A gateway may need a moment more until its proxies have them.
/// - It copies no requests and cannot tell how many are on their way.
///
/// A rule that names one `Service` twice (at two ports) is refused: its share would be doubled. A backend of
/// another kind or namespace is somebody else's, whatever its name. A call of `kubectl` may take 30 s.
///
/// ```
/// use std::sync::Arc;
/// use homeostasis::core::{ManualClock, Timestamp};
/// use homeostasis::remediate::action::Tool;
/// use homeostasis::remediate::traffic::{HttpRouteRouter, HttpRouteSlots};
///
/// let orders = HttpRouteSlots::new("shop", "orders")
///     .slot("stable", ["orders-stable"])
///     .slot("canary", ["orders-canary"]);
/// # let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
/// let kubectl = Tool::find("kubectl").arg("--context=production");
/// let router = HttpRouteRouter::new(kubectl, clock).service("orders", orders)?;
/// # let _ = router;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct HttpRouteRouter {
    kubectl: Tool,
    clock: Arc<dyn Clock>,
    services: BTreeMap<String, HttpRouteSlots>,
}

impl HttpRouteRouter {
    /// Without services.
    pub fn new(kubectl: Tool, clock: Arc<dyn Clock>) -> Self {
        Self {
            kubectl,
            clock,
            services: BTreeMap::new(),
        }
    }

    /// The same with one service more.
    ///
    /// # Errors
    /// If the name is taken or not a plain word, there is a slot without backends, a backend in two slots,
    /// or a name that Kubernetes does not have.
    pub fn service(
        mut self,
        service: impl Into<String>,
        slots: HttpRouteSlots,
    ) -> Result<Self, ConfigError> {
        let service = new_name("services", service.into(), &self.services)?;
        let path = format!("services.{service}");
        let is_label = |name: &str| LABEL.is_one(name);
        let mut wrong = slot_violations(
            &format!("{path}.slots"),
            &slots.slots,
            is_label,
            LABEL.expected,
        );
        for (field, name, grammar) in [
            ("namespace", &slots.namespace, LABEL),
            ("route", &slots.route, SUBDOMAIN),
        ] {
            if !grammar.is_one(name) {
                let (path, found) = (format!("{path}.{field}"), format!("{name:?}"));
                wrong.push(Violation::new(path, found, grammar.expected));
            }
        }
        wrong.into_result(())?;
        self.services.insert(service, slots);
        Ok(self)
    }

    fn of(&self, service: &str) -> Result<&HttpRouteSlots, TrafficError> {
        self.services.get(service).ok_or_else(|| {
            let known: Vec<_> = self.services.keys().collect();
            let detail = format!("{service:?}, expected one of {known:?}");
            TrafficError::invalid("service", detail)
        })
    }

    async fn run(&self, what: &str, args: &Argv) -> Result<String, TrafficError> {
        let cx = Context::new(Arc::clone(&self.clock), 0);
        let ended = timeout(&*self.clock, CALL, self.kubectl.run(&cx, "", args)).await;
        let ended = ended.map_err(|_| {
            let detail = format!("kubectl has not answered within {CALL:?}");
            TrafficError::transient(what, detail)
        })?;
        let ended = ended.map_err(|error| TrafficError::Failed {
            what: what.to_owned(),
            kind: error.kind(),
            source: Some(error.into()),
        })?;
        if ended.code() != Some(0) {
            return Err(TrafficError::transient(what, ended.unexpected(0)));
        }
        let answer = ended.out.whole();
        answer.ok_or_else(|| TrafficError::permanent(what, "the answer is too long"))
    }

    async fn route(&self, slots: &HttpRouteSlots) -> Result<Value, TrafficError> {
        let what = format!("reading the route {}", slots.route);
        let namespace = format!("--namespace={}", slots.namespace);
        let asked = [
            "get",
            ROUTE,
            &namespace,
            "--output=json",
            "--",
            &slots.route,
        ];
        let answer = self.run(&what, &argv(asked)).await?;
        serde_json::from_str(&answer).map_err(|error| TrafficError::permanent(what, error))
    }

    /// Refuses slots that grow onto a backend without an endpoint that is ready.
    async fn refuse(
        &self,
        slots: &HttpRouteSlots,
        (weights, wanted): (&Weights, &BTreeMap<String, u32>),
        told: Option<&Weights>,
    ) -> Result<(), TrafficError> {
        for (slot, backends) in &slots.slots {
            if !grows(slot, weights, told) {
                continue;
            }
            let namespace = format!("--namespace={}", slots.namespace);
            let names = backends.join(",");
            let selector = format!("--selector={SERVICE_NAME} in ({names})");
            let asked = ["get", SLICES, &namespace, "--output=json", &selector];
            let what = format!("looking for endpoints of slot {slot}");
            let answer = self.run(&what, &argv(asked)).await?;
            let slices: Value = serde_json::from_str(&answer)
                .map_err(|error| TrafficError::permanent(what, error))?;
            let all = |of: &Value, name: &str| of[name].as_array().cloned().unwrap_or_default();
            let found = all(&slices, "items");
            let is_ready = |backend: &str| {
                let of = found
                    .iter()
                    .filter(|slice| slice["metadata"]["labels"][SERVICE_NAME] == backend);
                // Absent is unknown, which counts as ready.
                of.flat_map(|slice| all(slice, "endpoints"))
                    .any(|endpoint| endpoint["conditions"]["ready"] != json!(false))
            };
            let mut weighted = backends.iter().filter(|backend| wanted[*backend] > 0);
            if let Some(backend) = weighted.find(|backend| !is_ready(backend)) {
                let detail = format!("no endpoint of {backend:?} is ready, expected one");
                return Err(TrafficError::transient(format!("slot {slot}"), detail));
            }
        }
        Ok(())
    }
}

/// The label of a slice that names its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Where a backend stands in a route (`/spec/rules/0/backendRefs/1`), its name, and all of it.
type Place<'a> = (String, &'a str, &'a Value);

impl HttpRouteSlots {
    /// Our backends in the route, by rule.
    fn places<'a>(&self, route: &'a Value) -> Result<Vec<Vec<Place<'a>>>, TrafficError> {
        // Absent kinds and groups are those of a Service, an absent namespace is the route's.
        let ours = |name: &str, backend: &Value| {
            let is = |field: &str, own: &str| backend[field].as_str().is_none_or(|it| it == own);
            is("kind", "Service")
                && is("group", "")
                && is("namespace", &self.namespace)
                && self.slots.values().flatten().any(|own| own == name)
        };
        let mut places = Vec::new();
        let rules = route["spec"]["rules"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        for (r, rule) in rules.iter().enumerate() {
            let refs = rule["backendRefs"]
                .as_array()
                .map_or(&[][..], Vec::as_slice);
            let refs: Vec<_> = refs
                .iter()
                .enumerate()
                .map(|(b, backend)| {
                    let name = backend["name"].as_str().unwrap_or_default();
                    (format!("/spec/rules/{r}/backendRefs/{b}"), name, backend)
                })
                .collect();
            let (own, others): (Vec<_>, Vec<_>) =
                refs.into_iter().partition(|(_, name, one)| ours(name, one));
            if own.is_empty() {
                continue;
            }
            let what = || format!("route {}/{}", self.namespace, self.route);
            if let Some((place, name, _)) = others.iter().find(|(.., one)| one["weight"] != 0) {
                let detail = format!("{place} = {name:?}, expected a backend of a slot");
                return Err(TrafficError::invalid(what(), detail));
            }
            let mut seen = BTreeSet::new();
            if let Some((place, name, _)) = own.iter().find(|(_, name, _)| !seen.insert(*name)) {
                let detail = format!("{place} = {name:?}, expected each backend once in a rule");
                return Err(TrafficError::invalid(what(), detail));
            }
            let mut backends = self.slots.values().flatten();
            if let Some(name) = backends.find(|name| !own.iter().any(|(_, own, _)| own == name)) {
                let detail =
                    format!("/spec/rules/{r} does not lead to {name:?}, expected all slots");
                return Err(TrafficError::invalid(what(), detail));
            }
            places.push(own);
        }
        Ok(places)
    }

    /// The weights of the route; `None` if no rule leads to a slot.
    fn told(&self, route: &Value) -> Result<Option<Weights>, TrafficError> {
        let mut told: Option<Weights> = None;
        for rule in self.places(route)? {
            // Absent is 1.
            let weight = |server: &str| {
                let of = rule.iter().filter(|(_, name, _)| *name == server);
                let weights = of.map(|(.., backend)| backend["weight"].as_u64().unwrap_or(1));
                u32::try_from(weights.sum::<u64>()).unwrap_or(u32::MAX)
            };
            let of_rule = sums(&self.slots, weight);
            if let (Some(told), Some(of_rule)) = (&told, &of_rule)
                && told.distance(of_rule).get() > 0.01
            {
                let what = format!("route {}/{}", self.namespace, self.route);
                let detail = format!("{told:?} and {of_rule:?}, expected the same in every rule");
                return Err(TrafficError::invalid(what, detail));
            }
            told = told.or(of_rule);
        }
        Ok(told)
    }

    /// Refuses a route that a gateway has not taken up yet, or not at all.
    fn settled(&self, route: &Value) -> Result<(), TrafficError> {
        let what = format!("route {}/{}", self.namespace, self.route);
        let generation = &route["metadata"]["generation"];
        let parents = route["status"]["parents"].as_array();
        let parents = parents.map_or(&[][..], Vec::as_slice);
        if parents.is_empty() {
            return Err(TrafficError::transient(
                what,
                "no gateway says that it has it",
            ));
        }
        for parent in parents {
            for kind in ["Accepted", "ResolvedRefs"] {
                let conditions = parent["conditions"].as_array();
                let conditions = conditions.map_or(&[][..], Vec::as_slice);
                let of = conditions.iter().find(|one| one["type"] == kind);
                let holds = of.is_some_and(|one| {
                    one["status"] == "True" && one["observedGeneration"] == *generation
                });
                if !holds {
                    let gateway = &parent["parentRef"]["name"];
                    let why = format!(
                        "gateway {gateway} does not say {kind} of generation {generation}: {}",
                        of.unwrap_or(&Value::Null)
                    );
                    return Err(TrafficError::transient(what, why));
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl TrafficRouter for HttpRouteRouter {
    async fn set_weights(&self, service: &str, weights: &Weights) -> Result<(), TrafficError> {
        let slots = self.of(service)?;
        let wanted = apportion(service, weights, &slots.slots, MAX_WEIGHT)?;
        let route = self.route(slots).await?;
        let places: Vec<_> = slots.places(&route)?.into_iter().flatten().collect();
        let what = format!(
            "setting the weights of route {}/{}",
            slots.namespace, slots.route
        );
        if places.is_empty() {
            let detail = "no rule leads to a slot, expected one";
            return Err(TrafficError::invalid(what, detail));
        }
        let is_set = |(_, name, now): &Place<'_>| now["weight"] == wanted[*name];
        if !places.iter().all(is_set) {
            // Rules that differ are no word on who has what.
            let told = slots.told(&route).ok().flatten();
            let asked = (weights, &wanted);
            self.refuse(slots, asked, told.as_ref()).await?;
            let version = &route["metadata"]["resourceVersion"];
            let test = json!({"op": "test", "path": "/metadata/resourceVersion", "value": version});
            let set = places.iter().map(|(place, name, _)| {
                json!({"op": "add", "path": format!("{place}/weight"), "value": wanted[*name]})
            });
            let patch: Value = std::iter::once(test).chain(set).collect();
            let (namespace, patch) = (
                format!("--namespace={}", slots.namespace),
                format!("--patch={patch}"),
            );
            let asked = [
                "patch",
                ROUTE,
                &namespace,
                "--type=json",
                &patch,
                "--",
                &slots.route,
            ];
            self.run(&what, &argv(asked)).await?;
        }
        let started = self.clock.now();
        loop {
            let route = self.route(slots).await?;
            let told = slots.told(&route)?;
            if told.is_none_or(|told| told.distance(weights).get() > 0.01) {
                return Err(TrafficError::Failed {
                    what,
                    kind: ErrorKind::Conflict,
                    source: Some("somebody else set other weights".into()),
                });
            }
            match slots.settled(&route) {
                Ok(()) => return Ok(()),
                Err(error) if self.clock.now().since(started) >= SETTLE => return Err(error),
                Err(_) => self.clock.sleep(POLL).await,
            }
        }
    }

    async fn weights(&self, service: &str) -> Result<Option<Weights>, TrafficError> {
        let Some(slots) = self.services.get(service) else {
            return Ok(None);
        };
        let route = self.route(slots).await?;
        slots.settled(&route)?;
        slots.told(&route)
    }
}
