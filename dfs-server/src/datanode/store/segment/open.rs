//! Opening a store: scans every segment, drops what a crash left unfinished, seals what was open, rebuilds the
//! index. A segment that is damaged is reported and the rest of it served; nothing is guessed.

use super::super::StoreError;
use super::file::{Phase, Segment};
use super::index::Place;
use super::pages::table_matches;
use super::scan::{Contents, Live, read_up_to, scan};
use super::{Inner, Settings};
use dfs_core::chunk::header::{Layout, header_len, slot_len};
use dfs_core::chunk::pages::first_bad_block_of_pages;
use dfs_core::chunk::segment::{FIRST_SLOT, PAGE_LEN, SEAL_AT, decode, encode_seal};
use dfs_core::ids::SetId;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use uuid::Uuid;

/// A segment file by its name.
struct Found {
    path: PathBuf,
    set: SetId,
    number: u64,
    uuid: [u8; 16],
}

pub fn open(root: &Path, settings: Settings) -> Result<Inner, StoreError> {
    let inner = Inner {
        root: root.to_path_buf(),
        settings,
        files: Default::default(),
        space: Default::default(),
        index: Default::default(),
        segments: Default::default(),
        sets: Default::default(),
        next_key: Default::default(),
        syncs: Default::default(),
        buffers: Default::default(),
        problems: Default::default(),
    };
    for found in inner.find()? {
        inner.sets.lock().entry(found.set).or_default().lock().next_number = found.number + 1;
        if let Err(e) = inner.recover(&found) {
            inner.report(format!("{} cannot be read: {e}", found.path.display()));
        }
    }
    Ok(inner)
}

impl Inner {
    /// Every segment file, in the order of sets and numbers.
    fn find(&self) -> Result<Vec<Found>, StoreError> {
        let mut found = Vec::new();
        for group in directory(&self.root)? {
            for set_dir in directory(&group)?.iter().filter(|path| path.is_dir()) {
                let set = set_dir.file_name().and_then(|name| name.to_str()?.parse().ok());
                for path in directory(set_dir)? {
                    match set.and_then(|set| named(&path, SetId(set))) {
                        Some(segment) => found.push(segment),
                        None => self.report(format!("{} is no segment: move it away", path.display())),
                    }
                }
            }
        }
        found.sort_by_key(|segment| (segment.set, segment.number));
        Ok(found)
    }

    fn recover(&self, found: &Found) -> std::io::Result<()> {
        let file = Arc::new(File::options().read(true).write(true).open(&found.path)?);
        let size = file.metadata()?.len();
        let mut page = vec![0; PAGE_LEN];
        let got = read_up_to(&file, &mut page, 0)?;
        let first_page = decode(&page[..got], &found.uuid).filter(|page| page.set == found.set);
        let sealed_at = first_page.and_then(|page| page.sealed_at);
        let contents = scan(&file, &found.uuid, sealed_at.unwrap_or(size))?;
        let dead = contents.dead.clone();
        if first_page.is_none() && contents.live.is_empty() && contents.gaps.is_empty() {
            return self.remove_unborn(found, &page);
        }
        let key = self.next_key.fetch_add(1, Ordering::Relaxed) as u32;
        let make = |phase, end| Segment::new(key, found.uuid, found.path.clone(), phase, end, size);
        self.files.keep(key, file.clone());
        let (segment, live) = match (first_page, sealed_at) {
            (Some(_), Some(end)) => (make(self.sealed_phase(found, &contents, end), end), contents.live),
            (Some(_), None) => {
                let segment = make(Phase::Closed, contents.end);
                let live = self.close_after_crash(&segment, &file, contents)?;
                segment.state.lock().phase = Phase::Sealed;
                (segment, live)
            }
            (None, _) => {
                self.report(format!(
                    "{}: its first page is damaged; its chunks are served",
                    found.path.display()
                ));
                (make(Phase::Damaged, contents.end), contents.live)
            }
        };
        for (offset, len) in dead {
            segment.dead.lock().found(offset, len);
        }
        let segment = Arc::new(segment);
        self.segments.write().insert(key, segment.clone());
        self.enter(&segment, live);
        self.unlink_if_empty(&segment);
        Ok(())
    }

    /// A segment that was being created when the process died holds nothing; anything else stays for people.
    fn remove_unborn(&self, found: &Found, page: &[u8]) -> std::io::Result<()> {
        if page.iter().any(|byte| *byte != 0) {
            self.report(format!(
                "{} is damaged and no chunk is found in it",
                found.path.display()
            ));
            return Ok(());
        }
        std::fs::remove_file(&found.path)
    }

    /// A sealed segment has slots without gaps up to its end; where it has not, something changed its bytes.
    fn sealed_phase(&self, found: &Found, contents: &Contents, end: u64) -> Phase {
        let tail = (contents.end < end).then_some((contents.end, end));
        let damaged: Vec<_> = contents.gaps.iter().copied().chain(tail).collect();
        for (from, to) in &damaged {
            self.report(format!(
                "{}: bytes {from} to {to} are no chunk any more; a check against the metadata names what is lost",
                found.path.display()
            ));
        }
        // With damage inside it must never be taken for empty and removed.
        if damaged.is_empty() {
            Phase::Sealed
        } else {
            Phase::Damaged
        }
    }

    /// What was open at a crash: chunks are kept that are whole; the rest is marked dead; then it is sealed.
    fn close_after_crash(
        &self,
        segment: &Segment,
        file: &File,
        contents: Contents,
    ) -> std::io::Result<Vec<Live>> {
        let mut whole = Vec::new();
        for live in contents.live {
            let (offset, slot) = (live.offset, slot_len(live.header.layout, live.header.len));
            if content_matches(file, &live)? {
                whole.push(live);
            } else {
                tracing::warn!(chunk = %live.header.chunk, segment = %segment.path.display(), "torn chunk dropped");
                segment.mark_dead(file, offset, slot)?;
                segment.punch(file, offset, slot);
                segment.dead.lock().found(offset, slot);
            }
        }
        for (from, to) in contents.gaps {
            segment.mark_dead(file, from, to - from)?;
            segment.punch(file, from, to - from);
            segment.dead.lock().found(from, to - from);
        }
        let end = contents.end;
        file.set_len(end)?;
        segment.sync(file, &self.syncs)?;
        file.write_all_at(&encode_seal(end, &segment.uuid), SEAL_AT)?;
        let mut state = segment.state.lock();
        (state.end, state.size) = (end, end);
        Ok(whole)
    }

    fn enter(&self, segment: &Segment, live: Vec<Live>) {
        // Counted first: while duplicates are settled the segment must not look empty.
        segment.state.lock().live = live.len() as u32;
        for Live { offset, header } in live {
            let place = Place::new(segment.key, offset, header.len, header.layout);
            self.space.found(place.slot());
            let other = self.index.write().insert(header.chunk, place);
            if let Some(other) = other {
                self.settle_duplicate(header.chunk, other, place);
            }
        }
    }
}

/// Whether content and page table are all there: a header may reach the disk before what it describes.
fn content_matches(file: &File, live: &Live) -> std::io::Result<bool> {
    let Live { offset, header } = live;
    let mut content = vec![0; header.len as usize];
    let at = offset + u64::from(header_len(header.layout, header.len));
    let whole = read_up_to(file, &mut content, at)? == content.len();
    let mut pages = Vec::new();
    if !whole || first_bad_block_of_pages(0, &content, &header.crcs, &mut pages).is_some() {
        return Ok(false);
    }
    Ok(header.layout == Layout::Blocks || table_matches(file, *offset, header.len, &pages)?)
}

fn named(path: &Path, set: SetId) -> Option<Found> {
    let (number, uuid) = path
        .file_name()?
        .to_str()?
        .strip_suffix(".seg")?
        .split_once('-')?;
    let uuid = *Uuid::parse_str(uuid).ok()?.as_bytes();
    Some(Found {
        path: path.to_path_buf(),
        set,
        number: number.parse().ok()?,
        uuid,
    })
}

fn directory(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |e: std::io::Error| StoreError::io(&format!("cannot list {}", path.display()), &e);
    let entries = std::fs::read_dir(path).map_err(failed)?;
    entries
        .map(|entry| entry.map(|entry| entry.path()).map_err(failed))
        .collect()
}

/// Slots begin after the first page, so an empty segment ends there.
const _: () = assert!(FIRST_SLOT >= PAGE_LEN as u64);
