//! How long one call through the kernel's door takes, on a file system in memory that does nothing else:
//! `cargo run --release -p dfs-fuse --example door_latency` as root. Prints medians in microseconds.

#[path = "../tests/memory_fs/mod.rs"]
mod memory_fs;

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dfs_fuse::kernel::mount::{Attach, Detach, unmount};
use dfs_fuse::kernel::{Session, Threads};
use nix::mount::MsFlags;

const ROUNDS: usize = 20_000;

fn main() -> std::io::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path();
    let attach = Attach {
        source: "dfs://memory/latency".into(),
        mountpoint: path.to_path_buf(),
        flags: MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        allow_other: true,
        default_permissions: true,
    };
    let session = Session::negotiate(attach.mount()?)?;
    let serving = session.serve(
        Arc::new(memory_fs::MemoryFs::new(Duration::ZERO)),
        Threads::default(),
    )?;
    let result = measure_all(path);
    unmount(path, Detach::Clean)?;
    serving.wait();
    result
}

fn measure_all(path: &std::path::Path) -> std::io::Result<()> {
    let file = std::fs::File::create(path.join("file"))?;
    file.write_at(&vec![1; 1 << 20], 0)?;
    report("fstat", |_| file.metadata().map(drop))?;
    report("stat (lookup)", |_| {
        std::fs::metadata(path.join("file")).map(drop)
    })?;
    report("create, close", |i| {
        std::fs::File::create_new(path.join(format!("{i}"))).map(drop)
    })?;
    let direct = {
        use std::os::unix::fs::OpenOptionsExt;
        std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECT)
            .open(path.join("file"))?
    };
    for size in [4 << 10, 1 << 20] {
        let mut buffer = vec![0; size + 4096];
        let from = buffer.as_ptr().align_offset(4096);
        report(&format!("O_DIRECT read of {} KiB", size >> 10), |_| {
            direct.read_at(&mut buffer[from..from + size], 0).map(drop)
        })?;
    }
    Ok(())
}

fn report(what: &str, mut call: impl FnMut(usize) -> std::io::Result<()>) -> std::io::Result<()> {
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let start = Instant::now();
        call(round)?;
        times.push(start.elapsed());
    }
    times.sort();
    println!(
        "{what:24} median {:>8.1?}  p99 {:>8.1?}",
        times[ROUNDS / 2],
        times[ROUNDS * 99 / 100]
    );
    Ok(())
}
