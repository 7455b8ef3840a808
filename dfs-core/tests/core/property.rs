//! Random sequences of operations: `execute` and the naive reference must agree on every result and on the
//! whole tree after every step, and the checker must find nothing. Failing sequences shrink.

use crate::pair::{Pair, Step, session};
use crate::world::*;
use dfs_core::keys::{self, prefix};
use dfs_core::op::*;
use dfs_core::rows::RangeRow;
use proptest::prelude::*;

fn step() -> impl Strategy<Value = Step> {
    let ino = || 0..12usize;
    let name = || 0..6u8;
    let mode = || {
        prop_oneof![
            Just(0o644u32),
            Just(0o2775),
            Just(0o6755),
            Just(0o4711),
            Just(0o1777)
        ]
    };
    prop_oneof![
        6 => (ino(), name(), 0..6u8, mode()).prop_map(|(a, b, c, d)| Step::Make(a, b, c, d)),
        1 => (ino(), any::<bool>()).prop_map(|(a, b)| Step::Temp(a, b)),
        2 => (ino(), ino(), name()).prop_map(|(a, b, c)| Step::Link(a, b, c)),
        2 => (ino(), name()).prop_map(|(a, b)| Step::Unlink(a, b)),
        2 => (ino(), name()).prop_map(|(a, b)| Step::Rmdir(a, b)),
        5 => (ino(), name(), ino(), name(), 0..3u8).prop_map(|(a, b, c, d, e)| Step::Rename(a, b, c, d, e)),
        1 => (ino(), mode()).prop_map(|(a, b)| Step::Chmod(a, b)),
        1 => (ino(), 0..3u32).prop_map(|(a, b)| Step::Chown(a, b)),
        2 => (ino(), 0..40u64).prop_map(|(a, b)| Step::Truncate(a, b)),
        4 => (ino(), 0..32u64, 1..16u64, any::<bool>()).prop_map(|(a, b, c, d)| Step::Write(a, b, c, d)),
        2 => (ino(), 0..3u8, any::<bool>(), 0..32u64, 0..16u64)
            .prop_map(|(a, b, c, d, e)| Step::Allocate(a, b, c, d, e)),
        3 => (ino(), 0..32u64, ino(), 0..32u64, 0..24u64).prop_map(|(a, b, c, d, e)| Step::Copy(a, b, c, d, e)),
        1 => (ino(), 0..3u8, any::<bool>()).prop_map(|(a, b, c)| Step::SetXattr(a, b, c)),
        1 => (ino(), 0..3u8).prop_map(|(a, b)| Step::RemoveXattr(a, b)),
        2 => (ino(), any::<bool>()).prop_map(|(a, b)| Step::Open(a, b)),
        2 => (ino(), any::<bool>()).prop_map(|(a, b)| Step::Close(a, b)),
        1 => any::<bool>().prop_map(Step::EndSession),
        1 => (1..4u32).prop_map(Step::Purge),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn execute_agrees_with_the_naive_reference(steps in prop::collection::vec(step(), 1..60)) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.step(step);
            pair.compare();
        }
        // When everybody is gone, only what has a name is left.
        pair.step(&Step::EndSession(false));
        pair.step(&Step::EndSession(true));
        pair.compare();
        let world = &pair.world;
        prop_assert_eq!((world.count(prefix::orphans()), world.count(prefix::ranges())), (0, 0));
    }

    #[test]
    fn ranges_of_chunk_numbers_never_overlap(counts in prop::collection::vec(1..6000u32, 1..20)) {
        let mut world = World::new();
        for (number, count) in counts.into_iter().enumerate() {
            world.session = session(number.is_multiple_of(2));
            world.run(&Op::AllocChunks { count, avoid: vec![] }).expect("room");
        }
        let mut taken = Vec::new();
        let (start, end) = prefix::ranges();
        for (key, value) in world.view.rows.range(start..end) {
            let Some(keys::Key::Range { first, .. }) = keys::parse(key) else { panic!("a range") };
            let count = RangeRow::decode(key, value).expect("whole").count;
            prop_assert!(count <= CHUNK_RANGE_MAX);
            taken.push((first, first + u64::from(count)));
        }
        taken.sort();
        prop_assert!(taken.windows(2).all(|pair| pair[0].1 <= pair[1].0));
    }
}
