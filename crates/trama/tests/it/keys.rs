//! Keys of sealed texts, as who runs the platform meets them: `trama keys`, and a key that is not there.

use std::{collections::BTreeMap, process::Command};

use futures::TryStreamExt as _;
use sqlx::AssertSqlSafe;
use trama_platform::{Config, bus::Stream};
use trama_proto::{
    case::v1::{ListCasesRequest, ReplyToCaseRequest, case_service_client::CaseServiceClient},
    common::v1::ChannelKind,
};
use trama_testkit::Keys;

use crate::{
    privacy::{
        everywhere,
        world::{ADDRESSES, Person, World},
    },
    sealing::{WORDS, shown, timelines},
};

const SCHEMAS: [&str; 6] = ["cases", "identity", "ingest", "notification", "routing", "survey"];

/// Runs `trama keys …` with the configuration of the world, changed; whether it went well, and what it said.
fn keys(world: &World, verb: &str, change: impl FnOnce(&mut Config)) -> (bool, String) {
    let mut config = world.app.config.clone();
    change(&mut config);
    let file = config.objects.dir.with_file_name("trama.toml");
    std::fs::write(&file, config.to_toml().expect("TOML")).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_trama"));
    command.args(["keys", verb, "--config"]).arg(file);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TRAMA_") {
            command.env_remove(name);
        }
    }
    let output = command.output().expect("the binary runs");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Rows of a table of keys: schema and key in order of the schemas.
fn listed(said: &str) -> Vec<(String, String)> {
    let rows = said.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    });
    rows.filter(|(schema, _)| SCHEMAS.contains(&schema.as_str()))
        .collect()
}

/// How many rows each table has.
async fn counts(world: &World) -> BTreeMap<String, i64> {
    let mut db = world.database().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables
         WHERE table_type = 'BASE TABLE' AND table_schema = ANY($1)",
    )
    .bind(SCHEMAS)
    .fetch_all(&mut db)
    .await
    .expect("tables");
    let mut counts = BTreeMap::new();
    for table in tables {
        let count = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
            .fetch_one(&mut db)
            .await
            .expect("a count");
        counts.insert(table, count);
    }
    counts
}

async fn reply(world: &World, whose: &str, person: &Person) -> Result<(), tonic::Status> {
    let mut cases = CaseServiceClient::new(world.app.grpc());
    let list = ListCasesRequest {
        customer_id: person.customers[0].clone(),
        ..ListCasesRequest::default()
    };
    let listed = cases.list_cases(world.app.request(whose, "bruno", list)).await?;
    let reply = ReplyToCaseRequest {
        case_id: listed.into_inner().cases[0].case_id.clone(),
        text: "arriva domani".into(),
        request_id: "r2".into(),
        ..ReplyToCaseRequest::default()
    };
    cases
        .reply_to_case(world.app.request(whose, "bruno", reply))
        .await?;
    Ok(())
}

/// Whether a stage holds a message that it cannot work in.
async fn is_held(world: &World) -> bool {
    let stream = world.app.running.bus.stream(Stream::Events).await;
    let mut consumers = stream.expect("the stream").consumers();
    while let Some(info) = consumers.try_next().await.expect("consumers") {
        if info.num_ack_pending > 0 {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_lists_keys_and_wraps_with_the_one_in_use() {
    let folder = Keys::new("command", &["one", "two"]);
    let world = World::start_with(folder.in_use("one")).await;
    world.live("acme").await;

    let (well, said) = keys(&world, "list", |_| {});
    assert!(well, "{said}");
    assert!(said.contains("one (in use)"), "{said}");
    let rows = listed(&said);
    assert!(rows.len() >= 5, "{said}");
    assert!(rows.iter().all(|(_, key)| key == "one"), "{said}");

    let (well, said) = keys(&world, "rewrap", |c| c.sealing.key.clear());
    assert!(!well && said.contains("sealing.key names no key"), "{said}");
    let (well, said) = keys(&world, "rewrap", |c| c.sealing.key = "three".into());
    assert!(!well && said.contains("key `three` cannot be read"), "{said}");

    let (well, said) = keys(&world, "rewrap", |c| c.sealing.key = "two".into());
    assert!(well, "{said}");
    assert!(
        said.contains(&format!("{} data keys wrapped anew", rows.len())),
        "{said}"
    );
    assert!(listed(&said).iter().all(|(_, key)| key == "two"), "{said}");
    let (_, said) = keys(&world, "rewrap", |c| c.sealing.key = "two".into());
    assert!(said.contains("0 data keys wrapped anew"), "once: {said}");
    world.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_key_is_away_nothing_is_half_written_and_later_nothing_is_lost() {
    let folder = Keys::new("away", &["one"]);
    let mut world = World::start_with(folder.in_use("one")).await;
    let zelinda = world.live("acme").await;
    let before = timelines(&world, "acme", &zelinda).await.expect("read");
    // A process that has unwrapped nothing yet.
    world.app = world.app.restart(|_| {}).await.expect("started");
    world.app.settle().await;
    let rows = counts(&world).await;
    folder.remove("one");

    let refusals = [
        timelines(&world, "acme", &zelinda).await.expect_err("no reading"),
        reply(&world, "acme", &zelinda).await.expect_err("no writing"),
    ];
    for refused in refusals {
        assert_eq!(refused.code(), tonic::Code::Unavailable);
        assert_eq!(
            refused.message(),
            "a key that opens sealed texts is not available",
            "callers are not told which, nor where it should be"
        );
    }
    let wa = ("whatsapp", ADDRESSES[1]);
    let said = world.said("acme", "waits", ChannelKind::Whatsapp, wa, "aspetto la chiave");
    world.app.publish("acme", ADDRESSES[1], &said).await;
    world
        .app
        .eventually("a stage holds the message", || is_held(&world))
        .await;
    assert_eq!(counts(&world).await, rows);

    folder.put("one");
    world.app.settle().await;
    let after = timelines(&world, "acme", &zelinda).await.expect("read");
    assert!(after.len() > before.len());
    assert_eq!(after.matches("aspetto la chiave").count(), 1, "{after}");
    reply(&world, "acme", &zelinda).await.expect("replied");
    world.app.settle().await;
    world.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_turned_back_and_then_the_keys_may_go() {
    let folder = Keys::new("back", &["one"]);
    let mut world = World::start_with(folder.in_use("one")).await;
    let people = [
        ("acme", world.live("acme").await),
        ("globex", world.live("globex").await),
    ];
    world.app.running.seal_old().await.expect("sealed");
    let mut before = Vec::new();
    for (whose, person) in &people {
        before.push(timelines(&world, whose, person).await.expect("read"));
        assert_eq!(shown(&world, whose, &WORDS).await, Vec::<String>::new());
    }

    // Not while anybody wants it sealed.
    let (well, said) = keys(&world, "unseal", |_| {});
    assert!(!well && said.contains("everybody's texts are sealed"), "{said}");
    let (well, said) = keys(&world, "unseal", |c| c.sealing.key.clear());
    assert!(!well && said.contains("a process that seals texts"), "{said}");
    assert_eq!(shown(&world, "acme", &WORDS).await, Vec::<String>::new());

    // One tenant's.
    let only = |config: &mut Config| config.sealing.tenants = vec!["acme".into()];
    world.app = world.app.restart(only).await.expect("started");
    let (well, said) = keys(&world, "unseal", |_| {});
    assert!(well, "{said}");
    assert_eq!(shown(&world, "acme", &WORDS).await, Vec::<String>::new());
    let clear = shown(&world, "globex", &WORDS).await;
    for table in [
        "cases.requests",
        "cases.timeline",
        "ingest.chat_messages",
        "ingest.quarantine",
        "notification.messages",
    ] {
        assert!(clear.iter().any(|place| place == table), "{table}: {clear:?}");
    }

    // And everybody's.
    world.app = world.app.restart(folder.in_use("")).await.expect("started");
    let (well, said) = keys(&world, "unseal", |_| {});
    assert!(well && said.contains("nothing is sealed any more"), "{said}");
    assert_eq!(shown(&world, "acme", &WORDS).await, clear);
    for whose in ["acme", "globex"] {
        let marked = everywhere::search(&world.app, whose, &["\u{1}sealed:"]).await;
        assert!(marked.is_empty(), "{marked:?}");
    }
    let (_, said) = keys(&world, "list", |_| {});
    assert_eq!(listed(&said), [], "no data key is left: {said}");

    folder.remove("one");
    let off = |config: &mut Config| config.sealing = Default::default();
    world.app = world.app.restart(off).await.expect("started");
    for ((whose, person), before) in people.iter().zip(&before) {
        let read = timelines(&world, whose, person).await.expect("read");
        assert_eq!(read, *before);
    }

    // Switched on again, it begins from the beginning.
    folder.put("one");
    world.app = world.app.restart(folder.in_use("one")).await.expect("started");
    assert!(world.app.running.seal_old().await.expect("sealed") > 10);
    assert_eq!(shown(&world, "acme", &WORDS).await, ["cases.requests"]);
    world.app.stop().await;
}
