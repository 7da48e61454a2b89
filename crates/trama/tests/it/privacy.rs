//! A person is handed all that is held of them, is forgotten everywhere, and stays so.

pub mod asking;
pub mod everywhere;
mod killed;
pub mod world;

use trama_platform::privacy::SignedReport;
use trama_proto::{
    common::v1::{ChannelKind, Handle},
    identity_resolution::v1::{
        PrivacyState, Record, ResolveRecordRequest, identity_service_client::IdentityServiceClient,
    },
    notification::v1::MessageStatus,
    privacy::v1::{PrivacyDone, PrivacyRequested},
};
use trama_testkit::Bucket;
use world::{ADDRESSES, Person, World};

/// What must not be anywhere once she is forgotten: her name, addresses and words, as they are and as bytes.
const NEEDLES: [&str; 5] = [
    "Zelinda",
    "Quattrocchi",
    "zelinda.quattrocchi@example.org",
    "393331239876",
    "rubinettodorato",
];

#[tokio::test(flavor = "multi_thread")]
async fn an_export_holds_everything_of_every_channel_and_member() {
    export_holds_everything(World::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_in_a_bucket_are_exported_like_those_in_a_folder() {
    let bucket = Bucket::start().await;
    let s3 = bucket.config();
    export_holds_everything(World::start_with(move |config| config.objects.s3 = s3).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_erased_leaves_no_file_in_a_bucket() {
    let bucket = Bucket::start().await;
    let s3 = bucket.config();
    let world = World::start_with(move |config| config.objects.s3 = s3).await;
    let zelinda = world.live("acme").await;
    world.live("globex").await;
    world.request_export("acme", &zelinda, "e1").await;
    world.app.settle().await;
    // Her photo, and what every service wrote for her.
    let hers = world.objects_with("acme", &NEEDLES).await;
    assert!(hers.iter().any(|key| key.contains("/privacy/")), "{hers:?}");
    assert!(hers.iter().any(|key| !key.contains("/privacy/")), "{hers:?}");
    let others = world.objects("globex").await;
    let request = world.request_erasure("acme", &zelinda, "x1").await;
    world.app.settle().await;
    assert_eq!(world.get("acme", &request).await.state(), PrivacyState::Done);
    assert_eq!(world.objects("acme").await, Vec::<String>::new());
    assert_eq!(world.objects("globex").await, others);
    assert!(!world.objects_with("globex", &NEEDLES).await.is_empty());
    world.app.stop().await;
}

async fn export_holds_everything(world: World) {
    let zelinda = world.live("acme").await;
    let request = world.request_export("acme", &zelinda, "e1").await;
    world.app.settle().await;
    let done = world.get("acme", &request).await;
    assert_eq!(
        done.state(),
        PrivacyState::Done,
        "waits for {:?}",
        done.waiting_for
    );
    let report: SignedReport = serde_json::from_str(&done.report).expect("a report");
    assert!(report.holds());
    let files = world.download("acme", &request).await;
    let text = |service: &str| {
        let bytes = files
            .get(&format!("{service}.json"))
            .unwrap_or_else(|| panic!("no {service}"));
        String::from_utf8(bytes.clone()).expect("JSON is text")
    };
    for address in ADDRESSES {
        assert!(text("identity-resolution").contains(address), "{address}");
    }
    for words in [
        "rubinettodorato per mail",
        "rubinettodorato per whatsapp",
        "rubinettodorato per chat",
    ] {
        assert!(text("case").contains(words), "{words}");
    }
    assert!(text("notification").contains("rubinettodorato: arriva il tecnico"));
    assert!(text("survey").contains("Zelinda"));
    assert!(text("routing").contains("work_items"));
    assert!(text("ingest").contains("rubinettodorato nella finestra"));
    assert!(text("ingest").contains("rubinettodorato in quarantena"));
    // Every file stands in a list that the platform has signed.
    let signed: SignedReport = serde_json::from_slice(&files["manifest.json"]).expect("a signed list");
    assert!(signed.holds() && signed.public_key == report.public_key);
    let list: serde_json::Value = serde_json::from_str(&signed.report).expect("JSON");
    let listed: Vec<&String> = list["files"].as_object().expect("files").keys().collect();
    let others: Vec<&String> = files.keys().filter(|name| *name != "manifest.json").collect();
    assert_eq!(
        (listed, list["request"].as_str()),
        (others, Some(request.as_str()))
    );
    let photo = files.iter().find(|(name, _)| name.starts_with("attachments/"));
    assert_eq!(photo.expect("the photo").1, b"a photo of rubinettodorato");
    // A week later its files are gone, and a new one must be asked for.
    world
        .app
        .advance(std::time::Duration::from_secs(8 * 86_400))
        .await;
    assert_eq!(world.get("acme", &request).await.state(), PrivacyState::Expired);
    let left = world.objects("acme").await;
    assert!(!left.iter().any(|key| key.contains("/privacy/")), "{left:?}");
    world.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_erased_is_nowhere_and_stays_so() {
    let world = World::start().await;
    let zelinda = world.live("acme").await;
    let namesake = world.live("globex").await;
    let export = world.request_export("acme", &zelinda, "e1").await;
    world.app.settle().await;
    assert_eq!(world.get("acme", &export).await.state(), PrivacyState::Done);
    let before = everywhere::search(&world.app, "acme", &NEEDLES).await;
    for schema in ["identity", "cases", "routing", "survey", "notification", "ingest"] {
        assert!(
            before.iter().any(|f| f.schema == schema),
            "the search finds her in {schema}: {before:?}"
        );
    }
    let others = everywhere::search(&world.app, "globex", &NEEDLES).await;
    assert!(!others.is_empty());

    let travelled = world.travelled().await;
    let request = world.request_erasure("acme", &zelinda, "x1").await;
    world.app.settle().await;
    let done = world.get("acme", &request).await;
    assert_eq!(
        done.state(),
        PrivacyState::Done,
        "waits for {:?}",
        done.waiting_for
    );
    assert_eq!(everywhere::search(&world.app, "acme", &NEEDLES).await, []);
    assert_eq!(
        everywhere::search(&world.app, "globex", &NEEDLES).await,
        others,
        "another tenant is untouched"
    );
    assert_eq!(world.objects_with("acme", &NEEDLES).await, Vec::<String>::new());
    assert!(!world.objects_with("globex", &NEEDLES).await.is_empty());

    // The report says what every service did, and that it was this platform that says so.
    let report: SignedReport = serde_json::from_str(&done.report).expect("a report");
    assert!(report.holds());
    let said: serde_json::Value = serde_json::from_str(&report.report).expect("JSON");
    let services = said["services"].as_array().expect("services");
    assert_eq!(services.len(), 6);
    for service in services {
        assert!(
            !service["records"].as_object().expect("counts").is_empty(),
            "{service}"
        );
    }
    assert!(NEEDLES.iter().all(|needle| !report.report.contains(needle)));
    // Who looked at her is still known; who she was is not.
    let looked = world.accesses("acme", &zelinda).await;
    assert!(looked.contains(&"erased by dora".to_owned()), "{looked:?}");
    // Nobody works on her needs any more.
    assert_eq!(world.open_work("acme").await, 0);
    assert!(world.open_work("globex").await > 0);

    // Nothing of her is left in the streams, and of others everything.
    assert_eq!(world.in_streams("acme", &NEEDLES).await, Vec::<String>::new());
    assert!(!world.in_streams("globex", &NEEDLES).await.is_empty());

    // All that ever travelled comes once more, with other ids: her orders of privacy too.
    let customers = world.customers("acme").await;
    let told = world.told("acme").await;
    world.replay(&travelled).await;
    world.app.settle().await;
    assert_eq!(everywhere::search(&world.app, "acme", &NEEDLES).await, []);
    assert_eq!(world.customers("acme").await, customers, "nobody came back");
    let of_acme = travelled
        .iter()
        .filter(|m| m.subject.contains(".interaction_identified.acme."));
    assert_eq!(
        world.told("acme").await,
        told + of_acme.count(),
        "nobody was recognised"
    );
    assert_eq!(
        everywhere::search(&world.app, "globex", &NEEDLES).await.len(),
        others.len()
    );
    assert_eq!(
        world.get("acme", &request).await.report,
        done.report,
        "the report is what it was"
    );

    // Who asks again is told that there is nobody, and a repeated call is the same call.
    assert_eq!(world.request_erasure("acme", &zelinda, "x1").await, request);
    assert_eq!(
        world.try_erasure("acme", &zelinda, "x2").await,
        Err(tonic::Code::NotFound)
    );

    // The old file of another system does not know yet; its next one does.
    let record = |recorded_at| ResolveRecordRequest {
        record: Some(Record {
            source: "shop".into(),
            external_id: "77".into(),
            handles: vec![Handle {
                kind: "email".into(),
                value: ADDRESSES[0].into(),
                trust: 0,
            }],
            recorded_at,
            ..Record::default()
        }),
        dry_run: false,
    };
    let mut identity = IdentityServiceClient::new(world.app.grpc());
    let old = world.app.request("acme", "shop", record(None));
    let refused = identity.resolve_record(old).await.expect_err("refused");
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);

    // Whoever writes anew is somebody new.
    world.app.advance(std::time::Duration::from_secs(60)).await;
    let mail = (ChannelKind::Email, ("email", ADDRESSES[0]));
    world.says("acme", "anew", mail, "eccomi di nuovo").await;
    let anew = world.find("acme", "email", ADDRESSES[0]).await;
    assert!(!zelinda.customers.contains(&anew), "a new id");
    assert_ne!(anew, namesake.customers[0]);
    world.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_heard_twice_is_answered_once() {
    let world = World::start().await;
    let zelinda: Person = world.live("acme").await;
    let request = world.request_erasure("acme", &zelinda, "x1").await;
    world.app.settle().await;
    let report = world.get("acme", &request).await.report;
    // As after a crash between commit and ack, and as from a sender that does not remember what it has sent.
    for heard in world.app.events::<PrivacyRequested>().await {
        world
            .app
            .deliver_again(heard.id, &heard.tenant, "any", &heard.event)
            .await;
        world.app.publish(&heard.tenant, "any", &heard.event).await;
    }
    for answer in world.app.events::<PrivacyDone>().await {
        world.app.publish(&answer.tenant, "any", &answer.event).await;
    }
    world.app.settle().await;
    assert_eq!(world.get("acme", &request).await.report, report);
    assert_eq!(everywhere::search(&world.app, "acme", &NEEDLES).await, []);
    world.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_go_when_the_tenant_keeps_them_no_longer() {
    let world = World::start().await;
    world.live("acme").await;
    world.live("globex").await;
    assert_eq!(
        world.app.running.expire().await.expect("looked"),
        0,
        "nothing is old yet"
    );
    let others = everywhere::search(&world.app, "globex", &NEEDLES).await;
    // Acme keeps for 30 days what is over; globex has said nothing.
    world
        .app
        .advance(std::time::Duration::from_secs(40 * 86_400))
        .await;
    assert!(world.app.running.expire().await.expect("looked") > 0);
    let left = everywhere::search(&world.app, "acme", &NEEDLES).await;
    let gone = [
        "survey.invitations",
        "ingest.quarantine",
        "ingest.chat_messages",
        "notification.messages",
    ];
    for table in gone {
        assert!(
            !left.iter().any(|f| f.place().starts_with(table)),
            "{table}: {left:?}"
        );
    }
    assert_eq!(everywhere::search(&world.app, "globex", &NEEDLES).await, others);
    assert_eq!(world.app.running.expire().await.expect("looked"), 0, "once");
    world.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn advertising_needs_the_consent_of_its_brand() {
    let world = World::start().await;
    let mail = (ChannelKind::Email, ("email", ADDRESSES[0]));
    world.says("acme", "mail", mail, "buongiorno").await;
    let customer = world.find("acme", "email", ADDRESSES[0]).await;
    world.agree("acme", &customer, "sole").await;
    // Agreed for one brand. That no channel serves it is another matter.
    assert_eq!(
        world.advertise("acme", &customer, "sole").await,
        MessageStatus::Failed
    );
    assert_eq!(
        world.advertise("acme", &customer, "luna").await,
        MessageStatus::Suppressed
    );
    assert_eq!(
        world.advertise("acme", &customer, "").await,
        MessageStatus::Suppressed
    );
    world.app.stop().await;
}
