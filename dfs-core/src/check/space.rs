//! The judgement of what limits and keeps space: what the trash holds, and whether quotas count what is there.

use super::{Checker, ProblemKind};
use crate::ids::Ino;
use crate::keys::Key;
use crate::rows::{QuotaRow, QuotaState, ReservedRow, TrashRow, WalkRow};
use crate::types::FileKind;
use crate::view::ViewError;
use std::collections::BTreeMap;

/// Quotas above one another that are followed: more is a circle.
const NESTING_MAX: usize = 64;

impl Checker {
    pub(super) fn take_space(&mut self, parsed: Key, key: &[u8], value: &[u8]) -> Result<(), ViewError> {
        match parsed {
            Key::Trash { since, ino } => {
                TrashRow::decode(key, value)?;
                self.trash.insert(ino, since);
            }
            Key::Quota(dir) => {
                let row = QuotaRow::decode(key, value)?;
                self.walking |= row.state == QuotaState::Counting;
                self.quotas.insert(dir, row);
            }
            Key::Reserved { quota, .. } => {
                *self.reserved.entry(quota).or_default() += ReservedRow::decode(key, value)?.bytes;
            }
            Key::Walk { .. } => {
                WalkRow::decode(key, value)?;
                self.walking = true;
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn judge_trash(&mut self) {
        for (ino, since) in self.trash.clone() {
            let row = self.inodes.get(&ino).and_then(|inode| inode.row.as_ref());
            let detail = match row {
                None => "in the trash, and there is no such inode".to_owned(),
                Some(row) if row.nlink > 0 => "in the trash, and it has links".to_owned(),
                Some(row) if row.ctime != since => {
                    "in the trash at another time than its last change".to_owned()
                }
                Some(row) if row.quota != Ino(0) => "in the trash, and charged to a quota".to_owned(),
                Some(_) if self.orphans.contains_key(&ino) => "in the trash and an orphan".to_owned(),
                Some(_) => continue,
            };
            self.problem(ProblemKind::Trash, format!("inode {ino}"), detail);
        }
    }

    pub(super) fn judge_quotas(&mut self) {
        let mut direct: BTreeMap<Ino, (u64, u64)> = BTreeMap::new();
        let mut findings = Vec::new();
        for (ino, inode) in &self.inodes {
            let Some(row) = &inode.row else { continue };
            let extents = self
                .contents
                .get(&(*ino, row.content))
                .map_or(0, |seen| seen.bytes);
            let due = if row.quota == Ino(0) { 0 } else { extents };
            if row.charged != due {
                findings.push((
                    *ino,
                    format!("charged for {} bytes where {due} is right", row.charged),
                ));
            }
            if row.quota != Ino(0) {
                let sum = direct.entry(row.quota).or_default();
                *sum = (sum.0 + row.charged, sum.1 + 1);
            }
            // A file with several names may have lost those that were in its quota.
            if let Some(expected) = self.quota_by_place(*ino, inode.name.as_ref().map(|name| name.0))
                && expected != row.quota
                && row.kind == FileKind::Directory
                && !self.walking
            {
                findings.push((*ino, format!("in quota {} where {expected} is right", row.quota)));
            }
        }
        findings.sort();
        for (ino, detail) in findings {
            self.problem(ProblemKind::Quota, self.place(ino), detail);
        }
        self.judge_quota_sums(&direct);
    }

    /// The quota that an inode with one name should have.
    fn quota_by_place(&self, ino: Ino, parent: Option<Ino>) -> Option<Ino> {
        match self.quotas.get(&ino) {
            Some(row) if row.state != QuotaState::Removing => Some(ino),
            _ => self.inodes.get(&parent?)?.row.as_ref().map(|row| row.quota),
        }
    }

    fn judge_quota_sums(&mut self, direct: &BTreeMap<Ino, (u64, u64)>) {
        let mut sums: BTreeMap<Ino, (u64, u64, u64)> = BTreeMap::new();
        for (quota, (bytes, inodes)) in direct {
            for place in self.quotas_from(*quota) {
                let sum = sums.entry(place).or_default();
                *sum = (sum.0 + bytes, sum.1 + inodes, sum.2);
            }
        }
        for (quota, bytes) in &self.reserved {
            for place in self.quotas_from(*quota) {
                sums.entry(place).or_default().2 += bytes;
            }
        }
        for (quota, row) in self.quotas.clone() {
            let found = sums.get(&quota).copied().unwrap_or_default();
            let counted = (row.used_bytes, row.used_inodes, row.reserved);
            if counted != found {
                let detail = format!("counts (bytes, inodes, reserved) {counted:?} where {found:?} is right");
                self.problem(ProblemKind::Quota, self.place(quota), detail);
            }
        }
    }

    fn quotas_from(&self, quota: Ino) -> Vec<Ino> {
        let mut found = Vec::new();
        let mut place = quota;
        while let Some(QuotaRow { parent, .. }) = self.quotas.get(&place)
            && found.len() < NESTING_MAX
        {
            found.push(place);
            place = *parent;
        }
        found
    }
}
