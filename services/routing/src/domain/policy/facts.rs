//! What a policy may look at.

use chrono::{DateTime, Datelike as _, Timelike as _, Utc};
use trama_proto::{
    case::v1::{CaseKind, ContextSnapshot, Mood},
    common::v1::ChannelKind,
    resources::{BusinessHoursSpec, RoutingRule, Weekday, condition::Fact},
    time::from_wire,
};

use crate::domain::hours;

/// What a policy may look at: the work, its customer, and since when they wait.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    pub(super) channel: ChannelKind,
    pub(super) intent: String,
    pub(super) entitlement: String,
    /// As the snapshot has it, region included; empty when unknown.
    pub(super) language: String,
    pub(super) urgency: f64,
    pub(super) mood: Mood,
    pub(super) recovery: bool,
    pub(super) waiting_since: DateTime<Utc>,
    new_customer: bool,
    verification_level: i32,
    verified_until: Option<DateTime<Utc>>,
    persona_group: String,
    contacts: i32,
    channel_switches: i32,
    transfers: i32,
    repeats: i32,
}

/// When a condition is asked, and by whose clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment<'a> {
    pub now: DateTime<Utc>,
    pub hours: Option<&'a BusinessHoursSpec>,
    /// The entitlement that applies, the default one included.
    pub entitlement: &'a str,
}

impl Facts {
    /// Takes them from the snapshot.
    pub fn of(
        channel: ChannelKind,
        snapshot: Option<&ContextSnapshot>,
        waiting_since: DateTime<Utc>,
    ) -> Self {
        let case = snapshot.and_then(|s| s.case.as_ref());
        let customer = snapshot.and_then(|s| s.customer.as_ref());
        let understanding = case.and_then(|c| c.understanding.as_ref());
        let effort = case.and_then(|c| c.effort.as_ref());
        let verification = customer.and_then(|c| c.verification.as_ref());
        let language = understanding
            .map(|u| u.language.as_str())
            .filter(|l| !l.is_empty());
        let urgency = understanding.map_or(0.0, |u| u.urgency);
        Self {
            channel,
            intent: understanding.map(|u| u.intent.clone()).unwrap_or_default(),
            entitlement: customer.map(|c| c.entitlement.clone()).unwrap_or_default(),
            language: language
                .or(customer.map(|c| c.language.as_str()))
                .unwrap_or_default()
                .to_owned(),
            urgency: if urgency.is_finite() {
                urgency.clamp(0.0, 1.0)
            } else {
                0.0
            },
            mood: understanding.map_or(Mood::Unspecified, |u| u.mood()),
            recovery: case.is_some_and(|c| c.kind() == CaseKind::Recovery),
            waiting_since,
            new_customer: customer.is_some_and(|c| c.is_new),
            verification_level: verification.map_or(0, |v| v.level),
            verified_until: verification.and_then(|v| from_wire(v.expires_at.as_ref())),
            persona_group: customer.map(|c| c.persona_group.clone()).unwrap_or_default(),
            contacts: effort.map_or(0, |e| e.contacts),
            channel_switches: effort.map_or(0, |e| e.channel_switches),
            transfers: effort.map_or(0, |e| e.transfers),
            repeats: effort.map_or(0, |e| e.repeats),
        }
    }

    /// Whether a rule fits, or why that cannot be said.
    pub(super) fn fit(&self, rule: &RoutingRule, moment: Moment<'_>) -> Result<bool, String> {
        let among = |list: &[String], value: &str| list.is_empty() || list.iter().any(|v| v == value);
        let channels = &rule.channel_kinds;
        let lists = among(&rule.intents, &self.intent)
            && among(&rule.entitlements, moment.entitlement)
            && (channels.is_empty() || channels.iter().any(|k| ChannelKind::from(*k) == self.channel))
            && self.urgency >= rule.min_urgency
            && (!rule.recovery_only || self.recovery);
        match &rule.when {
            Some(when) if lists => when.holds(|word| self.fact(word, moment)),
            Some(_) | None => Ok(lists),
        }
    }

    /// The value of a word; `None` for words that are not about the work.
    pub(super) fn fact(&self, word: &str, moment: Moment<'_>) -> Option<Fact> {
        let local = moment
            .now
            .with_timezone(&moment.hours.map_or(chrono_tz::UTC, |h| h.time_zone.0));
        let whole = |number: i32| Fact::Whole(i64::from(number));
        let verified = self.verified_until.is_none_or(|until| moment.now < until);
        Some(match word {
            "channel" => Fact::Text(channel_name(self.channel).to_owned()),
            "intent" => Fact::Text(self.intent.clone()),
            "entitlement" => Fact::Text(moment.entitlement.to_owned()),
            "language" => Fact::Text(primary(&self.language)),
            "mood" => Fact::Text(mood_name(self.mood).to_owned()),
            "urgency" => Fact::Decimal(self.urgency),
            "caseKind" => Fact::Text(if self.recovery { "recovery" } else { "need" }.to_owned()),
            "newCustomer" => Fact::Truth(self.new_customer),
            "verificationLevel" => whole(if verified { self.verification_level } else { 0 }),
            "personaGroup" => Fact::Text(self.persona_group.clone()),
            "waitedSeconds" => Fact::Whole((moment.now - self.waiting_since).num_seconds().max(0)),
            "contacts" => whole(self.contacts),
            "channelSwitches" => whole(self.channel_switches),
            "transfers" => whole(self.transfers),
            "repeats" => whole(self.repeats),
            "hour" => Fact::Whole(i64::from(local.hour())),
            "weekday" => Fact::Text(Weekday::from(local.weekday()).name().to_owned()),
            "open" => Fact::Truth(moment.hours.is_none_or(|h| hours::is_open(h, moment.now))),
            _ => return None,
        })
    }
}

/// `it-IT` → `it`
fn primary(language: &str) -> String {
    language
        .split(['-', '_'])
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase()
}

const fn channel_name(channel: ChannelKind) -> &'static str {
    match channel {
        ChannelKind::Email => "email",
        ChannelKind::Whatsapp => "whatsapp",
        ChannelKind::Voice => "voice",
        ChannelKind::WebChat => "webChat",
        ChannelKind::Sms => "sms",
        ChannelKind::Api => "api",
        ChannelKind::Internal => "internal",
        ChannelKind::Unspecified => "",
    }
}

const fn mood_name(mood: Mood) -> &'static str {
    match mood {
        Mood::Unspecified => "unknown",
        Mood::Neutral => "neutral",
        Mood::Positive => "positive",
        Mood::Negative => "negative",
    }
}

#[cfg(test)]
mod tests {
    use trama_proto::resources::{
        CASE_KINDS, CHANNELS, MOODS, WorkWords,
        condition::{Vocabulary as _, WordType},
    };

    use super::*;

    #[test]
    fn every_word_has_a_value_of_its_type() {
        let now = DateTime::from_timestamp(1_780_000_000, 0).unwrap();
        let facts = Facts::of(ChannelKind::Voice, None, now);
        let moment = Moment {
            now,
            hours: None,
            entitlement: "",
        };
        for word in WorkWords::WORDS {
            let found = facts.fact(word.name, moment);
            let fits = match (word.is, &found) {
                (WordType::Truth, Some(Fact::Truth(_)))
                | (WordType::Whole, Some(Fact::Whole(_)))
                | (WordType::Decimal, Some(Fact::Decimal(_)))
                | (WordType::Text, Some(Fact::Text(_))) => true,
                (WordType::OneOf(values), Some(Fact::Text(text))) => values.contains(&text.as_str()),
                _ => false,
            };
            assert!(fits, "{}: {found:?}", word.name);
        }
        assert_eq!(facts.fact("length", moment), None);
    }

    #[test]
    fn names_are_those_that_conditions_may_compare_with() {
        for number in 1..=7 {
            let channel = ChannelKind::try_from(number).unwrap();
            assert!(CHANNELS.contains(&channel_name(channel)));
        }
        for number in 0..=3 {
            assert!(MOODS.contains(&mood_name(Mood::try_from(number).unwrap())));
        }
        assert_eq!(CASE_KINDS, ["need", "recovery"]);
    }
}
