//! The session stream of a client: checks and converts what it sends, forwards it to the executor in order, and
//! passes on what the executor sends. One task for each stream.

use super::stopping;
use crate::coordinator::executor::{Body, Call, Event, Greeting, Moved};
use crate::coordinator::host::{Handle, Hosted, Route};
use crate::coordinator::limits::{RECLAIM, SESSION_CALLS, STREAM_MESSAGES};
use dfs_core::ids::SessionId;
use dfs_proto::convert::{held_lease, lease_ack, lock, session_id};
use dfs_proto::v1::client_message::Message;
use dfs_proto::v1::metadata_server::Metadata;
use dfs_proto::v1::refused::Reason;
use dfs_proto::v1::{self, ClientMessage, ServerMessage};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// The protocol's version that this coordinator speaks.
const PROTOCOL: u32 = 1;
/// Longest name that a client gives itself, bytes.
const CLIENT_NAME_MAX: usize = 256;
/// How long a new stream may take to say hello.
const HELLO_WAIT: Duration = Duration::from_secs(10);

static NEXT_STREAM: AtomicU64 = AtomicU64::new(1);

pub struct Service {
    hosted: Hosted,
}

impl Service {
    pub fn new(hosted: Hosted) -> Service {
        Service { hosted }
    }
}

#[tonic::async_trait]
impl Metadata for Service {
    type SessionStream = ReceiverStream<Result<ServerMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<ClientMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut incoming = request.into_inner();
        let (out, answers) = mpsc::channel(1);
        let (messages, queue) = mpsc::channel(STREAM_MESSAGES);
        tokio::spawn(pass_on(queue, out));
        let hosted = self.hosted.clone();
        tokio::spawn(async move {
            let hello = tokio::time::timeout(HELLO_WAIT, incoming.next()).await;
            let greeting = match hello {
                Ok(Some(Ok(ClientMessage {
                    message: Some(Message::Hello(hello)),
                }))) => greet(&hosted, hello, messages.clone()),
                _ => Err(refusal(
                    Reason::Protocol,
                    "the first message of a stream is Hello".to_owned(),
                )),
            };
            match greeting {
                Ok((handle, greeting)) => {
                    drop(messages);
                    serve(&handle, greeting, incoming).await;
                }
                Err(refused) => refuse(&messages, refused),
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

/// The executor's messages, onto the wire; ends when either side is gone.
async fn pass_on(mut queue: mpsc::Receiver<ServerMessage>, out: mpsc::Sender<Result<ServerMessage, Status>>) {
    while let Some(message) = queue.recv().await {
        if out.send(Ok(message)).await.is_err() {
            return;
        }
    }
}

fn refuse(messages: &mpsc::Sender<ServerMessage>, refused: v1::Refused) {
    tracing::info!(message = refused.message, "a stream was refused");
    let message = Some(v1::server_message::Message::Refused(refused));
    if messages.try_send(ServerMessage { message }).is_err() {
        tracing::debug!("the refused client is gone");
    }
}

fn refusal(reason: Reason, message: String) -> v1::Refused {
    v1::Refused {
        reason: reason.into(),
        message,
        leader: String::new(),
    }
}

/// The volume's handle when it is led here.
fn find(hosted: &Hosted, volume: &str) -> Result<Handle, v1::Refused> {
    match hosted.route(volume) {
        Route::Here(handle) => Ok(*handle),
        Route::Elsewhere(leader) => Err(v1::Refused {
            reason: Reason::NotLeader.into(),
            message: format!("volume {volume:?} is not led here"),
            leader: leader.unwrap_or_default(),
        }),
        Route::Unknown => {
            let message = format!("there is no volume {volume:?} here");
            Err(refusal(Reason::NoVolume, message))
        }
    }
}

fn greet(
    hosted: &Hosted,
    hello: v1::Hello,
    messages: mpsc::Sender<ServerMessage>,
) -> Result<(Handle, Greeting), v1::Refused> {
    if hello.protocol != PROTOCOL {
        let message = format!("protocol {} is not spoken here, but {PROTOCOL}", hello.protocol);
        return Err(refusal(Reason::Protocol, message));
    }
    let handle = find(hosted, &hello.volume)?;
    if hello.leases.len() + hello.locks.len() > RECLAIM {
        let message = format!("more than {RECLAIM} leases and locks");
        return Err(refusal(Reason::Protocol, message));
    }
    let wrong = |error: dfs_proto::WireError| refusal(Reason::Protocol, error.to_string());
    let leases = hello
        .leases
        .into_iter()
        .map(held_lease)
        .collect::<Result<_, _>>()
        .map_err(wrong)?;
    let locks = hello
        .locks
        .into_iter()
        .map(TryInto::try_into)
        .collect::<Result<_, _>>()
        .map_err(wrong)?;
    let mut client = hello.client;
    while client.len() > CLIENT_NAME_MAX {
        client.pop();
    }
    let greeting = Greeting {
        session: session_id(&hello.session).map_err(wrong)?,
        stream: NEXT_STREAM.fetch_add(1, Ordering::Relaxed),
        client,
        resume: hello.resume,
        writes_back: hello.writes_back,
        ordinal: hello.stream,
        leases,
        locks,
        messages,
    };
    Ok((handle, greeting))
}

/// Forwards the client's messages until its stream ends or it breaks the protocol.
async fn serve(handle: &Handle, greeting: Greeting, mut incoming: Streaming<ClientMessage>) {
    let (session, stream) = (greeting.session, greeting.stream);
    if handle.inbox.send(Event::Hello(Box::new(greeting))).await.is_err() {
        return;
    }
    loop {
        let event = match incoming.next().await {
            Some(Ok(ClientMessage {
                message: Some(message),
            })) => event(handle, session, stream, message),
            Some(Ok(_)) | None => break,
            Some(Err(status)) => {
                tracing::debug!(%session, %status, "a client's stream broke");
                break;
            }
        };
        let event = match event {
            Ok(Some(event)) => event,
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(%session, %error, "a client sent what cannot be understood; its stream is closed");
                break;
            }
        };
        if handle.inbox.send(event).await.is_err() {
            return;
        }
    }
    if handle.inbox.send_now(Event::Closed { session, stream }).is_err() {
        tracing::debug!("{}", stopping());
    }
}

type Understood = Result<Option<Event>, dfs_proto::WireError>;

fn event(handle: &Handle, session: SessionId, stream: u64, message: Message) -> Understood {
    Ok(Some(match message {
        Message::Calls(calls) if calls.calls.len() > SESSION_CALLS => {
            return Err(dfs_proto::WireError::TooLong {
                field: "Calls.calls",
                len: calls.calls.len(),
                max: SESSION_CALLS,
            });
        }
        Message::Calls(calls) => {
            let calls = calls.calls.into_iter().map(|one| call(session, one)).collect();
            Event::Calls {
                session,
                stream,
                calls,
            }
        }
        Message::LeaseAck(ack) => {
            let (ino, mode, open, number) = match lease_ack(ack) {
                Ok(ack) => ack,
                Err(error) => return passed_over(session, &error),
            };
            Event::LeaseAck {
                session,
                stream,
                ino,
                mode,
                open,
                number,
            }
        }
        Message::Heartbeat(beat) => Event::Heartbeat {
            session,
            stream,
            number: beat.number,
            moved: Moved {
                read: beat.read_bytes,
                written: beat.written_bytes,
            },
        },
        Message::CancelLock(cancel) => Event::CancelLock {
            session,
            stream,
            op_id: cancel.op_id,
        },
        Message::Goodbye(_) => Event::Goodbye { session, stream },
        Message::BadCopy(bad) => {
            let copy = dfs_proto::convert::ids::stored_chunk(bad.chunk, "BadCopy.chunk")
                .and_then(|chunk| Ok((chunk, dfs_proto::convert::ids::node_id(bad.node, "BadCopy.node")?)));
            let (chunk, node) = match copy {
                Ok(copy) => copy,
                Err(error) => return passed_over(session, &error),
            };
            tracing::warn!(%session, %chunk, %node, reason = bad.reason, "a client met a bad copy");
            if handle.bad_copies.try_send((chunk, node)).is_err() {
                tracing::debug!("too many reports of bad copies: the inventory will find this one");
            }
            return Ok(None);
        }
        Message::Hello(_) => {
            return Err(dfs_proto::WireError::Disorder {
                field: "ClientMessage.hello",
            });
        }
    }))
}

/// A message that wants no answer and cannot be understood costs the client no more than itself: a recall that is
/// not acknowledged is counted as silence.
fn passed_over(session: SessionId, error: &dfs_proto::WireError) -> Understood {
    tracing::warn!(%session, %error, "a client's message cannot be understood and is passed over");
    Ok(None)
}

/// A call that cannot be understood gets its answer, too: the client would send it again on every new stream.
fn call(session: SessionId, call: v1::Call) -> Call {
    let op_id = call.op_id;
    let body = body(call.body).unwrap_or_else(|error| {
        tracing::warn!(%session, op_id, %error, "a client's call cannot be understood and is refused");
        Body::Wrong
    });
    Call {
        op_id,
        acked_below: call.acked_below,
        timed: call.timed.then(Instant::now),
        body,
    }
}

fn body(body: Option<v1::call::Body>) -> Result<Body, dfs_proto::WireError> {
    let absent = dfs_proto::WireError::Absent { field: "Call.body" };
    Ok(match body.ok_or(absent)? {
        v1::call::Body::Op(op) => Body::Op(op.try_into()?),
        v1::call::Body::Lock(request) => {
            let (lock, action) = lock::lock_request(request)?;
            Body::Lock(lock, action)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_cannot_be_understood_is_handed_on_as_wrong() {
        for body in [
            None,
            Some(v1::call::Body::Op(v1::Op::default())),
            Some(v1::call::Body::Lock(v1::LockRequest::default())),
        ] {
            let wire = v1::Call {
                op_id: 7,
                acked_below: 3,
                timed: true,
                body,
            };
            let call = call(SessionId(1), wire);
            assert!(matches!(call.body, Body::Wrong));
            assert_eq!((call.op_id, call.acked_below, call.timed.is_some()), (7, 3, true));
        }
    }
}
