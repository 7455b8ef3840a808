//! The changes of a set's members, one epoch each: begin a move, note its progress, end it, give it up. Each can be
//! repeated after a crash. The coordinator's executor applies them to its rows.

use crate::ids::NodeId;
use crate::rows::{Former, Joined, Joining, SetRow};
use crate::types::Timestamp;

/// Why a change does not fit the set as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the node is a member already")]
    AlreadyMember,
    #[error("the node still has copies from before; they are deleted first")]
    StillFormer,
    #[error("the node that is to leave is no full member")]
    NotFull,
    #[error("the node is not joining")]
    NotJoining,
}

impl SetRow {
    /// `joins` becomes a member that is filled, in the place of `leaves`. Chunk numbers from `until` on were not
    /// given out yet.
    pub fn begin_move(
        &mut self,
        leaves: NodeId,
        joins: NodeId,
        until: u64,
        plan: u64,
    ) -> Result<(), Refusal> {
        if self.members.contains(&joins) {
            return Err(Refusal::AlreadyMember);
        }
        if self.former.iter().any(|former| former.node == joins) {
            return Err(Refusal::StillFormer);
        }
        if !self.full().any(|member| member == leaves) {
            return Err(Refusal::NotFull);
        }
        self.members.push(joins);
        self.members.sort();
        self.joining.push(Joining {
            node: joins,
            replaces: Some(leaves),
            next: 0,
            until,
            plan,
        });
        self.epoch += 1;
        Ok(())
    }

    /// Chunks below `next` are on the joining member, or noted as missing there. Never moves back.
    pub fn advance(&mut self, node: NodeId, next: u64) -> Result<(), Refusal> {
        let joining = self.joining.iter_mut().find(|joining| joining.node == node);
        let joining = joining.ok_or(Refusal::NotJoining)?;
        joining.next = joining.next.max(next);
        Ok(())
    }

    /// The joining member has everything: it is a full one now, and the one it replaces is gone.
    pub fn finish(&mut self, node: NodeId, now: Timestamp) -> Result<Joining, Refusal> {
        let joining = self.take_joining(node)?;
        if let Some(leaves) = joining.replaces {
            self.expel(leaves, now);
        }
        let until = joining.until;
        self.joined.push(Joined { node, until });
        self.epoch += 1;
        Ok(joining)
    }

    /// The joining member leaves again, and the one that it was to replace stays.
    pub fn abandon(&mut self, node: NodeId, now: Timestamp) -> Result<Joining, Refusal> {
        let joining = self.take_joining(node)?;
        self.expel(node, now);
        self.epoch += 1;
        Ok(joining)
    }

    /// The former member's copies are gone: whether it was one.
    pub fn forget(&mut self, node: NodeId) -> bool {
        let before = self.former.len();
        self.former.retain(|former| former.node != node);
        self.former.len() < before
    }

    fn take_joining(&mut self, node: NodeId) -> Result<Joining, Refusal> {
        let at = self.joining.iter().position(|joining| joining.node == node);
        Ok(self.joining.remove(at.ok_or(Refusal::NotJoining)?))
    }

    fn expel(&mut self, node: NodeId, since: Timestamp) {
        self.members.retain(|member| *member != node);
        self.joined.retain(|joined| joined.node != node);
        self.former.retain(|former| former.node != node);
        self.former.push(Former { node, since });
    }
}
