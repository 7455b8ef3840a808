//! The way to the executor: a bounded queue of events from streams and services, and an unbounded one (few, by
//! `RECORDS_IN_FLIGHT`) of the log writer's completions, which the executor may take alone when it is full.

use super::executor::Event;
use super::limits::QUEUE_CALLS;
use super::log::LogError;
use super::state::StateError;
use dfs_core::ids::Index;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// What the log writer tells.
pub enum Completion {
    /// Records up to here are durable.
    Durable(Index),
    /// The store has the records up to here.
    Applied(Index),
    /// The writer stopped; nothing more becomes durable.
    Failed(WriterError),
}

/// Why the writer stopped.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    State(#[from] StateError),
}

#[derive(Default)]
struct Queues {
    events: VecDeque<Event>,
    completions: VecDeque<Completion>,
    closed: bool,
}

struct Shared {
    queues: Mutex<Queues>,
    filled: Condvar,
    room: Semaphore,
}

/// Both ends; clones share the queue.
#[derive(Clone)]
pub struct Inbox(Arc<Shared>);

/// The executor has stopped.
#[derive(Debug, thiserror::Error)]
#[error("the coordinator is stopping")]
pub struct Closed;

impl Inbox {
    pub fn new() -> Inbox {
        Inbox(Arc::new(Shared {
            queues: Mutex::default(),
            filled: Condvar::new(),
            room: Semaphore::new(QUEUE_CALLS),
        }))
    }

    /// Adds an event when there is room.
    pub async fn send(&self, event: Event) -> Result<(), Closed> {
        let permit = self.0.room.acquire().await.map_err(|_| Closed)?;
        permit.forget();
        self.push(event)
    }

    /// Adds an event that must not wait (the end of a stream, a stop): their number is bounded by what they
    /// are about.
    pub fn send_now(&self, event: Event) -> Result<(), Closed> {
        self.push(event)
    }

    fn push(&self, event: Event) -> Result<(), Closed> {
        let mut queues = self.0.queues.lock();
        if queues.closed {
            return Err(Closed);
        }
        queues.events.push_back(event);
        drop(queues);
        self.0.filled.notify_one();
        Ok(())
    }

    /// Adds a completion.
    pub fn complete(&self, completion: Completion) {
        self.0.queues.lock().completions.push_back(completion);
        self.0.filled.notify_one();
    }

    /// Takes everything that is there, waiting at most `wait` for something; events stay when `full`.
    pub fn take(&self, wait: Duration, full: bool, limit: usize) -> (Vec<Completion>, Vec<Event>) {
        let mut queues = self.0.queues.lock();
        let nothing = |queues: &Queues| queues.completions.is_empty() && (full || queues.events.is_empty());
        if nothing(&queues) && !wait.is_zero() {
            self.0.filled.wait_for(&mut queues, wait);
        }
        let completions = queues.completions.drain(..).collect();
        let count = if full { 0 } else { limit.min(queues.events.len()) };
        let events: Vec<Event> = queues.events.drain(..count).collect();
        drop(queues);
        let room = self.0.room.available_permits();
        self.0
            .room
            .add_permits(events.len().min(QUEUE_CALLS.saturating_sub(room)));
        (completions, events)
    }

    /// Refuses what comes from now on, and drops what waits (whoever waits for it sees its channel close).
    pub fn close(&self) {
        self.0.room.close();
        let dropped = {
            let mut queues = self.0.queues.lock();
            queues.closed = true;
            std::mem::take(&mut queues.events)
        };
        drop(dropped);
    }
}
