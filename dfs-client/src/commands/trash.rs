//! `dfs trash`: how long removed files are kept, which there are, bringing them back, getting rid of them.

use super::space::{Space, path_in_volume, seconds};
use super::{CLEAN, Failure, finish, size, target};
use dfs_proto::v1;
use serde_json::json;
use std::process::ExitCode;

/// What is asked of `dfs trash`.
pub enum Ask {
    /// How long removed files are kept: `24h`; `0` is no trash.
    Retain {
        time: String,
    },
    /// What was removed, below a path.
    List {
        below: Option<String>,
    },
    /// Back to where it was, or to `to`, a path that does not exist.
    Restore {
        id: u64,
        to: Option<String>,
    },
    Empty {
        older_than: Option<String>,
    },
}

/// Does it on the volume that `given` names; without it, on the one that is mounted here.
pub fn run(given: Option<&str>, ask: Ask, json: bool) -> ExitCode {
    finish("trash", async {
        let below = match &ask {
            Ask::List { below: Some(path) } | Ask::Restore { to: Some(path), .. } => {
                Some(path_in_volume(path)?)
            }
            _ => None,
        };
        let (source, path) = match (given, below) {
            (None, Some((source, path))) => (source, Some(path)),
            (_, below) => (target::volume(given)?, below.map(|below| below.1)),
        };
        let mut space = Space::of(&source).await?;
        match ask {
            Ask::Retain { time } => {
                let seconds = seconds(&time)?;
                let request = space.ask(v1::SetRetentionRequest { seconds });
                space.client.set_retention(request).await?;
            }
            Ask::List { .. } => list(&mut space, path.unwrap_or_default(), json).await?,
            Ask::Restore { id, .. } => {
                let request = space.ask(v1::RestoreRequest { ino: id, to: path });
                space.client.restore(request).await?;
            }
            Ask::Empty { older_than } => {
                let older_than_seconds = older_than.as_deref().map_or(Ok(0), seconds)?;
                empty(&mut space, older_than_seconds).await?;
            }
        }
        Ok(CLEAN)
    })
}

async fn list(space: &mut Space, prefix: Vec<u8>, json: bool) -> Result<(), Failure> {
    let mut after = Vec::new();
    let mut shown = Vec::new();
    loop {
        let request = space.ask(v1::ListTrashRequest {
            after,
            prefix: prefix.clone(),
        });
        let page = space.client.list_trash(request).await?.into_inner();
        for item in page.items {
            let path = String::from_utf8_lossy(&item.path).into_owned();
            let removed = item.removed.unwrap_or_default().secs;
            if json {
                shown.push(json!({
                    "id": item.ino,
                    "path": path,
                    "kind": kind(item.kind()),
                    "removed": removed,
                    "bytes": item.bytes,
                    "uid": item.uid,
                }));
            } else {
                let bytes = size(item.bytes);
                say!("{}\t{removed}\t{}\t{bytes}\t{path}", item.ino, kind(item.kind()));
            }
        }
        if page.next.is_empty() {
            if json {
                say!(
                    "{:#}",
                    json!({ "retention_seconds": page.retention_seconds, "items": shown })
                );
            }
            return Ok(());
        }
        after = page.next;
    }
}

fn kind(kind: v1::FileKind) -> &'static str {
    match kind {
        v1::FileKind::Directory => "directory",
        v1::FileKind::Symlink => "symlink",
        v1::FileKind::File => "file",
        _ => "other",
    }
}

async fn empty(space: &mut Space, older_than_seconds: u64) -> Result<(), Failure> {
    loop {
        let request = space.ask(v1::EmptyTrashRequest { older_than_seconds });
        if !space.client.empty_trash(request).await?.into_inner().more {
            return Ok(());
        }
    }
}
