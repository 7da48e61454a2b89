//! The kinds of `trama.dev/v1alpha1`: the same YAML in a cluster and in a folder.
//!
//! [`Resources::build`] validates documents as a whole, cross references included, and keeps the last good version
//! of what became invalid. Where documents come from is the platform's business.

pub mod condition;
mod kinds;
mod references;

use std::{collections::BTreeMap, sync::Arc};

pub use kinds::*;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::ids::TenantId;

/// The only version so far.
pub const API_VERSION: &str = "trama.dev/v1alpha1";

/// A document before it is understood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Where it comes from, for messages: `examples/resources/channels.yaml#2`. No two have the same.
    pub origin: String,
    /// Its content.
    pub content: Value,
}

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {resource}: {message}")]
pub struct Problem {
    /// Where the document comes from.
    pub origin: String,
    /// `Kind/name`, as far as known.
    pub resource: String,
    /// What is wrong and how to mend it.
    pub message: String,
    /// What it means for the resource.
    pub fault: Fault,
}

/// What a problem means for its resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Refused, and nothing is in force in its place.
    Refused,
    /// Refused; the last good version stays in force.
    LastGoodStays,
    /// In force, but something that it names does not exist.
    Unresolved,
    /// In force, but at odds with another.
    Conflicting,
}

/// What a kind is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindName {
    /// As in YAML.
    pub kind: &'static str,
    /// As in the paths of an API server.
    pub plural: &'static str,
}

/// All kinds.
pub const KINDS: [KindName; 12] = {
    const fn name(kind: &'static str, plural: &'static str) -> KindName {
        KindName { kind, plural }
    }
    [
        name("Channel", "channels"),
        name("Queue", "queues"),
        name("RoutingPolicy", "routingpolicies"),
        name("BusinessHours", "businesshours"),
        name("Entitlement", "entitlements"),
        name("Intent", "intents"),
        name("Survey", "surveys"),
        name("MessageTemplate", "messagetemplates"),
        name("Persona", "personas"),
        name("MatchingPolicy", "matchingpolicies"),
        name("CustomerSchema", "customerschemas"),
        name("RetentionPolicy", "retentionpolicies"),
    ]
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    api_version: String,
    kind: String,
    metadata: Metadata,
    #[serde(default)]
    spec: Value,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
    /// The tenant.
    namespace: TenantId,
}

/// The resources of one tenant, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TenantResources {
    /// Connections to providers.
    pub channels: BTreeMap<String, Arc<ChannelSpec>>,
    /// Where work waits.
    pub queues: BTreeMap<String, Arc<QueueSpec>>,
    /// Which work waits where.
    pub routing_policies: BTreeMap<String, Arc<RoutingPolicySpec>>,
    /// When we are there.
    pub business_hours: BTreeMap<String, Arc<BusinessHoursSpec>>,
    /// What customers are entitled to.
    pub entitlements: BTreeMap<String, Arc<EntitlementSpec>>,
    /// What customers want.
    pub intents: BTreeMap<String, Arc<IntentSpec>>,
    /// What is asked after a case.
    pub surveys: BTreeMap<String, Arc<SurveySpec>>,
    /// Texts with places to fill.
    pub message_templates: BTreeMap<String, Arc<MessageTemplateSpec>>,
    /// Tone of voice.
    pub personas: BTreeMap<String, Arc<PersonaSpec>>,
    /// Who is who.
    pub matching_policies: BTreeMap<String, Arc<MatchingPolicySpec>>,
    /// What is kept of customers.
    pub customer_schemas: BTreeMap<String, Arc<CustomerSchemaSpec>>,
    /// For how long records are kept.
    pub retention_policies: BTreeMap<String, Arc<RetentionPolicySpec>>,
}

/// An immutable set of valid resources. A decision holds one and never mixes two.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resources {
    tenants: BTreeMap<TenantId, TenantResources>,
}

impl Resources {
    /// Validates documents. What is invalid is left out, or kept as it was in `previous`, and reported.
    pub fn build(documents: &[Document], previous: &Resources) -> (Resources, Vec<Problem>) {
        let mut next = Resources::default();
        let mut problems = Vec::new();
        let mut origins = BTreeMap::new();
        for document in documents {
            let label = label(&document.content);
            let mut refuse = |fault, message| problems.push(problem(document, &label, fault, message));
            let envelope: Envelope = match serde_json::from_value(document.content.clone()) {
                Ok(envelope) => envelope,
                Err(error) => {
                    refuse(Fault::Refused, error.to_string());
                    continue;
                }
            };
            if envelope.api_version != API_VERSION {
                let message = format!("apiVersion must be {API_VERSION}, is {}", envelope.api_version);
                refuse(Fault::Refused, message);
                continue;
            }
            if !valid_name(&envelope.metadata.name) {
                refuse(
                    Fault::Refused,
                    "metadata.name must be 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends"
                        .into(),
                );
                continue;
            }
            let tenant = envelope.metadata.namespace.clone();
            if origins.contains_key(&(tenant.clone(), label.clone())) {
                refuse(Fault::Refused, "stands twice: rename or remove one".into());
                continue;
            }
            origins.insert((tenant, label.clone()), document.origin.as_str());
            if let Err((fault, message)) = next.insert(&envelope, previous) {
                refuse(fault, message);
            }
        }
        for (tenant, set) in &next.tenants {
            problems.extend(set.dangling().into_iter().filter_map(|found| {
                let (key, origin) = origins.get_key_value(&(tenant.clone(), found.resource))?;
                Some(Problem {
                    origin: (*origin).to_owned(),
                    resource: key.1.clone(),
                    message: found.message,
                    fault: found.fault,
                })
            }));
        }
        (next, problems)
    }

    /// The resources of a tenant; an unknown tenant has none.
    pub fn tenant(&self, tenant: &TenantId) -> Option<&TenantResources> {
        self.tenants.get(tenant)
    }

    /// The brand that speaks on a channel; empty when it speaks for all, or there is none of that name.
    pub fn brand(&self, tenant: &TenantId, channel: &str) -> &str {
        let spec = self.tenant(tenant).and_then(|t| t.channels.get(channel));
        spec.map_or("", |spec| spec.brand.as_str())
    }

    /// All tenants that have resources.
    pub fn tenants(&self) -> impl Iterator<Item = (&TenantId, &TenantResources)> {
        self.tenants.iter()
    }

    fn insert(&mut self, envelope: &Envelope, previous: &Resources) -> Result<(), (Fault, String)> {
        let tenant = &envelope.metadata.namespace;
        let old = previous.tenants.get(tenant);
        let set = self.tenants.entry(tenant.clone()).or_default();
        let name = &envelope.metadata.name;
        macro_rules! kinds {
            ($($kind:literal => $field:ident,)*) => {
                match envelope.kind.as_str() {
                    $($kind => put(&mut set.$field, old.map(|o| &o.$field), name, &envelope.spec),)*
                    other => Err((
                        Fault::Refused,
                        format!("unknown kind {other}; known kinds: {}", [$($kind),*].join(", ")),
                    )),
                }
            };
        }
        kinds! {
            "Channel" => channels,
            "Queue" => queues,
            "RoutingPolicy" => routing_policies,
            "BusinessHours" => business_hours,
            "Entitlement" => entitlements,
            "Intent" => intents,
            "Survey" => surveys,
            "MessageTemplate" => message_templates,
            "Persona" => personas,
            "MatchingPolicy" => matching_policies,
            "CustomerSchema" => customer_schemas,
            "RetentionPolicy" => retention_policies,
        }
    }
}

fn put<T: DeserializeOwned + Validate>(
    into: &mut BTreeMap<String, Arc<T>>,
    previous: Option<&BTreeMap<String, Arc<T>>>,
    name: &str,
    spec: &Value,
) -> Result<(), (Fault, String)> {
    let parsed = serde_path_to_error::deserialize::<_, T>(spec)
        .map_err(|e| match e.path().to_string().as_str() {
            "." => format!("spec: {}", e.inner()),
            path => format!("spec.{path}: {}", e.inner()),
        })
        .and_then(|spec| spec.validate().map(|()| spec));
    match parsed {
        Ok(spec) => {
            into.insert(name.to_owned(), Arc::new(spec));
            Ok(())
        }
        Err(message) => match previous.and_then(|p| p.get(name)) {
            Some(last_good) => {
                into.insert(name.to_owned(), Arc::clone(last_good));
                Err((
                    Fault::LastGoodStays,
                    format!("{message} (the last good version stays in force)"),
                ))
            }
            None => Err((Fault::Refused, message)),
        },
    }
}

fn label(content: &Value) -> String {
    let text = |pointer| {
        content
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or("?")
            .to_owned()
    };
    format!("{}/{}", text("/kind"), text("/metadata/name"))
}

fn problem(document: &Document, label: &str, fault: Fault, message: String) -> Problem {
    Problem {
        origin: document.origin.clone(),
        resource: label.to_owned(),
        message,
        fault,
    }
}

/// A label of DNS, as Kubernetes wants it: the same file must work in a folder and in a cluster.
fn valid_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn queue(seconds: i64) -> Document {
        Document {
            origin: "test".into(),
            content: json!({
                "apiVersion": API_VERSION, "kind": "Queue",
                "metadata": {"name": "care", "namespace": "acme"},
                "spec": {"serviceLevel": {"targetSeconds": seconds, "goal": 0.8}}
            }),
        }
    }

    #[test]
    fn an_invalid_version_never_replaces_the_last_good_one() {
        let (good, problems) = Resources::build(&[queue(60)], &Resources::default());
        assert_eq!(problems, []);
        let (kept, problems) = Resources::build(&[queue(-1)], &good);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].fault, Fault::LastGoodStays);
        assert_eq!(kept, good);
    }

    #[test]
    fn unknown_fields_and_kinds_are_named() {
        let mut document = queue(60);
        document.content["spec"]["colour"] = json!("red");
        let (_, problems) = Resources::build(&[document.clone()], &Resources::default());
        assert!(problems[0].message.contains("colour"), "{problems:?}");
        document.content["kind"] = json!("Queueue");
        let (_, problems) = Resources::build(&[document], &Resources::default());
        assert!(problems[0].message.contains("known kinds"), "{problems:?}");
    }

    #[test]
    fn a_folder_refuses_the_names_that_a_cluster_would() {
        let mut document = queue(60);
        let mut is_refused = |name: &str| {
            document.content["metadata"]["name"] = json!(name);
            let (_, problems) = Resources::build(&[document.clone()], &Resources::default());
            problems.iter().any(|p| p.message.contains("metadata.name"))
        };
        let longest = "a".repeat(63);
        for name in ["care", "care-2", "2nd", longest.as_str()] {
            assert!(!is_refused(name), "{name}");
        }
        let too_long = "a".repeat(64);
        for name in ["", "my_care", "Care", "a.b", "-care", "care-", too_long.as_str()] {
            assert!(is_refused(name), "{name}");
        }
    }

    #[test]
    fn every_kind_has_a_name_and_every_name_a_kind() {
        let mut document = queue(60);
        for name in KINDS {
            document.content["kind"] = json!(name.kind);
            let (_, problems) = Resources::build(&[document.clone()], &Resources::default());
            assert!(
                problems.iter().all(|p| !p.message.contains("unknown kind")),
                "{problems:?}"
            );
        }
        document.content["kind"] = json!("Queueue");
        let (_, problems) = Resources::build(&[document], &Resources::default());
        let (_, known) = problems[0].message.split_once("known kinds: ").unwrap();
        assert_eq!(known.split(", ").collect::<Vec<_>>(), KINDS.map(|n| n.kind));
    }

    #[test]
    fn what_leads_nowhere_is_told_of_the_document_that_says_so() {
        let mut document = queue(60);
        document.content["spec"]["hours"] = json!("weekdays");
        let (resources, problems) = Resources::build(&[document], &Resources::default());
        assert_eq!(
            (problems[0].origin.as_str(), problems[0].fault),
            ("test", Fault::Unresolved)
        );
        assert_eq!(resources.tenants().count(), 1, "it is in force all the same");
    }

    #[test]
    fn a_duplicate_is_refused() {
        let (_, problems) = Resources::build(&[queue(60), queue(61)], &Resources::default());
        assert!(problems[0].message.contains("twice"));
    }
}
