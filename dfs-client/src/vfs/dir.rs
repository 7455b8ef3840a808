//! Listing directories. The coordinator's cookies are places in an order that changes never disturb, so that a
//! listing needs only the page it is in.

use super::handle::Handle;
use super::{Caller, DirSlot, Entry, Opened, Vfs};
use crate::inode::Inode;
use crate::wait::Patience;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::Ino;
use dfs_core::keys;
use dfs_core::op::{Op, Reply};
use dfs_core::types::{DirEntry, FileKind, LeaseMode};

/// Entries asked for at a time.
const PAGE: u32 = 1024;
/// A directory with more entries is listed by pages all the same: the handle keeps what it lists.
const HERE_MAX: usize = 16_384;
/// Cookies of `.` and `..`; the coordinator's are greater.
const DOT: u64 = 1;
const DOT_DOT: u64 = 2;

/// The page of a directory that a listing is in.
#[derive(Default)]
pub(super) struct Listing {
    /// The page holds what follows this cookie.
    after: u64,
    entries: Vec<DirEntry>,
    /// Nothing follows the page.
    end: bool,
    filled: bool,
}

impl Listing {
    /// Place of the first entry after the cookie, if the page knows it.
    fn place(&self, cookie: u64) -> Option<usize> {
        if !self.filled || cookie < self.after {
            return None;
        }
        let place = self.entries.partition_point(|entry| entry.cookie <= cookie);
        (place < self.entries.len() || self.end).then_some(place)
    }
}

impl Vfs {
    pub fn opendir(&self, caller: &Caller<'_>, ino: Ino) -> FsResult<Opened> {
        let inode = self.inode(ino);
        let (held, losses) = {
            let mut state = inode.state.lock();
            state.opens += 1;
            let held = self.holds(&state, LeaseMode::Shared) && state.attr.is_some();
            (held, state.content.losses)
        };
        if !held && let Err(error) = self.acquire(&inode, LeaseMode::Shared, self.patience(caller)) {
            self.closed(&inode);
            return Err(error);
        }
        let fh = self
            .handles
            .insert(Handle::new(inode, libc::O_DIRECTORY, true, losses));
        Ok(Opened {
            fh,
            keep_cache: false,
            direct_io: false,
            cache_dir: false,
        })
    }

    pub fn releasedir(&self, _ino: Ino, fh: u64) {
        if let Some(handle) = self.handles.remove(fh) {
            self.closed(&handle.inode);
        }
    }

    /// Hands the entries after the cookie `offset` to the sink until it says that it is full. With `plus` they
    /// come with attributes, and each one taken counts as a lookup.
    pub fn readdir(
        &self,
        caller: &Caller<'_>,
        _ino: Ino,
        fh: u64,
        offset: u64,
        plus: bool,
        sink: &mut dyn FnMut(DirSlot<'_>) -> bool,
    ) -> FsResult<()> {
        let handle = self.handles.find(fh)?;
        let patience = self.patience(caller);
        if offset < DOT_DOT && !self.dots(&handle.inode, offset, patience, sink)? {
            return Ok(());
        }
        let mut listing = handle.listing.lock();
        // A listing from the start must show what is there now.
        listing.filled &= offset > DOT_DOT;
        let mut cookie = if offset <= DOT_DOT { 0 } else { offset };
        let mut handed_out = false;
        loop {
            let place = match listing.place(cookie) {
                Some(place) => place,
                // Names that the kernel may keep do not wait here for others: a recall would not know of them.
                None if handed_out => return Ok(()),
                None => {
                    *listing = match self.page_here(&handle.inode) {
                        Some(page) => page,
                        None => self.page(&handle.inode, cookie, plus, patience)?,
                    };
                    listing.entries.partition_point(|entry| entry.cookie <= cookie)
                }
            };
            for entry in &listing.entries[place..] {
                if !self.slot(&handle.inode, entry, plus, sink) {
                    return Ok(());
                }
                cookie = entry.cookie;
                handed_out = true;
            }
            if listing.end {
                return Ok(());
            }
        }
    }

    /// `.` and `..`: whether the sink wants more.
    fn dots(
        &self,
        inode: &Inode,
        offset: u64,
        patience: Patience<'_>,
        sink: &mut dyn FnMut(DirSlot<'_>) -> bool,
    ) -> FsResult<bool> {
        let ino = self.outward(inode.ino);
        let parent = self.outward(self.parent(inode, patience)?);
        let dots = [(DOT, ino, &b"."[..]), (DOT_DOT, parent, &b".."[..])];
        Ok(dots
            .into_iter()
            .filter(|(cookie, ..)| *cookie > offset)
            .all(|(cookie, ino, name)| {
                sink(DirSlot {
                    ino,
                    cookie,
                    kind: FileKind::Directory,
                    name,
                    entry: None,
                })
            }))
    }

    /// The directory above. One that was found by name is known; of another one (a handle that outlived what was
    /// known, a move on another mount) the coordinator knows it.
    fn parent(&self, inode: &Inode, patience: Patience<'_>) -> FsResult<Ino> {
        if inode.ino == self.root {
            return Ok(inode.ino);
        }
        {
            let state = inode.state.lock();
            if let Some(parent) = state.parent
                && self.holds(&state, LeaseMode::Shared)
            {
                return Ok(parent);
            }
        }
        let op = Op::Lookup {
            parent: inode.ino,
            name: b"..".to_vec(),
        };
        match self.session.call(op, patience) {
            Ok(Reply::Entry { attr, .. }) => {
                inode.state.lock().set_parent(attr.ino);
                Ok(attr.ino)
            }
            Ok(_) => Err(FsError::Io),
            // A removed directory may have outlived the one above.
            Err(FsError::Stale) => Ok(inode.ino),
            Err(error) => Err(error),
        }
    }

    /// All entries, where they are known: in the coordinator's order, with its cookies.
    fn page_here(&self, inode: &Inode) -> Option<Listing> {
        let names: Vec<(Vec<u8>, Ino)> = {
            let state = inode.state.lock();
            let whole = state.complete && state.names.len() <= HERE_MAX;
            if !whole || state.recalling > 0 || !self.holds(&state, LeaseMode::Shared) {
                return None;
            }
            let present = |(name, ino): (&Vec<u8>, &Option<Ino>)| ino.map(|ino| (name.clone(), ino));
            state.names.iter().filter_map(present).collect()
        };
        let mut entries = Vec::with_capacity(names.len());
        for (name, ino) in names {
            let kind = self.caches.table.find(ino)?.state.lock().attr?.kind;
            entries.push((keys::name_hash(&name), name, ino, kind));
        }
        entries.sort_unstable_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
        let mut before = (0, 0);
        let entries = entries.into_iter().map(|(hash, name, ino, kind)| {
            before = if before.0 == hash {
                (hash, before.1 + 1)
            } else {
                (hash, 0)
            };
            let cookie = keys::cookie(hash, before.1);
            DirEntry {
                name,
                ino,
                kind,
                cookie,
                attr: None,
            }
        });
        Some(Listing {
            after: 0,
            entries: entries.collect(),
            end: true,
            filled: true,
        })
    }

    fn page(&self, inode: &Inode, after: u64, attrs: bool, patience: Patience<'_>) -> FsResult<Listing> {
        let place = inode.state.lock().changed_here;
        self.save_named(place, patience)?;
        match self.session.call(
            Op::ReadDir {
                ino: inode.ino,
                after,
                limit: PAGE,
                attrs,
                alone: false,
            },
            patience,
        )? {
            Reply::Page { entries, end } => {
                if entries.is_empty() && !end {
                    return Err(FsError::Io);
                }
                Ok(Listing {
                    after,
                    entries,
                    end,
                    filled: true,
                })
            }
            _ => Err(FsError::Io),
        }
    }

    /// Whether the sink took the entry.
    fn slot(
        &self,
        directory: &Inode,
        entry: &DirEntry,
        plus: bool,
        sink: &mut dyn FnMut(DirSlot<'_>) -> bool,
    ) -> bool {
        let attributes = if plus {
            self.leased_entry(directory, entry)
        } else {
            None
        };
        let counted = attributes.is_some();
        let taken = sink(DirSlot {
            ino: self.outward(entry.ino),
            cookie: entry.cookie,
            kind: entry.kind,
            name: &entry.name,
            entry: attributes,
        });
        if counted && !taken {
            self.forgotten(entry.ino, 1);
        }
        taken
    }

    /// The attributes that a lease keeps true, counted as a lookup. Without a lease the page's own may be old, and
    /// the kernel asks again by name.
    fn leased_entry(&self, directory: &Inode, entry: &DirEntry) -> Option<Entry> {
        let inode = self.caches.table.find(entry.ino)?;
        let mut state = inode.state.lock();
        if !self.holds(&state, LeaseMode::Shared) {
            return None;
        }
        // It has the name already, and keeps it longer than what it would be told here.
        if state.lookups > 0 && state.is_known_as(directory.ino, &entry.name) {
            return None;
        }
        let attr = state.attr()?;
        state.lookups += 1;
        state.found_as(directory.ino, &entry.name);
        let attr_ttl = self.attr_ttl(&inode, &mut state);
        drop(state);
        Some(Entry {
            attr: self.shown(attr),
            attr_ttl,
            entry_ttl: self.listed_name_ttl(directory, &entry.name, entry.ino),
        })
    }
}
