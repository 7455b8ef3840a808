//! Bounded reads of the durable rows for the workers.

use crate::coordinator::state::Store;
use dfs_core::keys::{self, Key, KeyRange};
use dfs_core::view::{View, ViewError};
use std::ops::ControlFlow;

/// At most `limit` rows of the range that `read` makes something of, in key order, and the key to go on after
/// when there may be more.
pub fn rows<T>(
    view: &dyn View,
    (start, end): &KeyRange,
    limit: usize,
    mut read: impl FnMut(Key, &[u8]) -> Result<Option<T>, ViewError>,
) -> Result<(Vec<T>, Option<Vec<u8>>), ViewError> {
    let mut found = Vec::new();
    let mut failure = None;
    let mut next = None;
    view.scan(start, end, &mut |key, value| {
        let Some(parsed) = keys::parse(key) else {
            return ControlFlow::Continue(());
        };
        match read(parsed, value) {
            Ok(row) => found.extend(row),
            Err(error) => failure = Some(error),
        }
        if found.len() >= limit {
            let mut after = key.to_vec();
            after.push(0);
            next = Some(after);
        }
        if failure.is_some() || next.is_some() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    failure.map_or(Ok((found, next)), Err)
}

/// Reads on a thread that may block.
pub async fn blocking<T: Send + 'static>(
    store: &Store,
    read: impl FnOnce(&Store) -> Result<T, ViewError> + Send + 'static,
) -> Result<T, ViewError> {
    let store = store.clone();
    let task = tokio::task::spawn_blocking(move || read(&store)).await;
    task.unwrap_or_else(|error| Err(ViewError::Store(error.to_string())))
}
