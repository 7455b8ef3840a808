//! Where a mount's log goes: stderr, which in the background is a file. Called by `mount` and `background`.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use tracing_subscriber::EnvFilter;

/// Which messages are kept: `DFS_LOG=debug`, `DFS_LOG=dfs_client=trace,info`.
const FILTER: &str = "DFS_LOG";
const DEFAULT_FILTER: &str = "info";

/// Sends this process's log to stderr. Only the first call of a process counts.
pub fn to_stderr() {
    let filter = std::env::var(FILTER)
        .ok()
        .and_then(|text| EnvFilter::try_new(text).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new(DEFAULT_FILTER));
    let ansi = io::IsTerminal::is_terminal(&io::stderr());
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(ansi)
        .try_init();
}

/// The log file of a mount that names none: `/var/log/dfs-mnt-data.log` for /mnt/data; without root in the user's
/// state directory.
pub fn default_file(mountpoint: &Path) -> PathBuf {
    let name = format!("dfs{}.log", mountpoint.to_string_lossy().replace('/', "-"));
    if nix::unistd::geteuid().is_root() {
        return Path::new("/var/log").join(name);
    }
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state"));
    state.or_else(home).unwrap_or_else(std::env::temp_dir).join(name)
}

/// Opens the log file for appending, with its directory if that is missing.
pub fn open(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}
