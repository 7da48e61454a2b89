//! Page sizes and page tokens: keyset, opaque to callers.

use base64::Engine as _;
use serde::{Serialize, de::DeserializeOwned};

use crate::Error;

const ENGINE: base64::engine::GeneralPurpose = base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The page size to use: 50 for 0, at most 500.
///
/// # Errors
/// When it is negative.
pub fn size(asked: i32) -> Result<i64, Error> {
    match asked {
        0 => Ok(50),
        n if n < 0 => Err(Error::invalid("page_size", "must not be negative")),
        n => Ok(i64::from(n.min(500))),
    }
}

/// The token that leads to what follows `last`.
pub fn token<T: Serialize>(last: &T) -> String {
    ENGINE.encode(serde_json::to_vec(last).unwrap_or_default())
}

/// Where a page begins; `None` at the first one.
///
/// # Errors
/// When the token is not one of ours.
pub fn start<T: DeserializeOwned>(token: &str) -> Result<Option<T>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let invalid = || {
        Error::invalid(
            "page_token",
            "take it unchanged from the last response, or leave it empty",
        )
    };
    let bytes = ENGINE.decode(token).map_err(|_| invalid())?;
    serde_json::from_slice(&bytes).map(Some).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tokens_come_back_and_junk_is_refused(at in any::<i64>(), junk in "\\PC{1,40}") {
            let token = super::token(&(at, "id"));
            prop_assert_eq!(super::start::<(i64, String)>(&token).expect("ours"), Some((at, "id".to_owned())));
            let _ = super::start::<(i64, String)>(&junk);
        }
    }
}
