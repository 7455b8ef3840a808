//! A naive reference file system: a map of nodes, a map of bytes per file, POSIX written down a second time in
//! the plainest way. The property test compares `execute` with it. It knows nothing of rows and extents.

use dfs_core::error::FsError::{self, *};
use dfs_core::types::FileKind;
use std::collections::{BTreeMap, BTreeSet};

/// A byte of a file: allocated zero, or a byte of a chunk.
pub type Byte = Option<(u64, u64)>;

#[derive(Clone, Debug)]
pub struct Node {
    pub kind: FileKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub bytes: BTreeMap<u64, Byte>,
    pub children: BTreeMap<Vec<u8>, u64>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub mtime: i64,
    pub ctime: i64,
    /// Sessions that hold it open.
    pub open: BTreeSet<u128>,
    /// Made without a name and never had one.
    pub temp: bool,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub nodes: BTreeMap<u64, Node>,
    pub now: i64,
}

type Done<T = ()> = Result<T, FsError>;

impl Model {
    pub fn new(now: i64) -> Model {
        let root = Model::node(FileKind::Directory, 0o755, 0, 0, now);
        Model {
            nodes: BTreeMap::from([(1, root)]),
            now,
        }
    }

    fn node(kind: FileKind, mode: u32, uid: u32, gid: u32, now: i64) -> Node {
        Node {
            kind,
            mode,
            uid,
            gid,
            size: 0,
            bytes: BTreeMap::new(),
            children: BTreeMap::new(),
            xattrs: BTreeMap::new(),
            mtime: now,
            ctime: now,
            open: BTreeSet::new(),
            temp: false,
        }
    }

    pub fn get(&self, ino: u64) -> Done<&Node> {
        self.nodes.get(&ino).ok_or(Stale)
    }

    fn node_mut(&mut self, ino: u64) -> &mut Node {
        self.nodes.get_mut(&ino).expect("looked at before")
    }

    fn is_dir(&self, ino: u64) -> bool {
        self.nodes[&ino].kind == FileKind::Directory
    }

    /// Every place where the inode is named.
    fn names(&self, ino: u64) -> Vec<(u64, Vec<u8>)> {
        let mut names = Vec::new();
        for (parent, node) in &self.nodes {
            for (name, child) in &node.children {
                if *child == ino {
                    names.push((*parent, name.clone()));
                }
            }
        }
        names
    }

    pub fn nlink(&self, ino: u64) -> u32 {
        let names = self.names(ino).len() as u32;
        if !self.is_dir(ino) {
            return names;
        }
        if names == 0 && ino != 1 {
            return 0;
        }
        2 + self.nodes[&ino]
            .children
            .values()
            .filter(|child| self.is_dir(**child))
            .count() as u32
    }

    pub fn size(&self, ino: u64) -> u64 {
        let node = &self.nodes[&ino];
        match node.kind {
            FileKind::Directory => node.children.len() as u64,
            _ => node.size,
        }
    }

    fn dir(&self, ino: u64) -> Done<&Node> {
        match self.get(ino)? {
            node if node.kind == FileKind::Directory => Ok(node),
            _ => Err(NotDirectory),
        }
    }

    fn living(&self, ino: u64) -> Done {
        self.dir(ino)?;
        if self.nlink(ino) == 0 {
            Err(NotFound)
        } else {
            Ok(())
        }
    }

    fn name(name: &[u8]) -> Done {
        if name.len() > 255 {
            Err(NameTooLong)
        } else {
            Ok(())
        }
    }

    fn child(&self, parent: u64, name: &[u8]) -> Option<u64> {
        self.nodes[&parent].children.get(name).copied()
    }

    fn touch_dir(&mut self, ino: u64) {
        let now = self.now;
        let node = self.node_mut(ino);
        (node.mtime, node.ctime) = (now, now);
    }

    fn touch(&mut self, ino: u64) {
        let now = self.now;
        self.node_mut(ino).ctime = now;
    }

    /// Frees what has no name and no holder.
    fn reap(&mut self, ino: u64) {
        if ino != 1 && self.names(ino).is_empty() && self.nodes[&ino].open.is_empty() {
            self.nodes.remove(&ino);
        }
    }

    /// A new inode; its parent's entry unless it is temporary.
    pub fn make(&mut self, ino: u64, parent: u64, name: Option<&[u8]>, kind: FileKind, mode: u32) -> Done {
        self.living(parent)?;
        if let Some(name) = name {
            Self::name(name)?;
            if self.child(parent, name).is_some() {
                return Err(Exists);
            }
        }
        let dir = &self.nodes[&parent];
        let inherits = dir.mode & 0o2000 != 0;
        let gid = if inherits { dir.gid } else { 1000 };
        let mut mode = mode & !0o022;
        match kind {
            FileKind::Directory => mode = mode & 0o1777 | if inherits { 0o2000 } else { 0 },
            FileKind::Symlink => mode = 0o777,
            _ => {}
        }
        let mut node = Self::node(kind, mode, 1000, gid, self.now);
        if kind == FileKind::Symlink {
            node.size = 6;
        }
        node.temp = name.is_none();
        self.nodes.insert(ino, node);
        if let Some(name) = name {
            self.node_mut(parent).children.insert(name.to_vec(), ino);
            self.touch_dir(parent);
        }
        Ok(())
    }

    pub fn link(&mut self, ino: u64, parent: u64, name: &[u8]) -> Done {
        self.living(parent)?;
        Self::name(name)?;
        if self.child(parent, name).is_some() {
            return Err(Exists);
        }
        if self.get(ino)?.kind == FileKind::Directory {
            return Err(NotPermitted);
        }
        if self.nlink(ino) == 0 && !self.nodes[&ino].temp {
            return Err(NotFound);
        }
        self.node_mut(ino).temp = false;
        self.node_mut(parent).children.insert(name.to_vec(), ino);
        self.touch_dir(parent);
        self.touch(ino);
        Ok(())
    }

    fn drop_name(&mut self, parent: u64, name: &[u8]) {
        let ino = self
            .node_mut(parent)
            .children
            .remove(name)
            .expect("looked up before");
        self.touch_dir(parent);
        self.touch(ino);
        self.reap(ino);
    }

    pub fn unlink(&mut self, parent: u64, name: &[u8]) -> Done<u64> {
        self.dir(parent)?;
        Self::name(name)?;
        let ino = self.child(parent, name).ok_or(NotFound)?;
        if self.is_dir(ino) {
            return Err(IsDirectory);
        }
        self.drop_name(parent, name);
        Ok(ino)
    }

    pub fn rmdir(&mut self, parent: u64, name: &[u8]) -> Done<u64> {
        self.dir(parent)?;
        Self::name(name)?;
        let ino = self.child(parent, name).ok_or(NotFound)?;
        if !self.is_dir(ino) {
            return Err(NotDirectory);
        }
        if !self.nodes[&ino].children.is_empty() {
            return Err(NotEmpty);
        }
        self.drop_name(parent, name);
        Ok(ino)
    }

    /// Whether `ino` is `top` or below it.
    fn below(&self, ino: u64, top: u64) -> bool {
        ino == top
            || self.nodes[&top]
                .children
                .values()
                .any(|child| self.below(ino, *child))
    }

    pub fn rename(&mut self, from: (u64, &[u8]), to: (u64, &[u8]), replace: bool, exchange: bool) -> Done {
        self.dir(from.0)?;
        self.dir(to.0)?;
        Self::name(from.1)?;
        let source = self.child(from.0, from.1).ok_or(NotFound)?;
        self.living(to.0)?;
        Self::name(to.1)?;
        let target = self.child(to.0, to.1);
        if target.is_some() && !replace && !exchange {
            return Err(Exists);
        }
        if target.is_none() && exchange {
            return Err(NotFound);
        }
        if from.0 != to.0 {
            if self.below(to.0, source) {
                return Err(Invalid);
            }
            if target.is_some_and(|target| self.below(from.0, target)) {
                return Err(if exchange { Invalid } else { NotEmpty });
            }
        }
        if target == Some(source) {
            return Ok(());
        }
        if exchange {
            let target = target.expect("looked at before");
            self.node_mut(from.0).children.insert(from.1.to_vec(), target);
            self.node_mut(to.0).children.insert(to.1.to_vec(), source);
            self.touch(target);
        } else {
            if let Some(target) = target {
                match (self.is_dir(source), self.is_dir(target)) {
                    (true, false) => return Err(NotDirectory),
                    (false, true) => return Err(IsDirectory),
                    (true, true) if !self.nodes[&target].children.is_empty() => return Err(NotEmpty),
                    _ => self.drop_name(to.0, to.1),
                }
            }
            self.node_mut(from.0).children.remove(from.1);
            self.node_mut(to.0).children.insert(to.1.to_vec(), source);
        }
        self.touch_dir(from.0);
        self.touch_dir(to.0);
        self.touch(source);
        Ok(())
    }

    pub fn chmod(&mut self, ino: u64, mode: u32) -> Done {
        self.get(ino)?;
        self.node_mut(ino).mode = mode & 0o7777;
        self.touch(ino);
        Ok(())
    }

    pub fn chown(&mut self, ino: u64, uid: u32, gid: u32) -> Done {
        self.get(ino)?;
        let node = self.node_mut(ino);
        (node.uid, node.gid) = (uid, gid);
        if node.kind != FileKind::Directory {
            node.mode &= !0o4000;
            if node.mode & 0o010 != 0 {
                node.mode &= !0o2000;
            }
        }
        self.touch(ino);
        Ok(())
    }

    fn file(&self, ino: u64) -> Done<&Node> {
        match self.get(ino)? {
            node if node.kind == FileKind::File => Ok(node),
            node if node.kind == FileKind::Directory => Err(IsDirectory),
            _ => Err(Invalid),
        }
    }

    pub fn truncate(&mut self, ino: u64, size: u64) -> Done {
        let old = self.file(ino)?.size;
        if size <= old {
            self.node_mut(ino).bytes.retain(|place, _| *place < size);
        }
        self.node_mut(ino).size = size;
        self.touch_dir(ino);
        Ok(())
    }

    /// Writes bytes of a chunk; a file that is gone takes nothing.
    pub fn write(&mut self, ino: u64, offset: u64, len: u64, chunk: u64) -> Done {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&ino) else {
            return Ok(());
        };
        if node.kind != FileKind::File {
            return Err(Invalid);
        }
        for byte in 0..len {
            node.bytes.insert(offset + byte, Some((chunk, byte)));
        }
        node.size = node.size.max(offset + len);
        (node.mtime, node.ctime) = (now, now);
        Ok(())
    }

    /// `fallocate`: 0 reserve, 1 punch, 2 zero.
    pub fn allocate(&mut self, ino: u64, mode: u8, keep_size: bool, offset: u64, len: u64) -> Done {
        self.file(ino)?;
        if len == 0 {
            return Err(Invalid);
        }
        let now = self.now;
        let node = self.node_mut(ino);
        for place in offset..offset + len {
            match mode {
                0 => drop(node.bytes.entry(place).or_insert(None)),
                1 => drop(node.bytes.remove(&place)),
                _ => drop(node.bytes.insert(place, None)),
            }
        }
        let grows = mode != 1 && !keep_size && offset + len > node.size;
        if grows {
            node.size = offset + len;
        }
        if grows || mode != 0 {
            node.mtime = now;
        }
        node.ctime = now;
        Ok(())
    }

    pub fn copy(&mut self, src: (u64, u64), dst: (u64, u64), len: u64) -> Done<u64> {
        let source = self.file(src.0)?.clone();
        self.file(dst.0)?;
        let len = len.min(source.size.saturating_sub(src.1));
        if len == 0 {
            return Ok(0);
        }
        if src.0 == dst.0 && dst.1 < src.1 + len && src.1 < dst.1 + len {
            return Err(Invalid);
        }
        let node = self.node_mut(dst.0);
        for byte in 0..len {
            match source.bytes.get(&(src.1 + byte)) {
                Some(found) => node.bytes.insert(dst.1 + byte, *found),
                None => node.bytes.remove(&(dst.1 + byte)),
            };
        }
        node.size = node.size.max(dst.1 + len);
        self.touch_dir(dst.0);
        Ok(len)
    }

    pub fn set_xattr(&mut self, ino: u64, name: &[u8], value: &[u8], create: bool) -> Done {
        let node = self.get(ino)?;
        if !matches!(node.kind, FileKind::File | FileKind::Directory) {
            return Err(NotPermitted);
        }
        if create && node.xattrs.contains_key(name) {
            return Err(Exists);
        }
        self.node_mut(ino).xattrs.insert(name.to_vec(), value.to_vec());
        self.touch(ino);
        Ok(())
    }

    pub fn remove_xattr(&mut self, ino: u64, name: &[u8]) -> Done {
        let node = self.get(ino)?;
        if !matches!(node.kind, FileKind::File | FileKind::Directory) {
            return Err(NotPermitted);
        }
        self.node_mut(ino).xattrs.remove(name).ok_or(NoAttribute)?;
        self.touch(ino);
        Ok(())
    }

    pub fn close(&mut self, session: u128, ino: u64) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.open.remove(&session);
            self.reap(ino);
        }
    }

    pub fn end_session(&mut self, session: u128) {
        let inos: Vec<u64> = self.nodes.keys().copied().collect();
        for ino in inos {
            self.close(session, ino);
        }
    }
}
