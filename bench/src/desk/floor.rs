//! A whole floor: ten thousand desks open, a hundred thousand requests waiting, fifty skills.
//!
//! Everybody has three chats in hand, and whatever they know about has a queue. A few more agents know the one topic
//! that nobody waits for: how soon do they see what comes? And how many cycles does the floor do, when desks complete
//! what they have?

use std::{
    collections::HashSet,
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use trama_proto::routing::v1::Presence;
use trama_testkit::TestApp;

use super::{
    MANY_CHATS, THREE_CHATS, begin, conclude, next, pace, publish,
    seats::{self, Counts, Desks, Person},
    trickle,
};
use crate::{
    Arguments,
    app::{self, RESOURCES},
    machine::{Cpu, Machine, resident_bytes},
    report::{Latencies, Report},
    servers::Servers,
};

/// Skills, one for each topic.
const TOPICS: usize = 50;
/// Topics of which each agent knows something.
const KNOWN: usize = 3;
/// Who know the last topic, and have room.
const EXPRESS: usize = 64;
/// Chats in everybody's hands.
const CHATS: u64 = 3;
/// Desks that complete and are offered the next, at a time.
const BUSY: usize = 256;
/// Longest wait for anything here.
const PATIENCE: Duration = Duration::from_secs(300);

fn topic(number: usize) -> String {
    format!("topic-{number}")
}

/// Skills by topic: a rule of the default policy for each.
fn resources() -> String {
    let mut rules = String::new();
    let mut intents = String::new();
    for name in (0..TOPICS).map(topic) {
        let _ = writeln!(
            rules,
            "    - {{ name: {name}, intents: [{name}], queue: care, skills: {{ {name}: 1 }} }}"
        );
        let _ = writeln!(
            intents,
            "---\napiVersion: trama.dev/v1alpha1\nkind: Intent\nmetadata: {{ name: {name}, namespace: bench }}\n\
             spec: {{ title: {{ en: {name} }}, examples: {{ en: [about {name}] }} }}"
        );
    }
    RESOURCES.replace("  rules:\n", &format!("  rules:\n{rules}")) + &intents
}

/// Everybody: each knows some topics; the last ones know the express topic and have room for whatever comes.
fn people(agents: usize) -> Vec<Person> {
    let common = TOPICS - 1;
    let knows = |n: usize| [n, n * 7 + 3, n * 13 + 11].map(|n| topic(n % common));
    let mut people: Vec<Person> = (0..agents)
        .map(|n| Person {
            units: THREE_CHATS,
            skills: knows(n).into_iter().take(KNOWN).collect(),
        })
        .collect();
    people.resize(
        agents + EXPRESS,
        Person {
            units: MANY_CHATS,
            skills: vec![topic(common)],
        },
    );
    people
}

/// The bench `floor`.
pub async fn run(arguments: &Arguments, servers: &Servers, machine: &Machine) -> anyhow::Result<Report> {
    let mut report = begin("floor", arguments, servers, machine).await?;
    let app = app::start_with(&[trama_routing::service()], arguments.partitions(), &resources()).await;
    let result = ours(&app, arguments).await;
    app.stop().await;
    let mut ours = result?;
    conclude(&mut report, ours.rate, &mut ours.seen);
    report
        .also
        .insert("offers and acceptances per second".into(), ours.accepts);
    report.also.insert(
        "resident memory with all desks' clients, MiB".into(),
        ours.resident,
    );
    report.note = format!(
        "{} desks open, {} requests waiting, {TOPICS} skills. {} cycles, {BUSY} at a time.\n\
         p50 and p99: from the request for work on the bus to the offer on a free agent's desk, at {} a second.\n\
         Cycles: {}.\n\
         Offers and acceptances: {}.",
        arguments.agents + EXPRESS,
        arguments.waiting,
        ours.cycles,
        pace(arguments),
        ours.cpu,
        ours.accept_cpu,
    );
    Ok(report)
}

struct Ours {
    rate: f64,
    accepts: f64,
    cycles: u64,
    seen: Latencies,
    resident: f64,
    cpu: String,
    accept_cpu: String,
}

async fn ours(app: &TestApp, arguments: &Arguments) -> anyhow::Result<Ours> {
    let cycles = arguments.messages / 2;
    let in_hand = CHATS * arguments.agents as u64;
    let counts = Arc::new(Counts::new());
    counts.complete(false);
    let step = |what: &str, began: Instant| eprintln!("{what}: {:.1} s", began.elapsed().as_secs_f64());

    let began = Instant::now();
    let desks = Desks::open(app, &people(arguments.agents), &counts).await?;
    step("desks are open", began);
    let began = Instant::now();
    let mut numbers = 0..;
    let waiting = next(&mut numbers, arguments.waiting + in_hand + 2 * cycles);
    publish(app, waiting, |n| Some(topic(n as usize % (TOPICS - 1)))).await;
    step("work waits", began);

    // Everybody comes, and takes what they have room for.
    let began = Instant::now();
    desks.presence(app, Presence::Available).await?;
    counts.wait_for(in_hand, PATIENCE).await?;
    step("everybody has work", began);

    // Who is free sees what comes.
    let express = topic(TOPICS - 1);
    let seen = trickle(app, &counts, arguments, &mut numbers, Some(&express)).await?;

    // Desks complete what they have, one each, and go on with what they are offered then.
    let (mut one_each, mut desks_seen) = (Vec::new(), HashSet::new());
    for (desk, item) in counts.take_held() {
        let common = (desk as usize) < arguments.agents;
        if common && one_each.len() < BUSY && desks_seen.insert(desk) {
            one_each.push((desk, item));
        }
    }
    counts.complete(true);
    let (cpu, began, before) = (Cpu::now(), Instant::now(), counts.done());
    desks.complete(app, one_each).await?;
    counts.wait_for(before + cycles, PATIENCE).await?;
    let rate = cycles as f64 / began.elapsed().as_secs_f64();
    let cpu = cpu.since(cycles, 0.0).to_string();
    // What was on its way when the last one was counted.
    app.settle().await;

    // Some take whatever comes, and hold it: offers and acceptances alone.
    counts.complete(false);
    let mut people = people(arguments.agents);
    people.truncate(BUSY);
    for person in &mut people {
        person.units = MANY_CHATS;
    }
    let (began, accept_cpu, before) = (Instant::now(), Cpu::now(), counts.done());
    seats::upsert(app, &people).await?;
    counts.wait_for(before + cycles, PATIENCE).await?;
    let accepts = cycles as f64 / began.elapsed().as_secs_f64();
    let accept_cpu = accept_cpu.since(cycles, 0.0).to_string();
    Ok(Ours {
        rate,
        accepts,
        cycles,
        seen,
        resident: resident_bytes() as f64 / 1_048_576.0,
        cpu,
        accept_cpu,
    })
}
