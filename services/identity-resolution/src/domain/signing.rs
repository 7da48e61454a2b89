//! Bodies that integrators can check: `trama-signature: t=<seconds>,v1=<hex HMAC-SHA-256 of "<t>.<body>">`.

use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// Name of the header.
pub const SIGNATURE_HEADER: &str = "trama-signature";

/// The header's value. The moment is signed with the body, so that an old request cannot be sent again as a new one.
pub fn signature(secret: &str, body: &[u8], now: DateTime<Utc>) -> String {
    let seconds = now.timestamp();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    format!("t={seconds},v1={}", hex::encode(mac.finalize().into_bytes()))
}

/// How far the moment of a signature may be from ours: clocks differ, and an old request shall not be sent again for ever.
const TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// Why a body is not taken as the integrator's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// It is none.
    #[error("trama-signature must be t=<seconds>,v1=<hexadecimal digits>")]
    Malformed,
    /// From another time.
    #[error("the moment of the signature is more than five minutes from ours")]
    Stale,
    /// Another body's, or another key's.
    #[error("the signature is not that of this body by this secret")]
    Wrong,
}

/// Checks the header of a body that came. `secrets` holds one per line while they rotate: any of them may have signed.
///
/// # Errors
/// When it is not the integrator's, or not from now.
pub fn check(secrets: &str, header: &str, body: &[u8], now: DateTime<Utc>) -> Result<(), BadSignature> {
    let mut parts = header.split(',').map(str::trim);
    let moment = parts.next().and_then(|t| t.strip_prefix("t="));
    let seconds: i64 = moment
        .and_then(|t| t.parse().ok())
        .ok_or(BadSignature::Malformed)?;
    let at = DateTime::from_timestamp(seconds, 0).ok_or(BadSignature::Malformed)?;
    let given: Vec<&str> = parts.filter_map(|v| v.strip_prefix("v1=")).collect();
    if given.is_empty() {
        return Err(BadSignature::Malformed);
    }
    if (now - at).abs() > TOLERANCE {
        return Err(BadSignature::Stale);
    }
    let keys = secrets.lines().map(str::trim).filter(|key| !key.is_empty());
    let right = keys.map(|key| signature(key, body, at)).any(|right| {
        let (_, right) = right.split_once("v1=").unwrap_or_default();
        given
            .iter()
            .any(|given| bool::from(given.as_bytes().ct_eq(right.as_bytes())))
    });
    if right { Ok(()) } else { Err(BadSignature::Wrong) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_signed_by_any_of_the_secrets_within_five_minutes_is_the_integrators() {
        let at = DateTime::from_timestamp(1_780_308_000, 0).expect("a moment");
        let header = signature("old", b"{}", at);
        let later = |seconds| at + TimeDelta::seconds(seconds);
        assert_eq!(check("new\nold\n", &header, b"{}", later(300)), Ok(()));
        assert_eq!(check("old", &header, b"{}", later(-300)), Ok(()));
        assert_eq!(check("old", &header, b"{}", later(301)), Err(BadSignature::Stale));
        assert_eq!(check("old", &header, b"[]", at), Err(BadSignature::Wrong));
        assert_eq!(check("new", &header, b"{}", at), Err(BadSignature::Wrong));
        assert_eq!(check("", &header, b"{}", at), Err(BadSignature::Wrong));
        // A secret that is empty while it is being set up lets nobody in.
        assert_eq!(
            check("\n", &signature("", b"{}", at), b"{}", at),
            Err(BadSignature::Wrong)
        );
        assert_eq!(check("old", "v1=00", b"{}", at), Err(BadSignature::Malformed));
        assert_eq!(
            check("old", "t=1780308000", b"{}", at),
            Err(BadSignature::Malformed)
        );
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(header in "\\PC{0,60}", seconds in any::<i64>(), hex in "[0-9a-f]{0,70}") {
            let now = DateTime::UNIX_EPOCH;
            let _ = check("key", &header, b"{}", now);
            let _ = check("key", &format!("t={seconds},v1={hex}"), b"{}", now);
        }
    }

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
