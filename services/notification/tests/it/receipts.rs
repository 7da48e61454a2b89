//! What providers report: in any order, more than once, too early, or never.

use trama_proto::{
    ingest::v1::ReceiptStatus::{Delivered, Failed, Read, Sent},
    notification::v1::{MessageDelivered, MessageFailed, MessageRead, MessageSent, MessageStatus},
};
use trama_sandbox::{Fault, FaultRule, Provider};

use crate::world::{A_WHILE, World, code_to, message};

#[tokio::test]
async fn each_status_is_told_once_whatever_the_order_and_however_often() {
    let world = World::new().await;
    let request = message("one", &world.anna());
    world.ask(&request).await;
    let id = world
        .sent(&request.message_id)
        .await
        .outcome
        .expect("an outcome")
        .provider_message_id;
    for status in [Sent, Delivered, Delivered, Read, Sent, Read, Delivered, Failed] {
        world.receipt("wa", &id, "", status).await;
    }
    world.app.settle().await;
    assert_eq!(world.app.events::<MessageDelivered>().await.len(), 1);
    assert_eq!(world.app.events::<MessageRead>().await.len(), 1);
    assert_eq!(world.app.events::<MessageFailed>().await.len(), 0);

    let reversed = message("two", &request.customer_id);
    world.ask(&reversed).await;
    let id = world
        .sent(&reversed.message_id)
        .await
        .outcome
        .expect("an outcome")
        .provider_message_id;
    for status in [Read, Delivered, Sent] {
        world.receipt("wa", &id, &reversed.message_id, status).await;
    }
    world.app.settle().await;
    assert_eq!(
        world.app.events::<MessageDelivered>().await.len(),
        1,
        "it had been read already"
    );
    assert_eq!(world.app.events::<MessageRead>().await.len(), 2);
    world.stop().await;
}

#[tokio::test]
async fn a_receipt_that_is_faster_than_our_own_record_is_kept_for_it() {
    let world = World::new().await;
    let request = code_to("email", "anna@example.com");
    let id = format!("{}@acme.example", request.message_id);
    world.receipt("mail", &id, "", Delivered).await;
    world.receipt("mail", &id, "", Delivered).await;
    world.app.settle().await;
    world.ask(&request).await;
    world.reaches(&request.message_id, MessageStatus::Delivered).await;
    world.app.settle().await;
    assert_eq!(world.app.events::<MessageSent>().await.len(), 1);
    assert_eq!(world.app.events::<MessageDelivered>().await.len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn a_send_whose_answer_is_lost_is_settled_by_its_receipt() {
    let world = World::new().await;
    let request = message("lost", &world.anna());
    world.sandbox.fail_next(FaultRule {
        provider: Some(Provider::WhatsApp),
        to: None,
        times: 1,
        fault: Fault::NoAnswer,
    });
    world.ask(&request).await;
    world.failed_tries(&request.message_id, 1).await;
    let id = world.through(Provider::WhatsApp)[0].provider_message_id.clone();
    world.receipt("wa", &id, &request.message_id, Delivered).await;
    world.app.settle().await;
    world.app.clock.advance(A_WHILE);
    let kept = world.reaches(&request.message_id, MessageStatus::Delivered).await;
    assert_eq!(kept.provider_message_id, id);
    assert_eq!(world.sandbox.sent().len(), 1, "not sent again");
    assert_eq!(world.sent(&request.message_id).await.text, kept.text);
    world.stop().await;
}

#[tokio::test]
async fn a_send_whose_answer_is_lost_without_receipt_is_tried_once_more() {
    let world = World::new().await;
    let request = message("lost", &world.anna());
    world.sandbox.fail_next(FaultRule {
        provider: Some(Provider::WhatsApp),
        to: None,
        times: 2,
        fault: Fault::NoAnswer,
    });
    world.ask(&request).await;
    world.failed_tries(&request.message_id, 1).await;
    world.app.clock.advance(A_WHILE);
    let kept = world.reaches(&request.message_id, MessageStatus::Failed).await;
    assert!(kept.reason.contains("unknown twice"), "{}", kept.reason);
    assert_eq!(world.sandbox.sent().len(), 2);
    world.stop().await;
}

#[tokio::test]
async fn a_sender_that_died_is_taken_over() {
    let world = World::new().await;
    let request = message("died", &world.anna());
    world.refuses_once(Provider::WhatsApp, 500, Some(3_600));
    world.ask(&request).await;
    world.failed_tries(&request.message_id, 1).await;
    // As a process leaves it that dies between the provider's answer and its own record.
    let mut tx = world
        .app
        .db("notification")
        .system_tx()
        .await
        .expect("a transaction");
    let due = tx.now();
    sqlx::query("UPDATE attempts SET state = 'sending', error = ''")
        .execute(tx.conn())
        .await
        .expect("updated");
    sqlx::query("UPDATE messages SET due_at = $1")
        .bind(due)
        .execute(tx.conn())
        .await
        .expect("updated");
    tx.commit().await.expect("committed");
    world.sent(&request.message_id).await;
    let kept = world.get(&request.message_id).await.expect("a message");
    assert_eq!(kept.attempts[0].error, "the sender died");
    assert_eq!(kept.attempts.len(), 2);
    world.stop().await;
}

#[tokio::test]
async fn a_provider_that_gives_up_later_hands_over_to_the_next_channel() {
    let world = World::new().await;
    let request = message("later", &world.anna());
    world.ask(&request).await;
    let id = world
        .sent(&request.message_id)
        .await
        .outcome
        .expect("an outcome")
        .provider_message_id;
    world.receipt("wa", &id, &request.message_id, Failed).await;
    world.receipt("wa", &id, &request.message_id, Failed).await;
    world
        .app
        .eventually("a mail", || async { !world.through(Provider::Smtp).is_empty() })
        .await;
    let kept = world.reaches(&request.message_id, MessageStatus::Sent).await;
    assert_eq!(kept.channel, "mail");
    assert_eq!(world.app.events::<MessageFailed>().await.len(), 0);
    let code = code_to("phone", "+393331112222");
    world.ask(&code).await;
    let sid = world
        .sent(&code.message_id)
        .await
        .outcome
        .expect("an outcome")
        .provider_message_id;
    world.receipt("sms", &sid, "", Failed).await;
    world.reaches(&code.message_id, MessageStatus::Failed).await;
    assert_eq!(world.app.events::<MessageFailed>().await.len(), 1);
    world.stop().await;
}
