//! `redis_kill_clients`.

use std::time::Duration;

use async_trait::async_trait;
use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use homeostasis_core::{Context, Target};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::server::{Link, NAME, RedisServers};
use crate::action::{
    Action, ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind,
};

/// The most clients of one step.
const MOST: usize = 1000;

/// Closes connections of clients (`CLIENT KILL ID`): those idle, old or named so, the most idle first.
///
/// Parameters: `server` (a registered name); at least one of `idle_over`, `age_over` (durations, whole
/// seconds count) and `name` (of `CLIENT SETNAME`; `*` stands for anything), all of which must fit;
/// `user` (an ACL user), `max` (default 10, at most 1000), `include_blocked` (default false: a client
/// that waits in `BLPOP` or the like is at work, however idle it looks).
///
/// Never closed are our own connections, replicas, the primary and subscribers. The connections are
/// chosen when the state before is captured, and closed by the server's own number, which it never gives
/// twice: a repeated step closes nobody else. It is verified that none is left. Idempotent; nothing to
/// take back, because clients connect anew.
#[derive(Debug)]
pub struct RedisKillClients {
    spec: ActionSpec,
    servers: RedisServers,
}

/// A connection as `CLIENT LIST` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Found {
    id: u64,
    address: String,
    name: String,
    user: String,
    age_seconds: u64,
    idle_seconds: u64,
    #[serde(skip)]
    is_blocked: bool,
}

impl RedisKillClients {
    /// The action for these servers.
    pub fn new(servers: RedisServers) -> Self {
        let duration = ParamKind::Duration {
            min: Duration::from_secs(1),
            max: Duration::from_secs(30 * 86_400),
        };
        let max = ParamKind::Integer { min: 1, max: 1000 };
        let spec = ActionSpec::new("close connections of Redis clients")
            .with_params([
                RedisServers::param(),
                Param::optional("idle_over", duration.clone(), "idle for at least this"),
                Param::optional("age_over", duration, "connected for at least this"),
                Param::optional("name", ParamKind::Text, "called so; `*` is anything"),
                Param::optional("user", ParamKind::Text, "of this ACL user"),
                Param::optional("max", max, "how many at most, the most idle first").or(10),
                Param::optional(
                    "include_blocked",
                    ParamKind::Bool,
                    "those that wait as well",
                )
                .or(false),
            ])
            .with_effect(EffectClass::Idempotent)
            .with_risk(RiskLevel::Medium)
            .with_inverse(Inverse::Nothing);
        Self { spec, servers }
    }
}

impl Found {
    /// Reads a line of `name=value` words; `None` if it is none, or no plain client.
    fn parse(line: &str) -> Option<Self> {
        let field = |name: &str| {
            let mut words = line.split(' ').filter_map(|word| word.split_once('='));
            words.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let flags = field("flags")?;
        // Replica, primary, subscriber, monitor.
        if flags.contains(['S', 'M', 'P', 'O']) {
            return None;
        }
        Some(Self {
            id: field("id")?.parse().ok()?,
            address: field("addr")?.to_owned(),
            name: field("name").unwrap_or_default().to_owned(),
            user: field("user").unwrap_or_default().to_owned(),
            age_seconds: field("age")?.parse().ok()?,
            idle_seconds: field("idle")?.parse().ok()?,
            is_blocked: flags.contains('b'),
        })
    }
}

async fn list(link: &mut Link) -> Result<Vec<Found>, ActionError> {
    let command = ::redis::cmd("CLIENT").arg("LIST").clone();
    let text: String = link.ask("looking for clients", &command).await?;
    Ok(text.lines().filter_map(Found::parse).collect())
}

/// Whether `text` is what `pattern` says, where `*` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let (middle, last) = rest.rsplit_once('*').map_or(("", rest), |(m, l)| (m, l));
    for part in middle.split('*') {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

#[async_trait]
impl Action for RedisKillClients {
    fn name(&self) -> &'static str {
        "redis_kill_clients"
    }

    fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    fn touches(&self, target: &Target, args: &Map<String, Value>) -> Target {
        self.servers.touches(target, args)
    }

    fn check(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        let mut problems = self.servers.check(args);
        if !["idle_over", "age_over", "name"]
            .iter()
            .any(|name| args.contains_key(*name))
        {
            let expected = "at least one of `idle_over`, `age_over` and `name`";
            problems.push(ArgumentProblem::new("/idle_over", expected));
        }
        problems
    }

    async fn capture(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        if let Some(problem) = self.check(call.args).pop() {
            return Err(ActionError::argument(&problem.pointer, &problem.expected));
        }
        let text = |name| call.args.get(name).and_then(Value::as_str);
        let seconds = |name| match text(name) {
            Some(_) => call.duration(name).map(|duration| duration.as_secs()),
            None => Ok(0),
        };
        let (idle, age) = (seconds("idle_over")?, seconds("age_over")?);
        let blocked = call.boolean("include_blocked")?;
        let max = usize::try_from(call.unsigned("max")?).map_or(MOST, |max| max.min(MOST));
        let mut link = self.servers.open(cx, call).await?;
        let mut found = list(&mut link).await?;
        found.retain(|one| {
            one.name != NAME
                && one.idle_seconds >= idle
                && one.age_seconds >= age
                && (blocked || !one.is_blocked)
                && text("name").is_none_or(|pattern| fits(pattern, &one.name))
                && text("user").is_none_or(|user| user == one.user)
        });
        found.sort_by_key(|one| (std::cmp::Reverse(one.idle_seconds), one.id));
        found.truncate(max);
        Ok(json!(found))
    }

    async fn perform(&self, cx: &Context, call: &ActionCall<'_>) -> Result<Value, ActionError> {
        let found: Vec<Found> = serde_json::from_value(call.captured.clone())
            .map_err(|_| ActionError::invalid("captured state", "expected the clients found"))?;
        let mut link = self.servers.open(cx, call).await?;
        let mut n_closed = 0;
        for one in &found {
            let kill = ::redis::cmd("CLIENT")
                .arg("KILL")
                .arg("ID")
                .arg(one.id)
                .clone();
            let n: usize = link.act("closing a connection", &kill).await?;
            n_closed += n;
        }
        let left = list(&mut link).await?;
        let is_left = |one: &&Found| left.iter().any(|other| other.id == one.id);
        let n_left = found.iter().filter(is_left).count();
        if n_left > 0 {
            let detail = format!("{n_left} of {} are still there", found.len());
            return Err(ActionError::transient("closing connections", detail));
        }
        let n_gone = found.len() - n_closed;
        Ok(json!({ "found": found.len(), "closed": n_closed, "gone_before": n_gone }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_and_everything_else_for_itself() {
        for (pattern, text) in [
            ("web", "web"),
            ("web*", "web-1"),
            ("*", ""),
            ("a*b*c", "aXbYc"),
            ("*b", "ab"),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("web", "web1"),
            ("web*", "we"),
            ("a*b*c", "acb"),
            ("ab*ba", "aba"),
            ("w?b", "web"),
        ] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn only_plain_clients_are_found() {
        let line = |flags| {
            format!(
                "id=7 addr=127.0.0.1:1 laddr=x fd=8 name=web age=9 idle=3 flags={flags} db=0 user=default"
            )
        };
        let found = Found::parse(&line("N")).unwrap();
        assert_eq!(
            (found.id, found.name.as_str(), found.idle_seconds),
            (7, "web", 3)
        );
        assert!(Found::parse(&line("b")).unwrap().is_blocked);
        for flags in ["S", "M", "P", "O"] {
            assert_eq!(Found::parse(&line(flags)), None, "{flags}");
        }
        assert_eq!(Found::parse("id=x addr=1"), None);
    }
}
