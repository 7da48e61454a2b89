//! What the audit log may tell of a call, read from the descriptors: a method that does not say that it changes nothing
//! (`idempotency_level = NO_SIDE_EFFECTS`) is taken for one that does, and a field that does not say that its value may be
//! kept (`trama.options.v1.audited`) is told by its name alone.

use std::{collections::HashMap, sync::LazyLock};

use prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor,
    ReflectMessage as _, Value, prost_types::method_options::IdempotencyLevel,
};
use uuid::Uuid;

use crate::audit::v1::{AuditField, AuditObject};

/// Messages inside of messages that are looked into.
const DEPTH: usize = 6;
/// Most objects, and most fields, of one call.
const MOST: usize = 64;
/// Longest value that is kept, in characters.
const LONGEST: usize = 128;
/// Says which call it is, not what it is about.
const REQUEST_ID: &str = "request_id";

/// A method that changes something.
#[derive(Debug)]
pub struct Mutation {
    /// `/trama.case.v1.CaseService/ResolveCase`.
    pub path: &'static str,
    input: MessageDescriptor,
    output: MessageDescriptor,
}

struct Contract {
    mutations: HashMap<&'static str, Mutation>,
    audited: ExtensionDescriptor,
}

static CONTRACT: LazyLock<Contract> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(crate::DESCRIPTORS).expect("descriptors come from our own build");
    let audited = pool
        .get_extension_by_name("trama.options.v1.audited")
        .expect("options.proto declares the audited extension");
    let mut mutations = HashMap::new();
    for service in pool.services() {
        for method in service.methods() {
            let level = method
                .method_descriptor_proto()
                .options
                .as_ref()
                .map(|options| options.idempotency_level());
            if level == Some(IdempotencyLevel::NoSideEffects) {
                continue;
            }
            // Leaked once, so that it can be a label.
            let path: &'static str = format!("/{}/{}", service.full_name(), method.name()).leak();
            let (input, output) = (method.input(), method.output());
            mutations.insert(path, Mutation { path, input, output });
        }
    }
    Contract { mutations, audited }
});

/// The method at this path, when it changes something.
pub fn mutation(path: &str) -> Option<&'static Mutation> {
    CONTRACT.mutations.get(path)
}

/// All methods that change something.
pub fn mutations() -> impl Iterator<Item = &'static Mutation> {
    CONTRACT.mutations.values()
}

/// What a call was about and what it said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Told {
    /// By the ids in request and answer.
    pub objects: Vec<AuditObject>,
    /// What the request said.
    pub fields: Vec<AuditField>,
}

impl Mutation {
    /// What may be told of an encoded request and of its encoded answer, as far as there are any.
    pub fn tell(&self, request: Option<&[u8]>, answer: Option<&[u8]>) -> Told {
        let mut told = Told::default();
        if let Some(message) = request.and_then(|r| DynamicMessage::decode(self.input.clone(), r).ok()) {
            tell(&message, "", DEPTH, &mut told, true);
        }
        if let Some(message) = answer.and_then(|a| DynamicMessage::decode(self.output.clone(), a).ok()) {
            // Of an answer the ids at its top, and of the things that it hands back.
            tell(&message, "", 2, &mut told, false);
        }
        told
    }
}

fn tell(message: &DynamicMessage, prefix: &str, depth: usize, told: &mut Told, fields: bool) {
    for (field, value) in message.fields() {
        if field.name() == REQUEST_ID && prefix.is_empty() {
            continue;
        }
        let path = if prefix.is_empty() {
            field.name().to_owned()
        } else {
            format!("{prefix}.{}", field.name())
        };
        if let Some(kind) = field
            .name()
            .strip_suffix("_id")
            .or(field.name().strip_suffix("_ids"))
        {
            for id in each(value).iter().filter_map(Value::as_str) {
                let known = told.objects.iter().any(|o| o.id == id && o.kind == kind);
                if !known && told.objects.len() < MOST && may_be_told(&field, id) {
                    told.objects.push(AuditObject {
                        kind: kind.to_owned(),
                        id: id.to_owned(),
                    });
                }
            }
        }
        let inside = depth > 1 && !field.is_map() && is_ours(&field);
        if inside {
            for one in each(value).iter().filter_map(Value::as_message) {
                tell(one, &path, depth - 1, told, fields);
            }
        } else if fields && told.fields.len() < MOST && !told.fields.iter().any(|f| f.path == path) {
            let value = (!field.is_map() && !field.is_list())
                .then(|| told_value(&field, value))
                .flatten();
            told.fields.push(AuditField { path, value });
        }
    }
}

fn each(value: &Value) -> &[Value] {
    match value {
        Value::List(list) => list,
        one => std::slice::from_ref(one),
    }
}

fn is_ours(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Message(m) if m.full_name().starts_with("trama."))
}

/// Ids of our own making are random; others may be what a person is known by elsewhere.
fn may_be_told(field: &FieldDescriptor, id: &str) -> bool {
    Uuid::try_parse(id).is_ok() || (audited(field) && id.chars().count() <= LONGEST && !id.is_empty())
}

fn audited(field: &FieldDescriptor) -> bool {
    field.options().get_extension(&CONTRACT.audited).as_bool() == Some(true)
}

fn told_value(field: &FieldDescriptor, value: &Value) -> Option<String> {
    match (value, field.kind()) {
        (Value::Bool(yes), _) => Some(yes.to_string()),
        (Value::EnumNumber(number), Kind::Enum(names)) => Some(
            names
                .get_value(*number)
                .map_or_else(|| number.to_string(), |v| v.name().to_owned()),
        ),
        (Value::String(text), _) if field.name().ends_with("_id") => {
            may_be_told(field, text).then(|| text.clone())
        }
        _ if !audited(field) => None,
        (Value::String(text), _) => Some(text.chars().take(LONGEST).collect()),
        (Value::I32(n), _) => Some(n.to_string()),
        (Value::I64(n), _) => Some(n.to_string()),
        (Value::U32(n), _) => Some(n.to_string()),
        (Value::U64(n), _) => Some(n.to_string()),
        (Value::Message(m), _) if m.descriptor().full_name() == "google.protobuf.Timestamp" => {
            let stamp: prost_types::Timestamp = m.transcode_to().ok()?;
            crate::time::from_wire(Some(&stamp)).map(|at| at.to_rfc3339())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::{
        case::v1 as case, common::v1 as common, identity_resolution::v1 as identity, routing::v1 as routing,
    };

    fn told(path: &str, request: &impl prost::Message, answer: Option<&[u8]>) -> Told {
        mutation(path)
            .expect("a mutation")
            .tell(Some(&request.encode_to_vec()), answer)
    }

    fn field(path: &str, value: Option<&str>) -> AuditField {
        AuditField {
            path: path.to_owned(),
            value: value.map(str::to_owned),
        }
    }

    fn object(kind: &str, id: &str) -> AuditObject {
        AuditObject {
            kind: kind.to_owned(),
            id: id.to_owned(),
        }
    }

    const CASE: &str = "7b0e3a5c-1f7e-4c44-9d6e-0d9a2f9f1a11";

    #[test]
    fn what_a_person_wrote_is_told_by_the_name_of_the_field_alone() {
        let request = case::ReplyToCaseRequest {
            case_id: CASE.into(),
            text: "Cara Anna, il tecnico viene domani.".into(),
            request_id: "r-1".into(),
            ..case::ReplyToCaseRequest::default()
        };
        let answer = case::ReplyToCaseResponse {
            message_id: CASE.replace('7', "8"),
            case: None,
        };
        let told = told(
            "/trama.case.v1.CaseService/ReplyToCase",
            &request,
            Some(&answer.encode_to_vec()),
        );
        assert_eq!(told.fields, [field("case_id", Some(CASE)), field("text", None)]);
        assert_eq!(
            told.objects,
            [object("case", CASE), object("message", &CASE.replace('7', "8"))]
        );
    }

    #[test]
    fn addresses_and_ids_of_other_systems_are_not_told() {
        let request = identity::UpsertCustomerRequest {
            external_id: "C-4711".into(),
            display_name: "Anna Bianchi".into(),
            handles: vec![common::Handle {
                kind: "email".into(),
                value: "anna@example.com".into(),
                trust: 0,
            }],
            traits: [("tier".to_owned(), "gold".to_owned())].into(),
            ..identity::UpsertCustomerRequest::default()
        };
        let path = "/trama.identity_resolution.v1.ProfileService/UpsertCustomer";
        let told = told(path, &request, None);
        assert!(told.objects.is_empty());
        assert!(told.fields.iter().all(|f| f.value.is_none()), "{:?}", told.fields);
        assert!(told.fields.iter().any(|f| f.path == "handles.value"));
        assert!(told.fields.iter().any(|f| f.path == "traits"));
    }

    #[test]
    fn values_are_told_where_the_contract_says_so() {
        let request = routing::DrainQueueRequest {
            queue: "billing".into(),
            draining: true,
            overflow_to: "general".into(),
            request_id: String::new(),
        };
        let told = told("/trama.routing.v1.SupervisorService/DrainQueue", &request, None);
        let expected = [
            field("queue", Some("billing")),
            field("draining", Some("true")),
            field("overflow_to", Some("general")),
        ];
        assert_eq!(told.fields, expected);
    }

    #[test]
    fn only_methods_named_like_questions_say_that_they_change_nothing() {
        let questions = [
            "Get",
            "List",
            "Find",
            "Search",
            "CheckText",
            "Explain",
            "Preview",
            "Export",
            "Watch",
            "Download",
            "BatchResolve",
            "Forecast",
            "Propose",
            "Required",
            "WhatIf",
            "AnswerQuestion",
        ];
        for path in crate::method_scopes().into_keys() {
            let name = path.rsplit('/').next().expect("a name");
            if mutation(&path).is_none() {
                assert!(
                    questions.iter().any(|q| name.starts_with(q)),
                    "{path} changes nothing?"
                );
            }
        }
        assert!(mutations().count() > 40);
    }

    #[test]
    fn junk_tells_nothing() {
        let method = mutation("/trama.case.v1.CaseService/AddNote").expect("a mutation");
        assert_eq!(method.tell(Some(b"\xff\xff"), Some(b"\xff")), Told::default());
    }
}
