//! What another system's word on consent is worth beside what is known.

use chrono::{DateTime, Utc};
use trama_proto::identity_resolution::v1::ConsentState;

use crate::domain::consent::{self, Entry, Word};

/// What a record says of one consent.
#[derive(Debug, Clone)]
pub struct Claim<'a> {
    /// As it would be written into the log.
    pub entry: Entry,
    /// When the person said it, as far as the record knows.
    pub said_at: Option<DateTime<Utc>>,
    /// When the other system wrote the record.
    pub recorded_at: Option<DateTime<Utc>>,
    /// When those who are one customer became one.
    pub one_since: Option<DateTime<Utc>>,
    /// What was said so far.
    pub log: &'a [Entry],
}

/// What is done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Worth {
    /// It says what holds anyway, or what is older than what holds.
    Nothing,
    /// It is news, and written so.
    News(Entry),
    /// The customer refused, and nothing shows that they agreed since.
    Refused,
}

/// Weighs it. That a file says yes after somebody said no shows only that its writer has not heard of it: the time of a
/// file is when it was written, not when anybody agreed. So a refusal gives way to a time of the consent itself that is
/// later, or to the very source that it came from.
pub fn weigh(claim: Claim<'_>, now: DateTime<Utc>) -> Worth {
    let mut entry = claim.entry;
    let current = consent::current(claim.log, now);
    let held = consent::held(&current, &entry.subject, now);
    let state = held.map_or(ConsentState::Unspecified, |held| held.state(now));
    let told_at = claim.said_at.or(claim.recorded_at);
    let is_old = |held: &Entry| told_at.is_some_and(|told| told <= held.at);
    match (entry.word, state, held) {
        (Word::Denied, ConsentState::Denied, Some(held)) if held.subject == entry.subject => {
            return Worth::Nothing;
        }
        (Word::Granted, ConsentState::Granted, _) => return Worth::Nothing,
        (Word::Granted, ConsentState::Denied, Some(held)) => {
            let by_this_source = held.evidence == entry.evidence && !is_old(held);
            if !by_this_source && claim.said_at.is_none_or(|said| said <= held.at) {
                return Worth::Refused;
            }
        }
        (_, ConsentState::Granted | ConsentState::Expired, Some(held)) if is_old(held) => {
            return Worth::Nothing;
        }
        _ => {}
    }
    // A refusal counts from when we hear of it: it reaches everything that was agreed to until then.
    if let (Word::Granted, Some(told)) = (entry.word, told_at) {
        entry.at = told.min(now);
        entry.of_the_whole = claim.one_since.is_none_or(|since| entry.at >= since);
    }
    // The newest goes first.
    let mut log = claim.log.to_vec();
    log.insert(0, entry.clone());
    let becomes = consent::current(&log, now);
    let becomes = consent::held(&becomes, &entry.subject, now).map(|held| held.word);
    if becomes == Some(entry.word) {
        Worth::News(entry)
    } else {
        Worth::Refused
    }
}

/// What is kept as the evidence of what a source says.
pub fn evidence(source: &str) -> String {
    format!("import from {source}")
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use trama_proto::{common::v1::ChannelKind, identity_resolution::v1::Purpose, ids::CustomerId};

    use super::*;
    use crate::domain::consent::Subject;

    fn at(hour: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::hours(hour)
    }

    fn said(word: Word, hour: i64, evidence: &str) -> Entry {
        Entry {
            subject: Subject::new(ChannelKind::Sms, Purpose::Marketing, ""),
            word,
            evidence: evidence.to_owned(),
            by: "bruno".to_owned(),
            at: at(hour),
            expires_at: None,
            origin: CustomerId::derived(&[b"anna"]),
            of_the_whole: true,
            through: None,
        }
    }

    /// What a file of the source `crm`, read at hour 100, does to a log.
    fn becomes(word: Word, log: &[Entry], said_at: Option<i64>, recorded_at: Option<i64>) -> Worth {
        let claim = Claim {
            entry: said(word, 100, &evidence("crm")),
            said_at: said_at.map(at),
            recorded_at: recorded_at.map(at),
            one_since: None,
            log,
        };
        weigh(claim, at(100))
    }

    #[test]
    fn a_refusal_gives_way_to_a_later_consent_and_not_to_a_later_file() {
        let log = [
            said(Word::Denied, 50, "STOP"),
            said(Word::Granted, 10, &evidence("crm")),
        ];
        for (said_at, recorded_at) in [
            (None, None),
            (None, Some(90)),
            (Some(50), Some(90)),
            (Some(20), None),
        ] {
            let worth = becomes(Word::Granted, &log, said_at, recorded_at);
            assert_eq!(worth, Worth::Refused, "{said_at:?} {recorded_at:?}");
        }
        let Worth::News(entry) = becomes(Word::Granted, &log, Some(60), Some(90)) else {
            panic!("they agreed after they had refused");
        };
        assert_eq!(entry.at, at(60));
    }

    #[test]
    fn a_source_takes_back_its_own_refusal_unless_the_file_is_older() {
        let log = [said(Word::Denied, 50, &evidence("crm"))];
        for (recorded_at, is_news) in [(None, true), (Some(60), true), (Some(50), false)] {
            let worth = becomes(Word::Granted, &log, None, recorded_at);
            assert_eq!(matches!(worth, Worth::News(_)), is_news, "{recorded_at:?}");
        }
        let log = [said(Word::Denied, 50, &evidence("shop"))];
        assert_eq!(becomes(Word::Granted, &log, None, Some(60)), Worth::Refused);
    }

    #[test]
    fn a_file_that_is_older_than_a_consent_does_not_take_it_back_and_a_newer_one_does() {
        let log = [said(Word::Granted, 50, "form")];
        assert_eq!(becomes(Word::Denied, &log, None, Some(40)), Worth::Nothing);
        for recorded_at in [None, Some(60)] {
            let Worth::News(entry) = becomes(Word::Denied, &log, None, recorded_at) else {
                panic!("they refused: {recorded_at:?}");
            };
            assert_eq!(entry.at, at(100), "it counts from when we hear of it");
        }
    }

    #[test]
    fn a_refusal_for_all_brands_stands_against_what_a_file_says_of_one() {
        let log = [said(Word::Denied, 50, "STOP ALL")];
        let mut entry = said(Word::Granted, 100, &evidence("crm"));
        entry.subject.brand = "acme".to_owned();
        let claim = |said_at: Option<i64>| Claim {
            entry: entry.clone(),
            said_at: said_at.map(at),
            recorded_at: None,
            one_since: None,
            log: &log,
        };
        assert_eq!(weigh(claim(None), at(100)), Worth::Refused);
        assert!(matches!(weigh(claim(Some(60)), at(100)), Worth::News(_)));
    }

    #[test]
    fn what_holds_is_not_said_again() {
        for word in [Word::Granted, Word::Denied] {
            assert_eq!(
                becomes(word, &[said(word, 50, "form")], None, None),
                Worth::Nothing
            );
            assert!(matches!(becomes(word, &[], None, None), Worth::News(_)));
        }
    }
}
