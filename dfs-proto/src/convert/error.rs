//! What can be wrong with a received message, and the few checks that every family uses.
//! Only the conversions make these errors; whoever owns the connection logs them and ends it.

/// A received message that no honest peer of this version sends. `field` is `message.field` as in the
/// `.proto` files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("{field} is absent; the peer speaks another version or is broken")]
    Absent { field: &'static str },
    #[error("{field} is {value}; allowed is {allowed}")]
    OutOfRange {
        field: &'static str,
        value: u64,
        allowed: &'static str,
    },
    #[error("{field} has {len} bytes or items; at most {max} are allowed")]
    TooLong {
        field: &'static str,
        len: usize,
        max: usize,
    },
    #[error("{field} has {len} bytes; exactly {expected} are needed")]
    WrongLength {
        field: &'static str,
        len: usize,
        expected: usize,
    },
    #[error("{field} holds a name that is empty or contains '/' or NUL")]
    BadName { field: &'static str },
    #[error("{field} is not in increasing order or overlaps")]
    Disorder { field: &'static str },
}

/// The value of a field that must be there.
pub(super) fn required<T>(value: Option<T>, field: &'static str) -> Result<T, WireError> {
    value.ok_or(WireError::Absent { field })
}

/// `len` when it is at most `max`.
pub(super) fn at_most(len: usize, max: usize, field: &'static str) -> Result<(), WireError> {
    if len > max {
        Err(WireError::TooLong { field, len, max })
    } else {
        Ok(())
    }
}

/// An error unless `ok`.
pub(super) fn in_range(
    ok: bool,
    value: impl Into<u64>,
    field: &'static str,
    allowed: &'static str,
) -> Result<(), WireError> {
    if ok {
        Ok(())
    } else {
        Err(WireError::OutOfRange {
            field,
            value: value.into(),
            allowed,
        })
    }
}

/// The error for an enumeration's unknown number.
pub(super) fn unknown(value: i32, field: &'static str) -> WireError {
    WireError::OutOfRange {
        field,
        value: u64::from(value as u32),
        allowed: "a number that the .proto names",
    }
}
