//! The one table between POSIX errors and gRPC status, for the unary services (`Chunks`, `Cluster`, `Admin`)
//! and for a refused stream. The `Metadata` stream carries error numbers in its replies instead.
//!
//! The status code tells a stranger (a proxy, a log reader) what kind of failure it is; the metadata entry
//! [`ERROR_KEY`] carries the exact error for our own clients.

use dfs_core::error::FsError;
use tonic::{Code, Status};

/// Metadata entry with the decimal [`FsError::code`].
pub const ERROR_KEY: &str = "dfs-error";

/// The status code of each error.
fn code(error: FsError) -> Code {
    match error {
        FsError::NotFound | FsError::NoAttribute | FsError::Stale | FsError::NoData => Code::NotFound,
        FsError::Exists => Code::AlreadyExists,
        FsError::NotPermitted | FsError::AccessDenied => Code::PermissionDenied,
        FsError::Invalid
        | FsError::NameTooLong
        | FsError::NotDirectory
        | FsError::IsDirectory
        | FsError::Loop
        | FsError::CrossDevice
        | FsError::BadHandle => Code::InvalidArgument,
        FsError::Range | FsError::TooBig | FsError::FileTooLarge | FsError::Overflow => Code::OutOfRange,
        FsError::NoSpace | FsError::QuotaExceeded | FsError::TooManyLinks | FsError::NoLocks => {
            Code::ResourceExhausted
        }
        FsError::NotEmpty | FsError::ReadOnly | FsError::Busy => Code::FailedPrecondition,
        FsError::WouldBlock | FsError::Deadlock => Code::Aborted,
        FsError::NotSupported => Code::Unimplemented,
        FsError::Interrupted => Code::Cancelled,
        FsError::TimedOut => Code::DeadlineExceeded,
        FsError::Io => Code::Internal,
    }
}

/// The status that carries `error`, with a message for people.
pub fn to_status(error: FsError, message: impl Into<String>) -> Status {
    let mut status = Status::new(code(error), message);
    status
        .metadata_mut()
        .insert(ERROR_KEY, u32::from(error.code()).into());
    status
}

/// The error that a status carries, or the nearest one when it was made by gRPC itself or by a newer peer.
pub fn from_status(status: &Status) -> FsError {
    let exact = status
        .metadata()
        .get(ERROR_KEY)
        .and_then(|value| value.to_str().ok()?.parse::<u8>().ok());
    if let Some(error) = exact.and_then(FsError::from_code) {
        return error;
    }
    match status.code() {
        Code::NotFound => FsError::NotFound,
        Code::AlreadyExists => FsError::Exists,
        Code::PermissionDenied | Code::Unauthenticated => FsError::AccessDenied,
        Code::Unimplemented => FsError::NotSupported,
        Code::Unavailable | Code::DeadlineExceeded => FsError::TimedOut,
        Code::Cancelled => FsError::Interrupted,
        _ => FsError::Io,
    }
}

impl From<crate::WireError> for Status {
    fn from(error: crate::WireError) -> Self {
        to_status(FsError::Invalid, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_survives_a_status() {
        for (error, _) in FsError::ALL {
            let status = to_status(error, error.to_string());
            assert_eq!(from_status(&status), error);
            assert_ne!(status.code(), Code::Ok);
            assert_ne!(status.code(), Code::Unknown);
        }
    }

    #[test]
    fn a_foreign_status_has_a_nearest_error() {
        assert_eq!(
            from_status(&Status::unavailable("connection refused")),
            FsError::TimedOut
        );
        assert_eq!(from_status(&Status::unknown("?")), FsError::Io);
        let mut newer = Status::not_found("gone");
        newer.metadata_mut().insert(ERROR_KEY, 250u32.into());
        assert_eq!(from_status(&newer), FsError::NotFound);
    }
}
