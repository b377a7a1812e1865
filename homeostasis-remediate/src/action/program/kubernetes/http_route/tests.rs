//! The real `kubectl` with a server that answers it.

use homeostasis_core::port::Mirror;
use homeostasis_core::testing::engine;
use homeostasis_core::{ManualClock, Ratio, Timestamp};

use super::super::api_server::ApiServer;
use super::*;
use crate::action::laws;

const ROUTE_PATH: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes/orders";
const SLICES_PATH: &str = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices";

/// A route of two rules to `stable` and `canary`, both with endpoints; `None` without `kubectl`.
fn cluster() -> Option<(ApiServer, Tool)> {
    let path = engine::find("kubectl", &["/usr/local/bin", "/usr/bin"])?;
    let server = ApiServer::start();
    let condition = |kind: &str| json!({"type": kind, "status": "True", "observedGeneration": 1});
    let rule = json!({"backendRefs": [{"name": "stable", "port": 80, "weight": 1},
                                      {"name": "canary", "port": 80, "weight": 0}]});
    let route = json!({
        "kind": "HTTPRoute", "apiVersion": "gateway.networking.k8s.io/v1",
        "metadata": {"name": "orders", "namespace": "shop", "generation": 1, "resourceVersion": "1",
                     "annotations": {"asleep": "no"}},
        "spec": {"rules": [rule, {"backendRefs": [{"name": "pictures", "port": 80}]}, rule]},
        "status": {"parents": [{"parentRef": {"name": "edge"},
                                "conditions": [condition("Accepted"), condition("ResolvedRefs")]}]},
    });
    server.put(ROUTE_PATH, |object| *object = route);
    for name in ["stable", "canary"] {
        let slice = json!({
            "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "addressType": "IPv4",
            "metadata": {"name": name, "namespace": "shop",
                         "labels": {"kubernetes.io/service-name": name}},
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}],
        });
        server.put(&format!("{SLICES_PATH}/{name}"), |object| *object = slice);
    }
    let tool = Tool::at(path).unwrap();
    let tool = server.flags().into_iter().fold(tool, Tool::arg);
    Some((server, tool))
}

fn slots() -> HttpRouteSlots {
    HttpRouteSlots::new("shop", "orders")
        .slot("stable", ["stable"])
        .slot("canary", ["canary"])
}

fn router(tool: &Tool) -> HttpRouteRouter {
    let clock = Arc::clone(laws::context().clock());
    let router = HttpRouteRouter::new(tool.clone(), clock);
    router.service("orders", slots()).unwrap()
}

fn weights(stable: u32, canary: u32) -> Weights {
    Weights::new([("stable", stable), ("canary", canary)]).unwrap()
}

/// The weights of all backends, rule by rule.
fn backends(server: &ApiServer) -> Vec<Value> {
    let route = server.get(ROUTE_PATH);
    let rules = route["spec"]["rules"].as_array().unwrap();
    let refs = rules
        .iter()
        .flat_map(|rule| rule["backendRefs"].as_array().unwrap());
    refs.map(|backend| backend["weight"].clone()).collect()
}

async fn refusal(router: &HttpRouteRouter, weights: &Weights) -> (ErrorKind, String) {
    let error = router.set_weights("orders", weights).await.unwrap_err();
    (error.kind(), error.report().to_string())
}

#[tokio::test]
async fn all_rules_of_a_route_get_the_weights_in_one_request_and_back() {
    let Some((server, tool)) = cluster() else {
        return;
    };
    let router = router(&tool);
    assert_eq!(router.weights("orders").await.unwrap(), Some(weights(1, 0)));
    // 10 000 for whoever has most.
    for (canary, numbers) in [
        (1, [10_000, 101]),
        (50, [10_000, 10_000]),
        (100, [0, 10_000]),
    ] {
        let asked = weights(100 - canary, canary);
        for _ in 0..2 {
            router.set_weights("orders", &asked).await.unwrap();
            let told = router.weights("orders").await.unwrap().unwrap();
            assert!(told.distance(&asked).get() <= 0.01, "{told:?}");
        }
        let [stable, canary] = numbers.map(Value::from);
        assert_eq!(
            backends(&server),
            [stable.clone(), canary.clone(), Value::Null, stable, canary]
        );
    }
    // Setting the same again changed nothing: one generation for each change.
    assert_eq!(server.get(ROUTE_PATH)["metadata"]["generation"], 4);
    let mirror = Mirror {
        slot: "canary".to_owned(),
        share: Ratio::ONE,
    };
    assert!(router.set_mirror("orders", Some(&mirror)).await.is_err());
}

#[tokio::test]
async fn each_backend_of_a_slot_that_grows_needs_an_endpoint_and_a_dead_one_is_lowered() {
    let Some((server, tool)) = cluster() else {
        return;
    };
    server.put(ROUTE_PATH, |route| {
        for rule in [0, 2] {
            let refs = route["spec"]["rules"][rule]["backendRefs"].as_array_mut();
            refs.unwrap()
                .push(json!({"name": "canary-2", "port": 80, "weight": 0}));
        }
    });
    let clock = Arc::clone(laws::context().clock());
    let slots = slots().slot("canary", ["canary", "canary-2"]);
    let router = HttpRouteRouter::new(tool, clock).service("orders", slots);
    let router = router.unwrap();
    let (kind, said) = refusal(&router, &weights(1, 1)).await;
    assert_eq!(kind, ErrorKind::Transient);
    assert!(
        said.contains(r#"no endpoint of "canary-2" is ready"#),
        "{said}"
    );
    server.put(ROUTE_PATH, |route| {
        for rule in [0, 2] {
            route["spec"]["rules"][rule]["backendRefs"][1]["weight"] = 1.into();
        }
    });
    let back = weights(90, 10);
    router.set_weights("orders", &back).await.unwrap();
    let told = router.weights("orders").await.unwrap().unwrap();
    assert!(told.distance(&back).get() <= 0.01, "{told:?}");
}

#[tokio::test]
async fn what_nobody_would_serve_or_somebody_else_changed_is_refused() {
    let Some((server, tool)) = cluster() else {
        return;
    };
    let router = router(&tool);
    let before = server.get(ROUTE_PATH);
    let slice = format!("{SLICES_PATH}/canary");
    server.put(&slice, |slice| {
        slice["endpoints"][0]["conditions"]["ready"] = false.into();
    });
    let (kind, said) = refusal(&router, &weights(1, 1)).await;
    assert_eq!(kind, ErrorKind::Transient);
    assert!(
        said.contains(r#"no endpoint of "canary" is ready"#),
        "{said}"
    );
    assert_eq!(server.get(ROUTE_PATH), before);
    server.put(&slice, |slice| {
        slice["endpoints"][0]["conditions"]["ready"] = true.into();
    });
    // A stranger in a rule of ours, and a rule without one of ours.
    let of = |name: &str| json!({"name": name, "weight": 1});
    let (mut elsewhere, mut of_another_kind) = (of("canary"), of("canary"));
    elsewhere["namespace"] = "elsewhere".into();
    of_another_kind["kind"] = "Bucket".into();
    for (backend, expected) in [
        (of("other"), "expected a backend of a slot"),
        (elsewhere, "expected a backend of a slot"),
        (of_another_kind, "expected a backend of a slot"),
        (of("stable"), "expected each backend once"),
    ] {
        server.put(ROUTE_PATH, |route| {
            route["spec"]["rules"][2]["backendRefs"][1] = backend;
        });
        let (kind, said) = refusal(&router, &weights(1, 1)).await;
        assert_eq!(kind, ErrorKind::Permanent);
        assert!(
            said.contains("/spec/rules/2") && said.contains(expected),
            "{said}"
        );
    }
    server.put(ROUTE_PATH, |route| {
        let backends = route["spec"]["rules"][2]["backendRefs"].as_array_mut();
        backends.unwrap().truncate(1);
    });
    let (_, said) = refusal(&router, &weights(1, 1)).await;
    assert!(said.contains("expected all slots"), "{said}");
    server.put(ROUTE_PATH, |route| route["spec"]["rules"] = json!([]));
    assert_eq!(router.weights("orders").await.unwrap(), None);
    let (_, said) = refusal(&router, &weights(1, 1)).await;
    assert!(said.contains("no rule leads to a slot"), "{said}");
    let green = Weights::new([("green", 1)]).unwrap();
    assert!(
        refusal(&router, &green)
            .await
            .1
            .contains(r#"expected one of ["canary", "stable"]"#)
    );
}

#[tokio::test]
async fn a_gateway_that_sleeps_is_awaited_and_then_told() {
    let Some((server, tool)) = cluster() else {
        return;
    };
    server.put(ROUTE_PATH, |route| {
        route["metadata"]["annotations"]["asleep"] = "yes".into();
    });
    let clock = ManualClock::new(Timestamp::EPOCH);
    let router = HttpRouteRouter::new(tool, Arc::new(clock.clone()));
    let router = router.service("orders", slots()).unwrap();
    let wanted = weights(1, 1);
    let mut setting = std::pin::pin!(router.set_weights("orders", &wanted));
    let error = loop {
        tokio::select! {
            ended = &mut setting => break ended.unwrap_err(),
            () = tokio::time::sleep(Duration::from_millis(20)) => clock.advance(POLL),
        }
    };
    assert_eq!(error.kind(), ErrorKind::Transient);
    let said = error.report().to_string();
    assert!(
        said.contains(r#"gateway "edge" does not say Accepted of generation 2"#),
        "{said}"
    );
    assert!(
        router.weights("orders").await.is_err(),
        "nobody knows what is in force"
    );
    // It is set all the same: setting again only waits.
    server.put(ROUTE_PATH, |route| {
        for condition in route["status"]["parents"][0]["conditions"]
            .as_array_mut()
            .unwrap()
        {
            condition["observedGeneration"] = 2.into();
        }
    });
    router.set_weights("orders", &weights(1, 1)).await.unwrap();
    assert_eq!(server.get(ROUTE_PATH)["metadata"]["generation"], 2);
}

#[test]
fn everything_wrong_with_a_service_is_told() {
    let clock = Arc::clone(laws::context().clock());
    let router = HttpRouteRouter::new(Tool::find("kubectl"), clock);
    let slots = HttpRouteSlots::new("Shop", "--all").slot("stable", ["a b"]);
    let error = router.service("orders", slots).unwrap_err();
    let places: Vec<_> = error
        .violations()
        .iter()
        .map(|one| one.path.as_str())
        .collect();
    let expected = ["slots.stable[0]", "namespace", "route"];
    assert_eq!(
        places,
        expected.map(|place| format!("services.orders.{place}"))
    );
}
