//! Merges are edges that can be taken away again: who belongs to whom is what the edges in force connect.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use trama_proto::ids::{CustomerId, MergeId};

use super::{customer::Customer, rules::Rules};
use crate::matching::{Policy, Score};

/// Who decides when no person does.
pub const MATCHING: &str = "matching";

/// How alike two were, as it is kept and shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Likeness {
    /// log2 of the odds for being the same.
    pub bits: f64,
    /// What each comparison adds.
    pub parts: Vec<Part>,
    /// What forbids a join by matching, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vetoes: Vec<String>,
    /// Version of the weights.
    pub model: String,
}

/// One line of an explanation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// What was compared.
    pub what: String,
    /// How alike it is.
    pub words: String,
    /// What that adds.
    pub bits: f64,
}

impl Likeness {
    /// A score as it is kept and shown.
    pub fn of(policy: &Policy, score: &Score) -> Self {
        let mut parts: Vec<Part> = score
            .evidence()
            .map(|e| Part {
                what: e.comparison.words().to_owned(),
                words: e.level.words().to_owned(),
                bits: f64::from(e.bits),
            })
            .collect();
        parts.sort_by(|a, b| b.bits.abs().total_cmp(&a.bits.abs()));
        parts.push(Part {
            what: "rarity".into(),
            words: "one in all customers".into(),
            bits: f64::from(score.prior),
        });
        if score.household_excess > 0.0 {
            parts.push(Part {
                what: "household".into(),
                words: "who lives together shares surname and address".into(),
                bits: -f64::from(score.household_excess),
            });
        }
        Self {
            bits: f64::from(score.bits),
            parts,
            vetoes: score.obstacles().map(str::to_owned).collect(),
            model: policy.file().version.clone(),
        }
    }

    /// The odds as a probability.
    pub fn probability(&self) -> f64 {
        1.0 / (1.0 + (-self.bits).exp2())
    }
}

/// One merge.
#[derive(Debug, Clone, PartialEq)]
pub struct MergeRecord {
    /// Its id.
    pub id: MergeId,
    /// Who remained.
    pub survivor: CustomerId,
    /// Who became an alias.
    pub merged: CustomerId,
    /// Agent id, or [`MATCHING`].
    pub decided_by: String,
    /// Why, in words.
    pub reason: String,
    /// How alike they were, when similarity decided.
    pub likeness: Option<Likeness>,
    /// The handles, as evidence, without which what handles joined would not have been joined. Written, never read back.
    pub rests_on: Vec<i64>,
    /// When.
    pub at: DateTime<Utc>,
}

/// Why two customers become one.
#[derive(Debug, Clone)]
pub struct Reason<'a> {
    /// Agent id, or [`MATCHING`].
    pub decided_by: &'a str,
    /// In words, for whoever wants to undo it.
    pub words: &'a str,
    /// How alike they are, when similarity decided.
    pub likeness: Option<Likeness>,
}

/// Who of two remains when nobody says: a protected profile, then one with a handle that was proven, then the oldest.
pub fn remains<'a>(a: &'a Customer, b: &'a Customer) -> &'a Customer {
    let rank = |c: &Customer| (!c.is_protected(), !c.has_verified_handle(), c.created_at, c.id);
    if rank(a) <= rank(b) { a } else { b }
}

/// Makes one customer of two. Proofs stay with those who gave them: a merge never lifts the survivor's level.
pub fn merge(
    id: MergeId,
    survivor: &mut Customer,
    merged: Customer,
    reason: Reason<'_>,
    rules: &Rules,
    now: DateTime<Utc>,
) -> MergeRecord {
    let record = MergeRecord {
        id,
        survivor: survivor.id,
        merged: merged.id,
        decided_by: reason.decided_by.to_owned(),
        reason: reason.words.to_owned(),
        likeness: reason.likeness,
        rests_on: Vec::new(),
        at: now,
    };
    survivor.take_in(merged, now, rules);
    if record.likeness.is_none() {
        survivor.ties.push((record.survivor, record.merged));
    }
    record
}

/// Under which ids it was said, and since when, what was said of the merged one too: the survivor's, and of whoever took
/// the survivor in afterwards.
pub fn spoke_for(record: &MergeRecord, in_force: &[MergeRecord]) -> BTreeMap<CustomerId, DateTime<Utc>> {
    let (mut id, mut since) = (record.survivor, record.at);
    let mut spoke = BTreeMap::from([(id, since)]);
    while let Some(next) = in_force.iter().find(|edge| edge.merged == id) {
        (id, since) = (next.survivor, since.max(next.at));
        if spoke.insert(id, since).is_some() {
            break;
        }
    }
    spoke
}

/// The ids that stay together with the merged one when its merge is undone: all that the other edges connect to it.
pub fn goes_along(undone: &MergeRecord, in_force: &[MergeRecord]) -> BTreeSet<CustomerId> {
    let mut neighbours: HashMap<CustomerId, Vec<CustomerId>> = HashMap::new();
    for edge in in_force.iter().filter(|e| e.id != undone.id) {
        neighbours.entry(edge.survivor).or_default().push(edge.merged);
        neighbours.entry(edge.merged).or_default().push(edge.survivor);
    }
    let mut side = BTreeSet::from([undone.merged]);
    let mut open = vec![undone.merged];
    while let Some(id) = open.pop() {
        for neighbour in neighbours.get(&id).map(Vec::as_slice).unwrap_or_default() {
            if side.insert(*neighbour) {
                open.push(*neighbour);
            }
        }
    }
    side
}

/// The two customers that a split makes of one.
pub fn part(
    whole: &Customer,
    restored: CustomerId,
    side: &BTreeSet<CustomerId>,
    rules: &Rules,
) -> (Customer, Customer) {
    let of = |id: CustomerId, theirs: bool| {
        let members = whole.members.iter().filter(|m| side.contains(&m.id) == theirs);
        let members = members
            .map(|m| {
                let mut member = m.clone();
                if member.id == id {
                    member.merged_at = None;
                }
                member
            })
            .collect();
        let handles = whole
            .handles
            .iter()
            .filter(|h| side.contains(&h.row_owner) == theirs);
        let mut customer = Customer::of_members(id, members, handles.cloned().collect(), rules);
        let evidence: BTreeSet<i64> = customer.handles.iter().map(|h| h.key.evidence()).collect();
        // A proof goes with the handle whose possession was proven.
        let proofs = whole.verifications.iter();
        customer.verifications = proofs
            .filter(|v| {
                evidence.contains(&v.evidence) || (!theirs && !rests_on(&whole.handles, side, v.evidence))
            })
            .cloned()
            .collect();
        let ties = whole.ties.iter();
        customer.ties = ties
            .filter(|(one, other)| side.contains(one) == theirs && side.contains(other) == theirs)
            .copied()
            .collect();
        customer
    };
    (of(whole.id, false), of(restored, true))
}

fn rests_on(handles: &[super::customer::Held], side: &BTreeSet<CustomerId>, evidence: i64) -> bool {
    handles
        .iter()
        .any(|h| side.contains(&h.row_owner) && h.key.evidence() == evidence)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trama_proto::ids::derive;

    use super::*;
    use crate::domain::{
        customer::{Field, Held, Origin},
        handle::{HandleKey, HandleKind, Trust},
    };

    fn id(number: u8) -> CustomerId {
        CustomerId::new(derive(&[b"customer", &[number]]))
    }

    fn customer(number: u8) -> Customer {
        let at = DateTime::<Utc>::UNIX_EPOCH + chrono::Duration::minutes(i64::from(number));
        let mut customer = Customer::new(id(number), at);
        let own = customer.own_mut(id(number)).expect("their own");
        let origin = Origin {
            source: "mail".into(),
            at,
            verified: number.is_multiple_of(3),
            by_hand: false,
        };
        if number.is_multiple_of(2) {
            own.say(Field::DisplayName, &format!("name {number}"), origin.clone());
        }
        own.say(
            Field::Language,
            if number.is_multiple_of(2) { "it" } else { "en" },
            origin,
        );
        let key = HandleKey {
            kind: HandleKind::Crm,
            value: number.to_string(),
        };
        customer
            .handles
            .push(Held::first(key, Trust::Observed, id(number), at));
        customer.choose(&Rules::default());
        customer
    }

    /// Merges customers 0..n by the given pairs; gives the customers that remain and the edges.
    fn merged(count: u8, pairs: &[(u8, u8)]) -> (HashMap<CustomerId, Customer>, Vec<MergeRecord>) {
        let rules = Rules::default();
        let mut all: HashMap<CustomerId, Customer> = (0..count).map(|n| (id(n), customer(n))).collect();
        let mut edges = Vec::new();
        for (number, (a, b)) in pairs.iter().enumerate() {
            let root = |n: u8, all: &HashMap<CustomerId, Customer>| {
                all.values()
                    .find(|c| c.members.iter().any(|m| m.id == id(n)))
                    .map(|c| c.id)
                    .expect("somebody")
            };
            let (a, b) = (root(a % count, &all), root(b % count, &all));
            if a == b {
                continue;
            }
            let winner = remains(&all[&a], &all[&b]).id;
            let loser = all.remove(if winner == a { &b } else { &a }).expect("is there");
            let at = DateTime::<Utc>::UNIX_EPOCH + chrono::Duration::hours(number as i64 + 1);
            let reason = Reason {
                decided_by: MATCHING,
                words: "test",
                likeness: None,
            };
            let merge_id = MergeId::new(derive(&[b"m", &[number as u8]]));
            let survivor = all.get_mut(&winner).expect("is there");
            edges.push(merge(merge_id, survivor, loser, reason, &rules, at));
        }
        (all, edges)
    }

    proptest! {
        #[test]
        fn split_after_merge_is_as_before(a in prop::collection::vec((0..8_u8, 0..8_u8), 0..6)) {
            let (mut before, _) = merged(8, &a);
            let (mut one, mut other) = (id(0), id(1));
            if let Some(root) = before.values().find(|c| c.members.iter().any(|m| m.id == one)) { one = root.id; }
            if let Some(root) = before.values().find(|c| c.members.iter().any(|m| m.id == other)) { other = root.id; }
            prop_assume!(one != other);
            let (_, edges) = merged(8, &a);
            let winner = remains(&before[&one], &before[&other]).id;
            let loser = if winner == one { other } else { one };
            let lost = before.remove(&loser).expect("is there");
            let mut survivor = before.remove(&winner).expect("is there");
            let (kept, gone) = (survivor.clone(), lost.clone());
            let at = DateTime::<Utc>::UNIX_EPOCH + chrono::Duration::days(9);
            let reason = Reason { decided_by: "agent", words: "test", likeness: None };
            let record = merge(MergeId::new(derive(&[b"last"])), &mut survivor, lost, reason, &Rules::default(), at);
            let mut edges = edges;
            edges.push(record.clone());
            let side = goes_along(&record, &edges);
            let (survivor, restored) = part(&survivor, record.merged, &side, &Rules::default());
            prop_assert_eq!(survivor, kept);
            prop_assert_eq!(restored, gone);
        }

        #[test]
        fn merges_undone_in_any_order_leave_everybody_as_they_were(
            pairs in prop::collection::vec((0..8_u8, 0..8_u8), 0..8),
            seed in any::<u64>(),
        ) {
            let (mut all, mut edges) = merged(8, &pairs);
            let mut order = edges.clone();
            order.sort_by_key(|e| derive(&[&seed.to_be_bytes(), e.id.uuid().as_bytes()]));
            for undone in order {
                let side = goes_along(&undone, &edges);
                let whole = all.values().find(|c| c.members.iter().any(|m| m.id == undone.merged)).expect("somebody").clone();
                prop_assert!(!side.contains(&whole.id), "who remains keeps their id");
                let (survivor, restored) = part(&whole, undone.merged, &side, &Rules::default());
                all.insert(survivor.id, survivor);
                all.insert(restored.id, restored);
                edges.retain(|e| e.id != undone.id);
            }
            prop_assert_eq!(all.len(), 8);
            for number in 0..8 {
                prop_assert_eq!(&all[&id(number)], &customer(number));
            }
        }

        #[test]
        fn the_direction_of_a_merge_decides_nothing(a in 0..8_u8, b in 0..8_u8) {
            prop_assume!(a != b);
            let rules = Rules::default();
            let at = DateTime::<Utc>::UNIX_EPOCH + chrono::Duration::days(9);
            let (mut one, mut other) = (customer(a), customer(b));
            one.take_in(customer(b), at, &rules);
            other.take_in(customer(a), at, &rules);
            prop_assert_eq!(one.profile, other.profile);
        }
    }
}
