//! Tests of the service with three datanodes in this process, over real connections.

mod cluster;
mod compose;
mod failures;
mod framed;
mod frozen;
mod speed;
mod streamed;

use super::*;
use cluster::{CLUSTER, Cluster, put_parts};
use dfs_core::chunk::{BLOCK_SIZE, CHUNK_MAX, block_crcs, sha256};
use dfs_proto::v1::verify_reply::State;
use tonic::Code;

use crate::datanode::store::suite::{content, id};

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_is_on_all_members_and_read_from_each() {
    let cluster = Cluster::start().await;
    for (seq, len) in [1usize, 65_536, 300_001, CHUNK_MAX as usize]
        .into_iter()
        .enumerate()
    {
        let bytes = content(len, seq as u64);
        let reply = cluster.put(0, id(1, seq as u64), &bytes, &[1, 2]).await.unwrap();
        let mut on_disk = reply.on_disk.clone();
        on_disk.sort_unstable();
        assert_eq!((on_disk, reply.failures), (vec![1, 2, 3], vec![]));
        for node in 0..3 {
            assert_eq!(cluster.get(node, id(1, seq as u64), 0, 0).await.unwrap(), bytes);
        }
    }
    assert_eq!(cluster.nodes[0].service.load(), 0, "sessions are over");
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_begin_and_end_at_blocks() {
    let cluster = Cluster::start().await;
    let bytes = content(40 * BLOCK_SIZE as usize + 5, 1);
    cluster.put(0, id(1, 1), &bytes, &[]).await.unwrap();
    let block = BLOCK_SIZE as usize;
    assert_eq!(
        cluster.get(0, id(1, 1), 3, 2).await.unwrap(),
        bytes[3 * block..5 * block]
    );
    assert_eq!(
        cluster.get(0, id(1, 1), 20, 0).await.unwrap(),
        bytes[20 * block..]
    );
    assert_eq!(
        cluster.get(0, id(1, 1), 41, 1).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    assert_eq!(
        cluster.get(0, id(1, 2), 0, 0).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_chunk_again_is_a_success_and_another_content_is_not() {
    let cluster = Cluster::start().await;
    let bytes = content(100_000, 1);
    for _ in 0..2 {
        assert_eq!(
            cluster
                .put(0, id(1, 1), &bytes, &[1])
                .await
                .unwrap()
                .on_disk
                .len(),
            2
        );
    }
    let other = cluster.put(0, id(1, 1), &content(100_000, 2), &[]).await;
    assert_eq!(other.unwrap_err().code(), Code::AlreadyExists);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_damaged_on_the_way_is_refused() {
    let cluster = Cluster::start().await;
    let bytes = content(200_000, 1);
    let mut bad_block = put_parts(id(1, 1), &bytes, &[]);
    if let Some(v1::put_request::Part::Blocks(group)) = &mut bad_block[1].part {
        group.crcs[1] ^= 1;
    }
    let refused = cluster.put_raw(0, bad_block).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("block 1"), "{refused}");
    let mut bad_digest = put_parts(id(1, 1), &bytes, &[]);
    let last = bad_digest.len() - 1;
    bad_digest[last].part = Some(v1::put_request::Part::End(v1::PutEnd { sha256: vec![0; 32] }));
    assert_eq!(
        cluster.put_raw(0, bad_digest).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    assert_eq!(cluster.nodes[0].service.usage().chunks, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_refused_and_changes_nothing() {
    let cluster = Cluster::start().await;
    let bytes = content(1000, 1);
    let parts = put_parts(id(1, 1), &bytes, &[]);
    let (begin, blocks, end) = (parts[0].clone(), parts[1].clone(), parts[2].clone());
    let nothing = v1::PutRequest { part: None };
    let sequences = [
        vec![],
        vec![nothing.clone()],
        vec![blocks.clone(), end.clone()],
        vec![begin.clone(), begin.clone()],
        vec![begin.clone(), end.clone()],
        vec![begin.clone(), blocks.clone()],
        vec![begin.clone(), blocks.clone(), blocks.clone(), end.clone()],
        vec![begin.clone(), nothing],
    ];
    for (at, sequence) in sequences.into_iter().enumerate() {
        let refused = cluster.put_raw(0, sequence).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "sequence {at}: {refused}");
    }
    for change in 0..5 {
        let mut wrong = begin.clone();
        let Some(v1::put_request::Part::Begin(fields)) = &mut wrong.part else {
            unreachable!()
        };
        match change {
            0 => fields.len = CHUNK_MAX + 1,
            1 => fields.len = 0,
            2 => fields.transfer = vec![1],
            3 => fields.chunk = None,
            _ => fields.chunk = Some(v1::ChunkId { set: 0, seq: 4 }),
        }
        let refused = cluster.put_raw(0, vec![wrong]).await.unwrap_err();
        assert_eq!(
            refused.code(),
            Code::InvalidArgument,
            "change {change}: {refused}"
        );
    }
    let mut other = begin;
    let Some(v1::put_request::Part::Begin(fields)) = &mut other.part else {
        unreachable!()
    };
    fields.cluster = vec![9; 16];
    assert_eq!(
        cluster.put_raw(0, vec![other]).await.unwrap_err().code(),
        Code::FailedPrecondition
    );
    let usage = cluster.nodes[0].service.usage();
    assert_eq!((usage.chunks, usage.used), (0, 0));
    assert_eq!(cluster.nodes[0].service.load(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_obey_the_newest_term_over_restarts() {
    let mut cluster = Cluster::start().await;
    for seq in 0..3 {
        cluster
            .put(0, id(1, seq), &content(5000, seq), &[])
            .await
            .unwrap();
    }
    assert!(
        cluster
            .delete(0, 7, &[id(1, 0), id(4, 4)])
            .await
            .unwrap()
            .failures
            .is_empty()
    );
    assert_eq!(
        cluster.delete(0, 6, &[id(1, 1)]).await.unwrap_err().code(),
        Code::FailedPrecondition
    );
    cluster.restart(0).await;
    assert_eq!(
        cluster.delete(0, 6, &[id(1, 1)]).await.unwrap_err().code(),
        Code::FailedPrecondition
    );
    assert_eq!(
        cluster.get(0, id(1, 0), 0, 0).await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(cluster.get(0, id(1, 1), 0, 0).await.unwrap(), content(5000, 1));
    assert!(
        cluster
            .delete(0, 8, &[id(1, 1)])
            .await
            .unwrap()
            .failures
            .is_empty()
    );
    let wrong = cluster.delete(0, 8, &[dfs_core::ids::ChunkId::ZEROS]).await;
    assert_eq!(wrong.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_and_list_tell_what_is_here() {
    let cluster = Cluster::start().await;
    for seq in 0..1500 {
        cluster.put(0, id(1, seq), &content(10, seq), &[]).await.unwrap();
    }
    let all = cluster.list(0, None).await;
    assert_eq!(all.len(), 1500);
    assert!(all.is_sorted_by_key(|held| held.id.map(|id| (id.set, id.seq))));
    assert_eq!(all[7].sha256, sha256(&content(10, 7)));
    assert_eq!(cluster.list(0, Some(id(1, 1497))).await.len(), 2);
    let states = cluster.verify(0, &[id(1, 3), id(1, 9999)]).await;
    assert_eq!(
        (states[0].state(), states[1].state()),
        (State::Good, State::Missing)
    );
    assert_eq!(
        (states[0].len, states[0].sha256.as_slice()),
        (10, sha256(&content(10, 3)).as_slice())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pull_repairs_a_flipped_bit_and_a_missing_copy() {
    let cluster = Cluster::start().await;
    let bytes = content(3_000_000, 1);
    cluster.put(0, id(1, 1), &bytes, &[1]).await.unwrap();
    cluster.flip_stored_bit(0);
    let before = cluster.get(0, id(1, 1), 0, 0).await.unwrap_err();
    assert_eq!(
        before.message(),
        "a block does not match its checksum",
        "the reader sees it"
    );
    assert_eq!(cluster.verify(0, &[id(1, 1)]).await[0].state(), State::Corrupt);
    assert_eq!(
        cluster.get(0, id(1, 1), 0, 0).await.unwrap_err().code(),
        Code::DataLoss,
        "out of service"
    );
    assert_eq!(cluster.nodes[0].service.bad_to_tell(), [id(1, 1)]);
    assert_eq!(cluster.nodes[0].service.bad_to_tell(), [], "told a moment ago");
    for node in [0, 2] {
        let pulled = cluster.pull(node, 1, id(1, 1), 1).await.unwrap();
        assert_eq!(
            (pulled.len, pulled.sha256.as_slice()),
            (3_000_000, sha256(&bytes).as_slice())
        );
        assert_eq!(cluster.get(node, id(1, 1), 0, 0).await.unwrap(), bytes);
        assert_eq!(cluster.verify(node, &[id(1, 1)]).await[0].state(), State::Good);
    }
    cluster.flip_stored_bit(2);
    let from_bad = cluster.pull(0, 1, id(1, 2), 2).await;
    assert_eq!(from_bad.unwrap_err().code(), Code::NotFound);
    cluster.delete(0, 1, &[id(1, 1)]).await.unwrap();
    let from_corrupt = cluster.pull(0, 1, id(1, 1), 2).await.unwrap_err();
    assert!(from_corrupt.message().contains("no good copy"), "{from_corrupt}");
    assert_eq!(
        cluster.nodes[0].service.usage().chunks,
        0,
        "a bad copy never becomes a source"
    );
}

#[test]
fn checksums_of_the_tests_are_the_core_s() {
    assert_eq!(block_crcs(&content(70_000, 1)).len(), 2);
    assert_eq!(CLUSTER.len(), 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_taken_in_parts_and_names_what_is_bad() {
    let cluster = Cluster::start().await;
    for seq in 0..3 {
        let bytes = content(3_000_000, seq);
        cluster.put(0, id(1, seq), &bytes, &[]).await.unwrap();
    }
    cluster.put(0, id(2, 0), &content(10, 9), &[]).await.unwrap();
    cluster.flip_stored_bit(0);
    cluster.verify(0, &[id(1, 0)]).await;
    let seqs = async |ask: v1::ListRequest| {
        let mut stream = cluster.client(0).list(ask).await.unwrap().into_inner();
        let mut all = Vec::new();
        while let Some(reply) = stream.message().await.unwrap() {
            all.extend(reply.chunks);
        }
        let ids = all.iter().map(|held| held.id.unwrap_or_default());
        let ids: Vec<(u32, u64)> = ids.map(|id| (id.set, id.seq)).collect();
        (ids, all)
    };
    let ask = v1::ListRequest {
        cluster: CLUSTER.to_vec(),
        ..v1::ListRequest::default()
    };
    let (first, held) = seqs(v1::ListRequest {
        limit: 2,
        brief: true,
        ..ask.clone()
    })
    .await;
    assert_eq!(first, [(1, 0), (1, 1)]);
    assert_eq!((held[0].bad, held[1].bad), (true, false));
    assert!(held.iter().all(|held| held.sha256.is_empty()));
    let after = Some(id(1, 0).into());
    let until = Some(id(2, 0).into());
    let (set, held) = seqs(v1::ListRequest { after, until, ..ask }).await;
    assert_eq!(set, [(1, 1), (1, 2)]);
    assert_eq!(held[1].sha256, sha256(&content(3_000_000, 2)));
}
