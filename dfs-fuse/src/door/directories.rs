//! Callbacks on open directories: listing, closing, syncing.

use dfs_client::vfs::{Caller, DirSlot, Vfs};
use dfs_core::error::FsResult;
use dfs_core::ids::Ino;

use super::convert;
use crate::kernel::answer::{Attr, Done, Entry, Listing, Opened};
use crate::kernel::request::{Open, Read, Release};

pub fn opendir(vfs: &Vfs, caller: &Caller<'_>, ino: Ino, _open: &Open) -> FsResult<Opened> {
    vfs.opendir(caller, ino).map(|opened| convert::opened(&opened))
}

pub fn list(vfs: &Vfs, caller: &Caller<'_>, ino: Ino, read: &Read, plus: bool) -> FsResult<Listing> {
    let mut listing = Listing::new(read.size as usize);
    vfs.readdir(caller, ino, read.handle, read.offset, plus, &mut |slot| {
        add(&mut listing, &slot, plus)
    })?;
    Ok(listing)
}

/// Takes a name into the listing; `false` when it is full.
fn add(listing: &mut Listing, slot: &DirSlot<'_>, plus: bool) -> bool {
    let mode = convert::kind_bits(slot.kind);
    if !plus {
        return listing.add(slot.ino.0, slot.cookie, mode >> 12, slot.name);
    }
    // Without an inode (node 0) the kernel takes only the name and counts no lookup.
    let entry = match &slot.entry {
        Some(entry) => convert::entry(entry),
        None => Entry {
            attr: Attr {
                ino: slot.ino.0,
                mode,
                ..Attr::default()
            },
            ..Entry::default()
        },
    };
    listing.add_plus(&entry, slot.cookie, slot.name)
}

pub fn releasedir(vfs: &Vfs, _caller: &Caller<'_>, ino: Ino, release: &Release) -> FsResult<Done> {
    vfs.releasedir(ino, release.handle);
    Ok(Done)
}

/// Changes of names are durable when they return; what an exclusive lease held back is sent here.
pub fn fsyncdir(vfs: &Vfs, caller: &Caller<'_>, ino: Ino, handle: u64, _data_only: bool) -> FsResult<Done> {
    vfs.fsyncdir(caller, ino, handle).map(|()| Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_core::types::FileKind;

    #[test]
    fn a_full_listing_refuses_the_name() {
        let slot = DirSlot {
            ino: Ino(9),
            cookie: 3,
            kind: FileKind::Directory,
            name: b"dir",
            entry: None,
        };
        let mut plain = Listing::new(32);
        assert!(add(&mut plain, &slot, false));
        assert!(!add(&mut plain, &slot, false));
        assert_eq!(plain.as_slice()[20..24], 4u32.to_ne_bytes());
        let mut plus = Listing::new(160);
        assert!(add(&mut plus, &slot, true));
        assert!(!add(&mut plus, &slot, true));
        assert_eq!(plus.as_slice()[..8], [0; 8]);
    }
}
