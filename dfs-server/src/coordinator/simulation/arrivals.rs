//! What a client's stream brings to a coordinator, converted as the real service converts it.

use super::world::{Party, World};
use crate::coordinator::executor::{Body, Call, Event, Greeting};
use dfs_core::ids::SessionId;
use dfs_proto::convert;
use dfs_proto::convert::error::WireError;
use dfs_proto::v1::client_message::Message as Up;
use dfs_proto::v1::{self, ClientMessage};
use tokio::sync::mpsc;

const STREAM_MESSAGES: usize = 4096;

impl World {
    pub fn coordinator_received(&mut self, own: usize, number: u64, message: ClientMessage) {
        let Some(message) = message.message else {
            return;
        };
        if self.reign(own).is_none() {
            // It is not the leader: the client tries the next one.
            self.break_stream(number, false);
            return;
        }
        match self.understood(own, number, message) {
            Ok(Some(event)) => {
                if let Some(reign) = self.reign(own) {
                    reign.events.push(event);
                }
                self.wake_coordinator(own);
            }
            Ok(None) => {}
            Err(error) => self.fail(format!("Model: a client's message does not convert: {error}")),
        }
    }

    fn understood(&mut self, own: usize, number: u64, message: Up) -> Result<Option<Event>, WireError> {
        let client = self.streams.get(number).map_or(0, |stream| stream.client);
        let session = SessionId(self.clients[client].stream_session(number));
        Ok(Some(match message {
            Up::Hello(hello) => {
                let (messages, received) = mpsc::channel(STREAM_MESSAGES);
                self.attach(own, number, received);
                let leases = hello.leases.into_iter().map(convert::held_lease);
                let locks = hello.locks.into_iter().map(TryInto::try_into);
                Event::Hello(Box::new(Greeting {
                    writes_back: hello.writes_back,
                    session: convert::session_id(&hello.session)?,
                    stream: number,
                    client: hello.client,
                    resume: hello.resume,
                    ordinal: hello.stream,
                    leases: leases.collect::<Result<_, _>>()?,
                    locks: locks.collect::<Result<_, _>>()?,
                    messages,
                }))
            }
            Up::Calls(calls) => Event::Calls {
                session,
                stream: number,
                calls: calls.calls.into_iter().map(call).collect::<Result<_, _>>()?,
            },
            Up::LeaseAck(ack) => {
                let (ino, mode, open, recall) = convert::lease_ack(ack)?;
                Event::LeaseAck {
                    session,
                    stream: number,
                    ino,
                    mode,
                    open,
                    number: recall,
                }
            }
            Up::CancelLock(cancel) => Event::CancelLock {
                session,
                stream: number,
                op_id: cancel.op_id,
            },
            Up::Goodbye(_) => Event::Goodbye {
                session,
                stream: number,
            },
            Up::BadCopy(bad) => {
                let chunk = convert::ids::stored_chunk(bad.chunk, "BadCopy.chunk")?;
                let node = convert::ids::node_id(bad.node, "BadCopy.node")?;
                if let Some(reign) = self.reign(own) {
                    reign.workers.reports.insert((chunk, node));
                }
                return Ok(None);
            }
            Up::Heartbeat(beat) => Event::Heartbeat {
                session,
                stream: number,
                number: beat.number,
                moved: Default::default(),
            },
        }))
    }

    pub fn coordinator_lost_stream(&mut self, own: usize, number: u64) {
        let session = self
            .clients
            .iter()
            .map(|client| client.stream_session(number))
            .find(|id| *id != 0);
        let Some(session) = session.map(SessionId) else {
            return;
        };
        if let Some(reign) = self.reign(own) {
            reign.events.push(Event::Closed {
                session,
                stream: number,
            });
            self.wake_coordinator(own);
        }
    }

    /// The process is gone: every stream of it with it.
    pub fn break_streams_of(&mut self, party: Party) {
        for number in self.streams.of(party) {
            let late = self.random.chance(500);
            self.break_stream(number, late);
        }
    }
}

fn call(call: v1::Call) -> Result<Call, WireError> {
    let absent = WireError::Absent { field: "Call.body" };
    let body = match call.body.ok_or(absent)? {
        v1::call::Body::Op(op) => Body::Op(op.try_into()?),
        v1::call::Body::Lock(request) => {
            let (lock, action) = convert::lock_request(request)?;
            Body::Lock(lock, action)
        }
    };
    Ok(Call {
        op_id: call.op_id,
        acked_below: call.acked_below,
        timed: None,
        body,
    })
}
