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
    /// Each key once; `None` deletes.
    #[serde(with = "plain_bytes")]
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

    /// Only place and term of the record in a frame's verified body.
    pub fn head(body: &[u8]) -> Result<(Index, Term), RecordError> {
        let (head, _) = postcard::take_from_bytes(versioned(body)?)
            .map_err(|error| RecordError::Corrupt(error.to_string()))?;
        Ok(head)
    }

    /// The record in a frame's verified body.
    pub fn from_body(body: &[u8]) -> Result<Record, RecordError> {
        let rest = versioned(body)?;
        let (record, rest) = postcard::take_from_bytes::<Record>(rest)
            .map_err(|error| RecordError::Corrupt(error.to_string()))?;
        match rest.is_empty() {
            true => Ok(record),
            false => Err(RecordError::Corrupt(format!("{} bytes too many", rest.len()))),
        }
    }
}

/// What follows the version.
fn versioned(body: &[u8]) -> Result<&[u8], RecordError> {
    let (&version, rest) = body.split_first().ok_or(RecordError::Empty)?;
    match version {
        VERSION => Ok(rest),
        other => Err(RecordError::Version(other)),
    }
}

/// Keys and values as runs of bytes. Serde would take a `Vec<u8>` number by number; what is written is the same.
mod plain_bytes {
    use serde::de::{Deserialize, Deserializer, Error, Visitor};
    use serde::ser::{Serialize, SerializeSeq, Serializer};
    use std::fmt;

    type Rows = Vec<(Vec<u8>, Option<Vec<u8>>)>;

    struct Run<'a>(&'a [u8]);

    impl Serialize for Run<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(self.0)
        }
    }

    struct Owned(Vec<u8>);

    struct Bytes;

    impl Visitor<'_> for Bytes {
        type Value = Owned;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a run of bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Owned, E> {
            Ok(Owned(bytes.to_vec()))
        }
    }

    impl<'de> Deserialize<'de> for Owned {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Owned, D::Error> {
            deserializer.deserialize_bytes(Bytes)
        }
    }

    pub fn serialize<S: Serializer>(rows: &Rows, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(rows.len()))?;
        for (key, value) in rows {
            seq.serialize_element(&(Run(key), value.as_deref().map(Run)))?;
        }
        seq.end()
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Rows, D::Error> {
        let rows: Vec<(Owned, Option<Owned>)> = Deserialize::deserialize(deserializer)?;
        let plain = |(key, value): (Owned, Option<Owned>)| (key.0, value.map(|value| value.0));
        Ok(rows.into_iter().map(plain).collect())
    }
}
