//! One inode by number or path, with its extents, chunks and their members, from the durable state.

use crate::coordinator::executor::Status as Figures;
use crate::coordinator::host::Handle;
use crate::coordinator::state::Moment;
use dfs_core::error::FsError;
use dfs_core::ids::{ChunkId, Ino};
use dfs_core::keys::{self, Key, KeyRange};
use dfs_core::rows::{ChunkRow, DentryRow, ExtentRow, InodeRow};
use dfs_core::types::Extent;
use dfs_core::view::{View, ViewError};
use dfs_proto::status::to_status;
use dfs_proto::v1::inspect_request::What;
use dfs_proto::v1::{InspectChunk, InspectReply, InspectRequest, Node};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use tonic::Status;

const EXTENTS_MAX: usize = 65_536;

pub fn inspect(handle: &Handle, figures: &Figures, request: InspectRequest) -> Result<InspectReply, Status> {
    let moment = handle
        .store
        .moment()
        .map_err(|error| Status::internal(error.to_string()))?;
    let ino = match request.what {
        Some(What::Ino(ino)) => Ino(ino),
        Some(What::Path(path)) => resolve(&moment, &path)?,
        None => return Err(Status::invalid_argument("name an inode or a path")),
    };
    let row = inode(&moment, ino)?.ok_or_else(|| to_status(FsError::NotFound, format!("no inode {ino}")))?;
    let mut extents: Vec<Extent> = scan(
        &moment,
        keys::prefix::extents(ino, row.content),
        EXTENTS_MAX + 1,
        |key, value| match keys::parse(key) {
            Some(Key::Extent { end, .. }) => Ok(ExtentRow::decode(key, value)?.extent(end)),
            _ => Ok(None),
        },
    )?;
    let more_extents = extents.len() > EXTENTS_MAX;
    extents.truncate(EXTENTS_MAX);
    let xattrs = scan(
        &moment,
        keys::prefix::xattrs(ino),
        EXTENTS_MAX,
        |key, _| match keys::parse(key) {
            Some(Key::Xattr { name, .. }) => Ok(Some(name)),
            _ => Ok(None),
        },
    )?;
    let ids: BTreeSet<ChunkId> = extents
        .iter()
        .map(|extent| extent.chunk)
        .filter(|id| *id != ChunkId::ZEROS)
        .collect();
    let chunks = ids
        .into_iter()
        .map(|id| chunk(&moment, figures, id))
        .collect::<Result<_, _>>()?;
    Ok(InspectReply {
        attr: Some(row.attr(ino).into()),
        extents: extents.into_iter().map(Into::into).collect(),
        more_extents,
        chunks,
        xattrs,
    })
}

fn internal(error: ViewError) -> Status {
    Status::internal(error.to_string())
}

fn inode(moment: &Moment, ino: Ino) -> Result<Option<InodeRow>, Status> {
    let key = keys::inode(ino);
    let value = moment.get(&key).map_err(internal)?;
    value
        .map(|value| InodeRow::decode(&key, &value))
        .transpose()
        .map_err(internal)
}

fn resolve(moment: &Moment, path: &[u8]) -> Result<Ino, Status> {
    let mut ino = Ino::ROOT;
    for name in path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
    {
        let key = keys::dentry(ino, name);
        let value = moment.get(&key).map_err(internal)?;
        let Some(value) = value else {
            let shown = String::from_utf8_lossy(path).into_owned();
            return Err(to_status(
                FsError::NotFound,
                format!("no such path in the volume: {shown}"),
            ));
        };
        ino = DentryRow::decode(&key, &value).map_err(internal)?.ino;
    }
    Ok(ino)
}

fn chunk(moment: &Moment, figures: &Figures, id: ChunkId) -> Result<InspectChunk, Status> {
    let key = keys::chunk(id);
    let value = moment.get(&key).map_err(internal)?;
    let row = value
        .map(|value| ChunkRow::decode(&key, &value))
        .transpose()
        .map_err(internal)?;
    let missing = scan(
        moment,
        keys::prefix::missing_of(id),
        usize::MAX,
        |key, _| match keys::parse(key) {
            Some(Key::Missing { node, .. }) => Ok(Some(node.0)),
            _ => Ok(None),
        },
    )?;
    let members = figures.sets.get(&id.set).map_or(&[][..], |set| &set.members);
    let members = members.iter().filter_map(|member| {
        let node = figures.nodes.get(member)?;
        let (address, zone) = (node.row.address.clone(), node.row.zone.clone());
        Some(Node {
            id: member.0,
            address,
            alive: node.alive,
            zone,
        })
    });
    Ok(InspectChunk {
        id: Some(id.into()),
        len: row.map_or(0, |row| row.len),
        live_bytes: row.map_or(0, |row| row.live_bytes),
        references: row.map_or(0, |row| row.references.min(u64::from(u32::MAX)) as u32),
        sha256: row.map_or_else(Vec::new, |row| row.sha256.to_vec()),
        members: members.collect(),
        missing,
    })
}

fn scan<T>(
    moment: &Moment,
    (start, end): KeyRange,
    limit: usize,
    read: impl Fn(&[u8], &[u8]) -> Result<Option<T>, ViewError>,
) -> Result<Vec<T>, Status> {
    let mut found = Vec::new();
    let mut failure = None;
    let scanned = moment.scan(&start, &end, &mut |key, value| {
        match read(key, value) {
            Ok(row) => found.extend(row),
            Err(error) => failure = Some(error),
        }
        let stop = failure.is_some() || found.len() >= limit;
        if stop {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    scanned.map_err(internal)?;
    failure.map_or(Ok(found), |error| Err(internal(error)))
}
