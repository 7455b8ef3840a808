//! What a store's error is on the wire. Every operation of the service answers through it.

use super::super::store::StoreError;
use dfs_core::error::FsError;
use dfs_proto::status::to_status;
use tonic::Status;

/// Full is `ResourceExhausted`, and only that; a damaged copy is `DataLoss`, and only that.
pub fn of(error: StoreError) -> Status {
    let message = error.to_string();
    match error {
        StoreError::NotFound(_) => to_status(FsError::NotFound, message),
        StoreError::Exists(_) => to_status(FsError::Exists, message),
        StoreError::Busy(_) => to_status(FsError::WouldBlock, message),
        StoreError::Full { .. } => to_status(FsError::NoSpace, message),
        StoreError::Refused(_) => to_status(FsError::Invalid, message),
        StoreError::Corrupt { .. } => Status::data_loss(message),
        StoreError::Io(_) => to_status(FsError::Io, message),
    }
}
