//! A shipment: what a session has done by itself, in order, and the content that belongs to it.

use super::error::{WireError, at_most, in_range, required};
use super::op::op_to_wire;
use super::values::timestamp;
use crate::v1;
use dfs_core::ids::Ino;
use dfs_core::op::{Op, SHIP_STEPS_MAX, Ship, Step};

/// `None` when a step is an operation that never travels.
pub(super) fn ship_to_wire(shipment: &Ship) -> Option<v1::Ship> {
    let step = |step: &Step| {
        Some(v1::Step {
            at: Some(step.at.into()),
            ino: step.ino.0,
            op: Some(op_to_wire(&step.op)?),
        })
    };
    Some(v1::Ship {
        steps: shipment.steps.iter().map(step).collect::<Option<_>>()?,
        commit: shipment.commit.as_ref().map(Into::into),
    })
}

pub(super) fn ship(m: v1::Ship) -> Result<Ship, WireError> {
    at_most(m.steps.len(), SHIP_STEPS_MAX, "Ship.steps")?;
    let steps = m.steps.into_iter().map(step).collect::<Result<_, _>>()?;
    Ok(Ship {
        steps,
        commit: m.commit.map(TryInto::try_into).transpose()?,
    })
}

fn step(m: v1::Step) -> Result<Step, WireError> {
    let op: Op = required(m.op, "Step.op")?.try_into()?;
    let plain = matches!(
        op,
        Op::Make(_) | Op::Link { .. } | Op::Unlink(_) | Op::Rmdir { .. } | Op::Rename(_) | Op::SetAttr { .. }
    );
    in_range(plain, m.ino, "Step.op", "a change of names or attributes")?;
    Ok(Step {
        at: timestamp(m.at, "Step.at")?,
        ino: Ino(m.ino),
        op,
    })
}
