//! A coordinator among several: etcd decides who leads a volume, keeps the logs, and lists volumes and
//! coordinators. `EtcdAuthority` is what the host sees; `log/etcd.rs` writes through the connection made here.
//! Knows nothing of what records mean.

mod authority;
mod cluster;
mod connection;
mod election;
mod error;
mod lease;
mod moving;
mod names;
mod policy;
mod registry;
mod settings;
pub mod space;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_secure;
#[cfg(test)]
pub mod trial;
mod watch;

pub use authority::EtcdAuthority;
pub use cluster::join;
pub use connection::{Etcd, kv};
pub use error::EtcdError;
pub use moving::Move;
pub use names::{LogNames, Names};
pub use policy::agree;
pub use settings::{EtcdArgs, EtcdSettings};
pub use watch::Watch;
