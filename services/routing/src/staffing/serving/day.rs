//! Drawing a day: who comes when, and who is there.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use trama_proto::resources::Kind;

use super::{Ability, Group, PARALLEL_SPEEDS, Person, Serving, Stretch, answer_within, is_deferred};
use crate::{
    matcher::ChannelRule,
    simulation::trace::{AgentRow, ItemRow, Outcome, Presence, PresenceRow, Trace, WorldRules},
    staffing::demand::{Service, Stream},
};

/// Standard deviation of handling times as a share of their mean.
const HANDLE_SPREAD: f64 = 0.8;
const ANSWERED_AFTER_SECONDS: f64 = 3.0;
/// Languages are part of what a stream asks for; the simulation needs a word all the same.
const ANY: &str = "any";

/// The clock of a played day: open time only.
pub(super) struct Clock {
    seconds: f64,
    /// Intervals that are open, in order, with their start.
    open: Vec<(usize, DateTime<Utc>)>,
}

impl Clock {
    pub(super) fn of(group: &Group) -> Self {
        Self {
            seconds: group.step.seconds(),
            open: (0..group.starts.len())
                .filter(|at| group.open[*at])
                .map(|at| (at, group.starts[at]))
                .collect(),
        }
    }

    /// When the day ends.
    pub(super) fn end(&self) -> f64 {
        self.open.len() as f64 * self.seconds
    }

    /// The interval of the group that shows on this clock.
    pub(super) fn interval(&self, at: f64) -> Option<usize> {
        let place = (at / self.seconds) as usize;
        self.open.get(place).map(|(interval, _)| *interval)
    }

    /// Parts of this stretch in each interval, in seconds.
    pub(super) fn parts(&self, from: f64, to: f64) -> impl Iterator<Item = (usize, f64)> {
        let first = (from / self.seconds) as usize;
        (first..self.open.len())
            .map(move |place| {
                let start = place as f64 * self.seconds;
                (place, to.min(start + self.seconds) - from.max(start))
            })
            .take_while(|(_, seconds)| *seconds > 0.0)
            .map(|(place, seconds)| (self.open[place].0, seconds))
    }

    /// What of these times is open.
    pub(super) fn stretches(&self, times: &[(DateTime<Utc>, DateTime<Utc>)]) -> Vec<Stretch> {
        let mut all: Vec<Stretch> = Vec::new();
        for (place, (_, start)) in self.open.iter().enumerate() {
            for (from, to) in times {
                let seconds = |at: &DateTime<Utc>| (*at - start).as_seconds_f64().clamp(0.0, self.seconds);
                let (from, to) = (seconds(from), seconds(to));
                if from < to {
                    let begin = place as f64 * self.seconds;
                    all.push((begin + from, begin + to));
                }
            }
        }
        joined(all)
    }

    /// The open intervals of which this holds.
    pub(super) fn stretches_where(&self, holds: impl Fn(usize) -> bool) -> Vec<Stretch> {
        let places = self
            .open
            .iter()
            .enumerate()
            .filter(|(_, (interval, _))| holds(*interval));
        joined(
            places
                .map(|(place, _)| (place as f64 * self.seconds, (place + 1) as f64 * self.seconds))
                .collect(),
        )
    }
}

/// Stretches that touch or overlap become one.
fn joined(mut stretches: Vec<Stretch>) -> Vec<Stretch> {
    stretches.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut all: Vec<Stretch> = Vec::new();
    for (from, to) in stretches {
        match all.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            Some(_) | None => all.push((from, to)),
        }
    }
    all
}

/// The name of a stream in the simulation.
fn named(stream: usize) -> String {
    format!("s{stream}")
}

/// The name of a kind of channel in the simulation, which knows calls and chats by theirs.
fn channel(kind: Kind) -> &'static str {
    match kind {
        Kind::Voice => "voice",
        Kind::WebChat => "chat",
        Kind::Email | Kind::Whatsapp | Kind::Sms | Kind::Api => kind.name(),
    }
}

impl Serving {
    pub(super) fn day(
        &self,
        group: &Group,
        clock: &Clock,
        people: &[(&Person, Vec<Stretch>)],
        seed: u64,
    ) -> Trace {
        let mut items: Vec<ItemRow> = group
            .streams
            .iter()
            .enumerate()
            .flat_map(|(number, stream)| customers(number, stream, clock, seed))
            .collect();
        items.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
        for (number, item) in items.iter_mut().enumerate() {
            item.id = number.to_string();
            item.customer.clone_from(&item.id);
        }
        let channels: Vec<&str> = Kind::ALL.map(channel).to_vec();
        let agents = people
            .iter()
            .enumerate()
            .map(|(number, (person, there))| AgentRow {
                id: format!("a{number}"),
                team: ANY.to_owned(),
                site: ANY.to_owned(),
                langs: vec![ANY.to_owned()],
                channels: channels.iter().map(|name| (*name).to_owned()).collect(),
                skills: skills(person),
                start_s: there.first().map_or(0.0, |stretch| stretch.0),
                end_s: there.last().map_or(0.0, |stretch| stretch.1),
            });
        let presence = people.iter().enumerate().flat_map(|(agent, (_, there))| {
            there.iter().flat_map(move |(from, to)| {
                [(*from, Presence::Available), (*to, Presence::Away)].map(|(at_s, state)| PresenceRow {
                    at_s,
                    agent,
                    state,
                })
            })
        });
        Trace {
            rules: self.rules(group, clock),
            agents: agents.collect(),
            presence: presence.collect(),
            items,
        }
    }

    fn rule(&self, kind: Kind) -> Option<&ChannelRule> {
        self.policy.channels.iter().find(|rule| rule.name == kind.name())
    }

    fn rules(&self, group: &Group, clock: &Clock) -> WorldRules {
        let each = |value: &dyn Fn(&ChannelRule) -> i64| {
            Kind::ALL
                .into_iter()
                .map(|kind| (channel(kind).to_owned(), self.rule(kind).map_or(1, value)))
                .collect::<BTreeMap<_, _>>()
        };
        let capacity = i64::from(self.capacity_units.max(1));
        let by_channel = |seconds: f64| Kind::ALL.map(|kind| (channel(kind).to_owned(), seconds)).into();
        let by_stream = |value: &dyn Fn(&Stream) -> f64| {
            let streams = group.streams.iter().enumerate();
            streams
                .map(|(number, stream)| (named(number), value(stream)))
                .collect()
        };
        let paused: Vec<Kind> = Kind::ALL
            .into_iter()
            .filter(|kind| {
                self.rule(Kind::Voice)
                    .is_some_and(|voice| voice.pauses.iter().any(|p| p == kind.name()))
            })
            .collect();
        WorldRules {
            day_s: clock.end(),
            end_s: clock.end(),
            capacity_units: capacity,
            units: each(&|rule| {
                if rule.whole {
                    capacity
                } else {
                    i64::from(rule.units).min(capacity)
                }
            }),
            max_per_channel: each(&|rule| i64::from(rule.max_at_once)),
            interruptible: paused.into_iter().map(|kind| channel(kind).to_owned()).collect(),
            rate: PARALLEL_SPEEDS.to_vec(),
            // What a level costs or saves nobody has measured here.
            level_factor: (1..=3).map(|level| (level, 1.0)).collect(),
            preferred_factor: 1.0,
            target_s: by_channel(1.0),
            entitlement_factor: by_stream(&|stream| answer_within(&stream.service)),
            goal_sl: by_stream(&|stream| match &stream.service {
                Service::Live { target, .. } | Service::Concurrent { target, .. } => target.share(),
                Service::Deferred { .. } => 1.0,
            }),
            offer_timeout_s: by_channel(30.0),
            not_responding_s: 60.0,
            short_abandon_s: 0.0,
            transfer_p: 0.0,
            transfer_at: 0.5,
            transfer_rest: 0.5,
            reintro_s: 0.0,
        }
    }
}

fn skills(person: &Person) -> BTreeMap<String, u8> {
    let level = |ability: &Ability| match ability {
        Ability::None => None,
        Ability::Later => Some(1),
        Ability::AtOnce => Some(2),
    };
    let abilities = person.abilities.iter().enumerate();
    abilities
        .filter_map(|(stream, ability)| Some((named(stream), level(ability)?)))
        .collect()
}

/// The customers of one stream. Their number and order hang on the volume alone, what they bring on their place in that
/// order: with more of them, the first ones are the same.
fn customers(number: usize, stream: &Stream, clock: &Clock, seed: u64) -> Vec<ItemRow> {
    let mut coming = Draws::of(seed, number, 0);
    let mut brings = Draws::of(seed, number, 1);
    let patience = match &stream.service {
        Service::Live { patience_seconds, .. } | Service::Concurrent { patience_seconds, .. } => {
            *patience_seconds
        }
        Service::Deferred { .. } => None,
    };
    let mut items = Vec::new();
    let mut next = coming.exponential();
    let mut expected = 0.0;
    let mut before = None;
    for (place, (interval, _)) in clock.open.iter().enumerate() {
        let start = place as f64 * clock.seconds;
        // Written work that came in since the last open interval waits at the opening.
        let waiting: f64 = if is_deferred(&stream.service) {
            stream.contacts[before.map_or(0, |b: usize| b + 1)..*interval]
                .iter()
                .sum()
        } else {
            0.0
        };
        before = Some(*interval);
        for (contacts, spread) in [(waiting, 0.0), (stream.contacts[*interval], clock.seconds)] {
            while next < expected + contacts {
                let into = (next - expected) / contacts;
                items.push(ItemRow {
                    id: String::new(),
                    at_s: start + into * spread,
                    channel: channel(stream.series.channel).to_owned(),
                    intent: named(number),
                    lang: ANY.to_owned(),
                    entitlement: named(number),
                    min_level: 2,
                    customer: String::new(),
                    preferred: None,
                    carried_wait_s: 0.0,
                    service_s: brings.log_normal(stream.handle_seconds),
                    wrap_s: 0.0,
                    patience_s: patience.map(|mean| mean * brings.exponential()),
                    switch: None,
                    outcomes: vec![Outcome::Accepted(ANSWERED_AFTER_SECONDS)],
                    transfer_draw: 1.0,
                });
                next += coming.exponential();
            }
            expected += contacts;
        }
    }
    items
}

/// Numbers that look random and are the same each time: SplitMix64 (Steele, Lea & Flood 2014).
struct Draws(u64);

impl Draws {
    fn of(seed: u64, stream: usize, purpose: u64) -> Self {
        let mut draws = Self(seed);
        for part in [stream as u64, purpose] {
            draws.0 = draws.next() ^ part;
        }
        draws
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Above zero, at most one.
    fn share(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 1.0) / (1_u64 << 53) as f64
    }

    /// With mean one.
    fn exponential(&mut self) -> f64 {
        -self.share().ln()
    }

    fn log_normal(&mut self, mean: f64) -> f64 {
        let variance = (1.0 + HANDLE_SPREAD * HANDLE_SPREAD).ln();
        let angle = self.share() * std::f64::consts::TAU;
        let normal = (2.0 * self.exponential()).sqrt() * angle.cos();
        mean * (variance.sqrt() * normal - variance / 2.0).exp()
    }
}
