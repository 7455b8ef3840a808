//! The transaction of one operation: reads through the view and its own writes, counts references, tracks which
//! inodes were read and written. Every operation works on it; only `execute` makes and finishes one.

use super::counts::Counted;
use super::quota::{Charge, Charging};
use crate::error::FsError;
use crate::ids::{ChunkId, Ino};
use crate::keys::{self, KeyRange};
use crate::rows::{ChunkRow, GarbageRow, InodeRow, MissingRow, Row, TrashRow};
use crate::types::{Attr, Extent, Timestamp};
use crate::view::{Context, Effects, View, ViewError};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// What ends an operation early: a refusal for the caller, or a broken store for the process.
#[derive(Debug)]
pub(super) enum Fault {
    Fs(FsError),
    View(ViewError),
}

impl From<FsError> for Fault {
    fn from(error: FsError) -> Fault {
        Fault::Fs(error)
    }
}

impl From<ViewError> for Fault {
    fn from(error: ViewError) -> Fault {
        Fault::View(error)
    }
}

pub(super) type Outcome<T> = Result<T, Fault>;

/// A row that the transaction has looked at.
#[derive(Debug)]
struct Slot<T> {
    row: Option<T>,
    /// The quota and the bytes that it was charged for when it was loaded.
    before: Option<Charge>,
    /// When it was last changed before this operation.
    changed: Option<Timestamp>,
    dirty: bool,
    /// How it was counted when it was loaded.
    counted: Counted,
    /// It counts elsewhere now, which nobody sees of it.
    moved: bool,
}

#[derive(Debug)]
struct ChunkSlot {
    row: Option<ChunkRow>,
    /// Content bytes that the volume's counter holds for it.
    counted: u32,
    dirty: bool,
}

pub(super) struct Tx<'a> {
    view: &'a dyn View,
    pub ctx: &'a Context<'a>,
    /// The time that changed inodes show: the context's, or when a session did by itself what it tells now. What is
    /// deleted, and when, goes by the context's.
    pub time: Timestamp,
    /// The number of the next new inode.
    pub fresh_ino: Ino,
    rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    inodes: BTreeMap<Ino, Slot<InodeRow>>,
    chunks: BTreeMap<ChunkId, ChunkSlot>,
    inode_count: i64,
    pub charging: Charging,
    pub reads: BTreeSet<Ino>,
    pub writes: BTreeSet<Ino>,
}

impl<'a> Tx<'a> {
    pub fn new(view: &'a dyn View, ctx: &'a Context<'a>) -> Tx<'a> {
        Tx {
            view,
            ctx,
            time: ctx.now,
            fresh_ino: ctx.fresh_ino,
            rows: BTreeMap::new(),
            inodes: BTreeMap::new(),
            chunks: BTreeMap::new(),
            inode_count: 0,
            charging: Charging::Limited,
            reads: BTreeSet::new(),
            writes: BTreeSet::new(),
        }
    }

    pub fn get<R: Row>(&self, key: &[u8]) -> Outcome<Option<R>> {
        let bytes = match self.rows.get(key) {
            Some(own) => own.clone(),
            None => self.view.get(key)?,
        };
        Ok(bytes.map(|bytes| R::decode(key, &bytes)).transpose()?)
    }

    pub fn put<R: Row>(&mut self, key: Vec<u8>, row: &R) {
        self.rows.insert(key, Some(row.encode()));
    }

    pub fn delete(&mut self, key: Vec<u8>) {
        self.rows.insert(key, None);
    }

    /// At most `limit` rows of the range, own writes included.
    pub fn scan<R: Row>(&self, range: &KeyRange, limit: usize) -> Outcome<Vec<(Vec<u8>, R)>> {
        let mut found = Vec::new();
        let mut damage = None;
        if limit > 0 {
            self.visit(range, &mut |key, value| {
                match R::decode(key, value) {
                    Ok(row) => found.push((key.to_vec(), row)),
                    Err(error) => damage = Some(error),
                }
                match found.len() >= limit || damage.is_some() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            })?;
        }
        damage.map_or(Ok(found), |error| Err(error.into()))
    }

    /// Visits the rows of the range, own writes laid over the view's.
    #[expect(
        clippy::type_complexity,
        reason = "a name for the visitor would fix its lifetime for all implementors"
    )]
    pub fn visit(
        &self,
        (start, end): &KeyRange,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Outcome<()> {
        let mut own = self.rows.range(start.clone()..end.clone()).peekable();
        let mut stopped = false;
        self.view.scan(start, end, &mut |key, value| {
            while let Some((own_key, own_value)) = own.next_if(|(own_key, _)| own_key.as_slice() < key) {
                if let Some(own_value) = own_value
                    && visit(own_key, own_value).is_break()
                {
                    stopped = true;
                    return ControlFlow::Break(());
                }
            }
            let flow = match own.next_if(|(own_key, _)| own_key.as_slice() == key) {
                Some((_, Some(own_value))) => visit(key, own_value),
                Some((_, None)) => ControlFlow::Continue(()),
                None => visit(key, value),
            };
            stopped = flow.is_break();
            flow
        })?;
        if !stopped {
            for (own_key, own_value) in own {
                if let Some(own_value) = own_value
                    && visit(own_key, own_value).is_break()
                {
                    break;
                }
            }
        }
        Ok(())
    }

    fn load(&mut self, ino: Ino) -> Outcome<&mut Slot<InodeRow>> {
        if !self.inodes.contains_key(&ino) {
            let row = self.get(&keys::inode(ino))?;
            let before = row.as_ref().and_then(Charge::of);
            let changed = row.as_ref().map(|row: &InodeRow| row.ctime);
            let counted = row
                .as_ref()
                .map_or_else(Counted::default, |row| Counted::of(ino, row));
            let slot = Slot {
                row,
                before,
                changed,
                dirty: false,
                counted,
                moved: false,
            };
            self.inodes.insert(ino, slot);
        }
        Ok(self.inodes.get_mut(&ino).expect("just loaded"))
    }

    /// The inode without taking note that it was read: what it is used for no lease covers.
    pub fn peek(&mut self, ino: Ino) -> Outcome<Option<&InodeRow>> {
        Ok(self.load(ino)?.row.as_ref())
    }

    /// The inode, read under its lease.
    pub fn inode(&mut self, ino: Ino) -> Outcome<&InodeRow> {
        self.reads.insert(ino);
        self.load(ino)?.row.as_ref().ok_or(Fault::Fs(FsError::Stale))
    }

    /// The inode to be changed; its version rises once in the transaction.
    pub fn change(&mut self, ino: Ino) -> Outcome<&mut InodeRow> {
        self.writes.insert(ino);
        let slot = self.load(ino)?;
        let row = slot.row.as_mut().ok_or(Fault::Fs(FsError::Stale))?;
        if !slot.dirty {
            slot.dirty = true;
            row.version += 1;
        }
        Ok(row)
    }

    /// The inode counts there from now on. No lease covers it, and its version stays.
    pub fn set_home(&mut self, ino: Ino, home: Ino, place: u64) -> Outcome<()> {
        let slot = self.load(ino)?;
        if let Some(row) = slot.row.as_mut() {
            (row.home, row.place) = (home, place);
            slot.moved = true;
        }
        Ok(())
    }

    pub fn attr(&mut self, ino: Ino) -> Outcome<Attr> {
        Ok(self.inode(ino)?.attr(ino))
    }

    /// A new inode with the fresh number.
    pub fn create(&mut self, row: InodeRow) -> Ino {
        let ino = self.fresh_ino;
        self.inodes.insert(
            ino,
            Slot {
                row: Some(row),
                before: None,
                changed: None,
                dirty: true,
                counted: Counted::default(),
                moved: false,
            },
        );
        self.inode_count += 1;
        ino
    }

    /// Removes the inode's row (which was looked at); its other rows are the caller's.
    pub fn destroy(&mut self, ino: Ino) {
        self.writes.insert(ino);
        let before = self.inodes.get(&ino).and_then(|slot| slot.before);
        let counted = self.inodes.get(&ino).map(|slot| slot.counted).unwrap_or_default();
        self.inodes.insert(
            ino,
            Slot {
                row: None,
                before,
                changed: None,
                dirty: true,
                counted,
                moved: false,
            },
        );
        self.inode_count -= 1;
    }

    fn load_chunk(&mut self, id: ChunkId) -> Outcome<&mut ChunkSlot> {
        if !self.chunks.contains_key(&id) {
            let row: Option<ChunkRow> = self.get(&keys::chunk(id))?;
            let counted = row.map_or(0, |row| row.len);
            self.chunks.insert(
                id,
                ChunkSlot {
                    row,
                    counted,
                    dirty: false,
                },
            );
        }
        Ok(self.chunks.get_mut(&id).expect("just loaded"))
    }

    pub fn chunk(&mut self, id: ChunkId) -> Outcome<Option<ChunkRow>> {
        Ok(self.load_chunk(id)?.row)
    }

    pub fn put_chunk(&mut self, id: ChunkId, row: ChunkRow) -> Outcome<()> {
        let slot = self.load_chunk(id)?;
        slot.row = Some(row);
        slot.dirty = true;
        Ok(())
    }

    /// An extent row now refers to its chunk.
    pub fn refer(&mut self, extent: &Extent) -> Outcome<()> {
        self.count_reference(extent, |row, len| {
            row.references += 1;
            row.live_bytes += len;
        })
    }

    /// An extent row no longer refers to its chunk; unreferenced chunks become garbage when the transaction
    /// finishes.
    pub fn unrefer(&mut self, extent: &Extent) -> Outcome<()> {
        self.count_reference(extent, |row, len| {
            row.references = row.references.saturating_sub(1);
            row.live_bytes = row.live_bytes.saturating_sub(len);
        })
    }

    fn count_reference(&mut self, extent: &Extent, count: impl FnOnce(&mut ChunkRow, u64)) -> Outcome<()> {
        if extent.chunk == ChunkId::ZEROS {
            return Ok(());
        }
        let slot = self.load_chunk(extent.chunk)?;
        let Some(row) = slot.row.as_mut() else {
            return Err(Fault::View(ViewError::Damaged {
                key: crate::rows::print_key(&keys::chunk(extent.chunk)),
                reason: "an extent refers to this chunk and its row is absent".to_owned(),
            }));
        };
        count(row, extent.len);
        slot.dirty = true;
        Ok(())
    }

    /// What the operation leaves.
    pub fn finish(mut self) -> Outcome<(Effects, BTreeSet<Ino>, BTreeSet<Ino>)> {
        let mut bytes = 0;
        for (id, slot) in std::mem::take(&mut self.chunks) {
            if let Some(row) = slot.row.filter(|_| slot.dirty) {
                let kept = self.settle_chunk(id, &row)?;
                bytes += i64::from(kept) - i64::from(slot.counted);
            }
        }
        let inodes = std::mem::take(&mut self.inodes);
        let charges = inodes.values().filter(|slot| slot.dirty).map(|slot| {
            let after = slot.row.as_ref().and_then(Charge::of);
            (slot.before, after)
        });
        let charges = charges.collect::<Vec<_>>();
        self.settle_quotas(&charges)?;
        let changed = inodes.iter().filter(|(_, slot)| slot.dirty || slot.moved);
        let counted = changed.filter_map(|(ino, slot)| {
            let after = slot.row.as_ref().map(|row| Counted::of(*ino, row));
            let after = after.unwrap_or_default();
            (after != slot.counted).then_some((*ino, slot.counted, after))
        });
        let counted = counted.collect::<Vec<_>>();
        self.settle_counts(&counted)?;
        for (ino, mut slot) in inodes {
            self.keep_in_trash(ino, &mut slot)?;
            if slot.dirty || slot.moved {
                self.rows
                    .insert(keys::inode(ino), slot.row.map(|row| row.encode()));
            }
        }
        Ok((
            Effects {
                rows: self.rows,
                inodes: self.inode_count,
                bytes,
            },
            self.reads,
            self.writes,
        ))
    }

    /// What a client still tells of an inode in the trash (late content, access times) must not hide it there: its
    /// place in the trash is its change time.
    fn keep_in_trash(&self, ino: Ino, slot: &mut Slot<InodeRow>) -> Outcome<()> {
        let (Some(row), Some(changed)) = (slot.row.as_mut(), slot.changed) else {
            return Ok(());
        };
        let told = slot.dirty && row.nlink == 0 && row.ctime != changed;
        if told && self.get::<TrashRow>(&keys::trash(changed, ino))?.is_some() {
            row.ctime = changed;
        }
        Ok(())
    }

    /// Writes a changed chunk's row, or makes it garbage: the bytes it still counts for.
    fn settle_chunk(&mut self, id: ChunkId, row: &ChunkRow) -> Outcome<u32> {
        if row.references > 0 {
            self.put(keys::chunk(id), row);
            return Ok(row.len);
        }
        if row.missing > 0 {
            for (key, _) in self.scan::<MissingRow>(&keys::prefix::missing_of(id), usize::MAX)? {
                self.delete(key);
            }
        }
        self.delete(keys::chunk(id));
        self.put(keys::garbage(id), &GarbageRow { since: self.ctx.now });
        Ok(0)
    }
}
