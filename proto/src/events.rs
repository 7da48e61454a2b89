//! Every event of the platform in one table. `docs/reference/events.md` is generated from it.
//!
//! Subjects: `<prefix>.events.<event>.<tenant>.<partition>` in the stream `EVENTS`,
//! `<prefix>.ingress.<channel>.<tenant>.<partition>` in the journal `INGRESS`.
//! The partition is `hash(tenant, key) mod P`: what shares a key is processed in order.

use crate::{audit, case, identity_resolution, ingest, notification, privacy, routing, survey};

/// A message that travels on the bus.
pub trait Event: prost::Message + Default + 'static {
    /// The name in subjects and headers.
    const NAME: &'static str;
}

/// A service, as the table names it.
pub type ServiceName = &'static str;

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct EventSpec {
    /// Name in subjects and headers.
    pub name: &'static str,
    /// Full name of the protobuf message.
    pub message: &'static str,
    /// Who publishes it.
    pub published_by: &'static [ServiceName],
    /// Who listens.
    pub listened_by: &'static [ServiceName],
    /// What its partition key is.
    pub key: &'static str,
    /// What it says.
    pub about: &'static str,
}

macro_rules! events {
    ($($event:ty = $name:literal, $message:literal, by [$($by:literal),*], to [$($to:literal),*], key $key:literal, $about:literal;)*) => {
        $(impl Event for $event { const NAME: &'static str = $name; })*
        /// The table.
        pub const EVENTS: &[EventSpec] = &[$(EventSpec {
            name: $name,
            message: $message,
            published_by: &[$($by),*],
            listened_by: &[$($to),*],
            key: $key,
            about: $about,
        },)*];
    };
}

events! {
    ingest::v1::InteractionReceived = "interaction_received", "trama.ingest.v1.InteractionReceived",
        by ["ingest"], to ["identity-resolution"], key "party handle",
        "An interaction can be read in full, media included.";
    ingest::v1::HandleChanged = "handle_changed", "trama.ingest.v1.HandleChanged",
        by ["ingest"], to ["identity-resolution"], key "new handle",
        "A provider says that somebody has a new number or id.";
    ingest::v1::ReceiptReceived = "receipt_received", "trama.ingest.v1.ReceiptReceived",
        by ["ingest"], to ["notification"], key "provider message id",
        "A provider reported the fate of a message.";
    identity_resolution::v1::InteractionIdentified = "interaction_identified", "trama.identity_resolution.v1.InteractionIdentified",
        by ["identity-resolution"], to ["case"], key "customer",
        "It is known who an interaction comes from.";
    identity_resolution::v1::CustomerMerged = "customer_merged", "trama.identity_resolution.v1.CustomerMerged",
        by ["identity-resolution"], to ["identity-resolution", "case", "survey", "notification"], key "surviving customer",
        "Two customers are one; owners repoint.";
    identity_resolution::v1::CustomerSplit = "customer_split", "trama.identity_resolution.v1.CustomerSplit",
        by ["identity-resolution"], to ["identity-resolution", "case", "survey", "notification"], key "surviving customer",
        "A merge was undone; owners give back.";
    identity_resolution::v1::CustomerChanged = "customer_changed", "trama.identity_resolution.v1.CustomerChanged",
        by ["identity-resolution"], to ["identity-resolution", "case"], key "customer",
        "Verification, preference, consent or profile changed.";
    case::v1::CaseOpened = "case_opened", "trama.case.v1.CaseOpened",
        by ["case"], to [], key "customer",
        "A need became a case; for integrators and reports.";
    case::v1::WorkRequested = "work_requested", "trama.case.v1.WorkRequested",
        by ["case"], to ["routing"], key "case",
        "Somebody must act, or what they must know has changed.";
    case::v1::WorkWithdrawn = "work_withdrawn", "trama.case.v1.WorkWithdrawn",
        by ["case"], to ["routing"], key "case",
        "Nobody needs to act any more.";
    case::v1::CaseResolved = "case_resolved", "trama.case.v1.CaseResolved",
        by ["case"], to ["survey"], key "customer",
        "A need is met.";
    case::v1::CaseRequested = "case_requested", "trama.case.v1.CaseRequested",
        by ["survey"], to ["case"], key "customer",
        "A bad answer wants a follow-up (closed loop).";
    case::v1::SurveyAnswerReceived = "survey_answer_received", "trama.case.v1.SurveyAnswerReceived",
        by ["case"], to ["survey"], key "customer",
        "A customer's message was the answer to a survey question.";
    routing::v1::OfferMade = "offer_made", "trama.routing.v1.OfferMade",
        by ["routing"], to ["case"], key "case",
        "A work item is held for an agent.";
    routing::v1::OfferAccepted = "offer_accepted", "trama.routing.v1.OfferAccepted",
        by ["routing"], to ["case"], key "case",
        "An agent took the work.";
    routing::v1::OfferEnded = "offer_ended", "trama.routing.v1.OfferEnded",
        by ["routing"], to [], key "case",
        "An offer was declined, lapsed or rescinded; for reports.";
    routing::v1::WorkCompleted = "work_completed", "trama.routing.v1.WorkCompleted",
        by ["routing"], to ["case"], key "case",
        "An agent is done with a work item.";
    routing::v1::WorkTransferred = "work_transferred", "trama.routing.v1.WorkTransferred",
        by ["routing"], to ["case"], key "case",
        "Work went back to the queue or to another agent, with its place.";
    routing::v1::WorkOverflowed = "work_overflowed", "trama.routing.v1.WorkOverflowed",
        by ["routing"], to ["case"], key "case",
        "A customer would wait too long; something else is done.";
    survey::v1::SurveyQuestionAsked = "survey_question_asked", "trama.survey.v1.SurveyQuestionAsked",
        by ["survey"], to ["case"], key "customer",
        "The customer's next number is an answer.";
    survey::v1::SurveyResponded = "survey_responded", "trama.survey.v1.SurveyResponded",
        by ["survey"], to ["case"], key "customer",
        "A question was answered.";
    notification::v1::MessageRequested = "message_requested", "trama.notification.v1.MessageRequested",
        by ["case", "survey", "identity-resolution", "notification"], to ["notification"], key "customer",
        "A text shall reach a customer.";
    notification::v1::MessageSent = "message_sent", "trama.notification.v1.MessageSent",
        by ["notification"], to ["case"], key "customer",
        "A provider took a message.";
    notification::v1::MessageDelivered = "message_delivered", "trama.notification.v1.MessageDelivered",
        by ["notification"], to ["case"], key "customer",
        "A message is on the customer's device.";
    notification::v1::MessageRead = "message_read", "trama.notification.v1.MessageRead",
        by ["notification"], to ["case"], key "customer",
        "A message was seen.";
    notification::v1::MessageFailed = "message_failed", "trama.notification.v1.MessageFailed",
        by ["notification"], to ["case", "survey"], key "customer",
        "A message will not arrive.";
    privacy::v1::PrivacyRequested = "privacy_requested", "trama.privacy.v1.PrivacyRequested",
        by ["identity-resolution", "case"], to ["ingest", "case", "routing", "survey", "notification"], key "customer, or case",
        "A person wants a copy of their data, or to be forgotten.";
    privacy::v1::PrivacyDone = "privacy_done", "trama.privacy.v1.PrivacyDone",
        by ["ingest", "identity-resolution", "case", "routing", "survey", "notification"], to ["identity-resolution"], key "request",
        "A service has handed out or forgotten what it held.";
    audit::v1::AuditRecorded = "audit_recorded", "trama.audit.v1.AuditRecorded",
        by ["ingest", "identity-resolution", "case", "routing", "survey", "notification"], to ["identity-resolution"], key "subject",
        "Somebody changed something, or was not allowed to.";
}

/// The names of the events a service listens to, as the table says.
pub fn listened_by(service: &str) -> Vec<&'static str> {
    EVENTS
        .iter()
        .filter(|e| e.listened_by.contains(&service))
        .map(|e| e.name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_real_messages_once() {
        let pool = prost_reflect::DescriptorPool::decode(crate::DESCRIPTORS).expect("descriptors decode");
        let mut names = std::collections::BTreeSet::new();
        for event in EVENTS {
            assert!(names.insert(event.name), "{} stands twice", event.name);
            assert!(
                pool.get_message_by_name(event.message).is_some(),
                "{} is no message",
                event.message
            );
        }
    }
}
