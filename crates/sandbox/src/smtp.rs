//! A mail sink: takes every mail, delivers none.

use std::io;
use std::slice::Iter;
use std::sync::Arc;
use std::time::Duration;

use mail_parser::{Address, HeaderValue, MessageParser, MimeHeaders as _};
use smtp_proto::request::receiver::{DataReceiver, RequestReceiver};
use smtp_proto::{AUTH_PLAIN, Error, Request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::config::{Fault, Provider};
use crate::store::{Accepted, Mail, Raw};
use crate::{World, ambient};

/// The largest mail, as announced with SIZE.
const MAX_MAIL_BYTES: usize = 25 * 1024 * 1024;
/// A session without a word for so long is over.
const IDLE_LIMIT: Duration = Duration::from_secs(300);
/// The pause after a failed accept, so that a lack of file descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A dot on the first line is only seen after a line end, so each mail is read as if it followed one.
const LINE_END: &[u8] = b"\r\n";

const GREETING: &str = "220 sandbox.trama.invalid ESMTP\r\n";
const CAPABILITIES: &str = "250-sandbox.trama.invalid\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n\
    250-ENHANCEDSTATUSCODES\r\n250-AUTH PLAIN\r\n250 SIZE 26214400\r\n";
const OK: &str = "250 2.0.0 OK\r\n";
const TOO_BIG: &str = "552 5.3.4 message too big\r\n";

/// Takes connections until the sandbox ends.
pub(crate) async fn serve(world: Arc<World>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let session = Session::new(world.clone());
                world.spawn(async move {
                    if let Err(error) = session.run(stream).await {
                        tracing::debug!(%error, "smtp session broke off");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "smtp connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection.
struct Session {
    world: Arc<World>,
    commands: RequestReceiver,
    envelope: Envelope,
    /// The mail that is being read, once DATA was said.
    data: Option<(DataReceiver, Vec<u8>)>,
}

/// The transaction between MAIL and the end of DATA.
#[derive(Default)]
struct Envelope {
    from: Option<String>,
    to: Vec<String>,
    /// What is to go wrong with the answer to the mail itself.
    fault: Option<Fault>,
}

/// What follows a chunk of input.
enum Next {
    Read,
    StaySilent,
    Close,
}

impl Session {
    fn new(world: Arc<World>) -> Self {
        Self {
            world,
            commands: RequestReceiver::default(),
            envelope: Envelope::default(),
            data: None,
        }
    }

    async fn run(mut self, mut stream: TcpStream) -> io::Result<()> {
        stream.write_all(GREETING.as_bytes()).await?;
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let length = tokio::time::timeout(IDLE_LIMIT, stream.read(&mut buffer)).await??;
            if length == 0 {
                return Ok(());
            }
            let mut replies = String::new();
            let next = self.take_in(&buffer[..length], &mut replies);
            stream.write_all(replies.as_bytes()).await?;
            match next {
                Next::Read => {}
                Next::StaySilent => std::future::pending().await,
                Next::Close => return Ok(()),
            }
        }
    }

    /// Works through a chunk, which may hold many commands or a part of one.
    fn take_in(&mut self, chunk: &[u8], replies: &mut String) -> Next {
        let mut bytes = chunk.iter();
        loop {
            let next = if self.data.is_some() {
                self.take_data(&mut bytes, replies)
            } else {
                let request = self.commands.ingest(&mut bytes).map(Request::into_owned);
                match request {
                    Ok(request) => self.take_command(request, replies),
                    Err(Error::NeedsMoreData { .. }) => return Next::Read,
                    Err(Error::ResponseTooLong) => {
                        replies.push_str("500 5.5.6 line too long\r\n");
                        Next::Close
                    }
                    Err(error) => {
                        replies.push_str(complaint(&error));
                        Next::Read
                    }
                }
            };
            match next {
                Next::Read if bytes.as_slice().is_empty() => return Next::Read,
                Next::Read => {}
                Next::StaySilent | Next::Close => return next,
            }
        }
    }

    fn take_command(&mut self, request: Request<String>, replies: &mut String) -> Next {
        let reply = match request {
            Request::Ehlo { .. } => {
                self.envelope = Envelope::default();
                CAPABILITIES.to_owned()
            }
            Request::Helo { .. } => {
                self.envelope = Envelope::default();
                "250 sandbox.trama.invalid\r\n".to_owned()
            }
            // Any name and password will do: the sink guards nothing.
            Request::Auth {
                mechanism: AUTH_PLAIN,
                initial_response,
            } if !initial_response.is_empty() => "235 2.7.0 welcome\r\n".to_owned(),
            Request::Auth { .. } => "504 5.5.4 AUTH PLAIN with the response, please\r\n".to_owned(),
            Request::Mail { from } if from.size > MAX_MAIL_BYTES => TOO_BIG.to_owned(),
            Request::Mail { from } => {
                self.envelope = Envelope {
                    from: Some(from.address),
                    ..Envelope::default()
                };
                OK.to_owned()
            }
            Request::Rcpt { .. } if self.envelope.from.is_none() => out_of_order("MAIL first"),
            Request::Rcpt { to } => self.add_recipient(to.address),
            Request::Data if self.envelope.to.is_empty() => out_of_order("RCPT first"),
            Request::Data => {
                let mut receiver = DataReceiver::new();
                let mut mail = Vec::new();
                receiver.ingest(&mut LINE_END.iter(), &mut mail);
                self.data = Some((receiver, mail));
                "354 end with a dot on its own line\r\n".to_owned()
            }
            Request::Rset => {
                self.envelope = Envelope::default();
                OK.to_owned()
            }
            Request::Noop { .. } => OK.to_owned(),
            Request::Quit => {
                replies.push_str("221 2.0.0 bye\r\n");
                return Next::Close;
            }
            other => format!("502 5.5.1 {} is not offered\r\n", other.name()),
        };
        replies.push_str(&reply);
        Next::Read
    }

    fn add_recipient(&mut self, to: String) -> String {
        match self.world.store.take_fault(Provider::Smtp, &to) {
            Some(Fault::Refuse { code }) => {
                self.world.store.count_refusal();
                let code = if (400..600).contains(&code) { code } else { 550 };
                format!("{code} {}.1.1 refused on demand\r\n", code / 100)
            }
            fault => {
                self.envelope.fault = fault.or(self.envelope.fault.take());
                self.envelope.to.push(to);
                OK.to_owned()
            }
        }
    }

    fn take_data(&mut self, bytes: &mut Iter<'_, u8>, replies: &mut String) -> Next {
        let Some((receiver, mail)) = &mut self.data else {
            return Next::Read;
        };
        let is_complete = receiver.ingest(bytes, mail);
        if mail.len() > MAX_MAIL_BYTES {
            self.world.store.count_refusal();
            replies.push_str(TOO_BIG);
            return Next::Close;
        }
        if !is_complete {
            return Next::Read;
        }
        let (_, mail) = self.data.take().unwrap_or((DataReceiver::new(), Vec::new()));
        self.end_of_mail(mail.get(LINE_END.len()..).unwrap_or_default(), replies)
    }

    fn end_of_mail(&mut self, mail: &[u8], replies: &mut String) -> Next {
        let envelope = std::mem::take(&mut self.envelope);
        let refusal = match &envelope.fault {
            Some(Fault::Status { .. }) => Some("451 4.3.0 on demand, try later\r\n"),
            Some(Fault::FailReceipt { .. }) => Some("554 5.7.1 on demand, never\r\n"),
            Some(Fault::NoAnswer | Fault::Refuse { .. }) | None => None,
        };
        if let Some(refusal) = refusal {
            self.world.store.count_refusal();
            replies.push_str(refusal);
            return Next::Read;
        }
        let is_silent = envelope.fault == Some(Fault::NoAnswer);
        let queue_id = ambient::new_id().simple().to_string();
        self.world.store.record(accepted(envelope, mail, &queue_id));
        if is_silent {
            return Next::StaySilent;
        }
        replies.push_str(&format!("250 2.0.0 queued as {queue_id}\r\n"));
        Next::Read
    }
}

fn out_of_order(what: &str) -> String {
    format!("503 5.5.1 {what}\r\n")
}

fn complaint(error: &Error) -> &'static str {
    match error {
        Error::UnknownCommand | Error::InvalidResponse { .. } => "500 5.5.1 unknown command\r\n",
        Error::InvalidSenderAddress => "501 5.1.7 bad sender address\r\n",
        Error::InvalidRecipientAddress => "501 5.1.3 bad recipient address\r\n",
        Error::SyntaxError { .. } => "501 5.5.2 syntax error\r\n",
        Error::InvalidParameter { .. } => "501 5.5.4 bad parameter\r\n",
        Error::UnsupportedParameter { .. } => "504 5.5.4 unsupported parameter\r\n",
        Error::NeedsMoreData { .. } | Error::ResponseTooLong => "500 5.5.6 line too long\r\n",
    }
}

fn accepted(envelope: Envelope, bytes: &[u8], queue_id: &str) -> Accepted {
    let from = envelope.from.unwrap_or_default();
    let mut mail = Mail {
        envelope_from: from.clone(),
        envelope_to: envelope.to.clone(),
        source: String::from_utf8_lossy(bytes).into_owned(),
        ..Mail::default()
    };
    let mut body_text = None;
    if let Some(parsed) = MessageParser::default().parse(bytes) {
        mail.subject = parsed.subject().map(str::to_owned);
        mail.message_id = parsed.message_id().map(str::to_owned);
        mail.in_reply_to = ids(parsed.in_reply_to());
        mail.references = ids(parsed.references());
        mail.from = addresses(parsed.from());
        mail.to = addresses(parsed.to());
        mail.headers = parsed
            .headers_raw()
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        mail.attachments = parsed
            .attachments()
            .map(|part| part.attachment_name().unwrap_or_default().to_owned())
            .collect();
        body_text = parsed.body_text(0).map(|text| text.into_owned());
    }
    Accepted {
        provider: Provider::Smtp,
        at: ambient::now(),
        to: envelope.to.into_iter().next().unwrap_or_default(),
        from,
        body_text,
        provider_message_id: mail.message_id.clone().unwrap_or_else(|| queue_id.to_owned()),
        raw: Raw::Mail(Box::new(mail)),
    }
}

fn ids(header: &HeaderValue<'_>) -> Vec<String> {
    let list = header.as_text_list().unwrap_or_default();
    list.iter().map(|id| id.clone().into_owned()).collect()
}

fn addresses(header: Option<&Address<'_>>) -> Vec<String> {
    header
        .into_iter()
        .flat_map(Address::iter)
        .filter_map(|entry| entry.address().map(str::to_owned))
        .collect()
}
