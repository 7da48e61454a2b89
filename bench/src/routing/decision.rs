//! How long one decision takes with ten thousand agents and a hundred thousand items waiting, beside a bare heap of
//! as many items in the same run: nothing that orders items can be faster than that.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::Arc,
    time::{Duration, Instant},
};

use comfy_table::{Cell, CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use trama_routing::matcher::{
    AgentKey, AgentSpec, AskedFirst, Cell as Goal, Channel, Engine, ItemKey, ItemSpec, Millis, Policy,
    Presence, Requirement, Step,
};

const AGENTS: u32 = 10_000;
const PROFILES: u64 = 600;
const WAITING: usize = 100_000;
const INTENTS: u64 = 40;
const SKILLS: u64 = 50;
const LANGUAGES: u64 = 8;
const PAIRS_OF_EVENTS: usize = 200_000;
const RUNS: usize = 3;
/// Between two events.
const APART_MS: Millis = 10;
const TARGETS_MS: [Millis; 6] = [30_000, 60_000, 180_000, 1_200_000, 7_200_000, 14_400_000];
const STRETCH: [f64; 3] = [2.0 / 3.0, 1.0, 2.0];

/// Draws that are the same in every run.
struct Draws(u64);

impl Draws {
    /// Splitmix64.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// A busy floor and what it takes to keep it going.
struct Floor {
    engine: Engine,
    draws: Draws,
    now: Millis,
    items: u64,
    in_hand: Vec<(ItemKey, AgentKey)>,
    goals: Vec<Goal>,
}

/// What one run of the floor took.
struct Run {
    /// By event: what an agent who gets capacity cost.
    freed: Vec<Duration>,
    /// By event: what an item that arrives cost.
    arrived: Vec<Duration>,
    offers: usize,
    waiting: usize,
    memory_kib: Option<u64>,
}

/// Measures and says so.
///
/// The floor is run several times. Each run decides the same to the letter, so what one event cost more than in its
/// fastest run is the machine's doing (other processes, interrupts), not the decision's; both are shown.
pub fn measure(policy: &Policy) -> String {
    let runs: Vec<Run> = (0..RUNS).map(|_| Run::of(policy)).collect();
    let first = &runs[0];
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header([
        "one decision",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "max us",
    ]);
    let freed: Vec<&[Duration]> = runs.iter().map(|run| run.freed.as_slice()).collect();
    let arrived: Vec<&[Duration]> = runs.iter().map(|run| run.arrived.as_slice()).collect();
    for (name, mut times) in [
        ("agent gets capacity", freed.concat()),
        ("  each in its fastest run", fastest(&freed)),
        ("item arrives", arrived.concat()),
        ("  each in its fastest run", fastest(&arrived)),
        ("bare heap: pop and push", bare_heap()),
    ] {
        times.sort_unstable();
        let at = |share: f64| {
            let rank = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len());
            format!("{:.2}", times[rank - 1].as_secs_f64() * 1e6)
        };
        let figures = [at(0.5), at(0.99), at(0.999), at(1.0)];
        let right = |text| Cell::new(text).set_alignment(CellAlignment::Right);
        table.add_row(std::iter::once(Cell::new(name)).chain(figures.into_iter().map(right)));
    }
    format!(
        "\n{table}\n{AGENTS} agents of {PROFILES} profiles, {} items waiting in up to {} classes, {RUNS} equal runs of {} \
         events with their decision, {} offers each; in memory, without the write. {}",
        first.waiting,
        TARGETS_MS.len() as u64 * INTENTS * LANGUAGES * 3 * 3,
        2 * PAIRS_OF_EVENTS,
        first.offers,
        first.memory_kib.map_or_else(String::new, |kib| format!(
            "Memory of the process: {} MiB.",
            kib / 1024
        )),
    )
}

/// By event, the shortest time of all runs.
fn fastest(runs: &[&[Duration]]) -> Vec<Duration> {
    (0..PAIRS_OF_EVENTS)
        .filter_map(|event| runs.iter().map(|run| run[event]).min())
        .collect()
}

impl Run {
    fn of(policy: &Policy) -> Self {
        let mut floor = Floor::new(policy);
        let mut run = Self {
            freed: Vec::with_capacity(PAIRS_OF_EVENTS),
            arrived: Vec::with_capacity(PAIRS_OF_EVENTS),
            offers: 0,
            waiting: 0,
            memory_kib: None,
        };
        for _ in 0..PAIRS_OF_EVENTS {
            let (took, made) = floor.free_one();
            run.freed.push(took);
            run.offers += made;
            let (took, made) = floor.one_arrives();
            run.arrived.push(took);
            run.offers += made;
        }
        run.waiting = floor.engine.waiting_count();
        run.memory_kib = memory();
        run
    }
}

impl Floor {
    fn new(policy: &Policy) -> Self {
        let mut engine = Engine::new(Policy {
            offers: no_limit(policy),
            ..policy.clone()
        });
        let mut goals = Vec::new();
        for channel in 0..TARGETS_MS.len() {
            for stretch in 0..STRETCH.len() {
                let goal = engine.vocabulary_mut().cell(&format!("{channel}/{stretch}"));
                engine.set_goal(goal, 0.8);
                goals.push(goal);
            }
        }
        let mut floor = Self {
            engine,
            draws: Draws(20_260_917),
            now: 100_000_000,
            items: 0,
            in_hand: Vec::new(),
            goals,
        };
        floor.staff();
        // Until all hands are full and as many wait.
        while floor.engine.waiting_count() < WAITING {
            for _ in 0..1_000 {
                floor.arrive();
            }
            floor.decide();
        }
        floor
    }

    fn staff(&mut self) {
        let profiles: Vec<AgentSpec> = (0..PROFILES).map(|_| self.profile()).collect();
        for agent in 0..AGENTS {
            let profile = &profiles[self.draws.below(PROFILES) as usize];
            let key = AgentKey(agent);
            self.engine.upsert_agent(
                AgentSpec {
                    key,
                    ..profile.clone()
                },
                self.now,
            );
            self.engine.presence(key, Presence::Available, self.now);
        }
    }

    fn profile(&mut self) -> AgentSpec {
        let skills = (0..3 + self.draws.below(8))
            .map(|_| {
                let name = format!("skill {}", self.draws.below(SKILLS));
                (
                    self.engine.vocabulary_mut().skill(&name),
                    1 + self.draws.below(3) as u8,
                )
            })
            .collect();
        let languages = (0..1 + self.draws.below(2))
            .map(|_| {
                let name = format!("language {}", self.draws.below(LANGUAGES));
                self.engine.vocabulary_mut().language(&name)
            })
            .collect();
        let mut channels: Vec<Channel> = (0..TARGETS_MS.len() as u8)
            .filter(|_| self.draws.below(3) > 0)
            .map(Channel)
            .collect();
        if channels.is_empty() {
            channels.push(Channel(0));
        }
        AgentSpec {
            key: AgentKey(0),
            skills,
            languages,
            channels,
            teams: Vec::new(),
            units: 6,
            bot: false,
            caps: Vec::new(),
        }
    }

    /// An item comes, waiting already for some share of its target.
    fn arrive(&mut self) {
        let channel = self.draws.below(TARGETS_MS.len() as u64) as usize;
        let entitlement = self.draws.below(STRETCH.len() as u64) as usize;
        let intent = format!("skill {}", self.draws.below(INTENTS));
        let language = format!("language {}", self.draws.below(LANGUAGES));
        let words = self.engine.vocabulary_mut();
        let (intent, language) = (words.skill(&intent), words.language(&language));
        let level = 1 + self.draws.below(3) as u8;
        let target_ms = (TARGETS_MS[channel] as f64 * STRETCH[entitlement]) as Millis;
        let clock_start = self.now - self.draws.below(target_ms as u64) as Millis;
        self.items += 1;
        let requirement = Requirement {
            skills: vec![(intent, level)],
            language: Some(language),
            teams: None,
        };
        self.engine.enqueue(
            ItemSpec {
                key: ItemKey(u128::from(self.items)),
                channel: Channel(channel as u8),
                steps: Arc::from([Step {
                    after_ms: 0,
                    requirement,
                }]),
                clock_start,
                queued_at: self.now,
                target_ms,
                due_at: clock_start + target_ms,
                carried_ms: 0,
                cell: self.goals[channel * STRETCH.len() + entitlement],
                preferred: None,
                preferred_until: None,
                pinned: None,
                pinned_until: None,
                asked_first: AskedFirst::Anybody,
                excluded: Vec::new(),
                human_only: false,
                pausable: true,
                units: None,
                order: self.items,
            },
            self.now,
        );
    }

    /// Decides; everything is accepted at once.
    fn decide(&mut self) -> usize {
        let offers = self.engine.decide(self.now).offers;
        self.accept(&offers);
        offers.len()
    }

    fn accept(&mut self, offers: &[trama_routing::matcher::Proposal]) {
        for offer in offers {
            self.engine.accepted(offer.item, offer.agent, self.now);
            self.in_hand.push((offer.item, offer.agent));
        }
    }

    fn free_one(&mut self) -> (Duration, usize) {
        self.now += APART_MS;
        let place = self.draws.below(self.in_hand.len() as u64) as usize;
        let (item, agent) = self.in_hand.swap_remove(place);
        let start = Instant::now();
        self.engine.freed(item, agent, self.now);
        let offers = self.engine.decide(self.now).offers;
        let took = start.elapsed();
        self.accept(&offers);
        (took, offers.len())
    }

    fn one_arrives(&mut self) -> (Duration, usize) {
        self.now += APART_MS;
        let start = Instant::now();
        self.arrive();
        let offers = self.engine.decide(self.now).offers;
        let took = start.elapsed();
        self.accept(&offers);
        (took, offers.len())
    }
}

/// Agents take as much as they have room for.
fn no_limit(policy: &Policy) -> trama_routing::matcher::Offers {
    let mut offers = policy.offers.clone();
    offers.pending_per_person = None;
    offers
}

fn bare_heap() -> Vec<Duration> {
    let mut draws = Draws(7);
    let mut heap: BinaryHeap<Reverse<(u64, u64)>> = (0..WAITING as u64)
        .map(|item| Reverse((draws.below(1 << 40), item)))
        .collect();
    let mut times = Vec::with_capacity(PAIRS_OF_EVENTS);
    for _ in 0..PAIRS_OF_EVENTS {
        let later = draws.below(1 << 40);
        let start = Instant::now();
        let next = heap.pop();
        if let Some(Reverse((due, item))) = next {
            heap.push(Reverse((due + later, item)));
        }
        times.push(start.elapsed());
    }
    std::hint::black_box(heap.len());
    times
}

/// What the process holds, where the system says so.
fn memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}
