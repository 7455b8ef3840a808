//! Bytes of version 1 of the wire and what they mean (`golden.txt`): a peer of an older build must still be
//! understood. When a line fails, a field's number or type was changed; add a new field instead.

use crate::convert::{op_to_wire, reply_to_wire};
use crate::v1;
use dfs_core::op::{Op, Reply};
use prost::Message;
use std::collections::HashSet;

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// The printed value behind the bytes, and the bytes that it has today.
fn today(kind: &str, bytes: &[u8]) -> (String, Vec<u8>) {
    match kind {
        "op" => {
            let op = Op::try_from(v1::Op::decode(bytes).expect("decodes")).expect("is sane");
            let wire = op_to_wire(&op).expect("has a wire form");
            (format!("{op:?}"), wire.encode_to_vec())
        }
        _ => {
            let reply = Reply::try_from(v1::Result::decode(bytes).expect("decodes")).expect("is sane");
            let wire = reply_to_wire(reply.clone()).expect("has a wire form");
            (format!("{reply:?}"), wire.encode_to_vec())
        }
    }
}

#[test]
fn version_1_is_understood_and_sent() {
    let mut seen = HashSet::new();
    for line in include_str!("golden.txt").lines() {
        let mut parts = line.splitn(3, ' ');
        let (kind, hex, value) = (parts.next(), parts.next(), parts.next());
        let (kind, hex, value) = (kind.expect("kind"), hex.expect("bytes"), value.expect("value"));
        assert_eq!(today(kind, &bytes(hex)), (value.to_string(), bytes(hex)));
        seen.insert((kind, value.split(['(', ' ']).next()));
    }
    assert_eq!(seen.len(), 27 + 17, "each operation and each reply that travels");
}
