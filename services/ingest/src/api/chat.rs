//! `ChatService`.

use tonic::{Request, Response, Status};
use trama_platform::{Error, principal, resources::ResourceStore};
use trama_proto::{
    ids::MessageId,
    ingest::v1::{PostChatMessageRequest, PostChatMessageResponse, chat_service_server::ChatService},
    resources::Provider,
};

use crate::{app::chat::Chat, domain::visitor::VisitorId, error::no_such_channel, store::chat::Conversation};

/// The outbound side of web chat.
pub struct ChatApi {
    /// Conversations.
    pub chat: Chat,
    /// Channels.
    pub resources: ResourceStore,
}

/// Longest line from us, in bytes.
const MAX_TEXT: usize = 64 * 1024;

#[tonic::async_trait]
impl ChatService for ChatApi {
    async fn post_chat_message(
        &self,
        request: Request<PostChatMessageRequest>,
    ) -> Result<Response<PostChatMessageResponse>, Status> {
        let tenant = principal(&request)?.tenant.clone();
        let request = request.into_inner();
        let snapshot = self.resources.snapshot();
        let spec = snapshot
            .tenant(&tenant)
            .and_then(|t| t.channels.get(&request.channel));
        if !spec.is_some_and(|s| matches!(s.provider, Provider::WebChat(_))) {
            return Err(no_such_channel(&request.channel).into());
        }
        let visitor = VisitorId::parse(&request.visitor_id)
            .ok_or_else(|| Error::invalid("visitor_id", "must be the value of a `webchat` handle"))?;
        let message_id: MessageId = request
            .message_id
            .parse()
            .map_err(|_| Error::invalid("message_id", "must be a UUID"))?;
        if request.text.trim().is_empty() || request.text.len() > MAX_TEXT || request.text.contains('\0') {
            return Err(Error::invalid("text", "must be 1 to 65536 bytes").into());
        }
        if request.author_name.chars().count() > 128 || request.author_name.contains('\0') {
            return Err(Error::invalid("author_name", "at most 128 characters").into());
        }
        let conversation = Conversation {
            tenant,
            channel: request.channel,
            visitor: visitor.as_str().to_owned(),
        };
        let sequence = self
            .chat
            .post(
                &conversation,
                &message_id.to_string(),
                &request.text,
                &request.author_name,
            )
            .await?;
        Ok(Response::new(PostChatMessageResponse { sequence }))
    }
}
