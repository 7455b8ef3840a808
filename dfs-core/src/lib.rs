//! The pure core of DFS: what can be decided from values alone. The coordinator, the client and the
//! tests call it. It knows no clock, no randomness, no file, no socket, no thread and no async: time and
//! identifiers come in as arguments.

pub mod check;
pub mod chunk;
pub mod error;
pub mod extents;
pub mod frame;
pub mod ids;
pub mod keys;
pub mod lease;
pub mod lock;
pub mod namespace;
pub mod op;
pub mod placement;
pub mod plan;
pub mod record;
pub mod rows;
pub mod ship;
pub mod types;
pub mod view;
pub mod volume;
