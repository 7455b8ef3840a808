//! An operator's trash: it is turned on and off, things come back from it, and nothing leaves it before its time.

use super::client::any_name;
use super::faults::Trouble;
use super::tally::{Check, Fault};
use super::world::{Happening, SEC, Time, World};
use dfs_core::ids::Ino;
use dfs_core::keys;
use dfs_core::op::Op;
use dfs_core::rows::SettingRow;

/// Seconds that it keeps what it has, when it is on.
const RETENTION: u64 = 5;

impl World {
    pub fn turn_trash(&mut self) {
        let on = self.retention() == 0;
        if self.set_retention(if on { RETENTION } else { 0 }) {
            self.fault(Fault::TrashTurned);
            if on {
                let time = self.random.between(SEC, RETENTION * SEC);
                self.schedule(time, Happening::Over(Trouble::Restore));
            }
        }
    }

    /// Whether a leader was told; what it has is freed when it is off.
    pub fn set_retention(&mut self, value: u64) -> bool {
        let name = b"trash_retention".to_vec();
        let leader = self.leader();
        leader.is_some_and(|own| self.own_op(own, Op::SetSetting { name, value }).is_some())
    }

    /// Something comes back from the trash, to a name that may be taken.
    pub fn restore(&mut self) {
        let trashed: Vec<Ino> = self.truth.trash.keys().copied().collect();
        if trashed.is_empty() {
            return;
        }
        let ino = trashed[self.random.index(trashed.len())];
        let name = any_name(&mut self.random);
        let to = Some((Ino::ROOT, name));
        if let Some(own) = self.leader()
            && self.own_op(own, Op::Restore { ino, to }).is_some()
        {
            self.fault(Fault::RestoreAsked);
        }
    }

    fn retention(&self) -> u64 {
        let key = keys::setting(b"trash_retention");
        let row = self.truth.rows.get(&key).map(|row| SettingRow::decode(&key, row));
        row.and_then(Result::ok).map_or(0, |row| row.value)
    }

    /// A setting was written.
    pub fn check_setting(&mut self) {
        let retention = self.retention();
        if retention != self.truth.retention.0 {
            self.truth.retention = (retention, self.now);
        }
    }

    /// The trash's rows as a record leaves them: what is freed was there for the retention, by the true time, whatever
    /// the leaders' clocks say.
    pub fn check_trash(&mut self, ino: Ino, came: Option<Time>) {
        let retention = self.truth.retention.0;
        if let Some(came) = came {
            self.truth.trash.insert(ino, came);
            return;
        }
        let Some(since) = self.truth.trash.remove(&ino) else {
            return;
        };
        let freed = !self.truth.rows.contains_key(&keys::inode(ino));
        if !freed || retention == 0 || self.truth.retention.1 > since {
            return;
        }
        self.tally.check(Check::Trash);
        if self.now - since < retention as Time * SEC {
            self.fail(format!(
                "Trash: inode {ino} is freed {} us after it came to the trash",
                self.now - since
            ));
        }
    }
}
