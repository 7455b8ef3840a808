//! What this client knows of inodes, under leases. [`Inode`] owns the state; the transitions that replies and
//! recalls make are in `apply` and `recall`, those of writing and flushing in `data`. Nothing here calls a server:
//! whoever has a state locked must not call the session.

mod answering;
pub(crate) mod apply;
pub(crate) mod content;
mod doubt;
mod named;
mod pages;
mod ranges;
pub(crate) mod recall;
pub(crate) mod release;
mod table;

pub(crate) use answering::{answered, answering};
pub(crate) use content::Content;
pub(crate) use named::{Needs, needs};
pub(crate) use table::Table;

use dfs_core::extents::ExtentMap;
use dfs_core::ids::Ino;
use dfs_core::types::{Attr, FileKind, LeaseMode, Timestamp};
use parking_lot::{Condvar, Mutex};
use ranges::Ranges;
use std::collections::HashMap;
use std::time::Instant;

/// Most names of one directory that are kept, and that the kernel may keep: each can be invalidated by name.
const NAMES_MAX: usize = 65_536;
/// Most extended attributes of one inode that are kept.
const XATTRS_MAX: usize = 64;
/// Most extents of one file that are kept; then they are asked for again.
const EXTENTS_MAX: usize = 65_536;

/// Most names of one inode that are kept to have the kernel drop them: files with more links are rare, and are then
/// held until the kernel drops them by itself.
const KNOWN_AS_MAX: usize = 4;

/// One inode. `state` has this one owner; `changed` tells of everything that a thread may wait for in it.
pub(crate) struct Inode {
    pub ino: Ino,
    pub state: Mutex<State>,
    pub changed: Condvar,
}

/// Where content is, as far as known.
#[derive(Default)]
pub(crate) struct Extents {
    pub map: ExtentMap,
    pub known: Ranges,
}

impl Extents {
    pub fn forget(&mut self) {
        self.map.clear();
        self.known.clear();
    }

    /// Nothing is known of `[start, end)` any more.
    pub fn forget_range(&mut self, start: u64, end: u64) {
        self.map.cut(start, end);
        self.known.remove(start, end);
    }
}

/// Whole pages behind a call that waits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PageWait {
    pub start: u64,
    pub end: u64,
    /// They are locked, and not to be seen. Else they may also have been there before, and are not locked then.
    pub surely_held: bool,
}

#[derive(Default)]
pub(crate) struct State {
    pub lease: LeaseMode,
    /// A recall is being served: nothing new is written under the lease.
    pub recalling: u32,
    /// So many answers came in the way of a recall that new ones wait for it.
    pub closing: bool,
    /// Pages that the kernel may hold locked for calls that wait here for a lease, in order.
    pub page_waits: Vec<PageWait>,
    /// Open files through which it may be written by way of the kernel's pages.
    pub writers: u32,
    /// Answers that the kernel may keep and that are on their way to it: an inode that it does not have yet cannot be
    /// invalidated.
    pub answering: u32,
    /// Writers that wait for the exclusive lease.
    pub acquirers: u32,
    /// So many of them were granted it and have not used it yet: a recall lets them write once.
    pub fresh: u32,
    /// Calls under way for which the kernel may hold locks of the inode.
    pub busy: u32,
    /// Counts answers from which the kernel may fill its caches, to be kept until a recall.
    pub fills: u64,
    /// When the lease was last wanted by somebody else.
    pub recalled: Option<Instant>,
    /// When a listing last gave the kernel names of this directory.
    pub listed: Option<Instant>,
    /// The newest change of names or attributes that was made here, by its place in the journal; 0 is none.
    pub changed_here: u64,
    /// The change that made it, in the same way.
    pub born_here: u64,
    /// The newest change of its own attributes, in the same way.
    pub attrs_here: u64,
    /// The newest change of its size, in the same way.
    pub size_here: u64,
    /// The newest change that took all content, in the same way.
    pub cut_here: u64,
    /// The newest change that gave it a name which may have been another file's.
    pub named_here: u64,
    /// Calls under way in which the coordinator changes it: nothing is changed here meanwhile.
    pub changing_there: u32,
    /// Changes of a directory's entries that lacked a lease, and up to which of them asking for more of those is in vain.
    pub asked: u32,
    pub futile_until: u32,
    /// All entries of a directory are in `names`: what is not there does not exist.
    pub complete: bool,
    /// As the coordinator last said, while the lease lasts. `attr()` adds what is not committed.
    pub attr: Option<Attr>,
    pub extents: Extents,
    pub xattrs: HashMap<Vec<u8>, Option<Vec<u8>>>,
    pub xattr_names: Option<Vec<Vec<u8>>>,
    /// Entries of a directory; `None` is known to be absent.
    pub names: HashMap<Vec<u8>, Option<Ino>>,
    /// Directory that the inode was last found in, while the lease lasts; for `..` of listings.
    pub parent: Option<Ino>,
    /// Names by which the kernel may know the inode, the newest last.
    pub known_as: Vec<(Ino, Box<[u8]>)>,
    /// Target of a symbolic link; never changes.
    pub target: Option<Vec<u8>>,
    pub content: Content,
    /// Access time moved by reads, not yet told.
    pub atime: Option<Timestamp>,
    pub opens: u32,
    /// The coordinator was told that it is held here: it keeps the inode when its last name goes.
    pub declared_open: bool,
    /// It has no name (any more), and the coordinator keeps it for us until it is released.
    pub orphan: bool,
    /// How often the kernel was given the inode, less what it has forgotten.
    pub lookups: u64,
}

impl Inode {
    pub fn new(ino: Ino) -> Inode {
        Inode {
            ino,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }
}

impl State {
    /// Attributes as the caller must see them: the coordinator's and what is not committed.
    pub fn attr(&self) -> Option<Attr> {
        let mut attr = self.attr?;
        if let Some(atime) = self.atime {
            attr.atime = atime;
        }
        if attr.kind == FileKind::File && !self.content.is_clean() {
            attr.size = attr.size.max(self.content.end());
            attr.mtime = self.content.mtime;
            attr.ctime = attr.ctime.max(self.content.mtime);
            attr.blocks += self.content.bytes().div_ceil(512);
            if self.content.kill_suidgid || self.content.flights.iter().any(|flight| flight.kill_suidgid) {
                attr.mode = without_set_id(attr.mode);
            }
        }
        Some(attr)
    }

    /// Whether the coordinator has not confirmed yet all that was changed here: what it says may be older.
    pub fn is_ahead(&self, confirmed: u64) -> bool {
        self.changed_here > confirmed
    }

    /// Whether the content that the coordinator tells of may be what was taken here since.
    pub fn is_cut(&self, confirmed: u64) -> bool {
        self.cut_here > confirmed
    }

    /// The newest change made here that must not be told after what was written.
    pub fn content_needs(&self) -> u64 {
        self.born_here.max(self.content.after)
    }

    /// Whether what was written to it may be dropped when nobody can read it here any more: not as long as the coordinator
    /// may be told of its name and not of its removal.
    pub fn may_drop(&self, confirmed: u64) -> bool {
        self.named_here <= confirmed
    }

    /// Takes attributes that the coordinator sent, if a lease keeps them true. Of what was changed here since, only
    /// what the content decides counts.
    pub fn set_attr(&mut self, attr: Attr, confirmed: u64) {
        if self.lease < LeaseMode::Shared {
            return;
        }
        self.attr = Some(match self.attr {
            Some(own) if self.is_ahead(confirmed) && own.kind == FileKind::File => Attr {
                size: if self.size_here > confirmed {
                    own.size
                } else {
                    attr.size
                },
                blocks: if self.is_cut(confirmed) {
                    own.blocks
                } else {
                    attr.blocks
                },
                content_epoch: attr.content_epoch,
                mtime: own.mtime.max(self.content.mtime),
                ..own
            },
            Some(own) if self.is_ahead(confirmed) => own,
            _ => attr,
        });
    }

    /// What the session holds now.
    pub fn set_lease(&mut self, mode: LeaseMode) {
        self.fresh = match mode {
            LeaseMode::Exclusive if self.lease < mode => self.acquirers,
            LeaseMode::Exclusive => self.fresh,
            _ => 0,
        };
        self.lease = mode;
        if mode == LeaseMode::None {
            self.forget();
        }
    }

    /// Whether a write has to wait for a recall to end.
    pub fn is_going(&self) -> bool {
        self.recalling > 0 && self.fresh == 0
    }

    /// Drops what only a lease keeps true.
    pub fn forget(&mut self) {
        self.attr = None;
        self.extents.forget();
        self.xattrs.clear();
        self.xattr_names = None;
        self.names.clear();
        self.complete = false;
        self.asked = 0;
        self.futile_until = 0;
        self.parent = None;
        self.atime = None;
        self.fresh = 0;
    }

    /// Remembers an entry of this directory, or its absence, unless it was changed here since.
    pub fn set_name(&mut self, name: &[u8], ino: Option<Ino>, confirmed: u64) {
        if self.lease == LeaseMode::None || self.is_ahead(confirmed) {
            return;
        }
        if let Some(known) = self.names.get_mut(name) {
            *known = ino;
        } else if self.names.len() < NAMES_MAX {
            self.names.insert(name.to_vec(), ino);
        } else if ino.is_some() {
            self.complete = false;
        }
    }

    /// What the name means, as far as known.
    pub fn name(&self, name: &[u8]) -> Option<Option<Ino>> {
        let known = self.names.get(name).copied();
        // The way up is no entry.
        let dots = name == b"." || name == b"..";
        known.or((self.complete && !dots).then_some(None))
    }

    /// The kernel was given the inode by this name.
    pub fn found_as(&mut self, parent: Ino, name: &[u8]) {
        if name.is_empty() || self.is_known_as(parent, name) {
            return;
        }
        if self.known_as.len() >= KNOWN_AS_MAX {
            self.known_as.remove(0);
        }
        self.known_as.push((parent, name.into()));
    }

    /// Whether the kernel was given the inode by this name, and may have it still.
    pub fn is_known_as(&self, parent: Ino, name: &[u8]) -> bool {
        let same = |(dir, known): &(Ino, Box<[u8]>)| *dir == parent && **known == *name;
        self.known_as.iter().any(same)
    }

    /// Remembers the directory that the inode is in.
    pub fn set_parent(&mut self, parent: Ino) {
        if self.lease > LeaseMode::None {
            self.parent = Some(parent);
        }
    }

    /// Remembers an extended attribute, or its absence.
    pub fn set_xattr(&mut self, name: &[u8], value: Option<Vec<u8>>) {
        if self.lease == LeaseMode::None {
            return;
        }
        if self.xattrs.len() >= XATTRS_MAX {
            self.xattrs.clear();
        }
        self.xattrs.insert(name.to_vec(), value);
    }

    /// Forgets extended attributes.
    pub fn forget_xattrs(&mut self) {
        self.xattrs.clear();
        self.xattr_names = None;
    }

    /// Nothing is in chunks from `size` on.
    pub fn cut(&mut self, size: u64) {
        self.extents.map.cut(size, u64::MAX);
        if self.lease > LeaseMode::None {
            self.extents.known.insert(size, u64::MAX);
        }
    }

    pub fn trim_extents(&mut self) {
        if self.extents.map.len() > EXTENTS_MAX {
            self.extents.forget();
        }
    }

    /// Whether anybody may still use it: a handle, or the kernel, which opens what a process has found by name,
    /// and keeps working directories.
    pub fn is_held(&self) -> bool {
        self.opens > 0 || self.lookups > 0
    }

    /// Whether the coordinator does not know that it is held here and would not find out by a recall.
    pub fn is_untold(&self) -> bool {
        self.lease == LeaseMode::None && !self.declared_open && !self.orphan
    }

    /// Whether the coordinator keeps for us what nobody uses any more.
    pub fn owes_release(&self) -> bool {
        !self.is_held() && (self.declared_open || self.orphan)
    }

    /// Whether its last name is gone, here or, as a lease tells, on another mount: whoever holds it last frees it.
    pub fn has_no_name(&self) -> bool {
        self.orphan || self.attr.is_some_and(|attr| attr.nlink == 0)
    }

    /// Nobody refers to the inode and nothing would be lost with it.
    pub fn is_idle(&self, confirmed: u64) -> bool {
        !self.is_held()
            && !self.is_ahead(confirmed)
            && self.changing_there == 0
            && self.content.is_clean()
            && !self.content.is_loss_untold()
            && self.recalling == 0
            && self.busy == 0
            && !self.declared_open
            && !self.orphan
    }
}

/// Permission bits after a write by somebody without privilege: set-user-id goes, and set-group-id where the
/// group may execute.
fn without_set_id(mode: u32) -> u32 {
    let mode = mode & !0o4000;
    if mode & 0o010 != 0 { mode & !0o2000 } else { mode }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_whole_listing_does_not_show_is_absent_and_the_way_up_is_not() {
        let mut state = State::default();
        state.set_lease(LeaseMode::Shared);
        state.set_name(b"a", Some(Ino(20)), 0);
        assert_eq!((state.name(b"a"), state.name(b"b")), (Some(Some(Ino(20))), None));
        state.complete = true;
        assert_eq!(state.name(b"b"), Some(None));
        assert_eq!((state.name(b".."), state.name(b".")), (None, None));
        state.set_lease(LeaseMode::None);
        assert_eq!((state.name(b"a"), state.name(b"b")), (None, None));
    }
}
