//! What conditions may ask about.

use super::super::Weekday;
use crate::resources::condition::{Vocabulary, Word, WordType};

/// Kinds of channel as conditions write them.
pub const CHANNELS: &[&str] = &["email", "whatsapp", "voice", "webChat", "sms", "api", "internal"];
/// Moods as conditions write them.
pub const MOODS: &[&str] = &["unknown", "neutral", "positive", "negative"];
/// Kinds of case as conditions write them.
pub const CASE_KINDS: &[&str] = &["need", "recovery"];

/// Words about the work, the customer and the time: for the rules of a `RoutingPolicy`.
#[derive(Debug, Clone, Copy)]
pub struct WorkWords;

/// The same, and words about the queue: for the overflow of a `Queue`.
#[derive(Debug, Clone, Copy)]
pub struct QueueWords;

impl Vocabulary for WorkWords {
    const WORDS: &'static [Word] = ALL.split_at(WORK).0;
}

impl Vocabulary for QueueWords {
    const WORDS: &'static [Word] = ALL;
}

/// How many of the words are not about the queue.
const WORK: usize = 18;

const ALL: &[Word] = &[
    word(
        "channel",
        WordType::OneOf(CHANNELS),
        "kind of channel of the customer's last word",
    ),
    word("intent", WordType::Text, "name of the Intent, '' when unknown"),
    word(
        "entitlement",
        WordType::Text,
        "name of the customer's Entitlement, '' for none",
    ),
    word(
        "language",
        WordType::Text,
        "language of the need without region, such as 'it'; '' when unknown",
    ),
    word("mood", WordType::OneOf(MOODS), "how the customer sounds"),
    word("urgency", WordType::Decimal, "0.0 calm to 1.0 urgent"),
    word(
        "caseKind",
        WordType::OneOf(CASE_KINDS),
        "a customer's need, or the follow-up of a bad survey answer",
    ),
    word(
        "newCustomer",
        WordType::Truth,
        "whether this need made the customer known",
    ),
    word(
        "verificationLevel",
        WordType::Whole,
        "level of the proof of identity that holds, 0 to 3",
    ),
    word(
        "personaGroup",
        WordType::Text,
        "persona group of the customer, '' for none",
    ),
    word(
        "waitedSeconds",
        WordType::Whole,
        "seconds since the customer began to wait",
    ),
    word(
        "contacts",
        WordType::Whole,
        "messages that the customer needed so far",
    ),
    word("channelSwitches", WordType::Whole, "times the channel changed"),
    word(
        "transfers",
        WordType::Whole,
        "times the case passed from one agent to another",
    ),
    word(
        "repeats",
        WordType::Whole,
        "times the customer had to explain again",
    ),
    word(
        "hour",
        WordType::Whole,
        "hour of the day by the clock of `hours`, 0 to 23",
    ),
    word(
        "weekday",
        WordType::OneOf(Weekday::NAMES),
        "day of the week by the clock of `hours`",
    ),
    word(
        "open",
        WordType::Truth,
        "whether `hours` are open now; true without `hours`",
    ),
    word("length", WordType::Whole, "how many wait in the queue"),
    word(
        "oldestSeconds",
        WordType::Whole,
        "how long the first in the queue has waited",
    ),
    word(
        "predictedWaitSeconds",
        WordType::Whole,
        "how long work that comes now will probably wait; not known while too little was answered",
    ),
    word(
        "agentsAvailable",
        WordType::Whole,
        "agents who may take work of this queue and are available",
    ),
    word(
        "full",
        WordType::Truth,
        "whether the queue holds `maxLength` or more",
    ),
];

const fn word(name: &'static str, is: WordType, about: &'static str) -> Word {
    Word { name, is, about }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_do_not_ask_about_queues() {
        let last = WorkWords::WORDS.last().map(|w| w.name);
        assert_eq!(last, Some("open"));
        assert!(QueueWords::WORDS.len() > WorkWords::WORDS.len());
    }
}
