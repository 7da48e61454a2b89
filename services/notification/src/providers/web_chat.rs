//! Our own chat: connected browsers hang on the ingest service, which drops repeats by message id.

use trama_platform::Clients;
use trama_proto::ingest::v1::{PostChatMessageRequest, chat_service_client::ChatServiceClient};

use super::{Outgoing, SendError, SendErrorKind, Sent};

pub(super) struct WebChat<'a> {
    pub clients: &'a Clients,
}

impl WebChat<'_> {
    pub async fn send(&self, outgoing: &Outgoing) -> Result<Sent, SendError> {
        let mut client = ChatServiceClient::new(self.clients.channel("ingest")?);
        let message = PostChatMessageRequest {
            channel: outgoing.channel.clone(),
            visitor_id: outgoing.handle.value.clone(),
            message_id: outgoing.message_id.to_string(),
            text: outgoing.text.clone(),
            author_name: outgoing.author_name.clone(),
        };
        let request = self.clients.request(&outgoing.tenant, "ingest", message);
        match client.post_chat_message(request).await {
            Ok(_) => Ok(Sent {
                provider_message_id: outgoing.message_id.to_string(),
            }),
            Err(status) => Err(SendError::new(
                verdict(status.code()),
                format!("web chat: {:?}", status.code()),
            )),
        }
    }
}

fn verdict(code: tonic::Code) -> SendErrorKind {
    match code {
        tonic::Code::InvalidArgument | tonic::Code::OutOfRange => SendErrorKind::Permanent,
        tonic::Code::NotFound
        | tonic::Code::FailedPrecondition
        | tonic::Code::PermissionDenied
        | tonic::Code::Unauthenticated => SendErrorKind::NextChannel,
        tonic::Code::Ok
        | tonic::Code::Cancelled
        | tonic::Code::Unknown
        | tonic::Code::DeadlineExceeded
        | tonic::Code::AlreadyExists
        | tonic::Code::ResourceExhausted
        | tonic::Code::Aborted
        | tonic::Code::Unimplemented
        | tonic::Code::Internal
        | tonic::Code::Unavailable
        | tonic::Code::DataLoss => SendErrorKind::Retry { after: None },
    }
}
