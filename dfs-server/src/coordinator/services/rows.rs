//! All rows of one moment as a stream, for checkers and backups.

use crate::coordinator::state::Moment;
use dfs_core::keys;
use dfs_core::view::View;
use dfs_proto::v1::{Row, RowBatch};
use std::ops::ControlFlow;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Rows are sent in batches of about this many bytes.
const BATCH_BYTES: usize = 512 << 10;
/// Batches ahead of the reader.
const AHEAD: usize = 4;

type Sender = mpsc::Sender<Result<RowBatch, Status>>;

/// The rows whose keys begin with `prefix`, in key order. The moment lives as long as the stream.
pub fn stream(moment: Moment, prefix: Vec<u8>) -> ReceiverStream<Result<RowBatch, Status>> {
    let (out, rows) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || send(&moment, &prefix, &out));
    ReceiverStream::new(rows)
}

fn send(moment: &Moment, prefix: &[u8], out: &Sender) {
    let (first, end) = keys::prefix::all();
    let start = if prefix.is_empty() { first } else { prefix.to_vec() };
    let mut batch = RowBatch {
        index: moment.index.0,
        rows: Vec::new(),
    };
    let mut bytes = 0;
    let mut gone = false;
    let scanned = moment.scan(&start, &end, &mut |key, value| {
        if !key.starts_with(prefix) {
            return ControlFlow::Break(());
        }
        bytes += key.len() + value.len();
        batch.rows.push(Row {
            key: key.to_vec(),
            value: value.to_vec(),
        });
        if bytes >= BATCH_BYTES {
            bytes = 0;
            let rows = std::mem::take(&mut batch.rows);
            gone = out
                .blocking_send(Ok(RowBatch {
                    index: moment.index.0,
                    rows,
                }))
                .is_err();
        }
        if gone {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    let last = match scanned {
        Ok(()) => Ok(batch),
        Err(error) => Err(Status::internal(error.to_string())),
    };
    if !gone && out.blocking_send(last).is_err() {
        tracing::debug!("the reader of the rows left");
    }
}
