//! From claimed messages to texts that are ready to leave.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use chrono::TimeDelta;
use trama_platform::{Error, Tx};
use trama_proto::{
    common::v1::ChannelKind,
    identity_resolution::v1::{ContactAnswer, Purpose},
    ingest::v1::ReceiptStatus,
    resources::{ChannelSpec, Resources},
};
use uuid::Uuid;

use super::{
    Sender,
    contacts::{Contact, contacts},
    settle,
};
use crate::{
    domain::{Decision, Question, Route, Standing, decide, way},
    persona::{Draft, in_force, speak},
    providers::Outgoing,
    store::{self, AttemptRow, Beginning, Claimed, EarlyReceipt},
    templates::find_and_fill,
};

/// When identity is asked again while it is away.
const ASK_AGAIN: TimeDelta = TimeDelta::seconds(2);
/// Why a message fails that nobody can tell for whom it was asked.
const UNDECIDED: &str =
    "a merge of customers was undone, and nothing says for whom of them this was meant: ask again";

/// A text that is ready to leave; the try is written down.
pub struct Job {
    /// The message, with this try in it.
    pub row: Claimed,
    /// Number of the try.
    pub attempt: i32,
    /// Where it goes out.
    pub channel: Arc<ChannelSpec>,
    /// What goes out.
    pub outgoing: Outgoing,
}

/// What may be sent; everything else was dealt with.
pub struct Prepared {
    /// To be sent.
    pub jobs: Vec<Job>,
}

/// What is to be done with a message.
enum Plan {
    Send {
        route: Route,
        channel: Arc<ChannelSpec>,
        outgoing: Box<Outgoing>,
    },
    End {
        standing: Standing,
        reason: String,
    },
    Later,
}

pub async fn prepare(sender: &Sender, claimed: Vec<Claimed>) -> Result<Prepared, Error> {
    let claimed = settle_unknown(sender, claimed).await?;
    if claimed.is_empty() {
        return Ok(Prepared { jobs: Vec::new() });
    }
    let mut known = contacts(&sender.clients, &claimed).await;
    let resources = sender.resources.snapshot();
    let mut plans = Vec::with_capacity(claimed.len());
    for row in claimed {
        let contact = known.remove(&row.message_id);
        let plan = plan(sender, &resources, &row, contact);
        plans.push((row, plan));
    }
    begin(sender, plans).await
}

/// Messages whose last try has an unknown outcome: a receipt may have settled it by now.
async fn settle_unknown(sender: &Sender, claimed: Vec<Claimed>) -> Result<Vec<Claimed>, Error> {
    let tried: Vec<&Claimed> = claimed.iter().filter(|c| c.tries > 0).collect();
    if tried.is_empty() {
        return Ok(claimed);
    }
    let mut tx = sender.db.system_tx().await?;
    let mut attempts: HashMap<Uuid, Vec<AttemptRow>> = HashMap::new();
    for attempt in store::last_attempts(tx.conn(), &tried).await? {
        attempts.entry(attempt.message_id).or_default().push(attempt);
    }
    let mut early: HashMap<Uuid, Vec<EarlyReceipt>> = HashMap::new();
    for receipt in store::early_of_messages(tx.conn(), &tried).await? {
        early
            .entry(receipt.message_id.unwrap_or_default())
            .or_default()
            .push(receipt);
    }
    let mut open = Vec::with_capacity(claimed.len());
    for mut row in claimed {
        let tries = attempts.remove(&row.message_id.uuid()).unwrap_or_default();
        let Some(last) = tries
            .last()
            .filter(|a| a.state == "sending" || a.state == "unknown")
        else {
            open.push(row);
            continue;
        };
        let receipts = early.remove(&row.message_id.uuid()).unwrap_or_default();
        if let Some(proof) = proof(&receipts, &tries, &row.channel) {
            settle::sent(&mut tx, &row, last.number, &proof.provider_message_id).await?;
        } else if last.state == "sending" {
            // A sender died between the provider's answer and its record, or before the call.
            store::close_attempt(
                tx.conn(),
                &row.tenant,
                row.message_id,
                last.number,
                "unknown",
                "the sender died",
                "",
            )
            .await?;
            let drops_repeats = matches!(row.channel_kind, ChannelKind::Email | ChannelKind::WebChat);
            row.unknown_outcomes += i32::from(!drops_repeats);
            if row.unknown_outcomes > 1 {
                "the outcome was unknown twice; it may have arrived".clone_into(&mut row.reason);
                let now = tx.now();
                settle::finished(&mut tx, &mut row, Standing::Failed, now).await?;
            } else {
                let (now, due_at) = (tx.now(), tx.now() + sender.config.lease());
                if store::requeue(tx.conn(), &row, due_at, now).await? {
                    row.version += 1;
                    open.push(row);
                }
            }
        } else {
            open.push(row);
        }
    }
    tx.commit().await?;
    Ok(open)
}

/// A receipt of a send whose answer we never saw: it names our message and a provider's id that no try has.
fn proof<'a>(receipts: &'a [EarlyReceipt], tries: &[AttemptRow], channel: &str) -> Option<&'a EarlyReceipt> {
    receipts.iter().find(|r| {
        let told = !matches!(
            ReceiptStatus::try_from(r.status),
            Ok(ReceiptStatus::Unspecified) | Err(_)
        );
        told && r.channel == channel
            && tries
                .iter()
                .all(|t| t.provider_message_id != r.provider_message_id)
    })
}

fn plan(sender: &Sender, resources: &Resources, row: &Claimed, contact: Option<Contact>) -> Plan {
    // An address that was given is where it goes, whoever it belongs to.
    if row.undecided && row.request.handle.is_none() {
        return Plan::End {
            standing: Standing::Failed,
            reason: UNDECIDED.to_owned(),
        };
    }
    let answer = match contact {
        Some(Contact::Known(answer)) => answer,
        Some(Contact::Refused(reason)) => {
            return Plan::End {
                standing: Standing::Failed,
                reason,
            };
        }
        Some(Contact::Away) | None => return Plan::Later,
    };
    let tenant = resources.tenant(&row.tenant);
    let none = BTreeMap::new();
    let channels = tenant.map_or(&none, |t| &t.channels);
    let question = Question {
        purpose: row.purpose(),
        channel_kind: row.request.channel_kind(),
        handle: row.request.handle.as_ref(),
        spent: &row.spent,
        brand: &row.request.brand,
        last_problem: if row.tries > 0 { &row.reason } else { "" },
    };
    let route = match decide(&question, &answer.points, channels) {
        Decision::Send(route) => route,
        Decision::Suppress(reason) => {
            return Plan::End {
                standing: Standing::Suppressed,
                reason,
            };
        }
        Decision::Fail(reason) => {
            return Plan::End {
                standing: Standing::Failed,
                reason,
            };
        }
    };
    // `decide` chose it from the same snapshot.
    let Some(channel) = channels.get(&route.channel).cloned() else {
        return Plan::Later;
    };
    match word(sender, resources, row, &answer, &route, &channel) {
        Ok(outgoing) => Plan::Send {
            route,
            channel,
            outgoing: Box::new(outgoing),
        },
        Err(reason) => Plan::End {
            standing: Standing::Failed,
            reason,
        },
    }
}

/// Puts the message into words: template, then persona.
fn word(
    sender: &Sender,
    resources: &Resources,
    row: &Claimed,
    answer: &ContactAnswer,
    route: &Route,
    channel: &ChannelSpec,
) -> Result<Outgoing, String> {
    let request = &row.request;
    let tenant = resources.tenant(&row.tenant);
    let customer = answer.customer.as_ref();
    let customer_name = customer.map_or("", |c| c.display_name.as_str());
    let language = [
        request.language.as_str(),
        customer.map_or("", |c| c.language.as_str()),
        channel.language.as_str(),
    ]
    .into_iter()
    .find(|l| !l.is_empty())
    .unwrap_or("en");
    let (text, subject, whatsapp_template) = if request.template.is_empty() {
        (request.text.clone(), request.subject.clone(), None)
    } else {
        let mut values: BTreeMap<&str, &str> = request
            .template_values
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        values.entry("name").or_insert(customer_name);
        values.entry("author").or_insert(request.author_name.as_str());
        let filled = find_and_fill(tenant, &request.template, language, &values)
            .map_err(|e| format!("template: {e}"))?;
        let subject = if request.subject.is_empty() {
            filled.subject
        } else {
            request.subject.clone()
        };
        (filled.text, subject, filled.whatsapp_template)
    };
    if text.trim().is_empty() {
        return Err("there is nothing to say".into());
    }
    let draft = Draft {
        text: &text,
        language,
        kind: route.kind,
        greet: request.greet,
        customer_name,
        author_name: &request.author_name,
    };
    let spoken = speak(in_force(tenant), &draft);
    if let Some(objection) = spoken.objection() {
        metrics::counter!("trama_notification_persona_blocked_total").increment(1);
        return Err(objection);
    }
    Ok(Outgoing {
        tenant: row.tenant.clone(),
        message_id: row.message_id,
        channel: route.channel.clone(),
        handle: route.handle.clone(),
        text: spoken.text,
        subject,
        author_name: spoken.author_name,
        automatic: matches!(request.author.as_str(), "assistant" | "survey" | "security"),
        in_reply_to: request.in_reply_to.clone(),
        language: language.to_owned(),
        whatsapp_template,
        at: sender.db.clock().now(),
    })
}

/// Writes down what is about to be tried, and ends what will not be.
async fn begin(sender: &Sender, plans: Vec<(Claimed, Plan)>) -> Result<Prepared, Error> {
    let mut tx = sender.db.system_tx().await?;
    let now = tx.now();
    let mut ready = Vec::new();
    let mut later = Vec::new();
    for (mut row, plan) in plans {
        match plan {
            Plan::Send {
                route,
                channel,
                outgoing,
            } => {
                let same_way =
                    row.tries > 0 && way(&row.channel, &row.handle) == way(&route.channel, &route.handle);
                row.tries += 1;
                row.tries_here = if same_way { row.tries_here + 1 } else { 1 };
                row.channel.clone_from(&route.channel);
                row.channel_kind = route.kind;
                row.handle.clone_from(&route.handle);
                row.reason = route.reason;
                // What is secret is not kept.
                row.body = if row.purpose() == Purpose::Security {
                    String::new()
                } else {
                    outgoing.text.clone()
                };
                ready.push(Job {
                    attempt: row.tries,
                    row,
                    channel,
                    outgoing: *outgoing,
                });
            }
            Plan::End { standing, reason } => end(&mut tx, row, standing, reason).await?,
            Plan::Later => later.push(row),
        }
    }
    if !later.is_empty() {
        let rows: Vec<&Claimed> = later.iter().collect();
        store::touch(tx.conn(), &rows, now + ASK_AGAIN).await?;
    }
    let tries: Vec<Beginning<'_>> = ready
        .iter()
        .map(|job| Beginning {
            message: &job.row,
            channel: &job.row.channel,
            kind: job.row.channel_kind,
            handle: &job.row.handle,
            reason: &job.row.reason,
            body: &job.row.body,
            tries_here: job.row.tries_here,
        })
        .collect();
    let ours: HashSet<Uuid> = store::begin(&mut tx, &tries, now).await?.into_iter().collect();
    tx.commit().await?;
    ready.retain(|job| ours.contains(&job.row.message_id.uuid()));
    Ok(Prepared { jobs: ready })
}

async fn end(tx: &mut Tx, mut row: Claimed, standing: Standing, reason: String) -> Result<(), Error> {
    let now = tx.now();
    row.reason = reason;
    settle::finished(tx, &mut row, standing, now).await
}
