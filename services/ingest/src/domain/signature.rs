//! Signatures of providers over raw bytes, compared in constant time.
//!
//! A secret may hold several values, one per line, so that providers can be moved from an old one to a new one.

use std::collections::BTreeSet;

use base64::Engine as _;
use hmac::{Hmac, Mac as _};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use url::Url;

use crate::error::Forged;

const ANY_LENGTH: &str = "HMAC takes a key of any length";

/// The live values of a secret.
fn live(secret: &str) -> impl Iterator<Item = &str> {
    secret.lines().map(str::trim).filter(|s| !s.is_empty())
}

/// Compares texts without telling where they differ.
pub fn same(secret: &str, given: &str) -> bool {
    live(secret).fold(false, |found, s| {
        found | bool::from(s.as_bytes().ct_eq(given.as_bytes()))
    })
}

/// Checks `X-Hub-Signature-256` of Meta: `sha256=<hex>` over the body.
///
/// # Errors
/// When it is missing or not made with one of the secrets.
pub fn meta(secret: &str, header: Option<&str>, body: &[u8]) -> Result<(), Forged> {
    let header = header.ok_or(Forged::Missing)?;
    let given = header
        .strip_prefix("sha256=")
        .and_then(|h| hex::decode(h).ok())
        .ok_or(Forged::Wrong)?;
    let good = live(secret).fold(false, |found, secret| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect(ANY_LENGTH);
        mac.update(body);
        found | mac.verify_slice(&given).is_ok()
    });
    if good { Ok(()) } else { Err(Forged::Wrong) }
}

/// What Twilio signs, as we know it.
#[derive(Debug, Clone, Copy)]
pub struct TwilioRequest<'a> {
    /// The URL under which Twilio called us, by our configuration and never by `Host`.
    pub url: &'a str,
    /// Whether the body is a form.
    pub is_form: bool,
    /// The body.
    pub body: &'a [u8],
    /// `X-Twilio-Webhooks-Signature-Settings`: absent means HMAC-SHA1 with the account's token.
    pub settings: Option<&'a str>,
}

/// Checks `X-Twilio-Signature`: base64 of HMAC-SHA1 over the URL and each distinct form field, sorted.
///
/// # Errors
/// When it is missing or not made with one of the tokens.
pub fn twilio(tokens: &str, header: Option<&str>, request: &TwilioRequest<'_>) -> Result<(), Forged> {
    let header = header.ok_or(Forged::Missing)?;
    if request
        .settings
        .is_some_and(|s| !s.split(',').any(|part| part.trim() == "algorithm=HMAC_SHA1"))
    {
        return Err(Forged::Wrong);
    }
    let given = base64::engine::general_purpose::STANDARD
        .decode(header)
        .map_err(|_| Forged::Wrong)?;
    let mut fields = BTreeSet::new();
    if request.is_form {
        fields.extend(url::form_urlencoded::parse(request.body));
    } else if !request.body.is_empty() && !body_hash_is_right(request) {
        return Err(Forged::Wrong);
    }
    let mut good = false;
    for url in spellings(request.url) {
        for token in live(tokens) {
            let mut mac = Hmac::<Sha1>::new_from_slice(token.as_bytes()).expect(ANY_LENGTH);
            mac.update(url.as_bytes());
            for (name, value) in &fields {
                mac.update(name.as_bytes());
                mac.update(value.as_bytes());
            }
            good |= mac.verify_slice(&given).is_ok();
        }
    }
    if good { Ok(()) } else { Err(Forged::Wrong) }
}

/// A body that is no form is covered by its hash in the query.
fn body_hash_is_right(request: &TwilioRequest<'_>) -> bool {
    let Ok(url) = Url::parse(request.url) else {
        return false;
    };
    let wanted = url
        .query_pairs()
        .find(|(name, _)| name == "bodySHA256")
        .map(|(_, value)| value);
    wanted.is_some_and(|w| hex::decode(w.as_bytes()).is_ok_and(|w| w[..] == Sha256::digest(request.body)[..]))
}

/// The URL as it is, with and without its port: Twilio signs either.
fn spellings(url: &str) -> Vec<String> {
    let mut all = vec![url.to_owned()];
    let Some((scheme, rest)) = url.split_once("://") else {
        return all;
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let host_start = authority.rfind('@').map_or(0, |at| at + 1);
    let port_at = authority[host_start..]
        .rfind(':')
        .map(|at| at + host_start)
        .filter(|at| authority[at + 1..].bytes().all(|b| b.is_ascii_digit()));
    match port_at {
        Some(at) => all.push(format!("{scheme}://{}{tail}", &authority[..at])),
        None => {
            let port = if scheme.eq_ignore_ascii_case("https") {
                443
            } else {
                80
            };
            all.push(format!("{scheme}://{authority}:{port}{tail}"));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";
    const BODY: &[u8] =
        b"CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212";

    fn form<'a>(url: &'a str, body: &'a [u8]) -> TwilioRequest<'a> {
        TwilioRequest {
            url,
            is_form: true,
            body,
            settings: None,
        }
    }

    #[test]
    fn the_vector_of_twilios_own_library_is_accepted() {
        assert_eq!(
            twilio("12345", Some("RSOYDt4T1cUTdK1PDd93/VVr8B8="), &form(URL, BODY)),
            Ok(())
        );
        assert_eq!(
            twilio("12346", Some("RSOYDt4T1cUTdK1PDd93/VVr8B8="), &form(URL, BODY)),
            Err(Forged::Wrong)
        );
        assert_eq!(twilio("12345", None, &form(URL, BODY)), Err(Forged::Missing));
    }

    #[test]
    fn both_secrets_are_live_while_one_is_replaced() {
        let old_and_new = "new\n12345\n";
        assert_eq!(
            twilio(
                old_and_new,
                Some("RSOYDt4T1cUTdK1PDd93/VVr8B8="),
                &form(URL, BODY)
            ),
            Ok(())
        );
    }

    #[test]
    fn the_port_may_be_named_or_not() {
        for signed in ["https://mycompany.com:443/a?b=c", "https://mycompany.com/a?b=c"] {
            let mut mac = Hmac::<Sha1>::new_from_slice(b"token").expect(ANY_LENGTH);
            mac.update(signed.as_bytes());
            let signature = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
            for called in ["https://mycompany.com:443/a?b=c", "https://mycompany.com/a?b=c"] {
                assert_eq!(
                    twilio("token", Some(&signature), &form(called, b"")),
                    Ok(()),
                    "{signed} {called}"
                );
            }
        }
    }

    #[test]
    fn another_algorithm_is_refused() {
        let request = TwilioRequest {
            settings: Some("key=k,algorithm=HMAC_SHA256"),
            ..form(URL, BODY)
        };
        assert_eq!(
            twilio("12345", Some("RSOYDt4T1cUTdK1PDd93/VVr8B8="), &request),
            Err(Forged::Wrong)
        );
    }

    #[test]
    fn an_order_of_the_fields_does_not_matter_and_a_repeated_one_counts_once() {
        let shuffled = b"To=%2B18005551212&Digits=1234&Digits=1234&From=%2B14158675309&CallSid=CA1234567890ABCDE&Caller=%2B14158675309";
        assert_eq!(
            twilio(
                "12345",
                Some("RSOYDt4T1cUTdK1PDd93/VVr8B8="),
                &form(URL, shuffled)
            ),
            Ok(())
        );
    }

    #[test]
    fn metas_signature_covers_the_bytes_as_sent() {
        let body = br#"{"text":"caff\u00e8"}"#;
        let header = "sha256=".to_owned()
            + &{
                let mut mac = Hmac::<Sha256>::new_from_slice(b"app").expect(ANY_LENGTH);
                mac.update(body);
                hex::encode(mac.finalize().into_bytes())
            };
        assert_eq!(meta("app", Some(&header), body), Ok(()));
        assert_eq!(
            meta("app", Some(&header), "{\"text\":\"caffè\"}".as_bytes()),
            Err(Forged::Wrong)
        );
        assert_eq!(meta("", Some(&header), body), Err(Forged::Wrong));
        assert_eq!(meta("app", None, body), Err(Forged::Missing));
    }

    proptest! {
        #[test]
        fn junk_is_refused_and_never_panics(header in "\\PC*", url in "\\PC*", body in any::<Vec<u8>>()) {
            prop_assert!(meta("secret", Some(&header), &body).is_err());
            prop_assert!(twilio("secret", Some(&header), &form(&url, &body)).is_err());
        }
    }
}
