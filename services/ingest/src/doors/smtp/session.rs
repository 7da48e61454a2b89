//! One mail connection: RFC 5321 with PIPELINING, SIZE, 8BITMIME, SMTPUTF8; RFC 2033 after `LHLO`; RFC 3207
//! (STARTTLS) where there is a certificate.

use std::{collections::HashMap, fmt::Write as _, io, slice::Iter, time::Duration};

use bytes::Bytes;
use smtp_proto::{
    Error, Request,
    request::receiver::{DataReceiver, RequestReceiver},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use trama_platform::tls::Certificates;
use trama_proto::{common::v1::ChannelKind, ids::TenantId, resources::Provider};

use crate::{
    app::journal::Incoming,
    channels::{attribute, email::mailbox},
    doors::Doors,
};

/// Recipients of one mail.
const MAX_RECIPIENTS: usize = 100;
/// Errors after which a client is shown the door.
const MAX_ERRORS: u32 = 20;
/// A dot on the first line is only seen after a line end, so each mail is read as if it followed one.
const LINE_END: &[u8] = b"\r\n";
const OK: &str = "250 2.0.0 ok\r\n";

/// How the client greeted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Smtp,
    Lmtp,
}

/// One connection.
pub(super) struct Session {
    doors: Doors,
    /// What STARTTLS is offered with; none once it is under way.
    tls: Option<Certificates>,
    commands: RequestReceiver,
    protocol: Option<Protocol>,
    envelope: Envelope,
    data: Option<Data>,
    errors: u32,
}

/// Between MAIL and the end of DATA.
#[derive(Default)]
struct Envelope {
    from: Option<String>,
    to: Vec<Recipient>,
}

/// Somebody of ours.
struct Recipient {
    address: String,
    tenant: TenantId,
    channel: String,
}

/// The mail that is being read.
struct Data {
    receiver: DataReceiver,
    bytes: Vec<u8>,
    too_big: bool,
}

/// What follows a piece of input.
enum Next {
    Read,
    Close,
    Secure,
}

impl Session {
    pub(super) fn new(doors: Doors, tls: Option<Certificates>) -> Self {
        Self {
            doors,
            tls,
            commands: RequestReceiver::default(),
            protocol: None,
            envelope: Envelope::default(),
            data: None,
            errors: 0,
        }
    }

    pub(super) async fn run(mut self, mut stream: TcpStream) -> io::Result<()> {
        metrics::counter!("trama_ingest_smtp_connections_total", "outcome" => "opened").increment(1);
        let greeting = format!("220 {} ESMTP LMTP trama\r\n", self.doors.config.smtp_hostname);
        stream.write_all(greeting.as_bytes()).await?;
        if self.talk(&mut stream).await? {
            // What was said in the clear is forgotten: anybody could have put it there.
            let Some(tls) = self.tls.take() else { return Ok(()) };
            self.commands = RequestReceiver::default();
            self.protocol = None;
            self.envelope = Envelope::default();
            let mut stream = tls.accept(stream).await?;
            self.talk(&mut stream).await?;
            // A polite end; who is gone already does not need it.
            let _ = stream.shutdown().await;
        }
        Ok(())
    }

    /// Talks to the end; returns whether it shall go on in private.
    async fn talk(&mut self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<bool> {
        let idle = Duration::from_secs(self.doors.config.smtp_idle_seconds);
        let mut buffer = vec![0; 16 * 1024];
        let draining = self.doors.lifecycle.draining();
        loop {
            let length = tokio::select! {
                () = draining.cancelled(), if self.data.is_none() => {
                    stream.write_all(b"421 4.3.2 closing, come back later\r\n").await?;
                    return Ok(false);
                }
                read = tokio::time::timeout(idle, stream.read(&mut buffer)) => match read {
                    Ok(length) => length?,
                    Err(_) => {
                        stream.write_all(b"421 4.4.2 idle for too long\r\n").await?;
                        return Ok(false);
                    }
                },
            };
            if length == 0 {
                return Ok(false);
            }
            let mut replies = String::new();
            let next = self.take_in(&buffer[..length], &mut replies).await;
            tokio::time::timeout(idle, stream.write_all(replies.as_bytes())).await??;
            stream.flush().await?;
            match next {
                Next::Read => {}
                Next::Close => return Ok(false),
                Next::Secure => return Ok(true),
            }
        }
    }

    /// Works through a piece of input, which may hold many commands or a part of one.
    async fn take_in(&mut self, chunk: &[u8], replies: &mut String) -> Next {
        let mut bytes = chunk.iter();
        loop {
            let next = if self.data.is_some() {
                self.take_data(&mut bytes, replies).await
            } else {
                let request = self.commands.ingest(&mut bytes).map(Request::into_owned);
                match request {
                    Ok(request) => self.take_command(request, replies),
                    Err(Error::NeedsMoreData { .. }) => return Next::Read,
                    Err(Error::ResponseTooLong) => {
                        replies.push_str("500 5.5.6 line too long\r\n");
                        return Next::Close;
                    }
                    Err(error) => self.complain(complaint(&error), replies),
                }
            };
            match next {
                // What follows STARTTLS in the same breath came in the clear, and is dropped.
                Next::Close | Next::Secure => return next,
                Next::Read if bytes.as_slice().is_empty() => return Next::Read,
                Next::Read => {}
            }
        }
    }

    fn complain(&mut self, reply: &str, replies: &mut String) -> Next {
        self.errors += 1;
        replies.push_str(reply);
        if self.errors > MAX_ERRORS {
            replies.push_str("421 4.7.0 too many errors\r\n");
            return Next::Close;
        }
        Next::Read
    }

    fn take_command(&mut self, request: Request<String>, replies: &mut String) -> Next {
        match request {
            Request::Ehlo { .. } => self.greet(Protocol::Smtp, true, replies),
            Request::Lhlo { .. } => self.greet(Protocol::Lmtp, true, replies),
            Request::Helo { .. } => self.greet(Protocol::Smtp, false, replies),
            Request::Mail { .. } if self.protocol.is_none() => {
                return self.complain("503 5.5.1 say hello first\r\n", replies);
            }
            Request::Mail { .. } if self.envelope.from.is_some() => {
                return self.complain("503 5.5.1 one mail at a time\r\n", replies);
            }
            Request::Mail { from } if from.size > self.doors.config.max_mail_bytes => {
                replies.push_str("552 5.3.4 too big\r\n")
            }
            Request::Mail { from } => {
                self.envelope = Envelope {
                    from: Some(from.address),
                    to: Vec::new(),
                };
                replies.push_str("250 2.1.0 ok\r\n");
            }
            Request::Rcpt { .. } if self.envelope.from.is_none() => {
                return self.complain("503 5.5.1 MAIL first\r\n", replies);
            }
            Request::Rcpt { .. } if self.envelope.to.len() >= MAX_RECIPIENTS => {
                replies.push_str("452 4.5.3 too many recipients\r\n");
            }
            Request::Rcpt { to } => match self.recipient(&to.address) {
                Some(recipient) => {
                    self.envelope.to.push(recipient);
                    replies.push_str("250 2.1.5 ok\r\n");
                }
                None => return self.complain("550 5.1.1 no such mailbox here\r\n", replies),
            },
            Request::Data if self.envelope.to.is_empty() => {
                let reply = if self.envelope.from.is_some() {
                    "554 5.5.1 no valid recipients\r\n"
                } else {
                    "503 5.5.1 MAIL first\r\n"
                };
                return self.complain(reply, replies);
            }
            Request::Data => {
                let mut receiver = DataReceiver::new();
                let mut bytes = Vec::new();
                receiver.ingest(&mut LINE_END.iter(), &mut bytes);
                self.data = Some(Data {
                    receiver,
                    bytes,
                    too_big: false,
                });
                replies.push_str("354 end with a dot on a line of its own\r\n");
            }
            Request::Rset => {
                self.envelope = Envelope::default();
                replies.push_str(OK);
            }
            Request::Noop { .. } => replies.push_str(OK),
            Request::Vrfy { .. } => replies.push_str("252 2.5.0 send it and see\r\n"),
            Request::StartTls if self.tls.is_some() => {
                replies.push_str("220 2.0.0 go ahead\r\n");
                return Next::Secure;
            }
            Request::Quit => {
                replies.push_str("221 2.0.0 bye\r\n");
                return Next::Close;
            }
            other => {
                let reply = format!("502 5.5.1 {} is not offered\r\n", other.name());
                return self.complain(&reply, replies);
            }
        }
        Next::Read
    }

    fn greet(&mut self, protocol: Protocol, extended: bool, replies: &mut String) {
        self.protocol = Some(protocol);
        self.envelope = Envelope::default();
        let (name, size) = (&self.doors.config.smtp_hostname, self.doors.config.max_mail_bytes);
        let secure = if self.tls.is_some() {
            "250-STARTTLS\r\n"
        } else {
            ""
        };
        // Writing to a String cannot fail.
        let _ = if extended {
            write!(
                replies,
                "250-{name}\r\n{secure}250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE {size}\r\n"
            )
        } else {
            write!(replies, "250 {name}\r\n")
        };
    }

    /// Whose mailbox an address is: as written, else without what follows the plus sign.
    fn recipient(&self, address: &str) -> Option<Recipient> {
        let plain = mailbox(address)?;
        let snapshot = self.doors.resources.snapshot();
        for wanted in [address, plain.as_str()] {
            for (tenant, resources) in snapshot.tenants() {
                for (channel, spec) in &resources.channels {
                    if let Provider::Email(provider) = &spec.provider
                        && provider.addresses.iter().any(|a| a.eq_ignore_ascii_case(wanted))
                    {
                        return Some(Recipient {
                            tenant: tenant.clone(),
                            channel: channel.clone(),
                            address: address.to_owned(),
                        });
                    }
                }
            }
        }
        None
    }

    async fn take_data(&mut self, bytes: &mut Iter<'_, u8>, replies: &mut String) -> Next {
        let Some(data) = &mut self.data else {
            return Next::Read;
        };
        let complete = data.receiver.ingest(bytes, &mut data.bytes);
        if data.bytes.len() > self.doors.config.max_mail_bytes + LINE_END.len() {
            data.too_big = true;
        }
        if data.too_big {
            // Read on to the end, but keep nothing of it.
            data.bytes = Vec::new();
        }
        if !complete {
            return Next::Read;
        }
        let Some(data) = self.data.take() else {
            return Next::Read;
        };
        let envelope = std::mem::take(&mut self.envelope);
        if data.too_big {
            metrics::counter!("trama_ingest_mails_total", "outcome" => "too_big").increment(1);
            self.answer_all(&envelope, "552 5.3.4 too big\r\n", replies);
            return Next::Read;
        }
        let mail = Bytes::from(data.bytes).slice(LINE_END.len()..);
        self.store(envelope, mail, replies).await;
        Next::Read
    }

    /// LMTP answers for each recipient, SMTP once.
    fn answer_all(&self, envelope: &Envelope, reply: &str, replies: &mut String) {
        let times = if self.protocol == Some(Protocol::Lmtp) {
            envelope.to.len()
        } else {
            1
        };
        for _ in 0..times {
            replies.push_str(reply);
        }
    }

    /// One delivery for each channel that is among the recipients.
    async fn store(&self, envelope: Envelope, mail: Bytes, replies: &mut String) {
        let from = envelope.from.unwrap_or_default();
        let mut channels: Vec<(&TenantId, &str)> = Vec::new();
        for recipient in &envelope.to {
            let channel = (&recipient.tenant, recipient.channel.as_str());
            if !channels.contains(&channel) {
                channels.push(channel);
            }
        }
        let mut stored = HashMap::new();
        for (tenant, channel) in channels {
            let to: Vec<&str> = envelope
                .to
                .iter()
                .filter(|r| r.tenant == *tenant && r.channel == channel)
                .map(|r| r.address.as_str())
                .collect();
            let to = to.join("\n");
            let incoming = Incoming {
                tenant: tenant.clone(),
                channel: channel.to_owned(),
                kind: ChannelKind::Email,
                content_type: "message/rfc822".to_owned(),
                body: mail.clone(),
                distinct: format!("{from}\n{to}").into_bytes(),
                attributes: HashMap::from([
                    (attribute::MAIL_FROM.to_owned(), from.clone()),
                    (attribute::RCPT_TO.to_owned(), to),
                ]),
                key: Some(from.to_lowercase()).filter(|f| !f.is_empty()),
            };
            let kept = self.doors.journal.keep(incoming).await;
            if let Err(error) = &kept {
                tracing::warn!(detail = error.detail(), "a mail was not stored");
            }
            let outcome = if kept.is_ok() { "stored" } else { "failed" };
            metrics::counter!("trama_ingest_mails_total", "outcome" => outcome).increment(1);
            stored.insert((tenant, channel), kept.is_ok());
        }
        let reply = |good: bool| {
            if good {
                "250 2.6.0 stored\r\n"
            } else {
                "451 4.3.0 not stored, come back later\r\n"
            }
        };
        match self.protocol {
            Some(Protocol::Lmtp) => {
                for r in &envelope.to {
                    let good = stored
                        .get(&(&r.tenant, r.channel.as_str()))
                        .copied()
                        .unwrap_or(false);
                    replies.push_str(reply(good));
                }
            }
            Some(Protocol::Smtp) | None => replies.push_str(reply(stored.values().all(|good| *good))),
        }
    }
}

fn complaint(error: &Error) -> &'static str {
    match error {
        Error::UnknownCommand | Error::InvalidResponse { .. } => "500 5.5.1 unknown command\r\n",
        Error::InvalidSenderAddress => "501 5.1.7 bad sender address\r\n",
        Error::InvalidRecipientAddress => "501 5.1.3 bad recipient address\r\n",
        Error::SyntaxError { .. } => "501 5.5.2 syntax error\r\n",
        Error::InvalidParameter { .. } => "501 5.5.4 bad parameter\r\n",
        Error::UnsupportedParameter { .. } => "555 5.5.4 unsupported parameter\r\n",
        Error::NeedsMoreData { .. } | Error::ResponseTooLong => "500 5.5.6 line too long\r\n",
    }
}
