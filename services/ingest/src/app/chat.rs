//! The two sides of a chat: what visitors write goes into the journal, what we write goes to their browsers.

use std::collections::HashMap;

use trama_platform::{Clock, Db, Error, Kind, bus::Bus};
use trama_proto::common::v1::ChannelKind;

use super::journal::{Incoming, Journal};
use crate::{
    channels::{
        attribute,
        web_chat::{Entry, LoginNote},
    },
    store::chat::{self, Conversation, Line, Marks},
};

/// Chat conversations.
#[derive(Clone)]
pub struct Chat {
    /// The service's database.
    pub db: Db,
    /// Hints between replicas.
    pub bus: Bus,
    /// Where lines go.
    pub journal: Journal,
    /// Time.
    pub clock: Clock,
}

/// Receipts that one frame may cause.
const RECEIPTS: i64 = 100;

impl Chat {
    /// How far a conversation is, if it exists.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn find(&self, conversation: &Conversation) -> Result<Option<Marks>, Error> {
        let mut tx = self.db.tx(&conversation.tenant).await?;
        chat::marks(tx.conn(), conversation).await
    }

    /// Takes a line of a visitor. When this returns, it is on disk; the same line again gets the same position.
    ///
    /// # Errors
    /// When the database or the journal is away: the client shall say it again.
    pub async fn take_line(
        &self,
        conversation: &Conversation,
        client_msg_id: &str,
        text: &str,
        login: Option<&LoginNote>,
    ) -> Result<i64, Error> {
        let mut tx = self.db.tx(&conversation.tenant).await?;
        let now = tx.now();
        let seq = chat::place_of_client_line(tx.conn(), conversation, client_msg_id, now).await?;
        tx.commit().await?;
        let entry = Entry::Line {
            visitor_id: conversation.visitor.clone(),
            client_msg_id: client_msg_id.to_owned(),
            text: text.to_owned(),
        };
        let mut attributes = HashMap::new();
        if let Some(login) = login {
            let note = serde_json::to_string(login).map_err(Error::internal)?;
            attributes.insert(attribute::LOGIN.to_owned(), note);
        }
        self.keep(conversation, &entry, attributes).await?;
        Ok(seq)
    }

    /// Takes a receipt: everything of ours up to a position has arrived, or was seen.
    ///
    /// # Errors
    /// When the database or the journal is away.
    pub async fn take_receipt(&self, conversation: &Conversation, seq: i64, read: bool) -> Result<(), Error> {
        let mut tx = self.db.tx(&conversation.tenant).await?;
        let Some(marks) = chat::marks(tx.conn(), conversation).await? else {
            return Ok(());
        };
        let after = if read { marks.read_seq } else { marks.received_seq };
        let up_to = seq.min(marks.last_seq);
        if up_to <= after {
            return Ok(());
        }
        let messages = chat::messages_between(tx.conn(), conversation, after, up_to, RECEIPTS).await?;
        tx.commit().await?;
        let mut done = if messages.len() as i64 == RECEIPTS {
            after
        } else {
            up_to
        };
        for (seq, message_id) in messages {
            let visitor_id = conversation.visitor.clone();
            let entry = if read {
                Entry::Read {
                    visitor_id,
                    message_id,
                }
            } else {
                Entry::Received {
                    visitor_id,
                    message_id,
                }
            };
            self.keep(conversation, &entry, HashMap::new()).await?;
            done = done.max(seq);
        }
        let mut tx = self.db.tx(&conversation.tenant).await?;
        chat::mark(tx.conn(), conversation, done, read).await?;
        tx.commit().await
    }

    async fn keep(
        &self,
        conversation: &Conversation,
        entry: &Entry,
        attributes: HashMap<String, String>,
    ) -> Result<(), Error> {
        let body = serde_json::to_vec(entry).map_err(Error::internal)?;
        self.journal
            .keep(Incoming {
                tenant: conversation.tenant.clone(),
                channel: conversation.channel.clone(),
                kind: ChannelKind::WebChat,
                content_type: "application/json".to_owned(),
                body: body.into(),
                attributes,
                distinct: Vec::new(),
                key: Some(format!("webchat:{}", conversation.visitor)),
            })
            .await
            .map(|_| ())
    }

    /// Stores a line from us and hints every replica that a browser may want it.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn post(
        &self,
        conversation: &Conversation,
        message_id: &str,
        text: &str,
        author: &str,
    ) -> Result<i64, Error> {
        let mut tx = self.db.tx(&conversation.tenant).await?;
        let now = tx.now();
        let seq = chat::post(&mut tx, conversation, message_id, text, author, now).await?;
        tx.changed(("message", &message_id), "state", "", "posted");
        tx.commit().await?;
        // A lost hint costs a moment only: sockets look by themselves at every ping.
        let hint = self
            .bus
            .client()
            .publish(self.subject(conversation), bytes::Bytes::new())
            .await;
        if let Err(error) = hint {
            tracing::debug!(%error, "a chat hint was not sent");
        }
        Ok(seq)
    }

    /// Lines from us after a position.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn lines_after(
        &self,
        conversation: &Conversation,
        seq: i64,
        limit: i64,
    ) -> Result<Vec<Line>, Error> {
        let mut tx = self.db.tx(&conversation.tenant).await?;
        chat::lines_after(&mut tx, conversation, seq, limit).await
    }

    /// Hints that there is something new for a visitor.
    ///
    /// # Errors
    /// When NATS is away.
    pub async fn hints(&self, conversation: &Conversation) -> Result<async_nats::Subscriber, Error> {
        self.bus
            .client()
            .subscribe(self.subject(conversation))
            .await
            .map_err(|e| Error::new(Kind::Unavailable, "NATS is not available").because(e))
    }

    fn subject(&self, conversation: &Conversation) -> String {
        format!(
            "{}.chat.{}.{}",
            self.bus.prefix(),
            conversation.tenant,
            conversation.visitor
        )
    }
}
