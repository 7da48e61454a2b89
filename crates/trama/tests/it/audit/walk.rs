//! A valid request for every method that changes something, and the entry that it leaves. The requests are in `walk.yaml`,
//! in the order of a story; the methods are read from the descriptors, so that a new one without a request fails here by
//! its name.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::{Buf as _, BufMut as _};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, SerializeOptions};
use serde::Deserialize;
use serde_json::Value;
use tonic::{
    Request, Status, Streaming,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::MetadataValue,
};
use trama_proto::{
    audit::v1::{AuditEntry, AuditOutcome, CredentialKind},
    common::v1::{ChannelKind, Direction, Handle, Interaction, InteractionKind, Trust},
    identity_resolution::v1::ListAuditEntriesRequest,
    ids::InteractionId,
    ingest::v1::{Delivery, InteractionReceived},
    mutations::{mutation, mutations},
    notification::v1::MessageRequested,
    routing::v1::OfferMade,
    time::to_wire,
};
use trama_testkit::{TestApp, stand_in};

use super::log;
use crate::access::services;

/// Where the story and its resources are.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/audit");
const TENANT: &str = "acme";
/// In every text that a person writes in the story: no entry may hold it.
const NEEDLE: &str = "rubinettodorato";

/// What happens next.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Step {
    Call(Call),
    /// A customer says something on a channel.
    Says {
        says: Said,
    },
    /// Somebody sent what nobody understands; the id of the delivery is kept under this name.
    Quarantined {
        quarantined: String,
    },
    /// What the newest event of a kind says is kept.
    Heard {
        heard: String,
        keep: BTreeMap<String, String>,
    },
    Wait {
        wait_seconds: u64,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    /// `Service/Method`.
    call: String,
    /// Subject of the caller.
    by: String,
    /// The request, as JSON; `$name` is what was kept under that name.
    #[serde(default)]
    with: Value,
    /// Names for what is in the answer.
    #[serde(default)]
    keep: BTreeMap<String, String>,
    /// All that the entry says of before and after: `kind field: before -> after`. A `*` at the end stands for anything.
    #[serde(default)]
    changes: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    channel: String,
    kind: String,
    from: String,
    text: String,
}

/// Bytes as they are.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut item = vec![0; from.remaining()];
        from.copy_to_slice(&mut item);
        Ok(Some(item))
    }
}

/// Where the walk is.
struct Walk {
    app: TestApp,
    pool: DescriptorPool,
    kept: BTreeMap<String, String>,
    /// Lines that stay open: a desk that hangs up is away.
    open: Vec<Streaming<Vec<u8>>>,
    /// Interactions that were said.
    said: usize,
}

impl Walk {
    fn method(&self, name: &str) -> MethodDescriptor {
        let (service, method) = name.split_once('/').expect("Service/Method");
        self.pool
            .services()
            .filter(|s| s.name() == service)
            .flat_map(|s| s.methods().collect::<Vec<_>>())
            .find(|m| m.name() == method)
            .unwrap_or_else(|| panic!("the contract has no {name}"))
    }

    /// Puts in what was kept.
    fn fill(&self, value: &mut Value) -> Result<(), String> {
        match value {
            Value::String(text) => {
                for (name, kept) in &self.kept {
                    if text.strip_prefix('$') == Some(name) {
                        text.clone_from(kept);
                    }
                }
                if text.starts_with('$') {
                    return Err(format!("nothing was kept as {text}"));
                }
                Ok(())
            }
            Value::Array(all) => all.iter_mut().try_for_each(|one| self.fill(one)),
            Value::Object(all) => all.values_mut().try_for_each(|one| self.fill(one)),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        }
    }

    /// A change with the ids that were kept.
    fn spelt_out(&self, change: &str) -> String {
        let mut change = change.to_owned();
        for (name, kept) in &self.kept {
            change = change.replace(&format!("${name}"), kept);
        }
        change
    }

    fn keep(&mut self, names: &BTreeMap<String, String>, from: &Value) -> Result<(), String> {
        for (name, path) in names {
            let mut at = from;
            for word in path.split('.') {
                at = word.parse().map_or_else(|_| &at[word], |place: usize| &at[place]);
            }
            let text = at.as_str().ok_or_else(|| format!("has no {path}: {from}"))?;
            self.kept.insert(name.clone(), text.to_owned());
        }
        Ok(())
    }

    /// Calls, from an address of its own.
    async fn call(&mut self, step: &Call, path: &str, from: &str) -> Result<(), String> {
        let method = self.method(&step.call);
        let mut with = if step.with.is_null() {
            Value::Object(serde_json::Map::default())
        } else {
            step.with.clone()
        };
        self.fill(&mut with)?;
        let message = DynamicMessage::deserialize(method.input(), with).map_err(|error| error.to_string())?;
        let mut request: Request<Vec<u8>> = self.app.request(TENANT, &step.by, message.encode_to_vec());
        let origin = MetadataValue::try_from(from).expect("an address is ASCII");
        request.metadata_mut().insert("x-forwarded-for", origin);
        let mut grpc = tonic::client::Grpc::new(self.app.grpc());
        grpc.ready().await.expect("the door is open");
        let path = path.parse().expect("a path");
        let refused = |status: Status| format!("is refused: {status}");
        let answers = grpc.server_streaming(request, path, Raw).await;
        let mut answers = answers.map_err(refused)?.into_inner();
        let answer = answers.message().await.map_err(refused)?;
        let answer = DynamicMessage::decode(method.output(), answer.unwrap_or_default().as_slice());
        let options = SerializeOptions::new()
            .use_proto_field_name(true)
            .skip_default_fields(false);
        let answer = answer
            .expect("an answer of its type")
            .serialize_with_options(serde_json::value::Serializer, &options)
            .expect("an answer as JSON");
        if method.is_server_streaming() {
            self.open.push(answers);
        }
        self.keep(&step.keep, &answer)?;
        self.app.settle().await;
        Ok(())
    }

    async fn says(&mut self, said: &Said) {
        self.said += 1;
        let now = Some(to_wire(self.app.clock.now()));
        let (handle, value) = said.from.split_once(':').expect("kind:value");
        let name = format!("said-{}", self.said);
        let kind = ChannelKind::from_str_name(&said.kind).expect("a kind of channel");
        let interaction = Interaction {
            interaction_id: InteractionId::derived(&[name.as_bytes()]).to_string(),
            revision: 1,
            channel: said.channel.clone(),
            channel_kind: kind.into(),
            kind: InteractionKind::Message.into(),
            direction: Direction::Inbound.into(),
            provider_id: name,
            conversation_key: value.into(),
            party: Some(Handle {
                kind: handle.into(),
                value: value.into(),
                trust: Trust::Observed.into(),
            }),
            occurred_at: now,
            received_at: now,
            text: said.text.clone(),
            language: "it".into(),
            ..Interaction::default()
        };
        let event = InteractionReceived {
            interaction: Some(interaction),
        };
        self.app.publish(TENANT, value, &event).await;
        self.app.settle().await;
    }

    async fn quarantine(&mut self, name: &str) {
        let id = self.app.clock.new_id();
        let delivery = Delivery {
            delivery_id: id.to_string(),
            channel: "kiosk".into(),
            body: NEEDLE.into(),
            ..Delivery::default()
        };
        let mut tx = self.app.db("ingest").system_tx().await.expect("a transaction");
        let now = tx.now();
        sqlx::query(
            "INSERT INTO quarantine (tenant, delivery_id, channel, reason, delivery, size_bytes, received_at)
             VALUES ($1, $2, 'kiosk', 'no sense in it', $3, 1, $4)",
        )
        .bind(TENANT)
        .bind(id)
        .bind(delivery.encode_to_vec())
        .bind(now)
        .execute(tx.conn())
        .await
        .expect("a delivery");
        tx.commit().await.expect("kept");
        self.kept.insert(name.to_owned(), id.to_string());
    }

    async fn heard(&mut self, event: &str, names: &BTreeMap<String, String>) -> Result<(), String> {
        let newest = match event {
            "OfferMade" => {
                let newest = self.app.events::<OfferMade>().await.pop();
                let newest = newest.map(|published| published.event).unwrap_or_default();
                serde_json::json!({"offer_id": newest.offer_id, "work_item_id": newest.work_item_id, "case_id": newest.case_id})
            }
            "MessageRequested" => {
                let newest = self.app.events::<MessageRequested>().await.pop();
                serde_json::json!({"values": newest.map(|published| published.event.template_values)})
            }
            other => panic!("walk.yaml: nobody listens to {other}"),
        };
        self.keep(names, &newest)
    }
}

/// A hook of the integrator: asks one question, takes every answer, checks documents.
async fn integrator() -> String {
    let app = axum::Router::new().fallback(|body: String| async move {
        match serde_json::from_str::<Value>(&body).expect("JSON")["type"].as_str() {
            Some("document_check") => r#"{"link":"https://id.example/s/1"}"#,
            Some("ask") => r#"{"questionId":"q1","question":"Di che colore era?"}"#,
            Some("answer") => r#"{"correct":true}"#,
            _ => "",
        }
    });
    stand_in(app).await
}

fn changes(entry: &AuditEntry) -> Vec<String> {
    let words = entry.changes.iter().map(|c| {
        let kind = &c.object.as_ref().expect("what changed").kind;
        format!("{kind} {}: {} -> {}", c.field, c.before, c.after)
    });
    words.collect()
}

fn fits(wanted: &str, told: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => told.starts_with(start),
        None => told == wanted,
    }
}

/// What is wrong with the entries of one call.
fn faults(step: &Call, path: &str, entries: &[&AuditEntry], wanted: &[String]) -> Vec<String> {
    let [entry] = entries else {
        return vec![format!("{} entries", entries.len())];
    };
    let mut faults = Vec::new();
    let mut check = |holds: bool, what: String| {
        if !holds {
            faults.push(what);
        }
    };
    check(entry.method == path, format!("method {}", entry.method));
    check(entry.subject == step.by, format!("subject {}", entry.subject));
    check(
        entry.credential() == CredentialKind::Token,
        "no credential".into(),
    );
    check(
        matches!(entry.outcome(), AuditOutcome::Committed | AuditOutcome::Succeeded),
        format!("outcome {:?}", entry.outcome()),
    );
    check(
        entry.at.is_some() && !entry.call_id.is_empty(),
        "no time or no id".into(),
    );
    check(
        !format!("{entry:?}").contains(NEEDLE),
        "repeats what a person wrote".into(),
    );
    let told = changes(entry);
    let same = wanted.len() == told.len() && wanted.iter().all(|w| told.iter().any(|t| fits(w, t)));
    check(same, format!("changes {told:#?}\n  instead of {wanted:#?}"));
    check(!told.is_empty(), "says not what became of what".into());
    faults
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_that_changes_something_tells_who_did_what_to_what_and_from_where() {
    let file = |name: &str| std::fs::read_to_string(format!("{FOLDER}/{name}")).expect("a file of this test");
    let resources = file("resources.yaml").replace("HOOK", &integrator().await);
    let app = TestApp::builder(&services())
        .resources(&resources)
        .secret(TENANT, "hooks", "hmac", "s3cret")
        .configure(|config| {
            config.listen.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a net")];
            config.privacy.secret = "a secret of the test, long enough".into();
        })
        .start()
        .await;
    let mut walk = Walk {
        app,
        pool: DescriptorPool::decode(trama_proto::DESCRIPTORS).expect("our own descriptors"),
        kept: BTreeMap::new(),
        open: Vec::new(),
        said: 0,
    };
    let story: Vec<Step> = serde_norway::from_str(&file("walk.yaml")).expect("walk.yaml is a list of steps");
    let (mut made, mut faulty) = (Vec::new(), String::new());
    for (place, step) in story.iter().enumerate() {
        let (what, done) = match step {
            Step::Call(call) => {
                let from = format!("2001:db8::{:x}", place + 1);
                let method = walk.method(&call.call);
                let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
                let done = walk.call(call, &path, &from).await;
                if done.is_ok() {
                    let wanted: Vec<String> = call.changes.iter().map(|c| walk.spelt_out(c)).collect();
                    made.push((call, path, from, wanted));
                }
                (call.call.as_str(), done)
            }
            Step::Heard { heard, keep } => ("heard", walk.heard(heard, keep).await),
            Step::Says { says } => {
                walk.says(says).await;
                continue;
            }
            Step::Quarantined { quarantined } => {
                walk.quarantine(quarantined).await;
                continue;
            }
            Step::Wait { wait_seconds } => {
                walk.app.advance(Duration::from_secs(*wait_seconds)).await;
                continue;
            }
        };
        if let Err(problem) = done {
            faulty.push_str(&format!("step {}, {what}: {problem}\n", place + 1));
        }
    }

    let walked: BTreeSet<&str> = made.iter().map(|(_, path, ..)| path.as_str()).collect();
    let missing: BTreeSet<&str> = mutations()
        .map(|m| m.path)
        .filter(|m| !walked.contains(m))
        .collect();
    if !missing.is_empty() {
        faulty.push_str(&format!(
            "these change something, and audit/walk.yaml has no valid request for them: {missing:#?}\n"
        ));
    }
    let entries = log(&walk.app, TENANT, ListAuditEntriesRequest::default()).await;
    for (call, path, from, wanted) in &made {
        let of = entries.iter().filter(|e| e.origin == *from).collect::<Vec<_>>();
        let faults = if mutation(path).is_some() {
            faults(call, path, &of, wanted)
        } else if of.is_empty() {
            Vec::new()
        } else {
            vec!["changes nothing, and has an entry".to_owned()]
        };
        if !faults.is_empty() {
            faulty.push_str(&format!("{} by {}: {}\n", call.call, call.by, faults.join("; ")));
        }
    }
    assert!(faulty.is_empty(), "\n{faulty}");
    drop(walk.open);
    walk.app.stop().await;
}
