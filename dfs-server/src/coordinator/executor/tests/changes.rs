//! Changes: exactly once, and many of them in few syncs.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn many_changes_share_few_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    let mut client = Client::new(&handle, 1).await;
    const CHANGES: u64 = 2000;
    let before = handle.status().await.unwrap().syncs;
    for number in 0..CHANGES {
        client.begin(make(&format!("f{number}"))).await;
    }
    for op_id in 1..=CHANGES {
        let reply = client.reply().await;
        assert_eq!((reply.op_id, error(&reply)), (op_id, None));
    }
    let syncs = handle.status().await.unwrap().syncs - before;
    assert!(syncs < CHANGES / 5, "{syncs} syncs for {CHANGES} changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_cannot_be_understood_is_answered_and_the_stream_lives() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = start(dir.path());
    let mut client = Client::new(&coordinator.handle(), 1).await;
    for op_id in [1, 1, 2] {
        client.send(op_id, 0, Body::Wrong).await;
        let reply = client.reply().await;
        assert_eq!((reply.op_id, error(&reply)), (op_id, Some(FsError::Invalid)));
    }
    client.next_op = 3;
    client.make("a").await;
}

/// Prints what one caller and many callers reach; the bounds only catch a lost order of magnitude.
#[tokio::test(flavor = "multi_thread")]
async fn rates_of_durable_creates() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    let mut client = Client::new(&handle, 1).await;
    let begin = Instant::now();
    for number in 0..200 {
        client.make(&format!("one-{number}")).await;
    }
    let alone = 200.0 / begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    const MANY: u64 = 20_000;
    const AHEAD: u64 = 512;
    for number in 0..MANY {
        client.begin(make(&format!("many-{number}"))).await;
        if number >= AHEAD {
            client.reply().await;
        }
    }
    for _ in 0..AHEAD {
        client.reply().await;
    }
    let together = MANY as f64 / begin.elapsed().as_secs_f64();
    println!("durable creates per second: {alone:.0} by one caller, {together:.0} with {AHEAD} under way");
    assert!(alone > 20.0 && together > 500.0);
}
