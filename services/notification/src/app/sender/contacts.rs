//! Where customers may and want to be reached: one question to identity for all messages of a tenant.

use std::collections::{BTreeMap, HashMap};

use trama_platform::{Clients, Error, Kind};
use trama_proto::{
    identity_resolution::v1::{
        BatchResolveContactsRequest, ContactAnswer, ContactQuestion,
        identity_service_client::IdentityServiceClient,
    },
    ids::{MessageId, TenantId},
};

use crate::{domain::needs_identity, store::Claimed};

/// Largest answer, in bytes: 64 customers with all their handles.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// What identity said about a message's customer.
pub enum Contact {
    /// The answer; empty where none was needed.
    Known(Box<ContactAnswer>),
    /// There is no such customer, or the question is wrong.
    Refused(String),
    /// Identity is away: ask again later.
    Away,
}

/// Asks for all messages that need it.
pub async fn contacts(clients: &Clients, messages: &[Claimed]) -> HashMap<MessageId, Contact> {
    let mut found = HashMap::new();
    let mut wanted: BTreeMap<&TenantId, Vec<&Claimed>> = BTreeMap::new();
    for message in messages {
        if needs_identity(message.purpose(), message.request.handle.as_ref()) {
            wanted.entry(&message.tenant).or_default().push(message);
        } else {
            found.insert(message.message_id, Contact::Known(Box::default()));
        }
    }
    for (tenant, messages) in wanted {
        match ask(clients, tenant, &messages).await {
            Ok(answers) => {
                for (message, answer) in messages.iter().zip(answers) {
                    found.insert(message.message_id, Contact::Known(Box::new(answer)));
                }
            }
            // One bad question must not sink the others.
            Err(error) if refused(&error) && messages.len() > 1 => {
                for message in messages {
                    found.insert(message.message_id, ask_one(clients, tenant, message).await);
                }
            }
            Err(error) => {
                for message in messages {
                    found.insert(message.message_id, verdict(&error));
                }
            }
        }
    }
    found
}

async fn ask_one(clients: &Clients, tenant: &TenantId, message: &Claimed) -> Contact {
    match ask(clients, tenant, &[message]).await {
        Ok(mut answers) => Contact::Known(Box::new(answers.pop().unwrap_or_default())),
        Err(error) => verdict(&error),
    }
}

fn refused(error: &Error) -> bool {
    matches!(error.kind(), Kind::Invalid | Kind::NotFound)
}

fn verdict(error: &Error) -> Contact {
    if refused(error) {
        Contact::Refused(format!("identity: {error}"))
    } else {
        tracing::warn!(
            detail = error.detail(),
            "identity cannot say where customers may be reached; asking again"
        );
        metrics::counter!("trama_notification_identity_away_total").increment(1);
        Contact::Away
    }
}

async fn ask(
    clients: &Clients,
    tenant: &TenantId,
    messages: &[&Claimed],
) -> Result<Vec<ContactAnswer>, Error> {
    let questions = messages
        .iter()
        .map(|message| ContactQuestion {
            customer_id: message.customer_id.to_string(),
            need: message.request.need.clone(),
            purpose: message.request.purpose,
            fallback: message.request.fallback,
            brand: message.request.brand.clone(),
        })
        .collect();
    let mut client = IdentityServiceClient::new(clients.channel("identity-resolution")?)
        .max_decoding_message_size(MAX_ANSWER);
    let request = clients.request(
        tenant,
        "identity-resolution",
        BatchResolveContactsRequest { questions },
    );
    let answers = client.batch_resolve_contacts(request).await?.into_inner().answers;
    if answers.len() != messages.len() {
        return Err(Error::internal(format!(
            "identity gave {} answers to {} questions",
            answers.len(),
            messages.len()
        )));
    }
    Ok(answers)
}
