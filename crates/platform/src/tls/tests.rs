//! Against openssl, which also makes the certificates.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tokio::process::Command;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::*;
use crate::{client::secure_channel, server::Door};

/// A folder that goes away.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    fn new(name: &str) -> Self {
        crate::install_crypto();
        let path = std::env::temp_dir().join(format!("trama-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    async fn openssl(&self, arguments: &str) -> String {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(&self.0)
            .stdin(std::process::Stdio::null())
            .output()
            .await
            .expect("openssl is installed");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// `<name>.pem` and `<name>.key`.
    async fn authority(&self, name: &str) {
        let made = format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name}
             -addext basicConstraints=critical,CA:TRUE -keyout {name}.key -out {name}.pem"
        );
        self.openssl(&made).await;
    }

    /// The same for somebody at home, vouched for by `ca`.
    async fn leaf(&self, ca: &str, name: &str) {
        std::fs::write(self.file("ext"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").expect("written");
        let asked = format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        );
        self.openssl(&asked).await;
        let signed = format!(
            "x509 -req -in {name}.csr -CA {ca}.pem -CAkey {ca}.key -CAcreateserial -days 2 -extfile ext -out {name}.pem"
        );
        self.openssl(&signed).await;
        assert!(
            self.file(&format!("{name}.pem")).exists(),
            "openssl has made a certificate"
        );
    }

    fn server(&self, client_ca: Option<&str>) -> ServerTls {
        ServerTls {
            cert: self.file("server.pem"),
            key: self.file("server.key"),
            client_ca: client_ca.map(|ca| self.file(&format!("{ca}.pem"))),
            client_optional: false,
        }
    }

    fn client(&self, own: Option<&str>) -> RemoteTls {
        RemoteTls {
            ca: Some(self.file("ca.pem")),
            cert: own.map(|own| self.file(&format!("{own}.pem"))),
            key: own.map(|own| self.file(&format!("{own}.key"))),
        }
    }
}

/// Serves the health of nobody in particular over gRPC.
async fn serve(tls: Arc<Server>, lifecycle: &Lifecycle) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let (_, health) = tonic_health::server::health_reporter();
    let stopping = lifecycle.stopping();
    lifecycle.spawn("grpc", async move {
        tonic::transport::Server::builder()
            .add_service(health)
            .serve_with_incoming_shutdown(
                Door::new(listener, Some(tls)).connections(),
                stopping.cancelled_owned(),
            )
            .await
            .map_err(Error::internal)
    });
    address
}

async fn ask(address: SocketAddr, tls: &RemoteTls) -> Result<(), tonic::Status> {
    let client = Client::of(tls).expect("certificates");
    let channel =
        secure_channel(&format!("https://localhost:{}", address.port()), client).expect("a channel");
    let asked = HealthClient::new(channel)
        .check(HealthCheckRequest::default())
        .await;
    asked.map(|_| ())
}

async fn seen_by_openssl(folder: &Folder, address: SocketAddr) -> String {
    let told = folder
        .openssl(&format!(
            "s_client -connect {address} -servername localhost -CAfile ca.pem -verify_return_error -alpn h2"
        ))
        .await;
    assert!(told.contains("Verify return code: 0 (ok)"), "{told}");
    assert!(told.contains("ALPN protocol: h2"), "{told}");
    let begin = told.find("-----BEGIN CERTIFICATE-----").expect("a certificate");
    let end = told.find("-----END CERTIFICATE-----").expect("all of it");
    told[begin..end].to_owned()
}

fn presented(file: &Path) -> String {
    let text = std::fs::read_to_string(file).expect("a certificate");
    text.trim_end()
        .trim_end_matches("-----END CERTIFICATE-----")
        .to_owned()
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart_and_a_broken_one_never() {
    let folder = Folder::new("rotation");
    folder.authority("ca").await;
    folder.leaf("ca", "server").await;
    let lifecycle = Lifecycle::default();
    let tls = Server::of(&folder.server(None), &[b"h2"]).expect("certificates");
    let address = serve(Arc::clone(&tls), &lifecycle).await;
    let first = seen_by_openssl(&folder, address).await;
    assert_eq!(first, presented(&folder.file("server.pem")));
    assert!(!tls.look().expect("readable"), "nothing has changed");

    folder.leaf("ca", "server").await;
    assert!(tls.look().expect("readable"));
    let second = seen_by_openssl(&folder, address).await;
    assert_ne!(first, second);
    assert_eq!(second, presented(&folder.file("server.pem")));

    std::fs::write(folder.file("server.key"), "half a k").expect("written");
    assert!(tls.look().is_err());
    assert_eq!(seen_by_openssl(&folder, address).await, second);
    lifecycle.stop();
}

#[tokio::test]
async fn who_has_no_certificate_of_ours_does_not_get_in() {
    let folder = Folder::new("mutual");
    for ca in ["ca", "stranger"] {
        folder.authority(ca).await;
    }
    folder.leaf("ca", "server").await;
    folder.leaf("ca", "case").await;
    folder.leaf("stranger", "thief").await;
    let lifecycle = Lifecycle::default();
    let tls = Server::of(&folder.server(Some("ca")), &[b"h2"]).expect("certificates");
    let address = serve(tls, &lifecycle).await;

    ask(address, &folder.client(Some("case")))
        .await
        .expect("one of ours");
    assert!(ask(address, &folder.client(None)).await.is_err());
    assert!(ask(address, &folder.client(Some("thief"))).await.is_err());
    // Nor do we speak to whom another CA vouches for.
    let elsewhere = RemoteTls {
        ca: Some(folder.file("stranger.pem")),
        ..folder.client(Some("case"))
    };
    assert!(ask(address, &elsewhere).await.is_err());
    lifecycle.stop();
}

#[tokio::test]
async fn where_a_certificate_is_optional_the_wrong_one_is_still_refused() {
    let folder = Folder::new("optional");
    for ca in ["ca", "stranger"] {
        folder.authority(ca).await;
    }
    folder.leaf("ca", "server").await;
    folder.leaf("stranger", "thief").await;
    let lifecycle = Lifecycle::default();
    let optional = ServerTls {
        client_optional: true,
        ..folder.server(Some("ca"))
    };
    let address = serve(Server::of(&optional, &[b"h2"]).expect("certificates"), &lifecycle).await;
    ask(address, &folder.client(None)).await.expect("without one");
    assert!(ask(address, &folder.client(Some("thief"))).await.is_err());
    lifecycle.stop();
}

#[test]
fn what_cannot_be_used_is_named() {
    let folder = Folder::new("missing");
    let error = Server::of(&folder.server(None), &[b"h2"])
        .err()
        .expect("no files");
    assert!(error.to_string().contains("server.pem"), "{error}");
    assert!(Client::of(&RemoteTls::default()).is_err());
}
