//! A merge of customers is undone while messages wait.

use trama_proto::{
    common::v1::{ChannelKind, CustomerContext},
    identity_resolution::v1::{CustomerMerged, CustomerSplit},
    ids::{CustomerId, InteractionId, MergeId, MessageId},
    notification::v1::{
        MessageFailed, MessageRequested, MessageStatus, SendMessageRequest,
        notification_service_client::NotificationServiceClient,
    },
    time::to_wire,
};
use trama_sandbox::Provider;

use crate::{
    identity::point,
    world::{A_WHILE, NUMBER, World, message},
};

const BRUNO_S_NUMBER: &str = "393339998888";

fn bruno(world: &World) -> String {
    let id = CustomerId::derived(&[b"bruno"]).to_string();
    let number = point(ChannelKind::Whatsapp, "whatsapp", BRUNO_S_NUMBER);
    world.identity.reach(&id, vec![number]);
    id
}

fn word(name: &str) -> String {
    InteractionId::derived(&[name.as_bytes()]).to_string()
}

fn merge_id() -> String {
    MergeId::derived(&[b"anna and bruno"]).to_string()
}

fn person(id: &str) -> Option<CustomerContext> {
    Some(CustomerContext {
        customer_id: id.to_owned(),
        ..CustomerContext::default()
    })
}

fn merge(world: &World, anna: &str, bruno: &str) -> CustomerMerged {
    CustomerMerged {
        merge_id: merge_id(),
        survivor: person(anna),
        merged_customer_id: bruno.to_owned(),
        reason: "linked".into(),
        merged_at: Some(to_wire(world.app.clock.now())),
        ..CustomerMerged::default()
    }
}

/// Bruno is himself again, with the word `bruno asks`.
fn split(world: &World, anna: &str, bruno: &str) -> CustomerSplit {
    CustomerSplit {
        merge_id: merge_id(),
        survivor: person(anna),
        restored: person(bruno),
        restored_interaction_ids: vec![word("bruno asks")],
        split_at: Some(to_wire(world.app.clock.now())),
        merged_at: None,
    }
}

/// A reply to somebody's word, asked for under a customer's id.
fn reply(world: &World, name: &str, customer: &str, to: &str) -> MessageRequested {
    MessageRequested {
        interaction_id: if to.is_empty() { String::new() } else { word(to) },
        requested_at: Some(to_wire(world.app.clock.now())),
        ..message(name, customer)
    }
}

async fn hears<E: trama_proto::events::Event>(world: &World, key: &str, event: &E) {
    world.app.publish("acme", key, event).await;
    world.app.settle().await;
}

/// It is asked for and stays in line: its provider has a bad moment.
async fn waits(world: &World, request: &MessageRequested) {
    world.refuses_once(Provider::WhatsApp, 500, None);
    world.ask(request).await;
    world.failed_tries(&request.message_id, 1).await;
}

fn numbers(world: &World) -> Vec<String> {
    world
        .through(Provider::WhatsApp)
        .into_iter()
        .map(|sent| sent.to)
        .collect()
}

#[tokio::test]
async fn a_reply_queued_while_merged_never_goes_to_the_other_s_channel_after_the_split() {
    let world = World::new().await;
    let (anna, bruno) = (world.anna(), bruno(&world));
    hears(&world, &anna, &merge(&world, &anna, &bruno)).await;
    let to_bruno = reply(&world, "to bruno", &anna, "bruno asks");
    waits(&world, &to_bruno).await;
    for _ in 0..2 {
        hears(&world, &anna, &split(&world, &anna, &bruno)).await;
    }
    // Anna's own does not wait behind it any more.
    let to_anna = reply(&world, "to anna", &anna, "anna asks");
    world.ask(&to_anna).await;
    world.sent(&to_anna.message_id).await;
    world.app.clock.advance(A_WHILE);
    let outcome = world
        .sent(&to_bruno.message_id)
        .await
        .outcome
        .expect("an outcome");
    assert_eq!(outcome.customer_id, bruno);
    assert_eq!(numbers(&world), [NUMBER, BRUNO_S_NUMBER]);

    // The merge once more, late: it stays undone.
    hears(&world, &anna, &merge(&world, &anna, &bruno)).await;
    let later = reply(&world, "later", &bruno, "bruno asks");
    world.ask(&later).await;
    world.sent(&later.message_id).await;
    assert_eq!(numbers(&world), [NUMBER, BRUNO_S_NUMBER, BRUNO_S_NUMBER]);
    world.stop().await;
}

#[tokio::test]
async fn a_reply_that_is_heard_of_after_the_split_goes_to_whose_word_it_answers() {
    let world = World::new().await;
    let (anna, bruno) = (world.anna(), bruno(&world));
    let to_bruno = reply(&world, "to bruno", &anna, "bruno asks");
    let to_anna = reply(&world, "to anna", &anna, "anna asks");
    let to_nobody = reply(&world, "to nobody", &anna, "");
    // Nobody was told of the merge: somebody was recognised at once.
    hears(&world, &anna, &split(&world, &anna, &bruno)).await;
    for request in [&to_bruno, &to_anna] {
        world.ask(request).await;
        world.sent(&request.message_id).await;
    }
    assert_eq!(numbers(&world), [BRUNO_S_NUMBER, NUMBER]);
    world.ask(&to_nobody).await;
    world.reaches(&to_nobody.message_id, MessageStatus::Failed).await;

    // What is asked of her from now on is hers.
    world.app.clock.advance(A_WHILE);
    let now = reply(&world, "now", &anna, "");
    world.ask(&now).await;
    world.sent(&now.message_id).await;
    assert_eq!(numbers(&world), [BRUNO_S_NUMBER, NUMBER, NUMBER]);
    world.stop().await;
}

#[tokio::test]
async fn what_nobody_can_tell_for_whom_it_was_is_not_sent_and_says_so() {
    let world = World::new().await;
    let (anna, bruno) = (world.anna(), bruno(&world));
    hears(&world, &anna, &merge(&world, &anna, &bruno)).await;
    let unclear = reply(&world, "unclear", &anna, "");
    waits(&world, &unclear).await;
    hears(&world, &anna, &split(&world, &anna, &bruno)).await;
    world.app.clock.advance(A_WHILE);
    let kept = world.reaches(&unclear.message_id, MessageStatus::Failed).await;
    assert!(
        kept.reason.contains("merge of customers was undone"),
        "{}",
        kept.reason
    );
    let told = world
        .app
        .wait_for("the failure", |e: &MessageFailed| {
            e.outcome
                .as_ref()
                .is_some_and(|o| o.message_id == unclear.message_id)
        })
        .await;
    let outcome = told.outcome.expect("an outcome");
    assert_eq!((outcome.case_id, outcome.reason), (unclear.case_id, kept.reason));
    assert!(world.sandbox.sent().is_empty());
    world.stop().await;
}

#[tokio::test]
async fn a_message_that_somebody_asks_to_be_sent_follows_the_word_that_it_names() {
    let world = World::new().await;
    let (anna, bruno) = (world.anna(), bruno(&world));
    hears(&world, &anna, &merge(&world, &anna, &bruno)).await;
    let mut client = NotificationServiceClient::new(world.app.grpc());
    let request = SendMessageRequest {
        customer_id: anna.clone(),
        text: "La tua macchina è pronta.".into(),
        request_id: "ready".into(),
        interaction_id: word("bruno asks"),
        ..SendMessageRequest::default()
    };
    let nobodys = SendMessageRequest {
        interaction_id: "bruno asks".into(),
        ..request.clone()
    };
    let refused = client
        .send_message(world.app.request("acme", "crm", nobodys))
        .await;
    assert_eq!(refused.expect_err("no id").code(), tonic::Code::InvalidArgument);
    world.refuses_once(Provider::WhatsApp, 500, None);
    let answer = client
        .send_message(world.app.request("acme", "crm", request))
        .await;
    let message = answer.expect("taken").into_inner().message_id;
    world.app.settle().await;
    world.failed_tries(&message, 1).await;
    hears(&world, &anna, &split(&world, &anna, &bruno)).await;
    world.app.clock.advance(A_WHILE);
    world.sent(&message).await;
    assert_eq!(numbers(&world), [BRUNO_S_NUMBER]);
    world.stop().await;
}

#[tokio::test]
async fn what_was_asked_of_the_survivor_before_the_merge_stays_hers() {
    let world = World::new().await;
    let (anna, bruno) = (world.anna(), bruno(&world));
    let hers = reply(&world, "hers", &anna, "");
    waits(&world, &hers).await;
    world.app.clock.advance(std::time::Duration::from_millis(1));
    let merge = merge(&world, &anna, &bruno);
    hears(&world, &anna, &merge).await;
    let split = CustomerSplit {
        merged_at: merge.merged_at,
        ..split(&world, &anna, &bruno)
    };
    hears(&world, &anna, &split).await;
    world.app.clock.advance(A_WHILE);
    world.sent(&hers.message_id).await;
    assert_eq!(numbers(&world), [NUMBER]);
    world.stop().await;
}

#[tokio::test]
async fn what_was_asked_under_the_restored_customer_s_id_is_given_back_too() {
    let world = World::new().await;
    let (anna, bruno) = (world.anna(), bruno(&world));
    let his = MessageRequested {
        message_id: MessageId::derived(&[b"his"]).to_string(),
        ..reply(&world, "his", &bruno, "")
    };
    waits(&world, &his).await;
    hears(&world, &anna, &merge(&world, &anna, &bruno)).await;
    hears(&world, &anna, &split(&world, &anna, &bruno)).await;
    world.app.clock.advance(A_WHILE);
    world.sent(&his.message_id).await;
    assert_eq!(numbers(&world), [BRUNO_S_NUMBER]);
    world.stop().await;
}
