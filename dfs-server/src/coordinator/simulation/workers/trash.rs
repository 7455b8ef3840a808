//! The trash is emptied of what is older than its retention, by the leader's own count of time.

use super::*;
use workers::trash::{Count, due, limit, settings};

impl World {
    pub(super) fn empty_trash(&mut self, own: usize) {
        let rows = self.rows_of(own);
        let now = self.instant(self.now);
        let hasty = self.breaks(Broken::HastyTrash);
        let settings = read(settings(&rows));
        let (retention, durable) = (settings.retention, settings.durable);
        let Some(workers) = self.reign(own).map(|reign| &mut reign.workers) else {
            return;
        };
        let count = workers.trash.get_or_insert_with(|| Count::begin(durable, now));
        let mut age = count.look(durable, now);
        let write = count.write(durable, retention);
        if hasty {
            age = durable + retention;
        }
        let found = read(due(&rows, None, 0, (retention, age)));
        if let Some(value) = write.filter(|_| retention > 0 || found.any) {
            let name = b"trash_age".to_vec();
            self.own_op(own, Op::SetSetting { name, value });
        }
        if !found.old.is_empty() {
            let age = limit((retention, age)).unwrap_or_default();
            self.own_op(own, Op::ExpireTrash { inos: found.old, age });
        }
    }
}
