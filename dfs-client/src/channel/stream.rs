//! A whole chunk over a framed connection: a thread sends its parts as they come, then waits for the answer. Uploads use
//! it, and datanodes that forward. Ends as a gRPC call does, so that callers treat both alike; who finds no connection
//! uses gRPC.

use super::{CONNECT_TIMEOUT, Closer, Exchange, Frozen, Peer};
use dfs_proto::v1::framed_request::Body;
use dfs_proto::v1::put_request::Part;
use dfs_proto::{frames, v1};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Code, Status};

/// Ends the connection when whoever waits for the chunk does so no more: a thread that is stuck on it comes back.
struct Ending(Option<Closer>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(closer) = self.0.take() {
            closer.close();
        }
    }
}

impl Peer {
    /// Sends a chunk, `parts` being its groups of 16 blocks and its end, walked on a thread that may wait. No part and no
    /// answer is waited for longer than `limit`.
    pub async fn stream(
        self: &Arc<Self>,
        exchange: Exchange,
        request: String,
        begin: v1::PutBegin,
        parts: impl Iterator<Item = Part> + Send + 'static,
        limit: Duration,
    ) -> Result<Result<v1::PutReply, Status>, Frozen> {
        let closer = match exchange.closer() {
            Ok(closer) => closer,
            Err(error) => return Ok(Err(broken(&error))),
        };
        let mut ending = Ending(Some(closer));
        let talk = tokio::task::spawn_blocking(move || {
            let mut exchange = exchange;
            let reply = talk(&mut exchange, request, begin, parts, limit);
            (exchange, reply)
        });
        let (exchange, reply) = match self.while_alive(talk).await? {
            Ok(ended) => ended,
            Err(e) => return Ok(Err(Status::internal(format!("a sending thread failed: {e}")))),
        };
        Ok(match reply {
            Ok(reply) => {
                ending.0 = None;
                exchange.end();
                put_reply(reply)
            }
            Err(error) => Err(broken(&error)),
        })
    }
}

/// Sends everything, then takes the answer. Blocks.
fn talk(
    exchange: &mut Exchange,
    request: String,
    begin: v1::PutBegin,
    parts: impl Iterator<Item = Part>,
    limit: Duration,
) -> io::Result<v1::FramedReply> {
    exchange.write_within(limit)?;
    let begin = v1::FramedStream { begin: Some(begin) };
    exchange.ask(request, Body::Stream(begin), &[])?;
    for part in parts {
        match part {
            Part::Blocks(group) => {
                let crcs = v1::FramedGroup { crcs: group.crcs };
                exchange.add(&frames::encode(&crcs), &group.payload)?;
            }
            Part::End(end) => {
                exchange.add(&frames::encode(&end), &[])?;
                let reply = exchange.answer(limit)?;
                exchange.write_within(CONNECT_TIMEOUT)?;
                return Ok(reply);
            }
            Part::Begin(_) => return Err(io::Error::other("a chunk begins once")),
        }
    }
    Err(io::Error::other("its sender gave the chunk up"))
}

fn put_reply(reply: v1::FramedReply) -> Result<v1::PutReply, Status> {
    if reply.code != 0 {
        return Err(Status::new(Code::from_i32(reply.code as i32), reply.reason));
    }
    let stream = reply.stream;
    stream.ok_or_else(|| Status::internal("an answer that is none to a chunk"))
}

fn broken(error: &io::Error) -> Status {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            Status::deadline_exceeded("it took or answered nothing in time")
        }
        _ => Status::unavailable(format!("the connection ended: {error}")),
    }
}
