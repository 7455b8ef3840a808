//! Small reads on framed connections: the same answers as by gRPC, on the same port and on the Unix socket.

use super::cluster::{CLUSTER, Cluster};
use crate::datanode::store::suite::{content, id};
use dfs_client::channel::{Exchange, Peer, Pool};
use dfs_core::chunk::pages::{PAGE_SIZE, page_crcs};
use dfs_core::chunk::{BLOCK_SIZE, block_crcs, table_sha256};
use dfs_core::ids::ChunkId;
use dfs_proto::v1;
use dfs_proto::v1::framed_request::Body;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tonic::Code;

/// No answer of a test takes so long on any machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn get(chunk: ChunkId, first_block: u32, blocks: u32) -> v1::GetRequest {
    v1::GetRequest {
        cluster: CLUSTER.to_vec(),
        chunk: Some(chunk.into()),
        first_block,
        blocks,
        repair: false,
    }
}

/// The peer's framed connection, once it has been made.
async fn connected(peer: &Arc<Peer>) -> Exchange {
    let runtime = tokio::runtime::Handle::current();
    loop {
        if let Some(exchange) = peer.framed(&runtime) {
            return exchange;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Asks and takes the whole answer.
async fn ask(peer: &Arc<Peer>, request: v1::GetRequest) -> (v1::FramedReply, Vec<u8>) {
    tell(peer, Body::Get(request), Vec::new()).await
}

async fn tell(peer: &Arc<Peer>, body: Body, content: Vec<u8>) -> (v1::FramedReply, Vec<u8>) {
    let mut exchange = connected(peer).await;
    let asked = tokio::task::spawn_blocking(move || {
        exchange.ask("a-c1".to_string(), body, &content).unwrap();
        let reply = exchange.answer(PATIENCE).unwrap();
        let payload = exchange.payload(reply.payload as usize).unwrap();
        exchange.end();
        (reply, payload)
    });
    asked.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn framed_reads_answer_as_grpc_does() {
    let mut cluster = Cluster::start_at("127.0.0.1:0").await;
    let bytes = content(3 * BLOCK_SIZE as usize + 5, 1);
    cluster.put(0, id(1, 1), &bytes, &[]).await.unwrap();
    let pool = Pool::default();
    let peer = pool.peer(&cluster.nodes[0].address.to_string()).unwrap();
    for (first, blocks) in [(0, 4), (0, 1), (1, 2), (3, 1)] {
        let (reply, payload) = ask(&peer, get(id(1, 1), first, blocks)).await;
        let from = (first * BLOCK_SIZE) as usize;
        let to = bytes.len().min(((first + blocks) * BLOCK_SIZE) as usize);
        assert_eq!((reply.code, &payload[..]), (0, &bytes[from..to]));
        let group = reply.group.unwrap();
        assert_eq!(
            (group.first_block, group.crcs),
            (first, block_crcs(&bytes[from..to]))
        );
    }
    let refused = [
        (get(id(1, 2), 0, 1), Code::NotFound),
        (get(id(1, 1), 9, 1), Code::InvalidArgument),
        (
            v1::GetRequest {
                cluster: vec![7; 16],
                ..get(id(1, 1), 0, 1)
            },
            Code::FailedPrecondition,
        ),
        (
            v1::GetRequest {
                repair: true,
                ..get(id(1, 1), 0, 1)
            },
            Code::InvalidArgument,
        ),
    ];
    for (request, code) in refused {
        let by_grpc = cluster.nodes[0].client.get(request.clone()).await.map(drop);
        let (reply, payload) = ask(&peer, request.clone()).await;
        assert_eq!((reply.code, payload.len()), (code as u32, 0), "{}", reply.reason);
        if !request.repair {
            assert_eq!(by_grpc.unwrap_err().code(), code);
        }
    }
    // On one machine the connection is the near one.
    assert!(connected(&peer).await.is_near());
    // The same port speaks HTTP/2.
    assert_eq!(cluster.get(0, id(1, 1), 0, 0).await.unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_come_with_their_checksums() {
    let cluster = Cluster::start_at("127.0.0.1:0").await;
    let bytes = content(3 * BLOCK_SIZE as usize + 5, 1);
    cluster.put(0, id(1, 1), &bytes, &[]).await.unwrap();
    let pool = Pool::default();
    let peer = pool.peer(&cluster.nodes[0].address.to_string()).unwrap();
    let get = |chunk: ChunkId, first_page, pages| v1::FramedGetPages {
        cluster: CLUSTER.to_vec(),
        chunk: Some(chunk.into()),
        first_page,
        pages,
    };
    for (first, pages) in [(0, 1), (7, 2), (15, 2), (40, 16), (48, 3)] {
        let (reply, payload) = tell(&peer, Body::GetPages(get(id(1, 1), first, pages)), Vec::new()).await;
        let from = (first * PAGE_SIZE) as usize;
        let expected = &bytes[from..bytes.len().min(from + (pages * PAGE_SIZE) as usize)];
        assert_eq!((reply.code, &payload[..]), (0, expected), "{}", reply.reason);
        let group = reply.pages.unwrap();
        let mut crcs = Vec::new();
        page_crcs(expected, &mut crcs);
        assert_eq!((group.first_page, group.crcs), (first, crcs));
        assert_eq!(reply.group, None);
    }
    let refused = [
        (get(id(1, 2), 0, 1), Code::NotFound),
        (get(id(1, 1), 49, 1), Code::InvalidArgument),
        (get(id(1, 1), u32::MAX, 1), Code::InvalidArgument),
        (get(id(1, 1), 0, 0), Code::InvalidArgument),
        (get(id(1, 1), 0, 17), Code::InvalidArgument),
        (
            v1::FramedGetPages {
                chunk: None,
                ..get(id(1, 1), 0, 1)
            },
            Code::InvalidArgument,
        ),
        (
            v1::FramedGetPages {
                cluster: vec![7; 16],
                ..get(id(1, 1), 0, 1)
            },
            Code::FailedPrecondition,
        ),
    ];
    for (request, code) in refused {
        let (reply, payload) = tell(&peer, Body::GetPages(request), Vec::new()).await;
        assert_eq!((reply.code, payload.len()), (code as u32, 0), "{}", reply.reason);
        assert!(!reply.reason.is_empty());
    }
    cluster.nodes[0].faults.reads.store(true, Ordering::SeqCst);
    let (reply, _) = tell(&peer, Body::GetPages(get(id(1, 1), 0, 1)), Vec::new()).await;
    assert_ne!(reply.code, 0);
}

fn put(chunk: ChunkId, content: &[u8]) -> v1::FramedPut {
    let crcs = block_crcs(content);
    v1::FramedPut {
        begin: Some(v1::PutBegin {
            transfer: uuid::Uuid::new_v4().as_bytes().to_vec(),
            cluster: CLUSTER.to_vec(),
            chunk: Some(chunk.into()),
            len: content.len() as u32,
            term: 1,
            propagate: false,
            others: Vec::new(),
        }),
        sha256: table_sha256(content.len() as u32, &crcs).to_vec(),
        crcs,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_chunk_in_one_request_is_durable_and_checked() {
    let cluster = Cluster::start_at("127.0.0.1:0").await;
    let pool = Pool::default();
    let peer = pool.peer(&cluster.nodes[0].address.to_string()).unwrap();
    let bytes = content(100_000, 1);
    let syncs = cluster.nodes[0].service.syncs();
    // The second time it is there already.
    for _ in 0..2 {
        let (reply, _) = tell(&peer, Body::Put(put(id(1, 1), &bytes)), bytes.clone()).await;
        assert_eq!((reply.code, reply.on_disk), (0, 1), "{}", reply.reason);
    }
    assert!(cluster.nodes[0].service.syncs() > syncs);
    assert_eq!(cluster.get(0, id(1, 1), 0, 0).await.unwrap(), bytes);
    let mut damaged = bytes.clone();
    damaged[70_000] ^= 1;
    let other = v1::FramedPut {
        sha256: vec![0; 32],
        ..put(id(1, 2), &bytes)
    };
    let forwarded = v1::FramedPut {
        begin: Some(v1::PutBegin {
            propagate: true,
            others: vec![cluster.member(0)],
            ..put(id(1, 2), &bytes).begin.unwrap()
        }),
        ..put(id(1, 2), &bytes)
    };
    let refused = [
        (put(id(1, 2), &bytes), damaged),
        (put(id(1, 2), &bytes), bytes[1..].to_vec()),
        (other, bytes.clone()),
        (forwarded, bytes.clone()),
    ];
    for (number, (put, content)) in refused.into_iter().enumerate() {
        let (reply, _) = tell(&peer, Body::Put(put), content).await;
        assert_eq!(
            reply.code,
            Code::InvalidArgument as u32,
            "{number}: {}",
            reply.reason
        );
    }
    let gone = cluster.get(0, id(1, 2), 0, 0).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_makes_no_sense_is_ended_and_others_are_not() {
    let cluster = Cluster::start_at("127.0.0.1:0").await;
    let pool = Pool::default();
    let peer = pool.peer(&cluster.nodes[0].address.to_string()).unwrap();
    let address = cluster.nodes[0].address;
    let ended = tokio::task::spawn_blocking(move || {
        for senseless in [&b"DFSxxxxxxxxx"[..], b"DFSFRM\x01\n\xff\xff\xff\xff"] {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(senseless).unwrap();
            let mut said = Vec::new();
            // Ended or reset: either way it is over.
            let _ = stream.read_to_end(&mut said);
            assert!(said.len() < 200);
        }
    });
    ended.await.unwrap();
    let (reply, _) = ask(&peer, get(id(1, 1), 0, 1)).await;
    assert_eq!(reply.code, Code::NotFound as u32);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_end_with_the_service() {
    let mut cluster = Cluster::start_at("127.0.0.1:0").await;
    let pool = Pool::default();
    let node = cluster.nodes.remove(0);
    let peer = pool.peer(&node.address.to_string()).unwrap();
    let mut exchange = connected(&peer).await;
    node.end().await;
    let ended = tokio::task::spawn_blocking(move || {
        exchange
            .ask(String::new(), Body::Get(get(id(1, 1), 0, 1)), &[])
            .and_then(|()| exchange.answer(PATIENCE).map(drop))
    });
    let error = ended.await.unwrap().unwrap_err();
    assert_ne!(
        error.kind(),
        std::io::ErrorKind::WouldBlock,
        "it did not end by itself"
    );
}
