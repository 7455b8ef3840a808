//! A peer that is frozen is told from one that is slow: by pings, on both sides of a transfer.

use super::cluster::{CLUSTER, Cluster, put_parts};
use crate::datanode::store::suite::{content, id};
use dfs_client::channel::{Frozen, Pool};
use dfs_proto::v1;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// What a loaded machine adds.
const NOISE: Duration = Duration::from_secs(3);

/// Accepts connections and never says a word, like a stopped process.
async fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

// S25
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_peer_is_given_up_and_trusted_again_when_it_answers() {
    let (listener, address) = silent().await;
    let pool = Pool::default();
    let peer = pool.peer(&address).unwrap();
    assert!(peer.is_healthy());
    let began = Instant::now();
    let waited = peer.while_alive(std::future::pending::<()>()).await;
    assert_eq!(waited, Err(Frozen));
    let took = began.elapsed();
    assert!(took > Duration::from_millis(400) && took < NOISE, "{took:?}");
    assert!(peer.is_suspected() && !peer.is_healthy());
    // Work that is done does not wait for pings.
    assert_eq!(peer.while_alive(async { 7 }).await, Ok(7));
    drop(listener);
    let cluster = Cluster::start_at(&address).await;
    let limit = Instant::now() + NOISE * 3;
    while peer.is_suspected() && Instant::now() < limit {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        !peer.is_suspected(),
        "it answers pings at {}",
        cluster.nodes[0].address
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_peer_that_answers_pings_is_waited_for() {
    let cluster = Cluster::start().await;
    let pool = Pool::default();
    let peer = pool.peer(&cluster.nodes[0].address.to_string()).unwrap();
    let slow = tokio::time::sleep(Duration::from_millis(1500));
    assert_eq!(peer.while_alive(slow).await, Ok(()));
    assert!(peer.is_healthy());
}

// S25
#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_a_slow_disk_is_waited_for_and_a_silent_one_is_not() {
    let cluster = Cluster::start().await;
    let (_listener, address) = silent().await;
    let slow = Duration::from_millis(1500);
    cluster.nodes[1]
        .faults
        .delay_ms
        .store(slow.as_millis() as u64, Ordering::SeqCst);
    let silent = v1::Node {
        id: 9,
        address,
        alive: true,
        zone: String::new(),
    };
    let bytes = content(8 << 20, 1);
    let others = [cluster.member(1), silent];
    let began = Instant::now();
    let first = cluster
        .put_raw(0, put_parts(id(1, 1), &bytes, &others))
        .await
        .unwrap();
    assert_eq!(
        first.on_disk,
        [1, 2],
        "the slow disk is no reason to leave it out"
    );
    assert_eq!((first.failures.len(), first.failures[0].node), (1, 9));
    assert!(began.elapsed() >= slow);
    cluster.nodes[1].faults.delay_ms.store(0, Ordering::SeqCst);
    let again = Instant::now();
    let second = cluster
        .put_raw(0, put_parts(id(1, 2), &bytes[..1000], &others))
        .await
        .unwrap();
    assert_eq!(second.on_disk, [1, 2]);
    assert!(
        again.elapsed() < Duration::from_millis(400) + NOISE,
        "the suspicion is remembered: {:?}",
        again.elapsed()
    );
}

// S25
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_gives_a_silent_source_up() {
    let cluster = Cluster::start().await;
    let (_listener, address) = silent().await;
    let ask = v1::PullRequest {
        cluster: CLUSTER.to_vec(),
        term: 1,
        chunk: Some(id(1, 1).into()),
        from: Some(v1::Node {
            id: 9,
            address,
            alive: true,
            zone: String::new(),
        }),
    };
    let began = Instant::now();
    let refused = cluster.client(0).pull(ask).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused}");
    assert!(began.elapsed() < NOISE, "{:?}", began.elapsed());
    assert_eq!(cluster.nodes[0].service.load(), 0);
    assert_eq!(cluster.nodes[0].service.usage().used, 0);
}
