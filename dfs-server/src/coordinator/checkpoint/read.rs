//! Reads checkpoints back. `recovery` calls it before there is an executor; a file is verified to its end
//! before its first row counts.

use super::{CheckpointError, MAGIC, list};
use crate::coordinator::state::Store;
use dfs_core::frame::{self, Frame};
use dfs_core::ids::Index;
use std::path::Path;

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// The newest checkpoint's index by its name, 0 when there is none.
pub fn newest(dir: &Path) -> Result<Index, CheckpointError> {
    Ok(list(dir)?.first().map_or(Index(0), |(index, _)| *index))
}

/// Checkpoints that verify whole, newest first.
pub fn verified(dir: &Path) -> Result<Vec<Index>, CheckpointError> {
    let mut good = Vec::new();
    for (index, path) in list(dir)? {
        match walk(&path, index, &mut |_| Ok(())) {
            Ok(()) => good.push(index),
            Err(error) => tracing::error!(%error, "a checkpoint cannot be used"),
        }
    }
    Ok(good)
}

/// Loads the newest checkpoint that verifies into the empty `store`: its index, or `None` when there is none.
pub fn load_newest(dir: &Path, store: &Store) -> Result<Option<Index>, CheckpointError> {
    for (index, path) in list(dir)? {
        if let Err(error) = walk(&path, index, &mut |_| Ok(())) {
            tracing::error!(%error, "a checkpoint cannot be used, trying an older one");
            continue;
        }
        walk(&path, index, &mut |rows| Ok(store.load(rows)?))?;
        store.finish_load(index)?;
        return Ok(Some(index));
    }
    Ok(None)
}

/// Visits all rows of a checkpoint, piece by piece.
fn walk(
    path: &Path,
    index: Index,
    visit: &mut dyn FnMut(Rows) -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    let bytes = std::fs::read(path).map_err(|error| CheckpointError::Io {
        doing: "read",
        path: path.to_owned(),
        error,
    })?;
    let damaged = |offset: usize, reason: &str| CheckpointError::Damaged {
        path: path.to_owned(),
        offset,
        reason: reason.to_owned(),
    };
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&index.0.to_be_bytes());
    let mut at = 0;
    let mut rows = 0u64;
    loop {
        let (body, size) = match frame::next(&bytes[at..]) {
            Frame::Whole { body, size } => (body, size),
            Frame::Corrupt { reason } => return Err(damaged(at, reason)),
            Frame::Torn | Frame::End => return Err(damaged(at, "it ends too early")),
        };
        if at == 0 {
            if body != head {
                return Err(damaged(at, "its head is not that of this checkpoint"));
            }
        } else if body.starts_with(MAGIC) {
            let mut end = head.clone();
            end.extend_from_slice(&rows.to_be_bytes());
            let complete = body == end && at + size == bytes.len();
            return if complete {
                Ok(())
            } else {
                Err(damaged(at, "its end does not agree with its rows"))
            };
        } else {
            let piece: Rows = postcard::from_bytes(body).map_err(|error| damaged(at, &error.to_string()))?;
            rows += piece.len() as u64;
            visit(piece)?;
        }
        at += size;
    }
}
