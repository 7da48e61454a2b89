//! Mail through a relay. The Message-ID is derived from our message id, so that a repeat after an unknown outcome is
//! the same mail to whoever receives it.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    address::Envelope,
    message::{
        Mailbox,
        header::{ContentType, Header, HeaderName, HeaderValue},
    },
    transport::smtp::{authentication::Credentials, client::Tls},
};
use tokio::sync::Mutex;
use trama_platform::resources::Secrets;
use trama_proto::{
    ids::MessageId,
    resources::{EmailProvider, RelaySecurity},
};

use super::{Outgoing, SendError, SendErrorKind, Sent};

/// Longest wait for one SMTP command.
const COMMAND_LIMIT: Duration = Duration::from_secs(20);

/// A pool of connections to a relay.
pub(super) type Relay = AsyncSmtpTransport<Tokio1Executor>;

pub(super) struct Email<'a> {
    pub spec: &'a EmailProvider,
    pub secrets: &'a Secrets,
    pub relays: &'a Mutex<HashMap<String, Relay>>,
}

impl Email<'_> {
    pub async fn send(&self, outgoing: &Outgoing) -> Result<Sent, SendError> {
        let from: Mailbox = self
            .spec
            .from
            .parse()
            .map_err(|_| SendError::next_channel("spec.provider.email.from is no mail address"))?;
        let to: Address = outgoing
            .handle
            .value
            .parse()
            .map_err(|_| SendError::next_channel("the handle is no mail address"))?;
        let id = message_id(outgoing.message_id, from.email.domain());
        let mail = compose(&from, &to, &id, outgoing)?;
        // An automatic answer must not cause another one, not even a bounce (RFC 3834).
        let answers_by_machine = outgoing.automatic && is_mail_id(&outgoing.in_reply_to);
        let sender = (!answers_by_machine).then(|| from.email.clone());
        let envelope = Envelope::new(sender, vec![to])
            .map_err(|_| SendError::next_channel("the mail has no recipient"))?;
        let relay = self.relay(outgoing).await?;
        match relay.send_raw(&envelope, &mail.formatted()).await {
            Ok(_) => Ok(Sent {
                provider_message_id: id,
            }),
            Err(error) => Err(refused(&error)),
        }
    }

    async fn relay(&self, outgoing: &Outgoing) -> Result<Relay, SendError> {
        let password = match &self.spec.relay_password {
            Some(secret) => Some(self.secrets.current(&outgoing.tenant, secret)?),
            None => None,
        };
        let key = format!(
            "{}/{:?}/{}/{}",
            self.spec.relay,
            self.spec.relay_security,
            self.spec.relay_user.as_deref().unwrap_or_default(),
            password.as_deref().unwrap_or_default()
        );
        let mut relays = self.relays.lock().await;
        if let Some(relay) = relays.get(&key) {
            return Ok(relay.clone());
        }
        let relay = connect(self.spec, password.as_deref())?;
        relays.insert(key, relay.clone());
        Ok(relay)
    }
}

fn connect(spec: &EmailProvider, password: Option<&str>) -> Result<Relay, SendError> {
    let bad = |words: &str| SendError::next_channel(format!("spec.provider.email: {words}"));
    let (host, port) = spec
        .relay
        .rsplit_once(':')
        .ok_or_else(|| bad("relay is not host:port"))?;
    let port: u16 = port.parse().map_err(|_| bad("relay is not host:port"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let builder = match spec.relay_security {
        RelaySecurity::StartTls => Relay::starttls_relay(host).map_err(|_| bad("no TLS for this relay"))?,
        RelaySecurity::Tls => Relay::relay(host).map_err(|_| bad("no TLS for this relay"))?,
        RelaySecurity::None if is_loopback(host) => Relay::builder_dangerous(host).tls(Tls::None),
        RelaySecurity::None => return Err(bad("a relay without TLS must be on the same host")),
    };
    let builder = builder.port(port).timeout(Some(COMMAND_LIMIT));
    let builder = match (&spec.relay_user, password) {
        (Some(user), Some(password)) => {
            builder.credentials(Credentials::new(user.clone(), password.to_owned()))
        }
        (Some(_), None) | (None, Some(_)) | (None, None) => builder,
    };
    Ok(builder.build())
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A 5xx closes this way, whatever else may be tried again: a repeat has the same Message-ID.
fn refused(error: &lettre::transport::smtp::Error) -> SendError {
    let code = error.status().map(|c| c.to_string()).unwrap_or_default();
    if error.is_permanent() {
        SendError::next_channel(format!("smtp {code}"))
    } else if error.is_transient() {
        SendError::retry(format!("smtp {code}"))
    } else {
        SendError::new(
            SendErrorKind::Retry { after: None },
            "the relay cannot be reached or does not answer",
        )
    }
}

/// Without angle brackets, as it is stored and as receipts name it.
fn message_id(id: MessageId, domain: &str) -> String {
    format!("{id}@{domain}")
}

fn is_mail_id(id: &str) -> bool {
    let bare = bare(id);
    bare.contains('@') && bare.is_ascii() && !bare.contains(|c: char| c.is_whitespace() || c.is_control())
}

fn bare(id: &str) -> &str {
    id.trim().trim_start_matches('<').trim_end_matches('>')
}

fn compose(from: &Mailbox, to: &Address, id: &str, outgoing: &Outgoing) -> Result<Message, SendError> {
    let reply = is_mail_id(&outgoing.in_reply_to).then(|| format!("<{}>", bare(&outgoing.in_reply_to)));
    let mut builder = Message::builder()
        .from(Mailbox::new(
            Some(sender_name(from, outgoing)).filter(|n| !n.is_empty()),
            from.email.clone(),
        ))
        .to(Mailbox::new(None, to.clone()))
        .subject(subject(outgoing, reply.is_some()))
        .date(SystemTime::from(outgoing.at))
        .message_id(Some(format!("<{id}>")));
    if let Some(reply) = &reply {
        builder = builder.in_reply_to(reply.clone()).references(reply.clone());
    }
    if outgoing.automatic {
        let kind = if reply.is_some() {
            "auto-replied"
        } else {
            "auto-generated"
        };
        builder = builder
            .header(AutoSubmitted(kind.into()))
            .header(AutoResponseSuppress("All".into()));
    }
    builder
        .header(ContentType::TEXT_PLAIN)
        .body(outgoing.text.clone())
        .map_err(|_| SendError::new(SendErrorKind::Permanent, "the mail cannot be written"))
}

/// The mailbox's own name, else the author's.
fn sender_name(from: &Mailbox, outgoing: &Outgoing) -> String {
    from.name.clone().unwrap_or_else(|| outgoing.author_name.clone())
}

fn subject(outgoing: &Outgoing, is_reply: bool) -> String {
    let subject = outgoing.subject.trim();
    match (subject.is_empty(), is_reply) {
        (true, _) if outgoing.language.starts_with("it") => "La tua richiesta".into(),
        (true, _) => "Your request".into(),
        (false, true) if !subject.to_lowercase().starts_with("re:") => format!("Re: {subject}"),
        (false, true | false) => subject.to_owned(),
    }
}

macro_rules! text_header {
    ($name:ident, $header:literal) => {
        #[derive(Clone)]
        struct $name(String);

        impl Header for $name {
            fn name() -> HeaderName {
                HeaderName::new_from_ascii_str($header)
            }

            fn parse(value: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
                Ok(Self(value.to_owned()))
            }

            fn display(&self) -> HeaderValue {
                HeaderValue::new(Self::name(), self.0.clone())
            }
        }
    };
}

// lettre wants a type for each header that it does not know.
text_header!(AutoSubmitted, "Auto-Submitted");
text_header!(AutoResponseSuppress, "X-Auto-Response-Suppress");

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use trama_proto::common::v1::Handle;

    use super::*;

    fn outgoing() -> Outgoing {
        Outgoing {
            tenant: "acme".parse().expect("a tenant"),
            message_id: MessageId::derived(&[b"m"]),
            channel: "mail".into(),
            handle: Handle {
                kind: "email".into(),
                value: "anna@example.com".into(),
                trust: 0,
            },
            text: "Perché no?".into(),
            subject: "Macchina del caffè".into(),
            author_name: "Luce".into(),
            automatic: true,
            in_reply_to: "<abc@example.com>".into(),
            language: "it".into(),
            whatsapp_template: None,
            at: DateTime::UNIX_EPOCH,
        }
    }

    fn formatted(outgoing: &Outgoing) -> String {
        let from: Mailbox = "Acme Care <care@acme.example>".parse().expect("a mailbox");
        let to: Address = outgoing.handle.value.parse().expect("an address");
        let mail = compose(
            &from,
            &to,
            &message_id(outgoing.message_id, "acme.example"),
            outgoing,
        )
        .expect("a mail");
        String::from_utf8(mail.formatted()).expect("utf-8")
    }

    #[test]
    fn an_automatic_answer_says_so_and_joins_its_thread() {
        let mail = formatted(&outgoing());
        for line in [
            "In-Reply-To: <abc@example.com>",
            "References: <abc@example.com>",
            "Auto-Submitted: auto-replied",
            "@acme.example>",
        ] {
            assert!(mail.contains(line), "{line} is missing in {mail}");
        }
        let person = Outgoing {
            automatic: false,
            in_reply_to: "wamid.x".into(),
            ..outgoing()
        };
        let mail = formatted(&person);
        assert!(
            !mail.contains("Auto-Submitted") && !mail.contains("In-Reply-To"),
            "{mail}"
        );
    }

    #[test]
    fn a_header_cannot_be_smuggled_in() {
        let evil = Outgoing {
            subject: "x\r\nBcc: all@example.com".into(),
            in_reply_to: "a@b\r\nBcc: c@d".into(),
            ..outgoing()
        };
        let mail = formatted(&evil);
        assert!(!mail.lines().any(|l| l.starts_with("Bcc")), "{mail}");
    }

    // The pool of a relay lives on a runtime.
    #[tokio::test]
    async fn a_relay_without_tls_must_be_on_the_same_host() {
        let spec = |relay: &str| EmailProvider {
            addresses: vec!["a@b.c".into()],
            from: "a@b.c".into(),
            relay: relay.into(),
            relay_security: RelaySecurity::None,
            relay_user: None,
            relay_password: None,
        };
        assert!(connect(&spec("relay.example:25"), None).is_err());
        assert!(connect(&spec("127.0.0.1:25"), None).is_ok());
    }
}
