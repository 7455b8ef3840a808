//! What is only true with more than one process: a harness that runs the two executables, mounts for real, kills,
//! freezes and restarts. The tests in tests/all use it. It depends on no crate of the project.
#![allow(
    clippy::unwrap_used,
    reason = "the whole crate is test code: a panic is how a test fails"
)]

pub mod clock;
pub mod cluster;
pub mod disk;
pub mod etcd;
pub mod figures;
pub mod mount;
pub mod net;
pub mod oracle;
pub mod order;
pub mod patience;
pub mod process;
pub mod programs;
pub mod room;
pub mod script;
pub mod sys;

pub use clock::Clocks;
pub use cluster::{Cluster, Setup};
pub use etcd::Etcd;
pub use mount::Mount;
pub use net::Network;
pub use room::Room;
