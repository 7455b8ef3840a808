//! Ids of requests, from the mount to the disk. A call to the coordinator is named by its session and its number,
//! which the protocol carries anyway; a transfer by its session and its chunk, in the metadata of the call. So one
//! id finds one piece of work in the logs of all processes that had to do with it.

use dfs_core::ids::{ChunkId, SessionId};
use tonic::Request;

/// Where transfers carry their id.
const KEY: &str = "dfs-request";
/// Longest id that is believed.
const LENGTH_MAX: usize = 64;

/// The id of a call to the coordinator.
pub fn call(session: SessionId, op_id: u64) -> String {
    format!("{}-{op_id}", short(session))
}

/// The id of a chunk's upload, commit and download by a session.
pub fn transfer(session: SessionId, chunk: ChunkId) -> String {
    format!("{}-c{chunk}", short(session))
}

/// The first digits of a session's id: enough to tell sessions of a cluster apart in logs.
pub fn short(session: SessionId) -> String {
    format!("{:08x}", (session.0 >> 96) as u32)
}

/// A message that carries the id.
pub fn with<T>(message: T, id: &str) -> Request<T> {
    let mut request = Request::new(message);
    if let Ok(value) = id.parse() {
        request.metadata_mut().insert(KEY, value);
    }
    request
}

/// The id that a message carries, or nothing.
pub fn of<T>(request: &Request<T>) -> &str {
    let value = request.metadata().get(KEY).and_then(|value| value.to_str().ok());
    value.filter(|id| id.len() <= LENGTH_MAX).unwrap_or_default()
}
