//! A session of the load generator: its stream to the coordinator, the calls on their way, the leases that it was
//! given and gives back. It answers recalls and beats like a mount, and caches nothing.

use super::super::Failure;
use crate::channel::MESSAGE_MAX;
use dfs_proto::v1::client_message::Message;
use dfs_proto::v1::metadata_client::MetadataClient;
use dfs_proto::v1::{self, ClientMessage, server_message};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

const PROTOCOL: u32 = 1;
/// Messages that the connection has not taken yet: batches in flight, acknowledgements and beats.
const MESSAGES: usize = 1024;
/// Heartbeats per lease term, as a mount sends them.
const BEATS_PER_TERM: u32 = 4;

/// What one wait brought.
pub(super) enum Arrived {
    Replies(Vec<v1::Reply>),
    /// Something that is no reply, and was dealt with.
    Other,
}

pub(super) struct Link {
    out: mpsc::Sender<ClientMessage>,
    incoming: Streaming<v1::ServerMessage>,
    beat: tokio::time::Interval,
    beats: u64,
    next_op: u64,
    /// For the calls from `acked_below` on, whether they were answered.
    answered: VecDeque<bool>,
    acked_below: u64,
    /// Inodes with leases, the oldest first, and how many are kept.
    held: VecDeque<u64>,
    keep: usize,
}

fn broken(reason: impl std::fmt::Display) -> Failure {
    Failure::Usage(format!("the stream to the coordinator broke: {reason}"))
}

impl Link {
    /// Begins a session named `client`, which keeps leases on at most `keep` inodes.
    pub async fn open(channel: Channel, volume: &str, client: &str, keep: usize) -> Result<Link, Failure> {
        let (out, queue) = mpsc::channel(MESSAGES);
        let hello = v1::Hello {
            session: uuid::Uuid::new_v4().as_bytes().to_vec(),
            volume: volume.to_owned(),
            client: client.to_owned(),
            protocol: PROTOCOL,
            stream: 1,
            ..v1::Hello::default()
        };
        let hello = ClientMessage {
            message: Some(Message::Hello(hello)),
        };
        out.send(hello).await.map_err(broken)?;
        let mut metadata = MetadataClient::new(channel)
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX);
        let mut incoming = metadata.session(ReceiverStream::new(queue)).await?.into_inner();
        let first = incoming.message().await?.and_then(|first| first.message);
        let term = match first {
            Some(server_message::Message::Welcome(welcome)) => welcome.lease_term_ms,
            Some(server_message::Message::Refused(refused)) => return Err(Failure::Usage(refused.message)),
            _ => return Err(broken("it was not welcomed")),
        };
        let term = Duration::from_millis(u64::from(term).max(100));
        let mut beat = tokio::time::interval(term / BEATS_PER_TERM);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Ok(Link {
            out,
            incoming,
            beat,
            beats: 0,
            next_op: 1,
            answered: VecDeque::new(),
            acked_below: 1,
            held: VecDeque::new(),
            keep,
        })
    }

    async fn tell(&self, message: Message) -> Result<(), Failure> {
        let message = ClientMessage {
            message: Some(message),
        };
        self.out.send(message).await.map_err(broken)
    }

    /// Sends the operations in one message: the number of the last one.
    pub async fn send(&mut self, ops: Vec<v1::op::Op>) -> Result<u64, Failure> {
        let acked_below = self.acked_below;
        let mut calls = Vec::with_capacity(ops.len());
        for op in ops {
            calls.push(v1::Call {
                op_id: self.next_op,
                acked_below,
                timed: false,
                body: Some(v1::call::Body::Op(v1::Op { op: Some(op) })),
            });
            self.next_op += 1;
            self.answered.push_back(false);
        }
        self.tell(Message::Calls(v1::Calls { calls })).await?;
        Ok(self.next_op - 1)
    }

    /// Whether every call below this number was answered.
    pub fn has_all_below(&self, number: u64) -> bool {
        self.acked_below >= number
    }

    /// Waits for the next message, beating meanwhile.
    pub async fn receive(&mut self) -> Result<Arrived, Failure> {
        let message = loop {
            tokio::select! {
                biased;
                message = self.incoming.message() => break message?,
                _ = self.beat.tick() => {
                    self.beats += 1;
                    let number = self.beats;
                    self.tell(Message::Heartbeat(v1::Heartbeat { number, ..Default::default() })).await?;
                }
            }
        };
        match message.and_then(|message| message.message) {
            Some(server_message::Message::Replies(replies)) => {
                for reply in &replies.replies {
                    self.note(reply);
                }
                self.give_back().await?;
                Ok(Arrived::Replies(replies.replies))
            }
            Some(server_message::Message::Recall(recall)) => {
                if recall.number != 0 {
                    self.acknowledge(recall.ino, recall.number).await?;
                }
                Ok(Arrived::Other)
            }
            Some(server_message::Message::Refused(refused)) => Err(broken(refused.message)),
            Some(_) => Ok(Arrived::Other),
            None => Err(broken("the coordinator closed it")),
        }
    }

    /// Sends the operations and waits for all replies, in the operations' order.
    pub async fn ask(&mut self, ops: Vec<v1::op::Op>) -> Result<Vec<v1::Reply>, Failure> {
        let count = ops.len();
        self.send(ops).await?;
        let mut replies = Vec::with_capacity(count);
        while replies.len() < count {
            if let Arrived::Replies(more) = self.receive().await? {
                replies.extend(more);
            }
        }
        replies.sort_by_key(|reply| reply.op_id);
        Ok(replies)
    }

    /// Ends the session in order; what it held is free at once.
    pub async fn close(mut self) -> Result<(), Failure> {
        self.tell(Message::Goodbye(v1::Goodbye {})).await?;
        drop(self.out);
        // The stream's end is what tells that the coordinator has heard it.
        while let Ok(Some(_)) = self.incoming.message().await {}
        Ok(())
    }

    fn note(&mut self, reply: &v1::Reply) {
        let place = reply.op_id.checked_sub(self.acked_below);
        if let Some(answered) = place.and_then(|place| self.answered.get_mut(place as usize)) {
            *answered = true;
        }
        while self.answered.front() == Some(&true) {
            self.answered.pop_front();
            self.acked_below += 1;
        }
        self.held.extend(reply.grants.iter().map(|grant| grant.ino));
    }

    /// Gives back the oldest leases beyond what is kept, as a mount does whose kernel forgets inodes.
    async fn give_back(&mut self) -> Result<(), Failure> {
        while self.held.len() > self.keep {
            if let Some(ino) = self.held.pop_front() {
                self.acknowledge(ino, 0).await?;
            }
        }
        Ok(())
    }

    async fn acknowledge(&self, ino: u64, number: u64) -> Result<(), Failure> {
        let ack = v1::LeaseAck {
            ino,
            mode: v1::LeaseMode::None.into(),
            open: false,
            number,
        };
        self.tell(Message::LeaseAck(ack)).await
    }
}
