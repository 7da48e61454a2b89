//! What is read, and what becomes of a line that breaks.

use std::{collections::BTreeMap, path::Path, time::Duration};

use chrono::TimeDelta;
use serde_json::{Value, json};
use trama_platform::resources::{Folder, Source as _};
use trama_proto::resources::{KINDS, Resources};

use crate::{
    PATIENCE,
    api_server::ApiServer,
    harness::{Setup, clock, queue, queues},
};

#[tokio::test]
async fn a_cluster_and_a_folder_with_the_same_resources_are_the_same() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/resources");
    let variables = ["SANDBOX_URL", "SANDBOX_SMTP", "PUBLIC_URL"];
    let variables: BTreeMap<_, _> = variables
        .map(|n| (n.to_owned(), "http://127.0.0.1:1".to_owned()))
        .into();
    let documents = Folder { dir, variables }.read().unwrap();
    let (expected, problems) = Resources::build(&documents, &Resources::default());
    assert_eq!(problems, []);
    assert!(documents.len() > 10);

    let api = ApiServer::start().await;
    for document in &documents {
        let text = |pointer| document.content.pointer(pointer).and_then(Value::as_str).unwrap();
        let (kind, namespace) = (text("/kind"), text("/metadata/namespace"));
        api.apply(
            kind,
            namespace,
            text("/metadata/name"),
            document.content["spec"].clone(),
        );
    }
    let mut setup = Setup::new("a", &clock());
    setup.config.namespaces.clear();
    setup.config.all_namespaces = true;
    let replica = setup.start(&api).await.unwrap();
    assert_eq!(*replica.resources.snapshot(), expected);
    replica.stop().await;
}

#[tokio::test]
async fn changes_are_in_force_as_they_are_made() {
    let api = ApiServer::start().await;
    api.apply("Queue", "acme", "care", queue(60));
    api.apply("Queue", "zenith", "care", queue(60));
    let replica = Setup::new("a", &clock()).start(&api).await.unwrap();
    assert_eq!(queues(&replica.resources.snapshot()), ["care 60"]);
    assert_eq!(
        replica.resources.snapshot().tenants().count(),
        1,
        "other namespaces are none of ours"
    );

    api.apply("Queue", "acme", "care", queue(90));
    api.apply("Queue", "acme", "sales", queue(20));
    replica
        .until("a change and an addition", |r| {
            queues(r) == ["care 90", "sales 20"]
        })
        .await;
    api.delete("Queue", "acme", "care");
    replica.until("a removal", |r| queues(r) == ["sales 20"]).await;
    assert_eq!(api.calls("list").len(), KINDS.len(), "all of it by watches");
    replica.stop().await;
}

#[tokio::test]
async fn a_namespace_may_be_called_otherwise_than_its_tenant() {
    let api = ApiServer::start().await;
    api.apply("Queue", "prod-acme", "care", queue(60));
    let mut setup = Setup::new("a", &clock());
    setup.config.namespaces = vec!["prod-acme".into()];
    setup.config.tenants.insert("prod-acme".into(), "acme".into());
    let replica = setup.start(&api).await.unwrap();
    assert_eq!(queues(&replica.resources.snapshot()), ["care 60"]);
    api.until("the status is where the object is", |api| {
        !api.conditions("Queue", "prod-acme", "care").is_empty()
    })
    .await;
    replica.stop().await;
}

#[tokio::test]
async fn a_bad_object_hides_none_of_the_good_ones() {
    let api = ApiServer::start().await;
    api.apply("Queue", "acme", "care", queue(60));
    // One that the watch itself cannot read, one that is wrong, and one of a field that we do not know.
    api.apply("Queue", "acme", "bare", Value::Null);
    api.apply("Queue", "acme", "negative", queue(-1));
    api.apply("Queue", "acme", "newer", json!({"colour": "red"}));
    let replica = Setup::new("a", &clock()).start(&api).await.unwrap();
    assert_eq!(queues(&replica.resources.snapshot()), ["care 60"]);

    api.apply("Queue", "acme", "care", queue(-1));
    api.apply("Queue", "acme", "sales", queue(20));
    replica
        .until("the last good one beside a new one", |r| {
            queues(r) == ["care 60", "sales 20"]
        })
        .await;
    api.apply("Queue", "acme", "negative", queue(30));
    replica
        .until("a mended one", |r| {
            queues(r) == ["care 60", "negative 30", "sales 20"]
        })
        .await;
    replica.stop().await;
}

#[tokio::test]
async fn a_cut_line_is_mended_without_listing_again() {
    let api = ApiServer::start().await;
    api.apply("Queue", "acme", "care", queue(60));
    let replica = Setup::new("a", &clock()).start(&api).await.unwrap();
    api.until("all kinds are watched", |api| api.watchers() == KINDS.len())
        .await;

    api.go_away();
    api.apply("Queue", "acme", "care", queue(90));
    assert_eq!(
        queues(&replica.resources.snapshot()),
        ["care 60"],
        "what was in force stays"
    );
    api.come_back();
    replica
        .until("what happened meanwhile", |r| queues(r) == ["care 90"])
        .await;
    assert_eq!(api.calls("list").len(), KINDS.len());
    replica.stop().await;
}

#[tokio::test]
async fn after_410_all_is_listed_again() {
    let api = ApiServer::start().await;
    api.apply("Queue", "acme", "care", queue(60));
    api.apply("Queue", "acme", "sales", queue(20));
    let replica = Setup::new("a", &clock()).start(&api).await.unwrap();
    api.until("all kinds are watched", |api| api.watchers() == KINDS.len())
        .await;

    api.go_away();
    api.delete("Queue", "acme", "sales");
    api.apply("Queue", "acme", "care", queue(90));
    api.compact();
    api.come_back();
    replica
        .until("what is there now, and no more", |r| queues(r) == ["care 90"])
        .await;
    assert!(
        api.calls("list")
            .iter()
            .filter(|c| c.path.ends_with("/queues"))
            .count()
            >= 2
    );
    replica.stop().await;
}

#[tokio::test]
async fn bookmarks_spare_a_list_and_show_that_a_quiet_watch_lives() {
    let (api, clock) = (ApiServer::start().await, clock());
    let setup = Setup::new("a", &clock);
    let replica = setup.start(&api).await.unwrap();
    api.until("all kinds are watched", |api| api.watchers() == KINDS.len())
        .await;

    clock.advance(Duration::from_secs(100));
    assert_eq!(replica.cluster.watch_age(), TimeDelta::seconds(100));
    api.bookmark();
    let heard = tokio::time::timeout(PATIENCE, async {
        while replica.cluster.watch_age() > TimeDelta::zero() {
            tokio::task::yield_now().await;
        }
    });
    assert!(heard.await.is_ok(), "bookmarks are heard");

    api.compact();
    let watches = api.calls("watch").len();
    api.cut();
    api.until("all are watched again", |api| {
        api.calls("watch").len() >= watches + KINDS.len()
    })
    .await;
    assert_eq!(
        api.calls("list").len(),
        KINDS.len(),
        "watched on from the bookmark"
    );
    replica.stop().await;
}
