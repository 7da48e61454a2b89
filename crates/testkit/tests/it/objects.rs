//! Where attachments lie: the same for a folder and for a bucket.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use trama_platform::{
    Kind,
    config::{ObjectsConfig, S3Config},
    objects::Objects,
};
use trama_proto::ids::TenantId;
use trama_testkit::{Bucket, TestApp, tenant};

use crate::counter::Counter;

const PIECE: usize = 64 * 1024;

fn of(s3: S3Config) -> ObjectsConfig {
    ObjectsConfig {
        s3,
        ..ObjectsConfig::default()
    }
}

/// Bytes of which no two pieces are alike.
fn large() -> Bytes {
    let count = 20 * 1024 * 1024 + 17;
    (0..count)
        .map(|n: u32| (n ^ (n >> 8) ^ (n >> 16)) as u8)
        .collect()
}

async fn keys(objects: &Objects, of: &TenantId, folder: &str) -> Vec<String> {
    let mut keys = objects.keys(of, folder).await.expect("a list");
    keys.sort();
    keys
}

/// What holds of both.
async fn keeps_its_promises(config: &ObjectsConfig) {
    let objects = Objects::open(config).await.expect("open");
    let (acme, globex) = (tenant("acme"), tenant("globex"));
    assert_eq!(
        objects.keys(&acme, "").await.expect("a list"),
        Vec::<String>::new()
    );

    objects.put("acme/1/0", "a photo".into()).await.expect("put");
    objects
        .put("acme/1/0", "a photo".into())
        .await
        .expect("put again");
    objects
        .put("acme/1/1 with ümlauts & +.jpg", "x".into())
        .await
        .expect("put");
    objects.put("acme/2/0", Bytes::new()).await.expect("put");
    objects.put("globex/1/0", "theirs".into()).await.expect("put");
    // Another process sees it at once.
    let other = Objects::open(config).await.expect("open");
    assert_eq!(other.get(&acme, "acme/1/0").await.expect("there"), "a photo");
    assert_eq!(other.get(&acme, "acme/2/0").await.expect("there"), "");
    let in_pieces = other.read(&acme, "acme/1/0", 3).await.expect("there");
    let pieces: Vec<Bytes> = in_pieces.try_collect().await.expect("all of it");
    assert_eq!(pieces, ["a p", "hot", "o"]);
    let first = ["acme/1/0", "acme/1/1 with ümlauts & +.jpg"];
    assert_eq!(keys(&other, &acme, "1").await, first);
    assert_eq!(keys(&other, &acme, "").await.len(), 3);
    assert_eq!(
        other.get(&acme, first[1]).await.expect("there"),
        "x",
        "a key that is listed can be asked for"
    );

    // What is not there, and what is another tenant's.
    for key in ["acme/1/9", "globex/1/0", "acmex/1/0", "1/0"] {
        let error = objects.get(&acme, key).await.expect_err("nothing");
        assert_eq!(error.kind(), Kind::NotFound, "{key}");
    }
    objects.remove(&acme, "globex/1/0").await.expect("left alone");
    assert_eq!(objects.get(&globex, "globex/1/0").await.expect("there"), "theirs");

    // A large one goes in parts, comes in pieces, and is the same.
    let large = large();
    objects.put("acme/3/0", large.clone()).await.expect("put");
    let pieces = objects.read(&acme, "acme/3/0", PIECE).await.expect("there");
    let pieces: Vec<Bytes> = pieces.try_collect().await.expect("all of it");
    assert!(pieces.iter().all(|piece| (1..=PIECE).contains(&piece.len())));
    assert!(pieces.len() <= large.len() / PIECE + 1, "pieces are full");
    assert!(pieces.concat() == large, "the same bytes");

    // All of a tenant is removed, twice; the other's stays.
    for _ in 0..2 {
        for key in objects.keys(&acme, "").await.expect("a list") {
            objects.remove(&acme, &key).await.expect("removed");
        }
        objects
            .remove(&acme, "acme/3/0")
            .await
            .expect("nothing is as good");
    }
    assert_eq!(keys(&objects, &acme, "").await, Vec::<String>::new());
    assert_eq!(keys(&objects, &globex, "").await, ["globex/1/0"]);
    objects.remove(&globex, "globex/1/0").await.expect("removed");
}

#[tokio::test]
async fn a_folder_keeps_what_it_is_given() {
    let dir = std::env::temp_dir().join(format!("trama-objects-{}", std::process::id()));
    let config = ObjectsConfig {
        dir: dir.clone(),
        ..ObjectsConfig::default()
    };
    keeps_its_promises(&config).await;
    std::fs::remove_dir_all(dir).expect("removed");
}

#[tokio::test]
async fn a_bucket_keeps_what_it_is_given_whole_or_below_a_prefix() {
    let bucket = Bucket::start().await;
    keeps_its_promises(&of(bucket.config())).await;
    let below = of(S3Config {
        prefix: "contact/trama".into(),
        ..bucket.config()
    });
    keeps_its_promises(&below).await;
    // Whoever has a prefix sees nothing else of the bucket, and nobody else sees theirs under its name.
    let whole = Objects::open(&of(bucket.config())).await.expect("open");
    let below = Objects::open(&below).await.expect("open");
    below.put("acme/1/0", "x".into()).await.expect("put");
    assert_eq!(keys(&whole, &tenant("acme"), "").await, Vec::<String>::new());
    assert_eq!(
        keys(&whole, &tenant("contact"), "").await,
        ["contact/trama/acme/1/0"]
    );
}

#[tokio::test]
async fn whoever_may_not_use_the_bucket_does_not_start_and_is_told_why() {
    let mut bucket = Bucket::start().await;
    let app = TestApp::start(&[Arc::new(Counter)]).await;
    let wrong = |change: &dyn Fn(&mut S3Config)| {
        let mut s3 = bucket.config();
        change(&mut s3);
        s3
    };
    let [key, _] = bucket.keys();
    let refused = async |s3: S3Config| {
        let error = app.try_beside(|config| config.objects.s3 = s3).await;
        error.expect_err("it does not start").to_string()
    };
    let said = refused(wrong(&|s3| s3.bucket = "nowhere".into())).await;
    assert!(said.contains("objects.s3: bucket nowhere refuses us"), "{said}");
    bucket.mount(&(key.0.clone(), "guessed".into()));
    let said = refused(bucket.config()).await;
    assert!(said.contains("SignatureDoesNotMatch"), "{said}");
    assert!(!said.contains(&key.0), "{said}");
    bucket.mount(&("AKIAUNKNOWN000000000".into(), key.1.clone()));
    let said = refused(bucket.config()).await;
    assert!(said.contains("InvalidAccessKeyId"), "{said}");
    std::fs::remove_file(bucket.folder().join("secret-access-key")).expect("removed");
    let said = refused(bucket.config()).await;
    assert!(said.contains("objects.s3.credentials_dir"), "{said}");

    // Who is away may come back: that is waited for, and told when patience ends.
    bucket.mount(key);
    bucket.stop();
    let away = Objects::open(&of(bucket.config()))
        .await
        .err()
        .expect("nobody there");
    assert_eq!(away.kind(), Kind::Unavailable);
    app.stop().await;
}

#[tokio::test]
async fn a_rotated_key_is_used_without_a_restart() {
    let bucket = Bucket::start().await;
    let [first, second] = bucket.keys();
    let objects = Objects::open(&of(bucket.config())).await.expect("open");
    objects.put("acme/1/0", "x".into()).await.expect("put");
    bucket.mount(&(first.0.clone(), "no longer good".into()));
    let refused = objects.get(&tenant("acme"), "acme/1/0").await;
    assert_eq!(refused.expect_err("refused").kind(), Kind::Unavailable);
    bucket.mount(second);
    assert_eq!(
        objects.get(&tenant("acme"), "acme/1/0").await.expect("there"),
        "x"
    );
}
