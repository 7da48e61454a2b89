//! What customers agreed to: per channel, purpose and brand, until when, and how they take it back.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use trama_proto::{
    common::v1::ChannelKind,
    identity_resolution::v1::{ConsentState, Purpose},
    ids::CustomerId,
};

/// Kinds of channel that consent can be about.
pub const CHANNELS: [ChannelKind; 5] = [
    ChannelKind::Email,
    ChannelKind::Whatsapp,
    ChannelKind::Voice,
    ChannelKind::WebChat,
    ChannelKind::Sms,
];

/// What a consent is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// Kind of channel.
    pub kind: i32,
    /// Purpose.
    pub purpose: i32,
    /// Brand; empty for all.
    pub brand: String,
}

impl Subject {
    /// A channel and a purpose, for one brand or all.
    pub fn new(kind: ChannelKind, purpose: Purpose, brand: &str) -> Self {
        Self {
            kind: kind as i32,
            purpose: purpose as i32,
            brand: brand.to_owned(),
        }
    }

    /// Whether what is said of this is said of the other too: of all brands, or of the same one.
    pub fn covers(&self, other: &Self) -> bool {
        (self.kind, self.purpose) == (other.kind, other.purpose)
            && (self.brand.is_empty() || self.brand == other.brand)
    }

    /// The same for all brands.
    #[must_use]
    pub fn of_all_brands(&self) -> Self {
        Self {
            brand: String::new(),
            ..self.clone()
        }
    }

    /// `email/marketing`, `sms/survey/acme`: for segments and exports.
    pub fn words(&self) -> String {
        let kind = ChannelKind::try_from(self.kind).map_or("?", channel_name);
        let purpose = Purpose::try_from(self.purpose).map_or("?", purpose_name);
        if self.brand.is_empty() {
            format!("{kind}/{purpose}")
        } else {
            format!("{kind}/{purpose}/{}", self.brand)
        }
    }

    /// Reads `email/marketing`.
    pub fn parse(words: &str) -> Option<Self> {
        let mut parts = words.splitn(3, '/');
        let (kind, purpose) = (parts.next()?, parts.next()?);
        let kind = CHANNELS.into_iter().find(|k| channel_name(*k) == kind)?;
        let purpose = [Purpose::Service, Purpose::Survey, Purpose::Marketing]
            .into_iter()
            .find(|p| purpose_name(*p) == purpose)?;
        Some(Self::new(kind, purpose, parts.next().unwrap_or_default()))
    }
}

/// A kind of channel in words: `email`, `webChat`.
pub const fn channel_name(kind: ChannelKind) -> &'static str {
    match kind {
        ChannelKind::Unspecified | ChannelKind::Internal => "?",
        ChannelKind::Email => "email",
        ChannelKind::Whatsapp => "whatsapp",
        ChannelKind::Voice => "voice",
        ChannelKind::WebChat => "webChat",
        ChannelKind::Sms => "sms",
        ChannelKind::Api => "api",
    }
}

const fn purpose_name(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Unspecified => "?",
        Purpose::Service => "service",
        Purpose::Survey => "survey",
        Purpose::Security => "security",
        Purpose::Marketing => "marketing",
    }
}

/// What was said, as the log keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Agreed.
    Granted,
    /// Refused or withdrawn.
    Denied,
    /// Agreed, not yet confirmed.
    Pending,
}

impl Word {
    /// For its row.
    pub const fn number(self) -> i16 {
        match self {
            Word::Granted => 1,
            Word::Denied => 2,
            Word::Pending => 3,
        }
    }

    /// From its row.
    pub const fn from_number(number: i16) -> Option<Self> {
        match number {
            1 => Some(Word::Granted),
            2 => Some(Word::Denied),
            3 => Some(Word::Pending),
            _ => None,
        }
    }
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// About what.
    pub subject: Subject,
    /// What was said.
    pub word: Word,
    /// How we know.
    pub evidence: String,
    /// Who recorded it.
    pub by: String,
    /// When.
    pub at: DateTime<Utc>,
    /// Until when it counts; for what is pending, until when it can be confirmed.
    pub expires_at: Option<DateTime<Utc>>,
    /// Whose record it was before customers were merged.
    pub origin: CustomerId,
    /// Said when all who are one customer now were one already: it is about all of them.
    pub of_the_whole: bool,
    /// Evidence of the handle that it was confirmed through: it goes where the handle goes.
    pub through: Option<i64>,
}

impl Entry {
    /// Where this line stands by itself.
    pub fn state(&self, now: DateTime<Utc>) -> ConsentState {
        match (self.word, self.expires_at.is_some_and(|at| at <= now)) {
            (Word::Denied, _) => ConsentState::Denied,
            (Word::Granted | Word::Pending, true) => ConsentState::Expired,
            (Word::Granted, false) => ConsentState::Granted,
            (Word::Pending, false) => ConsentState::Pending,
        }
    }
}

/// What holds of all that was said: for each origin the last word, and of several origins the most restrictive, unless the
/// customer said something else after they became one. A refusal for all brands takes back what single brands were
/// given before it, by whichever origin; a brand that is agreed to later is agreed to.
/// A request that is pending or was never confirmed takes nothing away from what held before it.
pub fn current(log: &[Entry], now: DateTime<Utc>) -> BTreeMap<Subject, Entry> {
    /// The last decision and the last request of one origin.
    type Last<'a> = (Option<&'a Entry>, Option<&'a Entry>);
    let mut last: BTreeMap<(&Subject, CustomerId), Last<'_>> = BTreeMap::new();
    // What was refused for all brands, by each origin for the last time, even if they agreed again since: what a brand
    // was given before does not come back by that.
    let mut refused: BTreeMap<(i32, i32, CustomerId), (usize, &Entry)> = BTreeMap::new();
    let mut places: BTreeMap<(&Subject, CustomerId), usize> = BTreeMap::new();
    for (place, entry) in log.iter().enumerate() {
        let (decided, asked) = last.entry((&entry.subject, entry.origin)).or_default();
        let held = if entry.word == Word::Pending {
            asked
        } else {
            decided
        };
        if held.is_none_or(|h| h.at < entry.at) {
            *held = Some(entry);
            if entry.word != Word::Pending {
                places.insert((&entry.subject, entry.origin), place);
            }
        }
        if entry.word == Word::Denied && entry.subject.brand.is_empty() {
            let of = (entry.subject.kind, entry.subject.purpose, entry.origin);
            let held = refused.entry(of).or_insert((place, entry));
            if held.1.at < entry.at {
                *held = (place, entry);
            }
        }
    }
    let mut current: BTreeMap<Subject, Entry> = BTreeMap::new();
    for ((subject, origin), last) in last {
        // A request shows only while nothing is decided that still holds.
        let entry = match last {
            (Some(decided), Some(asked))
                if decided.state(now) == ConsentState::Expired && asked.at > decided.at =>
            {
                asked
            }
            (Some(entry), _) | (None, Some(entry)) => entry,
            (None, None) => continue,
        };
        let place = places.get(&(subject, origin)).copied().unwrap_or(usize::MAX);
        let ended = refused
            .get(&(subject.kind, subject.purpose, origin))
            .filter(|_| entry.word == Word::Granted && !subject.brand.is_empty())
            // Of what was said in one moment the log has the last word first.
            .filter(|(at, all)| all.at > entry.at || (all.at == entry.at && *at < place))
            .map(|(_, all)| of_brand(all, subject));
        let entry = ended.unwrap_or_else(|| entry.clone());
        match current.get(subject) {
            Some(held) if weight(&entry, now) <= weight(held, now) => {}
            _ => {
                current.insert(subject.clone(), entry);
            }
        }
    }
    let ended: Vec<Entry> = current
        .values()
        .filter(|entry| entry.state(now) == ConsentState::Granted && !entry.subject.brand.is_empty())
        .filter_map(|entry| {
            let all = current.get(&entry.subject.of_all_brands())?;
            (all.word == Word::Denied && all.at >= entry.at && all.origin != entry.origin)
                .then(|| of_brand(all, &entry.subject))
        })
        .collect();
    current.extend(ended.into_iter().map(|entry| (entry.subject.clone(), entry)));
    current
}

/// What was said for all brands, of one of them.
fn of_brand(entry: &Entry, subject: &Subject) -> Entry {
    Entry {
        subject: subject.clone(),
        ..entry.clone()
    }
}

/// What stands in the way of a subject or speaks for it: what is decided of it, else what all brands were refused.
pub fn held<'a>(
    current: &'a BTreeMap<Subject, Entry>,
    subject: &Subject,
    now: DateTime<Utc>,
) -> Option<&'a Entry> {
    let own = current.get(subject);
    let decided = own.filter(|e| matches!(e.state(now), ConsentState::Granted | ConsentState::Denied));
    decided
        .or_else(|| {
            let all = current.get(&subject.of_all_brands());
            all.filter(|e| e.word == Word::Denied)
        })
        .or(own)
}

/// The last refusal of each subject, whatever was said since and by whom.
pub fn refusals(log: &[Entry]) -> Vec<&Entry> {
    let mut last: BTreeMap<&Subject, &Entry> = BTreeMap::new();
    for entry in log.iter().filter(|e| e.word == Word::Denied) {
        let held = last.entry(&entry.subject).or_insert(entry);
        if held.at < entry.at {
            *held = entry;
        }
    }
    last.into_values().collect()
}

/// A decision about all that are one now comes first, as long as it holds; of equals the newest.
fn weight(entry: &Entry, now: DateTime<Utc>) -> (bool, u8, DateTime<Utc>) {
    let decided = matches!(entry.state(now), ConsentState::Granted | ConsentState::Denied);
    (entry.of_the_whole && decided, strictness(entry, now), entry.at)
}

/// Denied by one of two people who are one is denied; what nobody decided gives way to what somebody agreed to.
fn strictness(entry: &Entry, now: DateTime<Utc>) -> u8 {
    match entry.state(now) {
        ConsentState::Denied => 4,
        ConsentState::Granted => 3,
        ConsentState::Pending => 2,
        ConsentState::Expired => 1,
        ConsentState::Unspecified => 0,
    }
}

/// When the next consent runs out by itself.
pub fn next_expiry(current: &BTreeMap<Subject, Entry>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    current
        .values()
        .filter_map(|e| e.expires_at)
        .filter(|at| *at > now)
        .min()
}

/// How far a word that takes consent back reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawal {
    /// The brand that the channel speaks for; all where it speaks for none.
    Here,
    /// All brands.
    Everywhere,
}

/// What a whole message takes back, when it says no more than that it wants no more messages.
pub fn withdrawal(text: &str) -> Option<Withdrawal> {
    let word: String = text
        .trim()
        .trim_matches(|c: char| c.is_ascii_punctuation() || c.is_whitespace())
        .to_lowercase();
    match word.as_str() {
        "stop" | "unsubscribe" | "quit" | "opt out" | "optout" | "annulla" | "disiscrivi"
        | "disiscrivimi" | "cancellami" | "basta messaggi" => Some(Withdrawal::Here),
        "stopall" | "stop all" | "stop tutti" | "stop tutto" => Some(Withdrawal::Everywhere),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use chrono::Duration;
    use proptest::prelude::*;
    use trama_proto::ids::derive;

    use super::*;

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_780_308_000, 0).expect("a moment")
    }

    fn said(word: Word, minute: i64, lasts: Option<i64>, origin: u8) -> Entry {
        let at = start() + Duration::minutes(minute);
        Entry {
            subject: Subject::new(ChannelKind::Email, Purpose::Marketing, ""),
            word,
            evidence: "form".into(),
            by: "bruno".into(),
            at,
            expires_at: lasts.map(|m| at + Duration::minutes(m)),
            origin: CustomerId::new(derive(&[&[origin]])),
            of_the_whole: false,
            through: None,
        }
    }

    fn state(log: &[Entry], minute: i64) -> ConsentState {
        let now = start() + Duration::minutes(minute);
        current(log, now)
            .values()
            .next()
            .map_or(ConsentState::Unspecified, |e| e.state(now))
    }

    #[test]
    fn the_last_word_holds_until_it_expires() {
        let log = [said(Word::Granted, 0, Some(60), 0)];
        assert_eq!(state(&log, 59), ConsentState::Granted);
        assert_eq!(state(&log, 60), ConsentState::Expired);
        let log = [said(Word::Granted, 0, None, 0), said(Word::Denied, 1, None, 0)];
        assert_eq!(state(&log, 2), ConsentState::Denied);
    }

    #[test]
    fn a_request_that_nobody_confirms_changes_nothing() {
        let log = [
            said(Word::Denied, 0, None, 0),
            said(Word::Pending, 1, Some(60), 0),
        ];
        assert_eq!(state(&log, 2), ConsentState::Denied);
        let log = [said(Word::Pending, 1, Some(60), 0)];
        assert_eq!(state(&log, 2), ConsentState::Pending);
        assert_eq!(state(&log, 70), ConsentState::Expired);
        let log = [
            said(Word::Granted, 0, Some(10), 0),
            said(Word::Pending, 20, Some(60), 0),
        ];
        assert_eq!(state(&log, 21), ConsentState::Pending);
    }

    #[test]
    fn a_refusal_by_either_of_two_merged_people_holds() {
        let log = [said(Word::Denied, 0, None, 0), said(Word::Granted, 5, None, 1)];
        assert_eq!(state(&log, 6), ConsentState::Denied);
        let log = [
            said(Word::Granted, 0, None, 0),
            said(Word::Pending, 5, Some(60), 1),
        ];
        assert_eq!(state(&log, 6), ConsentState::Granted);
    }

    #[test]
    fn who_agrees_after_the_merge_agrees_for_both_until_that_ends() {
        let since = Entry {
            of_the_whole: true,
            ..said(Word::Granted, 5, Some(10), 1)
        };
        let log = [said(Word::Denied, 0, None, 0), since];
        assert_eq!(state(&log, 6), ConsentState::Granted);
        assert_eq!(state(&log, 15), ConsentState::Denied);
    }

    fn of(brand: &str, entry: Entry) -> Entry {
        Entry {
            subject: Subject::new(ChannelKind::Email, Purpose::Marketing, brand),
            ..entry
        }
    }

    fn state_of(brand: &str, log: &[Entry]) -> ConsentState {
        let now = start() + Duration::minutes(100);
        let subject = Subject::new(ChannelKind::Email, Purpose::Marketing, brand);
        current(log, now)
            .get(&subject)
            .map_or(ConsentState::Unspecified, |e| e.state(now))
    }

    #[test]
    fn a_refusal_for_all_brands_ends_what_a_brand_was_given_before_and_not_what_it_is_given_later() {
        for side in [0, 1] {
            let given = of("acme", said(Word::Granted, 10, None, side));
            let before = said(Word::Denied, 5, None, 0);
            let after = said(Word::Denied, 20, None, 0);
            assert_eq!(state_of("acme", &[given.clone(), before]), ConsentState::Granted);
            assert_eq!(
                state_of("acme", &[after.clone(), given.clone()]),
                ConsentState::Denied
            );
            assert_eq!(state_of("other", &[after, given]), ConsentState::Unspecified);
        }
        // Agreeing for all again does not give back what a single brand was given before.
        let log = [
            of("acme", said(Word::Granted, 10, None, 0)),
            said(Word::Denied, 20, None, 0),
            said(Word::Granted, 30, Some(10), 0),
        ];
        assert_eq!(state_of("acme", &log), ConsentState::Denied);
        // Of one moment the log has the last word first.
        let (all, acme) = (
            said(Word::Denied, 10, None, 0),
            of("acme", said(Word::Granted, 10, None, 0)),
        );
        assert_eq!(
            state_of("acme", &[acme.clone(), all.clone()]),
            ConsentState::Granted
        );
        assert_eq!(state_of("acme", &[all, acme]), ConsentState::Denied);
    }

    #[test]
    fn words_come_back() {
        for words in ["email/marketing", "sms/survey/acme", "webChat/service"] {
            assert_eq!(Subject::parse(words).map(|s| s.words()), Some(words.to_owned()));
        }
        assert_eq!(Subject::parse("pigeon/marketing"), None);
        assert_eq!(Subject::parse("email/security"), None);
    }

    #[test]
    fn only_a_message_that_says_nothing_else_withdraws() {
        for text in [" STOP. ", "Annulla", "disiscrivimi!"] {
            assert_eq!(withdrawal(text), Some(Withdrawal::Here));
        }
        assert_eq!(withdrawal("STOP ALL"), Some(Withdrawal::Everywhere));
        for text in ["stop sending the red ones, send blue", "annulla il mio ordine"] {
            assert_eq!(withdrawal(text), None);
        }
    }

    proptest! {
        #[test]
        fn the_order_of_the_log_does_not_matter(
            words in prop::collection::vec((0..3_u8, 0..3_u8, prop::option::of(1..100_i64)), 1..8),
            later in 0..200_i64, turn in any::<prop::sample::Index>(),
        ) {
            let log: Vec<Entry> = words
                .into_iter()
                .enumerate()
                .map(|(minute, (word, origin, lasts))| {
                    let word = [Word::Granted, Word::Denied, Word::Pending][usize::from(word)];
                    said(word, i64::try_from(minute).expect("few"), lasts, origin)
                })
                .collect();
            let mut turned = log.clone();
            turned.rotate_left(turn.index(log.len()));
            prop_assert_eq!(state(&log, later), state(&turned, later));
        }
    }
}
