//! Reading chunks: from a member of the set, from the next when it has none, a bad one, or no answer.

use super::World;
use crate::coordinator::simulation::messages::{Ask, Copy, Message, Tag, Told};
use crate::coordinator::simulation::world::{Party, SEC, Time};
use dfs_core::ids::{ChunkId, NodeId};
use dfs_proto::v1;
use dfs_proto::v1::client_message::Message as Up;

const PATIENCE: Time = SEC;

/// A chunk that a thread waits for.
pub struct Fetch {
    pub chunk: ChunkId,
    node: NodeId,
    number: u64,
    since: Time,
    /// Members asked so far.
    pub tried: usize,
    pub failed: bool,
}

impl World {
    /// The chunk's content, or it is asked for on the thread's behalf.
    pub fn content_of(&mut self, own: usize, thread: usize, chunk: ChunkId) -> Option<Vec<Tag>> {
        if let Some(content) = self.clients[own].blocks.get(&chunk) {
            return Some(content.clone());
        }
        let now = self.now;
        let fetch = self.clients[own].threads[thread].fetch.as_ref();
        let waits =
            fetch.is_some_and(|fetch| fetch.chunk == chunk && !fetch.failed && now - fetch.since < PATIENCE);
        if waits {
            return None;
        }
        let tried = fetch
            .filter(|fetch| fetch.chunk == chunk)
            .map_or(0, |fetch| fetch.tried);
        let members = self.clients[own]
            .sets
            .get(&chunk.set)
            .cloned()
            .unwrap_or_default();
        let first = self.random.index(members.len().max(1));
        let node = *members.get((first + tried) % members.len().max(1))?;
        let datanode = *self.clients[own].nodes.get(&node)?;
        let number = self.number();
        let client = &mut self.clients[own];
        client.fetches.insert(number, thread);
        client.threads[thread].fetch = Some(Fetch {
            chunk,
            node,
            number,
            since: now,
            tried: tried + 1,
            failed: false,
        });
        let ask = Message::Ask(number, Ask::Get(chunk));
        self.send(Party::Client(own), Party::Datanode(datanode), ask);
        None
    }

    pub fn fetched(&mut self, own: usize, number: u64, told: Told) {
        let client = &mut self.clients[own];
        let Some(thread) = client.fetches.remove(&number) else {
            return;
        };
        let Some(fetch) = client.threads[thread]
            .fetch
            .as_mut()
            .filter(|fetch| fetch.number == number)
        else {
            return;
        };
        match told {
            Told::Content(content) => {
                let chunk = fetch.chunk;
                client.threads[thread].fetch = None;
                client.blocks.insert(chunk, content);
            }
            told => {
                fetch.failed = true;
                let (chunk, node) = (fetch.chunk, fetch.node);
                if matches!(told, Told::Copy(Copy::Missing | Copy::Corrupt)) {
                    let bad = v1::BadCopy {
                        chunk: Some(chunk.into()),
                        node: node.0,
                        reason: String::new(),
                    };
                    self.tell_coordinator(own, Up::BadCopy(bad));
                }
            }
        }
    }
}
