//! Whom an event is about, without reading all of it: what is about somebody who was erased changes nothing any more.

use uuid::Uuid;

/// Where an event names the customers and cases that it is about.
#[derive(Debug, Clone, Copy)]
pub struct SubjectPaths {
    /// The event.
    pub event: &'static str,
    /// Field numbers, from the outermost message to the id.
    pub paths: &'static [&'static [u32]],
    /// The event is dropped only when all whom it names are forgotten; else when any is.
    pub all: bool,
}

const fn either(event: &'static str, paths: &'static [&'static [u32]]) -> SubjectPaths {
    SubjectPaths {
        event,
        paths,
        all: false,
    }
}

/// Every event that names somebody. What comes before anybody is known (`interaction_received`, `handle_changed`,
/// `receipt_received`) is judged by address; requests of privacy must arrive in any case, and so must the audit, which
/// holds references only.
pub const SUBJECTS: &[SubjectPaths] = &[
    either("interaction_identified", &[&[2, 1]]),
    either("customer_merged", &[&[2, 1], &[3]]),
    // One of the two may live on, and needs to get back what is theirs.
    SubjectPaths {
        event: "customer_split",
        paths: &[&[2, 1], &[3, 1]],
        all: true,
    },
    either("customer_changed", &[&[1, 1]]),
    either("case_opened", &[&[1, 1], &[1, 3]]),
    either("work_requested", &[&[1], &[6, 1, 1]]),
    either("work_withdrawn", &[&[1]]),
    either("case_resolved", &[&[1, 1], &[1, 3], &[2, 1]]),
    either("case_requested", &[&[1], &[3, 1]]),
    either("survey_answer_received", &[&[1]]),
    either("offer_made", &[&[3]]),
    either("offer_accepted", &[&[3]]),
    either("offer_ended", &[&[3]]),
    either("work_completed", &[&[2]]),
    either("work_transferred", &[&[2]]),
    either("work_overflowed", &[&[2]]),
    either("survey_question_asked", &[&[1], &[4], &[5]]),
    either("survey_responded", &[&[1], &[4, 1], &[5]]),
    either("message_requested", &[&[2], &[3]]),
    either("message_sent", &[&[1, 2], &[1, 3]]),
    either("message_delivered", &[&[1, 2], &[1, 3]]),
    either("message_read", &[&[1, 2], &[1, 3]]),
    either("message_failed", &[&[1, 2], &[1, 3]]),
];

/// Where an event names whom it is about; `None` when it names nobody.
pub fn paths_of(event: &str) -> Option<&'static SubjectPaths> {
    SUBJECTS.iter().find(|s| s.event == event)
}

impl SubjectPaths {
    /// The ids that an encoded event names. What cannot be read names nobody: its handler will say what is wrong with it.
    pub fn ids(&self, payload: &[u8]) -> Vec<Uuid> {
        let mut found = Vec::new();
        for path in self.paths {
            collect(payload, path, &mut found);
        }
        found
    }

    /// Whether the event is about nobody but people who are forgotten.
    pub fn is_void(&self, ids: &[Uuid], forgotten: impl Fn(&Uuid) -> bool) -> bool {
        if self.all {
            !ids.is_empty() && ids.iter().all(forgotten)
        } else {
            ids.iter().any(forgotten)
        }
    }
}

/// Walks the wire format; a field that is not on the path is stepped over.
fn collect(mut bytes: &[u8], path: &[u32], found: &mut Vec<Uuid>) {
    let Some((wanted, rest)) = path.split_first() else {
        return;
    };
    while let Some(key) = varint(&mut bytes) {
        let content = match key & 7 {
            0 => varint(&mut bytes).map(|_| &bytes[..0]),
            1 => take(&mut bytes, 8),
            2 => varint(&mut bytes).and_then(|length| take(&mut bytes, usize::try_from(length).ok()?)),
            5 => take(&mut bytes, 4),
            // Groups and what is not defined: nothing of ours.
            _ => None,
        };
        let Some(content) = content else { return };
        if key >> 3 != u64::from(*wanted) || key & 7 != 2 {
            continue;
        }
        if rest.is_empty() {
            found.extend(Uuid::try_parse_ascii(content));
        } else {
            collect(content, rest, found);
        }
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::{
        case::v1::{Case, ContextSnapshot, WorkRequested},
        common::v1::CustomerContext,
        events::EVENTS,
    };

    #[test]
    fn every_path_leads_to_the_id_of_a_customer_a_case_or_an_invitation() {
        let pool = prost_reflect::DescriptorPool::decode(crate::DESCRIPTORS).expect("descriptors decode");
        for subject in SUBJECTS {
            let event = EVENTS
                .iter()
                .find(|e| e.name == subject.event)
                .expect("an event of the table");
            for path in subject.paths {
                let mut message = pool.get_message_by_name(event.message).expect("a message");
                for (depth, number) in path.iter().enumerate() {
                    let field = message.get_field(*number).expect("a field");
                    if depth + 1 == path.len() {
                        let known = ["customer_id", "case_id", "merged_customer_id", "invitation_id"];
                        assert!(
                            known.contains(&field.name()),
                            "{}: {}",
                            subject.event,
                            field.name()
                        );
                    } else {
                        message = field.kind().as_message().expect("a message inside").clone();
                    }
                }
            }
        }
    }

    #[test]
    fn every_event_says_whom_it_is_about_or_is_judged_otherwise() {
        let otherwise = [
            "interaction_received",
            "handle_changed",
            "receipt_received",
            "privacy_requested",
            "privacy_done",
            "audit_recorded",
        ];
        for event in EVENTS {
            assert_eq!(
                paths_of(event.name).is_none(),
                otherwise.contains(&event.name),
                "{}",
                event.name
            );
        }
    }

    #[test]
    fn ids_are_found_deep_inside() {
        let (case, customer) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let event = WorkRequested {
            case_id: case.to_string(),
            revision: 7,
            snapshot: Some(ContextSnapshot {
                customer: Some(CustomerContext {
                    customer_id: customer.to_string(),
                    display_name: "Anna".into(),
                    ..CustomerContext::default()
                }),
                case: Some(Case::default()),
                ..ContextSnapshot::default()
            }),
            ..WorkRequested::default()
        };
        let paths = paths_of("work_requested").expect("paths");
        assert_eq!(paths.ids(&event.encode_to_vec()), [case, customer]);
    }

    proptest! {
        #[test]
        fn junk_names_nobody_and_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for subject in SUBJECTS {
                let _ = subject.ids(&bytes);
            }
        }
    }
}
