//! Whose record is this? Attach, merge, keep apart, or ask a person; and look again when new evidence changes what was decided.

mod grown;
mod reform;
mod shared;

use std::collections::VecDeque;

use rustc_hash::FxHashSet;

use super::{
    blocking,
    compare::{Comparison, Level},
    facts::{Facts, Keyed, Seen, Trust},
    hash::BlockKey,
    nearest::{Reach, Shared, nearest},
    policy::Policy,
    score::{Home, Score, Scorer, Side},
    store::{Homes, Observation, Profile, ProfileId, RecordId, Store},
};

/// What was decided.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Of a profile that was known.
    Same {
        /// The evidence.
        score: Box<Score>,
    },
    /// Nobody like this was known.
    New,
    /// It could be somebody known, but a person should look; until then it stands alone.
    Review {
        /// Who it could be, most likely first.
        candidates: Vec<Candidate>,
        /// Why the engine does not decide.
        reason: ReviewReason,
    },
}

/// Why a person is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReviewReason {
    /// Likely, but not likely enough.
    Uncertain,
    /// Two profiles fit about as well, and they are not the same.
    Ambiguous,
    /// Likely by weight, but something forbids it.
    Contradicted,
    /// The profile has reached a limit.
    Limit,
}

/// Who it could be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The profile.
    pub profile: ProfileId,
    /// The evidence.
    pub score: Score,
}

/// A record's profile and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The record.
    pub record: RecordId,
    /// Its profile now.
    pub profile: ProfileId,
    /// Why.
    pub outcome: Outcome,
}

/// Decides over a store, by a policy, and remembers what to look at again.
pub struct Resolver<'a> {
    policy: &'a Policy,
    reach: Reach,
    queue: VecDeque<ProfileId>,
    queued: FxHashSet<ProfileId>,
    /// Opened although somebody fits but for being, perhaps, another of the same home: looked at again if homes turn out not to be shared.
    held_back: Vec<ProfileId>,
}

/// A record with so many loose ends is not settled in one go: what is left goes to the queue again.
const MOST_MERGES_AT_ONCE: usize = 16;

impl<'a> Resolver<'a> {
    /// A resolver with nothing to look at again.
    #[must_use]
    pub fn new(policy: &'a Policy) -> Self {
        Self {
            policy,
            reach: Reach::Near,
            queue: VecDeque::new(),
            queued: FxHashSet::default(),
            held_back: Vec::new(),
        }
    }

    /// Looks as far as it takes to be independent of who came first, for testing everybody again.
    pub const fn look_far(&mut self) {
        self.reach = Reach::Far;
    }

    /// Decides whose record this is and stores it. What it changes for others waits in the queue: see [`Self::drain`].
    pub fn resolve<S: Store>(&mut self, store: &mut S, observation: Observation) -> Decision {
        let record = observation.record;
        let keys = blocking::keys(&observation.facts);
        let found = self.candidates(store, &observation.facts, &keys, None);
        self.count_home(store, found.home);
        let candidates = found.candidates;
        let (profile, outcome) = match self.choose(store, &observation.facts, None, &candidates) {
            Choice::One(best) => {
                let before = store.profile(best.profile).map(|p| p.keys.clone());
                let grown = store.attach(best.profile, observation);
                if grown && self.may_concern_others(store, best.profile, &before.unwrap_or_default(), &keys) {
                    self.look_again(best.profile);
                }
                (
                    best.profile,
                    Outcome::Same {
                        score: Box::new(best.score),
                    },
                )
            }
            Choice::Nobody => {
                let id = store.open(observation);
                self.look_again_at_shared(store, id);
                (id, Outcome::New)
            }
            Choice::Ask(reason) => {
                let candidates = self.worth_a_look(candidates);
                let id = store.open(observation);
                self.look_again_at_shared(store, id);
                (id, Outcome::Review { candidates, reason })
            }
        };
        if found.held_back && !matches!(outcome, Outcome::Same { .. }) {
            self.held_back.push(profile);
        }
        Decision {
            record,
            profile,
            outcome,
        }
    }

    fn count_home<S: Store>(&mut self, store: &mut S, home: Home) {
        let found = match home {
            Home::Elsewhere | Home::Unclear => return,
            Home::Same => Homes { same: 1, apart: 0 },
            Home::Apart => Homes { same: 0, apart: 1 },
        };
        let before = self.policy.homes_are_shared(store.homes());
        store.count_homes(found);
        if before && !self.policy.homes_are_shared(store.homes()) {
            for profile in std::mem::take(&mut self.held_back) {
                self.look_again(profile);
            }
        }
    }

    /// Weighs a record against everybody it finds, most likely first, without deciding or storing anything.
    pub fn weigh<S: Store>(&self, store: &S, facts: &Facts) -> Vec<Candidate> {
        self.find(store, facts, &blocking::keys(facts), None, f32::NEG_INFINITY)
            .candidates
    }

    /// Profiles that wait to be looked at again.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Puts a profile into the queue, because what is known of it or of a neighbour has changed.
    pub fn look_again(&mut self, profile: ProfileId) {
        if self.queued.insert(profile) {
            self.queue.push_back(profile);
        }
    }

    /// Looks again at what waits, at most so many; merges what now is the same, parts what no longer holds together.
    pub fn drain<S: Store>(&mut self, store: &mut S, most: usize) {
        for _ in 0..most {
            let Some(profile) = self.queue.pop_front() else {
                return;
            };
            self.queued.remove(&profile);
            self.settle(store, profile);
        }
    }

    fn candidates<S: Store>(
        &self,
        store: &S,
        facts: &Facts,
        keys: &[BlockKey],
        own: Option<ProfileId>,
    ) -> Found {
        let thresholds = self.policy.thresholds();
        // A rival may weigh less than what a person would look at.
        let least = thresholds.review.min(thresholds.same - thresholds.margin);
        self.find(store, facts, keys, own, least)
    }

    fn find<S: Store>(
        &self,
        store: &S,
        facts: &Facts,
        keys: &[BlockKey],
        own: Option<ProfileId>,
        least: f32,
    ) -> Found {
        let ids = self.nearest(store, facts, keys, own);
        let scorer = Scorer::new(self.policy, store);
        let side = Side { facts, profile: own };
        let owners = owners(store, facts, own, &ids);
        let (mut home, mut held_back) = (Home::Elsewhere, false);
        let mut candidates: Vec<Candidate> = ids
            .into_iter()
            .filter_map(|id| {
                let mut score = scorer.score(
                    side,
                    Side {
                        facts: &store.profile(id)?.facts,
                        profile: Some(id),
                    },
                );
                // The company's own books outweigh whose telephone it is.
                score.vetoes.verified = !owners.is_empty()
                    && !owners.contains(&id)
                    && score.levels.get(Comparison::Exclusive.index()) != Some(&Level::Exact);
                home = home.max(score.home);
                held_back |= score.held_back && score.fit() >= self.policy.thresholds().review;
                score
                    .is_worth_a_look(least)
                    .then_some(Candidate { profile: id, score })
            })
            .collect();
        candidates.sort_by(|a, b| {
            b.score
                .bits
                .total_cmp(&a.score.bits)
                .then(b.score.fit().total_cmp(&a.score.fit()))
                .then(a.profile.cmp(&b.profile))
        });
        Found {
            candidates,
            home,
            held_back,
        }
    }

    /// Who shares a handle, then who shares most that is rare: with a large population many share one weak key by chance.
    fn nearest<S: Store>(
        &self,
        store: &S,
        facts: &Facts,
        keys: &[BlockKey],
        own: Option<ProfileId>,
    ) -> Vec<ProfileId> {
        let limits = self.policy.limits();
        let handles = blocking::handle_keys(facts);
        let mut shared = Vec::with_capacity(128);
        for key in keys {
            if let Some(holders) = store.holders(*key, limits.profiles_per_key) {
                let (by_handle, rarity) = (
                    handles.contains(key),
                    self.reach.rarity(store.how_many_have(*key)),
                );
                let others = holders.iter().filter(|h| Some(**h) != own);
                shared.extend(others.map(|id| Shared {
                    id: *id,
                    by_handle,
                    rarity,
                }));
            }
        }
        let (enough, most) = self.reach.enough(limits);
        nearest(shared, enough, most)
    }

    fn choose<S: Store>(
        &self,
        store: &S,
        facts: &Facts,
        own: Option<ProfileId>,
        candidates: &[Candidate],
    ) -> Choice {
        let thresholds = self.policy.thresholds();
        let allowed =
            |c: &&Candidate| c.score.may_join() && own.is_none_or(|own| !store.banned(own, c.profile));
        let Some(best) = candidates.iter().find(allowed) else {
            // A twin, or a slip: it weighs little because there are twins, and a person can ask.
            let forbidden = |c: &Candidate| c.score.vetoes.any() && c.score.suspicion >= thresholds.same;
            if candidates.iter().any(forbidden) {
                return Choice::Ask(ReviewReason::Contradicted);
            }
            return match candidates.first() {
                Some(c) if c.score.bits < thresholds.same => Choice::Nobody,
                // Nothing agrees but names: only very rare ones are worth somebody's time.
                Some(c) if c.score.bits >= thresholds.same + thresholds.margin => {
                    Choice::Ask(ReviewReason::Uncertain)
                }
                Some(_) | None => Choice::Nobody,
            };
        };
        if best.score.bits < thresholds.review {
            return Choice::Nobody;
        }
        if best.score.bits < thresholds.same {
            return Choice::Ask(ReviewReason::Uncertain);
        }
        let Some(profile) = store.profile(best.profile) else {
            return Choice::Nobody;
        };
        if profile.observations.len() >= self.policy.limits().records_per_profile {
            return Choice::Ask(ReviewReason::Limit);
        }
        // Another that fits about as well must be the same person too, or it is not known which of the two this is.
        let scorer = Scorer::new(self.policy, store);
        let mut joined: Option<Facts> = None;
        for rival in candidates
            .iter()
            .filter(allowed)
            .filter(|c| c.profile != best.profile)
        {
            if rival.score.bits < best.score.bits - thresholds.margin {
                break;
            }
            if rival.score.fit() < best.score.fit() - thresholds.margin {
                continue;
            }
            let joined = joined.get_or_insert_with(|| {
                let mut joined = profile.facts.clone();
                joined.absorb(facts);
                joined
            });
            let Some(other) = store.profile(rival.profile) else {
                continue;
            };
            let both = scorer.score(
                Side {
                    facts: joined,
                    profile: Some(best.profile),
                },
                Side {
                    facts: &other.facts,
                    profile: Some(rival.profile),
                },
            );
            if !both.is_same(self.policy) || store.banned(best.profile, rival.profile) {
                return Choice::Ask(ReviewReason::Ambiguous);
            }
        }
        Choice::One(*best)
    }

    /// Why a person should look at a profile as it stands, if at all.
    pub fn doubt<S: Store>(&self, store: &S, profile: ProfileId) -> Option<ReviewReason> {
        let known = store.profile(profile)?;
        let candidates = self
            .candidates(store, &known.facts, &known.keys, Some(profile))
            .candidates;
        match self.choose(store, &known.facts, Some(profile), &candidates) {
            Choice::Ask(reason) => Some(reason),
            Choice::One(_) | Choice::Nobody => None,
        }
    }

    fn worth_a_look(&self, candidates: Vec<Candidate>) -> Vec<Candidate> {
        const MOST_SHOWN: usize = 5;
        let review = self.policy.thresholds().review;
        candidates
            .into_iter()
            .filter(|c| c.score.is_worth_a_look(review))
            .take(MOST_SHOWN)
            .collect()
    }

    /// Merges a profile with whoever it now is the same as, until nobody is left; then looks at what it shares with others.
    fn settle<S: Store>(&mut self, store: &mut S, profile: ProfileId) {
        let mut own = profile;
        for _ in 0..MOST_MERGES_AT_ONCE {
            let Some(known) = store.profile(own) else { return };
            let candidates = self
                .candidates(store, &known.facts, &known.keys, Some(own))
                .candidates;
            let Some(other) = self.partner(store, known, candidates) else {
                break;
            };
            let Some(joining) = store.profile(other) else {
                break;
            };
            if known.merges + joining.merges >= self.policy.limits().merges_per_profile {
                break;
            }
            let (winner, loser) = if elder(known, joining) {
                (own, other)
            } else {
                (other, own)
            };
            store.merge(winner, loser);
            own = winner;
        }
        self.look_again_at_shared(store, own);
    }

    /// Who a profile is the same as, if both sides see it so.
    fn partner<S: Store>(&self, store: &S, known: &Profile, candidates: Vec<Candidate>) -> Option<ProfileId> {
        let anonymous = |id: ProfileId| store.profile(id).is_some_and(|p| p.facts.is_anonymous());
        if known.facts.is_anonymous() {
            return match self.choose(store, &known.facts, Some(known.id), &candidates) {
                Choice::One(best) => Some(best.profile),
                Choice::Nobody | Choice::Ask(_) => None,
            };
        }
        let (nameless, named): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|c| anonymous(c.profile));
        let wants_me = |other: ProfileId| {
            let Some(other) = store.profile(other) else {
                return false;
            };
            let theirs = self
                .candidates(store, &other.facts, &other.keys, Some(other.id))
                .candidates;
            matches!(self.choose(store, &other.facts, Some(other.id), &theirs), Choice::One(back) if back.profile == known.id)
        };
        if let Choice::One(best) = self.choose(store, &known.facts, Some(known.id), &named)
            && wants_me(best.profile)
        {
            return Some(best.profile);
        }
        // Who has no name cannot be a rival: each is asked for itself.
        nameless
            .into_iter()
            .filter(|c| c.score.is_same(self.policy) && !store.banned(known.id, c.profile))
            .map(|c| c.profile)
            .find(|other| wants_me(*other))
    }
}

/// Who fits, and what that says of homes.
struct Found {
    candidates: Vec<Candidate>,
    home: Home,
    held_back: bool,
}

enum Choice {
    One(Candidate),
    Nobody,
    Ask(ReviewReason),
}

/// Who proved that one of these addresses of contact is theirs. Not when the profile that asks proved it too.
fn owners<S: Store>(store: &S, facts: &Facts, own: Option<ProfileId>, ids: &[ProfileId]) -> Vec<ProfileId> {
    let verified = |seen: &Seen<_>, by: &Profile| proved(&by.facts.emails, seen);
    let phone = |seen: &Seen<_>, by: &Profile| proved(&by.facts.phones, seen);
    let own = own.and_then(|id| store.profile(id));
    ids.iter()
        .filter_map(|id| store.profile(*id))
        .filter(|other| {
            let theirs = |mine: bool, proven: bool| proven && !mine;
            facts
                .emails
                .iter()
                .any(|e| theirs(own.is_some_and(|p| verified(e, p)), verified(e, other)))
                || facts
                    .phones
                    .iter()
                    .any(|n| theirs(own.is_some_and(|p| phone(n, p)), phone(n, other)))
        })
        .map(|p| p.id)
        .collect()
}

fn proved<T: Keyed>(values: &[Seen<T>], wanted: &Seen<T>) -> bool {
    values
        .iter()
        .any(|v| v.trust == Trust::Verified && v.value.key() == wanted.value.key())
}

fn elder(a: &Profile, b: &Profile) -> bool {
    (a.observations.len(), std::cmp::Reverse(a.id)) >= (b.observations.len(), std::cmp::Reverse(b.id))
}
