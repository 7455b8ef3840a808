//! POSIX, written once: what each operation reads, checks and changes, as a pure function of a view. The
//! coordinator executes here, the model is compared with it. Permissions, sticky bits and the right to change
//! an inode are checked before, by the kernel of the client; here is everything else. Knows no I/O and no clock.

mod acl;
mod alloc_chunks;
mod alloc_inos;
mod allocate;
mod commit;
mod content;
mod copy_range;
mod counts;
mod end_session;
mod garbage;
mod get_xattr;
mod link;
mod lookup;
mod make;
mod names;
mod purge;
mod quota;
mod quota_walk;
mod read_dir;
mod release;
mod relocate;
mod removal;
mod rename;
mod set_attr;
mod set_xattr;
mod ship;
mod trash;
mod tx;
mod unlink;

pub use alloc_inos::NEXT_INO;
pub use counts::{BEGUN as COUNTS_BEGUN, ROOT_PLACE as COUNTS_ROOT_PLACE};

use crate::error::FsError;
use crate::ids::SessionId;
use crate::op::{Op, Reply};
use crate::types::LeaseMode;
use crate::view::{Context, Effects, Execution, View, ViewError};
use quota::Charging;
use tx::{Fault, Outcome, Tx};

/// Executes one operation: the reply or the refusal, the change of the state, and the inodes whose leases are
/// concerned. A refused operation changes nothing; what it looked at or would have changed counts as read.
pub fn execute(view: &dyn View, ctx: &Context<'_>, op: &Op) -> Result<Execution, ViewError> {
    let charging = match op {
        Op::Ship(shipment) => return ship::execute(view, ctx, shipment),
        Op::Commit(_) => Charging::Promised,
        Op::WalkQuota { .. } => Charging::Unlimited,
        _ => Charging::Limited,
    };
    attempt(view, ctx, charging, |tx| run(tx, op))
}

fn attempt(
    view: &dyn View,
    ctx: &Context<'_>,
    charging: Charging,
    run: impl FnOnce(&mut Tx<'_>) -> Outcome<Reply>,
) -> Result<Execution, ViewError> {
    let mut tx = Tx::new(view, ctx);
    tx.charging = charging;
    match run(&mut tx) {
        Ok(reply) => match tx.finish() {
            Ok((effects, reads, writes)) => Ok(Execution {
                result: Ok(reply),
                effects,
                reads,
                writes,
            }),
            Err(Fault::View(error)) => Err(error),
            Err(Fault::Fs(error)) => Ok(refused(error)),
        },
        Err(Fault::Fs(error)) => {
            let Tx {
                mut reads, writes, ..
            } = tx;
            reads.extend(writes);
            Ok(Execution {
                reads,
                ..refused(error)
            })
        }
        Err(Fault::View(error)) => Err(error),
    }
}

fn refused(error: FsError) -> Execution {
    Execution {
        result: Err(error),
        effects: Effects::default(),
        reads: Default::default(),
        writes: Default::default(),
    }
}

fn run(tx: &mut Tx<'_>, op: &Op) -> Outcome<Reply> {
    if op.is_internal() && tx.ctx.session != SessionId::COORDINATOR {
        return Err(FsError::NotPermitted.into());
    }
    match op {
        Op::Lookup { parent, name } => lookup::lookup(tx, *parent, name),
        Op::GetAttr { ino } => Ok(Reply::Attr(removal::reachable(tx, *ino)?)),
        Op::ReadLink { ino } => lookup::read_link(tx, *ino),
        Op::ReadDir {
            ino,
            after,
            limit,
            attrs,
            alone: _,
        } => read_dir::read_dir(tx, *ino, *after, *limit, *attrs),
        Op::GetXattr { ino, name } => get_xattr::get(tx, *ino, name),
        Op::ListXattr { ino } => get_xattr::list(tx, *ino),
        Op::GetExtents { ino, offset, len } => read_dir::get_extents(tx, *ino, *offset, *len),
        Op::GetQuota { ino } => quota::get(tx, *ino),
        Op::StatFs => Ok(Reply::Usage(tx.ctx.usage)),
        Op::Acquire { ino, mode } => {
            let attr = removal::reachable(tx, *ino)?;
            if *mode == LeaseMode::Exclusive {
                // Leases of others are in the way as if the inode were written.
                tx.writes.insert(*ino);
            }
            Ok(Reply::Attr(attr))
        }
        Op::Make(make) => make::make(tx, make),
        Op::MakeTemp {
            parent,
            mode,
            umask,
            who,
        } => make::make_temp(tx, *parent, *mode, *umask, *who),
        Op::Link { ino, parent, name } => link::link(tx, *ino, *parent, name),
        Op::Unlink(unlink) => unlink::unlink(tx, unlink),
        Op::Rmdir { parent, name, held } => unlink::rmdir(tx, *parent, name, *held),
        Op::Rename(rename) => rename::rename(tx, rename),
        Op::SetAttr { ino, changes } => set_attr::set_attr(tx, *ino, changes),
        Op::SetXattr {
            ino,
            name,
            value,
            mode,
            kill_sgid,
        } => set_xattr::set(tx, *ino, name, value, *mode, *kill_sgid),
        Op::RemoveXattr { ino, name } => set_xattr::remove(tx, *ino, name),
        Op::Commit(commit) => commit::commit(tx, commit),
        Op::Allocate {
            ino,
            mode,
            offset,
            len,
        } => allocate::allocate(tx, *ino, *mode, *offset, *len),
        Op::CopyRange {
            src,
            src_offset,
            dst,
            dst_offset,
            len,
        } => copy_range::copy(tx, (*src, *src_offset), (*dst, *dst_offset), *len),
        Op::Release { inos } => release::release(tx, inos),
        Op::AllocChunks { count, avoid } => alloc_chunks::alloc(tx, *count, avoid),
        Op::ReserveQuota { quota, bytes } => quota::reserve(tx, *quota, *bytes),
        Op::AllocInos { count } => alloc_inos::alloc(tx, *count),
        op => run_own(tx, op),
    }
}

/// The coordinator's own work.
fn run_own(tx: &mut Tx<'_>, op: &Op) -> Outcome<Reply> {
    match op {
        Op::Purge { limit } => purge::purge(tx, *limit),
        Op::EndSession { session } => end_session::end(tx, SessionId(*session)),
        Op::ForgetGarbage { chunks } => garbage::forget(tx, chunks),
        Op::SetMissing { chunk, node, missing } => garbage::set_missing(tx, *chunk, *node, *missing),
        Op::SetSetting { name, value } => trash::set(tx, name, *value),
        Op::Restore { ino, to } => trash::restore(tx, *ino, to.as_ref()),
        Op::EmptyTrash { before, limit } => trash::empty(tx, *before, *limit),
        Op::ExpireTrash { inos, age } => trash::expire(tx, inos, *age),
        Op::Discard { ino } => trash::discard(tx, *ino),
        Op::SetQuota { dir, bytes, inodes } => quota::set(tx, *dir, *bytes, *inodes),
        Op::RemoveQuota { dir } => quota::remove(tx, *dir),
        Op::WalkQuota { limit } => quota_walk::walk(tx, *limit),
        Op::Relocate(relocate) => relocate::relocate(tx, relocate),
        Op::Count { limit } => counts::work(tx, *limit),
        _ => Err(FsError::NotSupported.into()),
    }
}
