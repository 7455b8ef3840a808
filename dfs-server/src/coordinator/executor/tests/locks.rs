//! Locks across sessions, and the end of sessions.

use super::*;

fn lock(owner: u64, typ: LockType) -> Lock {
    Lock {
        ino: Ino::ROOT,
        owner,
        kind: LockKind::Posix,
        typ,
        start: 0,
        end: 9,
        pid: 1,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_wait_ends_with_the_holder_a_cancel_or_the_session() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    let mut one = Client::new(&handle, 1).await;
    let mut two = Client::new(&handle, 2).await;
    let got =
        |reply: &v1::Reply| matches!(&reply.outcome, Some(Outcome::Lock(lock)) if lock.conflict.is_none());
    one.send(1, 0, Body::Lock(lock(5, LockType::Write), LockAction::Try))
        .await;
    assert!(got(&one.reply().await));
    two.send(1, 0, Body::Lock(lock(6, LockType::Read), LockAction::Test))
        .await;
    assert!(!got(&two.reply().await));
    two.send(2, 0, Body::Lock(lock(6, LockType::Write), LockAction::Wait))
        .await;
    two.quiet().await;
    one.send(2, 0, Body::Lock(lock(5, LockType::Unlock), LockAction::Try))
        .await;
    assert!(got(&one.reply().await));
    let reply = two.reply().await;
    assert_eq!(reply.op_id, 2);
    assert!(got(&reply));
    // Interrupted.
    one.send(3, 0, Body::Lock(lock(5, LockType::Write), LockAction::Wait))
        .await;
    one.quiet().await;
    let (session, stream) = (one.session, one.stream);
    handle
        .inbox
        .send(Event::CancelLock {
            session,
            stream,
            op_id: 3,
        })
        .await
        .unwrap();
    assert_eq!(error(&one.reply().await), Some(FsError::Interrupted));
    // The holder leaves.
    one.send(4, 0, Body::Lock(lock(5, LockType::Write), LockAction::Wait))
        .await;
    one.quiet().await;
    let (session, stream) = (two.session, two.stream);
    handle
        .inbox
        .send(Event::Goodbye { session, stream })
        .await
        .unwrap();
    assert!(got(&one.reply().await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_session_ends_with_what_it_held_open() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = start(dir.path());
    let handle = coordinator.handle();
    let mut one = Client::new(&handle, 1).await;
    let mut two = Client::new(&handle, 2).await;
    let (ino, _) = one.make("a").await;
    one.call(Op::Unlink(Unlink {
        parent: Ino::ROOT,
        name: "a".into(),
        expect: Some((ino, true)),
    }))
    .await;
    // Only who held it open could still see it.
    assert_eq!(error(&two.call(Op::GetAttr { ino }).await), Some(FsError::Stale));
    assert!(handle.own(Op::GetAttr { ino }).await.is_ok());
    let until = Instant::now() + PATIENCE;
    while handle.own(Op::GetAttr { ino }).await.is_ok() {
        assert!(Instant::now() < until, "the orphan stays");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // It cannot come back.
    let mut one = Client::connect(&handle, 1, true, Vec::new()).await;
    match one.message().await {
        Some(Message::Refused(refused)) => {
            assert_eq!(refused.reason(), v1::refused::Reason::SessionEnded);
        }
        other => panic!("not refused but {other:?}"),
    }
}
