//! A record of the metadata log: the effects of one batch of operations. The coordinator's log writes and
//! replays them, followers and backups read them. Says nothing of where records are kept.

use crate::frame::{self, Frame};
use crate::ids::{Index, Term};
use crate::types::Timestamp;
use serde::{Deserialize, Serialize};

/// The version of a record's body.
const VERSION: u8 = 1;

/// One committed batch. Replies and counters are ordinary rows in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub index: Index,
    pub term: Term,
    /// The coordinator's clock when the batch was executed.
    pub time: Timestamp,
    /// In the order of execution; `None` deletes.
    pub rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Why bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("the record is cut off")]
    Torn,
    #[error("there is no record")]
    Empty,
    #[error("the record is damaged: {0}")]
    Corrupt(String),
    #[error("record version {0} is not known to this program: use a newer one")]
    Version(u8),
}

impl Record {
    /// Appends the record in its frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let body = postcard::to_extend(self, vec![VERSION]).expect("plain bytes and numbers always encode");
        frame::put(&body, out);
    }

    /// The record in the frame that begins `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Record, RecordError> {
        match frame::next(bytes) {
            Frame::Whole { body, .. } => Record::from_body(body),
            Frame::Torn => Err(RecordError::Torn),
            Frame::End => Err(RecordError::Empty),
            Frame::Corrupt { reason } => Err(RecordError::Corrupt(reason.to_owned())),
        }
    }

    /// The record in a frame's verified body.
    pub fn from_body(body: &[u8]) -> Result<Record, RecordError> {
        let (&version, rest) = body.split_first().ok_or(RecordError::Empty)?;
        if version != VERSION {
            return Err(RecordError::Version(version));
        }
        let (record, rest) = postcard::take_from_bytes::<Record>(rest)
            .map_err(|error| RecordError::Corrupt(error.to_string()))?;
        match rest.is_empty() {
            true => Ok(record),
            false => Err(RecordError::Corrupt(format!("{} bytes too many", rest.len()))),
        }
    }
}
