//! What is held of a person, by their cases; how it is forgotten, and what is too old to be kept.

use trama_platform::{
    privacy::{Aged, Kept},
    sealing::Column,
};

use super::{items, offers};

/// What is sealed.
pub const SEALED: &[Column] = &[
    items::SNAPSHOT,
    items::HANDOVER,
    items::SECOND,
    offers::NOTE,
    offers::REASON,
];

/// What an export shows.
pub const KEPT: &[Kept] = &[
    Kept {
        records: "work_items",
        rows: "SELECT to_jsonb(t) - 'snapshot' - 'route' FROM work_items t WHERE tenant = $1 AND case_id = ANY($2) ORDER BY waiting_since",
        messages: &[],
    },
    Kept {
        records: "offers",
        rows: "SELECT to_jsonb(t) - 'why' FROM offers t JOIN work_items w USING (tenant, work_item_id)
               WHERE tenant = $1 AND w.case_id = ANY($2) ORDER BY t.offered_at",
        messages: &[],
    },
];

/// How it is forgotten, once the work has ended: words and context go, the figures stay.
pub const FORGOTTEN: &[(&str, &str)] = &[
    (
        "offers",
        "UPDATE offers o SET note = '', reason = '', explanation = '' FROM work_items w
         WHERE w.tenant = $1 AND w.case_id = ANY($2) AND o.tenant = $1 AND o.work_item_id = w.work_item_id
           AND (o.note <> '' OR o.reason <> '' OR o.explanation <> '')",
    ),
    (
        "work_items",
        "UPDATE work_items SET snapshot = NULL, handover = NULL
         WHERE tenant = $1 AND case_id = ANY($2) AND (snapshot IS NOT NULL OR handover IS NOT NULL)",
    ),
];

/// Items that are over, with their offers.
pub const AGED: &[Aged] = &[Aged {
    records: "workItems",
    rows: "DELETE FROM work_items WHERE tenant = $1 AND work_item_id IN
               (SELECT work_item_id FROM work_items WHERE tenant = $1 AND ended_at < $2 LIMIT $3)
           RETURNING work_item_id",
    with: &[(
        "offers",
        "DELETE FROM offers WHERE tenant = $1 AND work_item_id = ANY($2)",
    )],
}];
