//! Short messages by Twilio.

use reqwest::Method;
use serde_json::Value;
use trama_platform::{
    outbound::{Outbound, read_limited},
    resources::Secrets,
};
use trama_proto::resources::TwilioProvider;

use super::{Outgoing, SendError, SendErrorKind, Sent, retry_after};

/// Largest answer that is read.
const MAX_ANSWER: usize = 64 * 1024;

pub(super) struct TwilioSms<'a> {
    pub spec: &'a TwilioProvider,
    pub secrets: &'a Secrets,
    pub outbound: &'a Outbound,
}

impl TwilioSms<'_> {
    pub async fn send(&self, outgoing: &Outgoing) -> Result<Sent, SendError> {
        let token = self.secrets.current(&outgoing.tenant, &self.spec.auth_token)?;
        let account = &self.spec.account_sid;
        let base = self.spec.api_base_url.trim_end_matches('/');
        let url = format!("{base}/2010-04-01/Accounts/{account}/Messages.json");
        // Twilio repeats a webhook after a 5xx only if told to.
        let callback = format!(
            "{}/webhooks/{}/{}#rc=5&rp=all",
            self.spec.public_base_url.trim_end_matches('/'),
            outgoing.tenant,
            outgoing.channel
        );
        let form = [
            ("To", outgoing.handle.value.as_str()),
            ("From", self.spec.number.as_str()),
            ("Body", outgoing.text.as_str()),
            ("StatusCallback", callback.as_str()),
        ];
        let request = self.outbound.request(Method::POST, &url)?;
        let response = request
            .basic_auth(account, Some(token))
            .form(&form)
            .send()
            .await
            .map_err(|e| SendError::no_answer("twilio", &e))?;
        let status = response.status();
        let after = retry_after(response.headers());
        let bytes = read_limited(response, MAX_ANSWER).await;
        let answer: Value = bytes
            .ok()
            .and_then(|b| serde_json::from_slice(&b).ok())
            .unwrap_or_default();
        if status.is_success() {
            return match answer.get("sid").and_then(Value::as_str) {
                Some(sid) => Ok(Sent {
                    provider_message_id: sid.to_owned(),
                }),
                None => Err(SendError::new(
                    SendErrorKind::Unknown,
                    "twilio gave no message id",
                )),
            };
        }
        // Its message quotes the number: only the code is kept.
        let code = answer.get("code").and_then(Value::as_i64);
        let words = match code {
            Some(code) => format!("twilio {code}"),
            None => format!("twilio answered {status}"),
        };
        if code == Some(20_003) {
            tracing::error!(
                channel = outgoing.channel,
                code,
                "twilio refuses our account; the channel is dead until this is mended"
            );
            metrics::counter!("trama_notification_dead_channels_total", "kind" => "sms").increment(1);
        }
        // 21610 opted out, 21211 and 21614 no such number …: this way is closed, another may be open.
        let busy = status.as_u16() == 429 || status.is_server_error();
        Err(SendError::new(
            if busy {
                SendErrorKind::Retry { after }
            } else {
                SendErrorKind::NextChannel
            },
            words,
        ))
    }
}
