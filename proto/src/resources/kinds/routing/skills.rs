//! Skills and how well they must be mastered.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};

/// Levels of skills.
pub const LEVELS: std::ops::RangeInclusive<u8> = 1..=10;

/// Skills with the least level that is asked for: `[billing, italian-law: 3]` or `{billing: 1, italian-law: 3}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skills(pub BTreeMap<String, u8>);

impl Skills {
    /// What is wrong, if anything.
    pub(super) fn problem(&self) -> Option<String> {
        self.0.iter().find_map(|(skill, level)| {
            if skill.is_empty() {
                Some("a skill must have a name".to_owned())
            } else if LEVELS.contains(level) {
                None
            } else {
                Some(format!("skill `{skill}`: levels go from 1 to 10, not {level}"))
            }
        })
    }
}

impl<const N: usize> From<[(&str, u8); N]> for Skills {
    fn from(skills: [(&str, u8); N]) -> Self {
        Self(skills.into_iter().map(|(s, l)| (s.to_owned(), l)).collect())
    }
}

impl fmt::Display for Skills {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (skill, level)) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            if *level <= 1 {
                write!(f, "{comma}{skill}")?;
            } else {
                write!(f, "{comma}{skill} {level}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Skills {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Skills {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SkillsVisitor)
    }
}

struct SkillsVisitor;

/// One entry of the list form.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Plain(String),
    Levelled(BTreeMap<String, u8>),
}

impl<'de> Visitor<'de> for SkillsVisitor {
    type Value = Skills;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("skills such as [billing, {law: 3}] or {billing: 1, law: 3}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Skills, A::Error> {
        let mut skills = BTreeMap::new();
        while let Some(entry) = list.next_element::<Entry>().map_err(|_| {
            de::Error::custom("a skill is a name, or a name with a level: `billing` or `billing: 3`")
        })? {
            let entries = match entry {
                Entry::Plain(skill) => BTreeMap::from([(skill, 1)]),
                Entry::Levelled(entries) => entries,
            };
            for (skill, level) in entries {
                if skills.contains_key(&skill) {
                    return Err(de::Error::custom(format!("skill `{skill}` stands twice")));
                }
                skills.insert(skill, level);
            }
        }
        Ok(Skills(skills))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Skills, A::Error> {
        BTreeMap::deserialize(de::value::MapAccessDeserializer::new(map)).map(Skills)
    }
}

impl JsonSchema for Skills {
    fn schema_name() -> Cow<'static, str> {
        "Skills".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // A list or an object: a cluster's schema can only say "anything" to that; the check is ours.
        json_schema!({
            "description": "Skills with the least level (1 to 10) that is asked for: [billing, {law: 3}] or {billing: 1, law: 3}.",
            "x-kubernetes-preserve-unknown-fields": true,
        })
    }
}
