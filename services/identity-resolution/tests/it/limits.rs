//! What bounds matching: so many merges a day, and so many ever, then a person decides.

use std::time::Duration;

use trama_testkit::TestApp;

use crate::{
    similar::open_reviews,
    world::{identify, interaction, logged_in, merges, who},
};

const POLICY: &str = r#"
apiVersion: trama.dev/v1alpha1
kind: MatchingPolicy
metadata: {name: default, namespace: acme}
spec: {merges: {perDay: 1, ever: 2}}
"#;

const A_DAY: Duration = Duration::from_secs(25 * 3600);

async fn log_in(app: &TestApp, name: &str, session: &str) -> String {
    let chat = identify(app, &logged_in(name, session, "1001", "anna@example.com")).await;
    chat.customer.expect("a customer").customer_id
}

#[tokio::test(flavor = "multi_thread")]
async fn matching_merges_into_a_customer_once_a_day_and_twice_ever_when_the_policy_says_so() {
    let app = TestApp::builder(&[trama_identity_resolution::service()])
        .resources(POLICY)
        .start()
        .await;
    let anna = who(&app, &interaction("mail", "email:anna@example.com")).await;
    let mut visits = Vec::new();
    for session in ["s1", "s2", "s3"] {
        visits.push(who(&app, &interaction(session, &format!("webchat:{session}"))).await);
    }
    assert_eq!(log_in(&app, "first", "s1").await, anna);
    assert_eq!(merges(&app).await.len(), 1);

    // The second of a day waits for a person.
    log_in(&app, "second", "s2").await;
    assert_eq!(merges(&app).await.len(), 1);
    let asked = open_reviews(&app).await;
    assert_eq!(asked.len(), 1);
    let mut about = [asked[0].customer_id.clone(), asked[0].other_customer_id.clone()];
    about.sort();
    let mut both = [anna.clone(), visits[1].clone()];
    both.sort();
    assert_eq!(about, both);
    assert!(
        asked[0].reason.contains("as often as the policy allows"),
        "{}",
        asked[0].reason
    );

    app.advance(A_DAY).await;
    assert_eq!(
        merges(&app).await.len(),
        1,
        "no night merges what a person was asked"
    );
    assert_eq!(log_in(&app, "third", "s3").await, anna);
    assert_eq!(merges(&app).await.len(), 2);

    app.advance(A_DAY).await;
    log_in(&app, "fourth", "s2").await;
    assert_eq!(merges(&app).await.len(), 2, "twice is all");
    assert!(
        open_reviews(&app).await.iter().any(|r| r.sightings > 1),
        "asked once, seen twice"
    );
    assert!(
        merges(&app)
            .await
            .iter()
            .all(|m| { m.survivor.as_ref().is_some_and(|c| c.customer_id == anna) && !m.reason.is_empty() })
    );
    app.stop().await;
}
