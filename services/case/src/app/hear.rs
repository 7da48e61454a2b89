//! A customer said something.

use chrono::{DateTime, Utc};
use trama_platform::{Error, Tx};
use trama_proto::{
    case::v1::{Mood, SuggestedArticle, SurveyAnswerReceived, Understanding},
    common::v1::{ChannelKind, CustomerContext, Direction, Interaction, InteractionKind},
    identity_resolution::v1::Purpose,
    ids::{CaseId, CustomerId, InteractionId, MessageId, TenantId},
    notification::v1::MessageRequested,
    time::to_wire,
};

use super::{batch::Batch, snapshot::article_of_intent};
use crate::{
    consumer::line_of_message,
    domain::{ASSISTANT, Case, Heard, Kind, Line, NewCase, OutboundStatus, Placement, Said, Speaker, place},
    understanding::{survey_score, text_of},
};

/// A word of a customer, understood.
pub(super) struct Word<'a> {
    pub tenant: &'a TenantId,
    pub id: InteractionId,
    /// After aliases.
    pub customer: CustomerId,
    pub at: DateTime<Utc>,
    pub interaction: &'a Interaction,
    pub context: CustomerContext,
    pub in_doubt: bool,
    pub understanding: Understanding,
    pub asks_for_person: bool,
    pub self_service: bool,
    pub courtesy: bool,
    pub cause: usize,
}

impl Word<'_> {
    fn line(&self, case: Option<CaseId>, customer: CustomerId) -> Line {
        Line {
            tenant: self.tenant.clone(),
            id: self.id,
            case_id: case,
            origin_case_id: None,
            customer_id: customer,
            occurred_at: self.at,
            outbound: OutboundStatus::None,
            article_version: String::new(),
            interaction: self.interaction.clone(),
            understanding: Some(self.understanding.clone()),
        }
    }

    fn heard(&self, needs_nothing: bool) -> Heard<'_> {
        Heard {
            at: self.at,
            channel: &self.interaction.channel,
            channel_kind: self.interaction.channel_kind(),
            understanding: &self.understanding,
            needs_nothing,
            asks_for_person: self.asks_for_person,
        }
    }

    fn speaker(&self) -> Speaker<'_> {
        Speaker {
            word: self.id,
            at: self.at,
            context: &self.context,
            in_doubt: self.in_doubt,
        }
    }

    fn needs_nothing(&self) -> bool {
        self.courtesy || self.interaction.automatic || self.interaction.kind() == InteractionKind::Reaction
    }
}

impl Batch {
    pub(super) fn hear(&mut self, tx: &mut Tx, word: Word<'_>) -> Result<(), Error> {
        let key = (word.tenant.clone(), word.id);
        if self.workspace.lines.contains_key(&key) {
            self.hear_more(&word);
            return Ok(());
        }
        if word.interaction.direction() == Direction::Outbound {
            // Written by us elsewhere: kept, and nothing follows.
            let case = self.live_cases(&word).first().map(|c| c.id);
            let line = Line {
                outbound: OutboundStatus::Sent,
                ..word.line(case, word.customer)
            };
            self.workspace.lines.insert(key, (line, true));
            return Ok(());
        }
        let question = self.open_question(&word);
        let score = question.and_then(|at| {
            let question = &self.workspace.expectations[at].0;
            survey_score(&word.interaction.text, question.min_score, question.max_score)
        });
        let said = Said {
            kind: word.interaction.kind(),
            intent: if word.asks_for_person {
                ""
            } else {
                &word.understanding.intent
            },
            references: &word.understanding.references,
            automatic: word.interaction.automatic,
            courtesy: word.courtesy,
            score,
        };
        let placement = place(
            &said,
            question.is_some(),
            &self.workspace.cases_of(word.tenant, word.customer),
            self.workspace.now,
            self.workspace.config.courtesy(),
        );
        metrics::counter!("trama_case_interactions_total", "placement" => placement_name(placement))
            .increment(1);
        match placement {
            Placement::SurveyAnswer { score } => {
                if let Some(question) = question {
                    self.answer_survey(tx, &word, question, score);
                }
            }
            Placement::Record => {
                self.workspace
                    .lines
                    .insert(key, (word.line(None, word.customer), true));
            }
            Placement::AttachToResolved(case) => {
                self.workspace
                    .lines
                    .insert(key, (word.line(Some(case), word.customer), true));
            }
            Placement::Attach(case) => self.attach(tx, &word, case, word.needs_nothing())?,
            Placement::Open => {
                let case = Case::open(
                    NewCase {
                        tenant: word.tenant.clone(),
                        // Derived: two who open a case for the same word open the same case.
                        id: CaseId::derived(&[
                            word.tenant.as_str().as_bytes(),
                            b"case",
                            word.id.uuid().as_bytes(),
                        ]),
                        customer_id: word.customer,
                        customer: word.context.clone(),
                        kind: Kind::Need,
                        subject: subject_of(word.interaction),
                        heard_at: word.at,
                    },
                    self.workspace.now,
                );
                let id = case.id;
                self.workspace.take(case, true);
                self.attach(tx, &word, id, false)?;
            }
        }
        Ok(())
    }

    fn live_cases(&self, word: &Word<'_>) -> Vec<&Case> {
        let mut live = self.workspace.cases_of(word.tenant, word.customer);
        live.retain(|c| c.state.is_live());
        live.sort_by_key(|c| std::cmp::Reverse(c.last_heard_at));
        live
    }

    /// A provider told more about the same thing, such as the next event of a call.
    fn hear_more(&mut self, word: &Word<'_>) {
        let key = (word.tenant.clone(), word.id);
        let Some((line, dirty)) = self.workspace.lines.get_mut(&key) else {
            return;
        };
        if word.interaction.revision <= line.interaction.revision {
            return;
        }
        let before = std::mem::replace(&mut line.interaction, word.interaction.clone());
        let now = &mut line.interaction;
        if now.text.is_empty() {
            now.text = before.text;
        }
        if now.attachments.is_empty() {
            now.attachments = before.attachments;
        }
        line.occurred_at = line.occurred_at.min(word.at);
        now.occurred_at = Some(to_wire(line.occurred_at));
        *dirty = true;
        let case = line.case_id;
        if let Some(held) = case.and_then(|c| {
            let living = self.workspace.living(word.tenant, c);
            self.workspace.held(word.tenant, living)
        }) {
            held.reread = true;
            held.request(word.cause);
        }
    }

    /// Puts a word on a case and decides who acts: nobody, the assistant or people.
    fn attach(
        &mut self,
        tx: &mut Tx,
        word: &Word<'_>,
        case: CaseId,
        needs_nothing: bool,
    ) -> Result<(), Error> {
        let answer = articles_answer(&self.workspace.articles, word);
        let now = self.workspace.now;
        let Some(held) = self.workspace.held(word.tenant, case) else {
            return Err(Error::internal(format!(
                "case {case} was placed but is not in hand"
            )));
        };
        let with_assistant = held.case.is_with_assistant();
        held.case.meet(word.speaker(), now);
        held.case.hear(&word.heard(needs_nothing))?;
        let customer = held.case.customer_id;
        if held.case.subject.is_empty() {
            held.case.subject = subject_of(word.interaction);
        }
        let fresh =
            held.case.work_revision == 0 && held.work.is_none() && held.case.assigned_agent.is_empty();
        let mut message = None;
        match answer {
            _ if needs_nothing => held.request(word.cause),
            Some(article)
                if fresh
                    && held.case.kind == Kind::Need
                    && held.case.intent() == word.understanding.intent =>
            {
                held.case.answer(ASSISTANT, tx.now())?;
                held.dirty = true;
                held.cause = word.cause;
                message = Some(article);
            }
            Some(_) | None => {
                if with_assistant {
                    held.case.hand_over(word.at);
                }
                if held.case.intent().is_empty() && held.case.article_key.is_empty() {
                    let text = text_of(word.interaction);
                    held.question = (!text.is_empty()).then_some(text);
                }
                held.request(word.cause);
            }
        }
        let need = held.case.intent().to_owned();
        self.workspace.lines.insert(
            (word.tenant.clone(), word.id),
            (word.line(Some(case), customer), true),
        );
        if let Some(article) = message {
            self.assistant_answers(tx, word, case, &need, article);
        }
        Ok(())
    }

    fn assistant_answers(
        &mut self,
        tx: &mut Tx,
        word: &Word<'_>,
        case: CaseId,
        need: &str,
        article: SuggestedArticle,
    ) {
        metrics::counter!("trama_case_self_service_total").increment(1);
        let message_id = MessageId::derived(&[
            word.tenant.as_str().as_bytes(),
            b"assistant",
            word.id.uuid().as_bytes(),
        ]);
        let kind = word.interaction.channel_kind();
        let request = MessageRequested {
            message_id: message_id.to_string(),
            customer_id: word.customer.to_string(),
            case_id: case.to_string(),
            need: need.to_owned(),
            purpose: Purpose::Service.into(),
            author: ASSISTANT.to_owned(),
            text: article.body.clone(),
            language: word.understanding.language.clone(),
            article_version: article.article_version.clone(),
            channel_kind: kind.into(),
            fallback: kind.into(),
            in_reply_to: word.interaction.provider_id.clone(),
            interaction_id: word.id.to_string(),
            subject: word.interaction.subject.clone(),
            greet: true,
            brand: self
                .resources
                .brand(word.tenant, &word.interaction.channel)
                .to_owned(),
            requested_at: Some(to_wire(tx.now())),
            ..MessageRequested::default()
        };
        let line = outbound_line(
            word.tenant,
            word.customer,
            &request,
            Some(case),
            after(word.at, tx.now()),
        );
        tx.publish_as(
            message_id.uuid(),
            word.tenant,
            &word.customer.to_string(),
            &request,
        );
        self.workspace
            .lines
            .insert((word.tenant.clone(), line.id), (line, true));
    }

    /// Index of the customer's open survey question.
    fn open_question(&self, word: &Word<'_>) -> Option<usize> {
        self.workspace
            .expectations
            .iter()
            .position(|(question, open, _)| {
                *open
                    && question.tenant == *word.tenant
                    && self.workspace.aliases.resolve(word.tenant, question.customer_id) == word.customer
                    && question.closes_at > word.at
            })
    }

    fn answer_survey(&mut self, tx: &mut Tx, word: &Word<'_>, question: usize, score: i32) {
        let Some((question, open, dirty)) = self.workspace.expectations.get_mut(question) else {
            return;
        };
        (*open, *dirty) = (false, true);
        let event = SurveyAnswerReceived {
            invitation_id: question.invitation_id.to_string(),
            question_id: question.question_id.clone(),
            interaction: Some(word.interaction.clone()),
            score,
        };
        let mut line = word.line(Some(question.case_id), word.customer);
        line.interaction.kind = InteractionKind::SurveyAnswer.into();
        tx.publish(word.tenant, &word.customer.to_string(), &event);
        self.workspace
            .lines
            .insert((word.tenant.clone(), word.id), (line, true));
    }
}

/// The article with which the assistant may answer a word, if it may.
fn articles_answer(
    articles: &[crate::store::articles::Current],
    word: &Word<'_>,
) -> Option<SuggestedArticle> {
    let may = word.self_service
        && !word.asks_for_person
        && !word.interaction.automatic
        && word.interaction.kind() == InteractionKind::Message
        && word.understanding.mood() != Mood::Negative
        && takes_messages(word.interaction.channel_kind());
    if !may {
        return None;
    }
    let understanding = &word.understanding;
    article_of_intent(
        articles,
        word.tenant,
        &understanding.intent,
        &understanding.language,
    )
    .map(|a| a.suggest(1.0))
}

/// Whether the assistant can answer in writing where the customer wrote.
const fn takes_messages(kind: ChannelKind) -> bool {
    match kind {
        ChannelKind::Email | ChannelKind::Whatsapp | ChannelKind::WebChat | ChannelKind::Sms => true,
        ChannelKind::Voice | ChannelKind::Api | ChannelKind::Internal | ChannelKind::Unspecified => false,
    }
}

const fn placement_name(placement: Placement) -> &'static str {
    match placement {
        Placement::SurveyAnswer { .. } => "survey_answer",
        Placement::Attach(_) => "attach",
        Placement::AttachToResolved(_) => "attach_to_resolved",
        Placement::Record => "record",
        Placement::Open => "open",
    }
}

/// The mail's subject, or the first words.
fn subject_of(interaction: &Interaction) -> String {
    let text = if interaction.subject.trim().is_empty() {
        &interaction.text
    } else {
        &interaction.subject
    };
    first_words(text, 80)
}

/// The first line, cut at a word.
pub(super) fn first_words(text: &str, longest: usize) -> String {
    let line = text.trim().lines().next().unwrap_or_default().trim();
    if line.chars().count() <= longest {
        return line.to_owned();
    }
    let cut: String = line.chars().take(longest).collect();
    let whole = cut
        .rfind(' ')
        .filter(|at| *at > 0)
        .map_or(cut.as_str(), |at| &cut[..at]);
    format!("{whole}…")
}

/// Now, but after what it answers: a provider's clock may run ahead of ours.
pub(super) fn after(heard: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    now.max(heard + chrono::Duration::microseconds(1))
}

/// The line of a message that was asked for and is not sent yet.
pub(super) fn outbound_line(
    tenant: &TenantId,
    customer: CustomerId,
    request: &MessageRequested,
    case: Option<CaseId>,
    now: DateTime<Utc>,
) -> Line {
    let message = request.message_id.parse().expect("we wrote the id a moment ago");
    let id = line_of_message(tenant, message);
    let kind = match request.channel_kind() {
        // Not chosen yet; `MessageSent` says where it went.
        ChannelKind::Unspecified => request.fallback,
        chosen => chosen.into(),
    };
    Line {
        tenant: tenant.clone(),
        id,
        case_id: case,
        origin_case_id: None,
        customer_id: customer,
        occurred_at: now,
        outbound: OutboundStatus::Queued,
        article_version: request.article_version.clone(),
        interaction: Interaction {
            interaction_id: id.to_string(),
            revision: 1,
            channel_kind: kind,
            kind: InteractionKind::Message.into(),
            direction: Direction::Outbound.into(),
            occurred_at: Some(to_wire(now)),
            received_at: Some(to_wire(now)),
            subject: request.subject.clone(),
            text: request.text.clone(),
            in_reply_to: request.in_reply_to.clone(),
            author: request.author.clone(),
            message_id: request.message_id.clone(),
            language: request.language.clone(),
            ..Interaction::default()
        },
        understanding: None,
    }
}

#[cfg(test)]
mod tests {
    use super::first_words;

    #[test]
    fn subjects_are_cut_at_words() {
        assert_eq!(first_words("  una riga\nun'altra ", 80), "una riga");
        assert_eq!(first_words("parola parola parola", 15), "parola parola…");
        assert_eq!(first_words("àààààààà", 3), "ààà…");
        assert_eq!(first_words("", 3), "");
    }
}
