//! Paths of directories and directories of paths, for operators. There is no index from an inode to its name, so a
//! path costs a look through each directory above; it is remembered for the length of one answer.

use super::stopping;
use crate::coordinator::host::Handle;
use dfs_core::error::FsError;
use dfs_core::ids::Ino;
use dfs_core::keys::{self, Key};
use dfs_core::op::{Op, Reply};
use dfs_core::rows::{DentryRow, InodeRow, TrashRow};
use dfs_core::view::{View, ViewError};
use dfs_proto::status::to_status;
use dfs_proto::v1;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use tonic::Status;

/// Directories above one another that are followed.
const DEPTH_MAX: usize = 4096;
/// What stands for a directory that has no way up any more.
const LOST: &[u8] = b"(gone)";

/// The paths of directories at one moment.
pub struct Paths<'a> {
    view: &'a dyn View,
    known: BTreeMap<Ino, Vec<u8>>,
}

impl<'a> Paths<'a> {
    pub fn new(view: &'a dyn View) -> Paths<'a> {
        Paths {
            view,
            known: BTreeMap::from([(Ino::ROOT, Vec::new())]),
        }
    }

    /// The path of an entry.
    pub fn below(&mut self, parent: Ino, name: &[u8]) -> Result<Vec<u8>, ViewError> {
        let mut path = self.up(parent)?;
        path.push(b'/');
        path.extend_from_slice(name);
        Ok(path)
    }

    /// The path of a directory; the root's is `/`.
    pub fn of(&mut self, dir: Ino) -> Result<Vec<u8>, ViewError> {
        let path = self.up(dir)?;
        Ok(if path.is_empty() { b"/".to_vec() } else { path })
    }

    fn up(&mut self, dir: Ino) -> Result<Vec<u8>, ViewError> {
        let mut way = Vec::new();
        let mut place = dir;
        let mut path = loop {
            if let Some(path) = self.known.get(&place) {
                break path.clone();
            }
            match self.entry_of(place)? {
                Some((parent, name)) if way.len() < DEPTH_MAX => {
                    way.push((place, name));
                    place = parent;
                }
                _ => break LOST.to_vec(),
            }
        };
        for (place, name) in way.into_iter().rev() {
            path.push(b'/');
            path.extend_from_slice(&name);
            self.known.insert(place, path.clone());
        }
        Ok(path)
    }

    /// The directory above and the name there, of a living directory or of one in the trash.
    fn entry_of(&self, dir: Ino) -> Result<Option<(Ino, Vec<u8>)>, ViewError> {
        let key = keys::inode(dir);
        let Some(value) = self.view.get(&key)? else {
            return Ok(None);
        };
        let row = InodeRow::decode(&key, &value)?;
        if row.nlink == 0 {
            let key = keys::trash(row.ctime, dir);
            let row = self.view.get(&key)?.map(|value| TrashRow::decode(&key, &value));
            return Ok(row.transpose()?.map(|row| (row.origin.parent, row.origin.name)));
        }
        let mut found = None;
        let mut damage = None;
        let (start, end) = keys::dentry_range(row.parent, 0);
        self.view.scan(&start, &end, &mut |key, value| {
            match (DentryRow::decode(key, value), keys::parse(key)) {
                (Ok(entry), Some(Key::Dentry { name, .. })) if entry.ino == dir => found = Some(name),
                (Err(error), _) => damage = Some(error),
                _ => return ControlFlow::Continue(()),
            }
            ControlFlow::Break(())
        })?;
        match damage {
            Some(error) => Err(error),
            None => Ok(found.map(|name| (row.parent, name))),
        }
    }
}

/// The directory and the last name of a path.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let end = path
        .iter()
        .rposition(|byte| *byte != b'/')
        .map_or(0, |last| last + 1);
    let path = &path[..end];
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// The inode that an operator means.
pub async fn place(handle: &Handle, place: Option<v1::Place>) -> Result<Ino, Status> {
    match place.and_then(|place| place.what) {
        Some(v1::place::What::Ino(ino)) => Ok(Ino(ino)),
        Some(v1::place::What::Path(path)) => locate(handle, &path).await,
        None => Err(Status::invalid_argument("name an inode or a path")),
    }
}

/// The inode of a path below the volume's root, as the newest operations left it.
pub async fn locate(handle: &Handle, path: &[u8]) -> Result<Ino, Status> {
    let mut ino = Ino::ROOT;
    for name in path.split(|byte| *byte == b'/') {
        if name.is_empty() || name == b"." {
            continue;
        }
        let op = Op::Lookup {
            parent: ino,
            name: name.to_vec(),
        };
        ino = match handle.own(op).await {
            Ok(Reply::Entry { attr, .. }) => attr.ino,
            Ok(_) => return Err(Status::internal("a lookup without an entry")),
            Err(FsError::Interrupted) => return Err(stopping()),
            Err(error) => {
                let shown = String::from_utf8_lossy(path);
                return Err(to_status(
                    error,
                    format!("no such directory in the volume: {shown}"),
                ));
            }
        };
    }
    Ok(ino)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn the_last_name_is_split_off() {
        let parts = |path: &'static str| {
            let (parent, name) = split(path.as_bytes());
            (parent.to_vec(), name.to_vec())
        };
        assert_eq!(parts("/a/b"), (b"/a".to_vec(), b"b".to_vec()));
        assert_eq!(parts("a"), (Vec::new(), b"a".to_vec()));
        assert_eq!(parts("/a//"), (Vec::new(), b"a".to_vec()));
        assert_eq!(parts("/"), (Vec::new(), Vec::new()));
    }
}
