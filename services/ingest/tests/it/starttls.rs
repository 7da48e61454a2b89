//! Mail in private, against openssl.

use std::{path::Path, process::Stdio};

use serde_json::json;
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::support::World;

async fn openssl(folder: &Path, arguments: &str, said: &str) -> String {
    let mut child = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(said.as_bytes()).await.expect("said");
    drop(stdin);
    let output = child.wait_with_output().await.expect("it ends");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[tokio::test]
async fn a_mail_comes_in_private_and_what_was_slipped_in_before_is_dropped() {
    let folder = std::env::temp_dir().join(format!("trama-starttls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost
                -addext subjectAltName=DNS:localhost -keyout mail.key -out mail.pem";
    openssl(&folder, made, "").await;
    let tls = json!({"cert": folder.join("mail.pem"), "key": folder.join("mail.key")});
    let world = World::start_with("http://127.0.0.1:9", json!({"smtp_tls": tls})).await;

    let mail = "EHLO shop.example\nMAIL FROM:<anna@example.org>\nRCPT TO:<care@acme.example>\nDATA\n\
                From: anna@example.org\nTo: care@acme.example\nSubject: caffe\nMessage-ID: <1@example.org>\n\n\
                il caffe e freddo\n.\nQUIT\n";
    let dial = format!(
        "s_client -starttls smtp -crlf -quiet -connect {} -servername localhost -CAfile mail.pem -verify_return_error",
        world.smtp
    );
    let heard = openssl(&folder, &dial, mail).await;
    assert!(heard.contains("250 2.6.0 stored"), "{heard}");
    assert!(!heard.contains("250-STARTTLS"), "it is offered once: {heard}");
    assert_eq!(world.interactions().await.len(), 1);

    // A command in the same packet as STARTTLS was not said in private: it has no answer before the handshake.
    let mut plain = tokio::net::TcpStream::connect(world.smtp)
        .await
        .expect("the door is open");
    plain
        .write_all(b"EHLO x\r\nSTARTTLS\r\nNOOP\r\n")
        .await
        .expect("said");
    let mut heard = Vec::new();
    let mut buffer = [0; 1024];
    while !String::from_utf8_lossy(&heard).contains("220 2.0.0") {
        let length = tokio::io::AsyncReadExt::read(&mut plain, &mut buffer)
            .await
            .expect("an answer");
        heard.extend_from_slice(&buffer[..length]);
    }
    let heard = String::from_utf8_lossy(&heard).into_owned();
    assert!(heard.contains("250-STARTTLS"), "{heard}");
    assert!(heard.ends_with("220 2.0.0 go ahead\r\n"), "{heard}");
    drop(plain);
    world.stop().await;
    std::fs::remove_dir_all(&folder).expect("cleared away");
}
