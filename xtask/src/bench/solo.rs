//! A CPU control group that outweighs the rest of the machine 20:1, so that other programs disturb less. The disk stays
//! shared, and a wake-up still waits for the end of a foreign slice. Called by `mod`.
use std::path::{Path, PathBuf};

/// Where the kernel shows control groups, the file of the weight, and 20 times the usual one: version 1, version 2.
const KINDS: [(&str, &str, &str); 2] = [
    ("/sys/fs/cgroup/cpu", "cpu.shares", "20480"),
    ("/sys/fs/cgroup", "cpu.weight", "2000"),
];
const NAME: &str = "dfs-bench";

/// This process and all that it starts are in the group until it is dropped.
pub struct Solo {
    group: PathBuf,
}

impl Solo {
    /// Nothing where the machine has no such groups or does not let us.
    pub fn enter() -> Option<Self> {
        KINDS.iter().find_map(|(parent, weight, value)| {
            let group = Path::new(parent).join(NAME);
            std::fs::create_dir_all(&group).ok()?;
            // In the wrong kind of tree the file of the weight does not exist and must not be made.
            let entered = group.join(weight).exists()
                && std::fs::write(group.join(weight), value).is_ok()
                && join(&group);
            if !entered {
                leave_empty(&group);
            }
            entered.then_some(Self { group })
        })
    }
}

impl Drop for Solo {
    fn drop(&mut self) {
        if let Some(parent) = self.group.parent() {
            join(parent);
        }
        leave_empty(&self.group);
    }
}

fn join(group: &Path) -> bool {
    std::fs::write(group.join("cgroup.procs"), std::process::id().to_string()).is_ok()
}

/// A group that somebody is still in stays, which hurts nobody.
fn leave_empty(group: &Path) {
    let _ = std::fs::remove_dir(group);
}
