//! The datanode: keeps immutable chunks. (temporary head while the store is built)
pub mod store;
