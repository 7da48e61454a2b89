//! Fetching files that providers only name. No transaction is open while a provider answers.
//!
//! Each waiting interaction has a row and a timer. The timer hands it to the fetcher of its replica and arms itself
//! again for later, so that a replica that dies in between loses nothing.

use std::{sync::Arc, time::Duration};

use base64::Engine as _;
use bytes::Bytes;
use chrono::TimeDelta;
use futures::{StreamExt as _, stream::FuturesUnordered};
use prost::Message as _;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use trama_platform::{
    Db, Error, Kind, Tx,
    objects::Objects,
    outbound::Outbound,
    resources::{ResourceStore, Secrets},
    stage::Envelope,
    timers::{Timer, TimerHandler, TimerSpec},
};
use trama_proto::{
    common::v1::{Attachment, Interaction},
    ids::TenantId,
    resources::{ChannelSpec, Provider},
};

use crate::{
    channels::{self, Place, RemoteFile},
    config::IngestConfig,
    consumer::publish_interaction,
    store::media::{self, Key, Pending},
};

/// Kind of the timers.
pub const TIMER: &str = "media";
/// A fetch that has not ended after so long is taken for lost with its replica.
const LEASE: TimeDelta = TimeDelta::seconds(120);
/// Tries when the provider says that there is no such file.
const TRIES_WHEN_REFUSED: i32 = 2;
/// Where Twilio's media links lead to.
const TWILIO_CDN: [&str; 2] = ["mms.twiliocdn.com", "media.twiliocdn.com"];

/// Remembers an interaction and wants to be woken at once.
///
/// # Errors
/// When the database is away.
pub async fn defer(
    tx: &mut Tx,
    envelope: &Envelope,
    interaction: &Interaction,
    files: &[RemoteFile],
) -> Result<(), Error> {
    let interaction_id = uuid::Uuid::try_parse(&interaction.interaction_id).map_err(Error::internal)?;
    let key = Key {
        tenant: envelope.tenant.to_string(),
        interaction_id,
        revision: interaction.revision,
    };
    let pending = Pending {
        channel: interaction.channel.clone(),
        interaction: interaction.encode_to_vec(),
        media: serde_json::to_value(files).map_err(Error::internal)?,
        trace: envelope.trace.clone(),
        attempts: 0,
    };
    let now = tx.now();
    media::put(tx, &key, &pending, now).await?;
    tx.arm(timer(&envelope.tenant, &key, now));
    Ok(())
}

fn timer(tenant: &TenantId, key: &Key, due_at: chrono::DateTime<chrono::Utc>) -> TimerSpec {
    TimerSpec {
        tenant: tenant.clone(),
        kind: TIMER,
        key: timer_key(key),
        due_at,
        payload: serde_json::json!({"interaction": key.interaction_id, "revision": key.revision}),
    }
}

fn timer_key(key: &Key) -> String {
    format!("{}/{}", key.interaction_id, key.revision)
}

/// Hands what is due to the fetcher.
pub struct Due {
    queue: mpsc::Sender<(TenantId, Key)>,
}

#[derive(Deserialize)]
struct Payload {
    interaction: uuid::Uuid,
    revision: i32,
}

#[async_trait::async_trait]
impl TimerHandler for Due {
    async fn fire(&self, tx: &mut Tx, due: &[Timer]) -> Result<(), Error> {
        let mut wanted = Vec::with_capacity(due.len());
        for timer in due.iter().filter(|t| t.kind == TIMER) {
            let Payload {
                interaction,
                revision,
            } = serde_json::from_value(timer.payload.clone()).map_err(Error::internal)?;
            let key = Key {
                tenant: timer.tenant.to_string(),
                interaction_id: interaction,
                revision,
            };
            wanted.push((timer.tenant.clone(), key));
        }
        let keys: Vec<&Key> = wanted.iter().map(|(_, key)| key).collect();
        // What is done already must not be armed again, or its timer would go round for ever.
        let waiting = media::waiting(tx.conn(), &keys).await?;
        for (tenant, key) in wanted.into_iter().filter(|(_, key)| waiting.contains(key)) {
            // A full queue means that this replica is busy: somebody looks again in a moment.
            let again = match self.queue.try_send((tenant.clone(), key.clone())) {
                Ok(()) => LEASE,
                Err(_) => TimeDelta::seconds(1),
            };
            let due_at = tx.now() + again;
            tx.arm(timer(&tenant, &key, due_at));
        }
        Ok(())
    }
}

/// Fetches files, some at a time.
pub struct Fetcher {
    /// The service's database.
    pub db: Db,
    /// Where files go.
    pub objects: Objects,
    /// Calls to providers.
    pub outbound: Outbound,
    /// Channels.
    pub resources: ResourceStore,
    /// Their tokens.
    pub secrets: Secrets,
    /// Limits.
    pub config: Arc<IngestConfig>,
}

/// The two ends of the queue between timers and fetcher.
pub fn queue(config: &IngestConfig) -> (Due, mpsc::Receiver<(TenantId, Key)>) {
    let (sender, receiver) = mpsc::channel(config.media_concurrency * 4);
    (Due { queue: sender }, receiver)
}

impl Fetcher {
    /// Runs until the process stops; what is not finished is found again by its timer.
    ///
    /// # Errors
    /// Never: every failure leads to another try.
    pub async fn run(
        self,
        mut queue: mpsc::Receiver<(TenantId, Key)>,
        stopping: CancellationToken,
    ) -> Result<(), Error> {
        let mut running = FuturesUnordered::new();
        loop {
            let free = running.len() < self.config.media_concurrency;
            tokio::select! {
                () = stopping.cancelled() => return Ok(()),
                Some(()) = running.next(), if !running.is_empty() => {}
                next = queue.recv(), if free => match next {
                    Some((tenant, key)) => running.push(self.work(tenant, key)),
                    None => return Ok(()),
                },
            }
        }
    }

    async fn work(&self, tenant: TenantId, key: Key) {
        if let Err(error) = self.try_work(&tenant, &key).await {
            tracing::warn!(interaction = %key.interaction_id, detail = error.detail(), "files could not be fetched; trying again later");
        }
    }

    async fn try_work(&self, tenant: &TenantId, key: &Key) -> Result<(), Error> {
        let pending = {
            let mut tx = self.db.system_tx().await?;
            media::find(&mut tx, key).await?
        };
        let Some(pending) = pending else { return Ok(()) };
        let mut interaction = Interaction::decode(pending.interaction.as_slice())?;
        let files: Vec<RemoteFile> = serde_json::from_value(pending.media).map_err(Error::internal)?;
        let fetched = futures::future::join_all(
            files
                .iter()
                .enumerate()
                .map(|(n, file)| self.fetch(tenant, &pending.channel, &interaction.interaction_id, n, file)),
        )
        .await;

        let last_try = pending.attempts + 1 >= self.config.media_attempts;
        let mut attachments = Vec::with_capacity(files.len());
        let mut failure = None;
        for (position, (file, result)) in files.iter().zip(fetched).enumerate() {
            match result {
                Ok(attachment) => attachments.push(attachment),
                Err(error) => {
                    let refused = error.kind() == Kind::Invalid && pending.attempts + 1 >= TRIES_WHEN_REFUSED;
                    if last_try || refused {
                        tracing::error!(interaction = %key.interaction_id, detail = error.detail(), "a file is given up; the interaction goes on without it");
                        metrics::counter!("trama_ingest_media_total", "outcome" => "given_up").increment(1);
                        attachments.push(without_bytes(&interaction.interaction_id, position, file));
                    } else {
                        failure = Some(error);
                    }
                }
            }
        }
        let mut tx = self.db.system_tx().await?;
        if let Some(failure) = failure {
            metrics::counter!("trama_ingest_media_total", "outcome" => "retried").increment(1);
            media::count_attempt(tx.conn(), key).await?;
            let due_at = tx.now() + back_off(pending.attempts);
            tx.arm(timer(tenant, key, due_at));
            tx.commit().await?;
            return Err(failure);
        }
        if !media::remove(tx.conn(), key).await? {
            return Ok(());
        }
        metrics::counter!("trama_ingest_media_total", "outcome" => "stored")
            .increment(attachments.len() as u64);
        interaction.attachments = attachments;
        tx.follow(&cause(tenant, key, pending.trace));
        publish_interaction(&mut tx, tenant, interaction)?;
        tx.disarm(tenant, TIMER, timer_key(key));
        tx.commit().await
    }

    async fn fetch(
        &self,
        tenant: &TenantId,
        channel: &str,
        interaction: &str,
        position: usize,
        file: &RemoteFile,
    ) -> Result<Attachment, Error> {
        let snapshot = self.resources.snapshot();
        let spec = snapshot
            .tenant(tenant)
            .and_then(|t| t.channels.get(channel))
            .ok_or_else(|| Error::new(Kind::Unavailable, "the channel is gone"))?;
        let bytes = self.bytes(tenant, spec, file).await?;
        let object_key = channels::object_key(tenant, interaction, position);
        let attachment = Attachment {
            filename: file.filename.clone(),
            content_type: file.content_type.clone(),
            size_bytes: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
            sha256: hex::encode(Sha256::digest(&bytes)),
            object_key: object_key.clone(),
            voice_note: file.voice_note,
            ..channels::attachment(interaction, position)
        };
        self.objects.put(&object_key, bytes).await?;
        Ok(attachment)
    }

    async fn bytes(&self, tenant: &TenantId, spec: &ChannelSpec, file: &RemoteFile) -> Result<Bytes, Error> {
        let limit = self.config.max_media_bytes;
        match (&file.place, &spec.provider) {
            (Place::Whatsapp(id), Provider::WhatsappCloud(p)) => {
                if id.is_empty()
                    || !id
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
                {
                    return Err(Error::new(Kind::Invalid, "a media id of unknown shape"));
                }
                let bearer = format!("Bearer {}", self.secrets.current(tenant, &p.access_token)?);
                let base = host_of(&p.api_base_url)?;
                let about = format!("{}/{id}", p.api_base_url.trim_end_matches('/'));
                let described = self
                    .outbound
                    .fetch(&about, Some(&bearer), std::slice::from_ref(&base), 64 * 1024)
                    .await?;
                let described: Described = serde_json::from_slice(&described)
                    .map_err(|_| Error::new(Kind::Invalid, "the answer about a file has another shape"))?;
                let mut hosts = p.media_hosts.clone();
                if is_loopback(&base) {
                    hosts.push(base);
                }
                let bytes = self
                    .outbound
                    .fetch(&described.url, Some(&bearer), &hosts, limit)
                    .await?;
                check_digest(&bytes, described.sha256.as_deref().or(file.sha256.as_deref()))?;
                Ok(bytes)
            }
            (Place::Twilio(url), Provider::TwilioSms(p) | Provider::TwilioVoice(p)) => {
                let token = self.secrets.current(tenant, &p.auth_token)?;
                let pair = format!("{}:{token}", p.account_sid);
                let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
                let hosts: Vec<String> = std::iter::once(host_of(&p.api_base_url)?)
                    .chain(TWILIO_CDN.iter().map(|h| (*h).to_owned()))
                    .collect();
                // The credentials go to Twilio's own host only; the first host of the list is where they may go.
                if host_of(url)? != hosts[0] {
                    return Err(Error::new(
                        Kind::Invalid,
                        "a media link to another host than the API's",
                    ));
                }
                self.outbound.fetch(url, Some(&basic), &hosts, limit).await
            }
            (Place::Whatsapp(_) | Place::Twilio(_), _) => {
                Err(Error::new(Kind::Invalid, "the channel changed its provider"))
            }
        }
    }
}

/// The delivery that the interaction came from, as far as a trace needs it.
fn cause(tenant: &TenantId, key: &Key, trace: Option<String>) -> Envelope {
    Envelope {
        id: key.interaction_id,
        name: String::new(),
        tenant: tenant.clone(),
        payload: Bytes::new(),
        trace,
        subject: String::new(),
    }
}

#[derive(Deserialize)]
struct Described {
    url: String,
    sha256: Option<String>,
}

/// 1 s, 2 s, 4 s … at most 5 min.
fn back_off(attempts: i32) -> TimeDelta {
    let exponent = u32::try_from(attempts.clamp(0, 9)).unwrap_or(0);
    TimeDelta::from_std(Duration::from_secs(1) * 2_u32.pow(exponent))
        .unwrap_or(TimeDelta::minutes(5))
        .min(TimeDelta::minutes(5))
}

fn without_bytes(interaction: &str, position: usize, file: &RemoteFile) -> Attachment {
    Attachment {
        filename: file.filename.clone(),
        content_type: file.content_type.clone(),
        voice_note: file.voice_note,
        ..channels::attachment(interaction, position)
    }
}

fn host_of(url: &str) -> Result<String, Error> {
    let parsed = url::Url::parse(url).map_err(|_| Error::new(Kind::Invalid, "not a URL"))?;
    parsed
        .host_str()
        .map(str::to_owned)
        .ok_or_else(|| Error::new(Kind::Invalid, "a URL without host"))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// Graph writes the digest in hex, its webhooks write it in base64.
fn check_digest(bytes: &[u8], wanted: Option<&str>) -> Result<(), Error> {
    let Some(wanted) = wanted.filter(|w| !w.is_empty()) else {
        return Ok(());
    };
    let digest = Sha256::digest(bytes);
    let decoded = hex::decode(wanted).or_else(|_| base64::engine::general_purpose::STANDARD.decode(wanted));
    if decoded.is_ok_and(|d| d[..] == digest[..]) {
        Ok(())
    } else {
        Err(Error::new(
            Kind::Unavailable,
            "the file is not what the provider announced",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_may_be_hex_or_base64_and_must_be_right() {
        let digest = Sha256::digest(b"x");
        assert!(check_digest(b"x", Some(&hex::encode(digest))).is_ok());
        assert!(
            check_digest(
                b"x",
                Some(&base64::engine::general_purpose::STANDARD.encode(digest))
            )
            .is_ok()
        );
        assert!(check_digest(b"y", Some(&hex::encode(digest))).is_err());
        assert!(check_digest(b"y", Some("junk")).is_err());
        assert!(check_digest(b"y", None).is_ok());
    }

    #[test]
    fn waits_grow_and_end() {
        assert_eq!(back_off(0), TimeDelta::seconds(1));
        assert_eq!(back_off(3), TimeDelta::seconds(8));
        assert_eq!(back_off(i32::MAX), TimeDelta::minutes(5));
    }

    #[test]
    fn only_a_stand_in_on_this_machine_serves_its_own_media() {
        assert!(is_loopback("127.0.0.1") && is_loopback("localhost") && is_loopback("[::1]"));
        assert!(!is_loopback("graph.facebook.com") && !is_loopback("10.0.0.1"));
    }
}
