//! A platform in a process of its own, that can be killed.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use sqlx::{Connection as _, PgConnection};

pub const SECRET: &str = "an app secret of the test";

/// Everything that outlives one process.
pub struct Platform {
    pub database_url: String,
    pub prefix: String,
    pub folder: PathBuf,
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    admin: SocketAddr,
    admin_url: String,
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

const RESOURCES: &str = r#"
apiVersion: trama.dev/v1alpha1
kind: Channel
metadata: {name: whatsapp, namespace: acme}
spec:
  provider:
    whatsappCloud:
      phoneNumberId: "1"
      appSecret: {name: whatsapp, key: app-secret}
      verifyToken: {name: whatsapp, key: app-secret}
      accessToken: {name: whatsapp, key: app-secret}
"#;

impl Platform {
    pub async fn new() -> Self {
        let admin_url = std::env::var("TRAMA_DATABASE_URL").expect("run `make test`");
        let prefix = format!(
            "kill{}_{}",
            std::process::id(),
            COUNTER.fetch_add(1, Ordering::Relaxed)
        );
        let mut admin = PgConnection::connect(&admin_url).await.expect("PostgreSQL");
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {prefix}"));
        sqlx::query(create).execute(&mut admin).await.expect("a database");
        let folder = std::env::temp_dir().join(format!("trama-{prefix}"));
        std::fs::create_dir_all(folder.join("resources")).expect("a folder");
        std::fs::create_dir_all(folder.join("secrets/acme/whatsapp")).expect("a folder");
        std::fs::write(folder.join("resources/channel.yaml"), RESOURCES).expect("resources");
        std::fs::write(folder.join("secrets/acme/whatsapp/app-secret"), SECRET).expect("a secret");
        let (server, _) = admin_url.rsplit_once('/').expect("a database name");
        Self {
            database_url: format!("{server}/{prefix}"),
            prefix,
            folder,
            http: free(),
            grpc: free(),
            admin: free(),
            admin_url: admin_url.clone(),
        }
    }

    /// The same platform with doors of its own, for another process.
    pub fn replica(&self) -> Self {
        Self {
            database_url: self.database_url.clone(),
            prefix: self.prefix.clone(),
            folder: self.folder.clone(),
            http: free(),
            grpc: free(),
            admin: free(),
            admin_url: self.admin_url.clone(),
        }
    }

    /// Starts a process; `failpoint` tells it where to die.
    pub async fn start(&self, failpoint: Option<&str>) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trama"));
        command
            .args(["up", "--dev-dir"])
            .arg(&self.folder)
            .env("TRAMA_DATABASE_URL", &self.database_url)
            .env("TRAMA_BUS__PREFIX", &self.prefix)
            .env("TRAMA_LISTEN__HTTP", self.http.to_string())
            .env("TRAMA_LISTEN__GRPC", self.grpc.to_string())
            .env("TRAMA_LISTEN__ADMIN", self.admin.to_string())
            .env("TRAMA_RESOURCES__DIR", self.folder.join("resources"))
            .env("TRAMA_OBJECTS__DIR", self.folder.join("objects"))
            .env("TRAMA_STAGE__SWEEP_AFTER_SECONDS", "1")
            .env("RUST_LOG", "error")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        match failpoint {
            Some(point) => command.env("TRAMA_FAILPOINT", point),
            None => command.env_remove("TRAMA_FAILPOINT"),
        };
        let mut child = command.spawn().expect("the binary starts");
        for _ in 0..1500 {
            if trama_platform::is_ready(self.admin).await.is_ok()
                || child.try_wait().expect("a child").is_some()
            {
                return child;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the platform did not become ready in 30 s");
    }

    /// How often each provider message stands in a timeline, by the id that WhatsApp gave it.
    pub async fn timeline(&self) -> std::collections::HashMap<String, i64> {
        use trama_proto::common::v1::Interaction;
        let mut db = PgConnection::connect(&self.database_url)
            .await
            .expect("PostgreSQL");
        sqlx::query("SELECT set_config('trama.tenant', '*', false)")
            .execute(&mut db)
            .await
            .expect("a setting");
        let rows: Vec<Vec<u8>> = sqlx::query_scalar("SELECT interaction FROM cases.timeline")
            .fetch_all(&mut db)
            .await
            .expect("the timeline");
        let mut found = std::collections::HashMap::new();
        for row in rows {
            let interaction =
                <Interaction as prost::Message>::decode(row.as_slice()).expect("an interaction");
            *found.entry(interaction.provider_id).or_insert(0) += 1;
        }
        found
    }

    /// Waits until the timeline holds `count` interactions, at most 60 s.
    pub async fn wait_for_timeline(&self, count: usize) -> std::collections::HashMap<String, i64> {
        let mut found = self.timeline().await;
        for _ in 0..600 {
            if found.len() >= count {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            found = self.timeline().await;
        }
        found
    }

    pub async fn remove(self) {
        let mut admin = PgConnection::connect(&self.admin_url).await.expect("PostgreSQL");
        let drop = sqlx::AssertSqlSafe(format!("DROP DATABASE IF EXISTS {}", self.prefix));
        let _ = sqlx::query(drop).execute(&mut admin).await;
        let bus = trama_platform::config::BusConfig {
            prefix: self.prefix.clone(),
            ..Default::default()
        };
        let nats = std::env::var("TRAMA_NATS_URL").expect("run `make test`");
        let _ = trama_platform::bus::remove_streams(&nats, &bus).await;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a free port")
}

/// A provider that sends until it gets a 2xx, as Meta does.
pub struct Provider {
    http: reqwest::Client,
    url: String,
}

impl Provider {
    #[expect(
        clippy::disallowed_methods,
        reason = "the provider is outside the platform and its guard"
    )]
    pub fn new(platform: &Platform) -> Self {
        trama_platform::install_crypto();
        Self {
            http: reqwest::Client::new(),
            url: format!("http://{}/webhooks/acme/whatsapp", platform.http),
        }
    }

    /// One try; `true` when the platform said that it has it.
    pub async fn send(&self, number: usize) -> bool {
        let body = serde_json::json!({
            "object": "whatsapp_business_account",
            "entry": [{"id": "1", "changes": [{"field": "messages", "value": {
                "messaging_product": "whatsapp",
                "metadata": {"display_phone_number": "1", "phone_number_id": "1"},
                "contacts": [{"profile": {"name": "Someone"}, "wa_id": format!("39{:09}", 300_000_000 + number % 400)}],
                "messages": [{
                    "from": format!("39{:09}", 300_000_000 + number % 400), "id": format!("wamid.{number}"),
                    "timestamp": "1780308000", "type": "text", "text": {"body": format!("message number {number}")},
                }],
            }}]}],
        });
        let bytes = serde_json::to_vec(&body).expect("JSON");
        let signature = trama_sandbox::sign::meta(SECRET, &bytes);
        let request = self
            .http
            .post(&self.url)
            .header("X-Hub-Signature-256", signature)
            .body(bytes);
        matches!(request.send().await, Ok(response) if response.status().is_success())
    }
}
