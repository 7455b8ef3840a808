//! The file systems that are measured: how each is built, started, remounted and stopped. A peer is one more
//! variant here.
use crate::cluster::Cluster;
use crate::fuse;
use crate::shell::{self, Outcome};
use std::path::{Path, PathBuf};

/// Beside the defaults, so that a DFS of `cargo xtask up` may go on meanwhile.
const PORTS: [u16; 4] = [7460, 7461, 7462, 7463];

enum Kind {
    /// A plain directory of the disk itself, bind-mounted: the limit of everything.
    Local,
    /// libfuse's example over the same directory: what FUSE allows with one copy and no network.
    Passthrough,
    /// This project: one coordinator, three datanodes, three copies.
    Dfs,
}

pub struct Target {
    kind: Kind,
    home: PathBuf,
    scratch: PathBuf,
}

pub fn all(scratch: &Path) -> Vec<Target> {
    let target = |kind, name| Target {
        kind,
        home: scratch.join(name),
        scratch: scratch.to_owned(),
    };
    vec![
        target(Kind::Local, "ext4"),
        target(Kind::Passthrough, "passthrough"),
        target(Kind::Dfs, "dfs"),
    ]
}

impl Target {
    pub fn name(&self) -> &str {
        self.home
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
    }

    pub fn mountpoint(&self) -> PathBuf {
        self.home.join("mnt")
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    fn cluster(&self) -> Cluster {
        Cluster {
            programs: shell::target_dir().join("release"),
            home: self.home.join("cluster"),
            ports: PORTS,
        }
    }

    fn passthrough(&self) -> PathBuf {
        self.scratch.join("tools/passthrough")
    }

    /// Builds what the target needs and clears what an earlier run left.
    pub fn prepare(&self) -> Outcome {
        self.stop()?;
        match self.kind {
            Kind::Passthrough => build_passthrough(&self.passthrough()),
            Kind::Local | Kind::Dfs => Ok(()),
        }
    }

    pub fn start(&self) -> Outcome {
        for dir in [self.mountpoint(), self.data()] {
            std::fs::create_dir_all(&dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
        }
        if let Kind::Dfs = self.kind {
            self.cluster().start()?;
        }
        shell::run(shell::command("sh").args(["-c", &self.mount_command()]))
    }

    fn mount_command(&self) -> String {
        let (data, mount) = (
            self.data().display().to_string(),
            self.mountpoint().display().to_string(),
        );
        match self.kind {
            Kind::Local => format!("mount --bind '{data}' '{mount}'"),
            Kind::Passthrough => {
                let program = self.passthrough().display().to_string();
                format!(
                    "ulimit -n \"$(ulimit -Hn)\"; '{program}' -o cache=auto,source='{data}',allow_other '{mount}'"
                )
            }
            Kind::Dfs => {
                let cluster = self.cluster();
                let program = cluster.programs.join("dfs").display().to_string();
                format!(
                    "'{program}' mount '{}' '{mount}' -o allow_other",
                    cluster.source()
                )
            }
        }
    }

    /// Unmounts and mounts the client again and nothing else.
    pub fn remount_command(&self) -> String {
        format!(
            "umount '{}' && {}",
            self.mountpoint().display(),
            self.mount_command()
        )
    }

    /// Unmounts, stops and deletes the data.
    pub fn stop(&self) -> Outcome {
        fuse::unmount(&self.mountpoint())?;
        if let Kind::Dfs = self.kind {
            self.cluster().stop()?;
        }
        match std::fs::remove_dir_all(&self.home) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("cannot remove {}: {e}", self.home.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Debian ships the source of the example with libfuse3-dev.
const EXAMPLE: &str = "/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c";

/// The example keeps its inodes in one linked list, so that a lookup costs all files known. These edits put a
/// hash table in its place: what is measured is FUSE, not the list.
const HASH_EDITS: [(&str, &str); 3] = [
    (
        "static struct lo_inode *lo_find",
        "#define NH 65536\nstatic struct lo_inode heads[NH];\n#define HEAD(i) (&heads[((i) ^ ((i) >> 16)) % NH])\n\
         __attribute__((constructor)) static void heads_init(void) {\n\
         for (int i = 0; i < NH; i++) heads[i].next = heads[i].prev = &heads[i]; }\nstatic struct lo_inode *lo_find",
    ),
    (
        "for (p = lo->root.next; p != &lo->root; p = p->next)",
        "struct lo_inode *h = HEAD(st->st_ino); for (p = h->next; p != h; p = p->next)",
    ),
    ("prev = &lo->root;", "prev = HEAD(e->attr.st_ino);"),
];

fn build_passthrough(program: &Path) -> Outcome {
    if program.exists() {
        return Ok(());
    }
    let mut text = std::fs::read_to_string(EXAMPLE).map_err(|e| {
        format!("cannot read {EXAMPLE}: {e}; if dpkg leaves out /usr/share/doc here, allow it and reinstall libfuse3-dev")
    })?;
    for (from, to) in HASH_EDITS {
        if text.matches(from).count() != 1 {
            return Err(format!(
                "{EXAMPLE} is another version: `{from}` is not in it once"
            ));
        }
        text = text.replace(from, to);
    }
    let source = program.with_extension("c");
    let made = source
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(&source, text));
    made.map_err(|e| format!("cannot write {}: {e}", source.display()))?;
    let flags = shell::capture(shell::command("pkg-config").args(["--cflags", "--libs", "fuse3"]))?;
    let mut gcc = shell::command("gcc");
    gcc.args(["-O2", "-w", "-I/usr/share/doc/libfuse3-dev/examples", "-o"])
        .arg(program)
        .arg(&source);
    shell::run(gcc.args(flags.split_whitespace()).arg("-lpthread"))
}
