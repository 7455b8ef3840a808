//! Whole chunks on framed connections: the same answers as by gRPC, and nothing remains of what was not finished.

use super::cluster::{Cluster, put_parts};
use crate::datanode::store::suite::{content, id};
use dfs_client::channel::{Exchange, Peer, Pool};
use dfs_core::chunk::CHUNK_MAX;
use dfs_proto::v1;
use dfs_proto::v1::put_request::Part;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tonic::{Code, Status};

/// No answer of a test takes so long on any machine.
const PATIENCE: Duration = Duration::from_secs(30);

async fn connected(peer: &Arc<Peer>) -> Exchange {
    loop {
        if let Some(exchange) = peer.streaming(&Handle::current()) {
            return exchange;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The first node as a peer, its members being connected to it.
async fn ready(cluster: &Cluster, pool: &Pool) -> Arc<Peer> {
    for member in &cluster.nodes[1..] {
        let (peer, _) = cluster.nodes[0]
            .service
            .0
            .member(&member.address.to_string())
            .unwrap();
        connected(&peer).await.end();
    }
    let peer = pool.peer(&cluster.nodes[0].address.to_string()).unwrap();
    connected(&peer).await.end();
    peer
}

/// Sends what `put_parts` made.
async fn stream(peer: &Arc<Peer>, parts: Vec<v1::PutRequest>) -> Result<v1::PutReply, Status> {
    let (begin, parts) = parts_of(parts);
    let exchange = connected(peer).await;
    let streamed = peer.stream(exchange, "a-c1".to_string(), begin, parts, PATIENCE);
    streamed.await.unwrap()
}

fn parts_of(parts: Vec<v1::PutRequest>) -> (v1::PutBegin, impl Iterator<Item = Part> + Send) {
    let mut parts = parts.into_iter().filter_map(|request| request.part);
    match parts.next() {
        Some(Part::Begin(begin)) => (begin, parts),
        other => panic!("{other:?}"),
    }
}

fn begin_of(parts: &mut [v1::PutRequest]) -> &mut v1::PutBegin {
    match &mut parts[0].part {
        Some(Part::Begin(begin)) => begin,
        other => panic!("{other:?}"),
    }
}

fn others(cluster: &Cluster) -> Vec<v1::Node> {
    (1..cluster.nodes.len())
        .map(|node| cluster.member(node))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_chunk_is_on_all_members_and_read_from_each() {
    let cluster = Cluster::start().await;
    let pool = Pool::default();
    let peer = ready(&cluster, &pool).await;
    let mib = 1 << 20;
    let lens = [1, 65_536, mib - 1, mib, mib + 1, 3_000_001, CHUNK_MAX as usize];
    for (seq, len) in (0..).zip(lens) {
        let bytes = content(len, seq);
        let reply = stream(&peer, put_parts(id(1, seq), &bytes, &others(&cluster))).await;
        let mut reply = reply.unwrap();
        reply.on_disk.sort_unstable();
        assert_eq!((reply.on_disk, reply.failures), (vec![1, 2, 3], vec![]));
        for node in 0..3 {
            assert_eq!(cluster.get(node, id(1, seq), 0, 0).await.unwrap(), bytes);
        }
    }
    assert_eq!(cluster.nodes[0].service.load(), 0, "sessions are over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_comes_behind_the_content_and_the_connection_goes_on() {
    let cluster = Cluster::start().await;
    let pool = Pool::default();
    let peer = ready(&cluster, &pool).await;
    let bytes = content(5_000_000, 1);
    let parts = || put_parts(id(1, 1), &bytes, &others(&cluster));
    let mut bad_block = parts();
    if let Some(Part::Blocks(group)) = &mut bad_block[1].part {
        group.crcs[3] ^= 1;
    }
    let mut bad_digest = parts();
    let last = bad_digest.len() - 1;
    bad_digest[last].part = Some(Part::End(v1::PutEnd { sha256: vec![0; 32] }));
    let mut too_few_crcs = parts();
    if let Some(Part::Blocks(group)) = &mut too_few_crcs[2].part {
        group.crcs.pop();
    }
    let mut foreign = parts();
    begin_of(&mut foreign).cluster = vec![9; 16];
    let refused = [
        (bad_block, Code::InvalidArgument),
        (bad_digest, Code::InvalidArgument),
        (too_few_crcs, Code::InvalidArgument),
        (foreign, Code::FailedPrecondition),
    ];
    for (at, (parts, code)) in refused.into_iter().enumerate() {
        let status = stream(&peer, parts).await.unwrap_err();
        assert_eq!(status.code(), code, "case {at}: {status}");
    }
    for node in &cluster.nodes {
        let limit = Instant::now() + PATIENCE;
        while node.service.usage().free < node.service.usage().capacity && Instant::now() < limit {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let usage = node.service.usage();
        assert_eq!((usage.chunks, usage.used, usage.free), (0, 0, usage.capacity));
    }
    // It is the same connection still: another one would have to be made first.
    assert!(peer.streaming(&Handle::current()).is_some());
    stream(&peer, parts()).await.unwrap();
    let other = put_parts(id(1, 1), &content(5_000_000, 2), &[]);
    assert_eq!(
        stream(&peer, other).await.unwrap_err().code(),
        Code::AlreadyExists
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beginning_that_makes_no_sense_ends_the_connection() {
    let cluster = Cluster::start_at("127.0.0.1:0").await;
    let pool = Pool::default();
    let peer = ready(&cluster, &pool).await;
    for change in 0..3 {
        let mut parts = put_parts(id(1, 1), &content(1000, 1), &[]);
        let begin = begin_of(&mut parts);
        match change {
            0 => begin.len = CHUNK_MAX + 1,
            1 => begin.len = 0,
            _ => begin.chunk = None,
        }
        let status = stream(&peer, parts).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "change {change}: {status}");
    }
    assert_eq!(cluster.nodes[0].service.usage().chunks, 0);
    stream(&peer, put_parts(id(1, 1), &content(1000, 1), &[]))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn full_and_dead_members_fail_alone_and_a_full_leader_says_so() {
    let mut cluster = Cluster::start().await;
    let pool = Pool::default();
    let peer = ready(&cluster, &pool).await;
    let bytes = content(3_000_000, 1);
    let all = others(&cluster);
    cluster.nodes[1].faults.full.store(true, Ordering::SeqCst);
    let reply = stream(&peer, put_parts(id(1, 1), &bytes, &all)).await.unwrap();
    assert_eq!(reply.on_disk, [1, 3]);
    assert_eq!((reply.failures[0].node, reply.failures[0].full), (2, true));
    cluster.nodes[1].faults.full.store(false, Ordering::SeqCst);
    drop(cluster.nodes.pop().unwrap().end().await);
    let reply = stream(&peer, put_parts(id(1, 2), &bytes, &all)).await.unwrap();
    assert_eq!(reply.on_disk, [1, 2]);
    assert_eq!((reply.failures[0].node, reply.failures[0].full), (3, false));
    cluster.nodes[0].faults.full.store(true, Ordering::SeqCst);
    let own = stream(&peer, put_parts(id(1, 3), &bytes, &all))
        .await
        .unwrap_err();
    assert_eq!(own.code(), Code::ResourceExhausted);
    assert_eq!(cluster.get(1, id(1, 2), 0, 0).await.unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_remains_of_a_sender_that_vanishes_on_its_way() {
    let cluster = Cluster::start().await;
    let pool = Pool::default();
    let peer = ready(&cluster, &pool).await;
    let usage = || cluster.nodes.iter().map(|node| node.service.usage());
    let before: Vec<_> = usage().collect();
    let mut parts = put_parts(id(1, 1), &content(6 << 20, 1), &others(&cluster));
    parts.truncate(4);
    let given_up = stream(&peer, parts).await.unwrap_err();
    assert_eq!(given_up.code(), Code::Unavailable, "{given_up}");
    // One that is no more waited for, while its sender waits for more content.
    let (begin, rest) = parts_of(put_parts(id(1, 2), &content(8 << 20, 1), &others(&cluster)));
    let slow = rest.inspect(|_| std::thread::sleep(Duration::from_millis(50)));
    let exchange = connected(&peer).await;
    let streamed = peer.stream(exchange, String::new(), begin, slow, PATIENCE);
    let streamed = tokio::time::timeout(Duration::from_millis(120), streamed).await;
    assert!(streamed.is_err(), "it takes longer");
    let limit = Instant::now() + PATIENCE;
    let over = || cluster.nodes.iter().all(|node| node.service.load() == 0);
    while !(over() && usage().eq(before.iter().copied())) && Instant::now() < limit {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(over(), "the sessions ended");
    assert_eq!(usage().collect::<Vec<_>>(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_server_has_ended_is_not_used() {
    let mut cluster = Cluster::start().await;
    let pool = Pool::default();
    let peer = ready(&cluster, &pool).await;
    drop(cluster.nodes.remove(0).end().await);
    let limit = Instant::now() + PATIENCE;
    while peer.streaming(&Handle::current()).is_some() {
        assert!(Instant::now() < limit, "it is taken for alive");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
