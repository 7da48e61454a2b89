//! Handles do not join people whose names, dates of birth or ids contradict.

use trama_proto::{
    common::v1::{Interaction, Trust},
    identity_resolution::v1::{PersonFacts, ReviewKind},
};

use crate::{
    pains::get,
    similar::{anna, id, open_reviews, record, resolve},
    world::{TENANT, count, handle, identify, interaction, merges, receive, start, who},
};

fn named(name: &str, party: &str, display_name: &str) -> Interaction {
    Interaction {
        display_name: display_name.into(),
        ..interaction(name, party)
    }
}

/// Somebody who says no name, at an address and at a kiosk.
fn at_the_kiosk(name: &str, party: &str) -> Interaction {
    Interaction {
        also_known_as: vec![handle("cookie:kiosk")],
        ..interaction(name, party)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kiosks_cookie_never_gives_one_persons_data_to_another() {
    let app = start().await;
    let mario = who(&app, &named("visit", "cookie:kiosk", "Mario Rossi")).await;
    let giulia = who(&app, &named("mail", "email:giulia@example.com", "Giulia Bianchi")).await;
    let seen = at_the_kiosk("form", "email:giulia@example.com");
    let seen = identify(&app, &seen).await.customer.expect("a customer");
    assert_eq!(seen.customer_id, giulia, "the address says more than a browser");
    assert_eq!(seen.display_name, "Giulia Bianchi");
    assert_eq!(merges(&app).await.len(), 0);
    assert_eq!(who(&app, &interaction("visit 2", "cookie:kiosk")).await, mario);

    let asked = open_reviews(&app).await;
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].kind(), ReviewKind::Bridge);
    assert!(asked[0].reason.contains("two given names"), "{}", asked[0].reason);
    let likeness = asked[0].likeness.as_ref().expect("the evidence");
    assert_eq!(likeness.vetoes, ["two given names"]);
    assert_eq!(
        count(&app, "handle_claims").await,
        1,
        "the kiosk's cookie is seen with another"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_contradicts_stays_two_when_all_arrive_at_once() {
    let app = start().await;
    for seen in [
        named("visit", "cookie:kiosk", "Mario Rossi"),
        named("mail", "email:giulia@example.com", "Giulia Bianchi"),
        at_the_kiosk("form", "email:giulia@example.com"),
    ] {
        receive(&app, TENANT, &seen).await;
    }
    app.settle().await;
    assert_eq!(merges(&app).await.len(), 0);
    // Whichever of them had the cookie first.
    let giulia = who(&app, &interaction("mail 2", "email:giulia@example.com")).await;
    assert_eq!(get(&app, &giulia).await.display_name, "Giulia Bianchi");
    assert_eq!(count(&app, "customers").await, 2, "Mario is somebody else");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_many_were_seen_with_is_learnt_as_shared_although_it_joined_nobody() {
    let app = start().await;
    who(&app, &named("visit", "cookie:kiosk", "Mario Rossi")).await;
    for (name, address) in [
        ("Giulia Bianchi", "email:giulia@example.com"),
        ("Teresa Verdi", "email:teresa@example.com"),
        ("Ottavio Neri", "email:ottavio@example.com"),
    ] {
        who(&app, &named(name, address, name)).await;
        who(&app, &at_the_kiosk(&format!("{name}'s form"), address)).await;
    }
    assert_eq!(merges(&app).await.len(), 0);
    let mut tx = app
        .db("identity-resolution")
        .system_tx()
        .await
        .expect("a transaction");
    let shared: bool = sqlx::query_scalar("SELECT shared FROM handles WHERE kind = 'cookie'")
        .fetch_one(tx.conn())
        .await
        .expect("a cookie");
    assert!(shared);
    drop(tx);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_dates_of_birth_are_two_people_whatever_one_delivery_shows() {
    let app = start().await;
    let born = |date: &str| PersonFacts {
        given_name: String::new(),
        birth_date: date.into(),
        ..anna("Milano")
    };
    let one = id(&resolve(
        &app,
        record("crm", "1", &["email:one@shop.test"], born("1984-03-17")),
    )
    .await);
    let other = id(&resolve(&app, record("crm", "2", &["cookie:kiosk"], born("1961-11-02"))).await);
    assert_ne!(one, other);
    assert_eq!(who(&app, &at_the_kiosk("both", "email:one@shop.test")).await, one);
    assert_eq!(merges(&app).await.len(), 0);
    let asked = open_reviews(&app).await;
    assert!(
        asked.iter().any(|r| r.reason.contains("two dates of birth")),
        "{asked:?}"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_against_it_is_joined_by_one_delivery_as_before() {
    let app = start().await;
    let mail = who(&app, &named("mail", "email:giulia@example.com", "Giulia Bianchi")).await;
    let visit = who(&app, &named("visit", "cookie:phone", "Giulia B.")).await;
    assert_ne!(mail, visit);
    let mut both = interaction("both", "email:giulia@example.com");
    both.also_known_as = vec![crate::world::with_trust("cookie:phone", Trust::Observed)];
    assert_eq!(who(&app, &both).await, mail);
    assert_eq!(merges(&app).await.len(), 1);
    assert_eq!(open_reviews(&app).await.len(), 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_joined_by_a_handle_alone_is_asked_about_when_it_turns_out_to_be_shared() {
    let app = start().await;
    let visit = who(&app, &interaction("visit", "cookie:kiosk")).await;
    let mail = who(&app, &interaction("mail", "email:one@example.com")).await;
    assert_eq!(
        who(&app, &at_the_kiosk("form", "email:one@example.com")).await,
        visit
    );
    assert_eq!(merges(&app).await.len(), 1, "nothing speaks against it yet");
    assert_eq!(
        who(&app, &named("visit 2", "cookie:kiosk", "Mario Rossi")).await,
        visit
    );
    assert_ne!(mail, visit);
    for name in ["Giulia Bianchi", "Teresa Verdi", "Ottavio Neri"] {
        let address = format!("email:{}@example.com", name.split(' ').next().expect("a name"));
        let mut seen = named(name, &address, name);
        who(&app, &seen).await;
        seen = at_the_kiosk(&format!("{name}'s form"), &address);
        seen.display_name = name.into();
        who(&app, &seen).await;
    }
    let asked = open_reviews(&app).await;
    let about = asked.iter().find(|r| r.reason.contains("several people use it"));
    let about = about.expect("a person is asked");
    assert_eq!(about.customer_id, visit);
    assert!(about.reason.contains("one cookie"), "{}", about.reason);
    app.stop().await;
}
