//! Properties of the tables against naive models: leases, locks, extents, placement.

use dfs_core::error::FsError;
use dfs_core::extents::ExtentMap;
use dfs_core::ids::{ChunkId, Ino, NodeId, SessionId, SetId};
use dfs_core::lease::{Conflict, LeaseTable};
use dfs_core::lock::{Lock, LockKind, LockTable, LockType};
use dfs_core::placement::{self, Candidate};
use dfs_core::rows::SetRow;
use dfs_core::types::{Extent, LeaseMode};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn mode() -> impl Strategy<Value = LeaseMode> {
    prop_oneof![
        Just(LeaseMode::None),
        Just(LeaseMode::Shared),
        Just(LeaseMode::Exclusive)
    ]
}

type Leases = BTreeMap<(SessionId, Ino), (LeaseMode, bool)>;

fn allowed(leases: &Leases, me: SessionId, on: Ino, mode: LeaseMode) -> bool {
    leases
        .iter()
        .filter(|((session, ino), _)| *session != me && *ino == on)
        .all(|(_, (other, _))| {
            mode == LeaseMode::None
                || *other == LeaseMode::None
                || (mode == LeaseMode::Shared && *other == LeaseMode::Shared)
        })
}

proptest! {
    // S20
    #[test]
    fn leases_never_conflict(
        steps in prop::collection::vec((0..5u8, 0..3u128, 0..3u64, mode(), any::<bool>()), 0..60)
    ) {
        let mut table = LeaseTable::new();
        let mut naive = Leases::new();
        for (step, session, ino, mode, open) in steps {
            let (session, ino) = (SessionId(session), Ino(ino));
            let key = (session, ino);
            let (held, was_open) = naive.get(&key).copied().unwrap_or_default();
            let modes = [LeaseMode::Exclusive, LeaseMode::Shared, LeaseMode::None];
            let most = |wanted| modes.into_iter().find(|mode| *mode <= wanted && allowed(&naive, session, ino, *mode));
            match step {
                0 => {
                    let gone: Vec<Ino> =
                        naive.keys().filter(|(whose, _)| *whose == session).map(|(_, ino)| *ino).collect();
                    prop_assert_eq!(table.drop_session(session), gone);
                    naive.retain(|(whose, _), _| *whose != session);
                }
                1 | 2 => {
                    let now = most(mode).unwrap_or_default().max(held);
                    prop_assert_eq!(table.grant(session, ino, mode), now);
                    naive.insert(key, (now, was_open));
                }
                _ => {
                    let now = most(mode).unwrap_or_default();
                    prop_assert_eq!(table.set(session, ino, mode, open), now);
                    naive.insert(key, (now, open));
                }
            }
            naive.retain(|_, held| *held != (LeaseMode::None, false));
            for ((session, ino), (mode, open)) in &naive {
                prop_assert!(allowed(&naive, *session, *ino, *mode), "at most one exclusive, or shared ones");
                prop_assert_eq!(table.mode(*session, *ino), *mode);
                prop_assert_eq!(table.is_open(*session, *ino), *open);
            }
            for session in (0..3).map(SessionId) {
                prop_assert_eq!(table.count(session), naive.keys().filter(|key| key.0 == session).count());
                let idle = naive.iter().filter(|((whose, ino), (mode, open))| {
                    *whose == session && *ino > Ino(0) && *mode > LeaseMode::None && !open
                });
                let idle: Vec<Ino> = idle.map(|((_, ino), _)| *ino).take(1).collect();
                prop_assert_eq!(table.idle(session, Ino(0), 1), idle);
            }
            prop_assert_eq!(table.total(), naive.len());
            for ino in (0..3).map(Ino) {
                let open: Vec<SessionId> = naive
                    .iter()
                    .filter(|((_, on), (_, open))| *on == ino && *open)
                    .map(|((session, _), _)| *session)
                    .collect();
                prop_assert_eq!(table.holders_open(ino), open);
            }
        }
    }

    #[test]
    fn extent_maps_are_bytes(
        steps in prop::collection::vec((any::<bool>(), 0..64u64, 0..24u64, 0..9u32), 0..40)
    ) {
        let mut map = ExtentMap::new();
        let mut naive: BTreeMap<u64, (u64, u32)> = BTreeMap::new();
        for (number, (lay, offset, len, chunk_offset)) in steps.into_iter().enumerate() {
            let seq = number as u64 + 1;
            for (place, byte) in (offset..offset + len).zip(chunk_offset..) {
                match lay {
                    true => naive.insert(place, (seq, byte)),
                    false => naive.remove(&place),
                };
            }
            match lay {
                true => map.insert(Extent { offset, len, chunk: ChunkId { set: SetId(1), seq }, chunk_offset }),
                false => map.cut(offset, offset + len),
            }
            let mut end = 0;
            for extent in map.iter() {
                prop_assert!(extent.len > 0 && extent.offset >= end);
                end = extent.end();
            }
            let mut place = 5;
            for (range, extent) in map.lookup(5, 70) {
                prop_assert!(range.start == place && range.end > place && range.end <= 75);
                place = range.end;
                for byte in range.clone() {
                    let found = extent.map(|extent| {
                        (extent.chunk.seq, extent.chunk_offset + (byte - extent.offset) as u32)
                    });
                    prop_assert_eq!(found, naive.get(&byte).copied());
                }
                prop_assert!(extent.is_none_or(|extent| (extent.offset..extent.end()) == range));
            }
            prop_assert_eq!(place, 75);
        }
        map.clear();
        prop_assert!(map.is_empty());
    }

    // S21
    #[test]
    fn locks_are_bytes(
        steps in prop::collection::vec(
            (0..3u8, 0..2u128, 0..2u64, 0..3u8, 0..12u64, 0..12u64, any::<bool>()), 0..40)
    ) {
        let mut table = LockTable::new();
        // Per kind, owner and byte.
        let mut naive: BTreeMap<(bool, SessionId, u64, u64), LockType> = BTreeMap::new();
        for (step, session, owner, typ, from, to, flock) in steps {
            let session = SessionId(session);
            let typ = [LockType::Read, LockType::Write, LockType::Unlock][usize::from(typ)];
            let kind = if flock { LockKind::Flock } else { LockKind::Posix };
            let (start, end) = if flock { (0, 11) } else { (from.min(to), from.max(to)) };
            let lock = Lock { ino: Ino(1), owner, kind, typ, start, end, pid: 1 };
            if step == 0 {
                table.release_owner(session, Ino(1), owner, kind);
                naive.retain(|key, _| (key.0, key.1, key.2) != (flock, session, owner));
            } else {
                if flock && typ != LockType::Unlock {
                    naive.retain(|key, held| (key.0, key.1, key.2) != (flock, session, owner) || *held == typ);
                }
                let free = typ == LockType::Unlock || naive.iter().all(|(key, held)| {
                    key.0 != flock
                        || (key.1, key.2) == (session, owner)
                        || !(start..=end).contains(&key.3)
                        || (*held == LockType::Read && typ == LockType::Read)
                });
                prop_assert_eq!(table.test(session, &lock).is_none() || typ == LockType::Unlock, free);
                prop_assert_eq!(table.set(session, &lock).is_ok(), free);
                if free {
                    for byte in start..=end {
                        match typ {
                            LockType::Unlock => naive.remove(&(flock, session, owner, byte)),
                            _ => naive.insert((flock, session, owner, byte), typ),
                        };
                    }
                }
            }
            let mut found = BTreeMap::new();
            let mut ranges: Vec<(SessionId, Lock)> = table.held(Ino(1)).collect();
            ranges.sort_by_key(|(session, lock)| (lock.kind == LockKind::Flock, *session, lock.owner, lock.start));
            for (session, lock) in &ranges {
                for byte in lock.start..=lock.end.min(11) {
                    found.insert((lock.kind == LockKind::Flock, *session, lock.owner, byte), lock.typ);
                }
            }
            prop_assert_eq!(&found, &naive);
            for pair in ranges.windows(2) {
                let ((one, left), (other, right)) = (pair[0], pair[1]);
                let neighbours = one == other && left.owner == right.owner && left.kind == right.kind
                    && left.typ == right.typ && left.end + 1 == right.start;
                prop_assert!(!neighbours, "neighbours are merged: {:?} {:?}", left, right);
            }
        }
    }

    #[test]
    fn sets_overlap_evenly(count in 0..30u32, replication in 1..5usize, zones in 1..6u32) {
        let nodes: Vec<Candidate> = (1..=count)
            .map(|number| Candidate {
                node: NodeId(number),
                zone: format!("z{}", number % zones),
                capacity: 0,
            })
            .collect();
        let sets = placement::form_sets(&nodes, &[], replication);
        let mut turned = nodes.clone();
        turned.reverse();
        prop_assert_eq!(&placement::form_sets(&turned, &[], replication), &sets);
        let again = placement::form_sets(&nodes, &sets, replication);
        prop_assert!(again.is_empty(), "the same nodes need no more sets: {:?}", again);
        prop_assert_eq!(sets.is_empty(), (count as usize) < replication);
        let mut load: BTreeMap<NodeId, usize> = BTreeMap::new();
        let zone_of = |node: &NodeId| node.0 % zones;
        let all_zones: BTreeSet<u32> = nodes.iter().map(|node| zone_of(&node.node)).collect();
        for set in &sets {
            let distinct: BTreeSet<&NodeId> = set.iter().collect();
            prop_assert_eq!(distinct.len(), replication);
            let spread: BTreeSet<u32> = set.iter().map(zone_of).collect();
            prop_assert_eq!(spread.len(), replication.min(all_zones.len()), "{:?}", set);
            for node in set {
                *load.entry(*node).or_default() += 1;
            }
        }
        if !sets.is_empty() {
            prop_assert_eq!(load.len(), count as usize, "every node is in a set");
        }
    }
}

#[test]
fn conflicts_name_what_may_stay() {
    let mut table = LeaseTable::new();
    let (me, one, two) = (SessionId(1), SessionId(2), SessionId(3));
    table.grant(one, Ino(1), LeaseMode::Exclusive);
    table.grant(one, Ino(2), LeaseMode::Shared);
    table.grant(two, Ino(2), LeaseMode::Exclusive);
    assert_eq!(table.mode(two, Ino(2)), LeaseMode::Shared);
    table.grant(me, Ino(3), LeaseMode::Exclusive);
    let set = |inos: &[u64]| inos.iter().copied().map(Ino).collect::<BTreeSet<Ino>>();
    let conflict = |session, ino, keep| Conflict {
        session,
        ino: Ino(ino),
        keep,
    };
    assert_eq!(table.conflicts(me, &set(&[2, 3]), &set(&[3])), vec![]);
    assert_eq!(
        table.conflicts(me, &set(&[1]), &set(&[])),
        vec![conflict(one, 1, LeaseMode::Shared)]
    );
    assert_eq!(
        table.conflicts(me, &set(&[1, 2]), &set(&[1, 2])),
        vec![
            conflict(one, 1, LeaseMode::None),
            conflict(one, 2, LeaseMode::None),
            conflict(two, 2, LeaseMode::None)
        ]
    );
}

fn posix(ino: u64, owner: u64, typ: LockType, start: u64, end: u64) -> Lock {
    Lock {
        ino: Ino(ino),
        owner,
        kind: LockKind::Posix,
        typ,
        start,
        end,
        pid: owner as u32,
    }
}

#[test]
fn waiters_are_granted_in_order_and_can_leave() {
    let mut table = LockTable::new();
    let s = SessionId(1);
    use LockType::*;
    table.set(s, &posix(1, 1, Write, 0, u64::MAX)).expect("free");
    assert_eq!(table.wait(s, 10, &posix(1, 2, Read, 0, 9)), Ok(false));
    assert_eq!(table.wait(s, 11, &posix(1, 3, Write, 0, 9)), Ok(false));
    assert_eq!(table.wait(s, 12, &posix(1, 4, Read, 5, 5)), Ok(false));
    assert_eq!(
        table.wait(s, 12, &posix(1, 4, Read, 5, 5)),
        Ok(false),
        "asked again, waits once"
    );
    assert_eq!(table.count(s), 4);
    assert!(table.granted().is_empty());
    table
        .set(s, &posix(1, 1, Unlock, 0, u64::MAX))
        .expect("unlocking");
    let tickets = |table: &mut LockTable| -> Vec<u64> {
        table.granted().iter().map(|granted| granted.ticket).collect()
    };
    assert_eq!(tickets(&mut table), [10, 12]);
    assert!(!table.cancel(s, 10), "granted already");
    assert!(table.cancel(s, 11));
    assert_eq!(table.wait(SessionId(2), 11, &posix(1, 3, Write, 0, 9)), Ok(false));
    table.drop_session(s);
    assert_eq!(tickets(&mut table), [11]);
    let test = table.test(s, &posix(1, 1, Read, 3, 3)).expect("held");
    assert_eq!((test.session, test.lock.pid), (SessionId(2), 3));
    table.drop_session(SessionId(2));
    assert_eq!(table.held(Ino(1)).count(), 0);
}

#[test]
fn circles_of_waiting_are_refused() {
    let mut table = LockTable::new();
    let s = SessionId(1);
    use LockType::*;
    for (ino, owner) in [(1, 1), (2, 2), (3, 3)] {
        table.set(s, &posix(ino, owner, Write, 0, 0)).expect("free");
    }
    assert_eq!(table.wait(s, 1, &posix(2, 1, Write, 0, 0)), Ok(false));
    assert_eq!(table.wait(s, 2, &posix(3, 2, Write, 0, 0)), Ok(false));
    assert_eq!(
        table.wait(s, 3, &posix(1, 3, Write, 0, 0)),
        Err(FsError::Deadlock)
    );
    // The same owner number in another session is another owner.
    assert_eq!(table.wait(SessionId(2), 3, &posix(1, 3, Write, 0, 0)), Ok(false));
    assert!(table.cancel(s, 2));
    assert_eq!(table.wait(s, 3, &posix(1, 3, Write, 0, 0)), Ok(false));
}

#[test]
fn a_flock_that_changes_its_type_gives_way() {
    let mut table = LockTable::new();
    let flock = |owner, typ| Lock {
        kind: LockKind::Flock,
        ..posix(1, owner, typ, 0, 0)
    };
    let s = SessionId(1);
    table.set(s, &flock(1, LockType::Read)).expect("free");
    table.set(s, &flock(2, LockType::Read)).expect("shared");
    assert_eq!(table.wait(s, 7, &flock(3, LockType::Write)), Ok(false));
    assert!(table.set(s, &flock(1, LockType::Write)).is_err());
    assert_eq!(table.held(Ino(1)).count(), 1, "refused and lost, as on Linux");
    table.release_owner(s, Ino(1), 2, LockKind::Flock);
    assert_eq!(table.granted().len(), 1);
}

#[test]
fn sets_are_chosen_by_health_and_room() {
    let row = |members: &[u32]| SetRow::new(members.iter().copied().map(NodeId).collect());
    let sets = BTreeMap::from([
        (SetId(1), row(&[1, 2])),
        (SetId(2), row(&[2, 3])),
        (SetId(3), row(&[3, 4])),
    ]);
    let choose = |dead: u32, full: u32, avoid: &[SetId]| -> BTreeSet<SetId> {
        let alive = |node: NodeId| node.0 != dead;
        let free = |node: NodeId| if node.0 == full { 0 } else { 1000 };
        (0..64)
            .filter_map(|salt| placement::choose_set(&sets, &alive, &free, avoid, salt))
            .collect()
    };
    assert_eq!(choose(0, 0, &[]), BTreeSet::from([SetId(1), SetId(2), SetId(3)]));
    assert_eq!(choose(1, 0, &[]), BTreeSet::from([SetId(2), SetId(3)]));
    assert_eq!(
        choose(1, 3, &[]),
        BTreeSet::from([SetId(1), SetId(2), SetId(3)]),
        "half a set is better than none"
    );
    assert_eq!(choose(0, 0, &[SetId(1), SetId(2)]), BTreeSet::from([SetId(3)]));
    assert_eq!(choose(0, 0, &[SetId(1), SetId(2), SetId(3)]), BTreeSet::new());
    let nobody = placement::choose_set(&sets, &|_| false, &|_| 1, &[], 1);
    assert_eq!(nobody, None);
    let order = placement::member_order(&row(&[1, 2, 3]), &|node| node.0 != 2, 5);
    assert_eq!((order.len(), order[2]), (3, NodeId(2)));
    let firsts: BTreeSet<NodeId> = (0..64)
        .map(|salt| placement::member_order(&row(&[1, 2, 3]), &|_| true, salt)[0])
        .collect();
    assert_eq!(firsts.len(), 3, "the load spreads");
}
