//! A bucket of Amazon S3, or of what speaks its language.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::TryStreamExt as _;
use object_store::{
    BackoffConfig, ClientOptions, CredentialProvider, ObjectStore, ObjectStoreExt as _, PutPayload,
    RetryConfig,
    aws::{AmazonS3Builder, AwsCredential},
    path::Path as Key,
    prefix::PrefixStore,
};

use crate::{Error, Kind, config::S3Config};

/// Written and removed at the start, so that a bucket that only reads is known then.
const PROBE: &str = "trama-start-check";
/// Longest silence of a server that answers.
const SILENCE: Duration = Duration::from_secs(30);
/// Whoever waits for an answer does not wait longer for a store that comes and goes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A bucket that is there and takes what it is given.
pub(super) async fn open(config: &S3Config) -> Result<Arc<dyn ObjectStore>, Error> {
    crate::install_crypto();
    if let Some(dir) = &config.credentials_dir {
        let unreadable = |error: std::io::Error| {
            let words = format!("objects.s3.credentials_dir {}: {error}", dir.display());
            Error::new(Kind::Precondition, words)
        };
        Mounted(dir.clone()).read().await.map_err(unreadable)?;
    }
    let store = build(config)
        .map_err(|error| Error::new(Kind::Precondition, format!("objects.s3: {error}")).because(error))?;
    let store: Arc<dyn ObjectStore> = if config.prefix.is_empty() {
        Arc::new(store)
    } else {
        Arc::new(PrefixStore::new(store, config.prefix.as_str()))
    };
    check(store.as_ref())
        .await
        .map_err(|error| refused(config, error))?;
    Ok(store)
}

fn build(config: &S3Config) -> object_store::Result<impl ObjectStore> {
    let is_plain = config.endpoint.starts_with("http://");
    // A large object takes as long as it takes, as long as something comes.
    let client = ClientOptions::new()
        .with_timeout_disabled()
        .with_read_timeout(SILENCE)
        .with_connect_timeout(Duration::from_secs(5))
        .with_allow_http(is_plain);
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&config.bucket)
        .with_client_options(client)
        .with_retry(RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: 4,
            retry_timeout: PATIENCE,
        })
        // Objects are removed one by one anyway, and not everything that speaks S3 knows the other way.
        .with_disable_bulk_delete(true);
    if !config.region.is_empty() {
        builder = builder.with_region(&config.region);
    }
    builder = if config.endpoint.is_empty() {
        builder.with_virtual_hosted_style_request(true)
    } else {
        builder
            .with_endpoint(&config.endpoint)
            .with_virtual_hosted_style_request(false)
    };
    if let Some(dir) = &config.credentials_dir {
        builder = builder.with_credentials(Arc::new(Mounted(dir.clone())));
    }
    builder.build()
}

async fn check(store: &dyn ObjectStore) -> object_store::Result<()> {
    store.list(None).try_next().await?;
    let probe = Key::from(PROBE);
    store.put(&probe, PutPayload::from_static(b"")).await?;
    match store.delete(&probe).await {
        // Another replica starts, too.
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What whoever installs must mend ends the start; what may pass by itself is waited for.
fn refused(config: &S3Config, error: object_store::Error) -> Error {
    let bucket = &config.bucket;
    // The rest of the answer is not told: it may hold the key's id.
    let words = match code(&error.to_string()) {
        "" | "InternalError" | "OperationAborted" | "RequestTimeout" | "ServiceUnavailable" | "SlowDown" => {
            return Error::unavailable("object store", error);
        }
        "NoSuchBucket" => format!("objects.s3.bucket: there is no bucket {bucket}"),
        code => format!(
            "objects.s3: bucket {bucket} refuses us ({code}): our credentials must be good for listing it, and for getting, putting and deleting its objects"
        ),
    };
    Error::new(Kind::Precondition, words)
}

/// The server's word for it, such as `InvalidAccessKeyId`.
fn code(answer: &str) -> &str {
    let after = answer.split_once("<Code>").map_or("", |(_, after)| after);
    let code = after.split_once("</Code>").map_or("", |(code, _)| code);
    if code.bytes().all(|b| b.is_ascii_alphanumeric()) {
        code
    } else {
        ""
    }
}

/// Credentials in files: whoever rotates them need not restart anything.
#[derive(Debug)]
struct Mounted(PathBuf);

impl Mounted {
    async fn read(&self) -> std::io::Result<AwsCredential> {
        // kubelet swaps all files of a Secret at once, by this link: what is read through it belongs together.
        let dir = tokio::fs::canonicalize(self.0.join("..data")).await;
        let dir = dir.unwrap_or_else(|_| self.0.clone());
        let file = async |name: &str| {
            let text = tokio::fs::read_to_string(dir.join(name)).await?;
            Ok::<_, std::io::Error>(text.trim().to_owned())
        };
        let token = match file("session-token").await {
            Ok(token) => Some(token).filter(|token| !token.is_empty()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(AwsCredential {
            key_id: file("access-key-id").await?,
            secret_key: file("secret-access-key").await?,
            token,
        })
    }
}

#[async_trait]
impl CredentialProvider for Mounted {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        match self.read().await {
            Ok(credential) => Ok(Arc::new(credential)),
            Err(error) => Err(object_store::Error::Generic {
                store: "S3",
                source: format!("objects.s3.credentials_dir {}: {error}", self.0.display()).into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::code;

    #[test]
    fn of_an_answer_only_the_code_is_told() {
        let answer =
            "… 403: <Error><Code>InvalidAccessKeyId</Code><AWSAccessKeyId>AKIA</AWSAccessKeyId></Error>";
        assert_eq!(code(answer), "InvalidAccessKeyId");
        assert_eq!(code("403"), "");
        assert_eq!(code("<Code>a b</Code>"), "");
    }
}
