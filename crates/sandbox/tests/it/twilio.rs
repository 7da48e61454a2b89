//! Twilio: what it accepts, what it refuses, and media behind a redirect.

use serde_json::{Value, json};
use trama_sandbox::{Fault, FaultRule, Provider};

use crate::harness::{ACCOUNT_SID, AUTH_TOKEN, client, quiet_sandbox, send_twilio};

const TO: (&str, &str) = ("To", "+14155550100");
const FROM: (&str, &str) = ("From", "+14155550199");
const BODY: (&str, &str) = ("Body", "hello");

#[tokio::test]
async fn an_accepted_send_is_recorded() -> anyhow::Result<()> {
    let sandbox = quiet_sandbox().await?;
    let (status, answer) = send_twilio(&sandbox, &[TO, FROM, BODY]).await?;
    assert_eq!(status, 201);
    assert_eq!(answer["error_code"], Value::Null);
    let sent = sandbox.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].provider, Provider::Twilio);
    assert_eq!(sent[0].body_text.as_deref(), Some("hello"));
    assert_eq!(sent[0].raw.field("From"), Some(FROM.1));
    assert_eq!(answer["sid"], sent[0].provider_message_id);
    Ok(())
}

#[tokio::test]
async fn errors_come_in_twilios_body() -> anyhow::Result<()> {
    let sandbox = quiet_sandbox().await?;
    let long = "x".repeat(1601);
    let broken: [(&[(&str, &str)], u32); 5] = [
        (&[FROM, BODY], 21_604),
        (&[("To", "nobody"), FROM, BODY], 21_211),
        (&[TO, BODY], 21_603),
        (&[TO, FROM], 21_602),
        (&[TO, FROM, ("Body", &long)], 21_617),
    ];
    for (fields, code) in broken {
        let (status, body) = send_twilio(&sandbox, fields).await?;
        assert_eq!(status, 400);
        assert_eq!((&body["code"], &body["status"]), (&json!(code), &json!(400)));
    }
    sandbox.fail_next(FaultRule {
        provider: Some(Provider::Twilio),
        to: Some(TO.1.to_owned()),
        times: 1,
        fault: Fault::Refuse { code: 21_610 },
    });
    let (_, opted_out) = send_twilio(&sandbox, &[TO, FROM, BODY]).await?;
    assert_eq!(opted_out["code"], 21_610);
    assert!(sandbox.sent().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_gets_20003() -> anyhow::Result<()> {
    let sandbox = quiet_sandbox().await?;
    let url = format!(
        "{}/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json",
        sandbox.base_url()
    );
    let request = client()?
        .post(url)
        .basic_auth(ACCOUNT_SID, Some("wrong"))
        .form(&[TO, FROM, BODY]);
    let response = request.send().await?;
    assert_eq!(response.status().as_u16(), 401);
    let body: Value = response.json().await?;
    assert_eq!(body["code"], 20_003);
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a test's own client")]
#[tokio::test]
async fn media_is_behind_a_redirect() -> anyhow::Result<()> {
    let sandbox = quiet_sandbox().await?;
    let id = sandbox.add_media(&b"jpeg"[..], "image/jpeg");
    let url = sandbox.twilio_media_url(&id).unwrap_or_default();
    let unredirected = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let refused = unredirected.get(&url).send().await?;
    assert_eq!(refused.status().as_u16(), 401);
    let request = unredirected.get(&url).basic_auth(ACCOUNT_SID, Some(AUTH_TOKEN));
    let redirect = request.send().await?;
    assert_eq!(redirect.status().as_u16(), 307);
    let location = redirect.headers()["location"].to_str()?;
    let media = client()?.get(location).send().await?;
    assert_eq!(media.headers()["content-type"], "image/jpeg");
    assert_eq!(media.bytes().await?.as_ref(), b"jpeg");
    Ok(())
}
