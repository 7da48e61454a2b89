//! Conditions in the language of CEL, the Common Expression Language: `channel == 'voice' && urgency > 0.7`.
//!
//! A condition is checked when its resource is read: syntax, words, types, and the values that words with few values
//! can have. What is left to go wrong later is a fact that is not known at the time and arithmetic that overflows;
//! both are errors of [`Condition::holds`], which the caller takes for "does not fit" and says so.
//!
//! Offered are `true`, numbers, texts, lists, `== != < <= > >= in && || ! + - * / % ? :`, brackets, and the functions
//! `contains`, `startsWith` and `endsWith`: what says something about one piece of work. There are no loops, so the cost
//! is bounded by [`MAX_LENGTH`]. Whatever is offered means what CEL says; the tests compare with the `cel` crate.

mod check;
mod evaluate;
mod parse;

use std::{borrow::Cow, fmt, marker::PhantomData, sync::Arc};

use parse::Node;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Most characters of a condition.
pub const MAX_LENGTH: usize = 500;

/// What is wrong and where.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem {
    /// Which character, from 0.
    at: usize,
    message: String,
}

/// What kind of value a word stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WordType {
    /// `true` or `false`.
    Truth,
    /// A whole number.
    Whole,
    /// A number with decimals.
    Decimal,
    /// Text of any content.
    Text,
    /// Text that is one of these.
    OneOf(&'static [&'static str]),
}

/// A word that conditions may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// As written in the condition.
    pub name: &'static str,
    /// What it stands for.
    pub is: WordType,
    /// What it means, for the reference.
    pub about: &'static str,
}

/// The words of one kind of condition. A type, so that a condition about queues cannot be evaluated with less.
pub trait Vocabulary: 'static {
    /// All of them.
    const WORDS: &'static [Word];
}

/// The value of a word at the time of a decision.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// For [`WordType::Truth`].
    Truth(bool),
    /// For [`WordType::Whole`].
    Whole(i64),
    /// For [`WordType::Decimal`].
    Decimal(f64),
    /// For [`WordType::Text`] and [`WordType::OneOf`].
    Text(String),
}

/// A checked condition over the words of `V`.
pub struct Condition<V> {
    source: Arc<str>,
    root: Arc<Node>,
    /// The words it uses.
    words: Arc<[&'static str]>,
    vocabulary: PhantomData<fn(V)>,
}

impl<V: Vocabulary> Condition<V> {
    /// Checks a condition.
    ///
    /// # Errors
    /// What is wrong and where, in words.
    pub fn parse(source: &str) -> Result<Self, String> {
        let (root, words) = parse::parse(source)
            .and_then(|root| check::condition(&root, V::WORDS).map(|words| (root, words)))
            .map_err(|problem| format!("at character {}: {}", problem.at + 1, problem.message))?;
        Ok(Self {
            source: source.into(),
            root: Arc::new(root),
            words: words.into(),
            vocabulary: PhantomData,
        })
    }

    /// As written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it uses a word.
    pub fn uses(&self, word: &str) -> bool {
        self.words.contains(&word)
    }

    /// The texts that a word is compared with: `intent == 'billing'` → `billing`. For checking references.
    pub fn texts_compared_with(&self, word: &str) -> Vec<&str> {
        let mut found = Vec::new();
        check::texts_compared_with(&self.root, word, &mut found);
        found
    }

    /// Whether it holds. `fact` gives the value of a word, `None` when it is not known now. That is an error only where
    /// it decides: `length > 20 || predictedWaitSeconds > 600` holds for a long queue in any case.
    ///
    /// # Errors
    /// Why it cannot be said, in words.
    pub fn holds(&self, fact: impl Fn(&str) -> Option<Fact>) -> Result<bool, String> {
        evaluate::holds(&self.root, &fact)
    }
}

impl<V> Clone for Condition<V> {
    fn clone(&self) -> Self {
        Self {
            source: Arc::clone(&self.source),
            root: Arc::clone(&self.root),
            words: Arc::clone(&self.words),
            vocabulary: PhantomData,
        }
    }
}

impl<V> PartialEq for Condition<V> {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl<V> fmt::Debug for Condition<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({:?})", self.source)
    }
}

impl<V> Serialize for Condition<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

impl<'de, V: Vocabulary> Deserialize<'de> for Condition<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let source = Cow::<str>::deserialize(deserializer)?;
        Self::parse(&source).map_err(de::Error::custom)
    }
}

impl<V: Vocabulary> JsonSchema for Condition<V> {
    fn schema_name() -> Cow<'static, str> {
        "Condition".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = V::WORDS.iter().map(|w| w.name).collect();
        json_schema!({
            "type": "string",
            "maxLength": MAX_LENGTH,
            "description": format!("Condition in CEL over {}.", names.join(", ")),
        })
    }
}

#[cfg(test)]
mod tests;
