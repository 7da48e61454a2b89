//! Whose record is this? Attach, merge, keep apart, or ask a person; and look again when new evidence changes what was decided.

use std::collections::VecDeque;

use rustc_hash::FxHashSet;

use super::{
    blocking,
    facts::Facts,
    groups::groups,
    hash::BlockKey,
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
    queue: VecDeque<ProfileId>,
    queued: FxHashSet<ProfileId>,
    /// Opened although somebody fits but for being, perhaps, another of the same home: looked at again if homes turn out not to be shared.
    held_back: Vec<ProfileId>,
}

/// Testing a profile costs the square of its records.
const MOST_RECORDS_TESTED: usize = 100;

/// A record with so many loose ends is not settled in one go: what is left goes to the queue again.
const MOST_MERGES_AT_ONCE: usize = 16;

impl<'a> Resolver<'a> {
    /// A resolver with nothing to look at again.
    #[must_use]
    pub fn new(policy: &'a Policy) -> Self {
        Self {
            policy,
            queue: VecDeque::new(),
            queued: FxHashSet::default(),
            held_back: Vec::new(),
        }
    }

    /// Decides whose record this is and stores it. What it changes for others waits in the queue: see [`Self::drain`].
    pub fn resolve<S: Store>(&mut self, store: &mut S, observation: Observation) -> Decision {
        let record = observation.record;
        let found = self.candidates(
            store,
            &observation.facts,
            &blocking::keys(&observation.facts),
            None,
        );
        self.count_home(store, found.home);
        let candidates = found.candidates;
        let (profile, outcome) = match self.choose(store, &observation.facts, None, &candidates) {
            Choice::One(best) => {
                let grown = store.attach(best.profile, observation);
                if grown {
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

    /// Tests a profile as it stands by what is known now: records that no longer fit the rest leave it, and everybody concerned
    /// is looked at again. For the nightly round, when frequencies and population have moved since the decisions were made.
    pub fn test_again<S: Store>(&mut self, store: &mut S, profile: ProfileId) {
        let Some(known) = store.profile(profile) else {
            return;
        };
        if known.observations.len() > MOST_RECORDS_TESTED {
            return;
        }
        let weak: Vec<RecordId> = known
            .observations
            .iter()
            .filter(|o| is_weak(&o.facts))
            .map(|o| o.record)
            .collect();
        for record in weak {
            if store.profile(profile).is_some_and(|p| p.observations.len() > 1)
                && !self.still_holds(store, profile, record)
                && let Some(observation) = store.detach(profile, record)
            {
                let alone = store.open(observation);
                self.look_again(alone);
            }
        }
        let Some(known) = store.profile(profile) else {
            return;
        };
        for group in groups(&known.observations) {
            let Some(known) = store.profile(profile) else {
                return;
            };
            if known.observations.len() <= group.len() || self.group_holds(store, known, &group) {
                continue;
            }
            let mut apart = None;
            for record in group {
                let Some(observation) = store.detach(profile, record) else {
                    continue;
                };
                match apart {
                    None => apart = Some(store.open(observation)),
                    Some(id) => {
                        store.attach(id, observation);
                    }
                }
            }
            if let Some(id) = apart {
                self.look_again(id);
            }
        }
        self.look_again(profile);
    }

    fn candidates<S: Store>(
        &self,
        store: &S,
        facts: &Facts,
        keys: &[BlockKey],
        own: Option<ProfileId>,
    ) -> Found {
        self.find(store, facts, keys, own, self.policy.thresholds().review)
    }

    fn find<S: Store>(
        &self,
        store: &S,
        facts: &Facts,
        keys: &[BlockKey],
        own: Option<ProfileId>,
        least: f32,
    ) -> Found {
        let most = self.policy.limits().profiles_per_key;
        let mut ids: Vec<ProfileId> = Vec::with_capacity(16);
        for key in keys {
            if let Some(holders) = store.holders(*key, most) {
                ids.extend(holders.iter().filter(|h| Some(**h) != own));
            }
        }
        ids.sort_unstable();
        ids.dedup();
        let scorer = Scorer::new(self.policy, store);
        let side = Side { facts, profile: own };
        let (mut home, mut held_back) = (Home::Elsewhere, false);
        let mut candidates: Vec<Candidate> = ids
            .into_iter()
            .filter_map(|id| {
                let score = scorer.score(
                    side,
                    Side {
                        facts: &store.profile(id)?.facts,
                        profile: Some(id),
                    },
                );
                home = home.max(score.home);
                held_back |=
                    score.held_back && score.bits + score.household_excess >= self.policy.thresholds().review;
                (score.bits >= least).then_some(Candidate { profile: id, score })
            })
            .collect();
        candidates.sort_by(|a, b| {
            b.score
                .bits
                .total_cmp(&a.score.bits)
                .then(a.profile.cmp(&b.profile))
        });
        Found {
            candidates,
            home,
            held_back,
        }
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
            return match candidates.first() {
                Some(c) if c.score.vetoes.any() && c.score.bits >= thresholds.same => {
                    Choice::Ask(ReviewReason::Contradicted)
                }
                // Nothing agrees but names.
                Some(c) if !c.score.vetoes.any() => Choice::Ask(ReviewReason::Uncertain),
                Some(_) | None => Choice::Nobody,
            };
        };
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

    fn worth_a_look(&self, candidates: Vec<Candidate>) -> Vec<Candidate> {
        const MOST_SHOWN: usize = 5;
        candidates.into_iter().take(MOST_SHOWN).collect()
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

    /// A handle that another named profile holds as well is shared from now on: records that stood on it alone stand no more.
    fn look_again_at_shared<S: Store>(&mut self, store: &mut S, profile: ProfileId) {
        let most = self.policy.limits().profiles_per_key;
        let Some(known) = store.profile(profile) else {
            return;
        };
        if known.facts.is_anonymous() {
            return;
        }
        let mut doubtful: Vec<(ProfileId, RecordId)> = Vec::new();
        for value in blocking::handle_values(&known.facts) {
            let holders = store.holders(blocking::handle_key(value), most).unwrap_or(&[]);
            if holders.len() < 2 {
                continue;
            }
            for holder in holders {
                let Some(holding) = store.profile(*holder) else {
                    continue;
                };
                if holding.observations.len() < 2 {
                    continue;
                }
                doubtful.extend(
                    holding
                        .observations
                        .iter()
                        .filter(|o| blocking::handle_values(&o.facts).contains(&value) && is_weak(&o.facts))
                        .map(|o| (*holder, o.record)),
                );
            }
        }
        doubtful.sort_unstable();
        doubtful.dedup();
        for (holder, record) in doubtful {
            if self.still_holds(store, holder, record) {
                continue;
            }
            if let Some(observation) = store.detach(holder, record) {
                store.open(observation);
            }
        }
    }

    fn group_holds<S: Store>(&self, store: &S, known: &Profile, group: &[RecordId]) -> bool {
        let (mut these, mut rest) = (Facts::default(), Facts::default());
        for observation in &known.observations {
            if group.contains(&observation.record) {
                these.absorb(&observation.facts);
            } else {
                rest.absorb(&observation.facts);
            }
        }
        let score = Scorer::new(self.policy, store).score(
            Side {
                facts: &these,
                profile: None,
            },
            Side {
                facts: &rest,
                profile: Some(known.id),
            },
        );
        score.is_same(self.policy)
    }

    fn still_holds<S: Store>(&self, store: &S, profile: ProfileId, record: RecordId) -> bool {
        let Some(known) = store.profile(profile) else {
            return true;
        };
        let mut rest = Facts::default();
        let mut own = None;
        for observation in &known.observations {
            if observation.record == record {
                own = Some(&observation.facts);
            } else {
                rest.absorb(&observation.facts);
            }
        }
        let Some(own) = own else { return true };
        let score = Scorer::new(self.policy, store).score(
            Side {
                facts: own,
                profile: None,
            },
            Side {
                facts: &rest,
                profile: Some(profile),
            },
        );
        score.is_same(self.policy)
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

/// Without a written-out given name and a date of birth a record stands on its handles alone.
fn is_weak(facts: &Facts) -> bool {
    facts.births.is_empty() && facts.given_names.iter().all(|g| g.value.is_initial())
}

fn elder(a: &Profile, b: &Profile) -> bool {
    (a.observations.len(), std::cmp::Reverse(a.id)) >= (b.observations.len(), std::cmp::Reverse(b.id))
}

impl Outcome {
    /// A person is asked.
    #[must_use]
    pub const fn is_review(&self) -> bool {
        matches!(self, Self::Review { .. })
    }
}
