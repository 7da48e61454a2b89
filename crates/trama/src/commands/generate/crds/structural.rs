//! Makes a derived JSON schema structural, as apiextensions/v1 wants it: a type everywhere, nothing but values in
//! `oneOf`, no `additionalProperties: false`, no `null`.

use anyhow::{Context as _, bail, ensure};
use serde_json::{Map, Value, json};

/// Keywords that stay as they are.
const KEPT: [&str; 12] = [
    "description",
    "enum",
    "maximum",
    "minimum",
    "maxItems",
    "minItems",
    "maxLength",
    "minLength",
    "maxProperties",
    "minProperties",
    "pattern",
    "required",
];

/// The structural form. `default` is dropped: a cluster would freeze today's default into every stored object, and a
/// better one of a later version would never reach it.
pub fn from_derived(schema: Value) -> anyhow::Result<Value> {
    let Value::Object(schema) = schema else {
        // `true`: anything.
        return Ok(json!({"x-kubernetes-preserve-unknown-fields": true}));
    };
    for refused in [
        "$ref",
        "anyOf",
        "allOf",
        "not",
        "patternProperties",
        "propertyNames",
    ] {
        ensure!(
            !schema.contains_key(refused),
            "{refused} has no structural form here: extend this function"
        );
    }
    let mut out: Map<String, Value> = schema
        .iter()
        .filter(|(keyword, _)| KEPT.contains(&keyword.as_str()))
        .map(|(keyword, value)| (keyword.clone(), value.clone()))
        .collect();
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        choose(choices, &mut out)?;
        return Ok(Value::Object(out));
    }
    let Some(kind) = type_of(&schema)? else {
        out.insert("x-kubernetes-preserve-unknown-fields".into(), true.into());
        return Ok(Value::Object(out));
    };
    out.insert("type".into(), kind.into());
    if let Some(format) = schema.get("format").and_then(Value::as_str) {
        number(format, &mut out)?;
    }
    if let Some(Value::Object(properties)) = schema.get("properties") {
        let mut made = Map::new();
        for (name, property) in properties {
            made.insert(
                name.clone(),
                from_derived(property.clone()).with_context(|| name.clone())?,
            );
        }
        out.insert("properties".into(), Value::Object(made));
    }
    if let Some(values) = schema.get("additionalProperties")
        && values != &Value::Bool(false)
    {
        out.insert("additionalProperties".into(), from_derived(values.clone())?);
    }
    if let Some(items) = schema.get("items") {
        out.insert("items".into(), from_derived(items.clone())?);
    }
    Ok(Value::Object(out))
}

/// The type without `null`: absent says the same, and the API server prunes a null.
fn type_of(schema: &Map<String, Value>) -> anyhow::Result<Option<String>> {
    Ok(match schema.get("type") {
        None => None,
        Some(Value::String(kind)) => Some(kind.clone()),
        Some(Value::Array(kinds)) => {
            let mut kinds = kinds.iter().filter_map(Value::as_str).filter(|k| *k != "null");
            let kind = kinds.next().map(str::to_owned);
            ensure!(
                kinds.next().is_none(),
                "a value of two types has no structural form"
            );
            kind
        }
        Some(other) => bail!("a type that is {other}"),
    })
}

/// Kubernetes knows two formats of whole numbers; the others become limits.
fn number(format: &str, out: &mut Map<String, Value>) -> anyhow::Result<()> {
    let (known, most): (&str, Option<u64>) = match format {
        "int32" | "int64" | "double" | "float" => (format, None),
        "uint8" | "uint16" => ("int32", None),
        "uint32" => ("int64", Some(u64::from(u32::MAX))),
        "uint" | "uint64" => ("int64", None),
        other => bail!("unknown format {other}"),
    };
    out.insert("format".into(), known.into());
    if let Some(most) = most {
        out.entry("maximum").or_insert(most.into());
    }
    Ok(())
}

/// An enum: of names, or of objects with one field each, of which exactly one is given.
fn choose(choices: &[Value], out: &mut Map<String, Value>) -> anyhow::Result<()> {
    let names = choices.iter().map(names_of).collect::<Option<Vec<_>>>();
    let mut about: Vec<String> = Vec::new();
    if let Some(names) = names {
        for (choice, names) in choices.iter().zip(&names) {
            if let (Some(text), [name]) = (choice["description"].as_str(), names.as_slice()) {
                about.push(format!("{}: {text}", name.as_str().unwrap_or_default()));
            }
        }
        out.insert("type".into(), "string".into());
        out.insert("enum".into(), names.concat().into());
    } else {
        let mut properties = Map::new();
        for choice in choices {
            let fields = choice["properties"]
                .as_object()
                .context("a choice that is no object")?;
            ensure!(fields.len() == 1, "a choice of {} fields", fields.len());
            for (name, field) in fields {
                let mut made = from_derived(field.clone())?;
                if let (Some(text), true) = (choice.get("description"), made["description"].is_null()) {
                    made["description"] = text.clone();
                }
                properties.insert(name.clone(), made);
            }
        }
        about.push("Exactly one of them.".into());
        out.insert("type".into(), "object".into());
        out.insert("properties".into(), Value::Object(properties));
        out.insert("minProperties".into(), 1.into());
        out.insert("maxProperties".into(), 1.into());
    }
    if !about.is_empty() {
        let before = out
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        out.insert(
            "description".into(),
            format!("{before} {}", about.join(" ")).trim().into(),
        );
    }
    Ok(())
}

fn names_of(choice: &Value) -> Option<Vec<Value>> {
    if let Some(name) = choice.get("const") {
        return Some(vec![name.clone()]);
    }
    choice.get("enum").and_then(Value::as_array).cloned()
}

/// Adds keywords at a place. `keys` is ours: it turns a map into an object of these fields, because a cluster cannot
/// say which keys a map may have.
pub fn add(schema: &mut Value, at: &str, says: Value) -> anyhow::Result<()> {
    let mut place = schema;
    for step in at.split('.').filter(|s| !s.is_empty()) {
        let (name, nested) = match (step.strip_suffix("[]"), step.strip_suffix("{}")) {
            (Some(name), _) => (name, Some("items")),
            (_, Some(name)) => (name, Some("additionalProperties")),
            (None, None) => (step, None),
        };
        let fields = place.get_mut("properties").context("has no fields")?;
        place = fields
            .get_mut(name)
            .with_context(|| format!("has no field {name}"))?;
        if let Some(nested) = nested {
            place = place
                .get_mut(nested)
                .with_context(|| format!("{name} has no {nested}"))?;
        }
    }
    let (Value::Object(place), Value::Object(says)) = (place, says) else {
        bail!("a rule and its place are objects");
    };
    for (keyword, value) in says {
        if keyword == "keys" {
            let of = place
                .remove("additionalProperties")
                .context("keys of what is no map")?;
            let keys = value.as_array().context("keys are a list")?;
            let fields = keys
                .iter()
                .filter_map(Value::as_str)
                .map(|k| (k.to_owned(), of.clone()));
            place.insert("properties".into(), fields.collect::<Map<_, _>>().into());
        } else if keyword == "x-kubernetes-validations" {
            let list = place.entry(keyword).or_insert_with(|| json!([]));
            if let (Value::Array(list), Value::Array(more)) = (list, value) {
                list.extend(more);
            }
        } else {
            place.insert(keyword, value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_an_enum_and_say_what_each_means() {
        let derived = json!({"oneOf": [
            {"type": "string", "const": "a", "description": "First."}, {"type": "string", "enum": ["b"]}]});
        let made = from_derived(derived).expect("structural");
        assert_eq!(
            made,
            json!({"type": "string", "enum": ["a", "b"], "description": "a: First."})
        );
    }

    #[test]
    fn of_variants_with_content_exactly_one_is_given() {
        let variant = |name: &str| json!({"type": "object", "properties": {name: {"type": "object"}}, "required": [name]});
        let made = from_derived(json!({"oneOf": [variant("a"), variant("b")]})).expect("structural");
        assert_eq!(
            (&made["minProperties"], &made["maxProperties"]),
            (&json!(1), &json!(1))
        );
        assert!(made["properties"]["b"].is_object() && made.get("oneOf").is_none());
    }

    #[test]
    fn null_false_and_default_are_gone() {
        let derived = json!({"type": "object", "additionalProperties": false, "properties": {
            "x": {"type": ["integer", "null"], "format": "uint32", "default": null, "minimum": 0}}});
        let made = from_derived(derived).expect("structural");
        let x = json!({"type": "integer", "format": "int64", "minimum": 0, "maximum": u32::MAX});
        assert_eq!(made, json!({"type": "object", "properties": {"x": x}}));
    }

    #[test]
    fn what_has_no_structural_form_is_refused() {
        assert!(from_derived(json!({"anyOf": []})).is_err());
        assert!(from_derived(json!({"type": ["string", "integer"]})).is_err());
    }

    #[test]
    fn a_rule_without_a_place_is_refused() {
        let mut schema = json!({"type": "object", "properties": {}});
        assert!(add(&mut schema, "gone", json!({"minimum": 1})).is_err());
    }
}
