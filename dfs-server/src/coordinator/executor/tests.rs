//! The executor with fake clients on in-process streams: exactly once, recalls, group commit, locks, restarts.

use super::super::{Coordinator, Handle, Settings, inbox::Inbox};
use super::event::{Body, Call, Event, Greeting};
use crate::config::data_dir::DataDir;
use dfs_core::error::FsError;
use dfs_core::ids::{Ino, SessionId};
use dfs_core::lock::{Lock, LockKind, LockType};
use dfs_core::op::{Make, Op, Unlink};
use dfs_core::types::{Credentials, FileKind, LeaseMode};
use dfs_core::view::View;
use dfs_proto::convert::lock::LockAction;
use dfs_proto::v1::reply::Outcome;
use dfs_proto::v1::server_message::Message;
use dfs_proto::v1::{self, ServerMessage};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

const PATIENCE: Duration = Duration::from_secs(10);
const TERM: Duration = Duration::from_millis(700);

fn settings(dir: &Path) -> Settings {
    Settings {
        data_dir: dir.to_owned(),
        cluster: uuid::Uuid::from_u128(7),
        volume: "default".into(),
        replication: 3,
        min_replicas: 2,
        lease_term: TERM,
        session_timeout: Duration::from_secs(3),
        gc_delay: TERM,
        inventory_interval: Duration::from_secs(60),
        checkpoint_records: 1000,
    }
}

fn start(dir: &Path) -> Coordinator {
    let own = DataDir::open(dir, "coordinator", true).unwrap();
    Coordinator::start(own, settings(dir), true).unwrap()
}

/// Stops like a crash would, but waits for the end, so that the directory can be opened again.
async fn stop(coordinator: Coordinator) {
    coordinator.inbox.send_now(Event::Stop).unwrap();
    coordinator.ended.await.unwrap().unwrap();
}

static STREAMS: AtomicU64 = AtomicU64::new(1);

struct Client {
    inbox: Inbox,
    session: SessionId,
    stream: u64,
    messages: mpsc::Receiver<ServerMessage>,
    replies: VecDeque<v1::Reply>,
    recalls: VecDeque<v1::Recall>,
    next_op: u64,
}

impl Client {
    async fn new(handle: &Handle, session: u128) -> Client {
        let mut client = Client::connect(handle, session, false, Vec::new()).await;
        assert!(!client.welcome().await.resumed);
        client
    }

    async fn connect(
        handle: &Handle,
        session: u128,
        resume: bool,
        leases: Vec<(Ino, LeaseMode, bool)>,
    ) -> Client {
        let (sender, messages) = mpsc::channel(1024);
        let session = SessionId(session);
        let stream = STREAMS.fetch_add(1, Ordering::Relaxed);
        let greeting = Greeting {
            session,
            stream,
            client: "test".into(),
            resume,
            leases,
            locks: Vec::new(),
            messages: sender,
        };
        handle.inbox.send(Event::Hello(Box::new(greeting))).await.unwrap();
        Client {
            inbox: handle.inbox.clone(),
            session,
            stream,
            messages,
            replies: VecDeque::new(),
            recalls: VecDeque::new(),
            next_op: 1,
        }
    }

    async fn message(&mut self) -> Option<Message> {
        let message = tokio::time::timeout(PATIENCE, self.messages.recv())
            .await
            .expect("a message in time");
        message.map(|message| message.message.unwrap())
    }

    async fn welcome(&mut self) -> v1::Welcome {
        match self.message().await {
            Some(Message::Welcome(welcome)) => welcome,
            other => panic!("no welcome but {other:?}"),
        }
    }

    async fn take_in(&mut self) {
        match self.message().await.expect("the stream goes on") {
            Message::Replies(replies) => self.replies.extend(replies.replies),
            Message::Recall(recall) => self.recalls.push_back(recall),
            Message::Heartbeat(_) | Message::Map(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }

    async fn send(&mut self, op_id: u64, acked_below: u64, body: Body) {
        let calls = vec![Call {
            op_id,
            acked_below,
            body,
        }];
        let event = Event::Calls {
            session: self.session,
            stream: self.stream,
            calls,
        };
        self.inbox.send(event).await.unwrap();
    }

    async fn begin(&mut self, op: Op) -> u64 {
        let op_id = self.next_op;
        self.next_op += 1;
        self.send(op_id, 0, Body::Op(op)).await;
        op_id
    }

    async fn reply(&mut self) -> v1::Reply {
        while self.replies.is_empty() {
            self.take_in().await;
        }
        self.replies.pop_front().unwrap()
    }

    async fn recalled(&mut self) -> v1::Recall {
        while self.recalls.is_empty() {
            self.take_in().await;
        }
        self.recalls.pop_front().unwrap()
    }

    async fn call(&mut self, op: Op) -> v1::Reply {
        let op_id = self.begin(op).await;
        let reply = self.reply().await;
        assert_eq!(reply.op_id, op_id);
        reply
    }

    async fn make(&mut self, name: &str) -> (Ino, v1::Reply) {
        let reply = self.call(make(name)).await;
        (entry(&reply), reply)
    }

    async fn ack(&mut self, ino: u64, mode: LeaseMode, number: u64) {
        let (session, stream) = (self.session, self.stream);
        let event = Event::LeaseAck {
            session,
            stream,
            ino: Ino(ino),
            mode,
            open: false,
            number,
        };
        self.inbox.send(event).await.unwrap();
    }

    async fn heartbeat(&mut self) {
        let (session, stream) = (self.session, self.stream);
        self.inbox
            .send(Event::Heartbeat { session, stream })
            .await
            .unwrap();
    }

    /// Nothing but heartbeats and maps comes for a while.
    async fn quiet(&mut self) {
        let until = Instant::now() + Duration::from_millis(300);
        while let Ok(message) = tokio::time::timeout_at(until.into(), self.messages.recv()).await {
            let message = message.expect("the stream goes on").message;
            assert!(
                matches!(message, Some(Message::Heartbeat(_) | Message::Map(_))),
                "unexpected {message:?}"
            );
        }
    }
}

fn make(name: &str) -> Op {
    Op::Make(Make {
        parent: Ino::ROOT,
        name: name.into(),
        kind: FileKind::File,
        mode: 0o644,
        umask: 0,
        rdev: 0,
        target: Vec::new(),
        exclusive: true,
        who: Credentials::default(),
    })
}

fn unlink(name: &str) -> Op {
    Op::Unlink(Unlink {
        parent: Ino::ROOT,
        name: name.into(),
        expect: None,
    })
}

fn lookup(name: &str) -> Op {
    Op::Lookup {
        parent: Ino::ROOT,
        name: name.into(),
    }
}

fn entry(reply: &v1::Reply) -> Ino {
    match &reply.outcome {
        Some(Outcome::Result(v1::Result {
            result: Some(v1::result::Result::Entry(entry)),
        })) => Ino(entry.attr.as_ref().unwrap().ino),
        other => panic!("no entry but {other:?}"),
    }
}

fn error(reply: &v1::Reply) -> Option<FsError> {
    match reply.outcome {
        Some(Outcome::Error(code)) => FsError::from_code(code as u8),
        _ => None,
    }
}

fn granted(reply: &v1::Reply, ino: Ino) -> LeaseMode {
    let grant = reply.grants.iter().find(|grant| grant.ino == ino.0);
    grant.map_or(LeaseMode::None, |grant| match grant.mode() {
        v1::LeaseMode::None => LeaseMode::None,
        v1::LeaseMode::Shared => LeaseMode::Shared,
        v1::LeaseMode::Exclusive => LeaseMode::Exclusive,
    })
}

fn rows(view: &dyn View) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    view.scan(&[0], &[255], &mut |key, value| {
        rows.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })
    .unwrap();
    rows
}

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
    let mut recalls = vec![two.recalled().await, two.recalled().await];
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
    // Its late commit is refused, and what it claims on return is recalled.
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
    assert_eq!((recall.ino, recall.keep()), (ino.0, v1::LeaseMode::None));
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
    super::super::recovery::condemn(dir.path(), "a test says so").unwrap();
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
    assert_eq!(error(&two.call(Op::GetAttr { ino }).await), None);
    let until = Instant::now() + PATIENCE;
    while error(&two.call(Op::GetAttr { ino }).await).is_none() {
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
    let beat = super::Beat {
        uuid: [node; 16],
        address: format!("127.0.0.1:{node}"),
        zone: format!("zone-{node}"),
        capacity: 1 << 30,
        used: 0,
        free: 1 << 30,
        chunks: 0,
        problem: String::new(),
    };
    let (answer, answered) = oneshot::channel();
    handle.inbox.send(Event::Beat(beat, answer)).await.unwrap();
    answered.await.unwrap().unwrap()
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
