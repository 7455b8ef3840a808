//! The metadata service in memory: executes with the core's functions, grants and recalls leases, answers a
//! repeated call as before.

use dfs_core::ids::{Ino, SessionId, SetId};
use dfs_core::lease::LeaseTable;
use dfs_core::op::{Op, Reply};
use dfs_core::types::{Attr, LeaseMode, Timestamp, VolumeUsage};
use dfs_core::view::{Context, Execution, MemoryView, View};
use dfs_core::{keys, namespace, rows::InodeRow, volume};
use dfs_proto::{convert, v1};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use v1::client_message::Message as From;
use v1::metadata_server::{Metadata, MetadataServer};
use v1::server_message::Message as To;

type Sender = mpsc::UnboundedSender<Result<v1::ServerMessage, Status>>;

#[derive(Default)]
struct Volume {
    view: MemoryView,
    leases: LeaseTable,
    next_ino: u64,
    streams: HashMap<SessionId, Sender>,
    known: BTreeSet<SessionId>,
    answered: HashMap<(SessionId, u64), v1::Reply>,
    recalls: HashMap<(SessionId, Ino), (u64, LeaseMode)>,
    parked: Vec<(SessionId, u64, Op)>,
    numbers: u64,
    calls: u64,
    full: bool,
}

#[derive(Clone)]
pub struct Coordinator {
    volume: Arc<Mutex<Volume>>,
    nodes: Vec<v1::Node>,
}

impl Coordinator {
    pub fn new(nodes: Vec<v1::Node>) -> Coordinator {
        let mut volume = Volume {
            next_ino: Ino::FIRST.0,
            ..Volume::default()
        };
        volume.view.apply(&volume::initial_rows(now()));
        Coordinator {
            volume: Arc::new(Mutex::new(volume)),
            nodes,
        }
    }

    pub fn service(&self) -> MetadataServer<Coordinator> {
        MetadataServer::new(self.clone())
    }

    /// Calls executed so far.
    pub fn calls(&self) -> u64 {
        self.volume.lock().unwrap().calls
    }

    /// Whether the inode exists, with or without a name.
    pub fn knows(&self, ino: Ino) -> bool {
        let volume = self.volume.lock().unwrap();
        volume.view.get(&keys::inode(ino)).unwrap().is_some()
    }

    /// Ends every stream; sessions live on.
    pub fn hang_up(&self) {
        self.volume.lock().unwrap().streams.clear();
    }

    /// Ends every stream and every session.
    pub fn end_sessions(&self) {
        let mut volume = self.volume.lock().unwrap();
        volume.streams.clear();
        for session in std::mem::take(&mut volume.known) {
            volume.leases.drop_session(session);
        }
        volume.recalls.clear();
        volume.parked.clear();
    }

    /// Whether commits and allocations find no space.
    pub fn set_full(&self, full: bool) {
        self.volume.lock().unwrap().full = full;
    }

    fn hello(&self, hello: &v1::Hello, stream: &Sender) -> Option<SessionId> {
        let session = convert::session_id(&hello.session).unwrap();
        let mut volume = self.volume.lock().unwrap();
        let known = !volume.known.insert(session);
        if hello.resume && !known {
            volume.known.remove(&session);
            let refused = v1::Refused {
                reason: v1::refused::Reason::SessionEnded.into(),
                message: "ended".to_string(),
                leader: String::new(),
            };
            let _ = stream.send(Ok(v1::ServerMessage {
                message: Some(To::Refused(refused)),
            }));
            return None;
        }
        if known {
            volume.leases.drop_session(session);
            volume.recalls.retain(|(whose, _), _| *whose != session);
            for lease in &hello.leases {
                let (ino, mode, open) = convert::held_lease(*lease).unwrap();
                volume.leases.set(session, ino, mode, open);
            }
        }
        let members = self.nodes.iter().map(|node| node.id).collect();
        let map = v1::ClusterMap {
            version: 1,
            nodes: self.nodes.clone(),
            sets: vec![v1::ReplicaSet {
                id: 1,
                epoch: 1,
                members,
                ..v1::ReplicaSet::default()
            }],
            min_replicas: 2,
            trash: false,
        };
        let welcome = v1::Welcome {
            cluster: vec![7; 16],
            term: 1,
            lease_term_ms: 10_000,
            session_timeout_ms: 300_000,
            map: Some(map),
            resumed: known,
        };
        let _ = stream.send(Ok(v1::ServerMessage {
            message: Some(To::Welcome(welcome)),
        }));
        volume.streams.insert(session, stream.clone());
        volume.beat(session, 0);
        Some(session)
    }

    fn receive(&self, session: SessionId, message: From) {
        let mut volume = self.volume.lock().unwrap();
        match message {
            From::Calls(calls) => {
                for call in calls.calls {
                    let Some(v1::call::Body::Op(op)) = call.body else {
                        continue;
                    };
                    let op = Op::try_from(op).unwrap();
                    if let Some(reply) = volume.answered.get(&(session, call.op_id)).cloned() {
                        volume.reply(session, reply);
                    } else if !volume
                        .parked
                        .iter()
                        .any(|(whose, id, _)| (*whose, *id) == (session, call.op_id))
                    {
                        volume.attempt(session, call.op_id, op);
                    }
                }
            }
            From::LeaseAck(ack) => {
                let (ino, mode, open, number) = convert::lease_ack(ack).unwrap();
                volume.acknowledged(session, ino, mode, open, number);
            }
            From::Heartbeat(beat) => {
                volume.beat(session, beat.number);
            }
            From::Goodbye(_) => {
                volume.streams.remove(&session);
                volume.known.remove(&session);
                volume.leases.drop_session(session);
                volume.recalls.retain(|(whose, _), _| *whose != session);
                // Else what it still waited for would bring it leases that nobody gives back.
                volume.parked.retain(|(whose, _, _)| *whose != session);
                volume.retry();
            }
            _ => {}
        }
    }
}

impl Volume {
    fn retry(&mut self) {
        for (session, number, op) in std::mem::take(&mut self.parked) {
            self.attempt(session, number, op);
        }
    }

    fn send(&mut self, session: SessionId, message: To) {
        if let Some(stream) = self.streams.get(&session) {
            let _ = stream.send(Ok(v1::ServerMessage {
                message: Some(message),
            }));
        }
    }

    fn beat(&mut self, session: SessionId, number: u64) {
        let beat = v1::Heartbeat {
            number,
            time: Some(now().into()),
            ..v1::Heartbeat::default()
        };
        self.send(session, To::Heartbeat(beat));
    }

    fn reply(&mut self, session: SessionId, reply: v1::Reply) {
        self.send(session, To::Replies(v1::Replies { replies: vec![reply] }));
    }

    fn attempt(&mut self, session: SessionId, number: u64, op: Op) {
        let usage = VolumeUsage {
            total_bytes: 1 << 40,
            used_bytes: 0,
            available_bytes: 1 << 40,
            inodes: 1,
        };
        let context = Context {
            now: now(),
            session,
            fresh_ino: Ino(self.next_ino),
            set: (!self.full).then_some(SetId(1)),
            usage,
            opens: &self.leases,
            counts: true,
        };
        let mut execution = namespace::execute(&self.view, &context, &op).unwrap();
        if let Op::Acquire {
            ino,
            mode: LeaseMode::Exclusive,
        } = op
        {
            execution.writes.insert(ino);
        }
        if let Op::Commit(commit) = &op {
            for file in &commit.files {
                let gone = !self.view.rows.contains_key(&keys::inode(file.ino));
                assert!(
                    gone || self.leases.mode(session, file.ino) == LeaseMode::Exclusive,
                    "commit without lease"
                );
            }
        }
        let conflicts = self
            .leases
            .conflicts(session, &execution.reads, &execution.writes);
        if conflicts.is_empty() {
            return self.finish(session, number, &op, execution);
        }
        for conflict in conflicts {
            self.recall(conflict.session, conflict.ino, conflict.keep);
        }
        self.parked.push((session, number, op));
    }

    fn recall(&mut self, session: SessionId, ino: Ino, keep: LeaseMode) {
        if self
            .recalls
            .get(&(session, ino))
            .is_some_and(|(_, kept)| *kept <= keep)
        {
            return;
        }
        self.numbers += 1;
        let number = self.numbers;
        self.recalls.insert((session, ino), (number, keep));
        let keep = v1::LeaseMode::from(keep).into();
        self.send(
            session,
            To::Recall(v1::Recall {
                ino: ino.0,
                keep,
                number,
                taken: false,
            }),
        );
    }

    fn acknowledged(&mut self, session: SessionId, ino: Ino, mode: LeaseMode, open: bool, number: u64) {
        let held = self.leases.mode(session, ino);
        match self.recalls.get(&(session, ino)) {
            Some((asked, keep)) if *asked == number => {
                let mode = mode.min(*keep).min(held);
                self.recalls.remove(&(session, ino));
                self.leases.set(session, ino, mode, open);
                self.retry();
            }
            _ => {
                self.leases.set(session, ino, held, open);
                if number == 0 && mode < held {
                    self.recall(session, ino, mode);
                }
            }
        }
    }

    fn finish(&mut self, session: SessionId, number: u64, op: &Op, execution: Execution) {
        self.calls += 1;
        self.view.apply(&execution.effects);
        if execution
            .effects
            .rows
            .contains_key(&keys::inode(Ino(self.next_ino)))
        {
            self.next_ino += 1;
        }
        if let Ok(Reply::InoRange { first, count }) = execution.result {
            self.next_ino = first.0 + u64::from(count);
        }
        let mut reply = v1::Reply {
            op_id: number,
            ..v1::Reply::default()
        };
        if let Ok(answer) = &execution.result {
            self.grant(session, op, answer, &execution, &mut reply);
            for (key, value) in &execution.effects.rows {
                if let (Some(keys::Key::Inode(ino)), Some(value)) = (keys::parse(key), value)
                    && self.leases.mode(session, ino) > LeaseMode::None
                    && is_news(op, ino)
                {
                    let attr: Attr = InodeRow::decode(key, value).unwrap().attr(ino);
                    reply.touched.push(attr.into());
                }
            }
        }
        reply.outcome = convert::outcome_to_wire(execution.result);
        if op.is_change() {
            self.answered.insert(
                (session, number),
                v1::Reply {
                    grants: vec![],
                    touched: vec![],
                    repeated: true,
                    ..reply.clone()
                },
            );
        }
        self.reply(session, reply);
    }

    fn grant(
        &mut self,
        session: SessionId,
        op: &Op,
        answer: &Reply,
        execution: &Execution,
        reply: &mut v1::Reply,
    ) {
        let made = match answer {
            Reply::Entry { attr, created: true } => Some(attr.ino),
            _ => None,
        };
        let inos: BTreeSet<Ino> = execution
            .reads
            .union(&execution.writes)
            .copied()
            .chain(made)
            .collect();
        for ino in inos {
            if !self.view.rows.contains_key(&keys::inode(ino)) {
                self.leases.set(session, ino, LeaseMode::None, false);
                continue;
            }
            let wanted = match op {
                Op::Acquire { mode, .. } => *mode,
                Op::Ship(shipment) if shipment.steps.iter().any(|step| step.ino == ino) => {
                    LeaseMode::Exclusive
                }
                _ if made == Some(ino) => LeaseMode::Exclusive,
                _ => LeaseMode::Shared,
            };
            let before = self.leases.mode(session, ino);
            let waited_for = !self.parked.is_empty();
            if wanted > before && !self.recalls.contains_key(&(session, ino)) && !waited_for {
                let mode = v1::LeaseMode::from(self.leases.grant(session, ino, wanted)).into();
                reply.grants.push(v1::Grant { ino: ino.0, mode });
            }
        }
    }
}

#[tonic::async_trait]
impl Metadata for Coordinator {
    type SessionStream = UnboundedReceiverStream<Result<v1::ServerMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::ClientMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut messages = request.into_inner();
        let (sender, receiver) = mpsc::unbounded_channel();
        let coordinator = self.clone();
        tokio::spawn(async move {
            let first = messages.next().await;
            let Some(Ok(v1::ClientMessage {
                message: Some(From::Hello(hello)),
            })) = first
            else {
                return;
            };
            let Some(session) = coordinator.hello(&hello, &sender) else {
                return;
            };
            let stream = sender.downgrade();
            drop(sender);
            while let Some(Ok(message)) = messages.next().await {
                // A stream that was hung up is not heard any more.
                if stream.upgrade().is_none() {
                    return;
                }
                if let Some(message) = message.message {
                    coordinator.receive(session, message);
                }
            }
        });
        Ok(Response::new(UnboundedReceiverStream::new(receiver)))
    }
}

/// Of what a session did by itself it hears about content only.
fn is_news(op: &Op, ino: Ino) -> bool {
    let Op::Ship(shipment) = op else { return true };
    let mut filled = shipment.commit.iter().flat_map(|commit| &commit.files);
    filled.any(|file| file.ino == ino)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Timestamp {
        secs: since.as_secs() as i64,
        nanos: since.subsec_nanos(),
    }
}
