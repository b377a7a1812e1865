//! A cluster in a few files, for exact arguments, laws and refusals; and the real `kubectl` with a
//! server that answers it.

use homeostasis_core::Target;
use homeostasis_core::testing::engine;
use serde_json::json;

use super::super::testing::{Fake, perform, refusal};
use super::api_server::ApiServer;
use super::*;
use crate::action::{Action, laws};

/// One pod of a controller, one deployment with revisions, one node.
const CLUSTER: &str = r#"
    verb=$1; [ "$verb" = rollout ] && verb="$1 $2"
    case "$verb" in
        get) case "$2" in
            pod) [ -s uid ] && echo '{"metadata":{"uid":"'$(cat uid)'","ownerReferences":[{"controller":'$(cat controller)'}]}}';;
            deployment) echo '{"metadata":{"annotations":{"deployment.kubernetes.io/revision":"'$(cat revision)'"}},
                "spec":{"replicas":'$(cat replicas)',"template":{"image":"'$(cat image)'",
                "metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"'$(cat restarts)'"}}}}}';;
            node) echo '{"spec":{"unschedulable":'$(cat cordoned)'}}';;
        esac; :;;
        delete) echo $(($(cat uid) + 1)) > uid;;
        scale) for arg; do case $arg in --replicas=*) echo ${arg#*=} > replicas;; esac; done;;
        "rollout restart") echo $(($(cat restarts) + 1)) > restarts;;
        "rollout undo") case "$*" in
            *--to-revision=0*) [ $(cat image) = v2 ] && { echo v1 > image; echo 3 > revision; } || { echo v2 > image; echo 4 > revision; };;
            *--to-revision=2*) [ $(cat revision) != 2 ] && { echo v2 > image; echo 4 > revision; };;
            *) echo "unable to find specified revision" >&2; exit 1;;
        esac;;
        cordon|drain) echo true > cordoned;;
        uncordon) echo false > cordoned;;
        *) exit 9;;
    esac"#;

fn cluster() -> (Fake, Kubectl) {
    let files = [
        ("uid", "100"),
        ("controller", "true"),
        ("replicas", "3"),
        ("revision", "2"),
        ("image", "v2"),
        ("restarts", "0"),
        ("cordoned", "false"),
    ];
    let fake = Fake::new(CLUSTER, &files);
    let kubectl = Kubectl::new(fake.tool());
    let kubectl = kubectl.namespaces(["shop"]).unwrap();
    (fake, kubectl.nodes(["worker-*"]).unwrap())
}

fn shop(more: &Value) -> Value {
    let mut args = json!({"namespace": "shop"});
    args.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    args
}

#[tokio::test]
async fn every_verb_obeys_the_laws() {
    let (fake, kubectl) = cluster();
    let deployment = shop(&json!({"deployment": "web"}));
    let scaled = shop(&json!({"deployment": "web", "replicas": 5}));
    let node = json!({"node": "worker-1"});
    for (action, args, file) in [
        (kubectl.delete_pod(), &shop(&json!({"pod": "web-1"})), "uid"),
        (kubectl.scale_deployment(), &scaled, "replicas"),
        (kubectl.restart_rollout(), &deployment, "restarts"),
        (kubectl.undo_rollout(), &deployment, "image"),
        (kubectl.uncordon_node(), &node, "cordoned"),
        (kubectl.cordon_node(), &node, "cordoned"),
        (kubectl.drain_node(), &node, "cordoned"),
    ] {
        laws::repeat_and_undo(&action, args, || fake.read(file).trim().to_owned()).await;
    }
    assert_eq!(
        (fake.read("uid").trim(), fake.read("restarts").trim()),
        ("101", "1")
    );
    fake.write("cordoned", "true");
    laws::repeat_and_undo(&kubectl.uncordon_node(), &node, || {
        fake.read("cordoned").trim().to_owned()
    })
    .await;
    laws::repeat_and_undo(&kubectl.drain_node(), &node, || {
        fake.read("cordoned").trim().to_owned()
    })
    .await;
}

#[tokio::test]
async fn the_arguments_are_exactly_these() {
    let (fake, kubectl) = cluster();
    let web = shop(&json!({"deployment": "web"}));
    let node = json!({"node": "worker-1", "evict_within": "90s", "delete_emptydir_data": true});
    let scaled = shop(&json!({"deployment": "web", "replicas": 5}));
    let cases = [
        (
            kubectl.delete_pod(),
            shop(&json!({"pod": "web-1"})),
            "get pod --namespace=shop --output=json --ignore-not-found -- web-1",
            "delete pod --namespace=shop --wait=false -- web-1",
        ),
        (
            kubectl.scale_deployment(),
            scaled,
            "get deployment --namespace=shop --output=json --ignore-not-found -- web",
            "scale deployment --namespace=shop --replicas=5 -- web",
        ),
        (
            kubectl.restart_rollout(),
            web.clone(),
            "get deployment --namespace=shop --output=json --ignore-not-found -- web",
            "rollout restart deployment --namespace=shop -- web",
        ),
        (
            kubectl.undo_rollout(),
            web,
            "get deployment --namespace=shop --output=json --ignore-not-found -- web",
            "rollout undo deployment --namespace=shop --to-revision=0 -- web",
        ),
        (
            kubectl.cordon_node(),
            json!({"node": "worker-1"}),
            "get node --output=json --ignore-not-found -- worker-1",
            "cordon -- worker-1",
        ),
        (
            kubectl.uncordon_node(),
            json!({"node": "worker-1"}),
            "get node --output=json --ignore-not-found -- worker-1",
            "uncordon -- worker-1",
        ),
        (
            kubectl.drain_node(),
            node,
            "get node --output=json --ignore-not-found -- worker-1",
            "drain --ignore-daemonsets --timeout=90s --delete-emptydir-data -- worker-1",
        ),
    ];
    for (action, args, asking, doing) in cases {
        let target = Target::service("web").unwrap();
        let shown = action.commands(&target, args.as_object().unwrap());
        fake.perform(&action, &args).await.unwrap();
        assert!(
            shown[0].join(" ").ends_with(doing),
            "a dry run shows {shown:?}"
        );
        let calls: Vec<_> = fake.calls().iter().map(|args| args.join(" ")).collect();
        assert_eq!(calls, [asking, asking, doing, asking]);
    }
}

#[tokio::test]
async fn a_bare_pod_a_missing_one_and_a_foreign_namespace_are_left_alone() {
    let (fake, kubectl) = cluster();
    let pod = shop(&json!({"pod": "web-1"}));
    fake.write("controller", "false");
    assert!(refusal(fake.perform(&kubectl.delete_pod(), &pod).await).contains("no controller"));
    fake.write("uid", "");
    assert!(refusal(fake.perform(&kubectl.delete_pod(), &pod).await).contains("no pod"));
    assert!(fake.calls().iter().all(|args| args[0] == "get"));
    for (action, args, expected) in [
        (
            kubectl.delete_pod(),
            json!({"namespace": "kube-system", "pod": "dns"}),
            "`shop`",
        ),
        (
            kubectl.cordon_node(),
            json!({"node": "control-1"}),
            "`worker-*`",
        ),
        (
            Kubectl::new(fake.tool()).cordon_node(),
            json!({"node": "a"}),
            "allows none",
        ),
    ] {
        let said = refusal(fake.perform(&action, &args).await);
        assert!(said.contains(expected), "{said}");
    }
    let failed = fake
        .perform(
            &kubectl.undo_rollout(),
            &shop(&json!({"deployment": "web", "to_revision": 9})),
        )
        .await;
    assert!(refusal(failed).contains("unable to find specified revision"));
}

/// The real program, and a server that answers it as a cluster does.
#[tokio::test]
async fn the_real_kubectl_does_it_and_takes_it_back() {
    let Some(path) = engine::find("kubectl", &["/usr/local/bin", "/usr/bin"]) else {
        return;
    };
    let server = ApiServer::start();
    let tool = server
        .flags()
        .into_iter()
        .fold(Tool::at(path).unwrap(), Tool::arg);
    let kubectl = Kubectl::new(tool).namespaces(["shop"]).unwrap();
    let kubectl = kubectl.nodes(["worker-*"]).unwrap();
    let web = shop(&json!({"deployment": "web"}));
    let scaled = shop(&json!({"deployment": "web", "replicas": 5}));
    let to_first = shop(&json!({"deployment": "web", "to_revision": 1}));
    let observe = || server.deployment();
    laws::repeat_and_undo(&kubectl.scale_deployment(), &scaled, observe).await;
    laws::repeat_and_undo(&kubectl.undo_rollout(), &to_first, observe).await;
    laws::repeat_and_undo(&kubectl.undo_rollout(), &web, observe).await;
    assert_eq!(server.deployment(), [json!(3), json!("v2"), Value::Null]);
    laws::repeat_and_undo(&kubectl.restart_rollout(), &web, observe).await;
    assert!(server.deployment()[2].is_string(), "it was restarted");

    let pod = shop(&json!({"pod": "web-a"}));
    laws::repeat_and_undo(&kubectl.delete_pod(), &pod, || server.pods()).await;
    assert_eq!(server.pods(), ["web-b"]);
    assert!(refusal(perform(&kubectl.delete_pod(), &pod).await).contains("no pod"));

    let node = json!({"node": "worker-1"});
    let is_cordoned = || server.is_cordoned();
    laws::repeat_and_undo(&kubectl.cordon_node(), &node, is_cordoned).await;
    laws::repeat_and_undo(&kubectl.drain_node(), &node, is_cordoned).await;
    assert!(server.pods().is_empty(), "it was drained");
    let foreign = shop(&json!({"deployment": "none"}));
    assert!(
        refusal(perform(&kubectl.restart_rollout(), &foreign).await).contains("none of that name")
    );
}

/// A stateful set gives its next pod the name of the one before.
#[tokio::test]
async fn a_new_pod_under_the_old_name_is_left_alone() {
    let Some(path) = engine::find("kubectl", &["/usr/local/bin", "/usr/bin"]) else {
        return;
    };
    let server = ApiServer::start();
    let tool = server
        .flags()
        .into_iter()
        .fold(Tool::at(path).unwrap(), Tool::arg);
    let action = Kubectl::new(tool)
        .namespaces(["shop"])
        .unwrap()
        .delete_pod();
    let args = shop(&json!({"pod": "web-a"})).as_object().unwrap().clone();
    let (cx, target, key) = (
        laws::context(),
        Target::service("web").unwrap(),
        laws::key(0),
    );
    let call = ActionCall::new(&target, &args, &key);
    let captured = action.capture(&cx, &call).await.unwrap();
    let call = call.with_captured(&captured);
    action.perform(&cx, &call).await.unwrap();
    server.start_pod("web-a", "another");
    let again = action.perform(&cx, &call.with_attempt(2)).await.unwrap();
    assert_eq!(again["ran"], json!([]));
    assert_eq!(server.pods(), ["web-a", "web-b"]);
}
