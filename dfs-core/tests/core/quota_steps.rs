//! Random steps on trees with quotas.

use crate::quotas::{own, try_write};
use crate::world::*;
use dfs_core::error::FsError;
use dfs_core::ids::Ino;
use dfs_core::op::*;
use dfs_core::types::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
pub enum Step {
    Make(usize, u8, bool),
    Write(usize, u64, u32, bool),
    Truncate(usize, u64),
    Rename(usize, u8, usize, u8, bool),
    Link(usize, usize, u8),
    Unlink(usize, u8),
    Rmdir(usize, u8),
    Copy(usize, usize, u64),
    Set(usize, u64, u64),
    Remove(usize),
    Walk(u32),
    Reserve(usize, u64),
    End,
}

pub fn step() -> impl Strategy<Value = Step> {
    let at = || 0..10usize;
    let name = || 0..5u8;
    prop_oneof![
        6 => (at(), name(), any::<bool>()).prop_map(|(a, b, c)| Step::Make(a, b, c)),
        6 => (at(), 0..40u64, 1..30u32, any::<bool>()).prop_map(|(a, b, c, d)| Step::Write(a, b, c, d)),
        2 => (at(), 0..40u64).prop_map(|(a, b)| Step::Truncate(a, b)),
        6 => (at(), name(), at(), name(), any::<bool>()).prop_map(|(a, b, c, d, e)| Step::Rename(a, b, c, d, e)),
        2 => (at(), at(), name()).prop_map(|(a, b, c)| Step::Link(a, b, c)),
        2 => (at(), name()).prop_map(|(a, b)| Step::Unlink(a, b)),
        2 => (at(), name()).prop_map(|(a, b)| Step::Rmdir(a, b)),
        2 => (at(), at(), 0..40u64).prop_map(|(a, b, c)| Step::Copy(a, b, c)),
        3 => (at(), 20..120u64, 2..9u64).prop_map(|(a, b, c)| Step::Set(a, b, c)),
        1 => at().prop_map(Step::Remove),
        6 => (1..3u32).prop_map(Step::Walk),
        2 => (at(), 0..80u64).prop_map(|(a, b)| Step::Reserve(a, b)),
        1 => Just(Step::End),
    ]
}

/// The living directories or files, by their order of creation.
fn pick(inos: &[Ino], at: usize) -> Ino {
    inos.get(at % inos.len().max(1)).copied().unwrap_or(ROOT)
}

pub fn apply(
    world: &mut World,
    dirs: &mut Vec<Ino>,
    files: &mut Vec<Ino>,
    step: &Step,
) -> Result<Reply, FsError> {
    let name = |name: u8| format!("n{name}");
    match *step {
        Step::Make(parent, n, is_dir) => {
            let kind = if is_dir {
                FileKind::Directory
            } else {
                FileKind::File
            };
            let make = world.make_op(pick(dirs, parent), &name(n), kind);
            let made = world.run(&Op::Make(make))?;
            if let Reply::Entry { attr, .. } = &made {
                if is_dir { dirs } else { files }.push(attr.ino);
            }
            Ok(made)
        }
        Step::Write(file, offset, len, second) => {
            world.session = if second { BOB } else { ALICE };
            let done = try_write(world, pick(files, file), offset, len);
            world.session = ALICE;
            done
        }
        Step::Truncate(file, size) => {
            let changes = AttrChanges {
                size: Some(size),
                ..AttrChanges::default()
            };
            world.run(&Op::SetAttr {
                ino: pick(files, file),
                changes,
            })
        }
        Step::Rename(from, a, to, b, exchange) => {
            let mode = if exchange {
                RenameMode::Exchange
            } else {
                RenameMode::Replace
            };
            world.rename((pick(dirs, from), &name(a)), (pick(dirs, to), &name(b)), mode)
        }
        Step::Link(file, parent, n) => world.run(&Op::Link {
            ino: pick(files, file),
            parent: pick(dirs, parent),
            name: name(n).into(),
        }),
        Step::Unlink(parent, n) => world.unlink(pick(dirs, parent), &name(n)),
        Step::Rmdir(parent, n) => world.run(&Op::Rmdir {
            parent: pick(dirs, parent),
            name: name(n).into(),
            held: false,
        }),
        Step::Copy(src, dst, len) => world.run(&Op::CopyRange {
            src: pick(files, src),
            src_offset: 0,
            dst: pick(files, dst),
            dst_offset: 50,
            len,
        }),
        ref other => apply_to_quotas(world, dirs, other),
    }
}

fn apply_to_quotas(world: &mut World, dirs: &[Ino], step: &Step) -> Result<Reply, FsError> {
    match *step {
        Step::Set(dir, bytes, inodes) => {
            let dir = pick(dirs, dir);
            own(world, Op::SetQuota { dir, bytes, inodes })
        }
        Step::Remove(dir) => {
            let dir = pick(dirs, dir);
            own(world, Op::RemoveQuota { dir })
        }
        Step::Walk(limit) => own(world, Op::WalkQuota { limit }),
        Step::Reserve(quota, bytes) => world.run_as(
            BOB,
            &Op::ReserveQuota {
                quota: pick(dirs, quota),
                bytes,
            },
        ),
        Step::End => own(world, Op::EndSession { session: BOB.0 }),
        ref other => unreachable!("{other:?} is no step of quotas"),
    }
}
