//! Quotas by directory: exact after every operation, never exceeded, moved and counted in steps, by hand and by
//! random sequences.

use crate::quota_steps::{Step, apply, step};
use crate::world::*;
use dfs_core::error::FsError;
use dfs_core::ids::{Ino, SessionId};
use dfs_core::keys::{self, prefix};
use dfs_core::op::*;
use dfs_core::rows::{QuotaRow, QuotaState};
use dfs_core::types::*;
use proptest::prelude::*;

pub fn own(world: &mut World, op: Op) -> Result<Reply, FsError> {
    let result = world.run_as(SessionId::COORDINATOR, &op);
    world.check();
    result
}

fn set(world: &mut World, dir: Ino, bytes: u64, inodes: u64) {
    assert_eq!(own(world, Op::SetQuota { dir, bytes, inodes }), Ok(Reply::Done));
}

fn walk(world: &mut World) {
    while own(world, Op::WalkQuota { limit: 2 }) == Ok(Reply::Progress { more: true }) {}
}

fn row(world: &World, dir: Ino) -> Option<QuotaRow> {
    let key = keys::quota(dir);
    world
        .view
        .rows
        .get(&key)
        .map(|value| QuotaRow::decode(&key, value).expect("whole"))
}

fn used(world: &World, dir: Ino) -> (u64, u64) {
    row(world, dir).map_or((0, 0), |row| (row.used_bytes, row.used_inodes))
}

pub fn try_write(world: &mut World, ino: Ino, offset: u64, len: u32) -> Result<Reply, FsError> {
    let id = world.chunk_id();
    let op = commit_op(id, len, ino, &[(offset, u64::from(len), 0)], world.now());
    let result = world.run(&op);
    world.check();
    result
}

fn reserve(world: &mut World, session: SessionId, quota: Ino, bytes: u64) -> Result<u64, FsError> {
    let result = world.run_as(session, &Op::ReserveQuota { quota, bytes });
    world.check();
    result.map(|reply| match reply {
        Reply::Reserved { room, .. } => room,
        other => panic!("{other:?}"),
    })
}

// S33
#[test]
fn bytes_and_inodes_are_limited_to_the_last_one() {
    let mut world = World::new();
    let dir = world.dir(ROOT, "d");
    set(&mut world, dir, 1000, 3);
    walk(&mut world);
    assert_eq!(row(&world, dir).map(|row| row.state), Some(QuotaState::Active));
    let (a, b) = (world.file(dir, "a"), world.file(dir, "b"));
    let third = Op::Make(world.make_op(dir, "c", FileKind::File));
    assert_eq!(world.refused(&third), FsError::QuotaExceeded);
    assert_eq!(world.attr(a).quota, dir);
    assert_eq!(try_write(&mut world, a, 0, 600), Ok(Reply::Done));
    assert_eq!(try_write(&mut world, b, 0, 401), Err(FsError::QuotaExceeded));
    assert_eq!(
        try_write(&mut world, b, 1 << 30, 400),
        Ok(Reply::Done),
        "sparse is free"
    );
    assert_eq!(used(&world, dir), (1000, 3));
    assert_eq!(
        try_write(&mut world, a, 100, 400),
        Ok(Reply::Done),
        "overwriting is free"
    );
    let reserve = |offset, len| Op::Allocate {
        ino: a,
        mode: AllocateMode::Reserve { keep_size: true },
        offset,
        len,
    };
    assert_eq!(world.refused(&reserve(600, 1)), FsError::QuotaExceeded);
    let copy = Op::CopyRange {
        src: a,
        src_offset: 0,
        dst: b,
        dst_offset: 0,
        len: 1,
    };
    assert_eq!(
        world.refused(&copy),
        FsError::QuotaExceeded,
        "shared content counts"
    );
    let changes = AttrChanges {
        size: Some(10),
        ..AttrChanges::default()
    };
    world.set_attr(a, changes).expect("shrinks");
    world.check();
    assert_eq!(used(&world, dir), (410, 3));
    assert!(world.run(&reserve(10, 590)).is_ok());
    world.unlink(dir, "b").expect("there");
    world.check();
    assert_eq!(used(&world, dir), (600, 2));
    let usage = world.run(&Op::GetQuota { ino: a });
    assert!(
        matches!(usage, Ok(Reply::Quota(usage)) if usage.available_bytes == 400 && usage.available_inodes == 1)
    );
    assert_eq!(world.refused(&Op::GetQuota { ino: ROOT }), FsError::NoAttribute);
}

#[test]
fn a_filled_tree_is_counted_in_steps_and_handed_back() {
    let mut world = World::new();
    let dir = world.dir(ROOT, "d");
    let mut files = Vec::new();
    for n in 0..3 {
        let sub = world.dir(dir, &format!("s{n}"));
        for m in 0..5 {
            let file = world.file(sub, &format!("f{m}"));
            world.write(file, 0, 100);
            files.push((sub, file));
        }
    }
    set(&mut world, dir, 1700, u64::MAX);
    own(&mut world, Op::WalkQuota { limit: 2 }).expect("a step");
    // Use goes on meanwhile: new files inherit, entries not yet counted can be renamed in their directory.
    let (sub, file) = files[0];
    world.write(file, 100, 100);
    world.check();
    let sub_name = world.dir(dir, "new");
    world.file(sub_name, "x");
    for n in 0..3 {
        let (old, new) = (format!("s{n}"), format!("r{n}"));
        world
            .rename((dir, &old), (dir, &new), RenameMode::Replace)
            .expect("inside");
        world.check();
    }
    walk(&mut world);
    assert_eq!(row(&world, dir).map(|row| row.state), Some(QuotaState::Active));
    assert_eq!(used(&world, dir), (1600, 1 + 3 + 15 + 2));
    assert_eq!(try_write(&mut world, file, 500, 101), Err(FsError::QuotaExceeded));
    assert_eq!(try_write(&mut world, file, 500, 100), Ok(Reply::Done));
    // A smaller limit than what is there refuses growth only.
    set(&mut world, dir, 10, 1);
    assert_eq!(try_write(&mut world, file, 0, 50), Ok(Reply::Done));
    assert!(world.unlink(sub, "f4").is_ok());
    // An open file keeps the removed quota until it is closed.
    world.open.0.insert((file, ALICE));
    world.unlink(sub, "f0").expect("there");
    assert_eq!(own(&mut world, Op::RemoveQuota { dir }), Ok(Reply::Done));
    assert_eq!(own(&mut world, Op::RemoveQuota { dir }), Err(FsError::Busy));
    assert_eq!(
        try_write(&mut world, files[1].1, 200, 900),
        Ok(Reply::Done),
        "no limit"
    );
    walk(&mut world);
    assert_eq!(used(&world, dir), (300, 1));
    world.open.0.clear();
    world.run(&Op::Release { inos: vec![file] }).expect("held");
    world.check();
    assert_eq!(row(&world, dir), None);
    assert_eq!(world.attr(files[1].1).quota, Ino(0));
    assert_eq!(
        own(&mut world, Op::RemoveQuota { dir }),
        Err(FsError::NoAttribute)
    );
}

#[test]
fn nested_quotas_charge_all_above() {
    let mut world = World::new();
    let outer = world.dir(ROOT, "outer");
    let inner = world.dir(outer, "inner");
    let file = world.file(inner, "f");
    world.write(file, 0, 300);
    set(&mut world, inner, 1000, u64::MAX);
    set(&mut world, outer, 500, u64::MAX);
    walk(&mut world);
    assert_eq!((used(&world, inner), used(&world, outer)), ((300, 2), (300, 3)));
    assert_eq!(try_write(&mut world, file, 300, 201), Err(FsError::QuotaExceeded));
    assert_eq!(reserve(&mut world, ALICE, inner, 200), Ok(0));
    assert_eq!(reserve(&mut world, BOB, outer, 1), Err(FsError::QuotaExceeded));
    assert_eq!(try_write(&mut world, file, 300, 200), Ok(Reply::Done), "promised");
    assert_eq!(row(&world, outer).map(|row| row.reserved), Some(0));
    // Across the border: directories do not move, files take their bytes along.
    let sub = world.dir(inner, "sub");
    let names = ((inner, "sub"), (outer, "sub"));
    assert_eq!(
        world.rename(names.0, names.1, RenameMode::Replace),
        Err(FsError::CrossDevice)
    );
    let to = ((inner, "f"), (ROOT, "f"));
    assert!(world.rename(to.0, to.1, RenameMode::Replace).is_ok());
    world.check();
    assert_eq!((used(&world, inner), used(&world, outer)), ((0, 2), (0, 3)));
    let link = |ino, parent| Op::Link {
        ino,
        parent,
        name: b"link".to_vec(),
    };
    assert_eq!(world.refused(&link(file, sub)), FsError::CrossDevice);
    assert!(world.run(&link(file, ROOT)).is_ok());
    assert_eq!(
        world.rename((ROOT, "link"), (sub, "f"), RenameMode::Replace),
        Err(FsError::CrossDevice),
        "it has another name outside"
    );
    world.unlink(ROOT, "link").expect("there");
    assert!(world.rename((ROOT, "f"), (sub, "f"), RenameMode::Replace).is_ok());
    world.check();
    assert_eq!((used(&world, inner), used(&world, outer)), ((500, 3), (500, 4)));
    own(&mut world, Op::RemoveQuota { dir: outer }).expect("active");
    walk(&mut world);
    assert_eq!((row(&world, outer), used(&world, inner)), (None, (500, 3)));
}

#[test]
fn promises_are_kept_and_end_with_their_session() {
    let mut world = World::new();
    let dir = world.dir(ROOT, "d");
    let file = world.file(dir, "f");
    set(&mut world, dir, 1000, u64::MAX);
    walk(&mut world);
    assert_eq!(reserve(&mut world, ALICE, dir, 700), Ok(300));
    assert_eq!(reserve(&mut world, BOB, dir, 301), Err(FsError::QuotaExceeded));
    assert_eq!(reserve(&mut world, BOB, dir, 300), Ok(0));
    // The limit is lowered: what was promised is still taken.
    set(&mut world, dir, 100, u64::MAX);
    assert_eq!(try_write(&mut world, file, 0, 700), Ok(Reply::Done));
    assert_eq!(try_write(&mut world, file, 700, 1), Err(FsError::QuotaExceeded));
    assert_eq!(
        row(&world, dir).map(|row| (row.used_bytes, row.reserved)),
        Some((700, 300))
    );
    own(&mut world, Op::EndSession { session: BOB.0 }).expect("a session");
    assert_eq!(row(&world, dir).map(|row| row.reserved), Some(0));
    assert_eq!(world.count(prefix::reserved()), 0);
    assert_eq!(
        reserve(&mut world, ALICE, Ino(999), 5),
        Ok(u64::MAX - 5),
        "no such quota"
    );
}

#[test]
fn the_trash_is_not_charged() {
    let mut world = World::new();
    let on = Op::SetSetting {
        name: b"trash_retention".to_vec(),
        value: 60,
    };
    own(&mut world, on).expect("a setting");
    let dir = world.dir(ROOT, "d");
    set(&mut world, dir, 1000, u64::MAX);
    walk(&mut world);
    let file = world.file(dir, "f");
    world.write(file, 0, 900);
    world.unlink(dir, "f").expect("there");
    world.check();
    assert_eq!(used(&world, dir), (0, 1));
    let other = world.file(dir, "g");
    world.write(other, 0, 101);
    let back = Op::Restore { ino: file, to: None };
    assert_eq!(own(&mut world, back.clone()), Err(FsError::QuotaExceeded));
    world.unlink(dir, "g").expect("there");
    assert!(own(&mut world, back).is_ok());
    assert_eq!(used(&world, dir), (900, 2));
}

/// No step makes a quota exceed its limit further, and whoever is refused would have exceeded one.
fn limits(world: &World) -> Vec<(Ino, QuotaRow)> {
    let (start, end) = prefix::quotas();
    let rows = world.view.rows.range(start..end).map(|(key, value)| {
        let Some(keys::Key::Quota(dir)) = keys::parse(key) else {
            panic!("a quota")
        };
        (dir, QuotaRow::decode(key, value).expect("whole"))
    });
    rows.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    // S33
    #[test]
    fn quotas_are_exact_after_every_step(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        let (mut dirs, mut files) = (vec![ROOT], Vec::new());
        for step in &steps {
            let before: std::collections::BTreeMap<_, _> = limits(&world).into_iter().collect();
            let done = apply(&mut world, &mut dirs, &mut files, step);
            world.check();
            let moves = matches!(step, Step::Walk(_) | Step::Rename(..) | Step::Set(..));
            for (dir, row) in limits(&world) {
                let Some(old) = before.get(&dir).filter(|old| old.state == QuotaState::Active && !moves) else { continue };
                let sum = row.used_bytes + row.reserved;
                prop_assert!(sum <= row.limit_bytes.max(old.used_bytes + old.reserved), "{step:?} {done:?}");
                prop_assert!(row.used_inodes <= row.limit_inodes.max(old.used_inodes), "{step:?}");
            }
        }
        walk(&mut world);
        own(&mut world, Op::EndSession { session: BOB.0 }).expect("a session");
        for (dir, row) in limits(&world) {
            // A removed one stays as long as a file with a name elsewhere is counted.
            let stays = row.state == QuotaState::Removing && row.used_inodes > 0;
            prop_assert!(row.state == QuotaState::Active || stays, "{dir} {row:?}");
        }
    }
}
