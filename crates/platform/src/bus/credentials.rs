//! How NATS lets us in: by the URL, or by a file that is read at every connection, so that a rotated one is in force then.

use std::path::Path;

use async_nats::{Auth, AuthError, ConnectOptions};
use nkeys::KeyPair;

use crate::{Error, Kind, config::BusConfig};

/// What is in such a file.
#[derive(Debug, Clone, Copy)]
enum Content {
    /// A JWT and the seed of its key, as `nsc generate creds` writes them.
    Creds,
    /// The seed alone.
    Nkey,
}

/// Options for a connection.
///
/// # Errors
/// When the file cannot be read, or is not what it should be.
pub(super) fn options(url: &str, config: &BusConfig) -> Result<ConnectOptions, Error> {
    let (file, content) = match (&config.creds_file, &config.nkey_file) {
        (Some(file), _) => (file.clone(), Content::Creds),
        (None, Some(file)) => (file.clone(), Content::Nkey),
        (None, None) => return Ok(of_url(url)),
    };
    // Once now: the start can say what is wrong with it, a later connection can only try again.
    sign(&file, content, b"")
        .map_err(|why| Error::new(Kind::Precondition, format!("{}: {why}", file.display())))?;
    Ok(ConnectOptions::with_auth_callback(move |nonce| {
        let signed = sign(&file, content, &nonce).map_err(AuthError::new);
        async move { signed }
    }))
}

/// Answers the server's challenge by what is in the file now. A small file on a local disk: read where we are.
fn sign(file: &Path, content: Content, nonce: &[u8]) -> Result<Auth, String> {
    let text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
    answer(&text, content, nonce)
}

fn answer(text: &str, content: Content, nonce: &[u8]) -> Result<Auth, String> {
    let (jwt, seed) = match content {
        Content::Creds => (
            Some(block(text, "NATS USER JWT")?),
            block(text, "USER NKEY SEED")?,
        ),
        Content::Nkey => (None, text.trim().to_owned()),
    };
    let key = KeyPair::from_seed(&seed).map_err(|_| "holds no nkey".to_owned())?;
    let mut auth = Auth::new();
    auth.signature = Some(key.sign(nonce).map_err(|_| "its key does not sign".to_owned())?);
    auth.nkey = jwt.is_none().then(|| key.public_key());
    auth.jwt = jwt;
    Ok(auth)
}

/// What stands between `-----BEGIN name-----` and the next line of dashes.
fn block(text: &str, name: &str) -> Result<String, String> {
    let begin = format!("-----BEGIN {name}-----");
    let mut lines = text
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != begin)
        .skip(1);
    lines
        .find(|line| !line.is_empty())
        .filter(|line| !line.starts_with('-'))
        .map(ToOwned::to_owned)
        .ok_or_else(|| format!("has no block {begin}"))
}

/// The client looks for credentials in its options only, not in the URL.
fn of_url(url: &str) -> ConnectOptions {
    let options = ConnectOptions::new();
    let first = url.split(',').next().unwrap_or(url);
    match url::Url::parse(first) {
        Ok(url) if !url.username().is_empty() => match url.password() {
            Some(password) => options.user_and_password(decoded(url.username()), decoded(password)),
            None => options.token(decoded(url.username())),
        },
        Ok(_) | Err(_) => options,
    }
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_answers_the_challenge_as_its_public_key() {
        let key = KeyPair::new_user();
        let text = format!("{}\n", key.seed().unwrap());
        let auth = answer(&text, Content::Nkey, b"challenge").unwrap();
        assert_eq!(auth.nkey, Some(key.public_key()));
        assert!(auth.jwt.is_none());
        key.verify(b"challenge", &auth.signature.unwrap()).unwrap();
    }

    #[test]
    fn a_credentials_file_brings_its_jwt_and_answers_by_its_seed() {
        let key = KeyPair::new_user();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\nheader.claims.signature\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            key.seed().unwrap()
        );
        let auth = answer(&text, Content::Creds, b"challenge").unwrap();
        assert_eq!(auth.jwt.as_deref(), Some("header.claims.signature"));
        assert!(auth.nkey.is_none());
        key.verify(b"challenge", &auth.signature.unwrap()).unwrap();
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_and_its_content_is_not_told() {
        for content in [Content::Nkey, Content::Creds] {
            let Err(why) = answer("no seed", content, b"challenge") else {
                panic!("it was taken")
            };
            assert!(!why.contains("no seed"), "{why}");
        }
        assert!(sign(Path::new("/nowhere/at/all"), Content::Nkey, b"challenge").is_err());
    }
}
