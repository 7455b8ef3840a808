//! The SDK: connections, the metadata session, caches under leases, reading and writing of files, and the `dfs`
//! commands that need no kernel. The kernel's door (`dfs-fuse`) calls [`vfs::Vfs`]; `dfs-server` uses
//! [`channel`] for its own calls and [`observe`] for its figures. Knows nothing of FUSE.

pub mod channel;
pub mod commands;
pub mod config;
mod data;
mod figures;
mod inode;
pub mod ioctl;
mod journal;
mod locks;
pub mod observe;
mod profile;
pub mod report;
mod session;
pub mod vfs;
pub mod wait;
