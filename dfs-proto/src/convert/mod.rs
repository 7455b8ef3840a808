//! Between the wire's messages and the core's values, in both directions; one file per family of messages.
//!
//! Sending cannot fail, except for the coordinator's own operations, which have no form on the wire.
//! Receiving trusts nothing: whatever comes back as a value is present, in range and bounded. What POSIX has
//! a word for (a name of 300 bytes) passes, so that the core answers with the right errno; what no honest
//! peer sends is a [`WireError`]. The callers are the coordinator, the datanodes and the client; nothing
//! here knows who is connected.

pub mod chunk;
pub mod commit;
pub mod error;
pub mod ids;
pub mod lease;
pub mod lock;
pub mod op;
pub mod reply;
pub mod setattr;
pub mod values;

mod names;
mod ship;
#[cfg(test)]
mod tests;

pub use chunk::{asked_blocks, asked_pages, block_range, put_begin};
pub use error::WireError;
pub use ids::{node_ids, session_id, session_id_bytes, uuid};
pub use lease::{grant, held_lease, lease_ack, recall};
pub use lock::{LockAction, lock_reply, lock_request, lock_request_to_wire};
pub use op::op_to_wire;
pub use reply::{fs_error, outcome, outcome_to_wire, reply_to_wire};
