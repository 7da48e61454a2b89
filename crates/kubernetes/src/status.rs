//! What authors are told: the conditions of a resource.

use chrono::{DateTime, Utc};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use serde::{Deserialize, Serialize};
use trama_proto::resources::{Fault, Problem};

/// What the schema allows for a message.
const LONGEST_MESSAGE: usize = 32_768;

/// What was found about one generation of an object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) generation: Option<i64>,
    pub(crate) problems: Vec<Problem>,
}

/// The part of `status` that is ours: all of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_generation: Option<i64>,
    conditions: Vec<Condition>,
}

/// Status, reason and message.
type Said = (&'static str, &'static str, String);

impl Verdict {
    /// Whether the document is in force as it is written.
    pub(crate) fn is_accepted(&self) -> bool {
        self.messages(&[Fault::Refused, Fault::LastGoodStays]).is_none()
    }

    /// Whether an older version of it is in force in its place.
    pub(crate) fn last_good_stays(&self) -> bool {
        self.messages(&[Fault::LastGoodStays]).is_some()
    }

    /// The status to show. Times of conditions that have not changed stay.
    pub(crate) fn status(&self, shown: Option<&Status>, now: DateTime<Utc>) -> Status {
        let condition = |of: &str, (status, reason, mut message): Said| {
            message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
            let before = shown.and_then(|s| s.conditions.iter().find(|c| c.type_ == of));
            let since = before.filter(|c| c.status == status);
            Condition {
                last_transition_time: since.map_or_else(|| time(now), |c| c.last_transition_time.clone()),
                message,
                observed_generation: self.generation,
                reason: reason.to_owned(),
                status: status.to_owned(),
                type_: of.to_owned(),
            }
        };
        Status {
            observed_generation: self.generation,
            conditions: vec![
                condition("Accepted", self.accepted()),
                condition("ResolvedRefs", self.resolved_refs()),
                condition("Ready", self.ready()),
            ],
        }
    }

    fn accepted(&self) -> Said {
        match self.messages(&[Fault::Refused, Fault::LastGoodStays]) {
            Some(messages) => ("False", "Invalid", messages),
            None => ("True", "Valid", "the spec is valid".into()),
        }
    }

    fn resolved_refs(&self) -> Said {
        if !self.is_accepted() {
            return (
                "Unknown",
                "NotAccepted",
                "not looked at: the spec is refused".into(),
            );
        }
        if let Some(messages) = self.messages(&[Fault::Unresolved]) {
            return ("False", "RefNotFound", messages);
        }
        match self.messages(&[Fault::Conflicting]) {
            Some(messages) => ("False", "Conflict", messages),
            None => ("True", "Resolved", "all that it names exists".into()),
        }
    }

    fn ready(&self) -> Said {
        if self.last_good_stays() {
            let message = "the last good version is in force, not this one: see Accepted";
            return ("False", "LastGoodInForce", message.into());
        }
        if !self.is_accepted() {
            return (
                "False",
                "Refused",
                "nothing of it is in force: see Accepted".into(),
            );
        }
        match self.messages(&[Fault::Unresolved, Fault::Conflicting]) {
            Some(_) => (
                "False",
                "RefsNotResolved",
                "in force, but see ResolvedRefs".into(),
            ),
            None => ("True", "InForce", "in force".into()),
        }
    }

    fn messages(&self, faults: &[Fault]) -> Option<String> {
        let of = self.problems.iter().filter(|p| faults.contains(&p.fault));
        let messages: Vec<&str> = of.map(|p| p.message.as_str()).collect();
        (!messages.is_empty()).then(|| messages.join("; "))
    }
}

fn time(at: DateTime<Utc>) -> Time {
    // Whole seconds, as the API server keeps them.
    Time(Timestamp::from_second(at.timestamp()).unwrap_or(Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn verdict(faults: &[Fault]) -> Verdict {
        let problem = |fault: &Fault| Problem {
            origin: "acme/queues/care".into(),
            resource: "Queue/care".into(),
            message: format!("{fault:?}"),
            fault: *fault,
        };
        Verdict {
            generation: Some(3),
            problems: faults.iter().map(problem).collect(),
        }
    }

    fn said(faults: &[Fault]) -> Vec<String> {
        let status = verdict(faults).status(None, DateTime::UNIX_EPOCH);
        let words = |c: &Condition| format!("{}={} {}", c.type_, c.status, c.reason);
        status.conditions.iter().map(words).collect()
    }

    #[test]
    fn every_fault_has_its_conditions() {
        assert_eq!(
            said(&[]),
            [
                "Accepted=True Valid",
                "ResolvedRefs=True Resolved",
                "Ready=True InForce"
            ]
        );
        assert_eq!(
            said(&[Fault::Refused]),
            [
                "Accepted=False Invalid",
                "ResolvedRefs=Unknown NotAccepted",
                "Ready=False Refused"
            ]
        );
        assert_eq!(
            said(&[Fault::LastGoodStays]),
            [
                "Accepted=False Invalid",
                "ResolvedRefs=Unknown NotAccepted",
                "Ready=False LastGoodInForce"
            ]
        );
        assert_eq!(
            said(&[Fault::Unresolved]),
            [
                "Accepted=True Valid",
                "ResolvedRefs=False RefNotFound",
                "Ready=False RefsNotResolved"
            ]
        );
        assert_eq!(
            said(&[Fault::Conflicting]),
            [
                "Accepted=True Valid",
                "ResolvedRefs=False Conflict",
                "Ready=False RefsNotResolved"
            ]
        );
    }

    #[test]
    fn a_condition_tells_since_when_it_is_so() {
        let later = DateTime::UNIX_EPOCH + TimeDelta::hours(1);
        let first = verdict(&[]).status(None, DateTime::UNIX_EPOCH);
        assert_eq!(
            verdict(&[]).status(Some(&first), later),
            first,
            "nothing to write"
        );
        let second = verdict(&[Fault::Unresolved]).status(Some(&first), later);
        let times: Vec<_> = second
            .conditions
            .iter()
            .map(|c| c.last_transition_time.clone())
            .collect();
        assert_eq!(times, [time(DateTime::UNIX_EPOCH), time(later), time(later)]);
    }

    #[test]
    fn what_the_api_server_gives_back_is_what_was_written() {
        let status =
            verdict(&[Fault::Unresolved]).status(None, DateTime::UNIX_EPOCH + TimeDelta::milliseconds(1_500));
        let back: Status = serde_json::from_value(serde_json::to_value(&status).unwrap()).unwrap();
        assert_eq!(back, status);
    }
}
