//! Garbage goes after its quarantine, member by member.

use super::*;

impl World {
    pub(super) fn collect_garbage(&mut self, own: usize, status: &Status) {
        let rows = self.rows_of(own);
        let now = (self.instant(self.now), self.quarantine());
        let Some(reign) = self.reign(own) else {
            return;
        };
        let (term, workers) = (reign.term, &mut reign.workers);
        let due = workers::garbage::due(&rows, &keys::prefix::garbage(), &mut workers.garbage, now);
        let due: BTreeSet<ChunkId> = read(due).0.into_iter().collect();
        let asked: BTreeSet<NodeId> = workers.questions.values().filter_map(deleting).collect();
        let gone = workers::garbage::gone(status, &due, &workers.confirmed);
        for chunk in &gone {
            workers.confirmed.remove(chunk);
            workers.garbage.remove(chunk);
        }
        let mut orders = Vec::new();
        for (node, figures) in &status.nodes {
            let mine = workers::garbage::left_at(status, &due, &workers.confirmed, *node);
            if figures.alive && !asked.contains(node) && !mine.is_empty() {
                orders.push((*node, mine));
            }
        }
        for (node, chunks) in orders {
            let ask = Ask::Delete {
                term,
                chunks: chunks.clone(),
            };
            self.question(own, node, ask, Question::Delete(node, chunks));
        }
        if !gone.is_empty() {
            self.own_op(own, Op::ForgetGarbage { chunks: gone });
        }
    }

    pub(super) fn deleted(&mut self, own: usize, node: NodeId, chunks: &[ChunkId]) {
        if let Some(reign) = self.reign(own) {
            for chunk in chunks {
                reign.workers.confirmed.entry(*chunk).or_default().insert(node);
            }
        }
    }
}

fn deleting((_, question): &(Time, Question)) -> Option<NodeId> {
    match question {
        Question::Delete(node, _) => Some(*node),
        _ => None,
    }
}
