//! Texts that are encrypted in the database: nobody reads them there, and everything else works as before.

use trama_proto::{
    case::v1::{ListCasesRequest, ListTimelineRequest, case_service_client::CaseServiceClient},
    identity_resolution::v1::PrivacyState,
};
use trama_testkit::Keys;

use crate::privacy::{
    everywhere,
    world::{ADDRESSES, Person, World},
};

/// What she wrote, and what was written to her.
pub const WORDS: [&str; 2] = ["rubinettodorato", "rubinetto"];
/// Who she is. (Her first name is in the id of a visitor too, which is not sealed.)
const NAMES: [&str; 1] = ["Quattrocchi"];

/// Tables of a tenant that show one of the words.
pub async fn shown(world: &World, whose: &str, words: &[&str]) -> Vec<String> {
    let mut places: Vec<String> = everywhere::search(&world.app, whose, words)
        .await
        .iter()
        .map(everywhere::Found::place)
        .collect();
    places.dedup();
    places
}

/// What the case service shows of everything that was said.
pub async fn timelines(world: &World, whose: &str, person: &Person) -> Result<String, tonic::Status> {
    let mut client = CaseServiceClient::new(world.app.grpc());
    let list = ListCasesRequest {
        customer_id: person.customers[0].clone(),
        ..ListCasesRequest::default()
    };
    let listed = client
        .list_cases(world.app.request(whose, "bruno", list))
        .await?
        .into_inner();
    let mut read = String::new();
    for case in listed.cases {
        read.push_str(&case.subject);
        let request = ListTimelineRequest {
            case_id: case.case_id,
            ..ListTimelineRequest::default()
        };
        let request = world.app.request(whose, "bruno", request);
        let timeline = client.list_timeline(request).await?.into_inner();
        read.push_str(&format!("{:?}", timeline.entries));
    }
    Ok(read)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_shows_nothing_that_people_write_and_everything_works() {
    let keys = Keys::new("everything", &["one"]);
    let in_use = keys.in_use("one");
    let world = World::start_with(|config| {
        in_use(config);
        config.sealing.tenants = vec!["acme".into()];
    })
    .await;
    let zelinda = world.live("acme").await;
    let other = world.live("globex").await;
    // The test itself wrote into the tables of the doors, as a version did that sealed nothing.
    world.app.running.seal_old().await.expect("sealed");
    assert_eq!(shown(&world, "acme", &WORDS).await, Vec::<String>::new());
    let named = shown(&world, "acme", &NAMES).await;
    let elsewhere: Vec<&String> = named
        .iter()
        .filter(|place| !place.starts_with("identity."))
        .collect();
    assert!(!named.is_empty() && elsewhere.is_empty(), "{named:?}");
    // Who did not ask for it is as before.
    assert!(
        shown(&world, "globex", &WORDS)
            .await
            .contains(&"cases.timeline".to_owned())
    );
    for (whose, person) in [("acme", &zelinda), ("globex", &other)] {
        let read = timelines(&world, whose, person).await.expect("read");
        for words in [
            "rubinettodorato per whatsapp",
            "arriva il tecnico",
            "un altro rubinettodorato",
        ] {
            assert!(read.contains(words), "{whose}: {words}: {read}");
        }
    }

    let request = world.request_export("acme", &zelinda, "e1").await;
    world.app.settle().await;
    let files = world.download("acme", &request).await;
    let text = |service: &str| String::from_utf8(files[&format!("{service}.json")].clone()).expect("JSON");
    assert!(text("case").contains("rubinettodorato per mail"));
    assert!(text("case").contains("Zelinda"));
    assert!(text("notification").contains("rubinettodorato: arriva il tecnico"));
    assert!(text("survey").contains("Zelinda"));
    assert!(text("ingest").contains("rubinettodorato nella finestra"));
    assert!(text("ingest").contains("rubinettodorato in quarantena"));
    for service in ["case", "notification", "survey", "ingest", "routing"] {
        assert!(!text(service).contains("sealed:"), "{service}");
    }

    let request = world.request_erasure("acme", &zelinda, "x1").await;
    world.app.settle().await;
    let done = world.get("acme", &request).await;
    assert_eq!(
        done.state(),
        PrivacyState::Done,
        "waits for {:?}",
        done.waiting_for
    );
    assert_eq!(
        world.objects_with("acme", &WORDS).await,
        Vec::<String>::new(),
        "files are found by sealed rows"
    );
    let mut db = world.database().await;
    let left: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM cases.timeline WHERE tenant = 'acme')
              + (SELECT count(*) FROM ingest.quarantine WHERE tenant = 'acme')
              + (SELECT count(*) FROM cases.requests WHERE tenant = 'acme' AND method LIKE '%ResolveCase')",
    )
    .fetch_one(&mut db)
    .await
    .expect("a count");
    assert_eq!(left, 0, "also the remembered answer that shows her case");
    assert_eq!(
        shown(&world, "acme", &[ADDRESSES[0], "Zelinda"]).await,
        Vec::<String>::new()
    );
    world.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_rows_are_sealed_later_and_keys_change_without_losing_any() {
    let keys = Keys::new("later", &["one", "two"]);
    let mut world = World::start().await;
    let zelinda = world.live("acme").await;
    assert!(
        shown(&world, "acme", &WORDS)
            .await
            .contains(&"cases.timeline".to_owned())
    );
    let before = timelines(&world, "acme", &zelinda).await.expect("read");
    assert_eq!(
        world.app.running.seal_old().await.expect("nothing to do"),
        0,
        "not asked for"
    );

    world.app = world.app.restart(keys.in_use("one")).await.expect("started");
    assert_eq!(
        timelines(&world, "acme", &zelinda).await.expect("read"),
        before,
        "clear rows are read"
    );
    assert!(world.app.running.seal_old().await.expect("sealed") > 10);
    // Answers that were remembered before go by themselves, two days after.
    assert_eq!(shown(&world, "acme", &WORDS).await, ["cases.requests"]);
    assert_eq!(
        timelines(&world, "acme", &zelinda).await.expect("read"),
        before,
        "sealed rows too"
    );
    assert_eq!(world.app.running.seal_old().await.expect("looked"), 0, "once");

    // Another key: the old one is needed until all data keys are wrapped anew.
    world.app = world.app.restart(keys.in_use("two")).await.expect("started");
    assert_eq!(timelines(&world, "acme", &zelinda).await.expect("read"), before);
    let db = world.app.db("case").clone();
    assert_eq!(db.data_keys().await.expect("counted")[0].0, "one");
    for service in [
        "case",
        "routing",
        "survey",
        "notification",
        "ingest",
        "identity-resolution",
    ] {
        world
            .app
            .db(service)
            .rewrap_data_keys()
            .await
            .expect("wrapped anew");
        let by = world.app.db(service).data_keys().await.expect("counted");
        assert!(by.iter().all(|(key, _)| key == "two"), "{service}: {by:?}");
    }
    keys.remove("one");
    world.app = world.app.restart(keys.in_use("two")).await.expect("started");
    assert_eq!(timelines(&world, "acme", &zelinda).await.expect("read"), before);

    // Nobody starts who could not read, or would write in the clear beside it.
    keys.put("three");
    keys.remove("two");
    let refused = world
        .app
        .try_beside(keys.in_use("three"))
        .await
        .expect_err("refused");
    let said = refused.to_string();
    assert!(
        said.contains("cannot be unwrapped") && said.contains("key `two`"),
        "{said}"
    );
    let refused = world.app.try_beside(|c| c.sealing = Default::default()).await;
    let said = refused.expect_err("refused").to_string();
    assert!(said.contains("sealing.keys_dir is not configured"), "{said}");
    keys.put("two");
    // Switched off: what is sealed is read, what is new is clear.
    world.app = world.app.restart(keys.in_use("")).await.expect("started");
    assert_eq!(timelines(&world, "acme", &zelinda).await.expect("read"), before);
    world.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_was_moved_or_changed_is_refused() {
    let keys = Keys::new("moved", &["one"]);
    let world = World::start_with(keys.in_use("one")).await;
    let zelinda = world.live("acme").await;
    let other = world.live("globex").await;
    let mut db = world.database().await;
    for (what, whose, person, statement) in [
        (
            "to another row",
            "acme",
            &zelinda,
            "UPDATE cases.timeline t SET interaction = o.interaction FROM cases.timeline o
             WHERE t.tenant = 'acme' AND o.tenant = 'acme' AND t.interaction_id <> o.interaction_id",
        ),
        (
            "to another tenant",
            "globex",
            &other,
            "UPDATE cases.cases t SET subject = o.subject FROM cases.cases o
             WHERE t.tenant = 'globex' AND o.tenant = 'acme'",
        ),
    ] {
        assert!(timelines(&world, whose, person).await.is_ok());
        let moved = sqlx::query(statement).execute(&mut db).await.expect("moved");
        assert!(moved.rows_affected() > 0);
        let refused = timelines(&world, whose, person).await.expect_err(what);
        assert_eq!(refused.code(), tonic::Code::Internal, "{what}");
        assert!(
            !refused.message().contains("cases"),
            "callers are told nothing: {refused}"
        );
    }
    world.app.stop().await;
}
