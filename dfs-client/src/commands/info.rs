//! `dfs info PATH`: an inode, its extents, its chunks and where they are.

use super::{CLEAN, Failure, connect, finish, hex, place, size, target};
use crate::config::Source;
use dfs_core::types::{Attr, FileKind};
use dfs_proto::v1;
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

/// The number that the root of every mount has.
const MOUNT_ROOT: u64 = 1;

/// Shows the inode behind a path on a mount, or behind `dfs://HOST/VOLUME/PATH`.
pub fn run(path: &Path, json: bool) -> ExitCode {
    finish("info", info(path, json))
}

async fn info(path: &Path, json: bool) -> Result<u8, Failure> {
    let (source, what) = wanted(path)?;
    let (mut admin, _) = connect(&source).await?;
    let request = v1::InspectRequest { what: Some(what) };
    let found = admin.inspect(request).await?.into_inner();
    let attr = found.attr.and_then(|attr| Attr::try_from(attr).ok());
    let attr = attr.ok_or_else(|| Failure::Usage("the coordinator sent no attributes".to_string()))?;
    if json {
        say!("{:#}", as_json(&attr, &found));
    } else {
        print(path, &attr, &found);
    }
    Ok(CLEAN)
}

fn wanted(path: &Path) -> Result<(Source, v1::inspect_request::What), Failure> {
    use v1::inspect_request::What;
    if let Some(url) = path.to_str().filter(|path| path.starts_with("dfs://")) {
        let source = Source::parse(url).map_err(|error| Failure::Usage(error.to_string()))?;
        let below = source.subdir.clone().into_bytes();
        return Ok((source, What::Path(below)));
    }
    let mounted = target::mount_of(path)?;
    let failed = |error| Failure::Io {
        what: path.display().to_string(),
        error,
    };
    // What was just written is asked about as well: it becomes durable first.
    if let Ok(file) = std::fs::File::open(path)
        && path.is_file()
    {
        file.sync_all().map_err(failed)?;
    }
    let ino = path.symlink_metadata().map_err(failed)?.ino();
    let below = mounted.source.subdir.clone().into_bytes();
    let what = if ino == MOUNT_ROOT {
        What::Path(below)
    } else {
        What::Ino(ino)
    };
    Ok((mounted.source, what))
}

fn kind(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symlink",
        FileKind::Fifo => "fifo",
        FileKind::Socket => "socket",
        FileKind::CharDevice => "character device",
        FileKind::BlockDevice => "block device",
    }
}

fn chunk_name(id: Option<v1::ChunkId>) -> String {
    match id.unwrap_or_default() {
        v1::ChunkId { set: 0, .. } => "zeros".to_string(),
        v1::ChunkId { set, seq } => format!("{set}.{seq}"),
    }
}

fn as_json(attr: &Attr, found: &v1::InspectReply) -> Value {
    let extents: Vec<Value> = found
        .extents
        .iter()
        .map(|extent| {
            json!({
                "offset": extent.offset,
                "len": extent.len,
                "chunk": chunk_name(extent.chunk),
                "chunk_offset": extent.chunk_offset,
            })
        })
        .collect();
    let chunks: Vec<Value> = found
        .chunks
        .iter()
        .map(|chunk| {
            let members: Vec<Value> = chunk
                .members
                .iter()
                .map(|node| {
                    let missing = chunk.missing.contains(&node.id);
                    json!({ "node": node.id, "address": node.address, "alive": node.alive, "missing": missing })
                })
                .collect();
            json!({
                "id": chunk_name(chunk.id),
                "len": chunk.len,
                "live_bytes": chunk.live_bytes,
                "references": chunk.references,
                "digest": hex(&chunk.sha256),
                "members": members,
            })
        })
        .collect();
    let xattrs: Vec<_> = found
        .xattrs
        .iter()
        .map(|name| String::from_utf8_lossy(name))
        .collect();
    json!({
        "ino": attr.ino.0,
        "kind": kind(attr.kind),
        "mode": format!("{:04o}", attr.mode),
        "nlink": attr.nlink,
        "uid": attr.uid,
        "gid": attr.gid,
        "size": attr.size,
        "allocated": attr.blocks * 512,
        "version": attr.version,
        "extents": extents,
        "more_extents": found.more_extents,
        "chunks": chunks,
        "xattrs": xattrs,
    })
}

fn print(path: &Path, attr: &Attr, found: &v1::InspectReply) {
    say!("{}", path.display());
    say!(
        "inode {}: {}, mode {:04o}, {} links, owner {}:{}, {} ({} allocated), version {}",
        attr.ino,
        kind(attr.kind),
        attr.mode,
        attr.nlink,
        attr.uid,
        attr.gid,
        size(attr.size),
        size(attr.blocks * 512),
        attr.version,
    );
    for name in &found.xattrs {
        say!("xattr {}", String::from_utf8_lossy(name));
    }
    for extent in &found.extents {
        say!(
            "extent {}+{}: chunk {} at {}",
            extent.offset,
            extent.len,
            chunk_name(extent.chunk),
            extent.chunk_offset
        );
    }
    if found.more_extents {
        say!("(more extents follow)");
    }
    for chunk in &found.chunks {
        say!(
            "chunk {}: {}, {} live in {} extents, digest {}",
            chunk_name(chunk.id),
            size(u64::from(chunk.len)),
            size(chunk.live_bytes),
            chunk.references,
            hex(&chunk.sha256)
        );
        for member in &chunk.members {
            let missing = if chunk.missing.contains(&member.id) {
                ", copy missing"
            } else {
                ""
            };
            let alive = if member.alive { "alive" } else { "dead" };
            say!("  on node {}, {alive}{missing}", place(member));
        }
    }
}
