//! A server's data directory: a lock so that one process uses it, and an identity so that it is never taken
//! for another role's, cluster's or node's. Every role opens its own through here.

use super::Fatal;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The format of the directory; a newer one is refused.
const FORMAT: u32 = 1;
const IDENTITY: &str = "identity.toml";
const LOCK: &str = "lock";

/// Whose a data directory is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    pub format: u32,
    /// `coordinator` or `datanode`.
    pub role: String,
    /// Absent until a datanode has joined a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Uuid>,
    pub node: Uuid,
    /// Of a coordinator: the volume whose log this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
}

/// An open, locked data directory.
pub struct DataDir {
    path: PathBuf,
    identity: Identity,
    _lock: File,
}

impl DataDir {
    /// Opens `path` for `role`, locking it; with `create` makes what is missing, with a fresh node UUID.
    pub fn open(path: &Path, role: &str, create: bool) -> Result<DataDir, Fatal> {
        let shown = path.display();
        if create {
            std::fs::create_dir_all(path).map_err(|e| Fatal::io(format!("cannot make {shown}"), e))?;
        } else if !path.is_dir() {
            return Err(Fatal(format!(
                "{shown} is no directory: give the right --data-dir, or --init to make a new one"
            )));
        }
        let lock = lock(path)?;
        let file = path.join(IDENTITY);
        let identity = match std::fs::read_to_string(&file) {
            Ok(text) => parse(path, &text, role)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && create => {
                refuse_foreign_content(path)?;
                let node = Uuid::new_v4();
                let identity = Identity {
                    format: FORMAT,
                    role: role.into(),
                    cluster: None,
                    node,
                    volume: None,
                };
                write(path, &identity)?;
                identity
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Fatal(format!(
                    "{shown} is no data directory of a {role} ({IDENTITY} is missing): give the right --data-dir, \
                     or --init to make a new one"
                )));
            }
            Err(e) => return Err(Fatal::io(format!("cannot read {}", file.display()), e)),
        };
        Ok(DataDir {
            path: path.to_path_buf(),
            identity,
            _lock: lock,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Makes the directory the cluster's for ever; one that already belongs to another is refused.
    pub fn join(&mut self, cluster: Uuid) -> Result<(), Fatal> {
        match self.identity.cluster {
            Some(own) if own == cluster => Ok(()),
            Some(own) => Err(Fatal(format!(
                "{} belongs to cluster {own}, but cluster {cluster} was asked for: use the addresses of its own \
                 cluster, or an empty directory",
                self.path.display()
            ))),
            None => self.rewrite(|identity| identity.cluster = Some(cluster)),
        }
    }

    /// Makes the directory the volume's; one that already belongs to another is refused.
    pub fn keep_volume(&mut self, volume: &str) -> Result<(), Fatal> {
        match &self.identity.volume {
            Some(own) if own == volume => Ok(()),
            Some(own) => Err(Fatal(format!(
                "{} holds volume {own:?}, not {volume:?}: use the directory of that volume",
                self.path.display()
            ))),
            None => self.rewrite(|identity| identity.volume = Some(volume.to_string())),
        }
    }

    fn rewrite(&mut self, change: impl FnOnce(&mut Identity)) -> Result<(), Fatal> {
        let mut identity = self.identity.clone();
        change(&mut identity);
        write(&self.path, &identity)?;
        self.identity = identity;
        Ok(())
    }
}

/// A directory that somebody else filled is never made ours; `lost+found` is every disk's.
fn refuse_foreign_content(path: &Path) -> Result<(), Fatal> {
    let failed = |e| Fatal::io(format!("cannot list {}", path.display()), e);
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let unfinished = format!("{IDENTITY}.new");
        if ![LOCK, "lost+found", unfinished.as_str()]
            .iter()
            .any(|own| name == *own)
        {
            return Err(Fatal(format!(
                "{} is not empty and has no {IDENTITY}: give an empty directory",
                path.display()
            )));
        }
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, Fatal> {
    let file = path.join(LOCK);
    let open = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&file);
    let open = open.map_err(|e| Fatal::io(format!("cannot open {}", file.display()), e))?;
    // SAFETY: flock has no memory effects; the descriptor is open.
    if unsafe { libc::flock(open.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
        return Err(Fatal(format!(
            "{} is in use by another process: stop that one, or give another --data-dir",
            path.display()
        )));
    }
    Ok(open)
}

fn parse(path: &Path, text: &str, role: &str) -> Result<Identity, Fatal> {
    let shown = path.join(IDENTITY);
    let found: Identity = toml::from_str(text)
        .map_err(|e| Fatal::io(format!("{} is damaged or of another program", shown.display()), e))?;
    if found.format != FORMAT {
        return Err(Fatal(format!(
            "{} has format {}, this program knows {FORMAT}: run the version that wrote it",
            shown.display(),
            found.format
        )));
    }
    if found.role != role {
        return Err(Fatal(format!(
            "{} is the data directory of a {}, not of a {role}: give the right --data-dir",
            path.display(),
            found.role
        )));
    }
    Ok(found)
}

fn write(path: &Path, identity: &Identity) -> Result<(), Fatal> {
    let text = toml::to_string(identity).map_err(|e| Fatal::io("cannot write an identity", e))?;
    replace_file(path, IDENTITY, text.as_bytes())
        .map_err(|e| Fatal::io(format!("cannot write {}", path.join(IDENTITY).display()), e))
}

/// Replaces `dir/name` by `content`, durably: after a crash either the old or the new content is there.
pub fn replace_file(dir: &Path, name: &str, content: &[u8]) -> std::io::Result<()> {
    let fresh = dir.join(format!("{name}.new"));
    let mut file = File::create(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&fresh, dir.join(name))?;
    File::open(dir)?.sync_all()
}
