//! Where a story plays: the doors, the people in front of them and the agents behind.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use tonic::metadata::MetadataValue;
use trama_platform::{
    Clock,
    auth::{DevIssuer, DevToken},
    outbound::Outbound,
};
use trama_proto::{
    case::v1::{
        Article, Case, CaseKind, CaseStatus, ListCasesRequest, PublishArticleRequest,
        case_service_client::CaseServiceClient, knowledge_service_client::KnowledgeServiceClient,
    },
    common::v1::{CustomerContext, Handle},
    identity_resolution::v1::{FindCustomersRequest, identity_service_client::IdentityServiceClient},
};
use trama_sandbox::Sandbox;

use crate::apart::Ways;

use super::{
    chat::Chat,
    desk::Desk,
    script::{Agent, Person, Script},
};

/// The doors of a running platform, and what it takes to knock.
pub struct Doors {
    pub grpc: Ways,
    pub http: SocketAddr,
    pub smtp: SocketAddr,
    pub whatsapp_secret: String,
    pub phone_number_id: String,
    pub twilio_account: String,
    pub twilio_token: String,
    pub chat_secret: String,
}

/// How providers behave.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// How often each delivery is sent.
    pub copies: u32,
    /// Whether call events come in reverse order.
    pub disorder: bool,
    /// How long a check waits for the platform to get there.
    pub patience: Duration,
}

/// See the module.
pub struct World {
    pub(super) tenant: String,
    pub(super) people: BTreeMap<String, Person>,
    pub(super) agents: BTreeMap<String, Agent>,
    pub(super) folder: PathBuf,
    pub(super) doors: Doors,
    pub(super) manner: Manner,
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) http: Outbound,
    pub(super) chats: HashMap<String, Chat>,
    pub(super) desks: HashMap<String, Desk>,
    /// Remembered `waiting_since`, by name.
    pub(super) places: HashMap<String, DateTime<Utc>>,
    /// The last answer to a person.
    pub(super) replies: HashMap<String, String>,
    pub(super) sent: u32,
    tokens: HashMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArticleFile {
    key: String,
    language: String,
    title: String,
    body: String,
    #[serde(default)]
    sample_questions: Vec<String>,
    #[serde(default)]
    intents: Vec<String>,
}

impl World {
    pub fn new(
        script: &Script,
        folder: PathBuf,
        doors: Doors,
        issuer: &DevIssuer,
        sandbox: Arc<Sandbox>,
        manner: Manner,
    ) -> anyhow::Result<Self> {
        let clock = Clock::system();
        let mut tokens = HashMap::new();
        for subject in script.agents.keys().map(String::as_str).chain(["supervisor"]) {
            let scopes = if subject == "supervisor" {
                "*"
            } else {
                AGENT_SCOPES
            };
            let token = DevToken {
                tenant: &script.tenant,
                subject,
                scopes,
                valid_seconds: 3600,
            };
            tokens.insert(
                subject.to_owned(),
                issuer.token(&clock, &token).map_err(crate::commands::detail)?,
            );
        }
        let outbound = trama_platform::config::OutboundConfig {
            allow_addresses: vec![std::net::IpAddr::from([127, 0, 0, 1])],
            ..Default::default()
        };
        Ok(Self {
            tenant: script.tenant.clone(),
            people: script.people.clone(),
            agents: script.agents.clone(),
            folder,
            doors,
            manner,
            sandbox,
            http: Outbound::new(&outbound).map_err(crate::commands::detail)?,
            chats: HashMap::new(),
            desks: HashMap::new(),
            places: HashMap::new(),
            replies: HashMap::new(),
            sent: 0,
            tokens,
        })
    }

    /// The way to the gRPC doors.
    pub(super) fn grpc(&self) -> Ways {
        self.doors.grpc.clone()
    }

    /// Services that somebody holds a line to, which a crash of theirs would cut.
    pub fn on_the_line(&self) -> Vec<&'static str> {
        let held = [
            ("ingest", !self.chats.is_empty()),
            ("routing", !self.desks.is_empty()),
        ];
        held.iter()
            .filter(|(_, held)| *held)
            .map(|(name, _)| *name)
            .collect()
    }

    /// A request with somebody's credential.
    pub(super) fn request<T>(&self, subject: &str, message: T) -> anyhow::Result<tonic::Request<T>> {
        let token = self
            .tokens
            .get(subject)
            .with_context(|| format!("nobody is called {subject}"))?;
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert(
            "authorization",
            MetadataValue::try_from(format!("Bearer {token}"))?,
        );
        Ok(request)
    }

    /// Publishes the story's articles.
    pub(super) async fn publish_knowledge(&self, script: &Script) -> anyhow::Result<()> {
        let Some(file) = &script.knowledge else {
            return Ok(());
        };
        let text =
            std::fs::read_to_string(self.folder.join(file)).with_context(|| file.display().to_string())?;
        let articles: Vec<ArticleFile> = serde_norway::from_str(&text)?;
        let mut client = KnowledgeServiceClient::new(self.grpc());
        for a in articles {
            let request_id = format!("story-{}-{}", a.key, a.language);
            let article = Article {
                key: a.key,
                language: a.language,
                title: a.title,
                body: a.body,
                sample_questions: a.sample_questions,
                intents: a.intents,
                ..Article::default()
            };
            let request = PublishArticleRequest {
                article: Some(article),
                request_id,
            };
            client
                .publish_article(self.request("supervisor", request)?)
                .await
                .map_err(said)?;
        }
        Ok(())
    }

    pub(super) fn person(&self, name: &str) -> anyhow::Result<&Person> {
        self.people
            .get(name)
            .with_context(|| format!("nobody is called {name}"))
    }

    /// The customers that hold a handle.
    pub(super) async fn holders(&self, handle: &str) -> anyhow::Result<Vec<CustomerContext>> {
        let (kind, value) = handle.split_once(':').context("a handle is kind:value")?;
        let handle = Handle {
            kind: kind.into(),
            value: value.into(),
            trust: 0,
        };
        let request = self.request("supervisor", FindCustomersRequest { handle: Some(handle) })?;
        let found = IdentityServiceClient::new(self.grpc())
            .find_customers(request)
            .await
            .map_err(said)?;
        Ok(found.into_inner().customers)
    }

    /// Who a person is to the platform, by any of their handles.
    pub(super) async fn customer(&self, name: &str) -> anyhow::Result<CustomerContext> {
        let person = self.person(name)?;
        let mut handles = Vec::new();
        handles.extend(person.email.as_ref().map(|e| format!("email:{e}")));
        handles.extend(person.phone.as_ref().map(|p| format!("phone:{p}")));
        handles.extend(person.crm.as_ref().map(|c| format!("crm:{c}")));
        handles.extend(self.chats.get(name).map(|c| format!("webchat:{}", c.visitor_id)));
        for handle in handles {
            if let Some(found) = self.holders(&handle).await?.into_iter().next() {
                return Ok(found);
            }
        }
        anyhow::bail!("{} is not known to the platform yet", person.name)
    }

    /// A person's cases, newest first, without those that were merged into another.
    pub(super) async fn cases(&self, name: &str) -> anyhow::Result<Vec<Case>> {
        let customer_id = self.customer(name).await?.customer_id;
        let request = self.request(
            "supervisor",
            ListCasesRequest {
                customer_id,
                ..Default::default()
            },
        )?;
        let found = CaseServiceClient::new(self.grpc())
            .list_cases(request)
            .await
            .map_err(said)?
            .into_inner()
            .cases;
        Ok(found
            .into_iter()
            .filter(|c| c.status() != CaseStatus::Merged)
            .collect())
    }

    /// A person's latest need.
    pub(super) async fn case(&self, name: &str) -> anyhow::Result<Case> {
        let cases = self.cases(name).await?;
        cases
            .into_iter()
            .find(|c| c.kind() == CaseKind::Need)
            .with_context(|| format!("{name} has no case"))
    }
}

/// What agents may do.
const AGENT_SCOPES: &str =
    "desk.use case.read case.reply customer.read customer.write customer.verify knowledge.read";

/// How long that is, usually.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A refusal, in words.
pub(super) fn said(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{:?}: {}", status.code(), status.message())
}
