//! Receipts: signed, as often and in the order that the plan says, until they are taken.

use std::time::Duration;

use serde_json::json;
use trama_sandbox::{Callbacks, Fault, FaultRule, ReceiptOrder, ReceiptPlan, Retry, sign};

use crate::harness::{
    APP_SECRET, AUTH_TOKEN, Received, Receiver, sandbox, send_twilio, send_whatsapp, text_message,
};

fn quick_plan() -> ReceiptPlan {
    ReceiptPlan {
        delay: Duration::from_millis(1),
        retry: Retry {
            first_backoff: Duration::from_millis(1),
            ..Retry::default()
        },
        ..ReceiptPlan::default()
    }
}

fn meta_status(call: &Received) -> anyhow::Result<String> {
    let body = call.json()?;
    let status = &body["entry"][0]["changes"][0]["value"]["statuses"][0]["status"];
    Ok(status.as_str().unwrap_or_default().to_owned())
}

fn meta_statuses(calls: &[Received]) -> anyhow::Result<Vec<String>> {
    calls.iter().map(meta_status).collect()
}

#[tokio::test]
async fn a_whatsapp_send_is_followed_by_signed_statuses_in_order() -> anyhow::Result<()> {
    let receiver = Receiver::start(&[]).await?;
    let sandbox = sandbox(&receiver.url, quick_plan()).await?;
    let mut message = text_message("+39 320 111 2233", "ciao");
    message["biz_opaque_callback_data"] = json!("città 😀");
    let (status, answer) = send_whatsapp(&sandbox, &message).await?;
    assert_eq!(status, 200);
    assert_eq!(answer["contacts"][0]["wa_id"], "393201112233");

    let calls = receiver.wait_for(3).await?;
    assert_eq!(meta_statuses(&calls)?, ["sent", "delivered", "read"]);
    for call in &calls {
        assert!(call.body.is_ascii());
        assert_eq!(
            call.header("x-hub-signature-256")?,
            sign::meta(APP_SECRET, &call.body)
        );
        let body = call.json()?;
        let status = &body["entry"][0]["changes"][0]["value"]["statuses"][0];
        assert_eq!(status["id"], answer["messages"][0]["id"]);
        assert_eq!(status["recipient_id"], "393201112233");
        assert_eq!(status["biz_opaque_callback_data"], "città 😀");
    }
    sandbox.stop().await;
    Ok(())
}

#[tokio::test]
async fn copies_and_reversed_order_are_posted_as_planned() -> anyhow::Result<()> {
    let receiver = Receiver::start(&[]).await?;
    let plan = ReceiptPlan {
        copies: 2,
        order: ReceiptOrder::Reversed,
        ..quick_plan()
    };
    let sandbox = sandbox(&receiver.url, plan).await?;
    send_whatsapp(&sandbox, &text_message("+393201112233", "ciao")).await?;

    let calls = receiver.wait_for(6).await?;
    assert_eq!(
        meta_statuses(&calls)?,
        ["read", "read", "delivered", "delivered", "sent", "sent"]
    );
    assert_eq!(calls[0].body, calls[1].body);
    Ok(())
}

#[tokio::test]
async fn a_receipt_is_repeated_until_it_is_taken() -> anyhow::Result<()> {
    let receiver = Receiver::start(&[503, 500]).await?;
    let sandbox = sandbox(&receiver.url, quick_plan()).await?;
    send_whatsapp(&sandbox, &text_message("+393201112233", "ciao")).await?;

    let calls = receiver.wait_for(5).await?;
    assert_eq!(
        meta_statuses(&calls)?,
        ["sent", "sent", "sent", "delivered", "read"]
    );
    Ok(())
}

#[tokio::test]
async fn a_planted_failure_is_the_only_receipt() -> anyhow::Result<()> {
    let receiver = Receiver::start(&[]).await?;
    let sandbox = sandbox("", quick_plan()).await?;
    sandbox.set_callbacks(Callbacks {
        whatsapp: Some(receiver.url.clone()),
        ..Callbacks::default()
    });
    sandbox.fail_next(FaultRule {
        provider: None,
        to: Some("393201112233".to_owned()),
        times: 1,
        fault: Fault::FailReceipt { code: 131_026 },
    });
    send_whatsapp(&sandbox, &text_message("+393201112233", "ciao")).await?;
    receiver.wait_for(1).await?;
    send_whatsapp(&sandbox, &text_message("+393201112233", "ancora")).await?;

    let calls = receiver.wait_for(4).await?;
    assert_eq!(meta_statuses(&calls)?, ["failed", "sent", "delivered", "read"]);
    let body = calls[0].json()?;
    let status = &body["entry"][0]["changes"][0]["value"]["statuses"][0];
    assert_eq!(status["errors"][0]["code"], 131_026);
    Ok(())
}

#[tokio::test]
async fn a_twilio_send_is_followed_by_signed_callbacks_without_read_for_sms() -> anyhow::Result<()> {
    let receiver = Receiver::start(&[503]).await?;
    let sandbox = sandbox("", quick_plan()).await?;
    let callback = format!("{}#rc=5&rp=all", receiver.url);
    let (status, answer) = send_twilio(
        &sandbox,
        &[
            ("To", "+14155550100"),
            ("From", "+14155550199"),
            ("Body", "è arrivato"),
            ("StatusCallback", &callback),
        ],
    )
    .await?;
    assert_eq!(status, 201);
    assert_eq!(answer["status"], "queued");

    let calls = receiver.wait_for(3).await?;
    let mut statuses = Vec::new();
    for call in &calls {
        let params = call.form();
        assert_eq!(
            call.header("x-twilio-signature")?,
            sign::twilio(AUTH_TOKEN, &receiver.url, &params)
        );
        let field = |name: &str| params.iter().find(|(key, _)| key == name);
        assert_eq!(
            field("MessageSid").map(|(_, value)| value.as_str()),
            answer["sid"].as_str()
        );
        statuses.extend(field("MessageStatus").map(|(_, value)| value.clone()));
    }
    assert_eq!(statuses, ["sent", "sent", "delivered"]);
    let token = |call: usize| calls[call].header("i-twilio-idempotency-token");
    assert_eq!(token(0)?, token(1)?);
    assert_ne!(token(1)?, token(2)?);
    Ok(())
}
