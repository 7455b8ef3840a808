//! Wall clocks of processes under test, which a test sets while they run: Debian's libfaketime is preloaded and reads
//! the offset from a file of each process. Monotonic clocks stay as they are.
use std::path::{Path, PathBuf};
use std::process::Command;

/// For programs with several threads.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

#[derive(Clone)]
pub struct Clocks {
    dir: PathBuf,
}

impl Clocks {
    /// The offsets are kept in files in `dir`.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.into() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.clock"))
    }

    /// From now on this process's clock is right by so many seconds: at once, and while it runs.
    pub fn set(&self, name: &str, offset: i64) {
        let (file, fresh) = (self.file(name), self.file(&format!("{name}.fresh")));
        // Replaced as a whole: the process reads it at any time.
        std::fs::write(&fresh, format!("{offset:+}\n")).unwrap();
        std::fs::rename(&fresh, &file).unwrap();
    }

    /// The process that the command starts has the clock of this name.
    pub fn give(&self, name: &str, command: &mut Command) {
        if !self.file(name).exists() {
            self.set(name, 0);
        }
        command
            .env("LD_PRELOAD", library())
            .env("FAKETIME_TIMESTAMP_FILE", self.file(name))
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            // Times of files are the kernel's.
            .env("NO_FAKE_STAT", "1");
    }
}

fn library() -> PathBuf {
    let places = std::fs::read_dir("/usr/lib").unwrap();
    let mut found = places.filter_map(|place| {
        let file = place.ok()?.path().join(LIBRARY);
        file.exists().then_some(file)
    });
    found
        .next()
        .expect("faketime is not installed: run `cargo xtask test`, which installs it")
}
