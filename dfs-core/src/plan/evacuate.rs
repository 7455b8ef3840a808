//! Emptying nodes: every place that a dead or draining node has in a set goes to another node. The planner asks.

use super::{Move, Picture, Step, Stuck, shift};
use crate::ids::{NodeId, SetId};
use crate::rows::{NodeState, PlanKind};

/// What is to begin now, and the places that nobody can take. Sets with the fewest living full members come first.
pub fn evacuate(picture: &Picture) -> (Vec<Step>, Vec<Stuck>) {
    let mut used = picture.expected();
    let (mut steps, mut stuck) = (Vec::new(), Vec::new());
    for set in most_endangered_first(picture) {
        let Some(row) = picture.sets.get(&set) else {
            continue;
        };
        let lost = row
            .joining
            .iter()
            .filter(|joining| kind(picture, joining.node).is_some());
        let lost: Vec<NodeId> = lost.map(|joining| joining.node).collect();
        if !lost.is_empty() {
            // The place that they were to take is given to others in the next round.
            steps.extend(lost.into_iter().map(|node| Step::Abandon { set, node }));
            continue;
        }
        let mut taken: Vec<NodeId> = Vec::new();
        for leaves in row.full() {
            let Some(kind) = kind(picture, leaves) else {
                continue;
            };
            let joins = picture
                .replacement(set, leaves, &used)
                .filter(|joins| !taken.contains(joins));
            let Some(joins) = joins else {
                stuck.push(Stuck { set, node: leaves });
                continue;
            };
            taken.push(joins);
            let bytes = picture.bytes(set);
            shift(&mut used, Some(leaves), joins, bytes);
            steps.push(Step::Move(Move {
                kind,
                set,
                leaves,
                joins,
                bytes,
            }));
        }
    }
    (steps, stuck)
}

/// Why the node must leave its sets, if it must.
fn kind(picture: &Picture, node: NodeId) -> Option<PlanKind> {
    match picture.nodes.get(&node).map(|node| node.state) {
        Some(NodeState::Active) => None,
        Some(NodeState::Draining) => Some(PlanKind::Drain),
        Some(NodeState::Dead | NodeState::Removed) | None => Some(PlanKind::Replace),
    }
}

fn most_endangered_first(picture: &Picture) -> Vec<SetId> {
    let living = |set: &SetId| {
        let row = &picture.sets[set];
        row.holders()
            .filter(|node| picture.nodes.get(node).is_some_and(|node| node.alive))
            .count()
    };
    let mut sets: Vec<SetId> = picture.sets.keys().copied().collect();
    sets.sort_by_key(|set| (living(set), *set));
    sets
}
