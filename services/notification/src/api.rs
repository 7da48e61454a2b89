//! gRPC ↔ app.

use tonic::{Request, Response, Status};
use trama_platform::{Command, Context, Db, Error, Tx, principal, resources::ResourceStore};
use trama_proto::{
    common::v1::ChannelKind,
    identity_resolution::v1::Purpose,
    ids::{CaseId, CustomerId, InteractionId, MessageId, TenantId},
    notification::v1::{
        CheckTextRequest, CheckTextResponse, DeliveryAttempt, GetMessageRequest, GetMessageResponse, Message,
        MessageRequested, MessageStatus, SendMessageRequest, SendMessageResponse, ToneFinding,
        notification_service_server::NotificationService,
    },
    time::to_wire,
};

use crate::{
    domain::Standing,
    error::no_such_message,
    persona::{Draft, in_force, speak},
    store::{self, AttemptRow, MessageRow},
};

/// Longest text that is taken, in bytes.
const MAX_TEXT: usize = 20_000;

/// The service's door.
pub struct Api {
    db: Db,
    resources: ResourceStore,
}

impl Api {
    /// Over the service's database.
    pub fn new(context: &Context) -> Self {
        Self {
            db: context.db.clone(),
            resources: context.resources.clone(),
        }
    }
}

fn parse<T: std::str::FromStr>(field: &str, text: &str) -> Result<T, Error>
where
    T::Err: std::fmt::Display,
{
    text.parse()
        .map_err(|e: T::Err| Error::invalid(field, e.to_string()))
}

fn check_text(text: &str) -> Result<(), Error> {
    if text.trim().is_empty() {
        return Err(Error::invalid("text", "must not be empty"));
    }
    if text.len() > MAX_TEXT {
        return Err(Error::invalid("text", format!("at most {MAX_TEXT} bytes")));
    }
    Ok(())
}

#[tonic::async_trait]
impl NotificationService for Api {
    async fn get_message(
        &self,
        request: Request<GetMessageRequest>,
    ) -> Result<Response<GetMessageResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let id: MessageId = parse("message_id", &request.get_ref().message_id)?;
        let mut tx = self.db.tx(&tenant).await?;
        let row = store::find(&mut tx, &tenant, id)
            .await?
            .ok_or_else(|| no_such_message(id))?;
        let attempts = store::attempts_of(tx.conn(), &tenant, id).await?;
        Ok(Response::new(GetMessageResponse {
            message: Some(message(&row, attempts)),
        }))
    }

    async fn send_message(
        &self,
        request: Request<SendMessageRequest>,
    ) -> Result<Response<SendMessageResponse>, Status> {
        let caller = principal(&request)?;
        let (tenant, author) = (caller.tenant.clone(), caller.subject.clone());
        let mut tx = self.db.tx(&tenant).await?;
        let response = ask(&mut tx, &tenant, &author, request.get_ref()).await?;
        tx.commit().await?;
        Ok(Response::new(response))
    }

    async fn check_text(
        &self,
        request: Request<CheckTextRequest>,
    ) -> Result<Response<CheckTextResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.into_inner();
        check_text(&request.text)?;
        let resources = self.resources.snapshot();
        let draft = Draft {
            text: &request.text,
            language: &request.language,
            kind: request.channel_kind(),
            greet: false,
            customer_name: "",
            author_name: "",
        };
        let spoken = speak(in_force(resources.tenant(&tenant)), &draft);
        let findings = spoken
            .findings
            .into_iter()
            .map(|f| ToneFinding {
                rule: f.rule.to_owned(),
                found: f.found,
                suggestion: f.suggestion,
                blocking: f.blocking,
            })
            .collect();
        Ok(Response::new(CheckTextResponse {
            text: spoken.text,
            findings,
        }))
    }
}

/// A proactive message: it takes the same way as every other one.
async fn ask(
    tx: &mut Tx,
    tenant: &TenantId,
    author: &str,
    request: &SendMessageRequest,
) -> Result<SendMessageResponse, Error> {
    let customer: CustomerId = parse("customer_id", &request.customer_id)?;
    if !request.case_id.is_empty() {
        parse::<CaseId>("case_id", &request.case_id)?;
    }
    if !request.interaction_id.is_empty() {
        parse::<InteractionId>("interaction_id", &request.interaction_id)?;
    }
    check_text(&request.text)?;
    if request.request_id.is_empty() {
        return Err(Error::invalid(
            "request_id",
            "is required: the message id is derived from it",
        ));
    }
    let command = Command::new(tenant, author, "SendMessage", &request.request_id, request);
    if let Some(response) = tx.replay(&command).await? {
        return Ok(response);
    }
    let id = MessageId::derived(&[
        b"SendMessage",
        tenant.as_str().as_bytes(),
        author.as_bytes(),
        request.request_id.as_bytes(),
    ]);
    let event = MessageRequested {
        message_id: id.to_string(),
        customer_id: customer.to_string(),
        case_id: request.case_id.clone(),
        need: request.need.clone(),
        purpose: if request.marketing {
            Purpose::Marketing
        } else {
            Purpose::Service
        }
        .into(),
        author: author.to_owned(),
        text: request.text.clone(),
        channel_kind: ChannelKind::Unspecified.into(),
        greet: true,
        brand: request.brand.clone(),
        interaction_id: request.interaction_id.clone(),
        requested_at: Some(to_wire(tx.now())),
        ..MessageRequested::default()
    };
    tx.publish(tenant, &event.customer_id, &event);
    let queued = MessageStatus::Queued.as_str_name();
    tx.changed(("message", &id), "status", "", queued);
    let response = SendMessageResponse {
        message_id: id.to_string(),
    };
    tx.remember(&command, &response).await?;
    Ok(response)
}

fn message(row: &MessageRow, attempts: Vec<AttemptRow>) -> Message {
    let status = match row.standing {
        Standing::Queued => MessageStatus::Queued,
        Standing::Sent => MessageStatus::Sent,
        Standing::Delivered => MessageStatus::Delivered,
        Standing::Read => MessageStatus::Read,
        Standing::Failed => MessageStatus::Failed,
        Standing::Suppressed => MessageStatus::Suppressed,
    };
    Message {
        message_id: row.message_id.to_string(),
        customer_id: row.customer_id.to_string(),
        case_id: row.case_id.map(|c| c.to_string()).unwrap_or_default(),
        status: status.into(),
        channel: row.channel.clone(),
        channel_kind: row.channel_kind.into(),
        text: row.body.clone(),
        article_version: row.request.article_version.clone(),
        provider_message_id: row.provider_message_id.clone(),
        attempts: attempts
            .into_iter()
            .map(|a| DeliveryAttempt {
                number: a.number,
                channel: a.channel,
                at: Some(to_wire(a.started_at)),
                error: if a.state == "sending" {
                    "in progress".to_owned()
                } else {
                    a.error
                },
            })
            .collect(),
        reason: row.reason.clone(),
        create_time: Some(to_wire(row.requested_at)),
    }
}
