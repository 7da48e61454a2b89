//! Signatures against published vectors.

use serde_json::json;
use trama_sandbox::sign;

fn twilio_params(number: &str) -> Vec<(String, String)> {
    [
        ("CallSid", "CA1234567890ABCDE"),
        ("Caller", number),
        ("Digits", "1234"),
        ("From", number),
        ("To", "+18005551212"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

#[test]
fn twilio_signature_is_the_published_one() {
    let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
    assert_eq!(
        sign::twilio("12345", url, &twilio_params("+14158675309")),
        "RSOYDt4T1cUTdK1PDd93/VVr8B8="
    );
}

#[test]
fn twilio_signature_ignores_order_and_repetition() {
    let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
    let mut params = twilio_params("+14158675309");
    params.reverse();
    params.push(("Digits".to_owned(), "1234".to_owned()));
    assert_eq!(
        sign::twilio("12345", url, &params),
        "RSOYDt4T1cUTdK1PDd93/VVr8B8="
    );
}

#[test]
fn standard_webhooks_signature_is_the_published_one() {
    let signature = sign::standard_webhooks(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        br#"{"test": 2432232314}"#,
    );
    assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[test]
fn meta_signature_is_lower_case_hex_over_the_bytes() {
    // HMAC-SHA256 test vector of RFC 4231, case 2.
    assert_eq!(
        sign::meta("Jefe", b"what do ya want for nothing?"),
        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
}

#[test]
fn meta_json_leaves_no_byte_outside_ascii() {
    let value = json!({"text": "äöå 😀 \"quoted\""});
    let bytes = sign::meta_json(&value);
    assert_eq!(
        String::from_utf8_lossy(&bytes),
        r#"{"text":"\u00e4\u00f6\u00e5 \ud83d\ude00 \"quoted\""}"#
    );
}
