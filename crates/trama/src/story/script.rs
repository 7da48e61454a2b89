//! The story file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::Deserialize;

/// A story.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Title.
    pub title: String,
    /// Tenant it plays at.
    pub tenant: String,
    /// Articles to publish first.
    pub knowledge: Option<PathBuf>,
    /// Customers.
    pub people: BTreeMap<String, Person>,
    /// Agents.
    pub agents: BTreeMap<String, Agent>,
    /// What happens.
    pub steps: Vec<Step>,
}

/// A customer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    pub name: String,
    pub email: Option<String>,
    pub phone: Option<String>,
    pub crm: Option<String>,
}

/// An agent.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    pub name: String,
    #[serde(default)]
    pub skills: BTreeMap<String, i32>,
    pub channels: Vec<trama_proto::resources::Kind>,
    #[serde(default)]
    pub languages: Vec<String>,
    pub units: i32,
}

/// One step.
#[derive(Debug, Deserialize)]
pub struct Step {
    /// What is going on, for the reader.
    pub tell: Option<String>,
    /// What must be true afterwards.
    #[serde(default)]
    pub expect: Vec<Check>,
    /// What happens.
    #[serde(flatten)]
    pub action: Action,
}

/// What happens.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A customer writes an email.
    Email {
        person: String,
        to: String,
        subject: String,
        text: String,
        attachment: Option<PathBuf>,
    },
    /// A customer's call goes through these states.
    Call { person: String, states: Vec<String> },
    /// A customer writes in WhatsApp.
    Whatsapp {
        person: String,
        text: Option<String>,
        voice_note: Option<PathBuf>,
    },
    /// A customer writes in the chat.
    Chat {
        person: String,
        #[serde(default)]
        logged_in: bool,
        text: String,
    },
    /// An agent comes to the desk.
    Connect { agent: String },
    /// An agent takes the last offer.
    Accept { agent: String },
    /// An agent finds a customer by a reference and links the caller's number.
    Link {
        agent: String,
        person: String,
        reference: String,
    },
    /// An agent verifies a customer.
    Verify {
        agent: String,
        person: String,
        level: i32,
    },
    /// An agent records a channel preference.
    Prefer {
        agent: String,
        person: String,
        need: String,
        channel: trama_proto::resources::Kind,
    },
    /// An agent answers.
    Reply {
        agent: String,
        person: String,
        text: String,
        article: Option<String>,
    },
    /// An agent resolves the case.
    Resolve { agent: String, person: String },
}

/// What must be true.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// One customer holds a handle.
    Customer {
        person: String,
        handle: String,
        entitlement: Option<String>,
    },
    /// The person's latest case.
    Case {
        person: String,
        status: Option<String>,
        intent: Option<String>,
        reference: Option<String>,
        interactions: Option<usize>,
        attachments: Option<usize>,
    },
    /// The person's case waits in a queue.
    Waiting {
        person: String,
        channel: Option<String>,
        queue: Option<String>,
        position: Option<i32>,
        remember: Option<String>,
        same: Option<String>,
    },
    /// An agent has an offer.
    Offer {
        agent: String,
        person: Option<String>,
        channel: Option<String>,
        verified: Option<i32>,
        interactions: Option<usize>,
        attachments: Option<usize>,
        intent: Option<String>,
        article: Option<String>,
        transfers: Option<i32>,
        #[serde(default)]
        recovery: bool,
    },
    /// All these handles are one customer's.
    OneCustomer { person: String, handles: Vec<String> },
    /// A proof of identity holds.
    Verified {
        person: String,
        level: i32,
        #[serde(default)]
        not_asked_again: bool,
    },
    /// The last answer left.
    Sent {
        person: String,
        channel: String,
        contains: Vec<String>,
        article: Option<String>,
        status: Option<String>,
    },
    /// A survey question reached the customer.
    Asked {
        person: String,
        channel: String,
        contains: String,
    },
    /// An answer was recorded.
    Answered {
        person: String,
        question: String,
        score: i32,
    },
    /// So many needs.
    Cases { person: String, count: usize },
    /// Effort counters of the latest case.
    Effort {
        person: String,
        contacts: Option<i32>,
        channel_switches: Option<i32>,
        transfers: Option<i32>,
        reverifications: Option<i32>,
    },
    /// The chat window shows a text.
    ChatShows {
        person: String,
        contains: String,
        article: Option<String>,
    },
    /// A follow-up case is open.
    Recovery { person: String },
}

impl Script {
    /// Reads a story and checks that it names only who exists.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("{}: no such story", file.display()))?;
        // By way of JSON: YAML alone would want `!email` where people write `email:`.
        let value: serde_json::Value =
            serde_norway::from_str(&text).with_context(|| file.display().to_string())?;
        let script: Self = serde_json::from_value(value).with_context(|| file.display().to_string())?;
        for step in &script.steps {
            let (person, agent) = step.action.names();
            if let Some(person) = person {
                anyhow::ensure!(
                    script.people.contains_key(person),
                    "{}: nobody is called {person}",
                    file.display()
                );
            }
            if let Some(agent) = agent {
                anyhow::ensure!(
                    script.agents.contains_key(agent),
                    "{}: no agent is called {agent}",
                    file.display()
                );
            }
        }
        Ok(script)
    }

    /// How many checks it makes.
    pub fn checks(&self) -> usize {
        self.steps.iter().map(|s| s.expect.len()).sum()
    }
}

impl Action {
    fn names(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::Email { person, .. }
            | Self::Call { person, .. }
            | Self::Whatsapp { person, .. }
            | Self::Chat { person, .. } => (Some(person), None),
            Self::Connect { agent } | Self::Accept { agent } => (None, Some(agent)),
            Self::Link { agent, person, .. }
            | Self::Verify { agent, person, .. }
            | Self::Prefer { agent, person, .. }
            | Self::Reply { agent, person, .. }
            | Self::Resolve { agent, person } => (Some(person), Some(agent)),
        }
    }
}
