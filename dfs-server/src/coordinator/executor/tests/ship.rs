//! What sessions did by themselves: taken whole under their leases, else refused; what they made is theirs.

use super::*;
use dfs_core::op::{Ship, Step};

fn shipment(ino: Ino, name: &str) -> Op {
    let step = Step {
        at: dfs_core::types::Timestamp { secs: 77, nanos: 0 },
        ino,
        op: make(name),
    };
    Op::Ship(Ship {
        steps: vec![step],
        commit: None,
    })
}

async fn numbers(client: &mut Client) -> Ino {
    match client.call(Op::AllocInos { count: 10 }).await.outcome {
        Some(Outcome::Result(result)) => match result.result {
            Some(v1::result::Result::InoRange(range)) => Ino(range.first),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn alone(ino: Ino) -> Op {
    Op::Acquire {
        ino,
        mode: LeaseMode::Exclusive,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_under_leases_stands_and_what_was_not_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    let mut one = Client::new(&handle, 1).await;
    let mut two = Client::new(&handle, 2).await;
    let (first, others) = (numbers(&mut one).await, numbers(&mut two).await);
    assert_eq!(others.0, first.0 + 10);
    let reply = one.call(shipment(first, "a")).await;
    assert_eq!(error(&reply), Some(FsError::Stale), "it holds nothing");
    let reply = one.call(alone(Ino::ROOT)).await;
    assert_eq!(granted(&reply, Ino::ROOT), LeaseMode::Exclusive);
    let reply = one.call(shipment(first, "a")).await;
    assert_eq!(error(&reply), None);
    // The directory and the new file are recalled from who made it.
    let asked = two.begin(lookup("a")).await;
    let mut recalls = [one.recalled().await, one.recalled().await];
    recalls.sort_by_key(|recall| recall.ino);
    let inos: Vec<u64> = recalls.iter().map(|recall| recall.ino).collect();
    assert_eq!(inos, [Ino::ROOT.0, first.0]);
    for recall in recalls {
        one.ack(recall.ino, LeaseMode::Shared, recall.number).await;
    }
    let reply = two.reply().await;
    assert_eq!((reply.op_id, entry(&reply)), (asked, first));
    let reply = one.call(shipment(Ino(first.0 + 1), "b")).await;
    assert_eq!(
        error(&reply),
        Some(FsError::Stale),
        "it holds the directory no more"
    );
    let reply = two.call(lookup("b")).await;
    assert_eq!(error(&reply), Some(FsError::NotFound));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_again_to_the_next_coordinator_is_done_once() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = start(dir.path());
    let mut one = Client::new(&coordinator.handle(), 1).await;
    let first = numbers(&mut one).await;
    one.call(alone(Ino::ROOT)).await;
    one.call(shipment(first, "a")).await;
    let told = one.next_op - 1;
    stop(coordinator).await;
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    // What it has made and not told is its own, too.
    let unborn = Ino(first.0 + 1);
    let leases = [Ino::ROOT, first, unborn].map(|ino| (ino, LeaseMode::Exclusive, false));
    let mut one = Client::connect(&handle, 1, true, leases.to_vec()).await;
    assert!(one.welcome().await.resumed);
    one.send(told, 0, Body::Op(shipment(first, "a"))).await;
    let reply = one.reply().await;
    assert_eq!((error(&reply), reply.repeated), (None, true));
    one.send(told + 1, 0, Body::Op(shipment(unborn, "b"))).await;
    assert_eq!(error(&one.reply().await), None);
    let fresh = {
        let mut two = Client::new(&handle, 2).await;
        numbers(&mut two).await
    };
    assert!(fresh.0 >= first.0 + 10, "numbers are given out once: {fresh}");
}

async fn heard_full(client: &mut Client, full: bool) {
    loop {
        if let Some(Message::Heartbeat(beat)) = client.message().await
            && beat.full == full
        {
            return;
        }
    }
}

// S27
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_at_once_and_takes_what_was_done_before() {
    let dir = tempfile::tempdir().unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let coordinator = start_on_disk(settings(dir.path()), full.clone());
    let mut one = Client::new_writer(&coordinator.handle(), 1).await;
    let first = numbers(&mut one).await;
    one.call(alone(Ino::ROOT)).await;
    full.store(true, Ordering::Relaxed);
    heard_full(&mut one, true).await;
    let reply = one.call(shipment(first, "a")).await;
    assert_eq!(error(&reply), None, "its caller was answered before");
    let reply = one.call(make("b")).await;
    assert_eq!(error(&reply), Some(FsError::NoSpace));
    full.store(false, Ordering::Relaxed);
    heard_full(&mut one, false).await;
    assert_eq!(error(&one.call(make("b")).await), None);
}

fn list(alone: bool) -> Op {
    Op::ReadDir {
        ino: Ino::ROOT,
        after: 0,
        limit: 100,
        attrs: true,
        alone,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lists_to_change_gets_alone_what_nobody_else_holds() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    let mut maker = Client::new(&handle, 9).await;
    let (free, _) = maker.make("a").await;
    let (shared, _) = maker.make("b").await;
    maker.leave().await;
    let mut reader = Client::new(&handle, 2).await;
    reader.call(lookup("b")).await;
    let mut plain = Client::new(&handle, 3).await;
    let reply = plain.call(list(true)).await;
    assert_eq!(granted(&reply, free), LeaseMode::Shared, "it tells each change");
    plain.leave().await;
    let mut writer = Client::new_writer(&handle, 1).await;
    let reply = writer.call(list(false)).await;
    assert_eq!(granted(&reply, free), LeaseMode::Shared, "it only looks");
    let reply = writer.call(list(true)).await;
    assert_eq!(granted(&reply, free), LeaseMode::Exclusive);
    assert_eq!(
        granted(&reply, shared),
        LeaseMode::None,
        "it has as much as it may"
    );
    assert_eq!(
        granted(&reply, Ino::ROOT),
        LeaseMode::None,
        "somebody looked at it"
    );
    // What was taken is recalled like anything else.
    let asked = reader.begin(lookup("a")).await;
    let recall = writer.recalled().await;
    assert_eq!(recall.ino, free.0);
    writer.ack(recall.ino, LeaseMode::Shared, recall.number).await;
    let reply = reader.reply().await;
    assert_eq!((reply.op_id, entry(&reply)), (asked, free));
    let reply = writer.call(list(true)).await;
    assert_eq!(granted(&reply, free), LeaseMode::None, "another has it, too");
    // Nobody has to give anything back for it.
    reader.begin(make("c")).await;
    let recall = writer.recalled().await;
    writer.ack(recall.ino, LeaseMode::None, recall.number).await;
    assert_eq!(error(&reader.reply().await), None);
    reader.send(90, 90, Body::Op(lookup("c"))).await;
    reader.reply().await;
    writer.call(list(true)).await;
    reader.quiet().await;
}
