//! Hostile strings on the way to a real Redis server, as the default user who may do everything.

use super::*;
use crate::action::injection_tests::{Case, attack, attack_undo, attacks, case, hostile};
use crate::action::laws::context;

/// What only means something to this server; `OUTSIDE` becomes a folder that nobody may touch.
const WORDS: [&str; 14] = [
    "prices:1\r\nFLUSHALL\r\n",
    "prices:1\r\n*1\r\n$8\r\nFLUSHALL\r\n",
    "prices:* FLUSHALL",
    "[a-z]*",
    "?????????",
    "\\witness:*",
    "tmp",
    "PRICES:*",
    "dir",
    "dbfilename",
    "requirepass",
    "masterauth",
    "maxmemory 1 dir OUTSIDE",
    "maxmemory\r\ndir",
];

/// Everything that is in the server, but for numbers that change by themselves.
fn seen(server: &Server) -> (Vec<String>, Vec<String>, Vec<String>) {
    let mut keys = server.run::<Vec<String>>(&["KEYS", "*"]);
    keys.sort();
    let settings = server.run(&["CONFIG", "GET", "*"]);
    let mut names = server.names();
    names.retain(|name| name != "homeostasis");
    (keys, settings, names)
}

fn cases(server: &Server, outside: &str) -> Vec<Case> {
    let servers = server.servers();
    let set = |setting: &str, value: &str| {
        let args = json!({"server": "cache", "setting": setting, "value": value});
        case(RedisSetConfig::new(server.servers()), args)
    };
    vec![
        case(
            RedisDeleteKeys::new(servers.clone()),
            json!({"server": "cache", "pattern": "prices:nothing", "max": 100_000}),
        ),
        set("maxmemory", "0"),
        // A secret and a file, once the setting's name is not looked at.
        set("timeout", "owned"),
        set("hz", outside),
        case(
            RedisKillClients::new(servers),
            json!({"server": "cache", "name": "nobody"}),
        ),
    ]
}

#[tokio::test]
async fn no_string_becomes_a_command_a_setting_or_a_key_that_is_not_the_host_s_to_give() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    for key in ["witness:1", "prices:1", "tmp:1", "orders:1"] {
        server.run::<()>(&["SET", key, "x"]);
    }
    let _witness = server.client("witness").await;
    let place = tempfile::tempdir().unwrap();
    let outside = place.path().to_str().unwrap();
    let texts = WORDS.iter().map(|text| text.replace("OUTSIDE", outside));
    let texts: Vec<_> = texts.chain(hostile(place.path())).collect();
    let before = seen(&server);
    let mut n_attacks = 0;
    for case in &cases(&server, outside) {
        let name = case.action.name();
        for text in &texts {
            for (param, args) in attacks(case, text) {
                // Whoever says `*` means all clients, and nothing those without a name.
                if param == "name" && (text == "*" || text.is_empty()) {
                    continue;
                }
                for is_checked in [true, false] {
                    let result = attack(&context(), &*case.action, &args, is_checked).await;
                    let what = format!("{name} {param} {text:?}: {result:?}");
                    let is_harmless =
                        |output: &Value| output["found"] == 0 || output["matched"] == 0;
                    assert!(result.as_ref().map_or(true, is_harmless), "{what}");
                    n_attacks += 1;
                }
                // As if somebody had written into the journal.
                let captured = json!({"value": outside});
                let undone = attack_undo(&context(), &*case.action, &args, &captured).await;
                assert!(
                    undone.is_err(),
                    "undo of {name} {param} {text:?}: {undone:?}"
                );
                n_attacks += 1;
            }
        }
        assert_eq!(seen(&server), before, "{name}");
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }
    assert!(n_attacks > 2000, "{n_attacks}");
}
