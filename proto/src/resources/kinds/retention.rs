//! For how long we keep.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Validate, by_name, check};

/// For how long records are kept. What is not named is kept until its person is erased.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetentionPolicySpec {
    /// Days by kind of record, from 1 to 36500: `cases: 730`. Records go within an hour after their last day.
    #[schemars(extend("additionalProperties" = {"type": "integer", "minimum": 1, "maximum": 36500}))]
    pub keep_days: BTreeMap<KeptRecords, u32>,
}

/// Kinds of records that grow old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum KeptRecords {
    /// Resolved cases with their timelines and journeys, counted from their end.
    Cases,
    /// What customers said without any case coming of it.
    Conversations,
    /// Outbound messages that have arrived or failed, with their tries.
    Messages,
    /// Invitations to surveys that are over, with their answers.
    Surveys,
    /// Work items that are over, with their offers.
    WorkItems,
    /// Deliveries that could not be understood.
    Quarantine,
    /// Lines of chats that visitors may still scroll back to, counted from the beginning of the conversation.
    Chats,
    /// The audit log: who changed what.
    Audit,
    /// Files of exports that a person asked for; 7 days when not said.
    Exports,
    /// What each record and interaction said of a person, counted from when it last said so. What is known of the person
    /// stays; where it came from is not known any more.
    Sayings,
    /// Which proofs of identity were given, failed and revoked. Proofs that hold stay.
    ProofLog,
    /// Customers of whom nobody has heard for so long, at least 365 days: they are erased, in all services.
    Customers,
}

impl<'de> Deserialize<'de> for KeptRecords {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        by_name(deserializer, &Self::ALL, &Self::ALL.map(Self::name))
    }
}

impl KeptRecords {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Cases,
        Self::Conversations,
        Self::Messages,
        Self::Surveys,
        Self::WorkItems,
        Self::Quarantine,
        Self::Chats,
        Self::Audit,
        Self::Exports,
        Self::Sayings,
        Self::ProofLog,
        Self::Customers,
    ];

    /// The least days that may be said: a slip of the pen must not erase everybody.
    const fn least(self) -> u32 {
        match self {
            KeptRecords::Customers => 365,
            KeptRecords::Cases
            | KeptRecords::Conversations
            | KeptRecords::Messages
            | KeptRecords::Surveys
            | KeptRecords::WorkItems
            | KeptRecords::Quarantine
            | KeptRecords::Chats
            | KeptRecords::Audit
            | KeptRecords::Exports
            | KeptRecords::Sayings
            | KeptRecords::ProofLog => 1,
        }
    }

    /// As YAML writes it.
    pub const fn name(self) -> &'static str {
        match self {
            KeptRecords::Cases => "cases",
            KeptRecords::Conversations => "conversations",
            KeptRecords::Messages => "messages",
            KeptRecords::Surveys => "surveys",
            KeptRecords::WorkItems => "workItems",
            KeptRecords::Quarantine => "quarantine",
            KeptRecords::Chats => "chats",
            KeptRecords::Audit => "audit",
            KeptRecords::Exports => "exports",
            KeptRecords::Sayings => "sayings",
            KeptRecords::ProofLog => "proofLog",
            KeptRecords::Customers => "customers",
        }
    }
}

impl Validate for RetentionPolicySpec {
    fn validate(&self) -> Result<(), String> {
        for (records, days) in &self.keep_days {
            let least = records.least();
            let words = format!("keepDays.{}: must be from {least} to 36500", records.name());
            check((least..=36_500).contains(days), &words)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named_and_days_are_bounded() {
        let read = |text: &str| serde_json::from_str::<RetentionPolicySpec>(text);
        let good = read(r#"{"keepDays": {"cases": 730, "workItems": 90}}"#).expect("a policy");
        assert_eq!(good.validate(), Ok(()));
        assert!(read(r#"{"keepDays": {"cats": 1}}"#).is_err());
        let none = read(r#"{"keepDays": {"messages": 0}}"#).expect("a shape");
        assert!(none.validate().is_err_and(|e| e.contains("messages")));
    }

    #[test]
    fn customers_are_kept_for_a_year_at_least() {
        let read = |text: &str| serde_json::from_str::<RetentionPolicySpec>(text).expect("a shape");
        let hasty = read(r#"{"keepDays": {"customers": 364}}"#);
        assert!(hasty.validate().is_err_and(|e| e.contains("from 365")));
        assert_eq!(read(r#"{"keepDays": {"customers": 365}}"#).validate(), Ok(()));
    }
}
