//! Dead, full, slow and broken members; senders that vanish.

use super::cluster::{CLUSTER, Cluster, REPAIRS, put_parts};
use crate::datanode::store::suite::{content, id};
use dfs_proto::v1;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

// S25
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_member_fails_alone() {
    let mut cluster = Cluster::start().await;
    let dead = cluster.member(2);
    let node = cluster.nodes.pop().unwrap();
    drop(node.end().await);
    let bytes = content(2_000_000, 1);
    let others = [cluster.member(1), dead];
    let began = Instant::now();
    let reply = cluster
        .put_raw(0, put_parts(id(1, 1), &bytes, &others))
        .await
        .unwrap();
    assert_eq!(reply.on_disk, [1, 2]);
    assert_eq!(
        (
            reply.failures.len(),
            reply.failures[0].node,
            reply.failures[0].full
        ),
        (1, 3, false)
    );
    assert!(began.elapsed() < Duration::from_secs(4));
    assert_eq!(cluster.get(1, id(1, 1), 0, 0).await.unwrap(), bytes);
}

// S25
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_answers_nothing_delays_by_its_limit_only() {
    let cluster = Cluster::start().await;
    // Accepts connections and never says a word, like a frozen process.
    let frozen = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = frozen.local_addr().unwrap().to_string();
    let others = [
        cluster.member(1),
        v1::Node {
            id: 9,
            address,
            alive: true,
            zone: String::new(),
        },
    ];
    let bytes = content(8 << 20, 1);
    let began = Instant::now();
    let reply = cluster
        .put_raw(0, put_parts(id(1, 1), &bytes, &others))
        .await
        .unwrap();
    assert_eq!(reply.on_disk, [1, 2]);
    assert_eq!(reply.failures[0].node, 9);
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_member_is_named_as_full() {
    let cluster = Cluster::start().await;
    cluster.nodes[1].faults.full.store(true, Ordering::SeqCst);
    let bytes = content(3_000_000, 1);
    let reply = cluster.put(0, id(1, 1), &bytes, &[1, 2]).await.unwrap();
    assert_eq!(reply.on_disk, [1, 3]);
    assert_eq!((reply.failures[0].node, reply.failures[0].full), (2, true));
    let own = cluster.put(1, id(1, 2), &bytes, &[]).await.unwrap_err();
    assert_eq!(own.code(), Code::ResourceExhausted);
    assert_eq!(
        dfs_proto::status::from_status(&own),
        dfs_core::error::FsError::NoSpace
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_disk_is_an_error_of_the_one_call() {
    let cluster = Cluster::start().await;
    let bytes = content(3_000_000, 1);
    cluster.put(0, id(1, 1), &bytes, &[1]).await.unwrap();
    cluster.nodes[0].faults.reads.store(true, Ordering::SeqCst);
    assert_eq!(
        cluster.get(0, id(1, 1), 0, 0).await.unwrap_err().code(),
        Code::Internal
    );
    assert_eq!(cluster.get(1, id(1, 1), 0, 0).await.unwrap(), bytes);
    cluster.nodes[0].faults.finishes.store(true, Ordering::SeqCst);
    assert_eq!(
        cluster.put(0, id(1, 2), &bytes, &[]).await.unwrap_err().code(),
        Code::Internal
    );
    cluster.nodes[0].faults.deletes.store(true, Ordering::SeqCst);
    assert_eq!(cluster.delete(0, 1, &[id(1, 1)]).await.unwrap().failures.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_remains_of_a_sender_that_vanishes() {
    let cluster = Cluster::start().await;
    let parts = put_parts(id(1, 1), &content(6 << 20, 1), &[cluster.member(1)]);
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    let mut client = cluster.client(0);
    let call = tokio::spawn(async move { client.put(ReceiverStream::new(receiver)).await });
    for part in parts.into_iter().take(4) {
        sender.send(part).await.unwrap();
    }
    let all_see = |load: u32| (0..2).all(|node| cluster.nodes[node].service.load() == load);
    let limit = Instant::now() + Duration::from_secs(10);
    while !all_see(1) && Instant::now() < limit {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(all_see(1));
    let capacity = cluster.nodes[0].service.usage().capacity;
    // The transfer is counted before its space is reserved.
    while cluster.nodes[0].service.usage().free == capacity && Instant::now() < limit {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(cluster.nodes[0].service.usage().free < capacity);
    call.abort();
    drop(sender);
    while !all_see(0) && Instant::now() < limit {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(all_see(0), "the sessions ended");
    for node in 0..2 {
        while cluster.nodes[node].service.usage().free < capacity && Instant::now() < limit {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let usage = cluster.nodes[node].service.usage();
        assert_eq!((usage.chunks, usage.used, usage.free), (0, 0, capacity));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_reads_back_wrong_is_no_repair() {
    let cluster = Cluster::start().await;
    let bytes = content(3_000_000, 1);
    cluster.put(0, id(1, 1), &bytes, &[]).await.unwrap();
    cluster.nodes[1].faults.checks.store(true, Ordering::SeqCst);
    let refused = cluster.pull(1, 1, id(1, 1), 0).await.unwrap_err();
    assert_eq!(refused.code(), Code::DataLoss, "{refused}");
    assert!(refused.message().contains("reads back wrong"), "{refused}");
    cluster.nodes[1].faults.checks.store(false, Ordering::SeqCst);
    cluster.pull(1, 1, id(1, 1), 0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn repairs_keep_to_their_limit() {
    let cluster = Cluster::start().await;
    let len = 8 << 20;
    for seq in 0..2 {
        cluster.put(0, id(1, seq), &content(len, seq), &[]).await.unwrap();
    }
    let began = Instant::now();
    // To two nodes: what is limited is also what leaves the one.
    let (one, two) = tokio::join!(cluster.pull(1, 1, id(1, 0), 0), cluster.pull(2, 1, id(1, 1), 0));
    assert_eq!((one.unwrap().len, two.unwrap().len), (len as u32, len as u32));
    let least = (2 * len) as f64 / REPAIRS as f64 - 0.3;
    assert!(began.elapsed().as_secs_f64() >= least, "{:?}", began.elapsed());
    let again = Instant::now();
    cluster.get(0, id(1, 0), 0, 0).await.unwrap();
    assert!(
        again.elapsed() < Duration::from_secs(1),
        "readers are not limited"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_remains_of_a_pull_or_a_compose_that_nobody_waits_for_any_more() {
    let cluster = Cluster::start().await;
    let bytes = content(8 << 20, 1);
    cluster.put(0, id(1, 1), &bytes, &[]).await.unwrap();
    cluster.nodes[0].faults.delay_ms.store(300, Ordering::SeqCst);
    let before = [0, 1].map(|node| cluster.nodes[node].service.usage());
    let pull = cluster.pull(1, 1, id(1, 1), 0);
    let given_up = tokio::time::timeout(Duration::from_millis(700), pull).await;
    assert!(given_up.is_err(), "it takes longer: {given_up:?}");
    let mut client = cluster.client(0);
    let ask = v1::ComposeRequest {
        cluster: CLUSTER.to_vec(),
        term: 1,
        transfer: uuid::Uuid::new_v4().as_bytes().to_vec(),
        chunk: Some(id(1, 9).into()),
        pieces: (0..8)
            .map(|n| v1::ComposePiece {
                source: Some(id(1, 1).into()),
                offset: n << 20,
                len: 1 << 19,
            })
            .collect(),
        others: vec![cluster.member(1)],
    };
    let given_up = tokio::time::timeout(Duration::from_millis(500), client.compose(ask)).await;
    assert!(given_up.is_err(), "it takes longer");
    let limit = Instant::now() + Duration::from_secs(20);
    for (node, before) in cluster.nodes.iter().zip(before) {
        let service = &node.service;
        let clean = || service.load() == 0 && service.usage() == before;
        while !clean() && Instant::now() < limit {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!((service.load(), service.usage()), (0, before));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_transfer_has_one_stream() {
    let cluster = Cluster::start().await;
    let parts = put_parts(id(1, 1), &content(1000, 1), &[]);
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let mut client = cluster.client(0);
    let call = tokio::spawn(async move { client.put(ReceiverStream::new(receiver)).await });
    sender.send(parts[0].clone()).await.unwrap();
    while cluster.nodes[0].service.load() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        cluster.put_raw(0, parts.clone()).await.unwrap_err().code(),
        Code::AlreadyExists
    );
    for part in parts.into_iter().skip(1) {
        sender.send(part).await.unwrap();
    }
    drop(sender);
    assert_eq!(call.await.unwrap().unwrap().into_inner().on_disk, [1]);
}
