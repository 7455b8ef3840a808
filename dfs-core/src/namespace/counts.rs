//! Sums of directories: bytes, files and directories of everything below, exact at any time. An inode counts once, at
//! its home: the directory of one of its names. An operation writes what it changes to the row `Arrived` of each home and
//! nowhere else; the coordinator moves that up to the directories above (`work`), in batches. A question adds what is
//! still on its way. Volumes of before are counted once, in steps, while they are in use.
//!
//! What always holds of each living directory, whatever is on its way: what arrived there, and its sums, are together
//! what counts at itself and the sums of the directories in it. So an operation touches only the directories whose entries
//! it changes, in any order, and a directory that moves takes its sums along without a look at what is below.

use super::tx::{Fault, Outcome, Tx};
use crate::error::FsError;
use crate::ids::Ino;
use crate::keys::{self, Key};
use crate::op::Reply;
use crate::rows::{CountRow, InodeRow, OtherNameRow, SettingRow, WalkRow};
use std::collections::BTreeMap;

/// How the names of the sums begin.
pub(super) const NAMES: &[u8] = b"dfs.rstat.";
/// The setting that says that the volume's first count was begun.
pub const BEGUN: &[u8] = b"counts";
/// The root counts nowhere. This in its row makes the row one that programs without sums do not read, so that none of
/// them changes a volume behind its sums.
pub const ROOT_PLACE: u64 = 1;
/// Rows on their way that one question adds up; when there are more, it is asked again.
const ON_THE_WAY_MAX: usize = 4096;
/// Steps up that one piece of work takes for each row that it found: trees are seldom deeper.
const STEPS_UP: usize = 32;

/// Where an inode counts, and for how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    home: Ino,
    own: CountRow,
    /// Where a living directory is: its own sums are in those of this one. 0 for the root and for what is no directory.
    up: Ino,
}

impl Counted {
    pub fn of(ino: Ino, row: &InodeRow) -> Counted {
        if row.nlink == 0 {
            return Counted::default();
        }
        let own = match row.is_dir() {
            true => CountRow {
                dirs: 1,
                ..CountRow::default()
            },
            false => CountRow {
                bytes: row.size as i64,
                files: 1,
                dirs: 0,
            },
        };
        let hangs = row.is_dir() && ino != Ino::ROOT;
        Counted {
            home: row.home,
            own,
            up: if hangs { row.parent } else { Ino(0) },
        }
    }
}

/// What is to be added to directories. A directory may come several times.
#[derive(Default)]
struct Sums(Vec<(Ino, CountRow)>);

impl Sums {
    fn add(&mut self, dir: Ino, row: CountRow) {
        match self.0.last_mut().filter(|(last, _)| *last == dir) {
            _ if dir == Ino(0) => {}
            Some((_, sum)) => sum.add(row),
            None => self.0.push((dir, row)),
        }
    }

    /// Each directory once.
    fn merged(mut self) -> impl Iterator<Item = (Ino, CountRow)> {
        self.0.sort_by_key(|(dir, _)| *dir);
        self.0.dedup_by(|(dir, row), (before, sum)| {
            let same = dir == before;
            if same {
                sum.add(*row);
            }
            same
        });
        self.0.into_iter()
    }
}

/// One of the sums of everything below a directory, as text. They change without the directory: no lease covers them, and
/// who asks again and again disturbs nobody who works there.
pub(super) fn value(tx: &mut Tx<'_>, dir: Ino, wanted: &[u8]) -> Outcome<Reply> {
    if !tx.peek(dir)?.ok_or(Fault::Fs(FsError::Stale))?.is_dir() {
        return Err(FsError::NoAttribute.into());
    }
    let sum = sum_of(tx, dir)?;
    let text = match wanted {
        b"rbytes" => sum.bytes.to_string(),
        b"rfiles" => sum.files.to_string(),
        b"rsubdirs" => sum.dirs.to_string(),
        b"rentries" => (sum.files + sum.dirs).to_string(),
        b"all" => format!("rbytes={} rfiles={} rsubdirs={}", sum.bytes, sum.files, sum.dirs),
        _ => return Err(FsError::NoAttribute.into()),
    };
    Ok(Reply::Value(text.into_bytes()))
}

/// `WouldBlock` while the volume is counted for the first time, or too much is on its way.
fn sum_of(tx: &mut Tx<'_>, dir: Ino) -> Outcome<CountRow> {
    let begun = tx.get::<SettingRow>(&keys::setting(BEGUN))?.is_some();
    if !begun || !tx.scan::<WalkRow>(&keys::prefix::uncounted(), 1)?.is_empty() {
        return Err(FsError::WouldBlock.into());
    }
    let on_the_way = tx.scan::<CountRow>(&keys::prefix::arrived(), ON_THE_WAY_MAX + 1)?;
    if on_the_way.len() > ON_THE_WAY_MAX {
        return Err(FsError::WouldBlock.into());
    }
    let mut sum = tx.get::<CountRow>(&keys::tree(dir))?.unwrap_or_default();
    let mut below = BTreeMap::from([(dir, true), (Ino::ROOT, dir == Ino::ROOT)]);
    for (key, row) in on_the_way {
        if let Some(Key::Arrived(place)) = keys::parse(&key)
            && is_below(tx, place, &mut below)?
        {
            sum.add(row);
        }
    }
    Ok(sum)
}

/// Whether the directory is at or below the one that `known` says `true` of; each is looked at once.
fn is_below(tx: &mut Tx<'_>, dir: Ino, known: &mut BTreeMap<Ino, bool>) -> Outcome<bool> {
    let mut way = Vec::new();
    let mut place = dir;
    let below = loop {
        if let Some(below) = known.get(&place) {
            break *below;
        }
        // Until more is known of it: nothing is above itself.
        known.insert(place, false);
        way.push(place);
        match tx.peek(place)?.map(|row| row.parent) {
            Some(parent) => place = parent,
            None => break false,
        }
    };
    known.extend(way.into_iter().map(|place| (place, below)));
    Ok(below)
}

/// Counts what was there before, then moves up what has arrived.
pub(super) fn work(tx: &mut Tx<'_>, limit: u32) -> Outcome<Reply> {
    let begun = keys::setting(BEGUN);
    if tx.get::<SettingRow>(&begun)?.is_none() {
        tx.put(begun, &SettingRow { value: 1 });
        tx.put(keys::uncounted(Ino::ROOT), &WalkRow::default());
        tx.set_home(Ino::ROOT, Ino(0), ROOT_PLACE)?;
        return Ok(Reply::Progress { more: true });
    }
    let walks = count_older(tx, limit)?;
    let moves = move_up(tx, limit.max(1) as usize)?;
    Ok(Reply::Progress { more: walks || moves })
}

/// Whether there was something to do.
fn count_older(tx: &mut Tx<'_>, limit: u32) -> Outcome<bool> {
    let next = tx.scan::<WalkRow>(&keys::prefix::uncounted(), 1)?;
    let Some((key, place)) = next.into_iter().next() else {
        return Ok(false);
    };
    let dir = match keys::parse(&key) {
        Some(Key::Uncounted(dir)) => dir,
        _ => return Ok(false),
    };
    let living = tx.peek(dir)?.is_some_and(|row| row.is_dir() && row.nlink > 0);
    let page = match living {
        true => super::read_dir::read_dir(tx, dir, place.after, limit, false)?,
        false => Reply::Done,
    };
    let Reply::Page { entries, end } = page else {
        tx.delete(key);
        return Ok(true);
    };
    for entry in &entries {
        tx.count_older(entry.ino, dir, &entry.name)?;
    }
    match entries.last().filter(|_| !end) {
        Some(last) => tx.put(key, &WalkRow { after: last.cookie }),
        None => tx.delete(key),
    }
    Ok(true)
}

/// Adds at most `limit` rows that have arrived to the sums of their directories and of those above. Whether more are left.
fn move_up(tx: &mut Tx<'_>, limit: usize) -> Outcome<bool> {
    let found = tx.scan::<CountRow>(&keys::prefix::arrived(), limit)?;
    let more = found.len() == limit;
    let mut arrived = BTreeMap::new();
    for (key, row) in found {
        if let Some(Key::Arrived(dir)) = keys::parse(&key) {
            arrived.insert(dir, row);
            tx.delete(key);
        }
    }
    let mut left = arrived.len() * STEPS_UP;
    // Directories below others are younger, as a rule: from the youngest on, what meets goes on together.
    while left > 0
        && let Some((dir, row)) = arrived.pop_last()
    {
        left -= 1;
        let Some(parent) = tx.peek(dir)?.map(|row| row.parent) else {
            continue;
        };
        let mut tree = tx.get::<CountRow>(&keys::tree(dir))?.unwrap_or_default();
        tree.add(row);
        tx.put_count(keys::tree(dir), tree)?;
        if dir == Ino::ROOT {
            continue;
        }
        let mut above = match arrived.remove(&parent) {
            Some(above) => above,
            None => tx.take_arrived(parent)?,
        };
        above.add(row);
        arrived.insert(parent, above);
    }
    for (dir, row) in arrived.into_iter().filter(|(_, row)| !row.is_zero()) {
        tx.put(keys::arrived(dir), &row);
    }
    Ok(more)
}

impl Tx<'_> {
    /// The inode has a name more.
    pub fn count_name(&mut self, ino: Ino, parent: Ino, name: &[u8]) -> Outcome<()> {
        if !self.ctx.counts {
            return Ok(());
        }
        let Some(row) = self.peek(ino)? else {
            return Ok(());
        };
        let (home, is_dir, filled, several) = (row.home, row.is_dir(), row.size > 0, row.nlink > 1);
        if home != Ino(0) && !is_dir {
            self.put(
                keys::other_name(ino, parent, keys::name_hash(name)),
                &OtherNameRow,
            );
            return Ok(());
        }
        // Other names may be older than the sums, which do not know them then.
        let place = match several && !is_dir {
            true => keys::name_hash(name),
            false => 0,
        };
        self.set_home(ino, parent, place)?;
        if is_dir && home == Ino(0) && filled {
            // The first count might miss what is below it, now that it has another place.
            self.put(keys::uncounted(ino), &WalkRow::default());
        }
        Ok(())
    }

    /// The inode has lost a name; another one counts now, if it has one.
    pub fn uncount_name(&mut self, ino: Ino, parent: Ino, name: &[u8]) -> Outcome<()> {
        if !self.ctx.counts {
            return Ok(());
        }
        let Some(row) = self.peek(ino)? else {
            return Ok(());
        };
        if row.is_dir() {
            // It gets another place, or has no link any more.
            return Ok(());
        }
        if row.nlink <= 1 {
            return self.set_home(ino, Ino(0), 0);
        }
        let hash = keys::name_hash(name);
        if !self.counts_at(ino, parent, hash)? {
            let key = keys::other_name(ino, parent, hash);
            if self.get::<OtherNameRow>(&key)?.is_some() {
                self.delete(key);
            }
            return Ok(());
        }
        let others = self.scan::<OtherNameRow>(&keys::prefix::other_names(ino), 1)?;
        let other = others.first().and_then(|(key, _)| keys::parse(key));
        let Some(Key::OtherName { parent, hash, .. }) = other else {
            return self.set_home(ino, Ino(0), 0);
        };
        self.delete(keys::other_name(ino, parent, hash));
        self.set_home(ino, parent, hash)
    }

    /// Whether this name is the one of the inode that counts.
    fn counts_at(&mut self, ino: Ino, parent: Ino, hash: u64) -> Outcome<bool> {
        let Some(row) = self.peek(ino)? else {
            return Ok(false);
        };
        let (home, place) = (row.home, row.place);
        Ok(home == parent
            && match place {
                // It was the only one: those that came later are noted.
                0 => self
                    .get::<OtherNameRow>(&keys::other_name(ino, parent, hash))?
                    .is_none(),
                place => place == hash,
            })
    }

    /// A name that may be older than the sums.
    fn count_older(&mut self, ino: Ino, parent: Ino, name: &[u8]) -> Outcome<()> {
        let Some(row) = self.peek(ino)? else {
            return Ok(());
        };
        let (home, is_dir, several) = (row.home, row.is_dir(), row.nlink > 1 && !row.is_dir());
        let hash = match several {
            true => keys::name_hash(name),
            false => 0,
        };
        if home == Ino(0) {
            self.set_home(ino, parent, hash)?;
            if is_dir {
                self.put(keys::uncounted(ino), &WalkRow::default());
            }
        } else if several && !self.counts_at(ino, parent, hash)? {
            self.put(keys::other_name(ino, parent, hash), &OtherNameRow);
        }
        Ok(())
    }

    /// What has arrived there, which is taken away.
    fn take_arrived(&mut self, dir: Ino) -> Outcome<CountRow> {
        let key = keys::arrived(dir);
        let found = self.get::<CountRow>(&key)?;
        if found.is_some() {
            self.delete(key);
        }
        Ok(found.unwrap_or_default())
    }

    fn put_count(&mut self, key: Vec<u8>, row: CountRow) -> Outcome<()> {
        match row.is_zero() {
            true => self.delete(key),
            false => self.put(key, &row),
        }
        Ok(())
    }

    /// Notes what the operation has changed at the homes of its inodes: before and after it.
    pub fn settle_counts(&mut self, changes: &[(Ino, Counted, Counted)]) -> Outcome<()> {
        if !self.ctx.counts {
            return Ok(());
        }
        let mut sums = Sums::default();
        let mut gone = Vec::new();
        for (ino, before, after) in changes {
            sums.add(before.home, before.own.negative());
            sums.add(after.home, after.own);
            if before.up == after.up || before.up == Ino(0) {
                continue;
            }
            // What is below a directory goes with it.
            let key = keys::tree(*ino);
            if let Some(tree) = self.get::<CountRow>(&key)? {
                sums.add(before.up, tree.negative());
                sums.add(after.up, tree);
            }
            if after.up == Ino(0) {
                gone.push(*ino);
            }
        }
        for dir in gone {
            // It was empty: what had arrived is what its sums had too much.
            sums.0.retain(|(place, _)| *place != dir);
            for key in [keys::tree(dir), keys::arrived(dir)] {
                if self.get::<CountRow>(&key)?.is_some() {
                    self.delete(key);
                }
            }
        }
        for (dir, change) in sums.merged().filter(|(_, row)| !row.is_zero()) {
            let key = keys::arrived(dir);
            let mut row = self.get::<CountRow>(&key)?.unwrap_or_default();
            row.add(change);
            self.put_count(key, row)?;
        }
        Ok(())
    }
}
