//! Members that join are filled, a step of their cursor at a time.

use super::copies::{Copied, Purpose};
use super::*;

/// One step of the cursor.
pub struct Fill {
    /// The set's, when the step began.
    epoch: u64,
    next: u64,
    /// Copies under way.
    left: usize,
    copied: u64,
    /// What could not be copied is noted as missing.
    notes: Vec<oneshot::Receiver<Outcome>>,
    failed: bool,
    /// The cursor moves.
    ordered: Option<oneshot::Receiver<Result<(), String>>>,
}

impl World {
    /// The rows are as new as the status.
    pub(super) fn begin_fills(&mut self, own: usize, status: &Status) {
        let rows = self.rows_of(own);
        for (set, joining) in workers::fill::most_endangered_first(status) {
            let place = (set, joining.node);
            let Some(workers) = self.reign(own).map(|reign| &mut reign.workers) else {
                return;
            };
            if workers.fills.contains_key(&place) || !workers.alive(joining.node) {
                continue;
            }
            let (chunks, next) = read(workers::fill::step(&rows, set, &joining));
            if joining.next >= joining.until && chunks.is_empty() {
                if !read(workers::fill::lacks_any(&rows, set, joining.node)) {
                    self.order(
                        own,
                        Order::Finish {
                            set,
                            node: joining.node,
                        },
                    );
                }
                continue;
            }
            let fill = Fill {
                epoch: status.sets.get(&set).map_or(0, |row| row.epoch),
                next,
                left: chunks.len(),
                copied: 0,
                notes: Vec::new(),
                failed: false,
                ordered: None,
            };
            workers.fills.insert(place, fill);
            for chunk in chunks {
                self.begin_copy(own, (chunk, joining.node), Purpose::Fill(place));
            }
        }
    }

    pub(super) fn filled(&mut self, own: usize, place: Place, chunk: ChunkId, copied: Copied) {
        let note = match copied {
            Copied::Failed => self.note(own, chunk, place.1, true),
            _ => None,
        };
        let fills = self.reign(own).map(|reign| &mut reign.workers.fills);
        if let Some(fill) = fills.and_then(|fills| fills.get_mut(&place)) {
            fill.left -= 1;
            fill.copied += u64::from(copied == Copied::There);
            fill.notes.extend(note);
        }
    }

    /// Steps whose copies are all made or noted move their cursors; the next step begins with the next round.
    pub(super) fn fill_on(&mut self, own: usize) {
        let Some(workers) = self.reign(own).map(|reign| &mut reign.workers) else {
            return;
        };
        let mut advances = Vec::new();
        workers.fills.retain(|(set, node), fill| {
            fill.notes.retain_mut(|note| match note.try_recv() {
                Ok(outcome) => {
                    fill.failed |= outcome.is_err();
                    false
                }
                Err(oneshot::error::TryRecvError::Empty) => true,
                Err(oneshot::error::TryRecvError::Closed) => {
                    fill.failed = true;
                    false
                }
            });
            if fill.left > 0 || !fill.notes.is_empty() {
                return true;
            }
            match &mut fill.ordered {
                Some(ordered) => matches!(ordered.try_recv(), Err(oneshot::error::TryRecvError::Empty)),
                None if fill.failed => false,
                None => {
                    advances.push(((*set, *node, fill.epoch), fill.next, fill.copied));
                    true
                }
            }
        });
        for ((set, node, epoch), next, chunks) in advances {
            let advance = Order::Advance {
                set,
                node,
                epoch,
                next,
                chunks,
                bytes: 0,
            };
            let ordered = self.order(own, advance);
            let fills = self.reign(own).map(|reign| &mut reign.workers.fills);
            if let Some(fill) = fills.and_then(|fills| fills.get_mut(&(set, node))) {
                fill.ordered = ordered;
            }
        }
    }
}
