//! Signatures as the real providers make them, to call a webhook as the provider would.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hmac::{Hmac, Mac};
use serde_json::Value;
use sha1::Sha1;
use sha2::Sha256;

const ANY_KEY_LENGTH: &str = "HMAC takes a key of any length";

/// Returns the `X-Hub-Signature-256` value of a Meta webhook: `sha256=` and lower-case hex over the raw body.
pub fn meta(app_secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(app_secret.as_bytes()).expect(ANY_KEY_LENGTH);
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// Writes JSON the way Meta does before it signs: everything outside ASCII becomes `\uXXXX`, in lower-case hex.
pub fn meta_json(value: &Value) -> Vec<u8> {
    let text = value.to_string();
    let mut escaped = String::with_capacity(text.len());
    let mut units = [0_u16; 2];
    for character in text.chars() {
        if character.is_ascii() {
            escaped.push(character);
        } else {
            for unit in character.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    escaped.into_bytes()
}

/// Returns the `X-Twilio-Signature` value: base64 of HMAC-SHA1 over the URL and each distinct parameter, sorted.
pub fn twilio(auth_token: &str, url: &str, params: &[(String, String)]) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(auth_token.as_bytes()).expect(ANY_KEY_LENGTH);
    mac.update(url.as_bytes());
    let distinct: BTreeSet<_> = params.iter().collect();
    for (key, value) in distinct {
        mac.update(key.as_bytes());
        mac.update(value.as_bytes());
    }
    STANDARD.encode(mac.finalize().into_bytes())
}

/// Returns the `webhook-signature` value of Standard Webhooks: `v1,` and base64 over `{id}.{timestamp}.{body}`.
///
/// The secret is `whsec_` and base64; prefix and padding may be missing, and a secret that is not base64 is used
/// as it stands.
pub fn standard_webhooks(secret: &str, id: &str, timestamp_s: i64, body: &[u8]) -> String {
    let encoded = secret.strip_prefix("whsec_").unwrap_or(secret);
    let key = STANDARD_NO_PAD
        .decode(encoded.trim_end_matches('='))
        .unwrap_or_else(|_| secret.as_bytes().to_vec());
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect(ANY_KEY_LENGTH);
    mac.update(format!("{id}.{timestamp_s}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}
