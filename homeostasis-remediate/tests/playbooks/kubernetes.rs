//! Pods, deployments and nodes, through a program that answers as `kubectl` does.

use homeostasis_remediate::action::{ActionRegistry, Kubectl, RunProgram};

use crate::clinic::{context, heal, heal_in, seeing};
use crate::fake::Fake;
use crate::host::example;

/// One pod of a controller, one deployment with revisions, one node.
const CLUSTER: &str = r#"
    verb=$1; [ "$verb" = rollout ] && verb="$1 $2"
    case "$verb" in
        get) case "$2" in
            pod) echo '{"metadata":{"uid":"'$(cat uid)'","ownerReferences":[{"controller":true}]}}';;
            deployment) echo '{"metadata":{"annotations":{"deployment.kubernetes.io/revision":"'$(cat revision)'"}},
                "spec":{"replicas":'$(cat replicas)',"template":{"image":"'$(cat image)'"}}}';;
            node) echo '{"spec":{"unschedulable":'$(cat cordoned)'}}';;
        esac;;
        delete) echo $(($(cat uid) + 1)) > uid;;
        scale) for arg; do case $arg in --replicas=*) echo ${arg#*=} > replicas;; esac; done;;
        "rollout undo") case "$*" in
            *--to-revision=0*) echo v1 > image; echo 3 > revision;;
            *--to-revision=2*) echo v2 > image; echo 4 > revision;;
            *) exit 1;;
        esac;;
        drain) echo true > cordoned;;
        uncordon) echo false > cordoned;;
        replace-node) :;;
        *) exit 9;;
    esac"#;

fn cluster() -> (Fake, ActionRegistry) {
    let files = [
        ("uid", "100"),
        ("replicas", "3"),
        ("revision", "2"),
        ("image", "v2"),
        ("cordoned", "false"),
    ];
    let fake = Fake::new(CLUSTER, &files);
    let kubectl = Kubectl::new(fake.tool()).namespaces(["prod"]).unwrap();
    let kubectl = kubectl.nodes(["shop-*"]).unwrap();
    let mut actions = ActionRegistry::default();
    actions.register(kubectl.delete_pod()).unwrap();
    actions.register(kubectl.drain_node()).unwrap();
    actions.register(kubectl.scale_deployment()).unwrap();
    actions.register(kubectl.undo_rollout()).unwrap();
    let run = RunProgram::default()
        .allow("kubectl", fake.program())
        .unwrap();
    actions
        .register(run.allow("cloud", fake.program()).unwrap())
        .unwrap();
    (fake, actions)
}

/// What was run beside the questions.
fn doing(fake: &Fake) -> Vec<String> {
    fake.calls()
        .into_iter()
        .filter(|call| !call.starts_with("get|"))
        .collect()
}

#[tokio::test]
async fn an_ill_pod_is_deleted_once() {
    let (fake, actions) = cluster();
    heal(&example("pod_restart"), actions).await;
    assert_eq!(
        doing(&fake),
        ["delete|pod|--namespace=prod|--wait=false|--|shop-1"]
    );
    assert_eq!(fake.read("uid"), "101");
}

#[tokio::test]
async fn a_broken_node_is_drained_and_then_replaced() {
    let (fake, actions) = cluster();
    heal(&example("node_drain_and_replace"), actions).await;
    let drain = "drain|--ignore-daemonsets|--timeout=120s|--|shop-1";
    assert_eq!(doing(&fake), [drain, "replace-node|shop-1"]);
    assert_eq!(fake.read("cordoned"), "true");
}

#[tokio::test]
async fn a_deployment_is_scaled_and_scaled_back() {
    let (fake, actions) = cluster();
    let healed = heal(&example("scale_deployment"), actions).await;
    let scale = "scale|deployment|--namespace=prod|--replicas=6|--|shop";
    assert_eq!(doing(&fake), [scale]);
    assert_eq!(fake.read("replicas"), "6");
    healed.take_back().await;
    assert_eq!(fake.read("replicas"), "3");
}

#[tokio::test]
async fn failed_pods_of_one_namespace_are_deleted() {
    let (fake, actions) = cluster();
    let cx = seeing(context(), &[("kube_pods_failed", 30.0)]);
    heal_in(cx, &example("clear_evicted_pods"), actions).await;
    let delete = "delete|pods|--namespace=prod|--field-selector=status.phase=Failed";
    assert_eq!(doing(&fake), [delete]);
}

#[tokio::test]
async fn a_rollout_is_undone_and_done_again_when_taken_back() {
    let (fake, actions) = cluster();
    let healed = heal(&example("undo_rollout"), actions).await;
    let undo = "rollout|undo|deployment|--namespace=prod|--to-revision=0|--|shop";
    assert_eq!(doing(&fake), [undo]);
    assert_eq!(fake.read("image"), "v1");
    healed.take_back().await;
    assert_eq!(fake.read("image"), "v2");
}
