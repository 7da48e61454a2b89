//! What the audit log is told of cases and articles: how they were, and how they are. Nothing that a person wrote.

use chrono::{DateTime, Utc};
use trama_platform::Tx;

use crate::{domain::Case, store::articles::Version};

/// What became of a case.
pub(super) fn tell_case(tx: &Tx, before: &Case, after: &Case) {
    for ((field, was), (_, now)) in told(before).into_iter().zip(told(after)) {
        tx.changed(("case", &after.id), field, &was, &now);
    }
}

/// Fields that a command may change, by the names of the contract.
fn told(case: &Case) -> [(&'static str, String); 7] {
    let moment = |at: Option<DateTime<Utc>>| at.map(|at| at.to_rfc3339()).unwrap_or_default();
    [
        ("status", case.state.status().as_str_name().to_owned()),
        ("assigned_agent_id", case.assigned_agent.clone()),
        ("waiting_since", moment(case.state.waiting_since())),
        ("first_answer_time", moment(case.first_answer_at)),
        ("resolve_time", moment(case.state.resolved_at())),
        ("effort.transfers", case.effort.transfers.to_string()),
        ("effort.waited_seconds", case.effort.waited_seconds.to_string()),
    ]
}

/// A version of an article came after another.
pub(super) fn tell_article(tx: &Tx, before: Option<&Version>, after: &Version) {
    let id = format!("{}/{}", after.key, after.language);
    let words = |article: &Version| [article.version.to_string(), article.intents.join(" ")];
    let [version, intents] = before.map(words).unwrap_or_default();
    let [now, serves] = words(after);
    tx.changed(("article", &id), "version", &version, &now);
    tx.changed(("article", &id), "intents", &intents, &serves);
}
