//! The control API, as a story in another language uses it.

use serde_json::{Value, json};

use crate::harness::{client, quiet_sandbox, send_twilio, send_whatsapp, text_message};

#[tokio::test]
async fn a_waiting_caller_gets_the_send_it_waits_for() -> anyhow::Result<()> {
    let sandbox = quiet_sandbox().await?;
    send_whatsapp(&sandbox, &text_message("+393201112233", "first")).await?;
    let url = format!(
        "{}/_sandbox/sent?after=1&wait_ms=10000&provider=whatsapp&to=393201112233",
        sandbox.base_url()
    );
    let waiting = async { anyhow::Ok(client()?.get(url).send().await?.json::<Value>().await?) };
    let sending = async {
        let sms = [("To", "+393201112233"), ("From", "+1555"), ("Body", "sms")];
        send_twilio(&sandbox, &sms).await?;
        send_whatsapp(&sandbox, &text_message("+393201112233", "second")).await
    };
    let (answer, _) = tokio::try_join!(waiting, sending)?;
    assert_eq!(answer["last"], 3);
    assert_eq!(answer["sent"].as_array().map(Vec::len), Some(1));
    assert_eq!(answer["sent"][0]["body_text"], "second");
    assert_eq!(answer["sent"][0]["provider"], "whatsapp");
    assert_eq!(answer["sent"][0]["raw"]["json"]["text"]["body"], "second");
    Ok(())
}

#[tokio::test]
async fn nothing_new_is_an_empty_list() -> anyhow::Result<()> {
    let sandbox = quiet_sandbox().await?;
    let url = format!("{}/_sandbox/sent?after=0&wait_ms=1", sandbox.base_url());
    let answer: Value = client()?.get(url).send().await?.json().await?;
    assert_eq!(answer, json!({"sent": [], "last": 0}));
    Ok(())
}

#[tokio::test]
async fn faults_windows_and_media_are_planted_from_outside() -> anyhow::Result<()> {
    let sandbox = quiet_sandbox().await?;
    let control = |path: &str| format!("{}/_sandbox/{path}", sandbox.base_url());
    let message = text_message("+393201112233", "ciao");

    let rule = json!({"to": "+393201112233", "kind": "refuse", "code": 131_026});
    let planted = client()?.post(control("fail")).json(&rule).send().await?;
    assert_eq!(planted.status().as_u16(), 204);
    let (_, refused) = send_whatsapp(&sandbox, &message).await?;
    assert_eq!(refused["error"]["code"], 131_026);

    let window = json!({"to": "+393201112233", "closed": true});
    client()?.post(control("window")).json(&window).send().await?;
    let (_, refused) = send_whatsapp(&sandbox, &message).await?;
    assert_eq!(refused["error"]["code"], 131_047);

    let upload = client()?
        .post(control("media"))
        .header("content-type", "audio/ogg");
    let media: Value = upload.body("OggS").send().await?.json().await?;
    let twilio_url = media["twilio_url"].as_str().unwrap_or_default();
    let id = media["id"].as_str().unwrap_or_default();
    assert!(!id.is_empty() && twilio_url.ends_with(id));

    let health: Value = client()?.get(control("health")).send().await?.json().await?;
    assert_eq!(health["status"], "ok");
    assert_eq!((&health["sent"], &health["refused"]), (&json!(0), &json!(2)));
    Ok(())
}
