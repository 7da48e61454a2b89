//! Graph: what it accepts, what it refuses, and media in two steps.

use serde_json::{Value, json};
use trama_sandbox::{Fault, FaultRule, Provider, Raw};

use crate::harness::{
    ACCESS_TOKEN, PATIENCE, PHONE_NUMBER_ID, client, graph_url, quiet_sandbox, send_whatsapp, text_message,
};

const CUSTOMER: &str = "+393201112233";

#[tokio::test]
async fn an_accepted_send_is_recorded() -> anyhow::Result<()> {
    let sandbox = quiet_sandbox().await?;
    let message = text_message(CUSTOMER, "ciao");
    let (status, answer) = send_whatsapp(&sandbox, &message).await?;
    assert_eq!(status, 200);
    assert_eq!(answer["messaging_product"], "whatsapp");

    let sent = sandbox.wait_for_sent(|sent| sent.to == CUSTOMER, PATIENCE);
    let sent = sent.await.expect("it was accepted");
    assert_eq!(sent.number, 1);
    assert_eq!(sent.provider, Provider::WhatsApp);
    assert_eq!(sent.body_text.as_deref(), Some("ciao"));
    assert!(sent.provider_message_id.starts_with("wamid."));
    assert_eq!(answer["messages"][0]["id"], sent.provider_message_id);
    assert!(matches!(sent.raw, Raw::Json(raw) if raw == message));
    Ok(())
}

#[tokio::test]
async fn a_bad_token_gets_190_and_nothing_is_sent() -> anyhow::Result<()> {
    let sandbox = quiet_sandbox().await?;
    let url = graph_url(&sandbox, &format!("{PHONE_NUMBER_ID}/messages"));
    let message = text_message(CUSTOMER, "ciao");
    for token in [Some("wrong"), None] {
        let mut request = client()?.post(&url).json(&message);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await?;
        assert_eq!(response.status().as_u16(), 401);
        let body: Value = response.json().await?;
        assert_eq!(body["error"]["code"], 190);
        assert_eq!(body["error"]["type"], "OAuthException");
    }
    assert!(sandbox.sent().is_empty());
    assert_eq!(sandbox.refused(), 2);
    Ok(())
}

#[tokio::test]
async fn a_wrong_shape_gets_100() -> anyhow::Result<()> {
    let sandbox = quiet_sandbox().await?;
    let valid = text_message(CUSTOMER, "ciao");
    let broken = [
        ("messaging_product", json!("sms")),
        ("recipient_type", json!("group")),
        ("to", json!("")),
        ("to", json!("not a number")),
        ("type", json!("image")),
        ("type", json!("hologram")),
        ("text", json!({"body": ""})),
        ("text", json!({"body": "x".repeat(4097)})),
        ("context", json!({})),
        ("biz_opaque_callback_data", json!("x".repeat(513))),
    ];
    for (field, value) in broken {
        let mut message = valid.clone();
        message[field] = value;
        let (status, body) = send_whatsapp(&sandbox, &message).await?;
        assert_eq!((status, &body["error"]["code"]), (400, &json!(100)), "{field}");
    }
    assert!(sandbox.sent().is_empty());
    Ok(())
}

#[tokio::test]
async fn every_kind_of_message_is_accepted() -> anyhow::Result<()> {
    let sandbox = quiet_sandbox().await?;
    let kinds = [
        (
            "image",
            json!({"link": "https://example.com/a.png", "caption": "a"}),
        ),
        (
            "document",
            json!({"link": "https://example.com/a.pdf", "filename": "a.pdf"}),
        ),
        ("location", json!({"latitude": 45.4, "longitude": 9.2})),
        ("contacts", json!([{"name": {"formatted_name": "A"}}])),
        ("reaction", json!({"message_id": "wamid.x", "emoji": ""})),
        (
            "interactive",
            json!({"type": "button", "body": {"text": "a"}, "action": {"buttons": []}}),
        ),
        (
            "template",
            json!({"name": "order", "language": {"code": "it"}, "components": [
                {"type": "body", "parameters": [{"type": "text", "text": "a"}]},
            ]}),
        ),
    ];
    for (kind, content) in kinds {
        let message = json!({
            "messaging_product": "whatsapp",
            "recipient": "US.13491208655302741918",
            "type": kind,
            kind: content,
        });
        let (status, answer) = send_whatsapp(&sandbox, &message).await?;
        assert_eq!(status, 200, "{kind}: {answer}");
        assert_eq!(answer["contacts"][0]["user_id"], "US.13491208655302741918");
    }
    assert_eq!(sandbox.sent().len(), 7);
    Ok(())
}

#[tokio::test]
async fn a_read_mark_is_no_send() -> anyhow::Result<()> {
    let sandbox = quiet_sandbox().await?;
    let mark = json!({"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.x"});
    let (status, answer) = send_whatsapp(&sandbox, &mark).await?;
    assert_eq!((status, answer), (200, json!({"success": true})));
    assert_eq!(sandbox.read_marks(), ["wamid.x"]);
    assert!(sandbox.sent().is_empty());
    Ok(())
}

#[tokio::test]
async fn outside_the_window_only_templates_pass() -> anyhow::Result<()> {
    let sandbox = quiet_sandbox().await?;
    sandbox.set_window_closed("393201112233", true);
    let (status, body) = send_whatsapp(&sandbox, &text_message(CUSTOMER, "ciao")).await?;
    assert_eq!((status, &body["error"]["code"]), (400, &json!(131_047)));

    let template = json!({
        "messaging_product": "whatsapp",
        "to": CUSTOMER,
        "type": "template",
        "template": {"name": "hello", "language": {"code": "it"}},
    });
    assert_eq!(send_whatsapp(&sandbox, &template).await?.0, 200);
    sandbox.set_window_closed(CUSTOMER, false);
    let (status, _) = send_whatsapp(&sandbox, &text_message(CUSTOMER, "ciao")).await?;
    assert_eq!(status, 200);
    Ok(())
}

#[tokio::test]
async fn planted_faults_hit_the_next_sends_and_then_are_gone() -> anyhow::Result<()> {
    let sandbox = quiet_sandbox().await?;
    let fault = |times, fault| FaultRule {
        provider: Some(Provider::WhatsApp),
        to: None,
        times,
        fault,
    };
    sandbox.fail_next(fault(
        1,
        Fault::Status {
            status: 429,
            retry_after_s: Some(7),
        },
    ));
    sandbox.fail_next(fault(2, Fault::Refuse { code: 131_056 }));
    let message = text_message(CUSTOMER, "ciao");

    let url = graph_url(&sandbox, &format!("{PHONE_NUMBER_ID}/messages"));
    let request = client()?.post(url).bearer_auth(ACCESS_TOKEN).json(&message);
    let throttled = request.send().await?;
    assert_eq!(throttled.status().as_u16(), 429);
    assert_eq!(throttled.headers()["retry-after"], "7");
    for _ in 0..2 {
        let (status, body) = send_whatsapp(&sandbox, &message).await?;
        assert_eq!((status, &body["error"]["code"]), (400, &json!(131_056)));
    }
    assert_eq!(send_whatsapp(&sandbox, &message).await?.0, 200);
    assert_eq!(sandbox.sent().len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_send_without_an_answer_was_sent_all_the_same() -> anyhow::Result<()> {
    let sandbox = quiet_sandbox().await?;
    sandbox.fail_next(FaultRule {
        provider: None,
        to: None,
        times: 1,
        fault: Fault::NoAnswer,
    });
    let message = text_message(CUSTOMER, "ciao");
    let answer = send_whatsapp(&sandbox, &message);
    let sent = sandbox.wait_for_sent(|sent| sent.to == CUSTOMER, PATIENCE);
    tokio::select! {
        answer = answer => anyhow::bail!("an answer came: {answer:?}"),
        sent = sent => assert!(sent.is_some()),
    }
    sandbox.stop().await;
    Ok(())
}

#[tokio::test]
async fn media_takes_two_steps_and_the_token_in_both() -> anyhow::Result<()> {
    let sandbox = quiet_sandbox().await?;
    let id = sandbox.add_media(&b"\x89PNG picture"[..], "image/png");
    let first_step = client()?.get(graph_url(&sandbox, id.as_str()));
    let described: Value = first_step.bearer_auth(ACCESS_TOKEN).send().await?.json().await?;
    assert_eq!(described["mime_type"], "image/png");
    assert_eq!(described["file_size"], 12);
    assert_eq!(described["sha256"].as_str().map(str::len), Some(64));

    let url = described["url"].as_str().unwrap_or_default();
    let without_token = client()?.get(url).send().await?;
    assert_eq!(without_token.status().as_u16(), 401);
    let with_token = client()?.get(url).bearer_auth(ACCESS_TOKEN).send().await?;
    assert_eq!(with_token.headers()["content-type"], "image/png");
    assert_eq!(with_token.bytes().await?.as_ref(), b"\x89PNG picture");
    Ok(())
}

#[tokio::test]
async fn an_upload_can_be_sent_and_an_unknown_id_cannot() -> anyhow::Result<()> {
    let sandbox = quiet_sandbox().await?;
    let file = reqwest::multipart::Part::bytes(&b"%PDF"[..])
        .file_name("a.pdf")
        .mime_str("application/pdf")?;
    let form = reqwest::multipart::Form::new()
        .text("messaging_product", "whatsapp")
        .text("type", "application/pdf")
        .part("file", file);
    let url = graph_url(&sandbox, &format!("{PHONE_NUMBER_ID}/media"));
    let request = client()?.post(url).bearer_auth(ACCESS_TOKEN).multipart(form);
    let uploaded: Value = request.send().await?.json().await?;

    let document = |id: &Value| {
        json!({
            "messaging_product": "whatsapp",
            "to": CUSTOMER,
            "type": "document",
            "document": {"id": id, "filename": "a.pdf", "caption": "your invoice"},
        })
    };
    assert_eq!(send_whatsapp(&sandbox, &document(&uploaded["id"])).await?.0, 200);
    let (_, refused) = send_whatsapp(&sandbox, &document(&json!("1"))).await?;
    assert_eq!(refused["error"]["code"], 131_009);
    let sent = sandbox.sent();
    assert_eq!(sent[0].body_text.as_deref(), Some("your invoice"));
    Ok(())
}
