//! What a batch has in its hands: everything it needs is loaded at once, changed in memory in the order of the events
//! and written at once.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use trama_platform::{Error, Tx, stage::Envelope};
use trama_proto::{
    case::v1::{CaseOpened, WithdrawReason, WorkRequested, WorkWithdrawn},
    common::v1::{Call, CallState, ChannelKind, Direction},
    ids::{CaseId, CustomerId, InteractionId, MergeId, TenantId},
    time::to_wire,
};
use uuid::Uuid;

use super::snapshot::{choose_article, snapshot_of};
use crate::{
    config::Config,
    domain::{ASSISTANT, Case, Expectation, Kind, Line},
    store::{
        aliases::{self, Aliases, Merge},
        articles::{self, Current, Question},
        cases, expectations,
        journey::{self, Step},
        timeline,
    },
};

/// What routing is to be told about a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Somebody must act, or what they must know changed.
    Request,
    /// Nobody needs to.
    Withdraw(WithdrawReason),
}

/// A case in hand.
#[derive(Debug)]
pub struct Held {
    /// As it is now.
    pub case: Case,
    /// Differs from its row.
    pub dirty: bool,
    /// Opened by this batch.
    pub is_new: bool,
    /// Its lines in memory are not all of its lines.
    pub reread: bool,
    /// What routing is to be told.
    pub work: Option<Work>,
    /// What to search an article for.
    pub question: Option<String>,
    /// Number of the event that changed it last, for the trace.
    pub cause: usize,
}

impl Held {
    /// Tells routing that somebody must act, if somebody must.
    pub fn request(&mut self, cause: usize) {
        self.dirty = true;
        self.cause = cause;
        if self.case.state.is_open() {
            self.work = Some(Work::Request);
        }
    }

    /// Tells routing that nobody needs to act.
    pub fn withdraw(&mut self, reason: WithdrawReason, cause: usize) {
        self.dirty = true;
        self.cause = cause;
        // Routing was never told of a case that was opened a moment ago.
        self.work = (self.case.work_revision > 0).then_some(Work::Withdraw(reason));
    }
}

/// What a batch will touch.
#[derive(Debug, Default)]
pub struct Needs {
    /// Tenants.
    pub tenants: HashSet<TenantId>,
    /// Customers, before aliases.
    pub customers: HashSet<(TenantId, CustomerId)>,
    /// Cases.
    pub cases: HashSet<CaseId>,
    /// Lines.
    pub lines: HashSet<InteractionId>,
    /// Askings of surveys.
    pub invitations: HashSet<Uuid>,
    /// Merges.
    pub merges: HashSet<Uuid>,
}

/// What a batch has in its hands.
#[derive(Debug, Default)]
pub struct Workspace {
    /// The moment of the batch.
    pub now: DateTime<Utc>,
    /// The service's settings.
    pub config: Config,
    /// Cases.
    pub cases: BTreeMap<(TenantId, CaseId), Held>,
    by_customer: HashMap<(TenantId, CustomerId), Vec<CaseId>>,
    /// Lines, and whether they differ from their rows.
    pub lines: HashMap<(TenantId, InteractionId), (Line, bool)>,
    /// Merges that hold.
    pub aliases: Aliases,
    /// Survey questions: open or not, changed or not.
    pub expectations: Vec<(Expectation, bool, bool)>,
    /// Merges that were heard of before.
    pub known_merges: HashSet<(TenantId, MergeId)>,
    /// Merges to remember.
    pub merges: Vec<Merge>,
    /// Joined cases: from, into.
    pub joined: Vec<(TenantId, CaseId, CaseId)>,
    /// Steps to remember.
    pub steps: Vec<Step>,
    /// Articles at hand.
    pub articles: Vec<Current>,
}

impl Workspace {
    /// Locks and loads.
    pub async fn load(tx: &mut Tx, needs: &Needs, config: Config) -> Result<Self, Error> {
        let now = tx.now();
        let tenants: Vec<&str> = needs.tenants.iter().map(TenantId::as_str).collect();
        let key = |tenant: &TenantId, customer: CustomerId| format!("{tenant}/{customer}");
        let locked: HashSet<String> = needs.customers.iter().map(|(t, c)| key(t, *c)).collect();
        if !locked.is_empty() {
            aliases::lock(tx.conn(), locked.iter().cloned().collect()).await?;
        }
        let mut customers: Vec<Uuid> = needs.customers.iter().map(|(_, c)| c.uuid()).collect();
        let aliases = aliases::load(tx, &tenants, &customers).await?;
        let further: Vec<(TenantId, CustomerId)> = needs
            .customers
            .iter()
            .map(|(t, c)| (t.clone(), aliases.resolve(t, *c)))
            .filter(|(t, c)| !locked.contains(&key(t, *c)))
            .collect();
        if !further.is_empty() {
            aliases::lock(tx.conn(), further.iter().map(|(t, c)| key(t, *c)).collect()).await?;
            customers.extend(further.iter().map(|(_, c)| c.uuid()));
        }
        let case_ids: Vec<Uuid> = needs.cases.iter().map(|c| c.uuid()).collect();
        let line_ids: Vec<Uuid> = needs.lines.iter().map(|l| l.uuid()).collect();
        let invitations: Vec<Uuid> = needs.invitations.iter().copied().collect();
        let merges: Vec<Uuid> = needs.merges.iter().copied().collect();
        let mut workspace = Self {
            now,
            config,
            aliases,
            ..Self::default()
        };
        // Thanks may belong to a case that ended so long ago.
        let ended_after = now - config.courtesy();
        for case in cases::load_for_batch(tx, &tenants, &customers, &case_ids, ended_after).await? {
            workspace.take(case, false);
        }
        for line in timeline::load(tx, &tenants, &line_ids).await? {
            workspace
                .lines
                .insert((line.tenant.clone(), line.id), (line, false));
        }
        if !customers.is_empty() || !invitations.is_empty() {
            let found = expectations::load(tx.conn(), &tenants, &customers, &invitations).await?;
            workspace.expectations = found.into_iter().map(|(e, open)| (e, open, false)).collect();
        }
        for (tenant, merge) in aliases::known(tx.conn(), &tenants, &merges).await? {
            workspace
                .known_merges
                .insert((tenant.parse()?, MergeId::new(merge)));
        }
        Ok(workspace)
    }

    /// Takes a case into hand.
    pub fn take(&mut self, case: Case, is_new: bool) {
        self.by_customer
            .entry((case.tenant.clone(), case.customer_id))
            .or_default()
            .push(case.id);
        let held = Held {
            case,
            dirty: is_new,
            is_new,
            reread: !is_new,
            work: None,
            question: None,
            cause: 0,
        };
        self.cases.insert((held.case.tenant.clone(), held.case.id), held);
    }

    /// A case in hand.
    pub fn held(&mut self, tenant: &TenantId, case: CaseId) -> Option<&mut Held> {
        self.cases.get_mut(&(tenant.clone(), case))
    }

    /// The customer's cases in hand.
    pub fn cases_of(&self, tenant: &TenantId, customer: CustomerId) -> Vec<&Case> {
        self.ids_of(tenant, customer)
            .into_iter()
            .filter_map(|id| self.cases.get(&(tenant.clone(), id)).map(|h| &h.case))
            .collect()
    }

    /// Ids of the customer's cases in hand.
    pub fn ids_of(&self, tenant: &TenantId, customer: CustomerId) -> Vec<CaseId> {
        self.by_customer
            .get(&(tenant.clone(), customer))
            .cloned()
            .unwrap_or_default()
    }

    /// Gives all cases in hand of one customer to another.
    pub fn give_all(&mut self, tenant: &TenantId, from: CustomerId, to: CustomerId) {
        let ids = self
            .by_customer
            .remove(&(tenant.clone(), from))
            .unwrap_or_default();
        for id in &ids {
            if let Some(held) = self.held(tenant, *id) {
                held.case.customer_id = to;
            }
        }
        self.by_customer
            .entry((tenant.clone(), to))
            .or_default()
            .extend(ids);
    }

    /// The case in which a case lives on.
    pub fn living(&self, tenant: &TenantId, case: CaseId) -> CaseId {
        let mut id = case;
        for _ in 0..8 {
            match self.cases.get(&(tenant.clone(), id)).map(|h| &h.case.state) {
                Some(crate::domain::State::Merged { into, .. }) => id = *into,
                _ => break,
            }
        }
        id
    }

    /// Writes everything and tells everybody.
    pub async fn save(mut self, tx: &mut Tx, envelopes: &[&Envelope]) -> Result<(), Error> {
        self.search(tx).await?;
        let mut references = Vec::new();
        for ((tenant, id), held) in self.cases.iter_mut().filter(|(_, h)| h.dirty) {
            held.case.version += 1;
            if held.work == Some(Work::Request) && !held.case.state.is_open() {
                held.work = None;
            }
            if held.work.is_some() {
                held.case.work_revision += 1;
            }
            let known = &held.case.understanding.references;
            references.extend(known.iter().map(|r| (tenant.clone(), r.clone(), *id)));
        }
        let dirty: Vec<&Case> = self.cases.values().filter(|h| h.dirty).map(|h| &h.case).collect();
        cases::save(tx, &dirty).await?;
        cases::save_references(tx.conn(), &references).await?;
        let lines: Vec<&Line> = self
            .lines
            .values()
            .filter(|(_, dirty)| *dirty)
            .map(|(l, _)| l)
            .collect();
        timeline::save(tx, &lines).await?;
        self.save_merges(tx).await?;
        let questions: Vec<(&Expectation, bool)> = self
            .expectations
            .iter()
            .filter(|(_, _, dirty)| *dirty)
            .map(|(e, open, _)| (e, *open))
            .collect();
        expectations::save(tx.conn(), &questions, self.now).await?;
        journey::save(tx, &self.steps).await?;
        self.tell(tx, envelopes).await
    }

    async fn save_merges(&self, tx: &mut Tx) -> Result<(), Error> {
        if !self.joined.is_empty() {
            let tenants: Vec<String> = self.joined.iter().map(|(t, _, _)| t.to_string()).collect();
            let from: Vec<Uuid> = self.joined.iter().map(|(_, f, _)| f.uuid()).collect();
            let into: Vec<Uuid> = self.joined.iter().map(|(_, _, i)| i.uuid()).collect();
            timeline::join(tx.conn(), &tenants, &from, &into).await?;
        }
        if !self.merges.is_empty() {
            aliases::save(tx, &self.merges).await?;
            let tenants: Vec<String> = self.merges.iter().map(|m| m.tenant.to_string()).collect();
            let from: Vec<Uuid> = self.merges.iter().map(|m| m.merged.uuid()).collect();
            let into: Vec<Uuid> = self
                .merges
                .iter()
                .map(|m| self.aliases.resolve(&m.tenant, m.survivor).uuid())
                .collect();
            cases::repoint(tx.conn(), &tenants, &from, &into).await?;
        }
        Ok(())
    }

    /// Searches knowledge for the cases whose intent names no article, all at once.
    async fn search(&mut self, tx: &mut Tx) -> Result<(), Error> {
        let mut asked = Vec::new();
        let mut questions = Vec::new();
        for (key, held) in &mut self.cases {
            let Some(text) = held.question.take() else {
                continue;
            };
            if held.work == Some(Work::Request)
                && choose_article(&self.articles, &held.case, self.config).is_none()
            {
                asked.push(key.clone());
                questions.push(Question {
                    tenant: key.0.clone(),
                    text: text.chars().take(500).collect(),
                    language: held.case.understanding.language.clone(),
                });
            }
        }
        for found in articles::search(tx.conn(), &questions, 1).await? {
            let key = usize::try_from(found.question).ok().and_then(|n| asked.get(n));
            if let (Some(key), true) = (key, found.coverage >= self.config.search_coverage)
                && let Some(held) = self.cases.get_mut(key)
            {
                held.case.article_key.clone_from(&found.article.key);
                if !self.articles.contains(&found.article) {
                    self.articles.push(found.article);
                }
            }
        }
        Ok(())
    }

    async fn tell(&self, tx: &mut Tx, envelopes: &[&Envelope]) -> Result<(), Error> {
        let requested: Vec<&Held> = self
            .cases
            .values()
            .filter(|h| h.work == Some(Work::Request))
            .collect();
        let mut timelines = self.timelines(tx, &requested).await?;
        for ((tenant, id), held) in self.cases.iter().filter(|(_, h)| h.is_new || h.work.is_some()) {
            if let Some(envelope) = envelopes.get(held.cause) {
                tx.follow(envelope);
            }
            if held.is_new {
                metrics::counter!("trama_case_opened_total").increment(1);
                let event = CaseOpened {
                    case: Some(held.case.to_wire()),
                };
                tx.publish(tenant, &held.case.customer_id.to_string(), &event);
            }
            match held.work {
                None => {}
                Some(Work::Withdraw(reason)) => {
                    let event = WorkWithdrawn {
                        case_id: id.to_string(),
                        revision: held.case.work_revision,
                        reason: reason.into(),
                    };
                    tx.publish(tenant, &id.to_string(), &event);
                }
                Some(Work::Request) => {
                    let lines = timelines.remove(&(tenant.clone(), *id)).unwrap_or_default();
                    let article = choose_article(&self.articles, &held.case, self.config);
                    tx.publish(
                        tenant,
                        &id.to_string(),
                        &work_requested(&held.case, lines, article),
                    );
                }
            }
        }
        Ok(())
    }

    /// The last lines of cases: from memory for those that this batch opened, else from the table.
    async fn timelines(
        &self,
        tx: &mut Tx,
        held: &[&Held],
    ) -> Result<HashMap<(TenantId, CaseId), Vec<Line>>, Error> {
        let mut found: HashMap<(TenantId, CaseId), Vec<Line>> = HashMap::new();
        let (mut tenants, mut ids) = (Vec::new(), Vec::new());
        let mut in_memory = HashSet::new();
        for held in held {
            let case = &held.case;
            if held.reread {
                tenants.push(case.tenant.as_str());
                ids.push(case.id.uuid());
            } else {
                in_memory.insert((&case.tenant, case.id));
            }
            // Whoever follows up must know what went wrong.
            if let (Kind::Recovery, Some(related)) = (case.kind, case.related) {
                tenants.push(case.tenant.as_str());
                ids.push(related.uuid());
            }
        }
        for (line, _) in self.lines.values() {
            if let Some(case) = line.case_id
                && in_memory.contains(&(&line.tenant, case))
            {
                found
                    .entry((line.tenant.clone(), case))
                    .or_default()
                    .push(line.clone());
            }
        }
        for line in timeline::load_last(tx, &tenants, &ids, self.config.lines()).await? {
            if let Some(case) = line.case_id {
                found.entry((line.tenant.clone(), case)).or_default().push(line);
            }
        }
        for held in held {
            let case = &held.case;
            if let (Kind::Recovery, Some(related)) = (case.kind, case.related) {
                let before = found
                    .get(&(case.tenant.clone(), related))
                    .cloned()
                    .unwrap_or_default();
                found
                    .entry((case.tenant.clone(), case.id))
                    .or_default()
                    .extend(before);
            }
        }
        for lines in found.values_mut() {
            lines.sort_by_key(|l| (l.occurred_at, l.id));
            lines.drain(..lines.len().saturating_sub(self.config.lines().into()));
        }
        Ok(found)
    }
}

/// Whether the customer's last word was a call that ended while it waited for somebody. Who left a message in that call waits
/// for an answer, whichever of the two is told last.
fn hung_up(case: &Case, lines: &[Line]) -> bool {
    let ended = |line: &Line| match line.interaction.call.as_ref().map(Call::state) {
        Some(CallState::Completed | CallState::NoAnswer | CallState::Busy | CallState::Failed) => true,
        Some(CallState::Unspecified | CallState::Ringing | CallState::InProgress) | None => false,
    };
    let inbound = || {
        lines
            .iter()
            .filter(|line| line.interaction.direction() == Direction::Inbound)
    };
    let Some(last) = inbound().max_by_key(|line| line.occurred_at) else {
        return false;
    };
    let spoke = |line: &Line| {
        line.interaction.call.is_none()
            && line.interaction.channel_kind() == ChannelKind::Voice
            && line.interaction.conversation_key == last.interaction.conversation_key
    };
    case.assigned_agent.is_empty()
        && case.channel_kind == ChannelKind::Voice
        && ended(last)
        && !inbound().any(spoke)
}

/// The request for work on an open case.
pub fn work_requested(
    case: &Case,
    lines: Vec<Line>,
    article: Option<trama_proto::case::v1::SuggestedArticle>,
) -> WorkRequested {
    let preferred = [&case.assigned_agent, &case.last_agent]
        .into_iter()
        .find(|a| !a.is_empty() && *a != ASSISTANT);
    WorkRequested {
        customer_left: hung_up(case, &lines),
        case_id: case.id.to_string(),
        revision: case.work_revision,
        channel_kind: case.channel_kind.into(),
        waiting_since: case.state.waiting_since().map(to_wire),
        preferred_agent_id: preferred.cloned().unwrap_or_default(),
        snapshot: Some(snapshot_of(case, &lines, article)),
    }
}
