//! `haproxy_set_server_state`, `haproxy_set_weight`.

use async_trait::async_trait;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{Context, Target};
use serde_json::{Map, Value, json};

use super::runtime::HaproxyInstances;
use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind, ProbeAnswer,
};

/// `SRV_ADMF_FMAINT` and `SRV_ADMF_FDRAIN` of `srv_admin_state`: what was asked for at run time.
const MAINT: u32 = 0x01;
const DRAIN: u32 = 0x08;
/// `srv_op_state`: 1 (starting) and 2 (up) are given requests; 0 (down) and 3 (stopping) none.
const TAKING: [u32; 2] = [1, 2];

/// What a server can be told to be.
const STATES: &[&str] = &["ready", "drain", "maint"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    State,
    Weight,
}

/// Sets the state (`ready`, `drain`, `maint`) or the weight of a server in a backend; undo puts the earlier
/// one back.
///
/// Parameters: `haproxy` (a registered name), `backend`, `server`; `state` for `haproxy_set_server_state`
/// and `weight` (0 to 256, absolute) for `haproxy_set_weight`; `min_left` (default 1, at most 1000): how
/// many other servers of the backend must take requests, so that the last one is not taken away. That is
/// looked at when the state before is captured, and again right before it is done or taken back (so undo
/// may fail when the others are gone by then); it is not asked of what gives a server to the backend. What is stopping is not counted, backup servers are: `HAProxy` does not
/// say here which they are.
///
/// Nothing is written to `HAProxy`'s file: a restart forgets it. It is verified by reading it back; state,
/// weight and present sessions are told. Probeable.
#[derive(Debug)]
pub struct HaproxyServer {
    spec: ActionSpec,
    instances: HaproxyInstances,
    verb: Verb,
}

/// A line of `show servers state`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: String,
    is_taking: bool,
    admin: u32,
    pub(super) weight: u64,
}

impl Found {
    fn state(&self) -> &'static str {
        match self.admin {
            admin if admin & MAINT != 0 => "maint",
            admin if admin & DRAIN != 0 => "drain",
            _ => "ready",
        }
    }

    /// Whether it is given new requests: nothing of what may keep them off, and not by its weight.
    pub(super) fn takes_requests(&self) -> bool {
        self.may_take_requests() && self.weight > 0
    }

    /// Whether it would be given new requests if its weight were above zero.
    pub(super) fn may_take_requests(&self) -> bool {
        self.is_taking && self.admin == 0
    }

    fn report(&self, n_sessions: Option<u64>) -> Value {
        json!({ "state": self.state(), "weight": self.weight, "sessions": n_sessions })
    }
}

impl HaproxyServer {
    /// `haproxy_set_server_state`.
    pub fn set_state(instances: HaproxyInstances) -> Self {
        let param = Param::required("state", ParamKind::OneOf(STATES), "which state");
        Self::new(
            instances,
            Verb::State,
            "set the state of a server of HAProxy",
            param,
        )
    }

    /// `haproxy_set_weight`.
    pub fn set_weight(instances: HaproxyInstances) -> Self {
        let weight = ParamKind::Integer { min: 0, max: 256 };
        let param = Param::required("weight", weight, "its share of the requests; 0 is none");
        Self::new(
            instances,
            Verb::Weight,
            "set the weight of a server of HAProxy",
            param,
        )
    }

    fn new(instances: HaproxyInstances, verb: Verb, description: &str, param: Param) -> Self {
        let others = ParamKind::Integer { min: 0, max: 1000 };
        let spec = ActionSpec::new(description)
            .with_params([
                HaproxyInstances::param(),
                Param::required("backend", ParamKind::Name, "in which backend"),
                Param::required("server", ParamKind::Name, "which server"),
                param,
                Param::optional("min_left", others, "others that must take requests").or(1),
            ])
            .with_effect(EffectClass::Probeable)
            .with_risk(RiskLevel::Medium)
            .with_inverse(Inverse::Captured("its earlier state and weight".to_owned()));
        Self {
            spec,
            instances,
            verb,
        }
    }

    /// What is set, as the words of the command and as it is reported.
    fn wanted(&self, call: &ActionCall<'_>) -> Result<(&'static str, String), ActionError> {
        Ok(match self.verb {
            // It becomes a part of a command.
            Verb::State => match call.text("state")? {
                state if STATES.contains(&state) => ("state", state.to_owned()),
                _ => return Err(ActionError::argument("state", "one of the states")),
            },
            Verb::Weight => ("weight", call.unsigned("weight")?.to_string()),
        })
    }

    /// All servers of the backend.
    async fn list(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Vec<Found>, ActionError> {
        let what = "reading the state of the servers";
        let command = format!("show servers state {}", word(call, "backend")?);
        let answer = self.instances.say(cx, call, &command).await;
        let answer = answer.map_err(|error| error.into_error(what, true))?;
        servers(&answer).ok_or_else(|| {
            let said: String = answer.trim().chars().take(200).collect();
            ActionError::invalid(
                "the backend",
                format!("HAProxy says {said:?}, expected its servers"),
            )
        })
    }

    async fn look(
        &self,
        cx: &Context,
        call: &ActionCall<'_>,
    ) -> Result<(Found, usize), ActionError> {
        let name = word(call, "server")?;
        let mut all = self.list(cx, call).await?;
        let idx = all.iter().position(|one| one.name == name);
        let idx = idx.ok_or_else(|| ActionError::argument("server", "a server of the backend"))?;
        let one = all.swap_remove(idx);
        let n_others = all.iter().filter(|other| other.takes_requests()).count();
        Ok((one, n_others))
    }

    /// Refuses to take away what the backend cannot do without.
    fn refuse(
        &self,
        call: &ActionCall<'_>,
        value: &str,
        n_others: usize,
    ) -> Result<(), ActionError> {
        let min_left = call.unsigned("min_left")?;
        let gives = match self.verb {
            Verb::State => value == "ready",
            Verb::Weight => value != "0",
        };
        if !gives && (n_others as u64) < min_left {
            let detail = format!(
                "{n_others} others take requests, expected at least {min_left} (`min_left`)"
            );
            return Err(ActionError::invalid("the backend", detail));
        }
        Ok(())
    }

    async fn sessions(
        &self,
        cx: &Context,
        call: &ActionCall<'_>,
    ) -> Result<Option<u64>, ActionError> {
        let (backend, server) = (word(call, "backend")?, word(call, "server")?);
        let command = format!("show stat {backend} 4 -1");
        let answer = self.instances.say(cx, call, &command).await;
        let answer = answer.map_err(|error| error.into_error("counting sessions", true))?;
        Ok(statistic(&answer, backend, server, "scur"))
    }

    /// Sets it, and reads it back.
    async fn set(
        &self,
        cx: &Context,
        call: &ActionCall<'_>,
        (field, value): (&str, &str),
    ) -> Result<Value, ActionError> {
        let (backend, server) = (word(call, "backend")?, word(call, "server")?);
        let what = format!("setting the {field} of {backend}/{server}");
        let command = format!("set server {backend}/{server} {field} {value}");
        let answer = self.instances.say(cx, call, &command).await;
        let answer = answer.map_err(|error| error.into_error(&what, false))?;
        let (now, _) = self.look(cx, call).await.map_err(ActionError::begun)?;
        let is = if field == "state" {
            now.state().to_owned()
        } else {
            now.weight.to_string()
        };
        if is == value {
            let sessions = self.sessions(cx, call).await;
            return Ok(now.report(sessions.map_err(ActionError::begun)?));
        }
        let said: String = answer.trim().chars().take(200).collect();
        let detail = format!("it is {is:?}, expected {value:?}; HAProxy says {said:?}");
        Err(ActionError::permanent(what, detail))
    }
}

/// An argument that becomes a part of a command: one word, so it ends none and begins none.
fn word<'a>(call: &ActionCall<'a>, param: &str) -> Result<&'a str, ActionError> {
    let text = call.text(param)?;
    if crate::action::is_name(text) {
        return Ok(text);
    }
    Err(ActionError::argument(param, &ParamKind::Name.expected()))
}

/// Reads `show servers state`; `None` if it is something else.
pub(super) fn servers(answer: &str) -> Option<Vec<Found>> {
    let mut lines = answer.lines().skip_while(|line| !line.starts_with("# "));
    let names: Vec<_> = lines.next()?.trim_start_matches("# ").split(' ').collect();
    let column = |name: &str| names.iter().position(|found| *found == name);
    let (name, op) = (column("srv_name")?, column("srv_op_state")?);
    let (admin, weight) = (column("srv_admin_state")?, column("srv_uweight")?);
    let lines = lines.filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            let cells: Vec<_> = line.split(' ').collect();
            Some(Found {
                name: (*cells.get(name)?).to_owned(),
                is_taking: TAKING.contains(&cells.get(op)?.parse().ok()?),
                admin: cells.get(admin)?.parse().ok()?,
                weight: cells.get(weight)?.parse().ok()?,
            })
        })
        .collect()
}

/// Reads a number of a server in `show stat`; `None` if it is not there.
pub(super) fn statistic(csv: &str, backend: &str, server: &str, name: &str) -> Option<u64> {
    let mut lines = csv.lines();
    let names: Vec<_> = lines.next()?.trim_start_matches("# ").split(',').collect();
    let column = |name: &str| names.iter().position(|found| *found == name);
    let (px, sv, wanted) = (column("pxname")?, column("svname")?, column(name)?);
    lines
        .map(|line| line.split(',').collect::<Vec<_>>())
        .find(|cells| cells.get(px) == Some(&backend) && cells.get(sv) == Some(&server))
        .and_then(|cells| cells.get(wanted)?.parse().ok())
}

#[async_trait]
impl Action for HaproxyServer {
    fn name(&self) -> &'static str {
        match self.verb {
            Verb::State => "haproxy_set_server_state",
            Verb::Weight => "haproxy_set_weight",
        }
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        self.instances.touches(target, args)
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        self.instances.check(args)
    }

    async fn capture(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let (_, value) = self.wanted(call)?;
        let (one, n_others) = self.look(cx, call).await?;
        self.refuse(call, &value, n_others)?;
        Ok(one.report(None))
    }

    async fn perform(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let (field, value) = self.wanted(call)?;
        let (_, n_others) = self.look(cx, call).await?;
        self.refuse(call, &value, n_others)?;
        self.set(cx, call, (field, &value)).await
    }

    async fn probe(&self, cx: &Context, call: &ActionCall<'_>) -> ProbeAnswer {
        let wanted = match self.wanted(call) {
            Ok((_, wanted)) => wanted,
            Err(error) => return ProbeAnswer::CannotTell(error.to_string()),
        };
        match self.look(cx, call).await {
            Err(error) => ProbeAnswer::CannotTell(error.report().to_string()),
            Ok((one, _)) if one.state() == wanted || one.weight.to_string() == wanted => {
                ProbeAnswer::Happened(one.report(None))
            }
            Ok(_) => ProbeAnswer::DidNot,
        }
    }

    async fn undo(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let (state, weight) = (
            call.captured["state"].as_str(),
            call.captured["weight"].as_u64(),
        );
        let (Some(state), Some(weight)) = (state, weight) else {
            let detail = "expected its state and weight";
            return Err(ActionError::invalid("captured state", detail));
        };
        if !STATES.contains(&state) {
            let detail = format!("{state:?}, expected one of the states");
            return Err(ActionError::invalid("captured state", detail));
        }
        let (field, value) = match self.verb {
            Verb::State => ("state", state.to_owned()),
            Verb::Weight => ("weight", weight.to_string()),
        };
        let (one, n_others) = self.look(cx, call).await?;
        if one.takes_requests() {
            self.refuse(call, &value, n_others)?;
        }
        self.set(cx, call, (field, &value)).await
    }
}
