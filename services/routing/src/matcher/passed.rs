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
        let known: [usize; KEPT] =
            std::array::from_fn(|n| ranked.get(n).map_or(usize::MAX, |(_, class)| *class));
        ranked.retain(|(_, class)| self.queue.waiting.contains(*class));
        let mut next = 0;
        for (n, class) in self
            .queue
            .waiting
            .iter_from(self.marks.notable_next)
            .take(LOOKED_AT)
            .enumerate()
        {
            if n + 1 == LOOKED_AT {
                next = class + 1;
            }
            if !known.contains(&class) {
                ranked.push((0.0, class));
            }
        }
        self.marks.notable_next = next;
        for (rank, class) in &mut ranked {
            let weight = self.results.weight(self.queue.head(*class).cell);
            *rank = self.queue.peek(*class, &self.policy.ranking, now).0 * weight;
        }
        let first = |a: &(f64, usize), b: &(f64, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if ranked.len() > KEPT {
            ranked.select_nth_unstable_by(KEPT, first);
            ranked.truncate(KEPT);
        }
        ranked.sort_unstable_by(first);
        self.marks.notable = ranked;
    }
}
