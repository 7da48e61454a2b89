//! What is known of a customer beside handles: fields of the company's own, who said them, and what follows.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Datelike as _, NaiveDate, Utc};
use regex::Regex;
use serde::{Deserialize, Serialize};
use trama_proto::{
    common::v1::{self as wire, ChannelKind, CustomerContext},
    ids::CustomerId,
    resources::{CustomerSchemaSpec, FieldType, SegmentFacts, TenantResources},
};

use super::customer::EVERY_NEED;

/// The built-in field of accessibility needs: names with commas between them.
pub const ACCESSIBILITY_NEEDS: &str = "accessibility_needs";
/// The built-in field of the year of birth.
pub const BIRTH_YEAR: &str = "birth_year";
/// The first year of birth that is believed.
const FIRST_BIRTH_YEAR: i32 = 1900;
/// Most characters of a text.
const LONGEST_TEXT: usize = 500;

/// What of a profile travels with every event: worked out when the profile changes, kept beside the customer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct View {
    /// Segments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<String>,
    /// Accessibility needs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accessibility_needs: Vec<String>,
    /// Fields marked `routing`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub traits: BTreeMap<String, String>,
    /// Persona group of the generation.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub persona_group: String,
    /// Channels that the generation usually wants, by need.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub preferences: BTreeMap<String, i32>,
}

impl View {
    /// Adds itself to what is told downstream. What the customer said goes before what their generation wants.
    pub fn fill(&self, context: &mut CustomerContext) {
        context.segments.clone_from(&self.segments);
        context.accessibility_needs.clone_from(&self.accessibility_needs);
        context.traits = self.traits.clone().into_iter().collect();
        if context.persona_group.is_empty() {
            context.persona_group.clone_from(&self.persona_group);
        }
        if !context.preferences.iter().any(|p| p.need == EVERY_NEED) {
            for (need, kind) in &self.preferences {
                if !context.preferences.iter().any(|p| p.need == *need) {
                    context.preferences.push(wire::ChannelPreference {
                        need: need.clone(),
                        channel_kind: *kind,
                    });
                }
            }
            context.preferences.sort_by_key(|p| p.need == EVERY_NEED);
        }
    }

    /// The channel that the generation usually wants for a need.
    pub fn preference(&self, need: &str) -> Option<ChannelKind> {
        let kind = self
            .preferences
            .get(need)
            .or_else(|| self.preferences.get(EVERY_NEED))?;
        ChannelKind::try_from(*kind).ok()
    }
}

/// A tenant's schema, ready for use.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    spec: Arc<CustomerSchemaSpec>,
    matchers: BTreeMap<String, Regex>,
}

/// Why a value is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTrait {
    /// No such field.
    #[error("is no field of the CustomerSchema")]
    Unknown,
    /// Text.
    #[error("must be a text of 1 to {LONGEST_TEXT} characters without control characters")]
    Text,
    /// Pattern.
    #[error("does not match the pattern of the CustomerSchema")]
    Pattern,
    /// Number.
    #[error("must be a number such as 12.5")]
    Number,
    /// Truth.
    #[error("must be true or false")]
    Bool,
    /// Day.
    #[error("must be a day such as 2026-11-22")]
    Date,
    /// One of a few.
    #[error("must be one of {0}")]
    Enum(String),
    /// Year of birth.
    #[error("must be a year from {FIRST_BIRTH_YEAR} until now")]
    BirthYear,
}

impl Schema {
    /// From a tenant's resources; a tenant without any has no fields of its own.
    pub fn new(resources: Option<&TenantResources>) -> Self {
        let spec = resources
            .and_then(|r| {
                r.customer_schemas
                    .get("default")
                    .or_else(|| r.customer_schemas.values().next())
            })
            .map(Arc::clone)
            .unwrap_or_default();
        let matchers = spec
            .fields
            .iter()
            .filter_map(|(name, field)| Some((name.clone(), field.matcher()?)))
            .collect();
        Self { spec, matchers }
    }

    /// As the resource says.
    pub fn spec(&self) -> &CustomerSchemaSpec {
        &self.spec
    }

    /// Brings a value into its one spelling.
    ///
    /// # Errors
    /// When it is no value of the field.
    pub fn canonical(&self, name: &str, text: &str, now: DateTime<Utc>) -> Result<String, InvalidTrait> {
        let text = text.trim();
        match name {
            BIRTH_YEAR => {
                let year: i32 = text.parse().map_err(|_| InvalidTrait::BirthYear)?;
                if (FIRST_BIRTH_YEAR..=now.year()).contains(&year) {
                    return Ok(year.to_string());
                }
                return Err(InvalidTrait::BirthYear);
            }
            ACCESSIBILITY_NEEDS => {
                let mut needs: Vec<&str> = text
                    .split([',', ';', '|'])
                    .map(str::trim)
                    .filter(|n| !n.is_empty())
                    .collect();
                needs.sort_unstable();
                needs.dedup();
                let known = &self.spec.accessibility_needs;
                if needs.is_empty() || needs.iter().any(|n| !known.iter().any(|k| k == n)) {
                    return Err(InvalidTrait::Enum(known.join(", ")));
                }
                return Ok(needs.join(","));
            }
            _ => {}
        }
        let field = self.spec.fields.get(name).ok_or(InvalidTrait::Unknown)?;
        match field.is {
            FieldType::String => {
                let length = text.chars().count();
                if length == 0 || length > LONGEST_TEXT || text.chars().any(char::is_control) {
                    return Err(InvalidTrait::Text);
                }
                if self.matchers.get(name).is_some_and(|m| !m.is_match(text)) {
                    return Err(InvalidTrait::Pattern);
                }
                Ok(text.to_owned())
            }
            FieldType::Number => {
                let number: f64 = text.parse().map_err(|_| InvalidTrait::Number)?;
                if number.is_finite() {
                    // Adding zero makes a zero of a negative zero.
                    Ok((number + 0.0).to_string())
                } else {
                    Err(InvalidTrait::Number)
                }
            }
            FieldType::Bool => match text.to_lowercase().as_str() {
                "true" | "yes" | "sì" | "si" | "1" => Ok("true".into()),
                "false" | "no" | "0" => Ok("false".into()),
                _ => Err(InvalidTrait::Bool),
            },
            FieldType::Date => NaiveDate::parse_from_str(text, "%Y-%m-%d")
                .map(|day| day.format("%Y-%m-%d").to_string())
                .map_err(|_| InvalidTrait::Date),
            FieldType::Enum if field.values.iter().any(|v| v == text) => Ok(text.to_owned()),
            FieldType::Enum => Err(InvalidTrait::Enum(field.values.join(", "))),
        }
    }

    /// What counts of all that was said, by field.
    pub fn choose(&self, said: Vec<Said>) -> Vec<Known> {
        let mut by_name: BTreeMap<String, Vec<Said>> = BTreeMap::new();
        for one in said {
            by_name.entry(one.name.clone()).or_default().push(one);
        }
        let rank = |source: &str| {
            let sources = &self.spec.sources;
            sources.iter().position(|s| s == source).unwrap_or(sources.len())
        };
        by_name
            .into_values()
            .map(|mut said| {
                said.sort_by(|a, b| {
                    (rank(&a.source), b.set_at, &a.source, a.origin).cmp(&(
                        rank(&b.source),
                        a.set_at,
                        &b.source,
                        b.origin,
                    ))
                });
                let current = said.remove(0);
                Known {
                    current,
                    others: said,
                }
            })
            .collect()
    }

    /// Required fields that nobody said anything about.
    pub fn missing(&self, known: &[Known]) -> Vec<String> {
        let fields = self.spec.fields.iter().filter(|(_, field)| field.required);
        fields
            .map(|(name, _)| name)
            .filter(|name| !known.iter().any(|k| k.current.name == **name))
            .cloned()
            .collect()
    }

    /// Works out what travels. `facts` comes without traits, persona group and accessibility needs: they follow from
    /// what is known.
    pub fn view(&self, known: &[Known], said_group: &str, facts: SegmentFacts) -> View {
        let value = |name: &str| {
            known
                .iter()
                .find(|k| k.current.name == name)
                .map(|k| k.current.value.as_str())
        };
        let generation = value(BIRTH_YEAR)
            .and_then(|year| year.parse().ok())
            .and_then(|year| self.spec.generations.iter().find(|g| g.holds(year)));
        let traits: BTreeMap<String, String> = known
            .iter()
            .filter(|k| self.spec.fields.contains_key(&k.current.name))
            .map(|k| (k.current.name.clone(), k.current.value.clone()))
            .collect();
        let accessibility_needs: Vec<String> = value(ACCESSIBILITY_NEEDS)
            .map(|needs| needs.split(',').map(str::to_owned).collect())
            .unwrap_or_default();
        let of_generation = generation.map(|g| g.persona_group.clone()).unwrap_or_default();
        let facts = SegmentFacts {
            traits: traits.clone(),
            persona_group: if said_group.is_empty() {
                of_generation.clone()
            } else {
                said_group.to_owned()
            },
            accessibility_needs: accessibility_needs.clone(),
            ..facts
        };
        let segments = self.spec.segments.iter();
        View {
            // An error means that a field has no value: then the customer does not belong.
            segments: segments
                .filter(|(_, segment)| segment.when.holds(&facts, &self.spec.fields).unwrap_or(false))
                .map(|(name, _)| name.clone())
                .collect(),
            accessibility_needs,
            traits: traits
                .into_iter()
                .filter(|(name, _)| self.spec.fields.get(name).is_some_and(|f| f.routing))
                .collect(),
            persona_group: of_generation,
            preferences: generation
                .map(|g| {
                    let wishes = g.preferences.iter();
                    wishes
                        .map(|(need, kind)| (need.clone(), ChannelKind::from(*kind) as i32))
                        .collect()
                })
                .unwrap_or_default(),
        }
    }
}

/// One value that one source said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Which field.
    pub name: String,
    /// The value in its one spelling.
    pub value: String,
    /// The system or channel.
    pub source: String,
    /// Who recorded it.
    pub set_by: String,
    /// When.
    pub set_at: DateTime<Utc>,
    /// Whose record it was before customers were merged.
    pub origin: CustomerId,
}

/// A field with the value that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// What counts.
    pub current: Said,
    /// What others say, the next best first.
    pub others: Vec<Said>,
}

#[cfg(test)]
mod tests;
