//! The wire: generated messages and services of `dfs.v1`, and the conversions that check what is received.
//! Clients and servers speak them. It decides nothing about the namespace and opens no connection.

pub mod convert;
pub mod frames;
pub mod status;

/// Generated from `proto/dfs/v1`.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("dfs.v1");
}

pub use convert::WireError;
