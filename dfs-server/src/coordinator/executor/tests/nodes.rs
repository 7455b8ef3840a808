//! Datanodes that register and form sets.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn three_beats_make_a_set_that_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    let mut client = Client::new(&handle, 1).await;
    let waiting = client
        .begin(Op::AllocChunks {
            count: 8,
            avoid: Vec::new(),
        })
        .await;
    for node in 1..=3u8 {
        assert_eq!(beat(&handle, node).await.0, u32::from(node));
    }
    let reply = client.reply().await;
    assert_eq!((reply.op_id, error(&reply)), (waiting, None));
    assert_eq!(beat(&handle, 2).await.0, 2);
    let (sets, term) = {
        let status = handle.status().await.unwrap();
        (status.sets, status.term)
    };
    assert_eq!(sets.len(), 1);
    drop(handle);
    stop(coordinator).await;
    let handle = start(dir.path()).handle();
    let status = handle.status().await.unwrap();
    assert_eq!(status.sets, sets);
    assert!(status.term > term);
}

async fn beat(handle: &Handle, node: u8) -> (u32, dfs_core::ids::Term) {
    let beat = crate::coordinator::executor::Beat {
        uuid: [node; 16],
        address: format!("127.0.0.1:{node}"),
        zone: format!("zone-{node}"),
        capacity: 1 << 30,
        used: 0,
        free: 1 << 30,
        chunks: 0,
        problem: String::new(),
        process: Default::default(),
    };
    let (answer, answered) = oneshot::channel();
    handle.inbox.send(Event::Beat(beat, answer)).await.unwrap();
    answered.await.unwrap().unwrap()
}
