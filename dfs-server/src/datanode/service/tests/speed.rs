//! Concurrent puts share syncs; how fast puts and gets are is printed for the curious.

use super::cluster::{CLUSTER, Cluster};
use crate::datanode::store::suite::{content, id};
use dfs_proto::v1;
use std::time::Instant;

const MIB: f64 = (1 << 20) as f64;

#[tokio::test(flavor = "multi_thread")]
async fn many_puts_at_once_share_syncs() {
    let cluster = Cluster::start().await;
    let bytes = content(20_000, 1);
    let puts = (0..400).map(|seq| cluster.put(0, id(1, seq), &bytes, &[]));
    let replies = futures_util::future::join_all(puts).await;
    let failed: Vec<_> = replies.iter().filter_map(|reply| reply.as_ref().err()).collect();
    // More at once than the limit are told to come again; none fails otherwise.
    assert!(
        failed
            .iter()
            .all(|status| status.code() == tonic::Code::Unavailable),
        "{failed:?}"
    );
    let stored = cluster.nodes[0].service.usage().chunks;
    assert_eq!(stored as usize, 400 - failed.len());
    let syncs = cluster.nodes[0].service.0.store.syncs();
    println!("{stored} puts, {syncs} syncs");
    assert!(syncs < stored, "{syncs} syncs for {stored} puts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_chunks() {
    let cluster = Cluster::start().await;
    let bytes = content(8 << 20, 1);
    for (set, others) in [(1, vec![]), (2, vec![1, 2])] {
        let began = Instant::now();
        for first in (0..16).step_by(4) {
            let puts = (first..first + 4).map(|seq| cluster.put(0, id(set, seq), &bytes, &others));
            for reply in futures_util::future::join_all(puts).await {
                assert_eq!(reply.unwrap().on_disk.len(), 1 + others.len());
            }
        }
        let rate = 16.0 * bytes.len() as f64 / MIB / began.elapsed().as_secs_f64();
        println!("put, {} members: {rate:.0} MiB/s", 1 + others.len());
    }
    let began = Instant::now();
    let mut got = 0;
    for seq in 0..16 {
        let chunk = Some(id(1, seq).into());
        let ask = v1::GetRequest {
            cluster: CLUSTER.to_vec(),
            chunk,
            first_block: 0,
            blocks: 0,
            repair: false,
        };
        let mut stream = cluster.client(0).get(ask).await.unwrap().into_inner();
        while let Some(group) = stream.message().await.unwrap() {
            got += group.payload.len();
        }
    }
    assert_eq!(got, 16 * bytes.len());
    println!(
        "get: {:.0} MiB/s",
        got as f64 / MIB / began.elapsed().as_secs_f64()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_put_costs_one_sync_at_each_member() {
    const PUTS: u64 = 100;
    let cluster = Cluster::start().await;
    let bytes = content(4096, 1);
    let began = Instant::now();
    for seq in 0..PUTS {
        let reply = cluster.put(0, id(1, seq), &bytes, &[1, 2]).await.unwrap();
        assert_eq!(reply.on_disk.len(), 3);
    }
    println!(
        "put of 4 KiB, 3 members, one at a time: {:.2} ms",
        began.elapsed().as_secs_f64() * 1e3 / PUTS as f64
    );
    for node in &cluster.nodes {
        assert_eq!(node.service.syncs(), PUTS);
    }
    let mut fastest = f64::MAX;
    for seq in 0..PUTS {
        let began = Instant::now();
        cluster.get(0, id(1, seq), 0, 1).await.unwrap();
        fastest = fastest.min(began.elapsed().as_secs_f64() * 1e3);
    }
    println!("get of 4 KiB, the fastest: {fastest:.2} ms");
    assert!(
        fastest < 20.0,
        "{fastest} ms: connections are delayed by Nagle's algorithm"
    );
}
