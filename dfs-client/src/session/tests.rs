//! Tests of the outbox: order, repetition after a reconnect, what is forgotten.

use super::outbox::{Body, Outbox};
use dfs_core::ids::Ino;
use dfs_core::op::Op;
use dfs_proto::v1;
use std::task::Waker;

fn change() -> Body {
    Body::op(Op::Release { inos: vec![Ino(20)] })
}

fn question() -> Body {
    Body::op(Op::StatFs)
}

fn begin(outbox: &mut Outbox, body: Body) -> u64 {
    outbox
        .begin(|| Some(body), |_| Vec::new(), Box::new(|_| {}))
        .map_err(|_| "refused")
        .unwrap()
}

fn sent(outbox: &mut Outbox) -> Vec<(u64, u64)> {
    let stream = outbox.stream;
    match outbox.next_message(stream, false, Waker::noop()).unwrap() {
        Some(v1::ClientMessage {
            message: Some(v1::client_message::Message::Calls(calls)),
        }) => calls
            .calls
            .iter()
            .map(|call| (call.op_id, call.acked_below))
            .collect(),
        _ => Vec::new(),
    }
}

#[test]
fn nothing_leaves_before_the_welcome_and_then_all_in_one_message() {
    let mut outbox = Outbox::new();
    outbox.new_stream();
    begin(&mut outbox, change());
    begin(&mut outbox, question());
    assert!(sent(&mut outbox).is_empty());
    outbox.welcomed();
    assert_eq!(sent(&mut outbox), [(1, 1), (2, 1)]);
    assert!(sent(&mut outbox).is_empty());
}

// S18
#[test]
fn calls_without_reply_are_repeated_with_their_numbers() {
    let mut outbox = Outbox::new();
    outbox.new_stream();
    outbox.welcomed();
    for _ in 0..3 {
        begin(&mut outbox, change());
    }
    assert_eq!(sent(&mut outbox).len(), 3);
    assert!(outbox.take(1).is_some());
    let old = outbox.stream;
    outbox.new_stream();
    assert!(outbox.next_message(old, false, Waker::noop()).is_err());
    outbox.welcomed();
    assert_eq!(sent(&mut outbox), [(2, 2), (3, 2)]);
}

// S22
#[test]
fn what_builds_on_leases_is_repeated_before_what_may_bring_them_back() {
    let mut outbox = Outbox::new();
    outbox.new_stream();
    outbox.welcomed();
    let commit = || {
        Body::op(Op::Commit(dfs_core::op::Commit {
            chunks: Vec::new(),
            files: Vec::new(),
        }))
    };
    for body in [change(), commit(), question(), commit()] {
        begin(&mut outbox, body);
    }
    let numbers =
        |outbox: &mut Outbox| -> Vec<u64> { sent(outbox).iter().map(|(number, _)| *number).collect() };
    assert_eq!(numbers(&mut outbox), [1, 2, 3, 4]);
    outbox.new_stream();
    outbox.welcomed();
    assert_eq!(numbers(&mut outbox), [2, 4, 1, 3]);
}

// S18
#[test]
fn a_change_that_may_have_arrived_is_not_forgotten() {
    let mut outbox = Outbox::new();
    outbox.new_stream();
    outbox.welcomed();
    let arrived = begin(&mut outbox, change());
    sent(&mut outbox);
    let kept_here = begin(&mut outbox, change());
    outbox.abandon(arrived);
    outbox.abandon(kept_here);
    outbox.new_stream();
    outbox.welcomed();
    assert_eq!(sent(&mut outbox), [(arrived, arrived)]);
}

#[test]
fn an_ended_session_fails_what_is_in_doubt_and_keeps_the_rest() {
    let mut outbox = Outbox::new();
    outbox.new_stream();
    outbox.welcomed();
    begin(&mut outbox, change());
    begin(&mut outbox, question());
    sent(&mut outbox);
    begin(&mut outbox, change());
    let before = outbox.session;
    assert_eq!(outbox.lost(true).len(), 1);
    assert_ne!(outbox.session, before);
    outbox.new_stream();
    outbox.welcomed();
    assert_eq!(sent(&mut outbox), [(2, 3), (3, 3)]);
}
