//! What the database says, and what must be true of it.

use sqlx::FromRow;
use trama_proto::{
    common::v1::ChannelKind,
    routing::v1::{ExplainWorkRequest, routing_service_client::RoutingServiceClient},
};
use trama_testkit::TestApp;
use uuid::Uuid;

use crate::support::*;

#[derive(Debug, FromRow)]
struct Item {
    work_item_id: Uuid,
    case_id: Uuid,
    number: i32,
    revision: i64,
    state: String,
    queue: String,
    channel_kind: i32,
    rest: String,
    preferred_agent: Option<String>,
    pinned_agent: Option<String>,
    exclusions: serde_json::Value,
    route: serde_json::Value,
    agent_id: Option<String>,
    offer_id: Option<Uuid>,
    held_units: Option<i32>,
    second_agent: Option<String>,
    second_offer_id: Option<Uuid>,
    second_units: Option<i32>,
    ended_by_agent: bool,
}

#[derive(Debug, FromRow)]
struct Person {
    agent_id: String,
    presence: String,
    draining: bool,
    bot: bool,
    channel_kinds: Vec<i32>,
    skill_names: Vec<String>,
    used_units: i32,
    capacity_units: i32,
}

#[derive(Debug, FromRow)]
struct Live {
    offer_id: Uuid,
    work_item_id: Uuid,
    agent_id: String,
    seat: String,
    state: String,
}

/// All of it, at one moment.
pub struct Floor {
    items: Vec<Item>,
    people: Vec<Person>,
    live: Vec<Live>,
}

impl Floor {
    pub async fn of(app: &TestApp) -> Self {
        let mut tx = app.db("routing").system_tx().await.expect("a transaction");
        let items = sqlx::query_as(
            "SELECT work_item_id, case_id, number, revision, state, queue, channel_kind, rest, preferred_agent,
                    pinned_agent, exclusions, route, agent_id, offer_id, held_units, second_agent, second_offer_id,
                    second_units, state = 'completed' AND agent_id IS NOT NULL AS ended_by_agent
             FROM work_items ORDER BY case_id, number",
        );
        let people = sqlx::query_as(
            "SELECT agent_id, presence, draining, bot, channel_kinds, skill_names, used_units, capacity_units
             FROM agents ORDER BY agent_id",
        );
        let live = sqlx::query_as(
            "SELECT offer_id, work_item_id, agent_id, seat, state FROM offers
             WHERE state IN ('pending', 'accepted') ORDER BY offered_at, offer_id",
        );
        Self {
            items: items.fetch_all(tx.conn()).await.expect("items"),
            people: people.fetch_all(tx.conn()).await.expect("agents"),
            live: live.fetch_all(tx.conn()).await.expect("offers"),
        }
    }

    /// The first offer that an agent has not answered.
    pub fn offer(&self, agent: &str) -> Option<String> {
        let mut live = self.live.iter();
        live.find(|o| o.agent_id == agent && o.state == "pending")
            .map(|o| o.offer_id.to_string())
    }

    /// The first work that an agent has accepted.
    pub fn work(&self, agent: &str) -> Option<String> {
        let mut live = self.live.iter();
        live.find(|o| o.agent_id == agent && o.state == "accepted")
            .map(|o| o.work_item_id.to_string())
    }

    /// The open item of a case.
    pub fn item_of(&self, number: u128) -> Option<String> {
        let open = self
            .items
            .iter()
            .find(|i| i.case_id == case(number).uuid() && is_open(i));
        open.map(|i| i.work_item_id.to_string())
    }

    /// Offers, items and agents say the same.
    pub fn balances(&self) {
        for item in &self.items {
            let seats = [
                ("owner", item.offer_id, &item.agent_id),
                ("second", item.second_offer_id, &item.second_agent),
            ];
            for (seat, offer, agent) in seats {
                let live: Vec<_> = self
                    .live
                    .iter()
                    .filter(|o| o.work_item_id == item.work_item_id && o.seat == seat)
                    .collect();
                let held = is_open(item) && offer.is_some();
                assert_eq!(live.len(), usize::from(held), "{seat} of {item:?}: {live:?}");
                if let Some(live) = live.first() {
                    assert_eq!(
                        (Some(live.offer_id), Some(&live.agent_id)),
                        (offer, agent.as_ref()),
                        "{item:?}"
                    );
                }
            }
        }
        for person in &self.people {
            let owned = self
                .items
                .iter()
                .filter(|i| is_open(i) && i.agent_id.as_ref() == Some(&person.agent_id));
            let helped = self
                .items
                .iter()
                .filter(|i| is_open(i) && i.second_agent.as_ref() == Some(&person.agent_id));
            let units = owned.filter_map(|i| i.held_units).sum::<i32>()
                + helped.filter_map(|i| i.second_units).sum::<i32>();
            assert_eq!(person.used_units, units, "{person:?}");
            assert!((0..=person.capacity_units).contains(&units), "{person:?}");
            let unanswered = self
                .live
                .iter()
                .filter(|o| o.agent_id == person.agent_id && o.state == "pending")
                .count();
            assert!(
                person.bot || unanswered <= 1,
                "{person:?} has {unanswered} offers at once"
            );
            assert!(
                unanswered == 0 || person.presence != "offline",
                "{person:?} is asked and not there"
            );
        }
    }

    /// The last word of a case was heard, and what was asked for is open or was done.
    pub fn knows(&self, number: u128, revision: i64, wanted: bool) {
        let of_case: Vec<_> = self
            .items
            .iter()
            .filter(|i| i.case_id == case(number).uuid())
            .collect();
        assert!(
            of_case.iter().filter(|i| is_open(i)).count() <= 1,
            "one open item: {of_case:?}"
        );
        let last = of_case.last().expect("every case that spoke is known");
        assert_eq!(last.revision, revision, "{last:?}");
        assert!(
            !wanted || last.number > 0 && (is_open(last) || last.ended_by_agent),
            "lost: {last:?}"
        );
    }

    /// Who could take what waits has been offered it, or is told why not.
    pub async fn nobody_waits_needlessly(&self, app: &TestApp) {
        for item in self.items.iter().filter(|i| i.state == "pending") {
            let Some(able) = self.people.iter().find(|p| self.could_take(p, item)) else {
                continue;
            };
            let request = ExplainWorkRequest {
                work_item_id: item.work_item_id.to_string(),
            };
            let mut client = RoutingServiceClient::new(app.grpc());
            let answer = client.explain_work(app.request(ACME, "boss", request)).await;
            let why = answer.expect("explained").into_inner().why;
            assert!(
                why.iter().any(|w| w.contains("kept free for calls")),
                "{item:?} waits, {able:?} could take it, and all that is said is {why:?}"
            );
        }
    }

    /// Plainly able: whoever is excluded, or may be waited for, is left out.
    fn could_take(&self, person: &Person, item: &Item) -> bool {
        let name = person.agent_id.as_str();
        let (takes, at_once) = units(person, item.channel_kind);
        let mine = || {
            let owned = self
                .items
                .iter()
                .filter(|i| is_open(i) && i.agent_id.as_deref() == Some(name));
            owned.filter(|i| i.rest != "parked" && i.channel_kind == item.channel_kind)
        };
        // What rests for a call has its place: nobody else gets it meanwhile.
        let resting: i32 = self
            .items
            .iter()
            .filter(|i| is_open(i) && i.agent_id.as_deref() == Some(name) && i.rest == "paused")
            .map(|i| units(person, i.channel_kind).0)
            .sum();
        let asked_for = item.route["requirement"]["skills"].as_object();
        person.presence == "available"
            && !person.draining
            && person.channel_kinds.contains(&item.channel_kind)
            && !self
                .live
                .iter()
                .any(|o| o.agent_id == name && (o.state == "pending" || o.seat == "second"))
            && !item.exclusions.to_string().contains(name)
            && item.pinned_agent.as_deref().is_none_or(|p| p == name)
            && item.preferred_agent.is_none()
            && asked_for.is_none_or(|skills| skills.keys().all(|s| person.skill_names.contains(s)))
            && (item.queue != "machines" || person.skill_names.iter().any(|s| s == "coffee-machines"))
            && person.used_units + resting + takes <= person.capacity_units
            && mine().count() < at_once
    }
}

/// What work on a kind of channel takes of a person, and how much of it they do at once.
fn units(person: &Person, kind: i32) -> (i32, usize) {
    match ChannelKind::try_from(kind).expect("a kind") {
        ChannelKind::Voice => (person.capacity_units, 1),
        ChannelKind::Email => (4, 1),
        _ => (2, 3),
    }
}

fn is_open(item: &Item) -> bool {
    matches!(
        item.state.as_str(),
        "pending" | "offered" | "assigned" | "wrapping"
    )
}
