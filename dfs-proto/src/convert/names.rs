//! Names and texts of requests and replies: their bounds.

use super::error::{WireError, at_most};
use dfs_core::types::{NAME_MAX, SYMLINK_MAX, XATTR_NAME_MAX, XATTR_VALUE_MAX};

/// Longest name taken in a request. Longer than `NAME_MAX`, so that the core can answer `ENAMETOOLONG`;
/// no longer than a path, since the kernel passes none.
pub const REQUEST_NAME_MAX: usize = 4096;
/// Longest symbolic link target taken in a request; longer than `SYMLINK_MAX` for the same reason.
pub const REQUEST_TARGET_MAX: usize = 2 * (SYMLINK_MAX + 1);
/// Longest attribute value taken in a request; longer than `XATTR_VALUE_MAX` for the same reason.
pub const REQUEST_VALUE_MAX: usize = 2 * XATTR_VALUE_MAX;
/// Most extended attribute names in one reply: the kernel takes a list of at most 64 KiB.
pub const XATTR_NAMES_MAX: usize = 65_536;

/// A path component in a request.
pub fn entry_name(name: Vec<u8>, field: &'static str) -> Result<Vec<u8>, WireError> {
    at_most(name.len(), REQUEST_NAME_MAX, field)?;
    whole_component(name, field)
}

/// A path component in a reply: it exists, so it has a legal length.
pub fn existing_name(name: Vec<u8>, field: &'static str) -> Result<Vec<u8>, WireError> {
    at_most(name.len(), NAME_MAX, field)?;
    whole_component(name, field)
}

fn whole_component(name: Vec<u8>, field: &'static str) -> Result<Vec<u8>, WireError> {
    if name.is_empty() || name.iter().any(|&byte| byte == b'/' || byte == 0) {
        return Err(WireError::BadName { field });
    }
    Ok(name)
}

/// The name of an extended attribute in a request; an empty or over-long one is the core's to refuse.
pub fn xattr_name(name: Vec<u8>, field: &'static str) -> Result<Vec<u8>, WireError> {
    bytes(name, REQUEST_NAME_MAX, field)
}

/// The names of existing extended attributes.
pub fn xattr_names(names: Vec<Vec<u8>>, field: &'static str) -> Result<Vec<Vec<u8>>, WireError> {
    at_most(names.len(), XATTR_NAMES_MAX, field)?;
    names
        .into_iter()
        .map(|name| bytes(name, XATTR_NAME_MAX, field))
        .collect()
}

/// Any bytes, at most `max`.
pub fn bytes(value: Vec<u8>, max: usize, field: &'static str) -> Result<Vec<u8>, WireError> {
    at_most(value.len(), max, field)?;
    Ok(value)
}
