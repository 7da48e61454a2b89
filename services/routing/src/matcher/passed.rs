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
            for class in self.marks.notable.iter().copied() {
                if passed.len() == 3 {
                    break;
                }
                if !self.queue.waiting.contains(class) {
                    continue;
                }
                let Some(found) = self.queue.candidate(class, &self.policy.ranking, now, None) else {
                    continue;
                };
                let rank = found.rank * self.results.weight(self.queue.head(class).cell);
                if rank <= offer.why.rank {
                    continue;
                }
                if let Some(reason) = self.obstacle(class, agent, &offer.why) {
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

    /// The most urgent classes: all of them are looked at when there are few, else so many more each time.
    fn refresh_notable(&mut self, now: Millis) {
        const LOOKED_AT: usize = 96;
        const KEPT: usize = 12;
        let mut classes = std::mem::take(&mut self.marks.notable);
        let from = self.marks.notable_next;
        classes.extend(self.queue.waiting.iter_from(from).take(LOOKED_AT));
        self.marks.notable_next = classes
            .last()
            .filter(|_| classes.len() >= LOOKED_AT)
            .map_or(0, |last| last + 1);
        classes.sort_unstable();
        classes.dedup();
        let mut ranked: Vec<(f64, usize)> = Vec::with_capacity(classes.len());
        for class in classes.drain(..) {
            if self.queue.waiting.contains(class) {
                let weight = self.results.weight(self.queue.head(class).cell);
                ranked.push((
                    self.queue.peek(class, &self.policy.ranking, now).0 * weight,
                    class,
                ));
            }
        }
        let order = |a: &(f64, usize), b: &(f64, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if ranked.len() > KEPT {
            ranked.select_nth_unstable_by(KEPT, order);
            ranked.truncate(KEPT);
        }
        ranked.sort_unstable_by(order);
        classes.extend(ranked.into_iter().map(|(_, class)| class));
        self.marks.notable = classes;
    }
}
