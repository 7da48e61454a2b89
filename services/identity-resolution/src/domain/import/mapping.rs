//! Which column is what.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use serde::{Deserialize, Serialize};
use trama_proto::common::v1::ChannelKind;

use crate::domain::{
    consent::{CHANNELS, Subject, channel_name},
    customer::is_need,
    handle::{Handle, HandleKey, HandleKind, Trust},
    import::{Bond, list},
    profile::{ACCESSIBILITY_NEEDS, BIRTH_YEAR, Schema},
    rules::Rules,
};

/// Columns by name; what is not named must itself be named like a target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mapping(pub BTreeMap<String, String>);

/// What a column is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    ExternalId,
    DisplayName,
    Language,
    PersonaGroup,
    Handle(String),
    Handles,
    Preferences,
    Relations,
    Trait(String),
    Consent(Subject),
    ConsentTime(Subject),
    Ignore,
}

/// A record as it will be worked in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// Id in the other system and further handles, the id first.
    pub handles: Vec<Handle>,
    /// Name; empty says nothing.
    pub display_name: String,
    /// Language; empty says nothing.
    pub language: String,
    /// Persona group; empty says nothing.
    pub persona_group: String,
    /// Fields in their one spelling.
    pub traits: BTreeMap<String, String>,
    /// The channel that is wanted for a need.
    pub preferences: BTreeMap<String, ChannelKind>,
    /// Who they belong together with.
    pub relations: Vec<Bond>,
    /// Consents and refusals.
    pub consents: Vec<Consented>,
    /// When people agreed or refused, where the record says so.
    pub consent_times: BTreeMap<Subject, DateTime<Utc>>,
    /// Number of its line, from 1.
    pub line: i64,
}

/// What a record says of one consent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consented {
    /// Of what.
    pub subject: Subject,
    /// Agreed, or refused.
    pub granted: bool,
    /// The column that says so.
    pub column: String,
}

/// What is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The column, or nothing when it is about the whole record.
    pub column: String,
    /// What is wrong; never the value.
    pub message: String,
}

/// What records are read by.
pub struct Reading<'a> {
    /// The tenant's fields.
    pub schema: &'a Schema,
    /// The tenant's rules, for the one spelling of handles.
    pub rules: &'a Rules,
    /// How much handles other than the id may be believed.
    pub trust: Trust,
    /// Now.
    pub now: DateTime<Utc>,
}

impl Target {
    fn parse(text: &str, schema: &Schema) -> Result<Self, String> {
        Ok(match text {
            "external_id" => Target::ExternalId,
            "display_name" => Target::DisplayName,
            "language" => Target::Language,
            "persona_group" => Target::PersonaGroup,
            "handles" => Target::Handles,
            "preferences" => Target::Preferences,
            "relations" => Target::Relations,
            // What an export adds for people to read; an import has no use for it. A proof holds where somebody checked it:
            // who writes a file could prove anything.
            "ignore" | "customer_id" | "entitlement" | "segments" | "proofs" => Target::Ignore,
            _ => match text.split_once(':') {
                Some(("handle", kind)) => {
                    HandleKind::parse(kind).map_err(|e| format!("`{text}`: {e}"))?;
                    Target::Handle(kind.to_owned())
                }
                Some(("trait", name)) => {
                    let known = schema.spec().fields.contains_key(name)
                        || [BIRTH_YEAR, ACCESSIBILITY_NEEDS].contains(&name);
                    if !known {
                        return Err(format!("`{text}`: no such field in the CustomerSchema"));
                    }
                    Target::Trait(name.to_owned())
                }
                Some(("consent", words)) => Target::Consent(Subject::parse(words).ok_or_else(|| {
                    format!("`{text}`: write consent:email/marketing, with a brand behind it if need be")
                })?),
                Some(("consent_time", words)) => {
                    Target::ConsentTime(Subject::parse(words).ok_or_else(|| {
                        format!(
                            "`{text}`: write consent_time:email/marketing, with a brand behind it if need be"
                        )
                    })?)
                }
                Some(_) | None => {
                    return Err(format!(
                        "`{text}` is no target: external_id, display_name, language, persona_group, handle:<kind>, handles, preferences, relations, trait:<name>, consent:<channel>/<purpose>, consent_time:<channel>/<purpose>, ignore"
                    ));
                }
            },
        })
    }
}

impl Mapping {
    /// Whether every target exists.
    ///
    /// # Errors
    /// What is wrong with which column.
    pub fn check(&self, schema: &Schema) -> Result<(), Wrong> {
        self.0.iter().try_for_each(|(column, target)| {
            Target::parse(target, schema)
                .map(|_| ())
                .map_err(|message| Wrong {
                    column: column.clone(),
                    message,
                })
        })
    }

    /// Whether every column of a header is known.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check_columns(&self, columns: &[String], schema: &Schema) -> Result<(), Wrong> {
        columns.iter().try_for_each(|column| {
            self.target(column, schema).map(|_| ()).map_err(|message| Wrong {
                column: column.clone(),
                message,
            })
        })
    }

    fn target(&self, column: &str, schema: &Schema) -> Result<Target, String> {
        let column = column.trim();
        Target::parse(self.0.get(column).map_or(column, String::as_str), schema)
    }

    /// Reads a record.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(&self, members: &[(String, String)], by: &Reading<'_>) -> Result<Row, Vec<Wrong>> {
        let (mut row, mut wrong) = (Row::default(), Vec::new());
        for (column, text) in members {
            let text = text.trim();
            if text.is_empty() {
                continue;
            }
            let done = self
                .target(column, by.schema)
                .and_then(|target| put(&mut row, target, (column.as_str(), text), by));
            if let Err(message) = done {
                wrong.push(Wrong {
                    column: column.clone(),
                    message,
                });
            }
        }
        if row.handles.is_empty() && wrong.is_empty() {
            wrong.push(Wrong {
                column: String::new(),
                message: "has neither an external_id nor any handle".to_owned(),
            });
        }
        if wrong.is_empty() { Ok(row) } else { Err(wrong) }
    }
}

fn put(row: &mut Row, target: Target, (column, text): (&str, &str), by: &Reading<'_>) -> Result<(), String> {
    let handle = |kind: &str, value: &str| by.rules.handle(kind, value.trim()).map_err(|e| e.to_string());
    match target {
        Target::ExternalId => {
            let key = handle("crm", text)?;
            // The other system is the company's own books: who has that id there is no claim.
            row.handles.insert(
                0,
                Handle {
                    key,
                    trust: Trust::Verified,
                },
            );
        }
        Target::Handle(kind) => {
            for value in list::split(text) {
                add(row, handle(&kind, &value)?, by.trust);
            }
        }
        Target::Handles => {
            for one in list::split(text) {
                let (kind, value) = one
                    .trim()
                    .split_once(':')
                    .ok_or("must be <kind>:<value>, several with | between them")?;
                add(row, handle(kind, value)?, by.trust);
            }
        }
        Target::DisplayName => {
            if text.chars().count() > 200 || text.chars().any(char::is_control) {
                return Err("at most 200 characters, no control characters".to_owned());
            }
            row.display_name = text.to_owned();
        }
        Target::Language => {
            let fits = (2..=35).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && text.starts_with(|c: char| c.is_ascii_alphabetic());
            if !fits {
                return Err("must be a BCP 47 language such as it or en-GB".to_owned());
            }
            row.language = text.to_owned();
        }
        Target::PersonaGroup => {
            if !matches!(text, "progressive" | "conservative") {
                return Err("must be progressive or conservative".to_owned());
            }
            row.persona_group = text.to_owned();
        }
        Target::Trait(name) => {
            let value = by
                .schema
                .canonical(&name, text, by.now)
                .map_err(|e| e.to_string())?;
            row.traits.insert(name, value);
        }
        Target::Preferences => {
            for one in list::split(text) {
                let wish = one.trim().split_once(':').and_then(|(need, channel)| {
                    let kind = CHANNELS.into_iter().find(|k| channel_name(*k) == channel)?;
                    is_need(need).then(|| (need.to_owned(), kind))
                });
                let (need, kind) = wish.ok_or(
                    "must be <need>:<channel>, the need an intent or *, several with | between them",
                )?;
                row.preferences.insert(need, kind);
            }
        }
        Target::Relations => {
            for one in list::split(text) {
                row.relations.extend(Bond::parse(&one)?);
            }
        }
        Target::Consent(subject) => {
            let granted = match text.to_lowercase().as_str() {
                "true" | "yes" | "sì" | "si" | "1" => true,
                "false" | "no" | "0" => false,
                _ => return Err("must be true or false".to_owned()),
            };
            row.consents.push(Consented {
                subject,
                granted,
                column: column.to_owned(),
            });
        }
        Target::ConsentTime(subject) => {
            let at = moment(text).ok_or("must be a day or a moment, such as 2026-11-22T10:00:00Z")?;
            if at > by.now {
                return Err("must not be in the future".to_owned());
            }
            row.consent_times.insert(subject, at);
        }
        Target::Ignore => {}
    }
    Ok(())
}

/// A moment; of a day its beginning, so that what was said later that day counts as later.
fn moment(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(day) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Some(day.and_time(NaiveTime::MIN).and_utc());
    }
    let moment = DateTime::parse_from_rfc3339(text).ok()?;
    Some(moment.to_utc())
}

fn add(row: &mut Row, key: HandleKey, trust: Trust) {
    if !row.handles.iter().any(|h| h.key == key) {
        row.handles.push(Handle { key, trust });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(members: &[(&str, &str)]) -> Result<Row, Vec<Wrong>> {
        let mapping = Mapping([("Mail".to_owned(), "handle:email".to_owned())].into());
        let members: Vec<(String, String)> =
            members.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
        let by = Reading {
            schema: &Schema::default(),
            rules: &Rules::default(),
            trust: Trust::Observed,
            now: DateTime::UNIX_EPOCH + chrono::Duration::days(20_000),
        };
        mapping.read(&members, &by)
    }

    #[test]
    fn columns_become_handles_fields_and_consents() {
        let row = read(&[
            ("external_id", "1001"),
            ("Mail", "Anna@Example.com|anna2@example.com"),
            ("handle:phone", "333 1234567"),
            ("handles", "cookie:a\\|b|shop:7:9"),
            ("display_name", "Anna Rossi"),
            ("language", ""),
            ("trait:birth_year", "1960"),
            ("consent:email/marketing", "sì"),
            ("consent_time:email/marketing", "2023-05-06T10:00:00+02:00"),
            ("consent_time:sms/marketing/acme", "2023-05-06"),
            ("preferences", "billing:voice|*:webChat"),
            ("customer_id", "whatever"),
        ])
        .expect("a row");
        let handles: Vec<String> = row.handles.iter().map(|h| h.key.to_string()).collect();
        assert_eq!(
            handles,
            [
                "crm:1001",
                "email:anna@example.com",
                "email:anna2@example.com",
                "phone:+393331234567",
                "cookie:a|b",
                "shop:7:9"
            ]
        );
        assert_eq!(
            (row.handles[0].trust, row.handles[1].trust),
            (Trust::Verified, Trust::Observed)
        );
        assert_eq!(row.traits["birth_year"], "1960");
        assert!(row.consents[0].granted && row.language.is_empty());
        let times = row
            .consent_times
            .iter()
            .map(|(s, at)| (s.words(), at.to_rfc3339()));
        assert_eq!(
            times.collect::<Vec<_>>(),
            [
                (
                    "email/marketing".to_owned(),
                    "2023-05-06T08:00:00+00:00".to_owned()
                ),
                (
                    "sms/marketing/acme".to_owned(),
                    "2023-05-06T00:00:00+00:00".to_owned()
                ),
            ]
        );
        let wishes: Vec<_> = row.preferences.iter().map(|(n, k)| (n.as_str(), *k)).collect();
        assert_eq!(
            wishes,
            [("*", ChannelKind::WebChat), ("billing", ChannelKind::Voice)]
        );
    }

    #[test]
    fn every_wrong_column_is_named_and_no_value_is_repeated() {
        let wrong = read(&[
            ("Mail", "secret-value"),
            ("handle:phone", "12"),
            ("preferences", "billing:pigeon"),
            ("consent_time:email/marketing", "2999-01-01"),
            ("Colour", "red"),
        ])
        .expect_err("wrong");
        let columns: Vec<&str> = wrong.iter().map(|w| w.column.as_str()).collect();
        assert_eq!(
            columns,
            [
                "Mail",
                "handle:phone",
                "preferences",
                "consent_time:email/marketing",
                "Colour"
            ]
        );
        assert!(
            wrong
                .iter()
                .all(|w| !w.message.contains("secret-value") && !w.message.contains("red,"))
        );
        assert!(read(&[("display_name", "Nobody")]).is_err());
    }

    proptest! {
        #[test]
        fn no_record_makes_it_panic(members in prop::collection::vec(("\\PC{0,20}", "\\PC{0,40}"), 0..6)) {
            let members: Vec<(&str, &str)> = members.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            let _ = read(&members);
        }
    }
}
