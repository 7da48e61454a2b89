use std::net::SocketAddr;

use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{Attachment, MultiPart, SinglePart, header::ContentType},
};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};
use trama_platform::bus::Stream;
use trama_proto::ingest::v1::GetAttachmentRequest;

use crate::support::World;

fn mailer(smtp: SocketAddr) -> AsyncSmtpTransport<Tokio1Executor> {
    AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(smtp.ip().to_string())
        .port(smtp.port())
        .build()
}

fn photo(size: usize) -> Message {
    let text =
        SinglePart::plain("la macchina del caffè perde acqua, ordine 4711\r\n.\r\n..fine\r\n".to_owned());
    let file = Attachment::new("foto.jpg".into()).body(
        vec![7_u8; size],
        ContentType::parse("image/jpeg").expect("a type"),
    );
    Message::builder()
        .from("Anna Rossi <Anna@example.com>".parse().expect("an address"))
        .to("care+x@acme.example".parse().expect("an address"))
        .subject("Perdita d'acqua")
        .message_id(Some("<m1@example.com>".into()))
        .multipart(MultiPart::mixed().singlepart(text).singlepart(file))
        .expect("a mail")
}

#[tokio::test]
async fn a_mail_with_a_photo_becomes_an_interaction_with_a_file() {
    let world = World::start().await;
    for _ in 0..2 {
        mailer(world.smtp).send(photo(200_000)).await.expect("taken");
    }
    let said = world.interactions().await;
    assert_eq!(said.len(), 1);
    let i = &said[0];
    assert_eq!(
        (
            i.subject.as_str(),
            i.display_name.as_str(),
            i.our_address.as_str()
        ),
        ("Perdita d'acqua", "Anna Rossi", "care@acme.example")
    );
    assert!(
        i.text
            .starts_with("la macchina del caffè perde acqua, ordine 4711")
            && i.text.ends_with("..fine"),
        "{}",
        i.text
    );
    assert_eq!(i.party.as_ref().expect("a party").value, "anna@example.com");
    let file = &i.attachments[0];
    assert_eq!(
        (
            file.filename.as_str(),
            file.content_type.as_str(),
            file.size_bytes
        ),
        ("foto.jpg", "image/jpeg", 200_000)
    );

    let request = GetAttachmentRequest {
        object_key: file.object_key.clone(),
    };
    let mut pieces = world
        .ingest()
        .get_attachment(world.app.request("acme", "bruno", request.clone()))
        .await
        .expect("a file")
        .into_inner();
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.message().await.expect("a piece") {
        assert!(piece.data.len() <= 64 * 1024);
        bytes.extend(piece.data);
    }
    assert_eq!(bytes, vec![7; 200_000]);
    let foreign = world
        .ingest()
        .get_attachment(world.app.request("beta", "bruno", request))
        .await;
    assert_eq!(foreign.expect_err("foreign").code(), tonic::Code::NotFound);
    world.stop().await;
}

#[tokio::test]
async fn a_mail_too_large_for_the_journal_arrives_all_the_same() {
    let world = World::start().await;
    mailer(world.smtp).send(photo(3_000_000)).await.expect("taken");
    let said = world.interactions().await;
    assert_eq!(said[0].attachments[0].size_bytes, 3_000_000);
    world.stop().await;
}

/// A client that says exactly what the test wants.
pub struct Line {
    stream: BufReader<TcpStream>,
}

impl Line {
    pub async fn open(smtp: SocketAddr) -> Self {
        let stream = BufReader::new(TcpStream::connect(smtp).await.expect("a connection"));
        let mut line = Self { stream };
        assert!(line.read().await.starts_with("220 "));
        line
    }

    async fn read(&mut self) -> String {
        let mut last = String::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).await.expect("an answer");
            last.push_str(&line);
            if line.len() < 4 || line.as_bytes()[3] == b' ' {
                return last;
            }
        }
    }

    async fn write(&mut self, text: &str) {
        self.stream
            .get_mut()
            .write_all(text.as_bytes())
            .await
            .expect("sent");
    }

    pub async fn say(&mut self, text: &str) -> String {
        self.write(&format!("{text}\r\n")).await;
        self.read().await
    }
}

const MAIL: &str = "From: anna@example.com\r\nSubject: x\r\nMessage-ID: <lmtp@example.com>\r\n\r\nciao\r\n";

#[tokio::test]
async fn lmtp_answers_for_each_recipient() {
    let world = World::start().await;
    let mut line = Line::open(world.smtp).await;
    assert!(line.say("LHLO mx.example").await.contains("SIZE"));
    // All at once, as PIPELINING allows.
    line.write("MAIL FROM:<anna@example.com> BODY=8BITMIME\r\nRCPT TO:<care@acme.example>\r\nRCPT TO:<nobody@acme.example>\r\nRCPT TO:<HELP+9@beta.example>\r\nDATA\r\n").await;
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(line.read().await[..3].to_owned());
    }
    assert_eq!(answers, ["250", "250", "550", "250", "354"]);
    line.write(&format!("{MAIL}.\r\n")).await;
    assert!(line.read().await.starts_with("250 2.6.0"));
    assert!(line.read().await.starts_with("250 2.6.0"));
    assert!(line.say("QUIT").await.starts_with("221"));
    world.app.settle().await;
    let events = world
        .app
        .events::<trama_proto::ingest::v1::InteractionReceived>()
        .await;
    let mut tenants: Vec<_> = events.iter().map(|e| e.tenant.as_str()).collect();
    tenants.sort_unstable();
    assert_eq!(tenants, ["acme", "beta"]);
    world.stop().await;
}

#[tokio::test]
async fn a_mail_ends_at_the_one_true_line_end_only() {
    let world = World::start().await;
    let mut line = Line::open(world.smtp).await;
    line.say("EHLO mx.example").await;
    line.say("MAIL FROM:<>").await;
    line.say("RCPT TO:<care@acme.example>").await;
    assert!(line.say("DATA").await.starts_with("354"));
    // None of these dots ends the mail; a server that took one would let a second mail be smuggled in.
    line.write(&format!(
        "{MAIL}a\n.\nMAIL FROM:<evil@example.com>\r\nb\r.\rc\n.\r\nd\r\n.\ne\r\n..f\r\n.\r\n"
    ))
    .await;
    assert!(line.read().await.starts_with("250"));
    assert!(line.say("NOOP").await.starts_with("250"));
    let said = world.interactions().await;
    assert_eq!(said.len(), 1);
    assert!(said[0].automatic, "the envelope sender is empty");
    assert!(said[0].text.ends_with(".f"), "{:?}", said[0].text);
    world.stop().await;
}

#[tokio::test]
async fn what_is_wrong_gets_the_right_code() {
    let world = World::start_with("http://127.0.0.1:9", json!({"max_mail_bytes": 5000})).await;
    let mut line = Line::open(world.smtp).await;
    assert!(line.say("MAIL FROM:<a@b.example>").await.starts_with("503"));
    assert!(line.say("HELO mx.example").await.starts_with("250"));
    assert!(line.say("RCPT TO:<care@acme.example>").await.starts_with("503"));
    assert!(
        line.say("MAIL FROM:<a@b.example> SIZE=5001")
            .await
            .starts_with("552 5.3.4")
    );
    assert!(line.say("MAIL FROM:<a@b.example>").await.starts_with("250"));
    assert!(
        line.say("RCPT TO:<nobody@acme.example>")
            .await
            .starts_with("550 5.1.1")
    );
    assert!(line.say("DATA").await.starts_with("554"));
    assert!(line.say("RCPT TO:<care@acme.example>").await.starts_with("250"));
    assert!(line.say("DATA").await.starts_with("354"));
    line.write(&"x".repeat(70).add_lines(200)).await;
    assert!(line.say(".").await.starts_with("552 5.3.4"));
    assert!(line.say("RSET").await.starts_with("250"));
    assert!(line.say("STARTTLS").await.starts_with("502"));
    assert!(line.say("FROBNICATE").await.starts_with("500"));
    assert_eq!(world.app.count(Stream::Ingress).await, 0);
    world.stop().await;
}

trait AddLines {
    fn add_lines(&self, times: usize) -> String;
}

impl AddLines for String {
    fn add_lines(&self, times: usize) -> String {
        format!("{self}\r\n").repeat(times)
    }
}
