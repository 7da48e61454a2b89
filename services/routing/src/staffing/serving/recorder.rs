//! Listens to what the engine is told, and counts.

use std::collections::{BTreeMap, HashMap};

use super::{Clock, Group, Measured, Outcome, Played, Totals, answer_within, is_deferred};
use crate::simulation::{
    Router,
    engine::BenchEngine,
    protocol::{Answer, Event},
    trace::Trace,
};

/// One interval of one stream, over all days.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    counted: f64,
    in_time: f64,
    left: f64,
    answered: f64,
    waits: f64,
}

/// What a stream promises, and by which of its moments it is counted.
#[derive(Debug, Clone, Copy)]
struct Promise {
    within: f64,
    when_due: bool,
}

/// Counts over days.
#[derive(Debug)]
pub(super) struct Recorder {
    promises: Vec<Promise>,
    cells: Vec<Vec<Cell>>,
    /// Seconds there and with work, by interval.
    there: Vec<f64>,
    busy: Vec<f64>,
    came: f64,
    unfinished: f64,
}

impl Recorder {
    pub(super) fn new(group: &Group) -> Self {
        let intervals = group.starts.len();
        Self {
            promises: group
                .streams
                .iter()
                .map(|stream| Promise {
                    within: answer_within(&stream.service),
                    when_due: is_deferred(&stream.service),
                })
                .collect(),
            cells: vec![vec![Cell::default(); intervals]; group.streams.len()],
            there: vec![0.0; intervals],
            busy: vec![0.0; intervals],
            came: 0.0,
            unfinished: 0.0,
        }
    }

    /// Begins to listen to a day.
    pub(super) fn day<'a>(self, trace: &'a Trace, engine: &'a mut BenchEngine) -> Day<'a> {
        let contacts = trace.items.iter().map(|item| Contact {
            stream: item.intent.trim_start_matches('s').parse().unwrap_or(usize::MAX),
            came: item.at_s,
            answered: None,
            left: false,
            done: false,
        });
        Day {
            recorder: self,
            contacts: contacts.collect(),
            hands: BTreeMap::new(),
            busy: Vec::new(),
            trace,
            engine,
        }
    }

    fn count(&mut self, contact: &Contact, clock: &Clock) {
        self.came += 1.0;
        if !contact.done && !contact.left {
            self.unfinished += 1.0;
        }
        let Some(promise) = self.promises.get(contact.stream) else {
            return;
        };
        let at = if promise.when_due {
            contact.came + promise.within
        } else {
            contact.came
        };
        // Work that is due after the end has missed nothing yet.
        let Some(interval) = clock.interval(at) else {
            return;
        };
        let cell = &mut self.cells[contact.stream][interval];
        cell.counted += 1.0;
        if contact.left {
            cell.left += 1.0;
        }
        if let Some(answered) = contact.answered {
            let waited = answered - contact.came;
            cell.answered += 1.0;
            cell.waits += waited;
            cell.in_time += f64::from(u8::from(waited <= promise.within));
        }
    }

    /// All days together.
    pub(super) fn played(self, agents: usize, runs: u32) -> Played {
        let days = f64::from(runs);
        let sum = |of: &dyn Fn(&Cell) -> f64| self.cells.iter().flatten().map(of).sum::<f64>();
        let (counted, answered) = (sum(&|cell| cell.counted), sum(&|cell| cell.answered));
        let share = |part: f64, of: f64, without: f64| if of > 0.0 { part / of } else { without };
        let (busy, there) = (self.busy.iter().sum::<f64>(), self.there.iter().sum::<f64>());
        let totals = Totals {
            agents,
            contacts: self.came / days,
            service_level: share(sum(&|cell| cell.in_time), counted, 1.0),
            abandonment: share(sum(&|cell| cell.left), counted, 0.0),
            answer_seconds: share(sum(&|cell| cell.waits), answered, 0.0),
            occupancy: share(busy, there, 0.0).min(1.0),
            unfinished: self.unfinished / days,
        };
        let measured = |cell: &Cell| {
            if cell.counted > 0.0 {
                Measured {
                    contacts: cell.counted / days,
                    service_level: cell.in_time / cell.counted,
                    abandonment: cell.left / cell.counted,
                    answer_seconds: (cell.answered > 0.0).then(|| cell.waits / cell.answered),
                }
            } else {
                Measured::default()
            }
        };
        let occupancy = self
            .busy
            .iter()
            .zip(&self.there)
            .map(|(busy, there)| share(*busy, *there, 0.0).min(1.0));
        Played {
            outcome: Outcome {
                streams: self
                    .cells
                    .iter()
                    .map(|cells| cells.iter().map(measured).collect())
                    .collect(),
                occupancy: occupancy.collect(),
            },
            totals,
            runs,
        }
    }
}

/// One customer of the day.
#[derive(Debug)]
struct Contact {
    stream: usize,
    came: f64,
    answered: Option<f64>,
    left: bool,
    done: bool,
}

/// What an agent has in hand, and since when anything.
#[derive(Debug, Clone, Copy, Default)]
struct Hand {
    items: u32,
    since: f64,
}

/// A day that is listened to.
pub(super) struct Day<'a> {
    recorder: Recorder,
    contacts: Vec<Contact>,
    /// In the order of names: sums of doubles hang on their order.
    hands: BTreeMap<String, Hand>,
    busy: Vec<(f64, f64)>,
    trace: &'a Trace,
    engine: &'a mut BenchEngine,
}

impl Day<'_> {
    fn contact(&mut self, id: &str) -> Option<&mut Contact> {
        let place: usize = id.parse().ok()?;
        self.contacts.get_mut(place)
    }

    fn hear(&mut self, event: &Event) {
        match event {
            Event::Accepted { t, item, agent } => {
                if let Some(contact) = self.contact(item) {
                    contact.answered.get_or_insert(*t);
                }
                let hand = self.hands.entry(agent.clone()).or_default();
                if hand.items == 0 {
                    hand.since = *t;
                }
                hand.items += 1;
            }
            Event::Free { t, agent, .. } => {
                if let Some(hand) = self.hands.get_mut(agent) {
                    hand.items = hand.items.saturating_sub(1);
                    if hand.items == 0 {
                        self.busy.push((hand.since, *t));
                    }
                }
            }
            Event::Done { item, .. } => {
                if let Some(contact) = self.contact(item) {
                    contact.done = true;
                }
            }
            Event::Abandon { item, .. } => {
                if let Some(contact) = self.contact(item) {
                    contact.left = true;
                }
            }
            Event::Init { .. }
            | Event::Arrive { .. }
            | Event::Switch { .. }
            | Event::Agent { .. }
            | Event::Declined { .. }
            | Event::Timeout { .. }
            | Event::Requeue { .. }
            | Event::Invalid { .. }
            | Event::Decide { .. }
            | Event::End { .. } => {}
        }
    }

    /// Adds the day to the counts.
    pub(super) fn end(mut self, clock: &Clock) -> Recorder {
        let mut recorder = self.recorder;
        for contact in &self.contacts {
            recorder.count(contact, clock);
        }
        let still = self.hands.values().filter(|hand| hand.items > 0);
        self.busy.extend(still.map(|hand| (hand.since, clock.end())));
        for (from, to) in self.busy {
            for (interval, seconds) in clock.parts(from, to) {
                recorder.busy[interval] += seconds;
            }
        }
        // Each agent's rows come in pairs: there, and gone.
        let mut since: HashMap<usize, f64> = HashMap::new();
        for row in &self.trace.presence {
            match since.remove(&row.agent) {
                None => {
                    since.insert(row.agent, row.at_s);
                }
                Some(from) => {
                    for (interval, seconds) in clock.parts(from, row.at_s) {
                        recorder.there[interval] += seconds;
                    }
                }
            }
        }
        recorder
    }
}

impl Router for Day<'_> {
    fn event(&mut self, event: &Event) -> Result<(), String> {
        self.hear(event);
        self.engine.event(event)
    }

    fn decide(&mut self, at: f64) -> Answer {
        self.engine.decide(at)
    }
}
