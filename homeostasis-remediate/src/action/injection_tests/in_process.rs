//! Actions within the process: no string calls what the host did not register under that name, or hands its
//! code a word it was promised not to get.

use std::fs;
use std::sync::{Arc, Mutex};

use homeostasis_core::Target;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::*;
use crate::action::laws::{RealClock, context};
use crate::action::{
    ActionRegistry, ActionSpec, CallFunction, ClearCache, DeploymentSlots, LoadShedder, Param,
    ReloadConfig, ResizePool, RestartIntensity, RestartTask, RollbackDeployment, SetFlag, ShedLoad,
    TaskSupervisor,
};

/// A host that writes down whatever is asked of it, with folders beside each other.
struct Host {
    asked: Arc<Mutex<Vec<String>>>,
    dir: tempfile::TempDir,
    shedder: Arc<LoadShedder>,
    #[cfg(feature = "resilience")]
    breaker: Arc<crate::resilience::CircuitBreaker>,
}

fn gateway() -> Target {
    Target::service("gateway").unwrap()
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["outside/sub", "root/slots/v1", "root/slots/v2"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("root/current"), "v2\n").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(
            dir.path().join("outside"),
            dir.path().join("root/slots/link"),
        )
        .unwrap();
        #[cfg(feature = "resilience")]
        let breaker = {
            use crate::resilience::{CircuitBreaker, CircuitBreakerConfig};
            let config = CircuitBreakerConfig::default();
            let breaker = CircuitBreaker::new("prices", config, Arc::new(RealClock)).unwrap();
            breaker.force_open();
            Arc::new(breaker)
        };
        Self {
            asked: Arc::default(),
            dir,
            shedder: Arc::new(LoadShedder::new(Arc::new(RealClock))),
            #[cfg(feature = "resilience")]
            breaker,
        }
    }

    /// Writes down that it was called.
    fn note(&self) -> impl Fn(String) + Clone + Send + Sync + 'static {
        let asked = Arc::clone(&self.asked);
        move |what| asked.lock().unwrap().push(what)
    }

    /// What changed: calls of its code, the slot in force, what is shed, the breaker.
    fn seen(&self) -> Value {
        let current = fs::read_to_string(self.dir.path().join("root/current")).unwrap();
        #[cfg(feature = "resilience")]
        let breaker = format!("{:?}", self.breaker.phase());
        #[cfg(not(feature = "resilience"))]
        let breaker = "";
        let shed = format!("{:?}", self.shedder.shedding());
        json!([*self.asked.lock().unwrap(), current, shed, breaker])
    }

    fn cases(&self) -> Vec<Case> {
        let (flag, pool, cache) = (self.note(), self.note(), self.note());
        let (config, function, task) = (self.note(), self.note(), self.note());
        let flags = SetFlag::default().flag(
            "fallback",
            gateway(),
            || false,
            move |on| flag(on.to_string()),
        );
        let pools = ResizePool::default().pool(
            "db",
            gateway(),
            1..=64,
            || 8,
            move |size| {
                pool(size.to_string());
                Ok(())
            },
        );
        let caches = ClearCache::default().cache("prices", gateway(), move || {
            cache("cleared".to_owned());
            Box::pin(std::future::ready(Ok(1)))
        });
        let version = || "v1".to_owned();
        let configs = ReloadConfig::default().config("limits", gateway(), version, move |wanted| {
            config(wanted.unwrap_or_default());
            Box::pin(std::future::ready(Ok(())))
        });
        let spec = ActionSpec::new("rebuild a table").with_params([
            Param::required("job", ParamKind::Name, "which job"),
            Param::optional("how", ParamKind::OneOf(&["fast", "safe"]), "how").or("safe"),
        ]);
        let job = CallFunction::new("job", spec, move |call| {
            function(call.args.len().to_string());
            Box::pin(std::future::ready(Ok(Value::Null)))
        });
        let tasks = TaskSupervisor::new(Arc::new(RealClock), Handle::current());
        let runs =
            move |stop: homeostasis_core::Cancellation| -> homeostasis_core::BoxFuture<'static, _> {
                task("begun".to_owned());
                Box::pin(async move {
                    stop.cancelled().await;
                    Ok(())
                })
            };
        tasks
            .supervise("worker", gateway(), RestartIntensity::default(), runs)
            .unwrap();
        let slots = DeploymentSlots::new(gateway(), self.dir.path().join("root"));
        let deployments = RollbackDeployment::default().deployment("gateway", slots);
        let shedders =
            ShedLoad::default().shedder("front", gateway(), 80, Arc::clone(&self.shedder));
        let load = json!({"shedder": "front", "percent": 10, "up_to": "normal", "ttl": "5m"});
        #[allow(unused_mut, reason = "the breaker's action is of a feature")]
        let mut cases = vec![
            case(flags.unwrap(), json!({"flag": "fallback", "value": true})),
            case(pools.unwrap(), json!({"pool": "db", "size": 32})),
            case(caches.unwrap(), json!({"cache": "prices"})),
            case(
                configs.unwrap(),
                json!({"config": "limits", "version": "v1"}),
            ),
            case(job, json!({"job": "rebuild"})),
            case(RestartTask::new(tasks), json!({"task": "worker"})),
            case(
                deployments.unwrap(),
                json!({"deployment": "gateway", "to": "v1"}),
            ),
            case(shedders.unwrap(), load),
        ];
        #[cfg(feature = "resilience")]
        {
            let breakers = crate::action::ResetBreaker::default();
            let breakers = breakers.breaker(gateway(), Arc::clone(&self.breaker));
            cases.push(case(
                breakers.unwrap(),
                json!({"breaker": "prices", "forced": true}),
            ));
        }
        cases
    }
}

#[tokio::test]
async fn no_string_reaches_code_of_the_host_that_was_not_registered_so() {
    let host = Host::new();
    let cases = host.cases();
    // The task begins by itself, once.
    while host.asked.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let before = host.seen();
    let mut n_attacks = 0;
    for case in &cases {
        let name = case.action.name();
        for text in hostile(&host.dir.path().join("outside")) {
            for (param, args) in attacks(case, &text) {
                // Words like any other, where the host did not say which there are.
                let is_free = param == "job" || param == "version";
                if is_free && matches!(text.as_str(), "link" | "alias") {
                    continue;
                }
                // What a function of the host takes is checked before it is called, and nowhere else.
                let unchecked = (name != "job").then_some(false);
                for is_checked in [Some(true), unchecked].into_iter().flatten() {
                    let result = attack(&context(), &*case.action, &args, is_checked).await;
                    let what = format!("{name} {param} {text:?}: {result:?}");
                    assert!(result.is_err(), "{what}");
                    assert_eq!(host.seen(), before, "{what}");
                    n_attacks += 1;
                }
                // As if somebody had written into the journal; putting back what is in force is fine.
                let captured = json!({"value": text, "size": text, "from": text, "to": text});
                let undone = attack_undo(&context(), &*case.action, &args, &captured).await;
                assert_eq!(
                    host.seen(),
                    before,
                    "undo of {name} {param} {text:?}: {undone:?}"
                );
            }
        }
    }
    assert!(n_attacks > 900, "{n_attacks}");
}

#[tokio::test]
async fn every_action_in_process_acts_when_nobody_attacks() {
    let host = Host::new();
    for case in host.cases() {
        let before = host.seen();
        let result = attack(&context(), &*case.action, &filled(&case), true).await;
        let what = format!("{}: {result:?}", case.action.name());
        assert!(result.is_ok() && host.seen() != before, "{what}");
    }
}

#[test]
fn a_registry_takes_no_name_that_means_more_than_itself() {
    let place = tempfile::tempdir().unwrap();
    for text in hostile(place.path()) {
        // These are names like any other.
        if matches!(text.as_str(), "link" | "alias") {
            continue;
        }
        let function = CallFunction::new(&text, ActionSpec::new("x"), |_| {
            Box::pin(std::future::ready(Ok(Value::Null)))
        });
        let refused = ActionRegistry::default().register(function).unwrap_err();
        assert!(refused.to_string().contains("actions"), "{refused}");
        let flagged = SetFlag::default().flag(text.as_str(), gateway(), || false, |_| ());
        assert!(flagged.is_err(), "{text:?}");
    }
}
