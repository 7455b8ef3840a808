//! Reads checkpoints back. `recovery` calls it before there is an executor; a file is verified to its end
//! before its first row counts.

use super::{CheckpointError, MAGIC, list, path};
use crate::coordinator::state::Store;
use dfs_core::frame::{self, Frame};
use dfs_core::ids::Index;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// Read from the disk at once.
const READ_BYTES: usize = 256 << 10;

type Rows<'a> = Vec<(&'a [u8], &'a [u8])>;

/// The newest checkpoint's index by its name, 0 when there is none.
pub fn newest(dir: &Path) -> Result<Index, CheckpointError> {
    Ok(list(dir)?.first().map_or(Index(0), |(index, _)| *index))
}

/// Checkpoints that verify whole, newest first; those of `known` were looked at before.
pub fn verified(dir: &Path, known: &[Index]) -> Result<Vec<Index>, CheckpointError> {
    let mut good = Vec::new();
    for (index, path) in list(dir)? {
        if known.contains(&index) {
            good.push(index);
            continue;
        }
        match walk(&path, index, &mut |_| Ok(())) {
            Ok(()) => good.push(index),
            Err(error) => tracing::error!(%error, "a checkpoint cannot be used"),
        }
    }
    Ok(good)
}

/// The length of the newest checkpoint's file, 0 when there is none.
pub fn newest_len(dir: &Path) -> Result<u64, CheckpointError> {
    let Some((_, path)) = list(dir)?.into_iter().next() else {
        return Ok(0);
    };
    let file = path.metadata().map_err(|error| CheckpointError::Io {
        doing: "look at",
        path,
        error,
    })?;
    Ok(file.len())
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

/// Makes a file that was received a checkpoint, if it verifies whole; one that does not is removed.
pub fn adopt(dir: &Path, received: &Path, index: Index) -> Result<(), CheckpointError> {
    let fault = |doing, error| CheckpointError::Io {
        doing,
        path: received.to_owned(),
        error,
    };
    if let Err(error) = walk(received, index, &mut |_| Ok(())) {
        std::fs::remove_file(received).map_err(|error| fault("remove", error))?;
        return Err(error);
    }
    File::open(received)
        .and_then(|file| file.sync_all())
        .map_err(|error| fault("sync", error))?;
    std::fs::rename(received, path(dir, index)).map_err(|error| fault("rename", error))?;
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| fault("sync the directory of", error))
}

/// Visits all rows of a checkpoint, piece by piece; the file is never in memory as a whole.
fn walk(
    path: &Path,
    index: Index,
    visit: &mut dyn FnMut(Rows<'_>) -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    let fault = |error| CheckpointError::Io {
        doing: "read",
        path: path.to_owned(),
        error,
    };
    let damaged = |offset: usize, reason: &str| CheckpointError::Damaged {
        path: path.to_owned(),
        offset,
        reason: reason.to_owned(),
    };
    let file = File::open(path).map_err(fault)?;
    let len = file.metadata().map_err(fault)?.len() as usize;
    let mut file = BufReader::with_capacity(READ_BYTES, file);
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&index.0.to_be_bytes());
    let mut at = 0;
    let mut rows = 0u64;
    let mut bytes = Vec::new();
    loop {
        next_frame(&mut file, &mut bytes).map_err(fault)?;
        let (body, size) = match frame::next(&bytes) {
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
            let complete = body == end && at + size == len;
            return if complete {
                Ok(())
            } else {
                Err(damaged(at, "its end does not agree with its rows"))
            };
        } else {
            let piece: Rows<'_> =
                postcard::from_bytes(body).map_err(|error| damaged(at, &error.to_string()))?;
            rows += piece.len() as u64;
            visit(piece)?;
        }
        at += size;
    }
}

/// Reads one frame's bytes, or what is left when it is cut off or damaged: `frame::next` judges them.
fn next_frame(file: &mut impl Read, bytes: &mut Vec<u8>) -> std::io::Result<()> {
    bytes.clear();
    file.by_ref().take(frame::HEADER_LEN as u64).read_to_end(bytes)?;
    if let Some(len) = frame::body_len(bytes) {
        file.by_ref().take(len as u64).read_to_end(bytes)?;
    }
    Ok(())
}
