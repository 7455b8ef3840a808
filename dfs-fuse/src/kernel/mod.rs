//! Our own door to /dev/fuse: the protocol, the threads that serve it, interrupts, notifications, mounting.
//! Used by `door` (the client's file system) and `commands`. Knows nothing of DFS: it would serve any `Filesystem`.

pub mod abi;
pub mod answer;
mod cursor;
mod device;
mod dispatch;
pub mod filesystem;
mod fusermount;
pub mod init;
pub mod interrupt;
pub mod mount;
pub mod mountinfo;
pub mod notify;
pub mod parse;
mod pool;
pub mod reply;
pub mod request;
mod rest;
pub mod session;
#[cfg(test)]
mod tests;

pub use filesystem::Filesystem;
pub use init::Negotiated;
pub use interrupt::Interrupt;
pub use notify::{Notice, Notifier};
pub use pool::{Serving, Threads};
pub use reply::{Errno, Reply};
pub use request::Request;
pub use session::Session;
