//! The metadata half of `dfs fsck`: reads all rows at one moment and feeds the checker.

use crate::commands::{Admin, Failure};
use dfs_core::check::Checker;
use dfs_core::ids::{ChunkId, Ino, NodeId};
use dfs_core::keys::{self, Key};
use dfs_core::rows::{ChunkRow, ExtentRow};
use dfs_proto::v1;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What the rows say about chunks, and the checker that has seen them all.
pub(super) struct Metadata {
    pub checker: Checker,
    pub chunks: BTreeMap<ChunkId, ChunkRow>,
    /// Copies known to be missing: their repair is under way.
    pub missing: HashSet<(ChunkId, NodeId)>,
    /// A file that uses each chunk.
    users: HashMap<ChunkId, Ino>,
    pub rows: u64,
    pub index: u64,
}

impl Metadata {
    /// A file that uses the chunk, for people.
    pub fn path_of(&self, chunk: ChunkId) -> String {
        match self.users.get(&chunk) {
            Some(ino) => self.checker.path(*ino).unwrap_or_else(|| format!("inode {ino}")),
            None => "unused".to_string(),
        }
    }

    fn note(&mut self, key: &[u8], value: &[u8]) {
        match keys::parse(key) {
            Some(Key::Chunk(id)) => {
                // A row that cannot be read is the checker's to report.
                if let Ok(row) = ChunkRow::decode(key, value) {
                    self.chunks.insert(id, row);
                }
            }
            Some(Key::Missing { chunk, node }) => {
                self.missing.insert((chunk, node));
            }
            Some(Key::Extent { ino, .. }) => {
                if let Ok(row) = ExtentRow::decode(key, value) {
                    self.users.entry(row.chunk).or_insert(ino);
                }
            }
            _ => {}
        }
    }
}

/// Reads everything.
pub(super) async fn read(admin: &mut Admin) -> Result<Metadata, Failure> {
    let mut metadata = Metadata {
        checker: Checker::new(),
        chunks: BTreeMap::new(),
        missing: HashSet::new(),
        users: HashMap::new(),
        rows: 0,
        index: 0,
    };
    let mut batches = admin
        .rows(v1::RowsRequest { prefix: Vec::new() })
        .await?
        .into_inner();
    while let Some(batch) = batches.message().await? {
        metadata.index = batch.index;
        for row in batch.rows {
            metadata.rows += 1;
            metadata.checker.feed(&row.key, &row.value);
            metadata.note(&row.key, &row.value);
        }
    }
    Ok(metadata)
}

/// Whether the chunk is still in use: files may have been deleted since the rows were read.
pub(super) async fn still_used(admin: &mut Admin, chunk: ChunkId) -> Result<bool, Failure> {
    let mut batches = admin
        .rows(v1::RowsRequest {
            prefix: keys::chunk(chunk),
        })
        .await?
        .into_inner();
    while let Some(batch) = batches.message().await? {
        if !batch.rows.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}
