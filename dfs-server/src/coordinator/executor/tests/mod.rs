//! The executor with fake clients on in-process streams: the clients are here, the tests in the files beside.

mod changes;
mod leases;
mod locks;
mod nodes;
mod restart;
mod ship;
mod silence;

use crate::coordinator::authority::{Reign, Standing};
use crate::coordinator::executor::event::{Body, Call, Event, Greeting};
use crate::coordinator::host::{Handle, Led};
use crate::coordinator::log::FileLog;
use crate::coordinator::settings::Healing;
use crate::coordinator::{Settings, inbox::Inbox, recovery};
use dfs_core::error::FsError;
use dfs_core::ids::{Ino, SessionId, VolumeId};
use dfs_core::lock::{Lock, LockKind, LockType};
use dfs_core::op::{Make, Op, Unlink};
use dfs_core::types::{Credentials, FileKind, LeaseMode};
use dfs_core::view::View;
use dfs_proto::convert::lock::LockAction;
use dfs_proto::v1::reply::Outcome;
use dfs_proto::v1::server_message::Message;
use dfs_proto::v1::{self, ServerMessage};
use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

const PATIENCE: Duration = Duration::from_secs(10);
const TERM: Duration = Duration::from_millis(700);

fn settings(dir: &Path) -> Settings {
    Settings {
        data_dir: dir.to_owned(),
        cluster: uuid::Uuid::from_u128(7),
        volume: "default".into(),
        number: VolumeId(0),
        replication: 3,
        min_replicas: 2,
        lease_term: TERM,
        session_timeout: Duration::from_secs(3),
        gc_delay: TERM,
        inventory_interval: Duration::from_secs(60),
        clean_interval: Duration::from_secs(600),
        checkpoint_records: 1000,
        max_leases: 1 << 21,
        observer: Default::default(),
        healing: Healing {
            suspect_after: Duration::from_secs(3),
            dead_after: Duration::from_secs(600),
        },
    }
}

struct Coordinator(Led);

impl Coordinator {
    fn handle(&self) -> Handle {
        self.0.handle.clone()
    }
}

fn start(dir: &Path) -> Coordinator {
    start_with(settings(dir))
}

fn start_with(settings: Settings) -> Coordinator {
    start_on_disk(settings, Arc::default())
}

/// With a flag that says that its disk is full.
fn start_on_disk(settings: Settings, full: Arc<AtomicBool>) -> Coordinator {
    let dir = settings.data_dir.clone();
    let reign = Reign {
        log: Box::new(FileLog::open(&dir.join("log")).unwrap()),
        standing: Standing::unlimited(),
    };
    let store = recovery::open_state(&dir).unwrap();
    Coordinator(Led::start(settings, store, reign, true, full).unwrap())
}

/// Stops like a crash would, but waits for the end, so that the directory can be opened again.
async fn stop(coordinator: Coordinator) {
    coordinator.0.handle.inbox.send_now(Event::Stop).unwrap();
    coordinator.0.ended.await.unwrap().unwrap();
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

    /// One that changes names by itself where it may.
    async fn new_writer(handle: &Handle, session: u128) -> Client {
        let mut client = Client::greet(handle, session, false, true, Vec::new()).await;
        client.welcome().await;
        client
    }

    async fn connect(
        handle: &Handle,
        session: u128,
        resume: bool,
        leases: Vec<(Ino, LeaseMode, bool)>,
    ) -> Client {
        Client::greet(handle, session, resume, false, leases).await
    }

    async fn greet(
        handle: &Handle,
        session: u128,
        resume: bool,
        writes_back: bool,
        leases: Vec<(Ino, LeaseMode, bool)>,
    ) -> Client {
        let (sender, messages) = mpsc::channel(1024);
        let session = SessionId(session);
        let stream = STREAMS.fetch_add(1, Ordering::Relaxed);
        let greeting = Greeting {
            session,
            stream,
            client: "test".into(),
            writes_back,
            resume,
            ordinal: 0,
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
            timed: None,
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

    /// Sends operations together, with numbers from `first` on: the replies.
    async fn send_all(&mut self, first: u64, acked_below: u64, ops: Vec<Op>) -> Vec<v1::Reply> {
        let count = ops.len();
        let call = |(op_id, op): (u64, Op)| Call {
            op_id,
            acked_below,
            timed: None,
            body: Body::Op(op),
        };
        let event = Event::Calls {
            session: self.session,
            stream: self.stream,
            calls: (first..).zip(ops).map(call).collect(),
        };
        self.inbox.send(event).await.unwrap();
        let mut replies = Vec::new();
        for _ in 0..count {
            replies.push(self.reply().await);
        }
        replies
    }

    async fn ack(&mut self, ino: u64, mode: LeaseMode, number: u64) {
        self.acknowledge(ino, mode, number, false).await;
    }

    /// The inode is held open.
    async fn ack_open(&mut self, ino: u64, mode: LeaseMode, number: u64) {
        self.acknowledge(ino, mode, number, true).await;
    }

    async fn acknowledge(&mut self, ino: u64, mode: LeaseMode, number: u64, open: bool) {
        let (session, stream) = (self.session, self.stream);
        let event = Event::LeaseAck {
            session,
            stream,
            ino: Ino(ino),
            mode,
            open,
            number,
        };
        self.inbox.send(event).await.unwrap();
    }

    /// Its session ends.
    async fn leave(self) {
        let (session, stream) = (self.session, self.stream);
        let event = Event::Goodbye { session, stream };
        self.inbox.send(event).await.unwrap();
    }

    async fn heartbeat(&mut self) {
        let (session, stream) = (self.session, self.stream);
        let event = Event::Heartbeat {
            session,
            stream,
            number: 1,
            moved: Default::default(),
        };
        self.inbox.send(event).await.unwrap();
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
