//! What a crash must not lose. A writer works on a mount and notes, outside of it, what was acknowledged by fsync;
//! after the crash everything noted must be there, and everything there must be something that was written.
//! Called by the crash tests; knows nothing of how the crash was made.
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Result, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// One file as the oracle knows it.
#[derive(Clone, Default)]
struct Note {
    /// The version whose fsync returned 0, and its length.
    durable: Option<(u64, usize)>,
    /// Versions begun after that one: each may or may not have arrived.
    begun: Vec<(u64, usize)>,
}

/// What one writer did; survives every crash, because it is not in the file system under test.
#[derive(Default)]
pub struct Oracle {
    files: BTreeMap<String, Note>,
    /// Lines appended to the log, each with its own fsync.
    lines_durable: BTreeSet<u64>,
    lines_begun: u64,
    version: u64,
}

/// Content that tells its name, version and offset in every 16 bytes.
fn content(name: &str, version: u64, length: usize) -> Vec<u8> {
    let mut key = [0u8; 8];
    for (at, byte) in name.bytes().enumerate() {
        key[at % 8] = key[at % 8].rotate_left(3) ^ byte;
    }
    let mut bytes = Vec::with_capacity(length + 16);
    for at in (0..length).step_by(16) {
        bytes.extend((u64::from_le_bytes(key) ^ version).to_le_bytes());
        bytes.extend((at as u64).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

const FILES: u32 = 24;
const LONGEST: usize = 300_000;
const LINE: usize = 32;
const NOISES: u32 = 8;
const NOISE: u8 = 0xee;

impl Oracle {
    /// Works until told to stop or until a call fails; the failure is part of a crash.
    pub fn work(&mut self, dir: &Path, seed: u64, stop: &AtomicBool) -> Result<()> {
        let mut random = StdRng::seed_from_u64(seed);
        while !stop.load(Ordering::Relaxed) {
            match random.random_range(0..10) {
                0..=3 => self.append(dir)?,
                4..=6 => self.replace(dir, &mut random)?,
                7..=8 => self.rewrite(dir, &mut random)?,
                _ => self.noise(dir, &mut random)?,
            }
        }
        Ok(())
    }

    fn append(&mut self, dir: &Path) -> Result<()> {
        let mut log = File::options().append(true).create(true).open(dir.join("log"))?;
        if self.lines_begun == 0 {
            File::open(dir)?.sync_all()?;
        }
        // A line that may have arrived is not written twice: the next one has its own number.
        let number = self.lines_begun;
        self.lines_begun += 1;
        log.write_all(format!("{number:0width$}\n", width = LINE - 1).as_bytes())?;
        log.sync_data()?;
        self.lines_durable.insert(number);
        Ok(())
    }

    fn begin(&mut self, name: &str, random: &mut StdRng) -> (u64, Vec<u8>) {
        self.version += 1;
        let length = random.random_range(1..LONGEST);
        self.files
            .entry(name.into())
            .or_default()
            .begun
            .push((self.version, length));
        (self.version, content(name, self.version, length))
    }

    fn done(&mut self, name: &str, version: u64, length: usize) {
        self.files.insert(
            name.into(),
            Note {
                durable: Some((version, length)),
                begun: Vec::new(),
            },
        );
    }

    /// The way editors and databases do: a new file, fsync, rename over the old one, fsync of the directory.
    fn replace(&mut self, dir: &Path, random: &mut StdRng) -> Result<()> {
        let name = format!("replaced-{}", random.random_range(0..FILES));
        let (version, bytes) = self.begin(&name, random);
        let fresh = dir.join(format!("{name}.new"));
        let mut file = File::create(&fresh)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&fresh, dir.join(&name))?;
        File::open(dir)?.sync_all()?;
        self.done(&name, version, bytes.len());
        Ok(())
    }

    /// A file of its own for each version, in a directory that may be new too.
    fn rewrite(&mut self, dir: &Path, random: &mut StdRng) -> Result<()> {
        let folder = dir.join(format!("folder-{}", random.random_range(0..4)));
        let name = format!(
            "{}/new-{}",
            folder.file_name().unwrap().display(),
            self.version + 1
        );
        // Never its parents: where the mount has just been taken away they are the bare mountpoint's.
        if !folder.is_dir() {
            std::fs::create_dir(&folder)?;
        }
        let (version, bytes) = self.begin(&name, random);
        let file = File::create(dir.join(&name))?;
        for (at, part) in bytes.chunks(40_000).enumerate() {
            file.write_all_at(part, at as u64 * 40_000)?;
        }
        file.sync_all()?;
        File::open(&folder)?.sync_all()?;
        File::open(dir)?.sync_all()?;
        self.done(&name, version, bytes.len());
        Ok(())
    }

    /// Work that nobody waits for: it may be lost but must do no harm.
    fn noise(&mut self, dir: &Path, random: &mut StdRng) -> Result<()> {
        let name = dir.join(format!("noise-{}", random.random_range(0..NOISES)));
        std::fs::write(&name, vec![NOISE; random.random_range(1..100_000)])?;
        if random.random_range(0..3) == 0 {
            std::fs::remove_file(&name)?;
        }
        Ok(())
    }

    pub fn acknowledged(&self) -> u64 {
        self.lines_durable.len() as u64
            + self.files.values().filter(|note| note.durable.is_some()).count() as u64
    }

    /// Everything acknowledged is there, and nothing else than what was written.
    pub fn verify(&mut self, dir: &Path) {
        for n in 0..NOISES {
            let bytes = std::fs::read(dir.join(format!("noise-{n}"))).unwrap_or_default();
            assert!(
                bytes.iter().all(|b| *b == NOISE || *b == 0),
                "noise-{n} has bytes of another file"
            );
        }
        self.verify_log(dir);
        for (name, note) in &mut self.files {
            let bytes = match std::fs::read(dir.join(name)) {
                Ok(bytes) => bytes,
                Err(e) if note.durable.is_none() && e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => panic!("{name}: acknowledged, and now: {e}"),
            };
            let versions = note.durable.iter().chain(&note.begun);
            let found = versions
                .clone()
                .find(|(version, length)| bytes == content(name, *version, *length));
            match found {
                // What is there now counts as the file's state for the next round.
                Some(&version) => {
                    *note = Note {
                        durable: Some(version),
                        begun: Vec::new(),
                    }
                }
                None if note.durable.is_none() => {
                    // Never acknowledged: a part of a version, but never other bytes.
                    let part =
                        |&(version, length): &(u64, usize)| part_of(&bytes, &content(name, version, length));
                    assert!(
                        note.begun.iter().any(part),
                        "{name}: bytes that nobody wrote to it"
                    );
                    std::fs::remove_file(dir.join(name)).unwrap();
                    *note = Note::default();
                }
                None => panic!(
                    "{name}: {} bytes are neither the acknowledged version {:?} nor a later one {:?}",
                    bytes.len(),
                    note.durable,
                    note.begun
                ),
            }
        }
    }

    fn verify_log(&mut self, dir: &Path) {
        if self.lines_begun == 0 {
            return;
        }
        let text = match std::fs::read(dir.join("log")) {
            Err(e) if self.lines_durable.is_empty() && e.kind() == std::io::ErrorKind::NotFound => return,
            other => other.expect("the log"),
        };
        let mut found = BTreeSet::new();
        for line in text.chunks(LINE) {
            let number = std::str::from_utf8(line)
                .ok()
                .and_then(|line| line.strip_suffix('\n')?.parse::<u64>().ok());
            // In order and each once, whatever a failed write left out.
            match number
                .filter(|number| *number < self.lines_begun && found.last().is_none_or(|last| last < number))
            {
                Some(number) => found.insert(number),
                None => panic!(
                    "the log has a line that nobody wrote there: {:?}",
                    String::from_utf8_lossy(line)
                ),
            };
        }
        let lost: Vec<_> = self.lines_durable.difference(&found).collect();
        assert!(
            lost.is_empty(),
            "acknowledged lines of the log are lost: {lost:?} of {}",
            self.lines_begun
        );
        self.lines_durable = found;
    }
}

/// A torn version: each 16 bytes are the version's own or zeros (a hole), and it is no longer.
fn part_of(bytes: &[u8], whole: &[u8]) -> bool {
    bytes.len() <= whole.len()
        && bytes
            .chunks(16)
            .zip(whole.chunks(16))
            .all(|(is, was)| is == &was[..is.len()] || is.iter().all(|b| *b == 0))
}
