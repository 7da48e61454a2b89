//! Handles of every kind: devices, cards, names in networks, aliases of reviews; and numbers that change.

use trama_proto::{
    common::v1::{Interaction, Trust},
    identity_resolution::v1::{LinkHandleRequest, ListHandlesRequest},
    ingest::v1::HandleChanged,
};
use trama_testkit::TestApp;

use crate::world::{TENANT, client, count, handle, interaction, merges, start, who, with_trust};

/// WhatsApp says that a number changed.
async fn changed(app: &TestApp, old: &str, new: &str) {
    let change = HandleChanged {
        channel: "door".into(),
        old: Some(handle(old)),
        new: Some(handle(new)),
        occurred_at: None,
    };
    app.publish(TENANT, new, &change).await;
    app.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_changes_their_number_stays_who_they_are_and_the_old_number_is_nobodys() {
    let app = start().await;
    let anna = who(&app, &interaction("note", "whatsapp:393331234567")).await;
    changed(&app, "whatsapp:393331234567", "whatsapp:393409876543").await;
    assert_eq!(
        who(&app, &interaction("note 2", "whatsapp:393409876543")).await,
        anna
    );
    assert_eq!(
        who(&app, &interaction("call", "phone:+393409876543")).await,
        anna,
        "the line is the same on the telephone"
    );
    assert_ne!(
        who(&app, &interaction("call 2", "phone:+393331234567")).await,
        anna,
        "whoever is given the old number is somebody else"
    );
    changed(&app, "whatsapp:390000000001", "whatsapp:390000000002").await;
    assert_eq!(count(&app, "reviews").await, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_changes_to_one_of_another_customer_is_asked_about() {
    let app = start().await;
    let anna = who(&app, &interaction("note", "whatsapp:IT.1")).await;
    let other = who(&app, &interaction("note 2", "whatsapp:IT.2")).await;
    changed(&app, "whatsapp:IT.1", "whatsapp:IT.2").await;
    assert_eq!(merges(&app).await.len(), 0, "a person decides");
    assert_eq!(count(&app, "reviews").await, 1);
    assert_eq!(who(&app, &interaction("note 3", "whatsapp:IT.1")).await, anna);
    assert_eq!(who(&app, &interaction("note 4", "whatsapp:IT.2")).await, other);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_is_known_by_device_card_and_name_however_they_are_written() {
    let app = start().await;
    let shown = Interaction {
        also_known_as: vec![
            with_trust("device:6D92078A-8246-4BA4-AE5B-76104861E7DC", Trust::Observed),
            with_trust("loyalty:4971 0012 3456", Trust::Observed),
            with_trust("instagram:https://www.instagram.com/Anna.B/", Trust::Observed),
        ],
        ..interaction("app", "email:anna@example.com")
    };
    let anna = who(&app, &shown).await;
    for (name, party) in [
        ("push", "device:6d92078a-8246-4ba4-ae5b-76104861e7dc"),
        ("till", "loyalty:4971-0012-3456"),
        ("comment", "instagram:@anna.b"),
    ] {
        assert_eq!(who(&app, &interaction(name, party)).await, anna, "{party}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_of_reviews_names_nobody_until_somebody_has_looked() {
    let app = start().await;
    let first = who(&app, &interaction("five stars", "review:trustpilot.com/Anna B.")).await;
    let second = who(&app, &interaction("one star", "review:trustpilot.com/anna b.")).await;
    assert_ne!(first, second, "many have the same");
    let alias = "review:shop.example/annab_1987";
    let mail = who(&app, &interaction("mail", "email:anna@example.com")).await;
    let link = LinkHandleRequest {
        customer_id: mail.clone(),
        handle: Some(with_trust(alias, Trust::Verified)),
        reason: "she said so in her mail".into(),
        request_id: "l1".into(),
    };
    client(&app)
        .link_handle(app.request(TENANT, "bruno", link))
        .await
        .expect("linked");
    assert_eq!(who(&app, &interaction("four stars", alias)).await, mail);
    let listed = ListHandlesRequest { customer_id: mail };
    let listed = client(&app)
        .list_handles(app.request(TENANT, "bruno", listed))
        .await
        .expect("listed")
        .into_inner();
    assert_eq!(listed.handles.len(), 2);
    app.stop().await;
}
