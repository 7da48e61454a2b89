//! Interactions in, customers out.

use trama_proto::{
    common::v1::{Interaction, Trust},
    identity_resolution::v1::{CustomerChanged, InteractionIdentified},
    ingest::v1::InteractionReceived,
};

use crate::world::{
    TENANT, count, handle, identify, interaction, logged_in, merges, receive, start, who, with_trust,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_sender_is_a_new_customer_and_a_known_one_is_not() {
    let app = start().await;
    let mail = Interaction {
        display_name: "Anna Rossi".into(),
        ..interaction("1", "email:Anna@Example.com")
    };
    let first = identify(&app, &mail).await.customer.expect("a customer");
    assert!(first.is_new);
    assert_eq!(first.display_name, "Anna Rossi");
    assert_eq!(first.entitlement, "standard");
    assert_eq!(first.handles, [handle("email:anna@example.com")]);
    assert_eq!(first.verification.expect("always set").level, 0);
    assert_eq!(first.language, "", "nobody knows it yet");
    let second = identify(&app, &interaction("2", "email:anna@example.com"))
        .await
        .customer
        .expect("a customer");
    assert!(!second.is_new);
    assert_eq!(second.customer_id, first.customer_id);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatsapp_and_telephone_are_one_line() {
    let app = start().await;
    let call = who(&app, &interaction("call", "phone:+393331234567")).await;
    let note = who(&app, &interaction("note", "whatsapp:393331234567")).await;
    assert_eq!(call, note);
    assert_eq!(merges(&app).await.len(), 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logged_in_chat_joins_what_was_two_and_proves_who_it_is() {
    let app = start().await;
    let mail = who(&app, &interaction("mail", "email:anna@example.com")).await;
    let anonymous = who(&app, &interaction("hello", "webchat:s1")).await;
    assert_ne!(mail, anonymous);
    let chat = identify(&app, &logged_in("login", "s1", "1001", "anna@example.com"))
        .await
        .customer
        .expect("a customer");
    assert_eq!(chat.customer_id, mail, "the oldest remains");
    assert_eq!(chat.entitlement, "gold", "by the id in the books");
    let proof = chat.verification.expect("always set");
    assert_eq!((proof.level, proof.method.as_str()), (1, "site_login"));
    let merged = merges(&app).await;
    assert_eq!(merged.len(), 1);
    assert_eq!(merged[0].merged_customer_id, anonymous);
    assert_eq!(
        merged[0].survivor.as_ref().map(|s| s.customer_id.clone()),
        Some(mail.clone())
    );
    // The next line of the chat brings no second merge and no second change.
    identify(&app, &logged_in("line", "s1", "1001", "anna@example.com")).await;
    assert_eq!(merges(&app).await.len(), 1);
    assert_eq!(app.events::<CustomerChanged>().await.len(), 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn second_delivery_changes_nothing() {
    let app = start().await;
    let chat = logged_in("login", "s1", "1001", "anna@example.com");
    let first = who(&app, &chat).await;
    let tables = [
        "customers",
        "handles",
        "merges",
        "verifications",
        "interaction_owner",
    ];
    let mut before = Vec::new();
    for table in tables {
        before.push(count(&app, table).await);
    }
    // The same content under another envelope, and one without any handle.
    assert_eq!(who(&app, &chat).await, first);
    let mut after = Vec::new();
    for table in tables {
        after.push(count(&app, table).await);
    }
    assert_eq!(after, before);
    let hidden = interaction("hidden", "phone:anonymous");
    assert_eq!(who(&app, &hidden).await, who(&app, &hidden).await);
    // The same envelope again, past the stream's own de-duplication.
    let event = InteractionReceived {
        interaction: Some(chat.clone()),
    };
    let id = app.publish(TENANT, "s1", &event).await;
    app.settle().await;
    let told = app.events::<InteractionIdentified>().await.len();
    app.deliver_again(id, TENANT, "s1", &event).await;
    app.settle().await;
    assert_eq!(app.events::<InteractionIdentified>().await.len(), told);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_batch_may_hold_several_interactions_of_somebody_new() {
    let app = start().await;
    for number in 0..20 {
        receive(
            &app,
            TENANT,
            &interaction(&number.to_string(), "email:new@example.com"),
        )
        .await;
    }
    app.settle().await;
    let told = app.events::<InteractionIdentified>().await;
    assert_eq!(told.len(), 20);
    assert_eq!(count(&app, "customers").await, 1);
    assert_eq!(
        told.iter()
            .filter(|p| p.event.customer.as_ref().is_some_and(|c| c.is_new))
            .count(),
        1
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_partitions_never_make_two_customers_of_one_handle() {
    let app = start().await;
    let mut publishing = Vec::new();
    for number in 0..60 {
        // The parties differ, so the partitions do too; the mail address is the same.
        for side in ["cookie", "webchat", "app"] {
            let mut seen = interaction(&format!("{side}{number}"), &format!("{side}:{side}-{number}"));
            seen.also_known_as = vec![with_trust(
                &format!("email:p{number}@example.com"),
                Trust::Observed,
            )];
            publishing.push(seen);
        }
    }
    for seen in &publishing {
        receive(&app, TENANT, seen).await;
    }
    app.settle().await;
    assert_eq!(
        app.events::<InteractionIdentified>().await.len(),
        publishing.len()
    );
    let mut tx = app
        .db("identity-resolution")
        .system_tx()
        .await
        .expect("a transaction");
    let live: i64 = sqlx::query_scalar("SELECT count(*) FROM customers WHERE merged_into IS NULL")
        .fetch_one(tx.conn())
        .await
        .expect("a count");
    assert_eq!(live, 60);
    let astray: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM handles h LEFT JOIN customers c USING (tenant, customer_id) WHERE c.customer_id IS NULL OR c.merged_into IS NOT NULL",
    )
    .fetch_one(tx.conn())
    .await
    .expect("a count");
    assert_eq!(astray, 0, "no handle is left with nobody or with an alias");
    drop(tx);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_telephone_joins_nobody() {
    let app = start().await;
    let father = who(&app, &interaction("father", "phone:+390299999999")).await;
    let son = who(&app, &interaction("son", "email:son@example.com")).await;
    let mut call = interaction("call", "phone:+390299999999");
    call.also_known_as = vec![with_trust("email:son@example.com", Trust::Verified)];
    assert_eq!(who(&app, &call).await, son);
    assert_ne!(father, son);
    assert_eq!(merges(&app).await.len(), 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_none_goes_aside_and_the_others_go_on() {
    let app = start().await;
    app.publish(TENANT, "x", &InteractionReceived { interaction: None })
        .await;
    let bad = Interaction {
        interaction_id: "no id".into(),
        ..interaction("bad", "email:x@example.com")
    };
    receive(&app, TENANT, &bad).await;
    who(&app, &interaction("good", "email:x@example.com")).await;
    assert_eq!(app.count(trama_platform::bus::Stream::DeadLetters).await, 2);
    app.stop().await;
}
