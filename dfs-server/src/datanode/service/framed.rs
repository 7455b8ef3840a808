//! Framed connections, each with a thread that reads a request, does it, and answers: for small reads and writes
//! nothing is handed from one thread to another. Bounded; who finds no room uses gRPC. `front` brings the connections.

use super::super::store::{Content, Located};
use super::{Shared, framed_pages, framed_put, framed_stream, status};
use bytes::Bytes;
use dfs_client::channel::{Closer, Wire, machine};
use dfs_core::chunk::BLOCK_SIZE;
use dfs_proto::convert::{asked_blocks, ids};
use dfs_proto::frames::{self, BLOCKS_MAX, PREFACE};
use dfs_proto::v1::framed_request::Body;
use dfs_proto::v1::{BlockGroup, FramedHello, FramedReply, FramedRequest, FramedStream, GetRequest};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tonic::Status;

/// Connections at one time, each a thread that mostly sleeps.
const CONNECTIONS_MAX: usize = 256;
/// An idle connection is given up after this; clients use none that idled half as long.
const IDLE: Duration = Duration::from_secs(60);
/// A client that takes nothing for so long is gone.
pub const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// These threads read a frame and a run of blocks on the heap, nothing deep.
const STACK: usize = 256 << 10;

/// No content behind a reply.
const NOTHING: Content = Content::Here(Bytes::new());

#[derive(Default)]
struct Open {
    connections: HashMap<u64, Closer>,
    next: u64,
    closed: bool,
}

/// The framed connections of a service.
pub struct Framed {
    /// Not kept alive by idle connections.
    shared: Weak<Shared>,
    hello: Vec<u8>,
    /// For what a chunk needs beside its connection's thread: the disk and the other members.
    runtime: Handle,
    open: Mutex<Open>,
}

impl Framed {
    /// `socket` is the Unix socket's name, empty when there is none.
    pub fn new(shared: &Arc<Shared>, socket: String) -> Arc<Framed> {
        let near = !socket.is_empty();
        let hello = FramedHello {
            machine: if near { machine().to_vec() } else { Vec::new() },
            socket,
            streams: true,
        };
        Arc::new(Framed {
            runtime: Handle::current(),
            shared: Arc::downgrade(shared),
            hello: frames::encode(&hello),
            open: Mutex::default(),
        })
    }

    /// Serves the connection on a thread of its own, or closes it when there are too many.
    pub fn serve(self: &Arc<Self>, mut wire: Wire) -> io::Result<()> {
        let closer = wire.closer()?;
        let number = {
            let mut open = self.open.lock();
            if open.closed || open.connections.len() >= CONNECTIONS_MAX {
                return Ok(());
            }
            open.next += 1;
            let number = open.next;
            open.connections.insert(number, closer);
            number
        };
        let framed = self.clone();
        let thread = std::thread::Builder::new()
            .name("dfs-framed".into())
            .stack_size(STACK);
        let begun = thread.spawn(move || {
            // However it ended, the client uses another connection or gRPC.
            if let Err(error) = framed.converse(&mut wire) {
                tracing::debug!(%error, "a framed connection ended");
            }
            framed.open.lock().connections.remove(&number);
        });
        if begun.is_err() {
            self.open.lock().connections.remove(&number);
        }
        begun.map(drop)
    }

    /// Ends all connections, and takes no more.
    pub fn close(&self) {
        let mut open = self.open.lock();
        open.closed = true;
        open.connections.values().for_each(Closer::close);
    }

    fn converse(&self, wire: &mut Wire) -> io::Result<()> {
        let mut preface = [0; PREFACE.len()];
        wire.read_within(IDLE);
        wire.read_exact(&mut preface)?;
        if preface != PREFACE {
            return Err(io::Error::other("it does not begin as framed connections do"));
        }
        wire.write_all(&self.hello)?;
        loop {
            wire.read_within(IDLE);
            let request = frames::read::<FramedRequest>(wire)?;
            let content = content_of(&request, wire)?;
            let Some(shared) = self.shared.upgrade() else {
                return Ok(());
            };
            let (reply, payload) = match request.body {
                Some(Body::Stream(stream)) => {
                    let (number, id) = (request.number, &request.request);
                    (self.received(&shared, wire, number, id, stream)?, NOTHING)
                }
                _ => answer(&shared, request, &content),
            };
            let reply = frames::encode(&reply);
            match payload {
                Content::Here(payload) => wire.write_both(&reply, &payload)?,
                Content::InFile { file, offset, len } => {
                    wire.write_all(&reply)?;
                    wire.write_file(&file, offset, len.into())?;
                }
            }
        }
    }

    /// Takes a chunk that follows its request.
    fn received(
        &self,
        shared: &Arc<Shared>,
        wire: &mut Wire,
        number: u64,
        id: &str,
        stream: FramedStream,
    ) -> io::Result<FramedReply> {
        let begun = Instant::now();
        let done = framed_stream::put(shared, &self.runtime, wire, id, stream)?;
        shared.figures.request("put", begun, done.is_err());
        super::told_time("put", None, id, begun);
        Ok(match super::logged("put", None, done) {
            Ok(done) => FramedReply {
                number,
                stream: Some(done),
                ..FramedReply::default()
            },
            Err(status) => refusal(number, &status),
        })
    }
}

fn refusal(number: u64, status: &Status) -> FramedReply {
    FramedReply {
        number,
        code: status.code() as u32,
        reason: status.message().to_owned(),
        ..FramedReply::default()
    }
}

/// What follows the request.
fn content_of(request: &FramedRequest, wire: &mut Wire) -> io::Result<Vec<u8>> {
    let len = request.payload as usize;
    if len > (BLOCKS_MAX * BLOCK_SIZE) as usize {
        return Err(io::Error::other("more content than one request may have"));
    }
    let mut content = Vec::with_capacity(len);
    wire.take(len as u64).read_to_end(&mut content)?;
    match content.len() == len {
        true => Ok(content),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn answer(shared: &Shared, request: FramedRequest, content: &[u8]) -> (FramedReply, Content) {
    let begun = Instant::now();
    let (operation, done) = match request.body {
        Some(Body::Get(get)) => ("get", read(shared, get)),
        Some(Body::GetPages(get)) => ("get_pages", framed_pages::read(shared, get)),
        Some(Body::Put(put)) => ("put", framed_put::put(shared, put, content).map(on_disk)),
        Some(Body::Stream(_)) | None => (
            "none",
            Err(Status::unimplemented(
                "a request that this datanode does not know: use gRPC",
            )),
        ),
    };
    shared.figures.request(operation, begun, done.is_err());
    let took = begun.elapsed();
    super::told_time(operation, None, &request.request, begun);
    let (reply, payload) = match super::logged(operation, None, done) {
        Ok(done) => done,
        Err(status) => (refusal(request.number, &status), NOTHING),
    };
    let number = request.number;
    let disk_us = super::get::micros(took);
    let reply = FramedReply {
        number,
        disk_us,
        ..reply
    };
    (reply, payload)
}

fn on_disk(node: u32) -> (FramedReply, Content) {
    let reply = FramedReply {
        on_disk: node,
        ..FramedReply::default()
    };
    (reply, NOTHING)
}

fn read(shared: &Shared, request: GetRequest) -> Result<(FramedReply, Content), Status> {
    shared.membership.check_cluster(&request.cluster)?;
    let chunk = ids::stored_chunk(request.chunk, "GetRequest.chunk")?;
    let len = shared.store.len(chunk).map_err(status::of)?;
    let blocks = asked_blocks(&request, len)?;
    if request.repair || blocks.len() as u32 > BLOCKS_MAX {
        return Err(Status::invalid_argument(format!(
            "at most {BLOCKS_MAX} blocks, and none for repair: use gRPC for more"
        )));
    }
    let located = shared.store.locate(chunk, blocks.start, blocks.len() as u32);
    let Located { first, content, crcs } = located.map_err(status::of)?;
    shared.figures.sent.add(content.len().into());
    let reply = FramedReply {
        group: Some(BlockGroup {
            first_block: first,
            payload: Bytes::new(),
            crcs,
            disk_us: 0,
        }),
        payload: content.len(),
        ..FramedReply::default()
    };
    Ok((reply, content))
}
