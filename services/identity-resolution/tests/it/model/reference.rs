//! What the service promises, said once more in plain data: handles lead to ids, ids are joined by edges, and everything
//! else follows from what was said under which id. No index, no lock, no batch, nothing shared with the service's code.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// Kinds of handle, in the order in which the service reads them where nothing else decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Email,
    Phone,
    Whatsapp,
    Crm,
    Cookie,
    Device,
    Loyalty,
}

impl Kind {
    pub const ALL: [Kind; 7] = [
        Kind::Email,
        Kind::Phone,
        Kind::Whatsapp,
        Kind::Crm,
        Kind::Cookie,
        Kind::Device,
        Kind::Loyalty,
    ];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Handle(pub Kind, pub u8);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    Claimed,
    Observed,
    Verified,
}

/// Who says it. The sources in the policy's order; whoever is not named there comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Crm,
    Shop,
    Till,
    /// A channel, perhaps with a login.
    Door(bool),
    Agent,
}

impl Source {
    fn rank(self) -> u8 {
        match self {
            Source::Crm => 0,
            Source::Shop => 1,
            Source::Till | Source::Door(_) | Source::Agent => 2,
        }
    }

    pub fn is_channel(self) -> bool {
        matches!(self, Source::Door(_))
    }
}

/// What a channel or another system shows of a person. The number makes it one and the same when it comes again.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub number: usize,
    pub source: Source,
    pub handles: Vec<(Handle, Trust)>,
    pub name: Option<&'static str>,
    pub language: Option<&'static str>,
    /// When it was said: a moment of the story.
    pub at: u32,
}

/// A value of a field, and what decides whether it holds.
#[derive(Debug, Clone, Copy)]
struct Value {
    text: &'static str,
    at: u32,
    source: Source,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Language,
}

/// What was said under one id.
#[derive(Debug, Clone, Default)]
struct Member {
    created: u32,
    merged_at: Option<u32>,
    name: Option<Value>,
    language: Option<Value>,
    consent: Option<(bool, u32)>,
    /// The last refusal, whatever was said since.
    refused: Option<u32>,
}

impl Member {
    fn field(&mut self, field: Field) -> &mut Option<Value> {
        match field {
            Field::Name => &mut self.name,
            Field::Language => &mut self.language,
        }
    }
}

/// A customer as everybody sees them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Person {
    pub handles: BTreeMap<Handle, Trust>,
    pub name: String,
    pub language: String,
    /// Whether advertising by mail was agreed to, if anything was said of it.
    pub consent: Option<bool>,
}

#[derive(Debug, Clone, Default)]
pub struct Model {
    members: Vec<Member>,
    links: BTreeMap<Handle, (usize, Trust)>,
    /// Who remained, and who became an alias, in the order in which it happened.
    pub edges: Vec<(usize, usize)>,
    apart: BTreeSet<(usize, usize)>,
    /// Ids that were made of records.
    records: BTreeMap<usize, usize>,
    erased: BTreeMap<Handle, u32>,
}

/// A WhatsApp number is a telephone number as well.
pub fn implied(handle: Handle) -> Option<Handle> {
    (handle.0 == Kind::Whatsapp).then_some(Handle(Kind::Phone, handle.1))
}

/// Which kind is believed first.
fn priority(handle: Handle) -> u8 {
    match handle.0 {
        Kind::Crm => 1,
        Kind::Loyalty => 2,
        Kind::Email | Kind::Phone | Kind::Whatsapp => 10,
        Kind::Cookie | Kind::Device => 20,
    }
}

/// One person has one id in the books; whoever has more already may keep them.
fn one_person(sides: &[&BTreeSet<Handle>]) -> bool {
    let all: BTreeSet<Handle> = sides.iter().flat_map(|s| s.iter().copied()).collect();
    let most = sides.iter().map(|s| s.len()).max().unwrap_or_default();
    all.len() <= most.max(1)
}

impl Model {
    fn side(&self, member: usize) -> BTreeSet<usize> {
        let mut side = BTreeSet::from([member]);
        loop {
            let before = side.len();
            for (a, b) in &self.edges {
                if side.contains(a) || side.contains(b) {
                    side.extend([*a, *b]);
                }
            }
            if side.len() == before {
                return side;
            }
        }
    }

    fn root(&self, member: usize) -> usize {
        let side = self.side(member);
        let merged = |m: &&usize| self.edges.iter().any(|(_, merged)| merged == *m);
        *side.iter().find(|m| !merged(m)).expect("one remains")
    }

    /// Who holds a handle.
    pub fn owner(&self, handle: Handle) -> Option<usize> {
        self.links.get(&handle).map(|(member, _)| self.root(*member))
    }

    /// A handle that is kept under this very id.
    pub fn handle_of(&self, member: usize) -> Option<Handle> {
        let found = self.links.iter().find(|(_, (m, _))| *m == member);
        found.map(|(handle, _)| *handle)
    }

    fn age(&self, root: usize) -> u32 {
        let side = self.side(root).into_iter();
        side.map(|m| self.members[m].created).min().expect("not empty")
    }

    fn are_apart(&self, a: usize, b: usize) -> bool {
        let (one, other) = (self.side(a), self.side(b));
        let pairs = one
            .iter()
            .flat_map(|x| other.iter().map(move |y| (*x.min(y), *x.max(y))));
        pairs.into_iter().any(|pair| self.apart.contains(&pair))
    }

    fn held(&self, root: usize) -> BTreeMap<Handle, Trust> {
        let side = self.side(root);
        let theirs = self.links.iter().filter(|(_, (m, _))| side.contains(m));
        theirs.map(|(handle, (_, trust))| (*handle, *trust)).collect()
    }

    /// The ids in the books that are more than a claim.
    fn in_the_books(&self, root: usize) -> BTreeSet<Handle> {
        let held = self.held(root).into_iter();
        held.filter(|(h, trust)| h.0 == Kind::Crm && *trust > Trust::Claimed)
            .map(|(h, _)| h)
            .collect()
    }

    /// Works a delivery in; `None` when it is older than the erasure of whoever it is about. Gives the id that it made.
    pub fn see(&mut self, delivery: &Delivery, now: u32) -> Option<Option<usize>> {
        let mut shown = delivery.handles.clone();
        let is_erased = |h: Handle| self.erased.get(&h).is_some_and(|at| delivery.at <= *at);
        let any_erased = |h: Handle| is_erased(h) || implied(h).is_some_and(is_erased);
        if delivery.source.is_channel() {
            // A message is of whoever has the address that it came from; what it says besides may be left out.
            if is_erased(shown[0].0) {
                return None;
            }
            let mut first = true;
            shown.retain(|(h, _)| std::mem::take(&mut first) || !any_erased(*h));
        } else if shown.iter().any(|(h, _)| any_erased(*h)) {
            return None;
        }
        let shown: Vec<(Handle, Trust)> = shown
            .iter()
            .flat_map(|(h, trust)| [Some(*h), implied(*h)].into_iter().flatten().map(|h| (h, *trust)))
            .collect();
        let (known, merged, anchor) = self.decide(&shown);
        // Who is recognised by a claim may be anybody: what they bring along is as good as the claim.
        let by_claim = anchor.is_some_and(|h| self.links[&h].1 == Trust::Claimed);
        let of_record = self.records.get(&delivery.number).map(|m| self.root(*m));
        let (root, made) = match known.or(of_record) {
            Some(root) => (root, None),
            None => {
                self.members.push(Member {
                    created: now,
                    ..Member::default()
                });
                let made = self.members.len() - 1;
                if !delivery.source.is_channel() {
                    self.records.insert(delivery.number, made);
                }
                (made, Some(made))
            }
        };
        for other in merged {
            self.join(root, other, now);
        }
        let member = anchor.map_or(root, |h| self.links[&h].0);
        for (handle, trust) in shown {
            let trust = if by_claim { Trust::Claimed } else { trust };
            self.attach(handle, trust, root, member);
        }
        self.take_words(delivery, root, member, now);
        Some(made)
    }

    /// Who it is, who else it is, and by which handle.
    fn decide(&self, shown: &[(Handle, Trust)]) -> (Option<usize>, Vec<usize>, Option<Handle>) {
        let strong = |trust: Trust| trust > Trust::Claimed;
        let books: BTreeSet<Handle> = shown
            .iter()
            .filter(|(h, trust)| h.0 == Kind::Crm && strong(*trust))
            .map(|(h, _)| *h)
            .collect();
        let links: Vec<(Handle, Trust, usize, Trust)> = shown
            .iter()
            .filter_map(|(h, trust)| {
                let (member, held) = self.links.get(h)?;
                Some((*h, *trust, self.root(*member), *held))
            })
            .filter(|(.., root, _)| one_person(&[&books, &self.in_the_books(*root)]))
            .collect();
        let mut sure: Vec<_> = links
            .iter()
            .filter(|(_, trust, _, held)| strong(*trust) && strong(*held))
            .collect();
        sure.sort_by_key(|(h, trust, root, _)| (Reverse(*trust), priority(*h), self.age(*root), *h));
        if let Some((anchor, ..)) = sure.first() {
            let (mut group, mut known) = (Vec::new(), books);
            for (.., root, _) in &sure {
                let theirs = self.in_the_books(*root);
                if group.contains(root)
                    || !one_person(&[&known, &theirs])
                    || group.iter().any(|g| self.are_apart(*g, *root))
                {
                    continue;
                }
                known.extend(theirs);
                group.push(*root);
            }
            let is_proven = |root: usize| self.held(root).values().any(|t| *t == Trust::Verified);
            let first = group
                .iter()
                .copied()
                .min_by_key(|r| (!is_proven(*r), self.age(*r)));
            let survivor = first.expect("not empty");
            group.retain(|root| *root != survivor);
            return (Some(survivor), group, Some(*anchor));
        }
        let has_strong = shown.iter().any(|(_, trust)| strong(*trust));
        // Whoever shows who they are is nobody of whom a handle of theirs was only said.
        let proven = shown
            .iter()
            .any(|(h, trust)| *trust == Trust::Verified || h.0 == Kind::Crm && strong(*trust));
        let recognised = links
            .iter()
            .filter(|(_, trust, ..)| strong(*trust) || !has_strong)
            .filter(|(.., held)| !proven || strong(*held))
            .min_by_key(|(h, _, root, held)| (Reverse(*held), self.age(*root), *h));
        (
            recognised.map(|(.., root, _)| *root),
            Vec::new(),
            recognised.map(|(h, ..)| *h),
        )
    }

    fn attach(&mut self, handle: Handle, trust: Trust, root: usize, member: usize) {
        let owner = self.owner(handle);
        match self.links.get_mut(&handle) {
            None => {
                self.links.insert(handle, (member, trust));
            }
            Some((_, held)) if owner == Some(root) => *held = trust.max(*held),
            // What another has used or proven stays theirs; what they only said goes to whoever uses it.
            Some((_, held)) if trust == Trust::Claimed || *held > Trust::Claimed => {}
            Some(link) => *link = (member, trust),
        }
    }

    fn take_words(&mut self, delivery: &Delivery, root: usize, member: usize, now: u32) {
        let said = [(Field::Name, delivery.name), (Field::Language, delivery.language)];
        let known = said.map(|(field, _)| self.holds(root, field).is_some());
        for ((field, text), known) in said.into_iter().zip(known) {
            let Some(text) = text else { continue };
            let held = *self.members[member].field(field);
            // A channel fills what nobody has said; a system replaces what systems said that are believed no more than it.
            let wanted = if delivery.source.is_channel() {
                !known
            } else {
                held.is_none_or(|held| match held.source {
                    Source::Agent | Source::Door(true) => false,
                    Source::Crm | Source::Shop | Source::Till | Source::Door(false) => {
                        delivery.source.rank() <= held.source.rank()
                    }
                })
            };
            if wanted && held.is_none_or(|held| held.text != text) {
                *self.members[member].field(field) = Some(Value {
                    text,
                    at: now,
                    source: delivery.source,
                });
            }
        }
    }

    fn holds(&self, root: usize, field: Field) -> Option<&'static str> {
        let side = self.side(root);
        let since = side.iter().filter_map(|m| self.members[*m].merged_at).max();
        let said = side.iter().filter_map(|m| {
            let mut member = self.members[*m].clone();
            Some((member.field(field).take()?, member.created))
        });
        let best = said.min_by_key(|(value, created)| {
            let of_the_whole = value.source == Source::Agent && since.is_none_or(|at| value.at >= at);
            let whole = of_the_whole.then_some(value.at);
            let at = i64::from(value.at);
            let time = if field == Field::Name { at } else { -at };
            let proven = value.source == Source::Door(true);
            (Reverse(whole), !proven, value.source.rank(), time, *created)
        });
        best.map(|(value, _)| value.text)
    }

    /// A person joins two, whoever had parted them.
    pub fn join_by_hand(&mut self, survivor: usize, merged: usize, now: u32) {
        for x in self.side(survivor) {
            for y in self.side(merged) {
                self.apart.remove(&(x.min(y), x.max(y)));
            }
        }
        self.join(survivor, merged, now);
    }

    fn join(&mut self, survivor: usize, merged: usize, now: u32) {
        self.edges.push((survivor, merged));
        self.members[merged].merged_at = Some(now);
    }

    /// A person undoes a merge: both are what they are by their own evidence, and stay so until a person says otherwise.
    pub fn split(&mut self, edge: usize) {
        let (_, merged) = self.edges[edge];
        let whole = self.root(merged);
        let refused = self.refused_as_one(edge);
        self.edges.remove(edge);
        let restored = &mut self.members[merged];
        restored.merged_at = None;
        if let Some(at) = refused {
            restored.consent = Some((false, at));
            restored.refused = Some(at);
        }
        self.apart.insert((whole.min(merged), whole.max(merged)));
    }

    /// When whoever an edge made one of two last refused: which of them said so nobody can tell.
    fn refused_as_one(&self, edge: usize) -> Option<u32> {
        let (mut spoke, merged) = self.edges[edge];
        let mut since = self.members[merged].merged_at?;
        let mut last = None;
        loop {
            last = last.max(self.members[spoke].refused.filter(|at| *at >= since));
            let Some((next, _)) = self.edges.iter().find(|(_, m)| *m == spoke) else {
                return last;
            };
            since = since.max(self.members[spoke].merged_at?);
            spoke = *next;
        }
    }

    pub fn rename(&mut self, root: usize, text: &'static str, now: u32) {
        let held = &mut self.members[root].name;
        // To say the same once more is to say nothing.
        if held.is_none_or(|held| held.source != Source::Agent || held.text != text) {
            *held = Some(Value {
                text,
                at: now,
                source: Source::Agent,
            });
        }
    }

    pub fn agree(&mut self, root: usize, agreed: bool, now: u32) {
        let member = &mut self.members[root];
        member.consent = Some((agreed, now));
        if !agreed {
            member.refused = Some(now);
        }
    }

    /// Nothing is left but the addresses, and when.
    pub fn erase(&mut self, root: usize, now: u32) {
        for handle in self.held(root).into_keys() {
            self.links.remove(&handle);
            self.erased.insert(handle, now);
            self.erased.extend(implied(handle).map(|phone| (phone, now)));
        }
        let side = self.side(root);
        for member in &side {
            self.members[*member] = Member::default();
        }
        self.edges.retain(|(a, _)| !side.contains(a));
        self.apart.retain(|(a, b)| !side.contains(a) && !side.contains(b));
        self.records.retain(|_, member| !side.contains(member));
    }

    fn consent(&self, root: usize) -> Option<bool> {
        let side = self.side(root);
        let since = side.iter().filter_map(|m| self.members[*m].merged_at).max();
        let said = side.iter().filter_map(|m| Some((*m, self.members[*m].consent?)));
        // A refusal by either side holds, until the customer says something else after the merge.
        let best = said.max_by_key(|(member, (agreed, at))| {
            (*member == root && since.is_none_or(|since| *at >= since), !agreed)
        });
        best.map(|(_, (agreed, _))| agreed)
    }

    /// Everybody who can be found by a handle.
    pub fn people(&self) -> BTreeSet<Person> {
        let roots: BTreeSet<usize> = self.links.values().map(|(m, _)| self.root(*m)).collect();
        let text = |root, field| self.holds(root, field).unwrap_or_default().to_owned();
        roots
            .into_iter()
            .map(|root| Person {
                handles: self.held(root),
                name: text(root, Field::Name),
                language: text(root, Field::Language),
                consent: self.consent(root),
            })
            .collect()
    }
}
