//! Messages that are still kept in the streams: removed one by one, their bytes overwritten.

use std::collections::HashMap;

use async_nats::jetstream::{
    consumer::{AckPolicy, DeliverPolicy, pull},
    stream::DeleteMessageErrorKind,
};
use futures::StreamExt as _;
use trama_proto::ids::TenantId;

use crate::{
    Error,
    bus::{Bus, Stream},
};

/// Messages that are read at once.
const PIECE: usize = 500;

/// A message that is kept in a stream.
pub struct Passed<'a> {
    /// Name of the event, or of the channel.
    pub name: &'a str,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// Removes messages of a tenant from a stream. With `worked_in_by`, only those that the stage of this name has acknowledged:
/// what nobody has worked in yet must not be lost. Returns how many went.
///
/// # Errors
/// When JetStream cannot be reached; what is removed by then stays so.
pub async fn remove_messages(
    bus: &Bus,
    stream: Stream,
    tenant: &TenantId,
    worked_in_by: Option<&str>,
    mut is_theirs: impl FnMut(&Passed<'_>) -> bool + Send,
) -> Result<u64, Error> {
    let away = |e: String| Error::unavailable("JetStream", std::io::Error::other(e));
    let kept = bus.stream(stream).await?;
    let mut floors: HashMap<u32, u64> = HashMap::new();
    if let Some(stage) = worked_in_by {
        for partition in 0..bus.partitions() {
            // A consumer that does not exist has worked nothing in.
            if let Ok(info) = kept.consumer_info(format!("{stage}-{partition}")).await {
                floors.insert(partition, info.ack_floor.stream_sequence);
            }
        }
    }
    let config = pull::Config {
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::None,
        filter_subject: bus.all_of_tenant(stream, tenant),
        inactive_threshold: std::time::Duration::from_secs(30),
        ..pull::Config::default()
    };
    let mut consumer = kept
        .create_consumer(config)
        .await
        .map_err(|e| away(e.to_string()))?;
    let mut left = consumer
        .info()
        .await
        .map_err(|e| away(e.to_string()))?
        .num_pending;
    let mut gone = 0;
    while left > 0 {
        let mut messages = consumer
            .fetch()
            .max_messages(PIECE)
            .messages()
            .await
            .map_err(|e| away(e.to_string()))?;
        let mut read = 0;
        while let Some(message) = messages.next().await {
            let message = message.map_err(|e| away(e.to_string()))?;
            read += 1;
            let sequence = message.info().map_or(0, |i| i.stream_sequence);
            let mut words = message.subject.as_str().split('.');
            let partition = words.next_back().and_then(|p| p.parse::<u32>().ok());
            if worked_in_by.is_some()
                && partition.is_none_or(|p| floors.get(&p).is_none_or(|floor| sequence > *floor))
            {
                continue;
            }
            let passed = Passed {
                name: message.subject.as_str().split('.').nth(2).unwrap_or_default(),
                payload: &message.payload,
            };
            if is_theirs(&passed) {
                match kept.delete_message(sequence).await {
                    Ok(done) => gone += u64::from(done),
                    // One that has aged out meanwhile is as good as removed.
                    Err(error) if matches!(error.kind(), DeleteMessageErrorKind::JetStream(_)) => {}
                    Err(error) => return Err(away(error.to_string())),
                }
            }
        }
        if read == 0 {
            break;
        }
        left = left.saturating_sub(read);
    }
    Ok(gone)
}
