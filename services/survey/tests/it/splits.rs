//! A merge of customers is undone while somebody is to be asked.

use std::time::Duration;

use trama_proto::{
    case::v1::CaseResolved,
    common::v1::CustomerContext,
    identity_resolution::v1::{CustomerMerged, CustomerSplit},
    ids::{InteractionId, MergeId},
    survey::v1::InvitationStatus,
    time::to_wire,
};
use trama_testkit::{Keys, TestApp};

use crate::world::{app, asked, builder, customer, invitations, messages, resolved};

/// Its survey waits for ten minutes.
const TENANT: &str = "other";

fn word(name: &str) -> String {
    InteractionId::derived(&[name.as_bytes()]).to_string()
}

fn person(id: &str) -> Option<CustomerContext> {
    Some(CustomerContext {
        customer_id: id.to_owned(),
        language: "en".into(),
        ..CustomerContext::default()
    })
}

/// Nobody was told of the merge; Bruno is himself again, with the word `bruno asks`.
fn split(app: &TestApp) -> CustomerSplit {
    CustomerSplit {
        merge_id: MergeId::derived(&[b"m"]).to_string(),
        survivor: person(&customer("anna")),
        restored: person(&customer("bruno")),
        restored_interaction_ids: vec![word("bruno asks")],
        split_at: Some(to_wire(app.clock.now())),
        merged_at: None,
    }
}

fn after(word_of: &str, case: &str) -> CaseResolved {
    CaseResolved {
        interaction_id: if word_of.is_empty() {
            String::new()
        } else {
            word(word_of)
        },
        ..resolved(case, &customer("anna"))
    }
}

async fn hears<E: trama_proto::events::Event>(app: &TestApp, event: &E) {
    app.publish(TENANT, &customer("anna"), event).await;
    app.settle().await;
}

#[tokio::test]
async fn an_invitation_decided_while_merged_goes_to_whose_case_it_was() {
    let app = app().await;
    let (anna, bruno) = (customer("anna"), customer("bruno"));
    hears(&app, &after("bruno asks", "his")).await;
    assert_eq!(invitations(&app, TENANT, &anna).await.len(), 1);
    for _ in 0..2 {
        hears(&app, &split(&app)).await;
    }
    assert_eq!(invitations(&app, TENANT, &anna).await.len(), 0);
    assert_eq!(invitations(&app, TENANT, &bruno).await.len(), 1);
    app.advance(Duration::from_secs(700)).await;
    let question = asked(&app).await.pop().expect("a question");
    assert_eq!(question.customer_id, bruno);
    let message = messages(&app).await.pop().expect("a message");
    assert_eq!(
        (message.customer_id, message.interaction_id),
        (bruno, word("bruno asks"))
    );
    app.stop().await;
}

#[tokio::test]
async fn a_case_that_is_heard_of_after_the_split_is_asked_of_whose_word_was_the_last() {
    let app = app().await;
    let (anna, bruno) = (customer("anna"), customer("bruno"));
    let (his, hers, unclear) = (
        after("bruno asks", "his"),
        after("anna asks", "hers"),
        after("", "unclear"),
    );
    hears(&app, &split(&app)).await;
    for event in [&his, &hers, &unclear] {
        hears(&app, event).await;
    }
    let list = invitations(&app, TENANT, &bruno).await;
    assert_eq!(list.len(), 1);
    let list = invitations(&app, TENANT, &anna).await;
    assert_eq!(list.len(), 2);
    app.advance(Duration::from_secs(700)).await;
    let mut people: Vec<String> = asked(&app).await.into_iter().map(|q| q.customer_id).collect();
    people.sort();
    let mut both = vec![anna, bruno];
    both.sort();
    assert_eq!(people, both, "one of each");
    app.stop().await;
}

#[tokio::test]
async fn of_a_case_that_nobody_can_tell_whose_it_was_nobody_is_asked() {
    let app = app().await;
    hears(&app, &after("", "unclear")).await;
    hears(&app, &split(&app)).await;
    let list = invitations(&app, TENANT, &customer("anna")).await;
    assert_eq!(list[0].status(), InvitationStatus::Suppressed);
    assert!(
        list[0].reason.contains("merge of customers was undone"),
        "{}",
        list[0].reason
    );
    app.advance(Duration::from_secs(700)).await;
    assert!(asked(&app).await.is_empty());
    app.stop().await;
}

/// What the database shows of whoever is to be asked, as text.
async fn stored(app: &TestApp) -> Vec<String> {
    let mut tx = app.db("survey").system_tx().await.expect("a transaction");
    sqlx::query_scalar("SELECT encode(customer, 'escape') FROM invitations ORDER BY invitation_id")
        .fetch_all(tx.conn())
        .await
        .expect("rows")
}

#[tokio::test]
async fn what_is_known_of_a_survivor_is_sealed_as_what_was_known_of_the_merged() {
    let keys = Keys::new("survivor", &["one"]);
    let app = builder().configure(keys.in_use("one")).start().await;
    let named = |id: &str| {
        person(id).map(|context| CustomerContext {
            display_name: "Zelinda".into(),
            ..context
        })
    };
    let (anna, bruno) = (customer("anna"), customer("bruno"));
    hears(&app, &resolved("one", &bruno)).await;
    let merge = CustomerMerged {
        merge_id: MergeId::derived(&[b"m"]).to_string(),
        survivor: named(&anna),
        merged_customer_id: bruno.clone(),
        ..CustomerMerged::default()
    };
    let hidden =
        |rows: &[String]| rows.len() == 1 && !rows[0].contains("Zelinda") && !rows[0].contains(&bruno);
    hears(&app, &merge).await;
    let merged = stored(&app).await;
    assert!(hidden(&merged), "{merged:?}");
    let undone = CustomerSplit {
        survivor: named(&anna),
        restored: named(&bruno),
        ..split(&app)
    };
    hears(&app, &undone).await;
    let split = stored(&app).await;
    assert!(hidden(&split) && split != merged, "{split:?}");
    app.advance(Duration::from_secs(600)).await;
    let question = asked(&app).await.pop().expect("a question");
    assert_eq!(question.customer_id, bruno, "it can be read");
    app.stop().await;
}
