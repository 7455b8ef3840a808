//! A chunk made of pieces of others.

use super::cluster::{CLUSTER, Cluster};
use crate::datanode::store::suite::{content, id};
use dfs_core::chunk::{block_crcs, table_sha256};
use dfs_core::ids::ChunkId;
use dfs_proto::v1::{ComposePiece, ComposeReply, ComposeRequest};
use tonic::{Code, Status};

async fn compose(
    cluster: &Cluster,
    chunk: ChunkId,
    pieces: &[(ChunkId, u32, u32)],
    others: &[usize],
) -> Result<ComposeReply, Status> {
    let piece = |(source, offset, len): &(ChunkId, u32, u32)| ComposePiece {
        source: Some((*source).into()),
        offset: *offset,
        len: *len,
    };
    let ask = ComposeRequest {
        cluster: CLUSTER.to_vec(),
        term: 3,
        transfer: uuid::Uuid::new_v4().as_bytes().to_vec(),
        chunk: Some(chunk.into()),
        pieces: pieces.iter().map(piece).collect(),
        others: others.iter().map(|other| cluster.member(*other)).collect(),
    };
    cluster
        .client(0)
        .compose(ask)
        .await
        .map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_become_a_chunk_on_all_members() {
    let cluster = Cluster::start().await;
    let (one, two) = (content(3_000_000, 1), content(200_000, 2));
    cluster.put(0, id(1, 1), &one, &[]).await.unwrap();
    cluster.put(0, id(1, 2), &two, &[]).await.unwrap();
    let pieces = [
        (id(1, 1), 65_530, 12),
        (id(1, 2), 0, 200_000),
        (id(1, 1), 1, 2_999_999),
        (id(1, 2), 199_999, 1),
    ];
    let wanted = [&one[65_530..65_542], &two[..], &one[1..], &two[199_999..]].concat();
    // The second time it is there already.
    for _ in 0..2 {
        let reply = compose(&cluster, id(1, 9), &pieces, &[1, 2]).await.unwrap();
        let mut on_disk = reply.on_disk.clone();
        on_disk.sort_unstable();
        assert_eq!((on_disk, reply.failures), (vec![1, 2, 3], vec![]));
        assert_eq!(
            (reply.len as usize, reply.sha256.as_slice()),
            (
                wanted.len(),
                table_sha256(wanted.len() as u32, &block_crcs(&wanted)).as_slice()
            )
        );
    }
    for node in 0..3 {
        assert_eq!(cluster.get(node, id(1, 9), 0, 0).await.unwrap(), wanted);
    }
    assert_eq!(cluster.nodes[0].service.load(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_made_of_what_is_absent_damaged_or_ordered_by_a_former_leader() {
    let cluster = Cluster::start().await;
    cluster
        .put(0, id(1, 1), &content(3_000_000, 1), &[])
        .await
        .unwrap();
    cluster.put(0, id(1, 2), &content(1000, 2), &[]).await.unwrap();
    let code = async |pieces: &[(ChunkId, u32, u32)]| {
        compose(&cluster, id(1, 9), pieces, &[1])
            .await
            .map_or_else(|status| status.code(), |_| Code::Ok)
    };
    assert_eq!(
        code(&[(id(1, 2), 0, 10), (id(1, 7), 0, 10)]).await,
        Code::NotFound
    );
    assert_eq!(code(&[(id(1, 2), 990, 11)]).await, Code::DataLoss);
    assert_eq!(code(&[]).await, Code::InvalidArgument);
    assert_eq!(code(&[(id(1, 2), 0, 0)]).await, Code::InvalidArgument);
    let three = [(id(1, 1), 0, 3_000_000); 3];
    assert_eq!(
        code(&three).await,
        Code::InvalidArgument,
        "more than a chunk holds"
    );
    cluster.flip_stored_bit(0);
    assert_eq!(
        code(&[(id(1, 2), 0, 10), (id(1, 1), 900_000, 500_000)]).await,
        Code::DataLoss
    );
    assert_eq!(
        cluster.get(0, id(1, 1), 0, 1).await.unwrap_err().code(),
        Code::DataLoss,
        "the source is out of service"
    );
    cluster.delete(0, 4, &[]).await.unwrap();
    assert_eq!(code(&[(id(1, 2), 0, 10)]).await, Code::FailedPrecondition);
    assert_eq!(cluster.list(0, None).await.len(), 2);
    assert_eq!(cluster.nodes[1].service.usage().used, 0);
}
