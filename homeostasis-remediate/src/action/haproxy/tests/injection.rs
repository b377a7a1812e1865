//! Hostile strings on the way to a real `HAProxy`, over a socket whose level is `admin`.

use super::*;
use crate::action::injection_tests::{attack, attack_undo, attacks, case, filled, hostile};
use crate::action::laws::context;

/// What only means something to the Runtime API: it takes several commands in a line, and many lines.
const COMMANDS: [&str; 10] = [
    "ready; set server one/only state maint",
    "maint;set server one/only weight 0",
    "ready\nset server one/only state maint",
    "app; disable server one/only",
    "app\ndisable server one/only",
    "a state maint; set server one/only",
    "one/only",
    "@1 ready",
    "app #",
    "app -",
];

/// State and weight of all servers, and everything else that can be told to be otherwise.
fn seen(proxy: &Proxy) -> Vec<(String, String)> {
    let servers = [("app", "a"), ("app", "b"), ("one", "only")];
    servers
        .map(|(backend, server)| proxy.status(backend, server))
        .to_vec()
}

#[tokio::test]
async fn no_string_becomes_another_command_or_hits_another_server() {
    let Some(proxy) = Proxy::start() else { return };
    let place = tempfile::tempdir().unwrap();
    let texts = COMMANDS.iter().map(|&text| text.to_owned());
    let texts: Vec<_> = texts.chain(hostile(place.path())).collect();
    let before = seen(&proxy);
    let server = json!({"haproxy": "edge", "backend": "app", "server": "a"});
    let (mut state, mut weight) = (server.clone(), server);
    (state["state"], weight["weight"]) = ("maint".into(), 7.into());
    let mut n_attacks = 0;
    for case in [
        case(HaproxyServer::set_state(proxy.instances(false)), state),
        case(HaproxyServer::set_weight(proxy.instances(true)), weight),
    ] {
        let name = case.action.name();
        for text in &texts {
            for (param, args) in attacks(&case, text) {
                for is_checked in [true, false] {
                    let result = attack(&context(), &*case.action, &args, is_checked).await;
                    assert!(result.is_err(), "{name} {param} {text:?}: {result:?}");
                    n_attacks += 1;
                }
            }
            // As if somebody had written into the journal.
            let captured = json!({"state": text, "weight": text});
            for captured in [captured, json!({"state": text, "weight": 7})] {
                let args = filled(&case);
                let undone = attack_undo(&context(), &*case.action, &args, &captured).await;
                assert!(undone.is_err(), "undo of {name} {text:?}: {undone:?}");
                n_attacks += 1;
            }
        }
        assert_eq!(seen(&proxy), before, "{name}");
        attack(&context(), &*case.action, &filled(&case), true)
            .await
            .unwrap();
        assert_ne!(seen(&proxy), before, "{name}");
        proxy.say("set server app/a state ready; set server app/a weight 10");
        assert_eq!(seen(&proxy), before, "{name}: as the test found it");
    }
    assert!(n_attacks > 800, "{n_attacks}");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}
