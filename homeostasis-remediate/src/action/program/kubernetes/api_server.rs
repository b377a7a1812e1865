//! A cluster of one namespace and one node behind the API of Kubernetes, as far as the real `kubectl`
//! asks for it. It plays the controllers too: deployments have revisions, evicted pods are gone.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/shop/deployments/web";
const REPLICA_SETS: &str = "/apis/apps/v1/namespaces/shop/replicasets";
const PODS: &str = "/api/v1/namespaces/shop/pods";
const NODE: &str = "/api/v1/nodes/worker-1";
const REVISION: &str = "deployment.kubernetes.io/revision";

/// Objects by path.
type Objects = BTreeMap<String, Value>;

pub(super) struct ApiServer {
    port: u16,
    objects: Arc<Mutex<Objects>>,
    _cache: tempfile::TempDir,
    cache: [String; 2],
}

fn template(image: &str) -> Value {
    json!({ "metadata": { "labels": { "app": "web" } },
            "spec": { "containers": [{ "name": "web", "image": image }] } })
}

fn replica_set(revision: u64, template: &Value) -> Value {
    let revision = revision.to_string();
    json!({ "metadata": { "name": format!("web-{revision}"), "namespace": "shop", "uid": revision.as_str(),
                          "labels": { "app": "web" }, "annotations": { REVISION: revision },
                          "ownerReferences": [{ "uid": "d", "controller": true, "kind": "Deployment",
                                                "name": "web", "apiVersion": "apps/v1" }] },
            "spec": { "replicas": 1, "selector": { "matchLabels": { "app": "web" } }, "template": template } })
}

fn pod(name: &str, uid: &str) -> Value {
    json!({ "kind": "Pod", "apiVersion": "v1",
            "metadata": { "name": name, "namespace": "shop", "uid": uid,
                          "ownerReferences": [{ "uid": "rs", "controller": true, "kind": "ReplicaSet",
                                                "name": "web-2", "apiVersion": "apps/v1" }] },
            "spec": { "nodeName": "worker-1", "containers": [] }, "status": { "phase": "Running" } })
}

impl ApiServer {
    /// It answers until the test's process ends.
    pub(super) fn start() -> Self {
        let mut objects = Objects::new();
        let deployment = json!({
            "kind": "Deployment", "apiVersion": "apps/v1",
            "metadata": { "name": "web", "namespace": "shop", "uid": "d", "annotations": { REVISION: "2" } },
            "spec": { "replicas": 3, "selector": { "matchLabels": { "app": "web" } }, "template": template("v2") },
        });
        objects.insert(DEPLOYMENT.to_owned(), deployment);
        for (revision, image) in [(1, "v1"), (2, "v2")] {
            let set = replica_set(revision, &template(image));
            objects.insert(format!("{REPLICA_SETS}/web-{revision}"), set);
        }
        for name in ["web-a", "web-b"] {
            objects.insert(format!("{PODS}/{name}"), pod(name, name));
        }
        let node = json!({ "kind": "Node", "apiVersion": "v1", "metadata": { "name": "worker-1" }, "spec": {} });
        objects.insert(NODE.to_owned(), node);
        let objects = Arc::new(Mutex::new(objects));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = Arc::clone(&objects);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that leaves early is its own affair.
                let _ = answer(&stream, &served);
            }
        });
        let cache = tempfile::tempdir().unwrap();
        let config = cache.path().join("config");
        std::fs::write(&config, "").unwrap();
        let flags = [
            format!("--kubeconfig={}", config.display()),
            format!("--cache-dir={}", cache.path().display()),
        ];
        Self {
            port,
            objects,
            _cache: cache,
            cache: flags,
        }
    }

    /// What `kubectl` is given to talk to it and to nobody else.
    pub(super) fn flags(&self) -> Vec<String> {
        let server = format!("--server=http://127.0.0.1:{}", self.port);
        self.cache.iter().cloned().chain([server]).collect()
    }

    fn at(&self, path: &str, pointer: &str) -> Value {
        let objects = self.objects.lock().unwrap();
        let found = objects.get(path).and_then(|object| object.pointer(pointer));
        found.cloned().unwrap_or_default()
    }

    /// Replicas, image, when it was restarted.
    pub(super) fn deployment(&self) -> [Value; 3] {
        let restarted = "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt";
        [
            "/spec/replicas",
            "/spec/template/spec/containers/0/image",
            restarted,
        ]
        .map(|pointer| self.at(DEPLOYMENT, pointer))
    }

    pub(super) fn pods(&self) -> Vec<String> {
        let objects = self.objects.lock().unwrap();
        let pods = objects.keys().filter_map(|path| path.strip_prefix(PODS));
        pods.map(|name| name.trim_start_matches('/').to_owned())
            .collect()
    }

    /// Starts a pod under a name that is free.
    pub(super) fn start_pod(&self, name: &str, uid: &str) {
        let path = format!("{PODS}/{name}");
        let before = self.objects.lock().unwrap().insert(path, pod(name, uid));
        assert_eq!(before, None);
    }

    /// Puts an object there, or changes it.
    #[cfg(feature = "kube")]
    pub(super) fn put(&self, path: &str, change: impl FnOnce(&mut Value)) {
        change(
            self.objects
                .lock()
                .unwrap()
                .entry(path.to_owned())
                .or_default(),
        );
    }

    #[cfg(feature = "kube")]
    pub(super) fn get(&self, path: &str) -> Value {
        self.at(path, "")
    }

    pub(super) fn is_cordoned(&self) -> bool {
        self.at(NODE, "/spec/unschedulable") == true
    }
}

fn answer(mut stream: &TcpStream, objects: &Mutex<Objects>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        if header.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let found = if path.ends_with("/endpointslices") {
        Some(endpoint_slices(path, query, &objects.lock().unwrap()))
    } else {
        respond(method, path, &body, &mut objects.lock().unwrap())
    };
    let not_found = || {
        let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure",
                             "reason": "NotFound", "code": 404, "message": "not found" });
        ("404 Not Found", status)
    };
    let (status, body) = found.map_or_else(not_found, |body| ("200 OK", body));
    let status = if body["code"] == 422 {
        "422 Unprocessable Entity"
    } else {
        status
    };
    let body = body.to_string();
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// What there is to ask for.
fn discovery(path: &str) -> Option<Value> {
    let resource = |name: &str, kind: &str, namespaced: bool| {
        json!({ "name": name, "namespaced": namespaced, "kind": kind,
                "verbs": ["get", "list", "patch", "update", "delete", "create"] })
    };
    Some(match path {
        "/version" => json!({ "major": "1", "minor": "32", "gitVersion": "v1.32.0" }),
        "/api" => json!({ "kind": "APIVersions", "versions": ["v1"] }),
        "/apis" => {
            let group = |name: &str| {
                let v1 = json!({ "groupVersion": format!("{name}/v1"), "version": "v1" });
                json!({ "name": name, "versions": [v1], "preferredVersion": v1 })
            };
            let groups = ["apps", "gateway.networking.k8s.io", "discovery.k8s.io"].map(group);
            json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
        }
        "/api/v1" => {
            let mut eviction = resource("pods/eviction", "Eviction", true);
            eviction["group"] = "policy".into();
            eviction["version"] = "v1".into();
            let all = [
                resource("pods", "Pod", true),
                eviction,
                resource("nodes", "Node", false),
            ];
            json!({ "kind": "APIResourceList", "groupVersion": "v1", "resources": all })
        }
        "/apis/gateway.networking.k8s.io/v1" => {
            let routes = resource("httproutes", "HTTPRoute", true);
            json!({ "kind": "APIResourceList", "groupVersion": "gateway.networking.k8s.io/v1",
                    "resources": [routes] })
        }
        "/apis/discovery.k8s.io/v1" => {
            let slices = resource("endpointslices", "EndpointSlice", true);
            json!({ "kind": "APIResourceList", "groupVersion": "discovery.k8s.io/v1",
                    "resources": [slices] })
        }
        "/apis/apps/v1" => {
            let mut scale = resource("deployments/scale", "Scale", true);
            scale["group"] = "autoscaling".into();
            scale["version"] = "v1".into();
            let sets = resource("replicasets", "ReplicaSet", true);
            let all = [resource("deployments", "Deployment", true), scale, sets];
            json!({ "kind": "APIResourceList", "groupVersion": "apps/v1", "resources": all })
        }
        _ => return None,
    })
}

/// The slices whose Service the query names.
fn endpoint_slices(path: &str, query: &str, objects: &Objects) -> Value {
    let slices = objects.iter().filter(|(at, slice)| {
        let service = &slice["metadata"]["labels"]["kubernetes.io/service-name"];
        at.starts_with(path) && query.contains(service.as_str().unwrap_or("?"))
    });
    let slices: Vec<_> = slices.map(|(_, slice)| slice).collect();
    json!({ "kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1", "metadata": {},
            "items": slices })
}

fn respond(method: &str, path: &str, body: &Value, objects: &mut Objects) -> Option<Value> {
    if let Some(found) = discovery(path) {
        return Some(found);
    }
    let list = |kind: &str, version: &str, below: &str| {
        let items: Vec<_> = objects
            .iter()
            .filter(|(path, _)| path.starts_with(below))
            .collect();
        let items: Vec<_> = items.into_iter().map(|(_, object)| object).collect();
        json!({ "kind": kind, "apiVersion": version, "metadata": {}, "items": items })
    };
    match (method, path) {
        ("GET", "/api/v1/pods") => return Some(list("PodList", "v1", PODS)),
        ("GET", REPLICA_SETS) => return Some(list("ReplicaSetList", "apps/v1", REPLICA_SETS)),
        ("POST", path) => {
            objects.remove(path.strip_suffix("/eviction")?)?;
            return Some(json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }));
        }
        ("DELETE", path) => return objects.remove(path),
        _ => {}
    }
    let (path, is_scale) = match path.strip_suffix("/scale") {
        Some(path) => (path, true),
        None => (path, false),
    };
    let object = objects.get_mut(path)?;
    if method == "PATCH" {
        if let Some(stale) = stale(object, body) {
            return Some(stale);
        }
        patch(object, body);
        if object["kind"] == "HTTPRoute" {
            take_up(object);
        }
        if path == DEPLOYMENT {
            reconcile(objects);
        }
    }
    let object = objects.get(path)?;
    Some(if is_scale {
        json!({ "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": object["metadata"],
                "spec": { "replicas": object["spec"]["replicas"] } })
    } else {
        object.clone()
    })
}

/// That a test of a JSON patch fails, as the API says it.
fn stale(object: &Value, body: &Value) -> Option<Value> {
    let tests = body.as_array()?.iter().filter(|one| one["op"] == "test");
    let mut failed =
        tests.filter(|test| object.pointer(test["path"].as_str().unwrap()) != Some(&test["value"]));
    failed.next().map(|test| {
        json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid",
                "code": 422, "message": format!("testing {} failed", test["path"]) })
    })
}

/// A gateway sees the change, unless it sleeps.
fn take_up(route: &mut Value) {
    let generation = route["metadata"]["generation"].as_u64().unwrap() + 1;
    route["metadata"]["generation"] = generation.into();
    route["metadata"]["resourceVersion"] = generation.to_string().into();
    if route["metadata"]["annotations"]["asleep"] == "no" {
        for condition in route["status"]["parents"][0]["conditions"]
            .as_array_mut()
            .unwrap()
        {
            condition["observedGeneration"] = generation.into();
        }
    }
}

/// A JSON patch (a list) or a merge patch.
fn patch(object: &mut Value, body: &Value) {
    match body {
        Value::Array(operations) => {
            for operation in operations {
                let place = operation["path"].as_str().unwrap();
                match operation["op"].as_str().unwrap() {
                    "test" => {}
                    "replace" => *object.pointer_mut(place).unwrap() = operation["value"].clone(),
                    "add" => {
                        let (parent, name) = place.rsplit_once('/').unwrap();
                        object.pointer_mut(parent).unwrap()[name] = operation["value"].clone();
                    }
                    other => panic!("{other}"),
                }
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                if value.is_object() && object.is_object() {
                    let inner = &mut object[name];
                    if inner.is_null() {
                        *inner = json!({});
                    }
                    patch(inner, value);
                } else {
                    object[name] = value.clone();
                }
            }
        }
        _ => *object = body.clone(),
    }
}

/// A server stores what it understood, and not that `kubectl` wrote down what is not there.
fn stored(value: &Value) -> Value {
    let is_there = |value: &Value| !value.is_null() && *value != json!({});
    match value {
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, field)| (name.clone(), stored(field)));
            fields.filter(|(_, field)| is_there(field)).collect()
        }
        Value::Array(items) => items.iter().map(stored).collect(),
        _ => value.clone(),
    }
}

/// A template that some replica set has makes that one the newest revision; another gets its own.
fn reconcile(objects: &mut Objects) {
    let deployment = objects.get_mut(DEPLOYMENT).unwrap();
    let template = stored(&deployment["spec"]["template"]);
    deployment["spec"]["template"] = template.clone();
    let number = |set: &Value| {
        let revision = set["metadata"]["annotations"][REVISION].as_str().unwrap();
        revision.parse::<u64>().unwrap()
    };
    let sets = || {
        objects
            .iter()
            .filter(|(path, _)| path.starts_with(REPLICA_SETS))
    };
    let newest = sets().map(|(_, set)| number(set)).max().unwrap();
    let found = sets().find(|(_, set)| set["spec"]["template"] == template);
    let found = found.map(|(path, set)| (path.clone(), number(set)));
    let revision = match found {
        Some((_, revision)) if revision == newest => newest,
        Some((path, _)) => {
            let set = objects.get_mut(&path).unwrap();
            set["metadata"]["annotations"][REVISION] = (newest + 1).to_string().into();
            newest + 1
        }
        None => {
            let set = replica_set(newest + 1, &template);
            objects.insert(format!("{REPLICA_SETS}/web-{}", newest + 1), set);
            newest + 1
        }
    };
    let deployment = objects.get_mut(DEPLOYMENT).unwrap();
    deployment["metadata"]["annotations"][REVISION] = revision.to_string().into();
}
