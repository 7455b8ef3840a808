//! Writes a checkpoint. The checkpoint worker calls it with a moment; nothing waits for it.

use super::{CheckpointError, KEEP, MAGIC, list, path};
use crate::coordinator::state::Moment;
use dfs_core::frame;
use dfs_core::ids::Index;
use dfs_core::view::View;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Rows are framed in pieces of about this size, each with its own checksum.
const PIECE_BYTES: usize = 256 << 10;

/// Writes all rows of `moment` to a new file in `dir`, durable under its name when this returns, and removes
/// all but the newest [`KEEP`]. Returns the path.
pub fn write(dir: &Path, moment: &Moment) -> Result<PathBuf, CheckpointError> {
    let target = path(dir, moment.index);
    let unfinished = dir.join("unfinished-checkpoint");
    let fault = |doing, path: &Path, error| CheckpointError::Io {
        doing,
        path: path.to_owned(),
        error,
    };
    let written = write_file(&unfinished, moment);
    if let Err(error) = written {
        if let Err(left) = std::fs::remove_file(&unfinished) {
            tracing::warn!(path = %unfinished.display(), error = %left, "an unfinished checkpoint stays");
        }
        return Err(error);
    }
    std::fs::rename(&unfinished, &target).map_err(|error| fault("rename", &target, error))?;
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| fault("sync", dir, error))?;
    for (_, old) in list(dir)?.into_iter().skip(KEEP) {
        std::fs::remove_file(&old).map_err(|error| fault("remove", &old, error))?;
    }
    Ok(target)
}

fn write_file(file_path: &Path, moment: &Moment) -> Result<(), CheckpointError> {
    let fault = |error| CheckpointError::Io {
        doing: "write",
        path: file_path.to_owned(),
        error,
    };
    let mut file = BufWriter::new(File::create(file_path).map_err(fault)?);
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&moment.index.0.to_be_bytes());
    let mut out = Vec::new();
    frame::put(&head, &mut out);
    let mut piece: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut piece_bytes = 0;
    let mut rows = 0u64;
    let mut failure = None;
    let (start, end) = dfs_core::keys::prefix::all();
    moment.scan(&start, &end, &mut |key, value| {
        rows += 1;
        piece_bytes += key.len() + value.len();
        piece.push((key.to_vec(), value.to_vec()));
        if piece_bytes >= PIECE_BYTES {
            put_piece(&mut piece, &mut out);
            piece_bytes = 0;
            if let Err(error) = file.write_all(&out) {
                failure = Some(error);
                return ControlFlow::Break(());
            }
            out.clear();
        }
        ControlFlow::Continue(())
    })?;
    if let Some(error) = failure {
        return Err(fault(error));
    }
    put_piece(&mut piece, &mut out);
    put_end(moment.index, rows, &mut out);
    file.write_all(&out).map_err(fault)?;
    let file = file.into_inner().map_err(|error| fault(error.into_error()))?;
    file.sync_all().map_err(fault)
}

/// A run of bytes. Serde would take a `Vec<u8>` number by number; what is written is the same.
struct Run<'a>(&'a [u8]);

impl serde::Serialize for Run<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

fn put_piece(piece: &mut Vec<(Vec<u8>, Vec<u8>)>, out: &mut Vec<u8>) {
    if piece.is_empty() {
        return;
    }
    let rows: Vec<(Run<'_>, Run<'_>)> = piece.iter().map(|(key, value)| (Run(key), Run(value))).collect();
    let body = postcard::to_stdvec(&rows).expect("plain bytes always encode, and memory grows");
    frame::put(&body, out);
    piece.clear();
}

/// The end says that nothing is absent: an empty piece, the index again, the number of rows.
fn put_end(index: Index, rows: u64, out: &mut Vec<u8>) {
    let mut body = MAGIC.to_vec();
    body.extend_from_slice(&index.0.to_be_bytes());
    body.extend_from_slice(&rows.to_be_bytes());
    frame::put(&body, out);
}
