//! Random bytes and randomly damaged messages: they are refused or become sane values, and never panic.

use super::strategies;
use crate::convert::{
    block_range, held_lease, lease_ack, lock_request, op_to_wire, outcome, put_begin, reply_to_wire,
    session_id,
};
use crate::v1::{self, call, client_message, server_message};
use dfs_core::lock::Lock;
use dfs_core::op::Op;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

/// Converts all that a message from a client holds, as the coordinator does.
fn receive_from_client(bytes: &[u8]) {
    let Ok(message) = v1::ClientMessage::decode(bytes) else {
        return;
    };
    match message.message {
        Some(client_message::Message::Hello(hello)) => {
            let _ = session_id(&hello.session);
            hello.leases.into_iter().for_each(|lease| drop(held_lease(lease)));
            hello
                .locks
                .into_iter()
                .for_each(|lock| drop(Lock::try_from(lock)));
        }
        Some(client_message::Message::Calls(calls)) => {
            for call in calls.calls {
                match call.body {
                    Some(call::Body::Op(op)) => drop(Op::try_from(op)),
                    Some(call::Body::Lock(lock)) => drop(lock_request(lock)),
                    None => {}
                }
            }
        }
        Some(client_message::Message::LeaseAck(ack)) => drop(lease_ack(ack)),
        _ => {}
    }
}

/// Converts all that a message from the coordinator holds, as a client does.
fn receive_from_server(bytes: &[u8]) {
    let Ok(message) = v1::ServerMessage::decode(bytes) else {
        return;
    };
    if let Some(server_message::Message::Replies(replies)) = message.message {
        for reply in replies.replies {
            let _ = outcome(reply.outcome);
            reply
                .grants
                .into_iter()
                .for_each(|grant| drop(crate::convert::grant(grant)));
            reply
                .touched
                .into_iter()
                .for_each(|attr| drop(dfs_core::types::Attr::try_from(attr)));
        }
    }
}

fn in_calls(op: &Op) -> Vec<u8> {
    let body = op_to_wire(op).map(call::Body::Op);
    let calls = v1::Calls {
        calls: vec![v1::Call {
            op_id: 1,
            acked_below: 1,
            timed: false,
            body,
        }],
    };
    v1::ClientMessage {
        message: Some(client_message::Message::Calls(calls)),
    }
    .encode_to_vec()
}

proptest! {
    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..512)) {
        receive_from_client(&bytes);
        receive_from_server(&bytes);
    }

    #[test]
    fn damaged_calls(op in strategies::op(), hits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = in_calls(&op);
        for (place, value) in hits {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        receive_from_client(&bytes);
    }

    #[test]
    fn damaged_replies(
        reply in strategies::reply(),
        hits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let outcome = reply_to_wire(reply).map(v1::reply::Outcome::Result);
        let replies = v1::Replies { replies: vec![v1::Reply { op_id: 1, outcome, ..Default::default() }] };
        let message = v1::ServerMessage { message: Some(server_message::Message::Replies(replies)) };
        let mut bytes = message.encode_to_vec();
        for (place, value) in hits {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        receive_from_server(&bytes);
    }

    #[test]
    fn any_block_group(
        first_block in any::<u32>(),
        expected in any::<u32>(),
        payload in 0usize..300_000,
        crcs in 0usize..8,
        len in 1..=8u32 << 20,
        bytes in vec(any::<u8>(), 0..200),
    ) {
        let group = v1::BlockGroup { first_block, payload: vec![0; payload].into(), crcs: vec![0; crcs], disk_us: 0 };
        for first in [expected, first_block] {
            if let Ok(range) = block_range(&group, first, len) {
                prop_assert!(range.start < range.end && range.end <= len);
            }
        }
        if let Ok(v1::PutRequest { part: Some(v1::put_request::Part::Begin(begin)) }) =
            v1::PutRequest::decode(bytes.as_slice())
        {
            let _ = put_begin(begin);
        }
    }
}
