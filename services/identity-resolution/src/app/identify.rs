//! Interactions come in, customers come out.

use std::{collections::HashMap, sync::Arc};

use chrono::Duration;
use trama_platform::{Error, Tx, stage::Envelope};
use trama_proto::{
    common::v1::{Handle as WireHandle, Interaction},
    identity_resolution::v1::{CustomerChanged, InteractionIdentified},
    ids::{CustomerId, InteractionId, TenantId},
    resources::ProofMethod,
    time::from_wire,
};

use super::{
    App,
    observing::{Decided, Item, Proof, merged_event},
};
use crate::domain::{
    customer::{Field, Verification},
    handle::{Handle, HandleKind, Trust},
    proof::holds_until,
    resolution::{Observation, Verdict},
    rules::Rules,
    said::{Attribute, Said},
};

/// An interaction as it came, with the envelope that caused it.
pub struct Received<'a> {
    /// The envelope.
    pub envelope: &'a Envelope,
    /// The interaction.
    pub interaction: Interaction,
    /// Its id.
    pub id: InteractionId,
}

impl App {
    /// Says who each interaction of a batch comes from.
    ///
    /// # Errors
    /// When others keep changing the same customers, or the database is away.
    pub async fn identify(&self, tx: &mut Tx, batch: &[Received<'_>]) -> Result<(), Error> {
        let mut rules: HashMap<&TenantId, Arc<Rules>> = HashMap::new();
        let mut items: Vec<Item<'_>> = batch
            .iter()
            .map(|received| {
                let tenant = &received.envelope.tenant;
                let rules = Arc::clone(rules.entry(tenant).or_insert_with(|| self.rules(tenant)));
                let observation = observation(received, &rules, tx);
                Item {
                    tenant,
                    proof: proof(received, &observation, &rules, tx),
                    rules,
                    observation,
                }
            })
            .collect();
        let decided = self.observe(tx, &mut items).await?;
        for (received, decided) in batch.iter().zip(decided) {
            publish(tx, received, decided);
        }
        Ok(())
    }
}

/// What an interaction shows: valid and unblocked handles, each once, the party's first; and what it says of the person.
fn observation(received: &Received<'_>, rules: &Rules, tx: &Tx) -> Observation {
    let interaction = &received.interaction;
    let mut handles: Vec<Handle> = Vec::with_capacity(2 + interaction.also_known_as.len());
    let mut add = |wire: &WireHandle, unsaid: Trust| {
        let Ok(key) = rules.handle(&wire.kind, &wire.value) else {
            metrics::counter!("trama_identity_resolution_handles_refused_total", "reason" => "invalid")
                .increment(1);
            return;
        };
        let trust = rules.trust(&key, Trust::from_wire(wire.trust(), unsaid));
        let implied = key.implied();
        for key in [Some(key), implied].into_iter().flatten() {
            if rules.is_blocked(&key) {
                metrics::counter!("trama_identity_resolution_handles_refused_total", "reason" => "blocked")
                    .increment(1);
            } else if let Some(known) = handles.iter_mut().find(|h| h.key == key) {
                known.trust = known.trust.max(trust);
            } else {
                handles.push(Handle { key, trust });
            }
        }
    };
    if let Some(party) = &interaction.party {
        add(party, Trust::Observed);
    }
    for handle in &interaction.also_known_as {
        add(handle, Trust::Claimed);
    }
    // The subject of a login is the id in the company's books, unless the channel named that itself.
    let subject = interaction
        .login
        .as_ref()
        .map(|l| l.subject.as_str())
        .unwrap_or_default();
    if !subject.is_empty()
        && !interaction
            .also_known_as
            .iter()
            .chain(&interaction.party)
            .any(|h| h.kind == "crm")
    {
        let trust = trama_proto::common::v1::Trust::Verified as i32;
        add(
            &WireHandle {
                kind: "crm".into(),
                value: subject.to_owned(),
                trust,
            },
            Trust::Verified,
        );
    }
    // Without any handle, the customer is the interaction's own: later revisions of it find the same one.
    let new_id = if handles.is_empty() {
        customer_of_interaction(&received.envelope.tenant, received.id)
    } else {
        CustomerId::new(tx.new_id())
    };
    let display_name: String = interaction.display_name.trim().chars().take(200).collect();
    let mut said = Said::default();
    if is_a_name(&display_name) {
        said.add(Attribute::FullName, &display_name, Trust::Claimed);
    }
    handles
        .iter()
        .filter(|h| !rules.is_shared(&h.key))
        .for_each(|h| said.add_handle(h));
    Observation {
        interaction: Some(received.id),
        record: None,
        handles,
        said,
        fields: vec![
            (Field::DisplayName, display_name),
            (Field::Language, interaction.language.clone()),
        ],
        source: interaction.channel.clone(),
        verified: interaction.login.is_some(),
        new_id,
        contradicts: std::collections::HashSet::new(),
        verdict: Verdict::Nobody,
        settled: None,
    }
}

/// Who an interaction without any handle comes from.
pub(super) fn customer_of_interaction(tenant: &TenantId, id: InteractionId) -> CustomerId {
    CustomerId::derived(&[
        b"customer of interaction",
        tenant.as_str().as_bytes(),
        id.uuid().as_bytes(),
    ])
}

/// Whether a display name can say who somebody is: addresses, numbers and nicknames of one word cannot.
fn is_a_name(text: &str) -> bool {
    let words = text
        .split_whitespace()
        .filter(|w| w.chars().any(char::is_alphabetic));
    (2..=6).contains(&words.count()) && !text.chars().any(|c| c == '@' || c.is_numeric())
}

/// The proof of identity that the channel gave.
fn proof(received: &Received<'_>, seen: &Observation, rules: &Rules, tx: &Tx) -> Option<Proof> {
    let login = received.interaction.login.as_ref()?;
    let now = tx.now();
    // What the policy says of logins binds every channel; where it says nothing, the channel knows how strong its login is.
    let policy = rules.policy().verification.methods.get(&ProofMethod::Login);
    let most = policy.map_or(i32::MAX, |policy| policy.max_level);
    let hours = Duration::hours(i64::from(rules.policy().verification_hours));
    let longest = policy.map_or(now + hours, |policy| holds_until(policy, now, now));
    let until = from_wire(login.expires_at.as_ref()).unwrap_or(longest);
    Some(Proof {
        crm: seen
            .handles
            .iter()
            .find(|h| h.key.kind == HandleKind::Crm)
            .map(|h| h.key.clone()),
        verification: Verification {
            level: rules.login_level(&received.interaction.channel).min(most),
            method: if login.method.is_empty() {
                "site_login".to_owned()
            } else {
                login.method.clone()
            },
            verified_by: received.interaction.channel.clone(),
            verified_at: now,
            expires_at: if policy.is_some() {
                until.min(longest)
            } else {
                until
            },
            evidence: 0,
            asked_in: None,
        },
    })
}

/// Tells everybody, a merge before the interaction that it is about.
fn publish(tx: &mut Tx, received: &Received<'_>, decided: Decided) {
    let Decided {
        outcome,
        context,
        in_doubt,
        lifted,
    } = decided;
    let tenant = &received.envelope.tenant;
    let key = outcome.customer.to_string();
    tx.follow(received.envelope);
    for merge in &outcome.merges {
        let by = if merge.likeness.is_some() {
            "similarity"
        } else {
            "handles"
        };
        metrics::counter!("trama_identity_resolution_merges_total", "by" => by).increment(1);
    }
    for merge in outcome.merges_of_others() {
        tx.publish(tenant, &key, &merged_event(merge, context.clone()));
    }
    let known = if outcome.is_new { "new" } else { "known" };
    metrics::counter!("trama_identity_resolution_interactions_total", "customer" => known).increment(1);
    let identified = InteractionIdentified {
        interaction: Some(received.interaction.clone()),
        customer: Some(context.clone()),
        in_doubt,
    };
    tx.publish(tenant, &key, &identified);
    if lifted {
        let changed = CustomerChanged {
            customer: Some(context),
            changed_fields: vec!["verification".to_owned()],
            ..CustomerChanged::default()
        };
        tx.publish(tenant, &key, &changed);
    }
}
