//! The platform dies while it forgets somebody: it goes on where it was.

use std::time::Duration;

use trama_platform::{
    Clock,
    auth::{DevIssuer, DevToken},
    privacy::SignedReport,
};
use trama_proto::{
    common::v1::Handle,
    identity_resolution::v1::{
        GetPrivacyRequestRequest, Person, PrivacyState, RequestErasureRequest, person,
        privacy_service_client::PrivacyServiceClient,
    },
};

use super::everywhere::search_in;
use crate::platform::{Platform, Provider};

/// Addresses of two who write.
const ERASED: &str = "39300000007";
const OTHER: &str = "39300000008";

/// Asks for the erasure, as often as it takes to hear an answer, until it is done.
async fn erased(platform: &Platform, tries: usize) -> Option<String> {
    let (issuer, _) = DevIssuer::open(&platform.folder.join("keys")).expect("the issuer");
    let token = DevToken {
        tenant: "acme",
        subject: "dora",
        scopes: "*",
        valid_seconds: 600,
    };
    let token = issuer.token(&Clock::system(), &token).expect("a token");
    let bearer: tonic::metadata::MetadataValue<_> = format!("Bearer {token}").parse().expect("ASCII");
    let erasure = RequestErasureRequest {
        person: Some(Person {
            person: Some(person::Person::Handle(Handle {
                kind: "whatsapp".into(),
                value: ERASED.into(),
                trust: 0,
            })),
        }),
        reason: "they asked for it".into(),
        request_id: "x1".into(),
    };
    for _ in 0..tries {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let Ok(mut client) = PrivacyServiceClient::connect(format!("http://{}", platform.grpc)).await else {
            continue;
        };
        let mut request = tonic::Request::new(erasure.clone());
        request.metadata_mut().insert("authorization", bearer.clone());
        let Ok(asked) = client.request_erasure(request).await else {
            continue;
        };
        let id = asked.into_inner().request.expect("a request").privacy_request_id;
        let mut request = tonic::Request::new(GetPrivacyRequestRequest {
            privacy_request_id: id,
        });
        request.metadata_mut().insert("authorization", bearer.clone());
        if let Ok(answer) = client.get_privacy_request(request).await {
            let request = answer.into_inner().request.expect("a request");
            if request.state() == PrivacyState::Done {
                return Some(request.report);
            }
        }
    }
    None
}

async fn dies_at(point: &str) {
    let platform = Platform::new().await;
    let mut first = platform.start(None).await;
    let provider = Provider::new(&platform);
    for number in [7, 8] {
        assert!(provider.send(number).await);
    }
    platform.wait_for_timeline(2).await;
    // What this process still has to publish or to acknowledge must not make the next one die before its time.
    tokio::time::sleep(Duration::from_secs(1)).await;
    first.kill().expect("killed");
    first.wait().expect("gone");
    let found = search_in(&platform.database_url, "acme", &[ERASED]).await;
    assert!(!found.is_empty());

    let mut second = platform.start(Some(point)).await;
    erased(&platform, 60).await;
    assert!(
        second.try_wait().expect("a child").is_some(),
        "it never came to {point}"
    );

    let mut third = platform.start(None).await;
    let report = erased(&platform, 600).await.expect("done in 30 s");
    let report: SignedReport = serde_json::from_str(&report).expect("a report");
    assert!(report.holds());
    third.kill().expect("killed");
    third.wait().expect("gone");
    assert_eq!(
        search_in(&platform.database_url, "acme", &[ERASED]).await,
        [],
        "{point}"
    );
    assert!(
        !search_in(&platform.database_url, "acme", &[OTHER])
            .await
            .is_empty()
    );
    platform.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_commit_and_publishing_forgets_all_the_same() {
    dies_at("outbox.before_publish").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_commit_and_acknowledgement_forgets_all_the_same() {
    dies_at("stage.before_ack").await;
}
