//! What this service holds of a person. It knows addresses only, so it is asked by their hashes.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use prost::Message as _;
use serde_json::{Value, json};
use trama_platform::{
    Error, Kind, Tx,
    bus::{Bus, Stream},
    objects::Objects,
    privacy::{Erased, Hasher, Held, Holder, Passed, PrivacyKeys, Request, Section, remove_messages},
};
use trama_proto::{
    case::v1::SurveyAnswerReceived,
    common::v1::Interaction,
    events::Event as _,
    ids::TenantId,
    ingest::v1::{Delivery, HandleChanged, InteractionReceived},
    privacy::v1::{PrivacyAction, SubjectSort},
    readable::readable,
    subjects::paths_of,
    time::from_wire,
};
use uuid::Uuid;

use crate::{
    domain::mention::{is_wanted, mentions},
    store::privacy,
};

/// Rows that are read at once.
const PIECE: i64 = 500;

/// The holder of this service.
pub struct Holding {
    /// Where large deliveries lie.
    pub objects: Objects,
    /// Hashes of addresses.
    pub keys: PrivacyKeys,
    /// Streams that still hold what they said.
    pub bus: Bus,
}

/// All that was found.
#[derive(Default)]
struct Found {
    conversations: Vec<(String, String)>,
    pending: Vec<(Uuid, Vec<u8>)>,
    quarantined: Vec<(Uuid, Vec<u8>)>,
}

impl Holding {
    async fn find(&self, tx: &mut Tx, request: &Request) -> Result<Found, Error> {
        let (tenant, wanted) = (&request.tenant, request.handle_hashes.as_slice());
        let mut found = Found::default();
        if wanted.is_empty() {
            return Ok(found);
        }
        let hasher = self.keys.hasher(tenant)?;
        let hash = |kind: &str, value: &str| hasher.hash(kind, value);
        let mut after = (String::new(), String::new());
        loop {
            let piece = privacy::conversations_after(tx.conn(), tenant, &after, PIECE).await?;
            let Some(last) = piece.last() else { break };
            after = last.clone();
            let theirs = piece
                .into_iter()
                .filter(|(_, visitor)| is_wanted(("webchat", visitor), wanted, hash));
            found.conversations.extend(theirs);
        }
        let waiting = privacy::pending(tx, tenant).await?;
        found.pending.extend(waiting.into_iter().filter(|(_, bytes)| {
            Interaction::decode(bytes.as_slice()).is_ok_and(|interaction| {
                let mut addresses = interaction.party.iter().chain(&interaction.also_known_as);
                addresses.any(|h| is_wanted((&h.kind, &h.value), wanted, hash))
            })
        }));
        let mut after = Uuid::nil();
        loop {
            let piece = privacy::quarantined_after(tx, tenant, after, PIECE).await?;
            let Some((last, _)) = piece.last() else { break };
            after = *last;
            let theirs = piece
                .into_iter()
                .filter(|(_, bytes)| mentions(bytes, wanted, hash));
            found.quarantined.extend(theirs);
        }
        Ok(found)
    }

    /// Bodies of large deliveries, which lie beside the journal.
    async fn bodies(&self, request: &Request, hasher: &Hasher) -> Result<Vec<String>, Error> {
        let tenant = &request.tenant;
        let hash = |kind: &str, value: &str| hasher.hash(kind, value);
        let mut found = Vec::new();
        for key in self.objects.keys(tenant, "deliveries").await? {
            match self.objects.get(tenant, &key).await {
                Ok(body) if mentions(&body, &request.handle_hashes, hash) => found.push(key),
                Ok(_) => {}
                // Removed since it was listed.
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

#[async_trait]
impl Holder for Holding {
    fn sort(&self) -> SubjectSort {
        SubjectSort::Customer
    }

    async fn export(&self, tx: &mut Tx, request: &Request) -> Result<Held, Error> {
        let found = self.find(tx, request).await?;
        let mut chats = Vec::new();
        for conversation in &found.conversations {
            let lines = privacy::lines(tx, &request.tenant, conversation).await?;
            chats.push(json!({"channel": conversation.0, "visitor": conversation.1, "lines": lines}));
        }
        let waiting = found.pending.iter();
        let waiting = waiting.filter_map(|(_, bytes)| readable("trama.common.v1.Interaction", bytes));
        let quarantined = found.quarantined.iter().filter_map(|(id, bytes)| {
            let delivery = Delivery::decode(bytes.as_slice()).ok()?;
            Some(json!({
                "delivery_id": id, "channel": delivery.channel, "content_type": delivery.content_type,
                "body": String::from_utf8_lossy(&delivery.body),
            }))
        });
        let sections: [(&'static str, Vec<Value>); 3] = [
            ("chats", chats),
            ("waiting_for_files", waiting.collect()),
            ("quarantine", quarantined.collect()),
        ];
        Ok(Held {
            sections: sections
                .into_iter()
                .filter(|(_, rows)| !rows.is_empty())
                .map(|(records, rows)| Section { records, rows })
                .collect(),
            attachments: self.bodies(request, &self.keys.hasher(&request.tenant)?).await?,
        })
    }

    async fn erase(&self, tx: &mut Tx, request: &Request) -> Result<Erased, Error> {
        debug_assert_eq!(request.action, PrivacyAction::Erase, "asked for what it does");
        let tenant = &request.tenant;
        let found = self.find(tx, request).await?;
        let mut lines = 0;
        for conversation in &found.conversations {
            lines += privacy::delete_conversation(tx.conn(), tenant, conversation).await?;
        }
        let mut objects = Vec::new();
        for (interaction, _) in &found.pending {
            // Files of it that are here already.
            objects.extend(self.objects.keys(tenant, &interaction.to_string()).await?);
        }
        let ids = |rows: &[(Uuid, Vec<u8>)]| rows.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        let pending = privacy::delete_pending(tx.conn(), tenant, &ids(&found.pending)).await?;
        let quarantined = privacy::delete_quarantined(tx.conn(), tenant, &ids(&found.quarantined)).await?;
        let counts = [
            ("chats", lines),
            ("waiting_for_files", pending),
            ("quarantine", quarantined),
        ];
        Ok(Erased {
            counts: counts.into_iter().filter(|(_, count)| *count > 0).collect(),
            objects,
            also_forgotten: Vec::new(),
        })
    }

    /// The journal and the events are kept for days: what is the person's in them goes now. Of the journal only what is
    /// worked in; a raw request that merely mentions one of the addresses goes too, its interaction stays.
    async fn erase_outside(&self, request: &Request) -> Result<Vec<(&'static str, u64)>, Error> {
        if request.handle_hashes.is_empty() {
            return Ok(Vec::new());
        }
        let tenant = &request.tenant;
        let hasher = self.keys.hasher(tenant)?;
        let bodies = self.bodies(request, &hasher).await?;
        for key in &bodies {
            self.objects.remove(tenant, key).await?;
        }
        let wanted = request.handle_hashes.as_slice();
        let hash = |kind: &str, value: &str| hasher.hash(kind, value);
        let raw = |passed: &Passed<'_>| mentions(passed.payload, wanted, hash);
        let journal = remove_messages(&self.bus, Stream::Ingress, tenant, Some("ingest"), raw).await?;
        let said = |passed: &Passed<'_>| is_about(passed, request, hash);
        let events = remove_messages(&self.bus, Stream::Events, tenant, None, said).await?;
        let dead = remove_messages(&self.bus, Stream::DeadLetters, tenant, None, raw).await?;
        let counts = [
            ("bodies", bodies.len() as u64),
            ("journal", journal),
            ("events", events),
            ("dead_letters", dead),
        ];
        Ok(counts.into_iter().filter(|(_, count)| *count > 0).collect())
    }

    async fn expire(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        records: &str,
        before: DateTime<Utc>,
        limit: i64,
    ) -> Result<(u64, Vec<String>), Error> {
        let gone = match records {
            "quarantine" => privacy::expire_quarantine(tx.conn(), tenant, before, limit).await?,
            "chats" => privacy::expire_chats(tx.conn(), tenant, before, limit).await?,
            _ => 0,
        };
        Ok((gone, Vec::new()))
    }
}

/// Whether an event is about the person: by whom it names, or by the address from which something was said before the
/// request.
fn is_about(passed: &Passed<'_>, request: &Request, hash: impl Fn(&str, &str) -> Vec<u8>) -> bool {
    if passed.name == HandleChanged::NAME {
        let Ok(change) = HandleChanged::decode(passed.payload) else {
            return false;
        };
        let at = from_wire(change.occurred_at.as_ref());
        let mut names = change.old.iter().chain(&change.new);
        return at.is_none_or(|at| at <= request.requested_at)
            && names.any(|h| is_wanted((&h.kind, &h.value), &request.handle_hashes, &hash));
    }
    let said = if passed.name == InteractionReceived::NAME {
        InteractionReceived::decode(passed.payload).map(|e| e.interaction)
    } else if passed.name == SurveyAnswerReceived::NAME {
        SurveyAnswerReceived::decode(passed.payload).map(|e| e.interaction)
    } else {
        let paths = paths_of(passed.name);
        return paths.is_some_and(|paths| {
            paths.is_void(&paths.ids(passed.payload), |id| request.subjects.contains(id))
        });
    };
    let Ok(Some(interaction)) = said else {
        return false;
    };
    let at =
        from_wire(interaction.occurred_at.as_ref()).or_else(|| from_wire(interaction.received_at.as_ref()));
    let party = interaction.party.as_ref();
    at.is_none_or(|at| at <= request.requested_at)
        && party.is_some_and(|h| is_wanted((&h.kind, &h.value), &request.handle_hashes, hash))
}
