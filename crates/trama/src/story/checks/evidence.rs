//! What checks look at, and how they say what they saw.

use anyhow::{Context as _, bail, ensure};
use trama_proto::{
    case::v1::{
        Case, CaseKind, ContextSnapshot, GetSnapshotRequest, TimelineEntry,
        case_service_client::CaseServiceClient,
    },
    common::v1::{ChannelKind, Direction},
    ingest::v1::{GetAttachmentRequest, ingest_service_client::IngestServiceClient},
    routing::v1::Offer,
};

use crate::story::{
    print::{kind, status},
    world::{World, said},
};

impl World {
    /// The context of a case, as whoever takes it would see it.
    pub(super) async fn snapshot(&self, case_id: &str) -> anyhow::Result<ContextSnapshot> {
        let request = self.request(
            "supervisor",
            GetSnapshotRequest {
                case_id: case_id.to_owned(),
            },
        )?;
        let found = CaseServiceClient::new(self.grpc())
            .get_snapshot(request)
            .await
            .map_err(said)?;
        found.into_inner().snapshot.context("no snapshot")
    }

    /// Attachments are there, in the number wanted, and their bytes can be read.
    pub(super) async fn attachments(&self, snapshot: &ContextSnapshot, wanted: usize) -> anyhow::Result<()> {
        let found: Vec<_> = snapshot
            .timeline
            .iter()
            .filter_map(|e| e.interaction.as_ref())
            .flat_map(|i| &i.attachments)
            .collect();
        equal("attachments", Some(&wanted), &found.len())?;
        for attachment in found {
            let request = self.request(
                "supervisor",
                GetAttachmentRequest {
                    object_key: attachment.object_key.clone(),
                },
            )?;
            let mut stream = IngestServiceClient::new(self.grpc())
                .get_attachment(request)
                .await
                .map_err(said)?
                .into_inner();
            let mut size = 0_i64;
            while let Some(piece) = stream.message().await.map_err(said)? {
                size += i64::try_from(piece.data.len())?;
            }
            ensure!(
                size > 0 && size == attachment.size_bytes,
                "{size} bytes of {} can be read",
                attachment.size_bytes
            );
        }
        Ok(())
    }

    /// An offer that lies open on a desk.
    pub(super) async fn open_offer(
        &self,
        agent: &str,
        person: Option<&str>,
        recovery: bool,
    ) -> anyhow::Result<Offer> {
        let desk = self.desks.get(agent).context("the agent is not at the desk")?;
        let customer = match person {
            Some(person) => Some(self.customer(person).await?.customer_id),
            None => None,
        };
        for offer in desk.offers() {
            let snapshot = offer.snapshot.clone().unwrap_or_default();
            let case = snapshot.case.unwrap_or_default();
            let fits = customer.as_ref().is_none_or(|c| *c == case.customer_id);
            if fits && (case.kind() == CaseKind::Recovery) == recovery {
                return Ok(offer);
            }
        }
        bail!("no such offer on {agent}'s desk")
    }

    /// A case in a line.
    pub(super) fn describe(&self, case: &Case, snapshot: &ContextSnapshot) -> String {
        let understanding = case.understanding.clone().unwrap_or_default();
        let intent = if understanding.intent.is_empty() {
            "need unknown"
        } else {
            &understanding.intent
        };
        let references = understanding.references.join(" ");
        let sure = if understanding.intent.is_empty() {
            String::new()
        } else {
            format!(" ({:.0} %)", understanding.intent_confidence * 100.0)
        };
        let channels: Vec<String> = inbound(snapshot)
            .filter_map(|e| e.interaction.as_ref())
            .map(|i| kind(i.channel_kind))
            .collect();
        format!(
            "case {}: {intent}{sure} {references}; the customer spoke by {}",
            status(case.status),
            channels.join(", ")
        )
    }

    /// An offer in two lines.
    pub(super) fn describe_offer(
        &self,
        agent: &str,
        offer: &Offer,
        snapshot: &ContextSnapshot,
        case: &Case,
    ) -> String {
        let level = verification(snapshot);
        let understanding = case.understanding.clone().unwrap_or_default();
        let mut line = format!(
            "{agent}'s desk: offer with {} interactions",
            inbound(snapshot).count()
        );
        let media: usize = snapshot
            .timeline
            .iter()
            .filter_map(|e| e.interaction.as_ref())
            .map(|i| i.attachments.len())
            .sum();
        if media > 0 {
            line.push_str(&format!(", {media} media"));
        }
        if level > 0 {
            line.push_str(&format!(", verified level {level}"));
        }
        if !understanding.intent.is_empty() {
            line.push_str(&format!(", {}", understanding.intent));
        }
        if let Some(article) = &snapshot.suggested_article {
            line.push_str(&format!(", suggests {}", article.article_version));
        }
        line.push_str(&format!("\n      why: {}", offer.explanation));
        line
    }
}

/// What the customer said.
pub(super) fn inbound(snapshot: &ContextSnapshot) -> impl Iterator<Item = &TimelineEntry> {
    snapshot.timeline.iter().filter(|e| {
        e.interaction
            .as_ref()
            .is_some_and(|i| i.direction() == Direction::Inbound && i.channel_kind() != ChannelKind::Internal)
    })
}

/// To which level the customer is verified.
pub(super) fn verification(snapshot: &ContextSnapshot) -> i32 {
    snapshot
        .customer
        .as_ref()
        .and_then(|c| c.verification.as_ref())
        .map_or(0, |v| v.level)
}

/// Fails unless `is` what was `wanted`, if anything was.
pub(super) fn equal<T: PartialEq + ?Sized + std::fmt::Debug, U>(
    what: &str,
    wanted: Option<&T>,
    is: &U,
) -> anyhow::Result<()>
where
    U: std::borrow::Borrow<T>,
{
    match wanted {
        Some(wanted) if wanted != is.borrow() => bail!("{what} is {:?}, not {wanted:?}", is.borrow()),
        _ => Ok(()),
    }
}
