//! What is sent arrives, through the bytes, for every operation, reply and error.

use super::strategies;
use crate::convert::{
    LockAction, lock_reply, lock_request, lock_request_to_wire, op_to_wire, outcome, outcome_to_wire,
    reply_to_wire,
};
use crate::v1;
use dfs_core::error::FsError;
use dfs_core::ids::SessionId;
use dfs_core::op::{Op, Reply};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use prost::Message;
use std::collections::HashSet;
use std::mem::discriminant;

proptest! {
    #[test]
    fn operations(op in strategies::op()) {
        let bytes = op_to_wire(&op).expect("has a wire form").encode_to_vec();
        let back = Op::try_from(v1::Op::decode(bytes.as_slice()).expect("decodes"));
        prop_assert_eq!(back, Ok(op));
    }

    #[test]
    fn replies(reply in strategies::reply()) {
        let bytes = reply_to_wire(reply.clone()).expect("has a wire form").encode_to_vec();
        let back = Reply::try_from(v1::Result::decode(bytes.as_slice()).expect("decodes"));
        prop_assert_eq!(back, Ok(reply));
    }

    #[test]
    fn the_coordinators_own_work_never_travels(op in strategies::internal_op()) {
        prop_assert!(op.is_internal());
        prop_assert_eq!(op_to_wire(&op), None);
    }

    #[test]
    fn locks(lock in strategies::lock()) {
        for action in [LockAction::Test, LockAction::Try, LockAction::Wait] {
            let bytes = lock_request_to_wire(lock, action).encode_to_vec();
            let back = lock_request(v1::LockRequest::decode(bytes.as_slice()).expect("decodes"));
            prop_assert_eq!(back, Ok((lock, action)));
        }
        let reply = v1::LockReply { conflict: Some(lock.into()) };
        prop_assert_eq!(lock_reply(reply), Ok(Some(lock)));
    }

    #[test]
    fn sessions(id in 1..=u128::MAX) {
        let bytes = crate::convert::session_id_bytes(SessionId(id));
        prop_assert_eq!(crate::convert::session_id(&bytes), Ok(SessionId(id)));
    }
}

#[test]
fn errors() {
    for (error, _) in FsError::ALL {
        assert_eq!(outcome(outcome_to_wire(Err(error))), Ok(Err(error)));
    }
    assert_eq!(outcome(outcome_to_wire(Ok(Reply::Done))), Ok(Ok(Reply::Done)));
}

#[test]
fn a_reply_to_the_coordinators_own_work_never_travels() {
    assert_eq!(reply_to_wire(Reply::Progress { more: true }), None);
}

/// The strategies above are only worth as much as the variants they make.
#[test]
fn every_variant_is_made() {
    let mut runner = TestRunner::deterministic();
    let (mut ops, mut replies) = (HashSet::new(), HashSet::new());
    for _ in 0..600 {
        let op = strategies::op()
            .new_tree(&mut runner)
            .expect("makes one")
            .current();
        let reply = strategies::reply()
            .new_tree(&mut runner)
            .expect("makes one")
            .current();
        ops.insert(discriminant(&op));
        replies.insert(discriminant(&reply));
    }
    assert_eq!(ops.len(), 27, "operations that travel: see v1::Op");
    assert_eq!(replies.len(), 17, "replies that travel: see v1::Result");
}
