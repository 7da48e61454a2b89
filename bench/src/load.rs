//! Load: signed WhatsApp webhooks over keep-alive connections, by hand and cheap, on a thread of its own.

use std::{
    cell::{Cell, RefCell},
    fmt::Write as _,
    net::SocketAddr,
    ops::Range,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use futures::future::try_join_all;
use ring::hmac;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{machine, report::Latencies};

/// Signs the webhooks.
pub const APP_SECRET: &str = "bench-app-secret";
/// Our number.
pub const PHONE_NUMBER_ID: &str = "106540352242922";
/// Size of every webhook.
pub const WEBHOOK_BYTES: usize = 2048;
/// Connections of a load, as many as a busy provider holds open.
pub const CONNECTIONS: usize = 64;

/// Runs a future on a thread of its own, so that load and service do not wait for each other's tasks; they share the
/// CPUs all the same. Returns the CPU seconds of that thread, too.
pub async fn aside<T, F>(make: impl FnOnce() -> F + Send + 'static) -> anyhow::Result<(T, f64)>
where
    F: Future<Output = anyhow::Result<T>>,
    T: Send + 'static,
{
    let (done, result) = tokio::sync::oneshot::channel();
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let value = runtime.block_on(make())?;
        anyhow::Ok((value, machine::thread_cpu_seconds()))
    };
    std::thread::Builder::new()
        .name("load".to_owned())
        .spawn(move || {
            // Nobody waits any more when the bench has failed elsewhere.
            let _ = done.send(work());
        })?;
    result.await.context("the load generator panicked")?
}

/// Writes webhooks: each from another sender, each with another text.
#[derive(Debug, Clone)]
pub struct Webhooks {
    head: String,
    key: hmac::Key,
    timestamp: i64,
}

impl Webhooks {
    /// For a path. `timestamp` is when the messages say they were written, in seconds since 1970.
    pub fn new(address: SocketAddr, path: &str, timestamp: i64) -> Self {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Content-Length: {WEBHOOK_BYTES}\r\nX-Hub-Signature-256: sha256="
        );
        Self {
            head,
            key: hmac::Key::new(hmac::HMAC_SHA256, APP_SECRET.as_bytes()),
            timestamp,
        }
    }

    /// The whole request of one sender.
    pub fn write(&self, sender: u64, request: &mut Vec<u8>) {
        let body = body(sender, self.timestamp);
        request.clear();
        request.extend_from_slice(self.head.as_bytes());
        request.extend_from_slice(hex::encode(hmac::sign(&self.key, body.as_bytes())).as_bytes());
        request.extend_from_slice(b"\r\n\r\n");
        request.extend_from_slice(body.as_bytes());
    }
}

/// The account of a sender: an Italian mobile number that ends in the sender's number.
pub fn account(sender: u64) -> String {
    format!("393{sender:09}")
}

/// The sender behind an account or a telephone number.
pub fn sender(account: &str) -> Option<u64> {
    account.trim_start_matches('+').strip_prefix("393")?.parse().ok()
}

/// A message that came through an advertisement: text of some hundred letters, and much that nobody reads.
fn body(sender: u64, timestamp: i64) -> String {
    let account = account(sender);
    let mut body = String::with_capacity(WEBHOOK_BYTES);
    // Writing to a String cannot fail.
    let _ = write!(
        body,
        r#"{{"object":"whatsapp_business_account","entry":[{{"id":"102290129340398","changes":[{{"value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"390230578000","phone_number_id":"{PHONE_NUMBER_ID}"}},"contacts":[{{"profile":{{"name":"Cliente {sender}"}},"wa_id":"{account}"}}],"messages":[{{"from":"{account}","id":"wamid.HBgMMzkz{sender:016X}AA==","timestamp":"{timestamp}","type":"text","text":{{"body":"{}"}},"referral":{{"source_url":"https://fb.me/1a2b3c4d5","source_id":"120210000000000001","source_type":"ad","headline":"Acme, la macchina del caffè","media_type":"image","ctwa_clid":""#,
        text(sender)
    );
    let tail = r#""}}]},"field":"messages"}]}]}"#;
    while body.len() + tail.len() < WEBHOOK_BYTES {
        body.push(char::from(b'A' + (body.len() % 26) as u8));
    }
    body.push_str(tail);
    body
}

/// What the sender says; ASCII without quotes, so that it can stand in JSON as it is.
fn text(sender: u64) -> String {
    const NEEDS: [&str; 6] = [
        "la macchina del caffe perde acqua e non scalda piu, credo sia guasta",
        "il pacco non e ancora arrivato e il corriere non risponde, dove si trova la consegna",
        "nella fattura di questo mese c e un importo che non capisco, vorrei una spiegazione",
        "vorrei restituire il prodotto e avere il rimborso, come devo fare",
        "non riesco piu a entrare nel mio profilo, la password non viene accettata",
        "vorrei cambiare indirizzo di spedizione prima che parta la merce",
    ];
    const MORE: [&str; 7] = [
        "Ho gia provato a spegnere e riaccendere tutto, ma non e cambiato niente.",
        "Sono cliente da molti anni e finora mi sono sempre trovato bene.",
        "Vi prego di rispondermi appena possibile, perche domani parto per qualche giorno.",
        "Posso mandare una fotografia, se serve a capire meglio.",
        "Ne ho parlato anche con il negozio, che mi ha detto di scrivere a voi.",
        "Di solito sono a casa la sera dopo le sei.",
        "Vi ringrazio in anticipo per la pazienza e per la cortesia.",
    ];
    let pick =
        |list: &[&'static str], salt: u64| list[((sender / salt.max(1) + salt) % list.len() as u64) as usize];
    let mut text = format!(
        "Buongiorno, {}. Si tratta dell ordine {}.",
        pick(&NEEDS, 0),
        100_000 + sender
    );
    for salt in 1..=6 {
        text.push(' ');
        text.push_str(pick(&MORE, salt));
    }
    text
}

/// How fast.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// The next one as soon as the last one is answered.
    AsAnswered,
    /// So many per second, whether the last ones are answered or not.
    PerSecond(f64),
}

/// What is sent.
#[derive(Debug, Clone)]
pub struct Load {
    /// Where to.
    pub address: SocketAddr,
    /// What.
    pub webhooks: Webhooks,
    /// How fast.
    pub pace: Pace,
    /// From which senders.
    pub senders: Range<u64>,
    /// Ends here even when senders are left.
    pub at_most: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Answered {
    /// Webhooks that were answered with 2xx.
    pub count: u64,
    /// When the first one was sent.
    pub began: Instant,
    /// When the last one was answered.
    pub ended: Instant,
    /// From sending to the answer.
    pub latencies: Latencies,
    /// Answers 429 and 503; each was tried again.
    pub refused: u64,
}

impl Answered {
    /// Webhooks per second.
    pub fn rate(&self) -> f64 {
        self.count as f64 / (self.ended - self.began).as_secs_f64()
    }
}

/// When each sender's webhook left.
#[derive(Debug)]
pub struct Departures {
    first: u64,
    at: RefCell<Vec<Option<Instant>>>,
}

impl Departures {
    /// Nobody yet.
    pub fn of(senders: &Range<u64>) -> Self {
        Self {
            first: senders.start,
            at: RefCell::new(vec![None; (senders.end - senders.start) as usize]),
        }
    }

    fn note(&self, sender: u64, at: Instant) {
        if let Some(place) = self.at.borrow_mut().get_mut((sender - self.first) as usize) {
            *place = Some(at);
        }
    }

    /// When a sender's webhook left.
    pub fn get(&self, sender: u64) -> Option<Instant> {
        let index = sender.checked_sub(self.first)? as usize;
        self.at.borrow().get(index).copied().flatten()
    }
}

/// Sends, and waits for every answer.
pub async fn send(load: &Load, departures: Option<&Departures>) -> anyhow::Result<Answered> {
    let connections = try_join_all((0..CONNECTIONS).map(|_| Connection::open(load.address))).await?;
    let began = Instant::now();
    let next = Cell::new(load.senders.start);
    let answered = RefCell::new(Answered {
        count: 0,
        began,
        ended: began,
        latencies: Latencies::default(),
        refused: 0,
    });
    let run = |mut connection: Connection| {
        let (next, answered) = (&next, &answered);
        async move {
            let mut request = Vec::with_capacity(WEBHOOK_BYTES + 512);
            loop {
                let sender = next.get();
                if sender >= load.senders.end || began.elapsed() >= load.at_most {
                    return anyhow::Ok(());
                }
                next.set(sender + 1);
                load.webhooks.write(sender, &mut request);
                let left_at = departure(load, sender, began).await;
                if let Some(departures) = departures {
                    departures.note(sender, left_at);
                }
                while !connection.deliver(&request).await? {
                    answered.borrow_mut().refused += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                let now = Instant::now();
                let mut answered = answered.borrow_mut();
                answered.count += 1;
                answered.ended = now;
                answered.latencies.push(now - left_at);
            }
        }
    };
    try_join_all(connections.into_iter().map(run)).await?;
    Ok(answered.into_inner())
}

/// Waits until the webhook is due. One that is late because every connection was busy counts from when it was due;
/// what the timer oversleeps is not the platform's fault and does not count.
async fn departure(load: &Load, sender: u64, began: Instant) -> Instant {
    let Pace::PerSecond(rate) = load.pace else {
        return Instant::now();
    };
    let due = began + Duration::from_secs_f64((sender - load.senders.start) as f64 / rate);
    if due <= Instant::now() {
        return due;
    }
    tokio::time::sleep_until(due.into()).await;
    Instant::now()
}

/// A keep-alive connection.
struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            answer: Vec::with_capacity(1024),
        })
    }

    /// Whether it was taken; `false` means: later.
    async fn deliver(&mut self, request: &[u8]) -> anyhow::Result<bool> {
        self.stream.write_all(request).await?;
        self.answer.clear();
        loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                bail!(
                    "the server closed the connection after {:?}",
                    String::from_utf8_lossy(&self.answer)
                );
            }
            if let Some(status) = complete(&self.answer)? {
                return match status {
                    200..300 => Ok(true),
                    429 | 503 => Ok(false),
                    _ => bail!(
                        "a webhook was answered with {}",
                        String::from_utf8_lossy(&self.answer)
                    ),
                };
            }
        }
    }
}

/// The status, once head and body are there.
fn complete(answer: &[u8]) -> anyhow::Result<Option<u16>> {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&answer[..head])?;
    let status = text
        .get(9..12)
        .and_then(|s| s.parse().ok())
        .context("the answer is no HTTP")?;
    let mut length = 0;
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse()?;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            bail!("the load generator reads no chunked answers");
        }
    }
    Ok((answer.len() >= head + 4 + length).then_some(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_json_of_the_stated_size() {
        for sender in [0, 7, 39_999, 999_999_999] {
            let body = body(sender, 1_780_308_000);
            assert_eq!(body.len(), WEBHOOK_BYTES);
            let value: serde_json::Value = serde_json::from_str(&body).expect("it is JSON");
            let from = &value["entry"][0]["changes"][0]["value"]["messages"][0]["from"];
            assert_eq!(from.as_str().and_then(super::sender), Some(sender));
        }
        assert_ne!(text(1), text(2));
    }

    #[test]
    fn an_answer_is_complete_with_its_body() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        assert_eq!(complete(answer).expect("HTTP"), Some(200));
        assert_eq!(complete(&answer[..answer.len() - 1]).expect("HTTP"), None);
        assert_eq!(complete(b"HTTP/1.1 503").expect("HTTP"), None);
    }
}
