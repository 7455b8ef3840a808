//! A commit: chunks that are stored, and the extents of many files that use them.

use super::error::{WireError, at_most, in_range};
use super::ids::{node_ids, sha256, stored_chunk};
use super::values::{ordered_extents, timestamp};
use crate::v1;
use dfs_core::chunk::CHUNK_MAX;
use dfs_core::ids::Ino;
use dfs_core::op::{COMMIT_CHUNKS_MAX, COMMIT_FILES_MAX, Commit, FileCommit, NewChunk};
use dfs_core::types::Timestamp;

/// Most extents in one commit, all files together: one executor turn stays short and the message below
/// 2 MiB. A client with more splits the commit.
pub const COMMIT_EXTENTS_MAX: usize = 65_536;

impl From<&NewChunk> for v1::NewChunk {
    fn from(chunk: &NewChunk) -> Self {
        v1::NewChunk {
            id: Some(chunk.id.into()),
            len: chunk.len,
            sha256: chunk.sha256.to_vec(),
            missing: chunk.missing.iter().map(|node| node.0).collect(),
            on_disk: chunk.on_disk.iter().map(|node| node.0).collect(),
        }
    }
}

impl TryFrom<v1::NewChunk> for NewChunk {
    type Error = WireError;

    fn try_from(chunk: v1::NewChunk) -> Result<Self, WireError> {
        in_range(
            (1..=CHUNK_MAX).contains(&chunk.len),
            chunk.len,
            "NewChunk.len",
            "1 to 8 MiB",
        )?;
        Ok(NewChunk {
            id: stored_chunk(chunk.id, "NewChunk.id")?,
            len: chunk.len,
            sha256: sha256(&chunk.sha256, "NewChunk.sha256")?,
            missing: node_ids(&chunk.missing, "NewChunk.missing")?,
            on_disk: node_ids(&chunk.on_disk, "NewChunk.on_disk")?,
        })
    }
}

impl From<&FileCommit> for v1::FileCommit {
    fn from(file: &FileCommit) -> Self {
        v1::FileCommit {
            ino: file.ino.0,
            extents: file.extents.iter().map(|&extent| extent.into()).collect(),
            mtime: Some(file.mtime.into()),
            atime: file.atime.map(Into::into),
            kill_suidgid: file.kill_suidgid,
        }
    }
}

impl TryFrom<v1::FileCommit> for FileCommit {
    type Error = WireError;

    fn try_from(file: v1::FileCommit) -> Result<Self, WireError> {
        Ok(FileCommit {
            ino: Ino(file.ino),
            extents: ordered_extents(file.extents, "FileCommit.extents")?,
            mtime: timestamp(file.mtime, "FileCommit.mtime")?,
            atime: file.atime.map(Timestamp::try_from).transpose()?,
            kill_suidgid: file.kill_suidgid,
        })
    }
}

impl From<&Commit> for v1::Commit {
    fn from(commit: &Commit) -> Self {
        v1::Commit {
            chunks: commit.chunks.iter().map(Into::into).collect(),
            files: commit.files.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Commit> for Commit {
    type Error = WireError;

    fn try_from(commit: v1::Commit) -> Result<Self, WireError> {
        at_most(commit.chunks.len(), COMMIT_CHUNKS_MAX, "Commit.chunks")?;
        at_most(commit.files.len(), COMMIT_FILES_MAX, "Commit.files")?;
        let extents = commit.files.iter().map(|file| file.extents.len()).sum();
        at_most(extents, COMMIT_EXTENTS_MAX, "FileCommit.extents of all files")?;
        Ok(Commit {
            chunks: commit
                .chunks
                .into_iter()
                .map(NewChunk::try_from)
                .collect::<Result<_, _>>()?,
            files: commit
                .files
                .into_iter()
                .map(FileCommit::try_from)
                .collect::<Result<_, _>>()?,
        })
    }
}
