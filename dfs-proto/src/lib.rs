//! The wire: generated messages and services of `dfs.v1`. Clients and servers speak them.

/// Generated from `proto/dfs/v1`.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("dfs.v1");
}
