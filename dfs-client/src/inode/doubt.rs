//! Answers that were given before and come once more after a broken stream: what they say of names and content may be
//! out of date, since others may have had the lease in between. Called by `apply` behind what it does with any answer.

use super::apply::Caches;
use dfs_core::ids::Ino;
use dfs_core::op::{Op, Reply};
use dfs_core::types::Attr;

impl Caches {
    /// Forgets what the answer said, apart from the attributes that came along: those are of now.
    pub(super) fn doubt(&self, op: &Op, reply: &Reply, touched: &[Attr], confirmed: u64) {
        for (directory, name) in names(op) {
            self.with(directory, |state| {
                state.names.remove(name);
                state.complete = false;
            });
        }
        for ino in inodes(op, reply) {
            self.with(ino, |state| {
                // What was changed here since was held all the time.
                if !state.is_ahead(confirmed) {
                    state.attr = None;
                    state.parent = None;
                    state.complete = false;
                }
                state.extents.forget();
                state.forget_xattrs();
            });
        }
        for attr in touched {
            self.with(attr.ino, |state| state.set_attr(*attr, confirmed));
        }
    }
}

fn names(op: &Op) -> Vec<(Ino, &[u8])> {
    match op {
        Op::Make(make) => vec![(make.parent, &make.name)],
        Op::Link { parent, name, .. } | Op::Rmdir { parent, name, .. } => vec![(*parent, name)],
        Op::Unlink(unlink) => vec![(unlink.parent, &unlink.name)],
        Op::Rename(rename) => vec![
            (rename.parent, &rename.name),
            (rename.new_parent, &rename.new_name),
        ],
        _ => Vec::new(),
    }
}

fn inodes(op: &Op, reply: &Reply) -> Vec<Ino> {
    let mut inos = match reply {
        Reply::Entry { attr, .. } => vec![attr.ino],
        Reply::Renamed { moved, replaced } => std::iter::once(*moved)
            .chain(replaced.map(|(ino, _)| ino))
            .collect(),
        _ => Vec::new(),
    };
    match op {
        Op::SetAttr { ino, .. }
        | Op::SetXattr { ino, .. }
        | Op::RemoveXattr { ino, .. }
        | Op::Allocate { ino, .. } => inos.push(*ino),
        Op::Commit(commit) => inos.extend(commit.files.iter().map(|file| file.ino)),
        Op::Ship(shipment) => {
            let files = shipment.commit.iter().flat_map(|commit| &commit.files);
            inos.extend(files.map(|file| file.ino));
        }
        Op::CopyRange { dst, .. } => inos.push(*dst),
        _ => {}
    }
    inos
}
