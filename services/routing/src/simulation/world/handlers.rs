//! What each entry of the calendar does to the world.

use super::{
    super::trace::{Outcome, Presence},
    AgentIndex, Entry, Happened, ItemIndex, ItemStatus, PresenceNow, RequeueReason, Transfer, Work, World,
    state::Answered,
};

/// The work left when an agent is lost is at least this.
const LEAST_LEFT_S: f64 = 10.0;

impl World<'_> {
    pub(super) fn handle(&mut self, entry: Entry) {
        match entry {
            Entry::Presence(agent, state) => self.presence(agent, state),
            Entry::Arrive(item) => self.enter(item, Happened::Arrive(item)),
            Entry::Abandon { item, leg } => self.abandon(item, leg),
            Entry::Switch { item, leg } => self.switch(item, leg),
            Entry::OfferEnd {
                item,
                agent,
                leg,
                offer,
                outcome,
            } => {
                let state = &self.items[item];
                let current = state.status == ItemStatus::Offered
                    && state.agent == Some(agent)
                    && state.leg == leg
                    && state.offers == offer;
                if current {
                    self.offer_ends(item, agent, outcome);
                }
            }
            Entry::RespondsAgain(agent) => {
                if self.agents[agent].available(self.now) {
                    self.tell(Happened::Agent(agent, PresenceNow::Available));
                }
            }
            Entry::WorkDone { item, agent, version } => {
                if self.agents[agent].version == version {
                    self.work_done(item, agent);
                }
            }
            Entry::WrapUpDone { item, agent } => self.wrap_up_done(item, agent),
            Entry::Wake => {}
        }
    }

    fn enter(&mut self, item: ItemIndex, happened: Happened) {
        let now = self.now;
        let state = &mut self.items[item];
        state.status = ItemStatus::Queued;
        state.leg += 1;
        state.leg_at = now;
        let leg = state.leg;
        if let Some(patience) = state.patience {
            self.calendar.add(now + patience, Entry::Abandon { item, leg });
        }
        let switch = self.trace.items[item].switch.as_ref();
        if let Some(switch) = switch.filter(|_| leg == 1 && state.answered.is_none()) {
            self.calendar
                .add(now + switch.after_s, Entry::Switch { item, leg });
        }
        self.tell(happened);
    }

    fn presence(&mut self, agent: AgentIndex, to: Presence) {
        self.work_on(agent);
        let was = self.agents[agent].available(self.now);
        match to {
            Presence::Available => self.agents[agent].on_duty = true,
            Presence::Away => self.agents[agent].on_duty = false,
            Presence::Back => self.agents[agent].lost = false,
            Presence::Lost => self.lose(agent),
        }
        let is = self.agents[agent].available(self.now);
        if is != was || to == Presence::Lost {
            let now = if is {
                PresenceNow::Available
            } else {
                PresenceNow::Away
            };
            self.tell(Happened::Agent(agent, now));
        }
    }

    fn lose(&mut self, agent: AgentIndex) {
        self.agents[agent].lost = true;
        for item in self.agents[agent].offers.clone() {
            self.withdraw_offer(item, agent);
            self.items[item].status = ItemStatus::Queued;
            self.tell(Happened::Requeue(item, agent, RequeueReason::AgentLost));
        }
        for (item, work) in std::mem::take(&mut self.agents[agent].active) {
            self.agents[agent].give_back(self.items[item].channel, &self.rules);
            let state = &mut self.items[item];
            match work {
                Work::Service => {
                    state.agent = None;
                    state.lost_agents += 1;
                    state.remaining = LEAST_LEFT_S.max(state.remaining) + self.trace.rules.reintro_s;
                    self.enter(item, Happened::Requeue(item, agent, RequeueReason::AgentLost));
                }
                Work::WrapUp => {
                    state.status = ItemStatus::Done;
                    self.tell(Happened::Free(item, agent));
                }
            }
        }
        self.plan_end_of_work(agent);
    }

    fn abandon(&mut self, item: ItemIndex, leg: u32) {
        let state = &self.items[item];
        let waits = matches!(state.status, ItemStatus::Queued | ItemStatus::Offered);
        if state.leg != leg || !waits {
            return;
        }
        let agent = state.agent;
        if let Some(agent) = agent.filter(|_| state.status == ItemStatus::Offered) {
            self.counted.rescinded += 1;
            self.withdraw_offer(item, agent);
        }
        self.items[item].status = ItemStatus::Abandoned;
        self.items[item].ended_at = Some(self.now);
        self.tell(Happened::Abandon(item, agent));
    }

    fn switch(&mut self, item: ItemIndex, leg: u32) {
        let state = &mut self.items[item];
        if state.leg != leg || state.status != ItemStatus::Queued {
            return;
        }
        if let Some(switch) = &self.trace.items[item].switch {
            state.channel = self.rules.channel(&switch.channel);
            state.patience = switch.patience_s;
            self.enter(item, Happened::Switch(item));
        }
    }

    fn withdraw_offer(&mut self, item: ItemIndex, agent: AgentIndex) {
        self.work_on(agent);
        let channel = self.items[item].channel;
        let state = &mut self.agents[agent];
        state.give_back(channel, &self.rules);
        state.offers.retain(|offered| *offered != item);
        self.items[item].agent = None;
    }

    fn offer_ends(&mut self, item: ItemIndex, agent: AgentIndex, outcome: Outcome) {
        match outcome {
            Outcome::Accepted(_) => self.accept(item, agent),
            Outcome::Declined(_) => {
                self.withdraw_offer(item, agent);
                self.items[item].status = ItemStatus::Queued;
                self.counted.declines += 1;
                self.tell(Happened::Declined(item, agent));
            }
            Outcome::RingsOut => {
                self.withdraw_offer(item, agent);
                self.items[item].status = ItemStatus::Queued;
                self.counted.timeouts += 1;
                let until = self.now + self.trace.rules.not_responding_s;
                self.agents[agent].not_responding_until = until;
                self.calendar.add(until, Entry::RespondsAgain(agent));
                self.tell(Happened::RangOut(item, agent));
                self.tell(Happened::Agent(agent, PresenceNow::NotResponding));
            }
        }
    }

    fn accept(&mut self, item: ItemIndex, agent: AgentIndex) {
        self.work_on(agent);
        self.agents[agent].offers.retain(|offered| *offered != item);
        let rules = &self.trace.rules;
        let row = &self.trace.items[item];
        let level = self.trace.agents[agent]
            .skills
            .get(&row.intent)
            .copied()
            .unwrap_or(0);
        let known = row.preferred == Some(agent);
        let factor = rules.level_factor.get(&level.clamp(1, 3)).copied().unwrap_or(1.0)
            * if known { rules.preferred_factor } else { 1.0 };
        let state = &mut self.items[item];
        state.status = ItemStatus::Service;
        if state.answered.is_none() {
            state.answered = Some(Answered {
                at: self.now,
                leg_wait: self.now - state.leg_at,
                channel: state.channel,
                agent,
                level,
            });
            state.remaining = row.service_s * factor;
            if level < row.min_level && row.transfer_draw < rules.transfer_p {
                state.remaining *= rules.transfer_at;
                state.transfer = Transfer::WillBe;
            }
        }
        self.agents[agent].active.push((item, Work::Service));
        self.plan_end_of_work(agent);
        self.tell(Happened::Accepted(item, agent));
    }

    fn work_done(&mut self, item: ItemIndex, agent: AgentIndex) {
        self.work_on(agent);
        let row = &self.trace.items[item];
        if self.items[item].transfer == Transfer::WillBe {
            self.put_down(item, agent);
            let state = &mut self.items[item];
            state.transfer = Transfer::Was;
            state.agent = None;
            state.must_level = row.min_level;
            state.remaining = row.service_s * self.trace.rules.transfer_rest;
            self.plan_end_of_work(agent);
            self.enter(item, Happened::Requeue(item, agent, RequeueReason::Transfer));
            self.tell(Happened::Free(item, agent));
            return;
        }
        for (held, work) in &mut self.agents[agent].active {
            if *held == item {
                *work = Work::WrapUp;
            }
        }
        self.items[item].ended_at = Some(self.now);
        self.items[item].status = ItemStatus::WrapUp;
        self.plan_end_of_work(agent);
        self.calendar
            .add(self.now + row.wrap_s, Entry::WrapUpDone { item, agent });
        self.tell(Happened::Done(item, agent));
    }

    fn wrap_up_done(&mut self, item: ItemIndex, agent: AgentIndex) {
        if !self.agents[agent].active.iter().any(|(held, _)| *held == item) {
            return;
        }
        self.work_on(agent);
        self.put_down(item, agent);
        self.items[item].status = ItemStatus::Done;
        self.plan_end_of_work(agent);
        self.tell(Happened::Free(item, agent));
    }

    fn put_down(&mut self, item: ItemIndex, agent: AgentIndex) {
        let channel = self.items[item].channel;
        let state = &mut self.agents[agent];
        state.active.retain(|(held, _)| *held != item);
        state.give_back(channel, &self.rules);
    }

    /// What moves on now: not what is wrapped up, nor what a call pauses.
    fn running(&self, agent: AgentIndex) -> impl Iterator<Item = ItemIndex> {
        let active = &self.agents[agent].active;
        let channel = |item: ItemIndex| self.items[item].channel;
        let on_a_call = active
            .iter()
            .any(|(item, _)| Some(channel(*item)) == self.rules.voice);
        active
            .iter()
            .filter(move |(item, work)| {
                *work == Work::Service && !(on_a_call && self.rules.interruptible[channel(*item)])
            })
            .map(|(item, _)| *item)
    }

    /// Accounts for the time until now.
    pub(super) fn work_on(&mut self, agent: AgentIndex) {
        let passed = self.now - self.agents[agent].accounted_until;
        if passed > 0.0 {
            let state = &self.agents[agent];
            let busy = !state.active.is_empty();
            let on_duty = state.on_duty && !state.lost;
            let units: i64 = (state.active.iter())
                .map(|(item, _)| self.rules.units[self.items[*item].channel])
                .sum();
            let running: Vec<ItemIndex> = self.running(agent).collect();
            if !running.is_empty() {
                let rate = self.rules.rate(running.len());
                for item in running {
                    self.items[item].remaining -= passed * rate;
                }
            }
            let state = &mut self.agents[agent];
            if busy {
                state.busy_s += passed;
                state.unit_s += passed * self.rules.capacity.min(units) as f64;
            }
            if on_duty || busy {
                state.logged_s += passed;
            }
        }
        self.agents[agent].accounted_until = self.now;
    }

    /// Puts the next end of work down and outdates what was put down before.
    fn plan_end_of_work(&mut self, agent: AgentIndex) {
        self.agents[agent].version += 1;
        let version = self.agents[agent].version;
        let running = self.running(agent).count();
        let next = self.running(agent).min_by(|one, other| {
            let by_id = || self.trace.items[*one].id.cmp(&self.trace.items[*other].id);
            (self.items[*one]
                .remaining
                .total_cmp(&self.items[*other].remaining))
            .then_with(by_id)
        });
        if let Some(item) = next {
            let after = self.items[item].remaining.max(0.0) / self.rules.rate(running);
            self.calendar
                .add(self.now + after, Entry::WorkDone { item, agent, version });
        }
    }
}
