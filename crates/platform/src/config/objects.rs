//! Where attachments go.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where attachments go.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectsConfig {
    /// A local folder; unused with a bucket.
    pub dir: PathBuf,
    /// A bucket, for whoever runs more than one process.
    pub s3: S3Config,
}

/// A bucket of Amazon S3, or of what speaks its language.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct S3Config {
    /// Its name; empty: the folder is used.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// Where it is when it is not Amazon's: `https://minio.storage.svc:9000`. The bucket is the first word of the path then.
    pub endpoint: String,
    /// First words of every key, for a bucket that others use too.
    pub prefix: String,
    /// Folder with the files `access-key-id`, `secret-access-key` and, if there is one, `session-token`, such as a mounted
    /// Secret; read again for every request. None: from the environment, as Amazon's own tools take them (`AWS_…`), which
    /// is where a workload identity puts them.
    pub credentials_dir: Option<PathBuf>,
}

impl Default for ObjectsConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::from(".dev/objects"),
            s3: S3Config::default(),
        }
    }
}

impl ObjectsConfig {
    /// What makes no sense.
    pub(super) fn problem(&self) -> Option<(&'static str, &'static str)> {
        let s3 = &self.s3;
        if s3.bucket.is_empty() {
            let given = [&s3.endpoint, &s3.prefix].iter().any(|text| !text.is_empty());
            return (given || s3.credentials_dir.is_some()).then_some((
                "objects.s3.bucket",
                "must name the bucket of the rest of objects.s3",
            ));
        }
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
        if !(3..=63).contains(&s3.bucket.len()) || !s3.bucket.bytes().all(plain) {
            return Some(("objects.s3.bucket", "must be 3 to 63 of a-z, 0-9, - and ."));
        }
        if s3.endpoint.is_empty() && s3.region.is_empty() {
            return Some((
                "objects.s3.region",
                "must be the bucket's region, such as eu-south-1",
            ));
        }
        if !(s3.endpoint.is_empty() || is_web(&s3.endpoint)) {
            return Some(("objects.s3.endpoint", "must be https://host or http://host"));
        }
        let word = |word: &str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if !s3.prefix.is_empty() && !s3.prefix.split('/').all(word) {
            return Some((
                "objects.s3.prefix",
                "must be words of letters, digits, - and _, with / between them",
            ));
        }
        None
    }
}

fn is_web(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(change: impl FnOnce(&mut S3Config)) -> Option<&'static str> {
        let mut config = ObjectsConfig::default();
        config.s3.bucket = "acme-media".to_owned();
        config.s3.region = "eu-south-1".to_owned();
        change(&mut config.s3);
        config.problem().map(|(key, _)| key)
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        assert_eq!(ObjectsConfig::default().problem(), None);
        assert_eq!(problem(|_| {}), None);
        let elsewhere = |s3: &mut S3Config| {
            s3.region.clear();
            s3.endpoint = "http://minio.storage:9000".to_owned();
            s3.prefix = "contact/trama".to_owned();
        };
        assert_eq!(problem(elsewhere), None);
        assert_eq!(problem(|s3| s3.region.clear()), Some("objects.s3.region"));
        assert_eq!(
            problem(|s3| s3.bucket = "Media".into()),
            Some("objects.s3.bucket")
        );
        assert_eq!(
            problem(|s3| s3.endpoint = "minio:9000".into()),
            Some("objects.s3.endpoint")
        );
        assert_eq!(problem(|s3| s3.prefix = "/a".into()), Some("objects.s3.prefix"));
        let alone = |s3: &mut S3Config| {
            *s3 = S3Config {
                prefix: "a".into(),
                ..S3Config::default()
            }
        };
        assert_eq!(problem(alone), Some("objects.s3.bucket"));
    }
}
