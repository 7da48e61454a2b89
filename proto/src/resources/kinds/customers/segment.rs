//! Conditions of segments, in CEL: `entitlement == 'gold' && traits.orders > 3 && 'email/marketing' in consents`.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{Arc, LazyLock},
};

use cel::{
    Context, Env, Program, Value,
    common::ast::{Expr, IdedExpr},
    objects::{Key, Map},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{FieldSpec, FieldType};

/// Most characters of a condition.
const MAX_LENGTH: usize = 1_000;
/// Bracket depth that the recursive parser can take on a worker's small stack.
const MAX_DEPTH: usize = 48;
/// What conditions may use beside `traits.<field>`.
const WORDS: [&str; 8] = [
    "traits",
    "entitlement",
    "language",
    "personaGroup",
    "consents",
    "handles",
    "accessibilityNeeds",
    "daysKnown",
];

/// A condition over what is known of a customer.
#[derive(Clone)]
pub struct SegmentCondition {
    source: String,
    program: Arc<Program>,
    fields: BTreeSet<String>,
}

/// What is known of a customer when segments are decided.
#[derive(Debug, Clone, Default)]
pub struct SegmentFacts {
    /// Values of the company's own fields, in their canonical text.
    pub traits: BTreeMap<String, String>,
    /// Name of the entitlement in force.
    pub entitlement: String,
    /// BCP 47 language.
    pub language: String,
    /// Persona group in force.
    pub persona_group: String,
    /// Consents in force, such as `email/marketing`.
    pub consents: Vec<String>,
    /// Kinds of handles that are known.
    pub handles: Vec<String>,
    /// Accessibility needs.
    pub accessibility_needs: Vec<String>,
    /// Whole days since the customer was first seen.
    pub days_known: i64,
}

impl SegmentCondition {
    /// Reads a condition.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(source: &str) -> Result<Self, String> {
        if source.chars().count() > MAX_LENGTH {
            return Err(format!("at most {MAX_LENGTH} characters"));
        }
        if nesting(source) > MAX_DEPTH {
            return Err(format!("brackets nest deeper than {MAX_DEPTH}: write it simpler"));
        }
        let program = ENV.compile(source).map_err(|errors| {
            let first = errors.errors.first().map(|e| e.msg.as_str()).unwrap_or_default();
            let short = first.split(" expecting ").next().unwrap_or_default();
            format!("not an expression in CEL: {short}")
        })?;
        let mut fields = BTreeSet::new();
        walk(program.expression(), &mut fields)?;
        Ok(Self {
            source: source.to_owned(),
            program: Arc::new(program),
            fields,
        })
    }

    /// Whether every field it uses exists, and whether it is a condition over fields of those types.
    ///
    /// # Errors
    /// Which one does not.
    pub fn check_fields(&self, fields: &BTreeMap<String, FieldSpec>) -> Result<(), String> {
        for field in &self.fields {
            if !fields.contains_key(field) {
                return Err(format!("the field `{field}` does not exist in spec.fields"));
            }
        }
        // A trial over values of the right types finds comparisons of a number with a text before a customer does.
        let traits = fields
            .iter()
            .map(|(name, field)| {
                let value = match field.is {
                    FieldType::String => "a".to_owned(),
                    FieldType::Number => "1".to_owned(),
                    FieldType::Bool => "true".to_owned(),
                    FieldType::Date => "2026-01-01".to_owned(),
                    FieldType::Enum => field.values.first().cloned().unwrap_or_default(),
                };
                (name.clone(), value)
            })
            .collect();
        let facts = SegmentFacts {
            traits,
            ..SegmentFacts::default()
        };
        self.holds(&facts, fields).map(|_| ())
    }

    /// Whether a customer belongs to it.
    ///
    /// # Errors
    /// Why it cannot be said: a field that the customer has no value of, mostly. Then they do not belong to it.
    pub fn holds(&self, facts: &SegmentFacts, fields: &BTreeMap<String, FieldSpec>) -> Result<bool, String> {
        let mut context = Context::with_env(Arc::clone(&ENV));
        let traits: HashMap<Key, Value> = facts
            .traits
            .iter()
            .filter_map(|(name, text)| Some((Key::from(name.as_str()), typed(text, fields.get(name)?.is)?)))
            .collect();
        context.add_variable_from_value(
            "traits",
            Value::Map(Map {
                map: Arc::new(traits),
            }),
        );
        context.add_variable_from_value("entitlement", facts.entitlement.as_str());
        context.add_variable_from_value("language", facts.language.as_str());
        context.add_variable_from_value("personaGroup", facts.persona_group.as_str());
        context.add_variable_from_value("consents", facts.consents.clone());
        context.add_variable_from_value("handles", facts.handles.clone());
        context.add_variable_from_value("accessibilityNeeds", facts.accessibility_needs.clone());
        context.add_variable_from_value("daysKnown", facts.days_known);
        match self.program.execute(&context) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(_) => Err("a condition is true or false, this is neither".to_owned()),
            // The library's words may hold values of the customer: they are not repeated.
            Err(cel::ExecutionError::NoSuchKey(_)) => Err("a field has no value".to_owned()),
            Err(_) => {
                Err("it compares what cannot be compared, or calculates with what is no number".to_owned())
            }
        }
    }
}

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

fn typed(text: &str, is: FieldType) -> Option<Value> {
    Some(match is {
        // CEL compares dates as texts the same way as days, since the year stands first.
        FieldType::String | FieldType::Enum | FieldType::Date => Value::from(text),
        FieldType::Number => Value::Float(text.parse().ok()?),
        FieldType::Bool => Value::Bool(text == "true"),
    })
}

fn nesting(source: &str) -> usize {
    let (mut open, mut deepest, mut signs) = (0_usize, 0, 0_usize);
    for character in source.chars() {
        match character {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            '!' | '-' | '?' => signs += 1,
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest.max(signs)
}

/// Only known words, no loops: the cost of a condition is bounded by its length.
fn walk(node: &IdedExpr, fields: &mut BTreeSet<String>) -> Result<(), String> {
    match &node.expr {
        Expr::Ident(name) if name == "traits" => Err("write traits.<field>".to_owned()),
        Expr::Ident(name) if WORDS.contains(&name.as_str()) => Ok(()),
        Expr::Ident(name) => Err(format!("`{name}` is not known here; known: {}", WORDS.join(", "))),
        Expr::Select(select) => match &select.operand.expr {
            Expr::Ident(name) if name == "traits" => {
                fields.insert(select.field.clone());
                Ok(())
            }
            _ => Err(format!("`.{}`: only traits have parts", select.field)),
        },
        Expr::Call(call) => {
            let allowed = !call.func_name.chars().all(|c| c.is_ascii_alphanumeric())
                || ["contains", "startsWith", "endsWith", "size"].contains(&call.func_name.as_str());
            if !allowed {
                return Err(format!("the function `{}` is not offered", call.func_name));
            }
            call.target
                .iter()
                .map(AsRef::as_ref)
                .chain(&call.args)
                .try_for_each(|part| walk(part, fields))
        }
        Expr::List(list) => list.elements.iter().try_for_each(|part| walk(part, fields)),
        Expr::Literal(_) => Ok(()),
        Expr::Comprehension(_) => Err("`all`, `exists`, `map` and `filter` are not offered".to_owned()),
        Expr::Map(_) | Expr::Struct(_) => Err("`{..}` is not offered".to_owned()),
        Expr::Unspecified => Err("something is missing".to_owned()),
    }
}

impl PartialEq for SegmentCondition {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl fmt::Debug for SegmentCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SegmentCondition({:?})", self.source)
    }
}

impl Serialize for SegmentCondition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

impl<'de> Deserialize<'de> for SegmentCondition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let source = Cow::<str>::deserialize(deserializer)?;
        Self::parse(&source).map_err(de::Error::custom)
    }
}

impl JsonSchema for SegmentCondition {
    fn schema_name() -> Cow<'static, str> {
        "SegmentCondition".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": MAX_LENGTH,
            "description": format!("Condition in CEL over {}.", WORDS.join(", ")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> BTreeMap<String, FieldSpec> {
        let field = |is, values: &[&str]| FieldSpec {
            is,
            title: BTreeMap::new(),
            required: false,
            pattern: None,
            values: values.iter().map(|v| (*v).to_owned()).collect(),
            routing: false,
        };
        [
            ("orders".to_owned(), field(FieldType::Number, &[])),
            ("city".to_owned(), field(FieldType::String, &[])),
            ("since".to_owned(), field(FieldType::Date, &[])),
            ("tier".to_owned(), field(FieldType::Enum, &["a", "b"])),
        ]
        .into()
    }

    fn holds(source: &str) -> Result<bool, String> {
        let condition = SegmentCondition::parse(source)?;
        condition.check_fields(&fields())?;
        let facts = SegmentFacts {
            traits: [
                ("orders".into(), "12.5".into()),
                ("since".into(), "2020-05-01".into()),
            ]
            .into(),
            entitlement: "gold".into(),
            consents: vec!["email/marketing".into()],
            days_known: 40,
            ..SegmentFacts::default()
        };
        condition.holds(&facts, &fields())
    }

    #[test]
    fn conditions_see_traits_entitlement_consents_and_figures() {
        assert_eq!(holds("traits.orders > 3.0 && entitlement == 'gold'"), Ok(true));
        assert_eq!(holds("traits.orders > 3 && daysKnown >= 30"), Ok(true));
        assert_eq!(
            holds("'email/marketing' in consents && !('sms/marketing' in consents)"),
            Ok(true)
        );
        assert_eq!(holds("traits.since < '2021-01-01'"), Ok(true));
        assert_eq!(holds("has(traits.city) && traits.city == 'Milano'"), Ok(false));
    }

    #[test]
    fn who_has_no_value_does_not_belong() {
        assert!(holds("traits.city != 'Milano'").is_err());
    }

    #[test]
    fn mistakes_are_named_when_the_schema_is_read() {
        assert!(holds("traits.money > 3").is_err_and(|m| m.contains("money")));
        assert!(holds("colour == 'red'").is_err_and(|m| m.contains("colour")));
        assert!(holds("traits.orders").is_err_and(|m| m.contains("true or false")));
        assert!(holds("traits.orders == ").is_err_and(|m| m.contains("CEL")));
        assert!(holds("consents.exists(c, c == 'x')").is_err());
        assert!(holds("traits.city > 3").is_err_and(|m| m.contains("compare")));
        assert!(holds(&"(".repeat(2000)).is_err());
    }
}
