//! The streaming sessions under way, by their UUID. A transfer lives as long as its stream; the registry refuses
//! the same UUID twice and more than the limit, and counts the load.

use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use tonic::Status;

/// Each holds a thread and up to 8 MiB of messages; more senders wait.
const TRANSFERS_MAX: usize = 256;

#[derive(Clone, Default)]
pub struct Transfers(Arc<Mutex<HashSet<[u8; 16]>>>);

/// One session; over when it is dropped.
pub struct Transfer {
    id: [u8; 16],
    all: Transfers,
}

impl Transfers {
    pub fn begin(&self, id: [u8; 16]) -> Result<Transfer, Status> {
        let mut all = self.0.lock();
        if all.len() >= TRANSFERS_MAX {
            return Err(Status::unavailable(format!(
                "{TRANSFERS_MAX} transfers are under way: try again"
            )));
        }
        if !all.insert(id) {
            return Err(Status::already_exists(
                "this transfer is under way already: begin a new one",
            ));
        }
        Ok(Transfer {
            id,
            all: self.clone(),
        })
    }

    pub fn count(&self) -> u32 {
        self.0.lock().len() as u32
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.all.0.lock().remove(&self.id);
    }
}
