//! A few blocks of the disk kept for the datanode's own small files: where others have filled the disk to the last
//! block, a new term must still be written, or no deletion would be obeyed and the disk would stay full.

use crate::config::data_dir::replace_file;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

const FILE: &str = "spare";
/// More than the files and their directory can need.
const LEN: usize = 64 * 1024;

/// Puts the spare blocks by, where the disk has them. Called at the start and after each use.
pub fn put_by(dir: &Path) {
    let path = dir.join(FILE);
    if path.metadata().is_ok_and(|there| there.len() == LEN as u64) {
        return;
    }
    // Written, not only reserved: some file systems count neither holes nor reservations.
    let made = File::create(&path).and_then(|mut file| {
        file.write_all(&[0xa5; LEN])?;
        file.sync_all()
    });
    if let Err(error) = made {
        tracing::warn!(%error, "no spare blocks are put by: the disk is full");
        // What there is of it is not enough, and others can use it.
        let _ = std::fs::remove_file(&path);
    }
}

/// As `replace_file`, with the spare blocks when there are no others.
pub fn replace(dir: &Path, name: &str, content: &[u8]) -> std::io::Result<()> {
    match replace_file(dir, name, content) {
        Err(error) if error.kind() == ErrorKind::StorageFull => {
            std::fs::remove_file(dir.join(FILE))?;
            let replaced = replace_file(dir, name, content);
            put_by(dir);
            replaced
        }
        other => other,
    }
}
