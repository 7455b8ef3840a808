//! The answer to a call that was answered before: the same outcome, and the attributes that the inodes have now.
//! Without them a client whose connection broke would go on with sizes from before its own change.

use super::session::Answered;
use super::{Executor, Fault};
use dfs_core::ids::{Ino, SessionId};
use dfs_core::keys;
use dfs_core::op::{Commit, Op, Reply};
use dfs_core::rows::InodeRow;
use dfs_core::types::{Attr, LeaseMode};
use dfs_core::view::View;
use dfs_proto::convert::reply::outcome;
use dfs_proto::v1;

impl Executor {
    pub(super) fn repeat(
        &mut self,
        session: SessionId,
        op_id: u64,
        op: Option<&Op>,
        answered: Answered,
    ) -> Result<(), Fault> {
        self.view.begin_reading();
        let mut inos = op.map(changed).unwrap_or_default();
        if let Ok(Ok(reply)) = outcome(Some(answered.outcome.clone())) {
            inos.extend(told(&reply));
        }
        inos.sort_unstable();
        inos.dedup();
        let mut touched = Vec::new();
        for ino in inos {
            if self.leases.mode(session, ino) == LeaseMode::None {
                continue;
            }
            let key = keys::inode(ino);
            if let Some(row) = self.view.get(&key)? {
                touched.push(Attr::into(InodeRow::decode(&key, &row)?.attr(ino)));
            }
        }
        let index = answered.index.max(self.view.seen());
        let reply = v1::Reply {
            op_id,
            outcome: Some(answered.outcome),
            grants: Vec::new(),
            touched,
            repeated: true,
            timing: None,
        };
        self.reply(session, index, reply);
        Ok(())
    }
}

/// The inodes that a change names.
fn changed(op: &Op) -> Vec<Ino> {
    match op {
        Op::Make(make) => vec![make.parent],
        Op::Link { ino, parent, .. } => vec![*ino, *parent],
        Op::Unlink(unlink) => vec![unlink.parent],
        Op::Rmdir { parent, .. } => vec![*parent],
        Op::Rename(rename) => vec![rename.parent, rename.new_parent],
        Op::SetAttr { ino, .. }
        | Op::SetXattr { ino, .. }
        | Op::RemoveXattr { ino, .. }
        | Op::Allocate { ino, .. } => vec![*ino],
        Op::Commit(commit) => filled(commit),
        // What its steps did is the client's own and known there.
        Op::Ship(shipment) => shipment.commit.as_ref().map(filled).unwrap_or_default(),
        Op::CopyRange { src, dst, .. } => vec![*src, *dst],
        _ => Vec::new(),
    }
}

fn filled(commit: &Commit) -> Vec<Ino> {
    commit.files.iter().map(|file| file.ino).collect()
}

/// The inodes that only the answer names.
fn told(reply: &Reply) -> Vec<Ino> {
    match reply {
        Reply::Entry { attr, .. } => vec![attr.ino],
        Reply::Removed { ino, .. } => vec![*ino],
        Reply::Renamed { moved, replaced } => std::iter::once(*moved)
            .chain(replaced.map(|(ino, _)| ino))
            .collect(),
        _ => Vec::new(),
    }
}
