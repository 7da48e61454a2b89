//! What agents do: reply, note, resolve.

use trama_platform::{Error, Kind as ErrorKind, Tx};
use trama_proto::{
    case::v1::{CaseResolved, WithdrawReason, WorkWithdrawn},
    common::v1::{ChannelKind, Direction, Interaction, InteractionKind},
    identity_resolution::v1::Purpose,
    ids::{CaseId, InteractionId, MessageId, TenantId},
    notification::v1::MessageRequested,
    time::to_wire,
};

use super::{
    App,
    hear::{after, outbound_line},
    report::{step_id, step_of},
    told::tell_case,
};
use crate::{
    domain::{Case, Line, OutboundStatus},
    error::{case_changed, no_case},
    store::{articles, cases, journey, timeline},
};

/// An answer to a customer.
#[derive(Debug)]
pub struct Reply<'a> {
    /// On which case.
    pub case: CaseId,
    /// Who answers.
    pub author: &'a str,
    /// What.
    pub text: &'a str,
    /// Article that it rests on: key and version.
    pub article: Option<(&'a str, i32)>,
    /// Only on this kind of channel.
    pub channel_kind: ChannelKind,
}

async fn load(tx: &mut Tx, tenant: &TenantId, id: CaseId) -> Result<Case, Error> {
    cases::find_for_update(tx, tenant, id)
        .await?
        .ok_or_else(|| no_case(id))
}

impl App {
    /// A transaction for a command of a tenant.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn transaction(&self, tenant: &TenantId) -> Result<Tx, Error> {
        self.db.tx(tenant).await
    }

    /// Answers the customer.
    ///
    /// # Errors
    /// When there is no such case or article, or the case is at its end.
    pub async fn reply(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        reply: &Reply<'_>,
    ) -> Result<(MessageId, Case), Error> {
        let mut case = load(tx, tenant, reply.case).await?;
        if let Some((key, version)) = reply.article
            && !articles::exists(tx.conn(), tenant, key, version).await?
        {
            return Err(Error::invalid(
                "article_version",
                "there is no such version; take it from the suggested article",
            ));
        }
        let now = tx.now();
        let was = case.clone();
        let was_waited_for = case.state.is_open();
        case.answer(reply.author, now)?;
        tell_case(tx, &was, &case);
        let lines =
            timeline::load_last(tx, &[tenant.as_str()], &[case.id.uuid()], self.config.lines()).await?;
        let asked_on = match reply.channel_kind {
            ChannelKind::Unspecified => case.channel_kind,
            kind => kind,
        };
        let last_heard = lines.iter().rev().find(|l| {
            l.interaction.direction() == Direction::Inbound && l.interaction.channel_kind() == asked_on
        });
        let last_word = last_heard.or_else(|| last_word(&lines));
        let mail_subject = lines
            .iter()
            .rev()
            .find(|l| l.interaction.channel_kind() == ChannelKind::Email && !l.interaction.subject.is_empty())
            .map(|l| l.interaction.subject.clone());
        let message_id = MessageId::new(tx.new_id());
        let request = MessageRequested {
            message_id: message_id.to_string(),
            customer_id: case.customer_id.to_string(),
            case_id: case.id.to_string(),
            need: case.intent().to_owned(),
            purpose: Purpose::Service.into(),
            author: reply.author.to_owned(),
            text: reply.text.to_owned(),
            language: case.understanding.language.clone(),
            article_version: reply
                .article
                .map(|(key, version)| format!("{key}@{version}"))
                .unwrap_or_default(),
            channel_kind: reply.channel_kind.into(),
            fallback: case.channel_kind.into(),
            in_reply_to: last_heard
                .map(|l| l.interaction.provider_id.clone())
                .unwrap_or_default(),
            interaction_id: last_word.map(|l| l.id.to_string()).unwrap_or_default(),
            subject: mail_subject.unwrap_or_else(|| case.subject.clone()),
            greet: !lines.iter().any(|l| {
                l.interaction.direction() == Direction::Outbound && l.interaction.author == reply.author
            }),
            brand: self.resources.snapshot().brand(tenant, &case.channel).to_owned(),
            requested_at: Some(to_wire(now)),
            ..MessageRequested::default()
        };
        let line = outbound_line(
            tenant,
            case.customer_id,
            &request,
            Some(case.id),
            after(case.last_heard_at, now),
        );
        case.version += 1;
        if was_waited_for && case.work_revision > 0 {
            // Nobody needs to take what is answered; whoever has it in hand keeps it while the customer thinks.
            case.work_revision += 1;
            let answered = WorkWithdrawn {
                case_id: case.id.to_string(),
                revision: case.work_revision,
                reason: WithdrawReason::Answered.into(),
            };
            tx.publish(tenant, &case.id.to_string(), &answered);
        }
        cases::save(tx, &[&case]).await?;
        timeline::save(tx, &[&line]).await?;
        tx.publish(tenant, &case.customer_id.to_string(), &request);
        metrics::counter!("trama_case_replies_total").increment(1);
        Ok((message_id, case))
    }

    /// Writes a note that only agents see.
    ///
    /// # Errors
    /// When there is no such case.
    pub async fn note(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        id: CaseId,
        author: &str,
        text: &str,
    ) -> Result<InteractionId, Error> {
        let case = load(tx, tenant, id).await?;
        let note = InteractionId::new(tx.new_id());
        let now = tx.now();
        let line = Line {
            tenant: tenant.clone(),
            id: note,
            case_id: Some(case.id),
            origin_case_id: None,
            customer_id: case.customer_id,
            occurred_at: now,
            outbound: OutboundStatus::None,
            article_version: String::new(),
            interaction: Interaction {
                interaction_id: note.to_string(),
                revision: 1,
                channel_kind: ChannelKind::Internal.into(),
                kind: InteractionKind::Note.into(),
                direction: Direction::Internal.into(),
                occurred_at: Some(to_wire(now)),
                received_at: Some(to_wire(now)),
                text: text.to_owned(),
                author: author.to_owned(),
                ..Interaction::default()
            },
            understanding: None,
        };
        timeline::save(tx, &[&line]).await?;
        tx.changed(
            ("interaction", &note),
            "kind",
            "",
            InteractionKind::Note.as_str_name(),
        );
        Ok(note)
    }

    /// Says that the need is met.
    ///
    /// # Errors
    /// When there is no such case, it changed since, or it is at its end already.
    pub async fn resolve(
        &self,
        tx: &mut Tx,
        tenant: &TenantId,
        id: CaseId,
        etag: &str,
        by: &str,
    ) -> Result<Case, Error> {
        let mut case = load(tx, tenant, id).await?;
        if !etag.is_empty() && etag != case.version.to_string() {
            return Err(case_changed(id));
        }
        let now = tx.now();
        let was = case.clone();
        case.resolve(by, now)?;
        tell_case(tx, &was, &case);
        case.version += 1;
        case.work_revision += 1;
        cases::save(tx, &[&case]).await?;
        let step = step_of(
            &case,
            step_id(tenant, "resolved", id.uuid().as_bytes()),
            "resolved",
            by,
            now,
        );
        journey::save(tx, &[step]).await?;
        let lines =
            timeline::load_last(tx, &[tenant.as_str()], &[case.id.uuid()], self.config.lines()).await?;
        let resolved = CaseResolved {
            case: Some(case.to_wire()),
            customer: Some(case.customer.clone()),
            resolved_by: by.to_owned(),
            first_answer_seconds: case.first_answer_seconds(now),
            brand: self.resources.snapshot().brand(tenant, &case.channel).to_owned(),
            interaction_id: last_word(&lines).map(|l| l.id.to_string()).unwrap_or_default(),
        };
        tx.publish(tenant, &case.customer_id.to_string(), &resolved);
        let withdrawn = WorkWithdrawn {
            case_id: id.to_string(),
            revision: case.work_revision,
            reason: WithdrawReason::Resolved.into(),
        };
        tx.publish(tenant, &id.to_string(), &withdrawn);
        metrics::counter!("trama_case_resolved_total").increment(1);
        #[expect(clippy::cast_precision_loss, reason = "seconds of a wait fit a float")]
        metrics::histogram!("trama_case_first_answer_seconds").record(case.first_answer_seconds(now) as f64);
        Ok(case)
    }
}

/// What the customer said last.
fn last_word(lines: &[Line]) -> Option<&Line> {
    lines
        .iter()
        .rev()
        .find(|l| l.interaction.direction() == Direction::Inbound)
}

/// `key@version` as callers write it.
///
/// # Errors
/// When it is not that.
pub fn parse_article_version(text: &str) -> Result<Option<(&str, i32)>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    text.rsplit_once('@')
        .and_then(|(key, version)| Some((key, version.parse().ok().filter(|v| *v > 0)?)))
        .filter(|(key, _)| !key.is_empty())
        .map(Some)
        .ok_or_else(|| Error::invalid("article_version", "must be key@version, such as opening-hours@3"))
}

/// The answer to "there is no such thing".
pub fn not_found(what: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no {what}"))
}

#[cfg(test)]
mod tests {
    use super::parse_article_version;

    #[test]
    fn article_versions_are_key_and_number() {
        assert_eq!(
            parse_article_version("opening-hours@3").expect("valid"),
            Some(("opening-hours", 3))
        );
        assert_eq!(parse_article_version("").expect("valid"), None);
        for text in ["opening-hours", "@3", "a@", "a@0", "a@-1", "a@x"] {
            assert!(parse_article_version(text).is_err(), "{text}");
        }
    }
}
