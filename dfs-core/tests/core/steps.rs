//! The steps on attributes, sessions and content, done on the core and on the naive reference.

use crate::pair::{Pair, Step, session};
use crate::world::*;
use dfs_core::ids::{Ino, SessionId};
use dfs_core::op::*;
use dfs_core::types::*;

impl Pair {
    pub fn attributes(&mut self, step: &Step) {
        match *step {
            Step::Chmod(ino, mode) => {
                let ino = self.ino(ino);
                let changes = AttrChanges {
                    mode: Some(mode),
                    ..AttrChanges::default()
                };
                self.agree(
                    Op::SetAttr {
                        ino: Ino(ino),
                        changes,
                    },
                    |model| model.chmod(ino, mode),
                );
            }
            Step::Chown(ino, id) => {
                let ino = self.ino(ino);
                let changes = AttrChanges {
                    uid: Some(id),
                    gid: Some(id + 1),
                    ..AttrChanges::default()
                };
                self.agree(
                    Op::SetAttr {
                        ino: Ino(ino),
                        changes,
                    },
                    |model| model.chown(ino, id, id + 1),
                );
            }
            Step::Truncate(ino, size) => {
                let ino = self.file(ino);
                let changes = AttrChanges {
                    size: Some(size),
                    ..AttrChanges::default()
                };
                self.agree(
                    Op::SetAttr {
                        ino: Ino(ino),
                        changes,
                    },
                    |model| model.truncate(ino, size),
                );
            }
            Step::SetXattr(ino, name, create) => {
                let (ino, name) = (self.ino(ino), format!("user.{name}").into_bytes());
                let value = self.world.clock.to_string().into_bytes();
                let mode = if create { XattrMode::Create } else { XattrMode::Any };
                let op = Op::SetXattr {
                    ino: Ino(ino),
                    name: name.clone(),
                    value: value.clone(),
                    mode,
                    kill_sgid: false,
                };
                self.agree(op, |model| model.set_xattr(ino, &name, &value, create));
            }
            Step::RemoveXattr(ino, name) => {
                let (ino, name) = (self.ino(ino), format!("user.{name}").into_bytes());
                let op = Op::RemoveXattr {
                    ino: Ino(ino),
                    name: name.clone(),
                };
                self.agree(op, |model| model.remove_xattr(ino, &name));
            }
            ref other => self.sessions(other),
        }
    }

    fn sessions(&mut self, step: &Step) {
        match *step {
            Step::Open(ino, second) => self.open(self.file(ino), second),
            Step::Close(ino, second) => self.close(self.file(ino), second),
            Step::EndSession(second) => {
                let ended = session(second);
                self.world.open.0.retain(|(_, session)| *session != ended);
                self.world.session = SessionId::COORDINATOR;
                self.agree(Op::EndSession { session: ended.0 }, |model| {
                    model.end_session(ended.0);
                    Ok(())
                });
                self.world.session = ALICE;
            }
            Step::Purge(limit) => {
                self.world.session = SessionId::COORDINATOR;
                self.agree(Op::Purge { limit }, |_| Ok(()));
                self.world.session = ALICE;
            }
            ref content => self.content(content),
        }
    }

    /// Opening is the lease table's matter: only what exists and has a name can be opened.
    pub fn open(&mut self, ino: u64, second: bool) {
        if self.model.nodes.contains_key(&ino) && (self.model.nlink(ino) > 0 || self.model.nodes[&ino].temp) {
            let session = session(second);
            let new_temp = self.model.nodes[&ino].temp && self.model.nodes[&ino].open.is_empty();
            if self.model.nlink(ino) > 0 || new_temp {
                self.world.open.0.insert((Ino(ino), session));
                self.model
                    .nodes
                    .get_mut(&ino)
                    .expect("just seen")
                    .open
                    .insert(session.0);
            }
        }
    }

    fn close(&mut self, ino: u64, second: bool) {
        let session = session(second);
        if self.world.open.0.remove(&(Ino(ino), session)) {
            self.world.session = session;
            self.agree(Op::Release { inos: vec![Ino(ino)] }, |model| {
                model.close(session.0, ino);
                Ok(())
            });
            self.world.session = ALICE;
        }
    }

    fn content(&mut self, step: &Step) {
        match *step {
            Step::Write(ino, offset, len, twice) => {
                let ino = self.file(ino);
                let id = self.world.chunk_id();
                let mut extents = vec![(offset, len, 0)];
                if twice {
                    extents.push((offset + len + 3, len, 0));
                }
                let mtime = Timestamp {
                    secs: self.world.clock + 1,
                    nanos: 7,
                };
                let op = commit_op(id, len as u32, Ino(ino), &extents, mtime);
                self.agree(op, |model| {
                    extents
                        .iter()
                        .try_for_each(|(offset, len, _)| model.write(ino, *offset, *len, id.seq))
                });
            }
            Step::Allocate(ino, mode, keep_size, offset, len) => {
                let ino = self.file(ino);
                let kind = match mode {
                    0 => AllocateMode::Reserve { keep_size },
                    1 => AllocateMode::PunchHole,
                    _ => AllocateMode::ZeroRange { keep_size },
                };
                let op = Op::Allocate {
                    ino: Ino(ino),
                    mode: kind,
                    offset,
                    len,
                };
                self.agree(op, |model| model.allocate(ino, mode, keep_size, offset, len));
            }
            Step::Copy(src, src_offset, dst, dst_offset, len) => {
                let (src, dst) = (self.file(src), self.file(dst));
                let op = Op::CopyRange {
                    src: Ino(src),
                    src_offset,
                    dst: Ino(dst),
                    dst_offset,
                    len,
                };
                let mut expected = 0;
                let reply = self.agree(op, |model| {
                    expected = model.copy((src, src_offset), (dst, dst_offset), len)?;
                    Ok(())
                });
                if let Some(reply) = reply {
                    assert!(matches!(reply, Reply::Copied { len, .. } if len == expected));
                }
            }
            ref other => unreachable!("{other:?} is no step of content"),
        }
    }
}
