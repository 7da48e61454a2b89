//! An API server as far as reflectors, status and a lease need one, on a real socket.
//!
//! Clients reach it through a line of their own that tests can cut.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse as _, Response},
};
use futures::channel::mpsc;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use trama_proto::resources::{API_VERSION, KINDS};

/// The double. Its tasks end with it.
pub struct ApiServer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    inner: Mutex<Inner>,
    /// Counts whatever happens.
    happened: watch::Sender<u64>,
    /// Nobody gets through.
    away: AtomicBool,
    lines: Mutex<JoinSet<()>>,
}

/// Plural, namespace, name.
type Key = (String, String, String);
type Frames = mpsc::UnboundedSender<Result<Bytes, std::io::Error>>;

#[derive(Default)]
struct Inner {
    version: u64,
    /// Watches from before this version are told 410.
    compacted: u64,
    objects: BTreeMap<Key, Value>,
    leases: BTreeMap<String, Value>,
    log: Vec<(u64, Key, Value)>,
    watchers: Vec<(String, String, Frames)>,
    requests: Vec<Call>,
    /// Kinds that are not known here.
    unknown: BTreeSet<String>,
    /// Replicas that are refused.
    refused: BTreeSet<String>,
    /// Before the next status is written, somebody else changes the object.
    overtake: bool,
}

/// What a client asked for.
#[derive(Clone, Debug)]
pub struct Call {
    pub replica: String,
    /// `list`, `watch`, `status`, or the method and `lease`.
    pub what: String,
    pub path: String,
    pub query: String,
    pub body: Value,
}

impl ApiServer {
    pub async fn start() -> Self {
        let shared = Arc::new(Shared {
            inner: Mutex::default(),
            happened: watch::Sender::new(0),
            away: AtomicBool::new(false),
            lines: Mutex::default(),
        });
        let inside = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let outside = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (behind, address) = (
            inside.local_addr().expect("bound"),
            outside.local_addr().expect("bound"),
        );
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(inside, app).await.expect("serves") });
        let lines = Arc::clone(&shared);
        tasks.spawn(async move {
            loop {
                let Ok((mut client, _)) = outside.accept().await else {
                    continue;
                };
                if lines.away.load(Ordering::SeqCst) {
                    continue;
                }
                lock(&lines.lines).spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(behind).await {
                        // A cut line is an error on both sides, and meant to be.
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self {
            address,
            shared,
            _tasks: tasks,
        }
    }

    /// Breaks every connection.
    pub fn cut(&self) {
        *lock(&self.shared.lines) = JoinSet::new();
        self.inner().watchers.clear();
    }

    /// Breaks every connection and lets nobody in.
    pub fn go_away(&self) {
        self.shared.away.store(true, Ordering::SeqCst);
        self.cut();
    }

    pub fn come_back(&self) {
        self.shared.away.store(false, Ordering::SeqCst);
    }

    /// Forgets what happened so far: whoever watches from before must list again.
    pub fn compact(&self) {
        let mut inner = self.inner();
        inner.compacted = inner.version;
    }

    /// Tells every watch how far the world is.
    pub fn bookmark(&self) {
        let mut inner = self.inner();
        inner.version += 1;
        let object = json!({"kind": "?", "apiVersion": API_VERSION,
            "metadata": {"resourceVersion": inner.version.to_string(), "creationTimestamp": null}});
        inner.tell(|_, _| true, &json!({"type": "BOOKMARK", "object": object}));
    }

    pub fn forget_kind(&self, plural: &str) {
        self.inner().unknown.insert(plural.to_owned());
    }

    /// From now on this replica gets nothing but 503.
    pub fn refuse(&self, replica: &str) {
        self.inner().refused.insert(replica.to_owned());
    }

    pub fn overtake_the_next_status(&self) {
        self.inner().overtake = true;
    }

    /// `kubectl apply`.
    pub fn apply(&self, kind: &str, namespace: &str, name: &str, spec: Value) {
        let mut object = json!({
            "apiVersion": API_VERSION, "kind": kind,
            "metadata": {"name": name, "namespace": namespace, "uid": format!("{kind}-{name}"),
                "managedFields": [{"manager": "kubectl", "fieldsV1": {}}]},
        });
        if !spec.is_null() {
            object["spec"] = spec;
        }
        self.inner().put(object);
        self.happened();
    }

    pub fn delete(&self, kind: &str, namespace: &str, name: &str) {
        let mut inner = self.inner();
        let key = (plural(kind), namespace.to_owned(), name.to_owned());
        let mut object = inner.objects.remove(&key).expect("is there");
        inner.version += 1;
        object["metadata"]["resourceVersion"] = json!(inner.version.to_string());
        inner.record(key, json!({"type": "DELETED", "object": object}));
    }

    /// `Condition=Status Reason` of an object, in the order in which they were written.
    pub fn conditions(&self, kind: &str, namespace: &str, name: &str) -> Vec<String> {
        let key = (plural(kind), namespace.to_owned(), name.to_owned());
        let object = self.inner().objects.get(&key).cloned().unwrap_or_default();
        let text = |c: &Value, field: &str| c[field].as_str().unwrap_or_default().to_owned();
        let conditions = object["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        conditions
            .iter()
            .map(|c| format!("{}={} {}", text(c, "type"), text(c, "status"), text(c, "reason")))
            .collect()
    }

    pub fn object(&self, kind: &str, namespace: &str, name: &str) -> Value {
        let key = (plural(kind), namespace.to_owned(), name.to_owned());
        self.inner().objects.get(&key).cloned().unwrap_or_default()
    }

    pub fn lease(&self, name: &str) -> Value {
        self.inner().leases.get(name).cloned().unwrap_or_default()
    }

    /// Calls of this sort so far.
    pub fn calls(&self, what: &str) -> Vec<Call> {
        let inner = self.inner();
        inner
            .requests
            .iter()
            .filter(|c| c.what == what)
            .cloned()
            .collect()
    }

    /// Watches that are open now.
    pub fn watchers(&self) -> usize {
        self.inner().watchers.len()
    }

    /// Waits until something holds.
    pub async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let mut happened = self.shared.happened.subscribe();
        let waited = tokio::time::timeout(crate::PATIENCE, async {
            while !holds(self) {
                happened.changed().await.expect("the server lives");
            }
        });
        assert!(
            waited.await.is_ok(),
            "in vain: {what}\n{:#?}",
            self.inner().requests
        );
    }

    fn happened(&self) {
        self.shared.happened.send_modify(|count| *count += 1);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        lock(&self.shared.inner)
    }
}

impl Inner {
    /// Stores an object as an API server does: a new spec is a new generation, every write a new version.
    fn put(&mut self, mut object: Value) {
        let text = |pointer| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let key = (
            plural(&text("/kind")),
            text("/metadata/namespace"),
            text("/metadata/name"),
        );
        let before = self.objects.get(&key).cloned();
        self.version += 1;
        let generation = match &before {
            Some(before) => {
                let old = before["metadata"]["generation"].as_i64().unwrap_or(0);
                if object.get("status").is_none() && !before["status"].is_null() {
                    object["status"] = before["status"].clone();
                }
                old + i64::from(before.get("spec") != object.get("spec"))
            }
            None => 1,
        };
        object["metadata"]["generation"] = json!(generation);
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let happened = if before.is_some() { "MODIFIED" } else { "ADDED" };
        self.objects.insert(key.clone(), object.clone());
        self.record(key, json!({"type": happened, "object": object}));
    }

    fn record(&mut self, key: Key, event: Value) {
        self.tell(
            |plural, namespace| plural == key.0 && (namespace.is_empty() || namespace == key.1),
            &event,
        );
        self.log.push((self.version, key, event));
    }

    fn tell(&mut self, whom: impl Fn(&str, &str) -> bool, event: &Value) {
        let line = line(event);
        self.watchers.retain(|(plural, namespace, frames)| {
            !whom(plural, namespace) || frames.unbounded_send(Ok(line.clone())).is_ok()
        });
    }

    fn list(&self, plural: &str, namespace: &str) -> Response {
        let of = |key: &Key| key.0 == plural && (namespace.is_empty() || key.1 == namespace);
        let items: Vec<_> = self
            .objects
            .iter()
            .filter(|(k, _)| of(k))
            .map(|(_, o)| o)
            .collect();
        reply(json!({
            "apiVersion": API_VERSION, "kind": "List",
            "metadata": {"resourceVersion": self.version.to_string()}, "items": items,
        }))
    }

    fn watch(&mut self, plural: &str, namespace: &str, from: u64) -> Response {
        let (frames, body) = mpsc::unbounded();
        if from < self.compacted {
            let status = status(410, "Expired", "too old resource version");
            let _ = frames.unbounded_send(Ok(line(&json!({"type": "ERROR", "object": status}))));
        } else {
            let of = |key: &Key| key.0 == plural && (namespace.is_empty() || key.1 == namespace);
            for (_, _, event) in self.log.iter().filter(|(v, key, _)| *v > from && of(key)) {
                let _ = frames.unbounded_send(Ok(line(event)));
            }
            self.watchers
                .push((plural.to_owned(), namespace.to_owned(), frames));
        }
        Body::from_stream(body).into_response()
    }

    fn patch_status(&mut self, key: &Key, patch: &Value) -> Response {
        if std::mem::take(&mut self.overtake)
            && let Some(mut object) = self.objects.get(key).cloned()
        {
            object["metadata"]["labels"] = json!({"touched": "by somebody else"});
            self.put(object);
        }
        let Some(mut object) = self.objects.get(key).cloned() else {
            return refuse(404, "NotFound", "no such object");
        };
        if patch["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
            return refuse(409, "Conflict", "the object has been modified");
        }
        object["status"] = patch["status"].clone();
        self.put(object.clone());
        reply(object)
    }

    fn lease(&mut self, method: &Method, name: Option<&str>, mut record: Value) -> Response {
        let name = name
            .or(record["metadata"]["name"].as_str())
            .unwrap_or_default()
            .to_owned();
        let before = self.leases.get(&name);
        match (method.as_str(), before) {
            ("GET", Some(found)) => return reply(found.clone()),
            ("GET" | "PUT", None) => return refuse(404, "NotFound", "no such lease"),
            ("POST", Some(_)) => return refuse(409, "AlreadyExists", "is there already"),
            ("PUT", Some(found))
                if found["metadata"]["resourceVersion"] != record["metadata"]["resourceVersion"] =>
            {
                return refuse(409, "Conflict", "the lease has been modified");
            }
            _ => {}
        }
        self.version += 1;
        record["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.leases.insert(name, record.clone());
        reply(record)
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.expect("a whole body");
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let header = parts.headers.get("x-replica").and_then(|v| v.to_str().ok());
    let replica = header.unwrap_or_default().to_owned();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let words: Vec<&str> = path.split('/').skip(2).collect();
    let response = {
        let mut inner = lock(&shared.inner);
        let (what, response) = if inner.refused.contains(&replica) {
            ("refused".to_owned(), refuse(503, "ServiceUnavailable", "away"))
        } else {
            route(&mut inner, &parts.method, &words, &query, &body)
        };
        let call = Call {
            replica,
            what,
            path: path.clone(),
            query,
            body,
        };
        inner.requests.push(call);
        response
    };
    shared.happened.send_modify(|count| *count += 1);
    response
}

fn route(
    inner: &mut Inner,
    method: &Method,
    words: &[&str],
    query: &str,
    body: &Value,
) -> (String, Response) {
    let (plural, namespace) = match words {
        ["coordination.k8s.io", "v1", "namespaces", _, "leases", rest @ ..] => {
            let response = inner.lease(method, rest.first().copied(), body.clone());
            return (format!("{method} lease"), response);
        }
        [
            "trama.dev",
            "v1alpha1",
            "namespaces",
            namespace,
            plural,
            name,
            "status",
        ] => {
            let key = ((*plural).to_owned(), (*namespace).to_owned(), (*name).to_owned());
            return ("status".into(), inner.patch_status(&key, body));
        }
        ["trama.dev", "v1alpha1", "namespaces", namespace, plural] => (*plural, *namespace),
        ["trama.dev", "v1alpha1", plural] => (*plural, ""),
        _ => return ("?".into(), refuse(404, "NotFound", "no such path")),
    };
    if inner.unknown.contains(plural) {
        return (
            "unknown".into(),
            refuse(
                404,
                "NotFound",
                "the server could not find the requested resource",
            ),
        );
    }
    if !query.contains("watch=true") {
        return ("list".into(), inner.list(plural, namespace));
    }
    let from = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("resourceVersion="));
    let from = from.and_then(|v| v.parse().ok()).unwrap_or(0);
    ("watch".into(), inner.watch(plural, namespace, from))
}

fn plural(kind: &str) -> String {
    let found = KINDS.iter().find(|name| name.kind == kind);
    found.expect("a kind of ours").plural.to_owned()
}

fn line(event: &Value) -> Bytes {
    format!("{event}\n").into()
}

fn reply(content: Value) -> Response {
    axum::Json(content).into_response()
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": message})
}

fn refuse(code: u16, reason: &str, message: &str) -> Response {
    let body = axum::Json(status(code, reason, message));
    (StatusCode::from_u16(code).expect("a code"), body).into_response()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
