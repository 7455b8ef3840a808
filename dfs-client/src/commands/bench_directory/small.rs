//! The rows about many small files: made, listed, looked at, read, renamed and removed by one program, and made and
//! removed by eight at once. Called through `rows`; each row finds what the ones before it left.

use super::measure::{Limits, Measured, Sequence, Stop, forget, repeat};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

pub(super) const SIZE: usize = 4096;
/// Files in one directory: about as in a source tree.
const PER_DIRECTORY: u64 = 100;
/// Programs at once.
pub(super) const PARALLEL: u64 = 8;

fn directory(room: &Path, tree: &str, number: u64) -> PathBuf {
    room.join(format!("{tree}{}", number / PER_DIRECTORY))
}

fn name(room: &Path, tree: &str, prefix: char, number: u64) -> PathBuf {
    directory(room, tree, number).join(format!("{prefix}{number}"))
}

pub(super) fn create(room: &Path, limits: Limits, stop: &Stop) -> io::Result<Measured> {
    create_in(room, "tree", limits.small, limits, stop)
}

fn create_in(room: &Path, tree: &str, most: u64, limits: Limits, stop: &Stop) -> io::Result<Measured> {
    let mut content = vec![0; SIZE];
    Sequence::new(5).fill(&mut content);
    repeat(most, limits, stop, |number| {
        if number.is_multiple_of(PER_DIRECTORY) {
            std::fs::create_dir(directory(room, tree, number))?;
        }
        content[..8].copy_from_slice(&number.to_le_bytes());
        File::create_new(name(room, tree, 'f', number))?.write_all(&content)?;
        Ok(SIZE as u64)
    })
}

/// How many files `create` had time for: they are named by number, without a gap.
fn made(room: &Path) -> io::Result<u64> {
    Ok(all(room, "tree")?.len() as u64)
}

/// Each file once by name, after all have been seen: as builds and version control do.
pub(super) fn stat(room: &Path, limits: Limits, stop: &Stop) -> io::Result<Measured> {
    let files = made(room)?;
    repeat(files, limits, stop, |number| {
        let found = std::fs::symlink_metadata(name(room, "tree", 'f', number))?;
        match found.len() == SIZE as u64 {
            true => Ok(0),
            false => Err(io::Error::other(format!("WRONG SIZE of file {number}"))),
        }
    })
}

/// One operation is one entry; done over and over, since once is over too soon.
pub(super) fn list(room: &Path, limits: Limits, stop: &Stop) -> io::Result<Measured> {
    let directories = made(room)?.div_ceil(PER_DIRECTORY).max(1);
    let mut entries = 0;
    let mut done = repeat(u64::MAX, limits, stop, |number| {
        let dir = directory(room, "tree", number % directories * PER_DIRECTORY);
        for entry in std::fs::read_dir(dir)? {
            entry?.metadata()?;
            entries += 1;
        }
        Ok(0)
    })?;
    done.operations = entries;
    Ok(done.without_latencies())
}

pub(super) fn read(room: &Path, limits: Limits, stop: &Stop) -> io::Result<Measured> {
    let files = made(room)?;
    for number in 0..files {
        if stop.asked() {
            break;
        }
        forget(&name(room, "tree", 'f', number))?;
    }
    let mut content = Vec::with_capacity(SIZE + 1);
    repeat(files, limits, stop, |number| {
        content.clear();
        File::open(name(room, "tree", 'f', number))?.read_to_end(&mut content)?;
        match content.len() == SIZE && content[..8] == number.to_le_bytes() {
            true => Ok(SIZE as u64),
            false => Err(io::Error::other(format!("WRONG CONTENT of file {number}"))),
        }
    })
}

pub(super) fn rename(room: &Path, limits: Limits, stop: &Stop) -> io::Result<Measured> {
    let files = made(room)?;
    repeat(files, limits, stop, |number| {
        std::fs::rename(name(room, "tree", 'f', number), name(room, "tree", 'r', number))?;
        Ok(0)
    })
}

pub(super) fn remove(room: &Path, limits: Limits, stop: &Stop) -> io::Result<Measured> {
    remove_all(&all(room, "tree")?, limits, stop)
}

pub(super) fn create_parallel(room: &Path, limits: Limits, stop: &Stop) -> io::Result<Measured> {
    parallel(|program| create_in(room, &format!("many{program}-"), limits.small, limits, stop))
}

pub(super) fn remove_parallel(room: &Path, limits: Limits, stop: &Stop) -> io::Result<Measured> {
    // Listed before the clock runs.
    let lists = (0..PARALLEL).map(|program| all(room, &format!("many{program}-")));
    let lists = lists.collect::<io::Result<Vec<_>>>()?;
    parallel(|program| remove_all(&lists[program as usize], limits, stop))
}

fn remove_all(files: &[PathBuf], limits: Limits, stop: &Stop) -> io::Result<Measured> {
    repeat(files.len() as u64, limits, stop, |number| {
        std::fs::remove_file(&files[number as usize])?;
        Ok(0)
    })
}

/// The files of a tree, under whatever names they have now.
fn all(room: &Path, tree: &str) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for number in (0..).step_by(PER_DIRECTORY as usize) {
        let list = match std::fs::read_dir(directory(room, tree, number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            list => list?,
        };
        for entry in list {
            files.push(entry?.path());
        }
    }
    Ok(files)
}

/// The same in eight threads at once; the first failure counts.
fn parallel(work: impl Fn(u64) -> io::Result<Measured> + Sync) -> io::Result<Measured> {
    let begun = Instant::now();
    let parts = std::thread::scope(|scope| {
        let work = &work;
        let started: io::Result<Vec<_>> = (0..PARALLEL)
            .map(|program| {
                let thread = std::thread::Builder::new().name(format!("dfs-bench-{program}"));
                thread.spawn_scoped(scope, move || work(program))
            })
            .collect();
        let ended = started?.into_iter().map(|thread| {
            let result = thread.join();
            result.unwrap_or_else(|_| Err(io::Error::other("a thread of the measurement failed")))
        });
        ended.collect::<io::Result<Vec<_>>>()
    })?;
    Ok(Measured::together(parts, begun.elapsed().as_secs_f64()))
}
