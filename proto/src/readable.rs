//! Encoded messages as people can read them.

use std::sync::OnceLock;

use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::Value;

fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        DescriptorPool::decode(crate::DESCRIPTORS).expect("descriptors come from our own build")
    })
}

/// A message in the JSON of protobuf, by its full name; `None` when there is no such message or the bytes are none of it.
pub fn readable(message: &str, bytes: &[u8]) -> Option<Value> {
    let descriptor = pool().get_message_by_name(message)?;
    let message = DynamicMessage::decode(descriptor, bytes).ok()?;
    serde_json::to_value(message).ok()
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use crate::common::v1::{Handle, Interaction};

    #[test]
    fn a_message_reads_as_json() {
        let said = Interaction {
            text: "la macchina perde acqua".into(),
            party: Some(Handle {
                kind: "email".into(),
                value: "anna@example.com".into(),
                trust: 0,
            }),
            ..Interaction::default()
        };
        let read = super::readable("trama.common.v1.Interaction", &said.encode_to_vec()).expect("JSON");
        assert_eq!(read["text"], "la macchina perde acqua");
        assert_eq!(read["party"]["value"], "anna@example.com");
        assert_eq!(super::readable("trama.common.v1.Nothing", &[]), None);
    }
}
