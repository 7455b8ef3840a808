//! Messages to the clients: each session's leave in order, when what they tell is durable, many replies together.
//! The executor never waits for a client: one that does not take its messages loses its stream.

use super::figures::Taken;
use super::rules::Rule;
use super::session::{Outgoing, Session};
use super::{Executor, Fault};
use crate::coordinator::limits::REPLIES_PER_MESSAGE;
use dfs_core::ids::{Index, SessionId};
use dfs_proto::v1::{self, refused::Reason, server_message::Message};
use std::time::Instant;

/// Replies are put into one message up to about this many bytes.
const MESSAGE_BYTES: usize = 512 << 10;

impl Executor {
    /// Queues something for a session; without a stream it is dropped: what is lost is asked for again.
    pub(super) fn send(&mut self, session: SessionId, index: Index, outgoing: Outgoing) {
        // It holds back a deposed leader, too: whether the standing does is seen only without it.
        let floor = match self.breaks(Rule::Standing) {
            true => Index(0),
            false => self.floor,
        };
        let Some(own) = self.sessions.get_mut(&session) else {
            return;
        };
        if own.stream.is_some() {
            own.outbox.push_back((index.max(floor), outgoing));
            self.unsent.insert(session);
        }
    }

    /// Sends what may leave: nothing once another coordinator may lead.
    pub(super) fn deliver(&mut self) {
        let (mut durable, now) = (self.durable, self.now.monotonic);
        if self.breaks(Rule::DurableReply) {
            durable = self.batch.index;
        }
        if !self.standing.holds(now) && !self.breaks(Rule::Standing) {
            return;
        }
        let (sessions, figures) = (&mut self.sessions, &mut self.figures);
        self.unsent.retain(|id| {
            let Some(session) = sessions.get_mut(id) else {
                return false;
            };
            let mut note = |op_id, taken| figures.answered(*id, op_id, taken, now);
            if !send_ready(session, durable, now, &mut note) {
                tracing::warn!(session = %id, "the client takes no messages; its stream is closed");
                session.stream = None;
                session.outbox.clear();
            }
            !session.outbox.is_empty()
        });
    }

    /// Ends a session's stream with a reason. What was not sent is asked for again on the next one.
    pub(super) fn refuse(&mut self, session: SessionId, reason: Reason, message: &str) {
        if let Some(own) = self.sessions.get_mut(&session)
            && let Some(stream) = own.stream.take()
        {
            own.outbox.clear();
            refuse_stream(&stream.messages, reason, message);
        }
    }

    /// Ends all streams: after an orderly stop with what is ready.
    pub(super) fn refuse_all(&mut self, result: &Result<(), Fault>) {
        let (reason, message) = match result {
            Err(Fault::Deposed) => (Reason::NotLeader, "another coordinator leads the volume"),
            _ => (Reason::Shutdown, "the coordinator stops"),
        };
        if result.is_ok() {
            self.deliver();
        }
        let sessions: Vec<SessionId> = self.sessions.keys().copied().collect();
        for session in sessions {
            self.refuse(session, reason, message);
        }
    }
}

/// The last message of a stream. A client that does not take it sees the stream end.
pub fn refuse_stream(stream: &tokio::sync::mpsc::Sender<v1::ServerMessage>, reason: Reason, message: &str) {
    let refused = v1::Refused {
        reason: reason.into(),
        message: message.to_owned(),
        leader: String::new(),
    };
    let sent = stream.try_send(v1::ServerMessage {
        message: Some(Message::Refused(refused)),
    });
    if sent.is_err() {
        tracing::debug!(message, "a client was refused and did not listen");
    }
}

fn send_ready(
    session: &mut Session,
    durable: Index,
    now: Instant,
    note: &mut impl FnMut(u64, Taken),
) -> bool {
    let Some(stream) = &session.stream else {
        session.outbox.clear();
        return true;
    };
    let mut replies = Vec::new();
    let mut bytes = 0;
    let mut sent = true;
    while sent && session.outbox.front().is_some_and(|(index, _)| *index <= durable) {
        let Some((_, outgoing)) = session.outbox.pop_front() else {
            break;
        };
        match outgoing {
            Outgoing::Reply(mut reply, taken) => {
                if let Some(taken) = taken {
                    reply.timing = taken.timing(now);
                    note(reply.op_id, *taken);
                }
                bytes += prost_len(&reply);
                replies.push(reply);
                if replies.len() >= REPLIES_PER_MESSAGE || bytes >= MESSAGE_BYTES {
                    sent = flush(stream, &mut replies);
                    bytes = 0;
                }
            }
            Outgoing::Message(message) => {
                sent = flush(stream, &mut replies) && stream.messages.try_send(message).is_ok();
                bytes = 0;
            }
        }
    }
    sent = sent && flush(stream, &mut replies);
    session.told = now;
    sent
}

fn flush(stream: &super::session::Stream, replies: &mut Vec<v1::Reply>) -> bool {
    if replies.is_empty() {
        return true;
    }
    let replies = v1::Replies {
        replies: std::mem::take(replies),
    };
    stream
        .messages
        .try_send(v1::ServerMessage {
            message: Some(Message::Replies(replies)),
        })
        .is_ok()
}

/// About the reply's size: only pages, extents and values are large.
fn prost_len(reply: &v1::Reply) -> usize {
    use v1::result::Result as Wire;
    let Some(v1::reply::Outcome::Result(v1::Result { result: Some(result) })) = &reply.outcome else {
        return 64;
    };
    let body = match result {
        Wire::Page(page) => page.entries.len() * 200,
        Wire::Extents(extents) => extents.extents.len() * 32,
        Wire::Value(value) => value.len(),
        Wire::Names(names) => names.names.len() * 64,
        _ => 128,
    };
    body + 128 * reply.touched.len() + 12 * reply.grants.len()
}
