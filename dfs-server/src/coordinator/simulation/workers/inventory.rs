//! What datanodes hold, compared with the metadata, and the reports that follow.

use super::*;
use workers::inventory::{Found, judge, known};

impl World {
    pub(super) fn take_inventory(&mut self, own: usize, status: &Status) {
        let rows = self.rows_of(own);
        for (node, figures) in &status.nodes {
            if figures.alive {
                let before = read(known(&rows, &sets_of(status, *node), *node));
                self.question(own, *node, Ask::List, Question::List(*node, Box::new(before)));
            }
        }
    }

    pub(super) fn compare(
        &mut self,
        own: usize,
        node: NodeId,
        before: &workers::inventory::Known,
        held: Vec<ChunkId>,
    ) {
        let rows = self.rows_of(own);
        let forgets_ranges = self.breaks(Broken::LivingRanges);
        let Some(reign) = self.reign(own) else {
            return;
        };
        let (term, workers) = (reign.term, &mut reign.workers);
        let Some(status) = workers.status.clone() else {
            return;
        };
        let mut after = read(known(&rows, &sets_of(&status, node), node));
        if forgets_ranges {
            after.leased.clear();
        }
        let held = held.into_iter().collect();
        let unknown = workers.unknown.entry(node).or_default();
        let Found { doomed, absent } = judge((before, &after), &held, unknown);
        workers
            .reports
            .extend(absent.into_iter().map(|chunk| (chunk, node)));
        if !doomed.is_empty() {
            let ask = Ask::Delete { term, chunks: doomed };
            self.question(own, node, ask, Question::Delete(node, Vec::new()));
        }
    }
}

fn sets_of(status: &Status, node: NodeId) -> Vec<SetId> {
    let sets = status.sets.iter();
    sets.filter(|(_, set)| set.members.contains(&node))
        .map(|(id, _)| *id)
        .collect()
}
