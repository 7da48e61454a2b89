//! The mail sink, fed by lettre and by hand.

use lettre::message::{Attachment, MultiPart, SinglePart, header::ContentType};
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use trama_sandbox::{Fault, FaultRule, Mail, Provider, Raw, Sandbox, Sent};

use crate::harness::quiet_sandbox;

fn mailer(sandbox: &Sandbox) -> AsyncSmtpTransport<Tokio1Executor> {
    let address = sandbox.smtp_addr();
    AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(address.ip().to_string())
        .port(address.port())
        .credentials(Credentials::new("trama".to_owned(), "secret".to_owned()))
        .build()
}

fn mail(sent: &Sent) -> &Mail {
    match &sent.raw {
        Raw::Mail(mail) => mail,
        other => panic!("not a mail: {other:?}"),
    }
}

fn message() -> anyhow::Result<Message> {
    Ok(Message::builder()
        .from("Trama <help@trama.example>".parse()?)
        .to("Zoë <zoe@example.com>".parse()?)
        .subject("Perché no?")
        .message_id(Some("<answer-1@trama.example>".to_owned()))
        .in_reply_to("<question-1@example.com>".to_owned())
        .references("<question-0@example.com> <question-1@example.com>".to_owned())
        .multipart(
            MultiPart::mixed()
                .singlepart(SinglePart::plain(".dotted line\r\n..twice\r\ncittà".to_owned()))
                .singlepart(
                    Attachment::new("a.pdf".to_owned())
                        .body(b"%PDF".to_vec(), ContentType::parse("application/pdf")?),
                ),
        )?)
}

#[tokio::test]
async fn a_mail_is_taken_apart() -> anyhow::Result<()> {
    let sandbox = quiet_sandbox().await?;
    let mailer = mailer(&sandbox);
    mailer.send(message()?).await?;
    mailer.send(message()?).await?;

    let sent = sandbox.sent();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].provider, Provider::Smtp);
    assert_eq!(sent[0].to, "zoe@example.com");
    assert_eq!(sent[0].from, "help@trama.example");
    assert_eq!(sent[0].provider_message_id, "answer-1@trama.example");
    let body = sent[0].body_text.as_deref().unwrap_or_default();
    assert_eq!(
        body.lines().collect::<Vec<_>>(),
        [".dotted line", "..twice", "città"]
    );
    let mail = mail(&sent[0]);
    assert_eq!(mail.subject.as_deref(), Some("Perché no?"));
    assert_eq!(mail.in_reply_to, ["question-1@example.com"]);
    assert_eq!(
        mail.references,
        ["question-0@example.com", "question-1@example.com"]
    );
    assert_eq!(mail.to, ["zoe@example.com"]);
    assert_eq!(mail.attachments, ["a.pdf"]);
    Ok(())
}

#[tokio::test]
async fn a_refused_recipient_is_a_permanent_error() -> anyhow::Result<()> {
    let sandbox = quiet_sandbox().await?;
    for fault in [
        Fault::Refuse { code: 550 },
        Fault::Status {
            status: 503,
            retry_after_s: None,
        },
    ] {
        let is_permanent = fault == Fault::Refuse { code: 550 };
        sandbox.fail_next(FaultRule {
            provider: Some(Provider::Smtp),
            to: Some("ZOE@example.com".to_owned()),
            times: 1,
            fault,
        });
        let refused = mailer(&sandbox).send(message()?).await;
        let error = refused.expect_err("a fault was planted");
        assert_eq!(error.is_permanent(), is_permanent);
        assert_eq!(error.is_transient(), !is_permanent);
    }
    assert!(sandbox.sent().is_empty());
    mailer(&sandbox).send(message()?).await?;
    assert_eq!(sandbox.sent().len(), 1);
    Ok(())
}

#[tokio::test]
async fn commands_may_come_in_one_packet_or_in_crumbs() -> anyhow::Result<()> {
    let sandbox = quiet_sandbox().await?;
    let stream = TcpStream::connect(sandbox.smtp_addr()).await?;
    stream.set_nodelay(true)?;
    let (input, mut output) = stream.into_split();
    let mut replies = BufReader::new(input).lines();

    let pipelined = "HELO me\r\nNOOP\r\nDATA\r\nBOGUS\r\nMAIL FROM:<a@example.com>\r\nRSET\r\n\
        MAIL FROM:<a@example.com> SIZE=99999999\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.com>\r\n\
        RCPT TO:<c@example.com>\r\nDATA\r\n";
    output.write_all(pipelined.as_bytes()).await?;
    for byte in b"..first\r\n.\r\nQUIT\r\n" {
        output.write_all(&[*byte]).await?;
        output.flush().await?;
    }
    let mut codes = Vec::new();
    while let Some(reply) = replies.next_line().await? {
        codes.push(reply.get(..3).unwrap_or_default().to_owned());
    }
    assert_eq!(
        codes,
        [
            "220", "250", "250", "503", "500", "250", "250", "552", "250", "250", "250", "354", "250", "221"
        ]
    );
    let sent = sandbox.sent();
    let mail = mail(&sent[0]);
    assert_eq!(mail.envelope_from, "");
    assert_eq!(mail.envelope_to, ["b@example.com", "c@example.com"]);
    assert_eq!(mail.source, ".first\r\n");
    Ok(())
}
