//! What former members still hold goes after the usual delay, unless the chunk lacks other copies.

use super::*;
use crate::coordinator::simulation::coordinator::MIN_REPLICAS;

impl World {
    /// The rows are as new as the status.
    pub(super) fn clear_leftovers(&mut self, own: usize, status: &Status) {
        let (now, time) = (self.now, (self.instant(self.now), self.quarantine()));
        let Some(workers) = self.reign(own).map(|reign| &mut reign.workers) else {
            return;
        };
        workers.put_off.retain(|_, until| *until > now);
        let mut due = workers::leftovers::due(status, &mut workers.former, time);
        due.retain(|place| !workers.put_off.contains_key(place));
        for place in due {
            self.put_off(own, place);
            self.question(own, place.1, Ask::List, Question::Leftovers(place));
        }
    }

    fn put_off(&mut self, own: usize, place: Place) {
        let until = self.now + RETRY;
        if let Some(reign) = self.reign(own) {
            reign.workers.put_off.insert(place, until);
        }
    }

    pub(super) fn leftovers_listed(&mut self, own: usize, place: Place, told: Told) {
        let Told::Held(mut held) = told else {
            return;
        };
        held.retain(|chunk| chunk.set == place.0);
        if held.is_empty() {
            let (set, node) = place;
            self.order(own, Order::Forget { set, node });
            return;
        }
        let rows = self.rows_of(own);
        let status = self.reign(own).and_then(|reign| reign.workers.status.clone());
        let living = status.map(|status| workers::leftovers::living(&status, place.0));
        let living = living.unwrap_or_default();
        let sure = read(workers::leftovers::unneeded(&rows, held, &living, MIN_REPLICAS));
        let now = self.instant(self.now);
        let Some(reign) = self.reign(own) else {
            return;
        };
        workers::leftovers::asked(&mut reign.workers.former, place, now);
        if !sure.is_empty() {
            let ask = Ask::Delete {
                term: reign.term,
                chunks: sure,
            };
            self.question(own, place.1, ask, Question::Clear);
        }
    }
}
