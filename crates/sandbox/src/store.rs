//! What the sandbox remembers: sends, media and the failures that wait. All in memory, all bounded.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::ambient;
use crate::config::{Fault, FaultRule, Provider};

/// The oldest sends are forgotten beyond this number.
const MAX_SENT: usize = 100_000;
/// The oldest media are forgotten beyond this number.
const MAX_MEDIA: usize = 500;
/// The oldest read marks are forgotten beyond this number.
const MAX_READ_MARKS: usize = 10_000;
/// Graph ids are decimal; sixteen digits of randomness do.
const MEDIA_ID_RANGE: u128 = 10_u128.pow(16);

/// One message that a provider accepted.
#[derive(Clone, Debug, Serialize)]
pub struct Sent {
    /// Counts the sends from 1, over all providers.
    pub number: u64,
    /// Who was asked to send it.
    pub provider: Provider,
    /// When it was accepted.
    pub at: DateTime<Utc>,
    /// The recipient as the caller wrote it; the first one of a mail.
    pub to: String,
    /// The business number, the Twilio sender, or the envelope sender of a mail.
    pub from: String,
    /// The text a person would read: body, caption, or the parameters of a template, one a line.
    pub body_text: Option<String>,
    /// The request as it came.
    pub raw: Raw,
    /// The id the provider gave it; the `Message-ID` of a mail, without angle brackets.
    pub provider_message_id: String,
}

/// The request behind a [`Sent`].
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Raw {
    /// A JSON body.
    Json(Value),
    /// The fields of a form, in their order.
    Form(Vec<(String, String)>),
    /// A mail.
    Mail(Box<Mail>),
}

impl Raw {
    /// Returns the first value of a form field.
    pub fn field(&self, name: &str) -> Option<&str> {
        match self {
            Self::Form(fields) => form_field(fields, name),
            Self::Json(_) | Self::Mail(_) => None,
        }
    }
}

/// Returns the first value of a form field.
pub(crate) fn form_field<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

/// A mail that the sink took in; message ids are without angle brackets.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Mail {
    /// The envelope sender, empty for automatic mail.
    pub envelope_from: String,
    /// The envelope recipients.
    pub envelope_to: Vec<String>,
    /// The `Subject`.
    pub subject: Option<String>,
    /// The `Message-ID`.
    pub message_id: Option<String>,
    /// The ids in `In-Reply-To`.
    pub in_reply_to: Vec<String>,
    /// The ids in `References`.
    pub references: Vec<String>,
    /// The addresses in `From`.
    pub from: Vec<String>,
    /// The addresses in `To`.
    pub to: Vec<String>,
    /// The header lines, name and unparsed value.
    pub headers: Vec<(String, String)>,
    /// The names of the attachments.
    pub attachments: Vec<String>,
    /// The mail as it came, with the dots unstuffed; bytes that are not UTF-8 are replaced.
    pub source: String,
}

/// The id of a media object, as Graph writes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MediaId(pub(crate) String);

impl MediaId {
    /// Returns the id as it stands in a webhook.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MediaId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A media object.
#[derive(Clone, Debug)]
pub(crate) struct Media {
    pub bytes: Bytes,
    pub mime_type: String,
    pub sha256: [u8; 32],
}

/// A send on its way into the store.
pub(crate) struct Accepted {
    pub provider: Provider,
    pub at: DateTime<Utc>,
    pub to: String,
    pub from: String,
    pub body_text: Option<String>,
    pub raw: Raw,
    pub provider_message_id: String,
}

pub(crate) struct Store {
    inner: Mutex<Inner>,
    newest: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    sent: VecDeque<Arc<Sent>>,
    last_number: u64,
    refused: u64,
    read_marks: VecDeque<String>,
    media: VecDeque<(MediaId, Media)>,
    faults: Vec<FaultRule>,
    closed_windows: HashSet<String>,
}

impl Store {
    pub fn new() -> Self {
        Self {
            inner: Mutex::default(),
            newest: watch::Sender::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn record(&self, accepted: Accepted) {
        let number = {
            let mut inner = self.lock();
            inner.last_number += 1;
            let number = inner.last_number;
            inner.sent.push_back(Arc::new(Sent {
                number,
                provider: accepted.provider,
                at: accepted.at,
                to: accepted.to,
                from: accepted.from,
                body_text: accepted.body_text,
                raw: accepted.raw,
                provider_message_id: accepted.provider_message_id,
            }));
            if inner.sent.len() > MAX_SENT {
                inner.sent.pop_front();
            }
            number
        };
        self.newest.send_modify(|newest| *newest = number.max(*newest));
    }

    /// Lists the sends with a number above `after`.
    pub fn sent_after(&self, after: u64) -> Vec<Arc<Sent>> {
        let inner = self.lock();
        let fresh = inner
            .sent
            .iter()
            .rev()
            .take_while(|sent| sent.number > after)
            .count();
        let known = inner.sent.len() - fresh;
        inner.sent.iter().skip(known).cloned().collect()
    }

    /// Waits until a send with a number above `after` satisfies the predicate, which runs outside the lock.
    pub async fn wait_for(&self, after: u64, wanted: impl Fn(&Sent) -> bool) -> Arc<Sent> {
        let mut newest = self.newest.subscribe();
        let mut seen = after;
        loop {
            newest.borrow_and_update();
            for sent in self.sent_after(seen) {
                if wanted(&sent) {
                    return sent;
                }
                seen = sent.number;
            }
            if newest.changed().await.is_err() {
                // The store outlives its waiters, so nobody gets here; waiting on is the honest answer.
                std::future::pending::<()>().await;
            }
        }
    }

    pub fn last_number(&self) -> u64 {
        self.lock().last_number
    }

    pub fn refused(&self) -> u64 {
        self.lock().refused
    }

    pub fn count_refusal(&self) {
        self.lock().refused += 1;
    }

    pub fn mark_read(&self, message_id: &str) {
        let mut inner = self.lock();
        inner.read_marks.push_back(message_id.to_owned());
        if inner.read_marks.len() > MAX_READ_MARKS {
            inner.read_marks.pop_front();
        }
    }

    pub fn read_marks(&self) -> Vec<String> {
        self.lock().read_marks.iter().cloned().collect()
    }

    pub fn add_media(&self, bytes: Bytes, mime_type: &str) -> MediaId {
        let number = ambient::new_id().as_u128() % MEDIA_ID_RANGE;
        let id = MediaId(format!("{number:016}"));
        let media = Media {
            sha256: Sha256::digest(&bytes).into(),
            bytes,
            mime_type: mime_type.to_owned(),
        };
        let mut inner = self.lock();
        inner.media.push_back((id.clone(), media));
        if inner.media.len() > MAX_MEDIA {
            inner.media.pop_front();
        }
        id
    }

    pub fn find_media(&self, id: &str) -> Option<Media> {
        let inner = self.lock();
        let (_, media) = inner.media.iter().find(|(known, _)| known.0 == id)?;
        Some(media.clone())
    }

    pub fn add_fault(&self, rule: FaultRule) {
        self.lock().faults.push(rule);
    }

    /// Takes one use of the oldest rule that fits a send.
    pub fn take_fault(&self, provider: Provider, to: &str) -> Option<Fault> {
        let to = address_key(to);
        let mut inner = self.lock();
        let rule = inner.faults.iter_mut().find(|rule| {
            rule.times > 0
                && rule.provider.is_none_or(|wanted| wanted == provider)
                && rule.to.as_deref().is_none_or(|wanted| address_key(wanted) == to)
        })?;
        rule.times -= 1;
        let fault = rule.fault.clone();
        inner.faults.retain(|rule| rule.times > 0);
        Some(fault)
    }

    pub fn set_window_closed(&self, to: &str, closed: bool) {
        let mut inner = self.lock();
        if closed {
            inner.closed_windows.insert(address_key(to));
        } else {
            inner.closed_windows.remove(&address_key(to));
        }
    }

    pub fn window_is_closed(&self, to: &str) -> bool {
        self.lock().closed_windows.contains(&address_key(to))
    }
}

/// One spelling for all spellings of an address: `whatsapp:+1 415…` and `1415…` are the same person.
pub(crate) fn address_key(address: &str) -> String {
    let address = address.trim();
    let bare = address.strip_prefix("whatsapp:").unwrap_or(address);
    let is_phone = bare.chars().any(|character| character.is_ascii_digit())
        && bare
            .chars()
            .all(|character| character.is_ascii_digit() || "+-() ".contains(character));
    if is_phone {
        bare.chars().filter(char::is_ascii_digit).collect()
    } else {
        bare.to_lowercase()
    }
}
