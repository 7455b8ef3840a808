//! What a session has done by itself under exclusive leases, told in one piece: its steps in order, and the content
//! that belongs to them. The client has executed the same functions on what it knew, so nothing here is refused
//! unless the leases were lost; whoever calls compares `reads` and `writes` with them.

use super::names::is_dots;
use super::quota::Charging;
use super::tx::{Outcome, Tx};
use crate::error::FsError;
use crate::ids::Ino;
use crate::op::{Commit, Op, Reply, SHIP_STEPS_MAX, Ship, Step};
use crate::view::{Context, Execution, View, ViewError};
use std::collections::BTreeSet;

/// Content that is refused (its chunk's members have changed, a quota) does not take the steps with it.
pub(super) fn execute(view: &dyn View, ctx: &Context<'_>, shipment: &Ship) -> Result<Execution, ViewError> {
    let ship = |commit| {
        super::attempt(view, ctx, Charging::Promised, |tx| {
            ship(tx, &shipment.steps, commit)
        })
    };
    let whole = ship(shipment.commit.as_ref())?;
    let Err(refused) = whole.result else {
        return Ok(whole);
    };
    if shipment.commit.is_none() {
        return Ok(whole);
    }
    let mut steps = ship(None)?;
    if let Ok(reply) = &mut steps.result {
        *reply = Reply::Shipped {
            refused: Some(refused),
        };
    }
    Ok(steps)
}

fn ship(tx: &mut Tx<'_>, steps: &[Step], commit: Option<&Commit>) -> Outcome<Reply> {
    if steps.len() > SHIP_STEPS_MAX {
        return Err(FsError::Invalid.into());
    }
    let mut made = BTreeSet::new();
    for step in steps {
        take(tx, step, &mut made)?;
    }
    tx.time = tx.ctx.now;
    if let Some(commit) = commit {
        super::commit::commit(tx, commit)?;
    }
    // What is new is nobody's to recall.
    tx.reads.retain(|ino| !made.contains(ino));
    tx.writes.retain(|ino| !made.contains(ino));
    Ok(Reply::Shipped { refused: None })
}

fn take(tx: &mut Tx<'_>, step: &Step, made: &mut BTreeSet<Ino>) -> Outcome<()> {
    tx.time = step.at;
    match &step.op {
        Op::Make(make) => {
            let given_out = step.ino >= Ino::FIRST && step.ino < tx.ctx.fresh_ino;
            // Only `Make` that makes is told.
            if !given_out || tx.peek(step.ino)?.is_some() || is_dots(&make.name) {
                return Err(FsError::Invalid.into());
            }
            tx.fresh_ino = step.ino;
            match super::run(tx, &step.op)? {
                Reply::Entry { created: true, .. } => made.insert(step.ino),
                _ => return Err(FsError::Exists.into()),
            };
        }
        Op::SetAttr { .. } | Op::Link { .. } | Op::Unlink(_) | Op::Rmdir { .. } | Op::Rename(_) => {
            super::run(tx, &step.op)?;
        }
        _ => return Err(FsError::Invalid.into()),
    }
    Ok(())
}
