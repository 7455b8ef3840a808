//! Copies that are made at a node from whoever has a good one, for repair and for moves: is it there, pull it, read it
//! back. Who may be asked, and what is most endangered, the real workers decide.

use super::*;

/// What a copy is for.
#[derive(Clone, Copy)]
pub enum Purpose {
    Repair,
    Fill(Place),
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    There,
    Unneeded,
    Failed,
}

pub struct Copying {
    chunk: ChunkId,
    node: NodeId,
    sha256: [u8; 32],
    /// Not asked yet, the next one last.
    sources: Vec<NodeId>,
    source: Option<NodeId>,
    purpose: Purpose,
}

impl World {
    pub(super) fn repair(&mut self, own: usize, status: &Status) {
        let rows = self.rows_of(own);
        let missing = scan(&rows, &keys::prefix::missing(), |key, _| match key {
            Key::Missing { chunk, node } => Some((chunk, node)),
            _ => None,
        });
        let now = self.instant(self.now);
        let Some(workers) = self.reign(own).map(|reign| &mut reign.workers) else {
            return;
        };
        workers.failures.retain(|_, until| *until > now);
        let alive = |node: NodeId| status.nodes.get(&node).is_some_and(|node| node.alive);
        let failures = &workers.failures;
        let (due, void) = workers::repair::most_endangered(&status.sets, &alive, &missing, failures);
        let due: Vec<_> = due.into_iter().filter(|copy| !workers.copies_to(*copy)).collect();
        let reports = std::mem::take(&mut workers.reports);
        for (chunk, node) in void {
            self.note(own, chunk, node, false);
        }
        for (chunk, node) in due {
            self.begin_copy(own, (chunk, node), Purpose::Repair);
        }
        for (chunk, node) in reports {
            let full = |set: &dfs_core::rows::SetRow| set.full().any(|member| member == node);
            if status.sets.get(&chunk.set).is_some_and(full) {
                self.question(own, node, Ask::Verify(chunk), Question::Look(chunk, node));
            }
        }
    }

    /// A report is true when the member itself says so.
    pub(super) fn looked(&mut self, own: usize, chunk: ChunkId, node: NodeId, copy: Copy) {
        if self
            .row(own, chunk)
            .is_some_and(|row| copy != Copy::Good(row.sha256))
        {
            self.note(own, chunk, node, true);
        }
    }

    pub(super) fn begin_copy(&mut self, own: usize, (chunk, node): (ChunkId, NodeId), purpose: Purpose) {
        let rows = self.rows_of(own);
        let Some(row) = self.row(own, chunk) else {
            return self.copy_ended(own, (chunk, node), purpose, Copied::Unneeded);
        };
        let lacking = read(workers::copier::lacking(&rows, chunk));
        let number = self.number();
        let Some(workers) = self.reign(own).map(|reign| &mut reign.workers) else {
            return;
        };
        let status = workers.status.clone().filter(|_| workers.alive(node));
        let sources = status.and_then(|status| {
            let set = status.sets.get(&chunk.set)?;
            Some(workers::copier::sources(
                &status,
                set,
                (chunk, node),
                &lacking,
                |_| 0,
            ))
        });
        let Some(mut sources) = sources else {
            return self.copy_ended(own, (chunk, node), purpose, Copied::Failed);
        };
        sources.reverse();
        let copying = Copying {
            chunk,
            node,
            sha256: row.sha256,
            sources,
            source: None,
            purpose,
        };
        workers.copies.insert(number, copying);
        if !self.question(own, node, Ask::Verify(chunk), Question::Has(number)) {
            self.end_copy(own, number, Copied::Failed);
        }
    }

    /// The target has read what it has: before it pulls, or after.
    pub(super) fn copy_looked_at(&mut self, own: usize, number: u64, told: Told, pulled: bool) {
        let Some(copying) = self.copying(own, number) else {
            return;
        };
        match told {
            Told::Copy(Copy::Good(sha256)) if sha256 == copying.sha256 => {
                self.end_copy(own, number, Copied::There);
            }
            _ => {
                if pulled {
                    self.doubt_source(own, number);
                }
                self.pull_next(own, number);
            }
        }
    }

    pub(super) fn copy_pulled(&mut self, own: usize, number: u64, told: Told) {
        let Some(copying) = self.copying(own, number) else {
            return;
        };
        let (chunk, node) = (copying.chunk, copying.node);
        let arrived = matches!(told, Told::Pulled(sha256) if sha256 == copying.sha256);
        if arrived && self.question(own, node, Ask::Verify(chunk), Question::Reread(number)) {
            return;
        }
        self.doubt_source(own, number);
        self.pull_next(own, number);
    }

    fn copying(&mut self, own: usize, number: u64) -> Option<&mut Copying> {
        self.reign(own)?.workers.copies.get_mut(&number)
    }

    /// A source that gave nothing is asked for its copy.
    fn doubt_source(&mut self, own: usize, number: u64) {
        let source = self
            .copying(own, number)
            .and_then(|copying| Some((copying.chunk, copying.source?)));
        if let Some((chunk, source)) = source {
            self.question(own, source, Ask::Verify(chunk), Question::Doubt(chunk, source));
        }
    }

    fn pull_next(&mut self, own: usize, number: u64) {
        let Some(reign) = self.reign(own) else {
            return;
        };
        let term = reign.term;
        let Some(copying) = reign.workers.copies.get_mut(&number) else {
            return;
        };
        copying.source = copying.sources.pop();
        let (chunk, node, source) = (copying.chunk, copying.node, copying.source);
        let from = source.and_then(|source| reign.workers.place(source));
        let asked = match (source, from) {
            (None, _) => return self.end_copy(own, number, Copied::Failed),
            (_, None) => false,
            (_, Some(from)) => {
                self.question(own, node, Ask::Pull { term, chunk, from }, Question::Pull(number))
            }
        };
        if !asked {
            self.pull_next(own, number);
        }
    }

    fn end_copy(&mut self, own: usize, number: u64, copied: Copied) {
        let ended = self
            .reign(own)
            .and_then(|reign| reign.workers.copies.remove(&number));
        if let Some(copying) = ended {
            self.copy_ended(own, (copying.chunk, copying.node), copying.purpose, copied);
        }
    }

    fn copy_ended(&mut self, own: usize, (chunk, node): (ChunkId, NodeId), purpose: Purpose, copied: Copied) {
        self.tell(|| format!("coordinator {own}: the copy of {chunk} at node {node} is {copied:?}"));
        match (purpose, copied) {
            (Purpose::Fill(place), copied) => self.filled(own, place, chunk, copied),
            (Purpose::Repair, Copied::There) => drop(self.note(own, chunk, node, false)),
            (Purpose::Repair, Copied::Unneeded) => {}
            (Purpose::Repair, Copied::Failed) => {
                let until = self.instant(self.now) + RETRY_TIME;
                if let Some(reign) = self.reign(own) {
                    reign.workers.failures.insert((chunk, node), until);
                }
            }
        }
    }
}

impl Workers {
    /// Whether this copy is being made.
    fn copies_to(&self, copy: (ChunkId, NodeId)) -> bool {
        let mut copies = self.copies.values();
        copies.any(|copying| (copying.chunk, copying.node) == copy)
    }
}
