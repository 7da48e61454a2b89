//! Bodies that integrators can check: `trama-signature: t=<seconds>,v1=<hex HMAC-SHA-256 of "<t>.<body>">`.

use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Name of the header.
pub const SIGNATURE_HEADER: &str = "trama-signature";

/// The header's value. The moment is signed with the body, so that an old request cannot be sent again as a new one.
pub fn signature(secret: &str, body: &[u8], now: DateTime<Utc>) -> String {
    let seconds = now.timestamp();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    let hex: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("t={seconds},v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_what_openssl_makes() {
        let at = DateTime::from_timestamp(1_780_308_000, 0).expect("a moment");
        // printf '1780308000.{"a":1}' | openssl dgst -sha256 -hmac key
        assert_eq!(
            signature("key", b"{\"a\":1}", at),
            "t=1780308000,v1=9545820e81eb2c2594d142015cf681258c7b9a987ecdd53f0a6c80e67dbb3484"
        );
        assert_ne!(signature("key", b"{}", at), signature("other", b"{}", at));
    }
}
