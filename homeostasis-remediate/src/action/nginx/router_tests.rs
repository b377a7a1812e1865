//! Against a real nginx under load.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use homeostasis_core::port::{TrafficRouter, Weights};
use homeostasis_core::{ErrorKind, Target};

use super::tests::{Nginx, names};
use super::*;
use crate::action::laws;
use crate::traffic::testing::{serve, shift_under_load};

async fn start() -> Option<Nginx> {
    let mut servers = Vec::new();
    for name in ["stable-1", "canary-1"] {
        servers.push(format!("127.0.0.1:{}", serve(name).await));
    }
    Nginx::start_before(servers.try_into().unwrap(), "")
}

fn slots(nginx: &Nginx) -> NginxSlots {
    let [stable, canary] = &nginx.servers;
    NginxSlots::new(nginx.config())
        .slot("stable", [stable])
        .slot("canary", [canary])
}

fn router_of(slots: NginxSlots) -> NginxRouter {
    let clock = Arc::clone(laws::context().clock());
    NginxRouter::new(clock).service("orders", slots).unwrap()
}

fn weights(stable: u32, canary: u32) -> Weights {
    Weights::new([("stable", stable), ("canary", canary)]).unwrap()
}

async fn told(router: &NginxRouter) -> Weights {
    router.weights("orders").await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_are_those_asked_for_and_no_request_fails_up_and_down() {
    let Some(nginx) = start().await else { return };
    let router = router_of(slots(&nginx));
    // What a person wrote before is read.
    assert_eq!(told(&router).await, weights(1, 0));
    let outcome = shift_under_load(&router, nginx.front, 2000).await;
    assert_eq!(outcome.failed, [""; 0]);
    assert!(outcome.answered >= 18_000, "{}", outcome.answered);
    assert_eq!(names(&nginx.scratch.path().join("up")), ["app.upstream"]);
    // The load is gone, so are the old workers.
    while router.in_flight("orders", "canary").await.unwrap() != Some(0) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(router.in_flight("orders", "stable").await.unwrap(), None);
    // What is so already needs no reload.
    let before = nginx.workers();
    router.set_weights("orders", &weights(1, 0)).await.unwrap();
    assert_eq!(nginx.workers(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_killed_between_file_and_reload_leaves_what_is_told_and_mended() {
    let Some(nginx) = start().await else { return };
    let direct = router_of(slots(&nginx));
    let (before, after) = (weights(100, 0), weights(10, 90));
    // Tried with the whole configuration, and told to reload: it never comes back from one of these.
    for blocked in ["-t", "-s reload"] {
        for mend in [&after, &before] {
            direct.set_weights("orders", &before).await.unwrap();
            let slow = nginx.scratch.path().join("slow");
            let reached = nginx.scratch.path().join("reached");
            let _ = fs::remove_file(&reached);
            let script = format!(
                "#!/bin/sh\ncase \"$*\" in *'/nginx.conf {blocked}'*) : > {}; exec sleep 600;; esac\nexec {} \"$@\"\n",
                reached.display(),
                nginx.program.display()
            );
            fs::write(&slow, script).unwrap();
            fs::set_permissions(&slow, fs::Permissions::from_mode(0o755)).unwrap();
            let mut slots = slots(&nginx);
            slots.nginx.program.clone_from(&slow);
            let router = router_of(slots);
            let is_there = async {
                while !reached.exists() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::select! {
                ended = router.set_weights("orders", &after) => panic!("{ended:?}"),
                () = is_there => {}
            }
            // The file is new, and no worker has read it.
            let file = fs::read_to_string(nginx.file()).unwrap();
            assert!(
                file.contains("weight=1000") && !file.contains("down"),
                "{file}"
            );
            assert!(told(&direct).await.distance(&before).get() <= 0.01);
            direct.set_weights("orders", mend).await.unwrap();
            assert!(told(&direct).await.distance(mend).get() <= 0.01);
            assert_eq!(names(&nginx.scratch.path().join("up")), ["app.upstream"]);
        }
    }
}

#[tokio::test]
async fn what_cannot_be_shared_as_asked_is_refused_and_nothing_changes() {
    let Some(nginx) = start().await else { return };
    let before = (fs::read_to_string(nginx.file()).unwrap(), nginx.workers());
    let refused = async |slots: NginxSlots, wanted: &Weights| {
        let router = router_of(slots);
        let error = router.set_weights("orders", wanted).await.unwrap_err();
        let now = (fs::read_to_string(nginx.file()).unwrap(), nginx.workers());
        assert_eq!(now, before);
        assert_eq!(names(&nginx.scratch.path().join("up")), ["app.upstream"]);
        error
    };
    let nobody = slots(&nginx).slot("canary", ["127.0.0.1:1"]);
    let error = refused(nobody, &weights(9, 1)).await;
    assert_eq!(error.kind(), ErrorKind::Transient);
    let report = error.report().to_string();
    assert!(
        report.contains(r#"none of ["127.0.0.1:1"] accepts a connection"#),
        "{report}"
    );
    let green = Weights::new([("green", 1)]).unwrap();
    let report = refused(slots(&nginx), &green).await.report().to_string();
    assert!(
        report.contains(r#"expected one of ["canary", "stable"]"#),
        "{report}"
    );
    // The rest of the configuration is no good: the file is put back.
    let config = nginx.scratch.path().join("nginx.conf");
    let good = fs::read_to_string(&config).unwrap();
    fs::write(&config, good.replace("events {}", "events {} what;")).unwrap();
    let error = refused(slots(&nginx), &weights(1, 1)).await;
    assert!(error.to_string().contains("what"), "{error}");
    // A server that is in no slot would get requests.
    let strange = NginxSlots::new(nginx.config()).slot("canary", [&nginx.servers[1]]);
    let error = router_of(strange).weights("orders").await.unwrap_err();
    assert!(
        error.to_string().contains("expected it in a slot"),
        "{error}"
    );
}

#[test]
fn everything_wrong_with_a_service_is_told() {
    let mut config = NginxConfig::new(Target::service("edge").unwrap());
    config.pid_file = "nginx.pid".into();
    let slots = NginxSlots::new(config)
        .slot("stable", ["a:1", "b"])
        .slot("canary", ["a:1"]);
    let clock = Arc::clone(laws::context().clock());
    let error = NginxRouter::new(clock)
        .service("orders", slots)
        .unwrap_err();
    let places: Vec<_> = error
        .violations()
        .iter()
        .map(|one| one.path.as_str())
        .collect();
    let expected = [
        "nginx.pid_file",
        "nginx.upstream",
        "slots.stable[0]",
        "slots.stable[1]",
    ];
    assert_eq!(
        places,
        expected.map(|place| format!("services.orders.{place}"))
    );
}
