//! The rows about one large file: written and made durable, read from storage and again, at random places, and small
//! durable writes into it. Called through `rows`.

use super::measure::{Limits, Measured, Sequence, Stop, forget, repeat};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

const MIB: u64 = 1 << 20;
/// The unit of databases and of the kernel's page cache.
const PAGE: u64 = 4096;

fn large(room: &Path) -> PathBuf {
    room.join("large")
}

/// The clock runs until the last byte is on stable storage.
pub(super) fn write(room: &Path, limits: Limits, stop: &Stop) -> io::Result<Measured> {
    let mut block = vec![0; MIB as usize];
    Sequence::new(1).fill(&mut block);
    let begun = Instant::now();
    let mut file = File::create_new(large(room))?;
    let mut done = repeat(limits.large / MIB, limits, stop, |number| {
        block[..8].copy_from_slice(&number.to_le_bytes());
        file.write_all(&block)?;
        Ok(MIB)
    })?;
    if !stop.asked() {
        file.sync_all()?;
    }
    done.seconds = begun.elapsed().as_secs_f64();
    Ok(done.without_latencies())
}

pub(super) fn read_from_storage(room: &Path, limits: Limits, stop: &Stop) -> io::Result<Measured> {
    forget(&large(room))?;
    read(room, limits, stop)
}

pub(super) fn read_again(room: &Path, limits: Limits, stop: &Stop) -> io::Result<Measured> {
    read(room, limits, stop)
}

fn read(room: &Path, limits: Limits, stop: &Stop) -> io::Result<Measured> {
    let mut file = File::open(large(room))?;
    let blocks = file.metadata()?.len() / MIB;
    let mut block = vec![0; MIB as usize];
    let done = repeat(blocks, limits, stop, |number| {
        file.read_exact(&mut block)?;
        match block[..8] == number.to_le_bytes() {
            true => Ok(MIB),
            false => Err(io::Error::other(format!("WRONG CONTENT at {} MiB", number))),
        }
    });
    done.map(Measured::without_latencies)
}

pub(super) fn read_random(room: &Path, limits: Limits, stop: &Stop) -> io::Result<Measured> {
    forget(&large(room))?;
    let file = File::open(large(room))?;
    let pages = file.metadata()?.len() / PAGE;
    let (mut places, mut page) = (Sequence::new(2), vec![0; PAGE as usize]);
    repeat(u64::MAX, limits, stop, |_| {
        file.read_exact_at(&mut page, places.below(pages) * PAGE)?;
        Ok(PAGE)
    })
}

pub(super) fn write_durably(room: &Path, limits: Limits, stop: &Stop) -> io::Result<Measured> {
    let file = File::options().write(true).open(large(room))?;
    let pages = file.metadata()?.len() / PAGE;
    let (mut places, mut page) = (Sequence::new(3), vec![0; PAGE as usize]);
    places.fill(&mut page);
    repeat(u64::MAX, limits, stop, |_| {
        file.write_all_at(&page, places.below(pages) * PAGE)?;
        file.sync_data()?;
        Ok(PAGE)
    })
}

/// As a log or a journal grows.
pub(super) fn append_durably(room: &Path, limits: Limits, stop: &Stop) -> io::Result<Measured> {
    // The large file has served; its space may be wanted.
    std::fs::remove_file(large(room))?;
    let mut file = File::options().append(true).create(true).open(room.join("log"))?;
    let line = [b'x'; 128];
    repeat(u64::MAX, limits, stop, |_| {
        file.write_all(&line)?;
        file.sync_all()?;
        Ok(line.len() as u64)
    })
}

/// As an editor saves: a new file beside the old one, made durable, renamed over it.
pub(super) fn save(room: &Path, limits: Limits, stop: &Stop) -> io::Result<Measured> {
    let (fresh, name) = (room.join("document.new"), room.join("document"));
    let mut page = vec![0; PAGE as usize];
    Sequence::new(4).fill(&mut page);
    repeat(u64::MAX, limits, stop, |_| {
        let mut file = File::create(&fresh)?;
        file.write_all(&page)?;
        file.sync_all()?;
        std::fs::rename(&fresh, &name)?;
        Ok(PAGE)
    })
}
