//! What a new coordinator knows of the old one: rows, leases, damaged state.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_change_gets_the_first_answer_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    let mut client = Client::new(&handle, 1).await;
    let (ino, first) = client.make("a").await;
    client.send(1, 0, Body::Op(make("a"))).await;
    let again = client.reply().await;
    assert_eq!(again.outcome, first.outcome);
    // On a new stream, and from a new coordinator.
    let mut client = Client::connect(&handle, 1, true, Vec::new()).await;
    assert!(client.welcome().await.resumed);
    client.send(1, 0, Body::Op(make("a"))).await;
    assert_eq!(client.reply().await.outcome, first.outcome);
    drop(handle);
    stop(coordinator).await;
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    let mut client = Client::connect(&handle, 1, true, Vec::new()).await;
    assert!(client.welcome().await.resumed);
    client.send(1, 0, Body::Op(make("a"))).await;
    assert_eq!(client.reply().await.outcome, first.outcome);
    // A refusal changes nothing, and another id is another operation.
    client.send(2, 0, Body::Op(make("a"))).await;
    assert_eq!(error(&client.reply().await), Some(FsError::Exists));
    // What was acknowledged is forgotten and not executed again.
    client.send(3, 3, Body::Op(unlink("a"))).await;
    client.reply().await;
    client.send(1, 3, Body::Op(make("a"))).await;
    client.send(4, 3, Body::Op(lookup("a"))).await;
    let reply = client.reply().await;
    assert_eq!((reply.op_id, error(&reply)), (4, Some(FsError::NotFound)));
    client.send(5, 3, Body::Op(make("a"))).await;
    assert!(entry(&client.reply().await) > ino);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_after_a_replay_is_the_state_before() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    let mut client = Client::new(&handle, 1).await;
    let mut inos = Vec::new();
    for number in 0..300 {
        inos.push(client.make(&format!("f{number}")).await.0);
        if number % 3 == 0 {
            client.call(unlink(&format!("f{}", number / 2))).await;
        }
    }
    drop(handle);
    let store = coordinator.handle().store;
    stop(coordinator).await;
    let before = rows(&store);
    drop(store);
    // The state is gone; the log alone gives it back.
    let state = dir.path().join("state");
    until_removed(&state).await;
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    assert_eq!(rows(&handle.store), before);
    // Numbers are not used again.
    let mut client = Client::new(&handle, 2).await;
    let (ino, _) = client.make("new").await;
    assert!(ino > *inos.iter().max().unwrap());
}

/// The store closes its files in the background.
async fn until_removed(state: &Path) {
    let until = Instant::now() + PATIENCE;
    while state.exists() {
        assert!(Instant::now() < until, "the state stays");
        if std::fs::remove_dir_all(state).is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_state_is_set_aside_and_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = start(dir.path());
    let mut client = Client::new(&coordinator.handle(), 1).await;
    client.make("a").await;
    let store = coordinator.handle().store;
    stop(coordinator).await;
    let before = rows(&store);
    drop(store);
    crate::coordinator::recovery::condemn(dir.path(), "a test says so").unwrap();
    let coordinator = start(dir.path());
    assert_eq!(rows(&coordinator.handle().store), before);
    assert!(dir.path().join("state.damaged-1").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_leases_are_reclaimed_before_others_get_them() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    let mut one = Client::new(&handle, 1).await;
    let _two = Client::new(&handle, 2).await;
    let (ino, _) = one.make("a").await;
    drop(handle);
    stop(coordinator).await;
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    let begin = Instant::now();
    let mut two = Client::connect(&handle, 2, true, Vec::new()).await;
    assert!(two.welcome().await.resumed);
    let asked = two
        .begin(Op::Acquire {
            ino,
            mode: LeaseMode::Exclusive,
        })
        .await;
    let claims = vec![(ino, LeaseMode::Exclusive, true)];
    let mut one = Client::connect(&handle, 1, true, claims).await;
    assert!(one.welcome().await.resumed);
    let recall = one.recalled().await;
    assert_eq!(recall.ino, ino.0);
    one.ack(ino.0, LeaseMode::None, recall.number).await;
    let reply = two.reply().await;
    assert_eq!(reply.op_id, asked);
    assert_eq!(granted(&reply, ino), LeaseMode::Exclusive);
    assert!(
        begin.elapsed() < TERM,
        "nobody was absent, so nothing waited for the lease term"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_share_a_row_are_repeated_until_all_are_acknowledged() {
    let reply_rows = |handle: &Handle| {
        let (first, end) = dfs_core::keys::prefix::replies();
        let kept = |row: &(Vec<u8>, Vec<u8>)| first <= row.0 && row.0 < end;
        rows(&handle.store).iter().filter(|row| kept(row)).count()
    };
    let ops = || ["a", "b", "c"].map(make).to_vec();
    let dir = tempfile::tempdir().unwrap();
    let coordinator = start(dir.path());
    let mut client = Client::new(&coordinator.handle(), 1).await;
    let first = client.send_all(1, 0, ops()).await;
    stop(coordinator).await;
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    assert_eq!(reply_rows(&handle), 1, "one record, one row");
    let mut client = Client::connect(&handle, 1, true, Vec::new()).await;
    assert!(client.welcome().await.resumed);
    // One of them is still needed.
    let again = client.send_all(3, 3, vec![make("c")]).await;
    assert_eq!(again[0].outcome, first[2].outcome);
    assert!(again[0].repeated);
    client.send_all(4, 3, vec![make("d"), make("e")]).await;
    stop(coordinator).await;
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    assert_eq!(reply_rows(&handle), 2);
    let mut client = Client::connect(&handle, 1, true, Vec::new()).await;
    assert!(client.welcome().await.resumed);
    let again = client.send_all(3, 3, vec![make("c"), make("d")]).await;
    assert!(again.iter().all(|reply| reply.repeated && error(reply).is_none()));
    client.send_all(6, 6, vec![lookup("a")]).await;
    let until = Instant::now() + PATIENCE;
    while reply_rows(&handle) > 0 {
        assert!(Instant::now() < until, "acknowledged answers stay");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
