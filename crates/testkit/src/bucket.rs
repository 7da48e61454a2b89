//! A bucket on a stand-in for Amazon S3 that others wrote (moto, `scripts/s3`). It looks at who signs, and whether right.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use trama_platform::{Clock, config::S3Config};

/// Its name.
const NAME: &str = "acme-media";
/// The calls by which a bucket and its user are made: the server lets them pass unsigned, and none after them.
const CALLS: u32 = 5;
/// What the documentation says that whoever uses the bucket must be allowed.
const POLICY: &str = r#"{"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::acme-media"},
    {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
     "Resource": "arn:aws:s3:::acme-media/*"}]}"#;

/// A key and its secret.
pub type Key = (String, String);

/// A bucket, and a user who may use it. It ends with the test.
pub struct Bucket {
    server: Child,
    folder: PathBuf,
    endpoint: String,
    keys: [Key; 2],
}

impl Bucket {
    /// Starts the server, which is installed from the Python package index the first time.
    ///
    /// # Panics
    /// When it does not start, with words that help.
    pub async fn start() -> Self {
        trama_platform::install_crypto();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/s3");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let folder = std::env::temp_dir().join(format!("trama-bucket-{}", Clock::system().new_id().simple()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let log = std::fs::File::create(folder.join("log")).expect("a log");
        let mut server = Command::new(script)
            .arg(address.port().to_string())
            .env("UNCHECKED_CALLS", CALLS.to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("scripts/s3 runs");
        let deadline = tokio::time::Instant::now() + Duration::from_secs(300);
        while tokio::net::TcpStream::connect(address).await.is_err() {
            let ended = server.try_wait().expect("a process of ours");
            if ended.is_some() || tokio::time::Instant::now() > deadline {
                let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
                panic!("scripts/s3 does not serve: {log}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let endpoint = format!("http://{address}");
        let setup = Setup::new(&endpoint);
        setup
            .iam(&[("Action", "CreateUser"), ("UserName", "trama")])
            .await;
        let policy = [
            ("Action", "PutUserPolicy"),
            ("UserName", "trama"),
            ("PolicyName", "media"),
            ("PolicyDocument", POLICY),
        ];
        setup.iam(&policy).await;
        let keys = [setup.key().await, setup.key().await];
        setup.bucket().await;
        let bucket = Self {
            server,
            folder,
            endpoint,
            keys,
        };
        bucket.mount(&bucket.keys[0]);
        bucket
    }

    /// Where it is, and how to get in.
    pub fn config(&self) -> S3Config {
        S3Config {
            bucket: NAME.to_owned(),
            region: "us-east-1".to_owned(),
            endpoint: self.endpoint.clone(),
            credentials_dir: Some(self.folder.clone()),
            ..S3Config::default()
        }
    }

    /// Two keys of the user.
    pub fn keys(&self) -> &[Key; 2] {
        &self.keys
    }

    /// Puts this key where [`Bucket::config`] takes it from, as a Secret that is rotated would.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn mount(&self, (id, secret): &Key) {
        let write = |name: &str, text: &str| std::fs::write(self.folder.join(name), text).expect("a file");
        write("access-key-id", id);
        write("secret-access-key", secret);
    }

    /// Where the credentials are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The server goes away, and what it held with it.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(&mut self) {
        self.server.kill().expect("a process of ours");
        self.server.wait().expect("it ends");
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Makes what a platform team has made before.
struct Setup<'a> {
    endpoint: &'a str,
    client: reqwest::Client,
}

impl<'a> Setup<'a> {
    #[expect(
        clippy::disallowed_methods,
        reason = "an administrator's calls to a server of the test's own"
    )]
    fn new(endpoint: &'a str) -> Self {
        Self {
            endpoint,
            client: reqwest::Client::new(),
        }
    }

    /// A call that names the service that it is for, and is not signed.
    async fn call(&self, request: reqwest::RequestBuilder, service: &str) -> String {
        let scope = format!(
            "AWS4-HMAC-SHA256 Credential=nobody/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=none"
        );
        let answer = request
            .header("authorization", scope)
            .send()
            .await
            .expect("an answer");
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        assert!(status.is_success(), "{status}: {text}");
        text
    }

    async fn iam(&self, form: &[(&str, &str)]) -> String {
        let form: Vec<_> = form.iter().chain(&[("Version", "2010-05-08")]).collect();
        self.call(self.client.post(self.endpoint).form(&form), "iam")
            .await
    }

    async fn key(&self) -> Key {
        let made = self
            .iam(&[("Action", "CreateAccessKey"), ("UserName", "trama")])
            .await;
        let value = |name: &str| {
            let (_, after) = made.split_once(&format!("<{name}>")).expect("a key");
            after.split_once('<').expect("a key").0.to_owned()
        };
        (value("AccessKeyId"), value("SecretAccessKey"))
    }

    async fn bucket(&self) {
        self.call(self.client.put(format!("{}/{NAME}", self.endpoint)), "s3")
            .await;
    }
}
