//! Which more urgent items an agent was passed for.

use super::decide::Proposal;
use super::engine::Engine;
use super::explain::Passed;
use super::words::Millis;

impl Engine {
    /// Says of each offer which more urgent items its agent could not take.
    pub(super) fn note_passed(&mut self, offers: &mut [Proposal], now: Millis) {
        self.refresh_notable(now);
        for offer in offers {
            let Some(agent) = self.staff.index.get(&offer.agent).copied() else {
                continue;
            };
            let mut passed: Vec<Passed> = Vec::new();
            for (rank, class) in self.marks.notable.iter().copied() {
                if passed.len() == 3 || rank <= offer.why.rank {
                    break;
                }
                if !self.queue.waiting.contains(class) {
                    continue;
                }
                let Some(reason) = self.obstacle(class, agent, &offer.why) else {
                    continue;
                };
                if let Some(found) = self.queue.candidate(class, &self.policy.ranking, now, None) {
                    passed.push(Passed {
                        item: self.item_at(found.place.2).spec.key,
                        left_ms: found.place.0 - now,
                        reason,
                    });
                }
            }
            offer.why.passed = passed;
        }
    }

    /// The most urgent classes: so many more are looked at each time, and the best of them kept.
    fn refresh_notable(&mut self, now: Millis) {
        const LOOKED_AT: usize = 24;
        const KEPT: usize = 12;
        let mut ranked = std::mem::take(&mut self.marks.notable);
        let from = self.marks.notable_next;
        let more = self.queue.waiting.iter_from(from).take(LOOKED_AT);
        ranked.extend(more.map(|class| (0.0, class)));
        self.marks.notable_next = ranked
            .last()
            .filter(|_| ranked.len() >= LOOKED_AT)
            .map_or(0, |(_, last)| last + 1);
        ranked.retain(|(_, class)| self.queue.waiting.contains(*class));
        ranked.sort_unstable_by_key(|(_, class)| *class);
        ranked.dedup_by_key(|(_, class)| *class);
        for (rank, class) in &mut ranked {
            let weight = self.results.weight(self.queue.head(*class).cell);
            *rank = self.queue.peek(*class, &self.policy.ranking, now).0 * weight;
        }
        ranked.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        ranked.truncate(KEPT);
        self.marks.notable = ranked;
    }
}
