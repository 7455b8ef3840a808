//! Leases between two clients: recalls, revocation, gifts.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_conflicting_operation_waits_for_the_recall() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    let mut one = Client::new(&handle, 1).await;
    let mut two = Client::new(&handle, 2).await;
    let (ino, reply) = one.make("a").await;
    assert_eq!(granted(&reply, ino), LeaseMode::Exclusive);
    assert_eq!(granted(&reply, Ino::ROOT), LeaseMode::Shared);
    // A reader only needs the exclusive lease lowered.
    let asked = two.begin(lookup("a")).await;
    let recall = one.recalled().await;
    assert_eq!((recall.ino, recall.keep()), (ino.0, v1::LeaseMode::Shared));
    two.quiet().await;
    one.ack(recall.ino, LeaseMode::Shared, recall.number).await;
    let reply = two.reply().await;
    assert_eq!(reply.op_id, asked);
    assert_eq!(granted(&reply, ino), LeaseMode::Shared);
    assert_eq!(granted(&reply, Ino::ROOT), LeaseMode::Shared);
    // A writer needs all of them gone.
    let asked = one.begin(unlink("a")).await;
    let mut recalls = [two.recalled().await, two.recalled().await];
    recalls.sort_by_key(|recall| recall.ino);
    assert_eq!(
        recalls.iter().map(|recall| recall.ino).collect::<Vec<_>>(),
        [Ino::ROOT.0, ino.0]
    );
    two.ack(recalls[0].ino, LeaseMode::None, recalls[0].number).await;
    one.quiet().await;
    two.ack(recalls[1].ino, LeaseMode::None, recalls[1].number).await;
    let reply = one.reply().await;
    assert_eq!((reply.op_id, error(&reply)), (asked, None));
    assert!(one.recalls.is_empty());
}

// S20
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_shown_a_change_that_its_maker_may_not_have_heard_of() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    let mut maker = Client::new(&handle, 1).await;
    let mut other = Client::new(&handle, 2).await;
    maker.make("a").await;
    // From here on the maker answers its processes by what it knows of the directory.
    let made = make("b");
    maker.send(90, 0, Body::Op(made)).await;
    maker.reply().await;
    let asked = other.begin(Op::GetAttr { ino: Ino::ROOT }).await;
    let recall = maker.recalled().await;
    assert_eq!((recall.ino, recall.keep()), (Ino::ROOT.0, v1::LeaseMode::Shared));
    other.quiet().await;
    maker.ack(recall.ino, LeaseMode::Shared, recall.number).await;
    assert_eq!(other.reply().await.op_id, asked);
    // An acknowledged answer is known to have arrived.
    maker.send(91, 0, Body::Op(make("c"))).await;
    maker.reply().await;
    maker.send(92, 92, Body::Op(lookup("c"))).await;
    maker.reply().await;
    other.call(Op::GetAttr { ino: Ino::ROOT }).await;
    assert!(maker.recalls.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_holder_delays_others_by_at_most_a_lease_term() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    let mut silent = Client::new(&handle, 1).await;
    let mut other = Client::new(&handle, 2).await;
    let (ino, _) = silent.make("a").await;
    let begin = Instant::now();
    let reply = other
        .call(Op::Acquire {
            ino,
            mode: LeaseMode::Exclusive,
        })
        .await;
    assert_eq!(granted(&reply, ino), LeaseMode::Exclusive);
    assert!(begin.elapsed() < TERM * 3, "{:?}", begin.elapsed());
    // It is told what it has lost, its late commit is refused, and what it claims on return is taken again.
    assert!(!silent.recalled().await.taken);
    let recall = silent.recalled().await;
    assert_eq!(
        (recall.ino, recall.keep(), recall.taken),
        (ino.0, v1::LeaseMode::None, true)
    );
    silent.heartbeat().await;
    let file = dfs_core::op::FileCommit {
        ino,
        extents: Vec::new(),
        mtime: Default::default(),
        atime: None,
        kill_suidgid: false,
    };
    let commit = dfs_core::op::Commit {
        chunks: Vec::new(),
        files: vec![file],
    };
    let reply = silent.call(Op::Commit(commit)).await;
    assert_eq!(error(&reply), Some(FsError::Stale));
    let mut silent = Client::connect(&handle, 1, true, vec![(ino, LeaseMode::Exclusive, false)]).await;
    assert!(silent.welcome().await.resumed);
    let recall = silent.recalled().await;
    assert_eq!(
        (recall.ino, recall.keep(), recall.taken),
        (ino.0, v1::LeaseMode::None, true)
    );
}

// S3
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_returns_is_told_again_what_has_lost_its_last_name() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    let mut one = Client::new(&handle, 1).await;
    let mut two = Client::new(&handle, 2).await;
    let (ino, _) = one.make("a").await;
    let (kept, _) = one.make("b").await;
    for ino in [ino, kept] {
        one.ack(ino.0, LeaseMode::None, 0).await;
        let recall = one.recalled().await;
        one.ack_open(ino.0, LeaseMode::None, recall.number).await;
    }
    let removing = two.begin(unlink("a")).await;
    let recall = one.recalled().await;
    one.ack(recall.ino, LeaseMode::None, recall.number).await;
    assert_eq!(two.reply().await.op_id, removing);
    let held = [ino, kept].map(|ino| (ino, LeaseMode::None, true));
    let mut again = Client::connect(&handle, 1, true, held.to_vec()).await;
    assert!(again.welcome().await.resumed);
    let notice = again.recalled().await;
    assert_eq!((notice.ino, notice.number), (ino.0, 0));
    again.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gift_is_confirmed_before_others_use_it() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    let mut one = Client::new(&handle, 1).await;
    let (ino, _) = one.make("a").await;
    one.ack(ino.0, LeaseMode::None, 0).await;
    let recall = one.recalled().await;
    assert_eq!((recall.ino, recall.keep()), (ino.0, v1::LeaseMode::None));
    // Until it is confirmed nothing new is granted.
    let reply = one.call(Op::GetAttr { ino }).await;
    assert_eq!(granted(&reply, ino), LeaseMode::None);
    one.ack(ino.0, LeaseMode::None, recall.number).await;
    let reply = one.call(Op::GetAttr { ino }).await;
    assert_eq!(granted(&reply, ino), LeaseMode::Shared);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_idle_is_asked_back_when_all_sessions_hold_too_many() {
    const MOST: u32 = 40;
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        max_leases: MOST,
        ..settings(dir.path())
    };
    let coordinator = start_with(settings);
    let handle = coordinator.handle();
    let mut full = Client::new(&handle, 1).await;
    let mut lean = Client::new(&handle, 2).await;
    let mut held = BTreeSet::from([Ino::ROOT.0]);
    let mut made = Vec::new();
    for n in 0..2 * MOST {
        let (ino, reply) = full.make(&format!("f{n}")).await;
        made.push(ino);
        if granted(&reply, ino) == LeaseMode::Exclusive {
            held.insert(ino.0);
        }
        full.ack_open(ino.0, LeaseMode::Exclusive, 0).await;
        while let Some(recall) = full.recalls.pop_front() {
            full.ack_open(recall.ino, LeaseMode::None, recall.number).await;
            held.remove(&recall.ino);
        }
    }
    // What it holds open is its to keep; beyond its share it gets nothing new.
    let share = MOST as usize + MOST as usize / 4;
    assert!(
        (MOST as usize / 2..=share).contains(&held.len()),
        "{}",
        held.len()
    );
    for ino in made {
        full.ack(ino.0, LeaseMode::Exclusive, 0).await;
    }
    while held.len() > MOST as usize {
        full.heartbeat().await;
        let recall = full.recalled().await;
        assert_eq!(
            (recall.keep(), recall.taken),
            (v1::LeaseMode::None, false),
            "asked for, not taken"
        );
        full.ack(recall.ino, LeaseMode::None, recall.number).await;
        held.remove(&recall.ino);
    }
    // Others get theirs.
    let (ino, reply) = lean.make("lean").await;
    assert_eq!(granted(&reply, ino), LeaseMode::Exclusive);
}
