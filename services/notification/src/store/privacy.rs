//! What is held of a person, how it is forgotten, and what is too old to be kept.

use trama_platform::{
    privacy::{Aged, Kept},
    sealing::Column,
};

use super::messages;

/// What is sealed.
pub const SEALED: &[Column] = &[messages::REQUEST, messages::BODY];

/// What an export shows, by the customers for whom messages were asked.
pub const KEPT: &[Kept] = &[
    Kept {
        records: "messages",
        rows: "SELECT to_jsonb(t) FROM messages t WHERE tenant = $1 AND asked_customer_id = ANY($2) ORDER BY seq",
        messages: &[("request", "trama.notification.v1.MessageRequested")],
    },
    Kept {
        records: "attempts",
        rows: "SELECT to_jsonb(t) FROM attempts t JOIN messages m USING (tenant, message_id)
               WHERE tenant = $1 AND m.asked_customer_id = ANY($2) ORDER BY m.seq, t.number",
        messages: &[],
    },
];

/// How it is forgotten. Rows stay for the figures of channels and are nobody's; what has not left yet never will, and a
/// sender that has one in hand finds another version.
pub const FORGOTTEN: &[(&str, &str)] = &[
    (
        "receipts",
        "DELETE FROM early_receipts r USING messages m
         WHERE m.tenant = $1 AND m.asked_customer_id = ANY($2) AND r.tenant = $1
           AND (r.message_id = m.message_id OR (m.provider_message_id <> '' AND r.provider_message_id = m.provider_message_id))",
    ),
    (
        "attempts",
        "UPDATE attempts t SET error = '', provider_message_id = '' FROM messages m
         WHERE m.tenant = $1 AND m.asked_customer_id = ANY($2) AND t.tenant = $1 AND t.message_id = m.message_id
           AND (t.error <> '' OR t.provider_message_id <> '')",
    ),
    (
        "messages",
        "UPDATE messages SET request = '', body = '', handle_kind = '', handle_value = '', provider_message_id = '',
             spent = '{}', reason = '', status = CASE WHEN status = 'queued' THEN 'suppressed' ELSE status END,
             version = version + 1
         WHERE tenant = $1 AND asked_customer_id = ANY($2) AND (request <> '' OR handle_value <> '' OR status = 'queued')",
    ),
    (
        "merges",
        "DELETE FROM customer_merges WHERE tenant = $1 AND (survivor_id = ANY($2) OR merged_id = ANY($2) OR holder_id = ANY($2))",
    ),
];

/// Messages that are over, with their tries.
pub const AGED: &[Aged] = &[Aged {
    records: "messages",
    rows: "DELETE FROM messages WHERE tenant = $1 AND message_id IN
               (SELECT message_id FROM messages WHERE tenant = $1 AND updated_at < $2 AND status <> 'queued' LIMIT $3)
           RETURNING message_id",
    with: &[
        ("attempts", "DELETE FROM attempts WHERE tenant = $1 AND message_id = ANY($2)"),
    ],
}];
