//! Framed connections to a peer: a bounded stock of idle ones, each of which carries one request at a time from the
//! thread that waits for its answer. They are made behind their users' backs; who finds none takes gRPC. A peer on this machine
//! is reached by its Unix socket. Knows frames, no transfer.

use super::wire::{Closer, Wire};
use super::{CONNECT_TIMEOUT, Peer};
use dfs_proto::{frames, v1};
use parking_lot::Mutex;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Idle connections kept for one peer: as many threads as read at one time in a busy mount.
const IDLE_MAX: usize = 32;
/// An idle connection older than this is not used: the server gives it up after a minute.
const IDLE_AGE: Duration = Duration::from_secs(30);
/// Connections that are being made to one peer at one time.
const CONNECTING_MAX: usize = 2;
/// After an answer that did not come in time, and after a failed attempt to connect.
const REST: Duration = Duration::from_secs(1);
/// After meeting a server that speaks no frames: an older one, until it is upgraded.
const REST_UNKNOWN: Duration = Duration::from_secs(60);

struct Connection {
    wire: Wire,
    /// The server takes whole chunks over it.
    streams: bool,
}

#[derive(Default)]
struct State {
    idle: Vec<(Instant, Connection)>,
    connecting: usize,
    rest_until: Option<Instant>,
    /// The peer's Unix socket, when it runs on this machine.
    socket: Option<String>,
    number: u64,
}

#[derive(Default)]
pub(super) struct Framed(Mutex<State>);

impl Framed {
    /// One of the connections turned out to be dead: most likely the others are, too.
    fn forget_idle(&self) {
        self.0.lock().idle.clear();
    }

    fn rest(&self, pause: Duration) {
        let mut state = self.0.lock();
        state.idle.clear();
        state.rest_until = Some(Instant::now() + pause);
    }
}

/// A connection that one thread uses for one request. Dropped before `end`, it is closed.
pub struct Exchange {
    peer: Arc<Peer>,
    connection: Connection,
    number: u64,
}

impl Peer {
    /// A connection for a whole chunk, whose server has not ended it meanwhile: what is sent over it is not sent again.
    pub fn streaming(self: &Arc<Self>, runtime: &tokio::runtime::Handle) -> Option<Exchange> {
        loop {
            let exchange = self.framed(runtime)?;
            if !exchange.connection.streams {
                exchange.end();
                return None;
            }
            if exchange.connection.wire.is_quiet() {
                return Some(exchange);
            }
        }
    }

    /// A connection that nobody uses. When there is none, one is made for the next who asks.
    pub fn framed(self: &Arc<Self>, runtime: &tokio::runtime::Handle) -> Option<Exchange> {
        let mut state = self.framed.0.lock();
        let now = Instant::now();
        if state.rest_until.is_some_and(|until| now < until) {
            return None;
        }
        state.number += 1;
        let number = state.number;
        if let Some((since, connection)) = state.idle.pop() {
            if now.duration_since(since) < IDLE_AGE {
                return Some(Exchange {
                    peer: self.clone(),
                    connection,
                    number,
                });
            }
            // The last one that was given back is the youngest: all others are older.
            state.idle.clear();
        }
        if state.connecting < CONNECTING_MAX {
            state.connecting += 1;
            let peer = self.clone();
            runtime.spawn_blocking(move || peer.connect_framed());
        }
        None
    }

    fn connect_framed(&self) {
        let socket = self.framed.0.lock().socket.clone();
        let connected = match socket.as_deref().map(connect_unix) {
            Some(Ok(connection)) => Ok((connection, socket)),
            _ => connect_tcp(&self.address),
        };
        let mut state = self.framed.0.lock();
        state.connecting -= 1;
        match connected {
            Ok((connection, socket)) => {
                state.socket = socket;
                state.keep(connection);
            }
            Err(error) => {
                let understood = !matches!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof
                        | io::ErrorKind::InvalidData
                        | io::ErrorKind::ConnectionReset
                );
                let pause = if understood { REST } else { REST_UNKNOWN };
                state.rest_until = Some(Instant::now() + pause);
                tracing::debug!(peer = self.address, %error, "no framed connection");
            }
        }
    }
}

impl State {
    fn keep(&mut self, connection: Connection) {
        if self.idle.len() < IDLE_MAX {
            self.idle.push((Instant::now(), connection));
        }
    }
}

impl Exchange {
    /// Sends the request and the content that belongs to it; the answer is waited for by `answer`.
    pub fn ask(&mut self, request: String, body: v1::framed_request::Body, content: &[u8]) -> io::Result<()> {
        let message = v1::FramedRequest {
            number: self.number,
            request,
            body: Some(body),
            payload: content.len() as u32,
        };
        let written = self
            .connection
            .wire
            .write_both(&frames::encode(&message), content);
        written.inspect_err(|_| self.peer.framed.forget_idle())
    }

    /// Sends more of the request: an encoded message and the content behind it.
    pub fn add(&mut self, message: &[u8], content: &[u8]) -> io::Result<()> {
        let written = self.connection.wire.write_both(message, content);
        written.inspect_err(|_| self.peer.framed.forget_idle())
    }

    /// What is written from now on waits no longer than `limit` for room.
    pub fn write_within(&mut self, limit: Duration) -> io::Result<()> {
        self.connection.wire.write_within(limit)
    }

    /// Ends the connection from elsewhere, while a thread waits on it.
    pub fn closer(&self) -> io::Result<Closer> {
        self.connection.wire.closer()
    }

    /// The answer's message; its payload is read by `payload`. All of it must come within `limit`: else the peer's
    /// framed connections rest for a while.
    pub fn answer(&mut self, limit: Duration) -> io::Result<v1::FramedReply> {
        self.connection.wire.read_within(limit);
        let reply = frames::read::<v1::FramedReply>(&mut self.connection.wire);
        let reply = reply.inspect_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => self.peer.framed.rest(REST),
            _ => self.peer.framed.forget_idle(),
        })?;
        match reply.number == self.number {
            true => Ok(reply),
            false => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the answer is not to this question",
            )),
        }
    }

    /// The next `len` bytes behind the answer.
    pub fn payload(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut content = Vec::with_capacity(len);
        (&mut self.connection.wire)
            .take(len as u64)
            .read_to_end(&mut content)?;
        match content.len() == len {
            true => Ok(content),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Whether it goes over the Unix socket of a peer on this machine.
    pub fn is_near(&self) -> bool {
        self.connection.wire.is_unix()
    }

    /// Everything was read: the next may use the connection.
    pub fn end(self) {
        let Exchange { peer, connection, .. } = self;
        peer.framed.0.lock().keep(connection);
    }
}

fn connect_tcp(address: &str) -> io::Result<(Connection, Option<String>)> {
    let resolved = address.to_socket_addrs()?.next();
    let resolved = resolved.ok_or_else(|| io::Error::other("the name has no address"))?;
    let stream = TcpStream::connect_timeout(&resolved, CONNECT_TIMEOUT)?;
    let mut wire = Wire::tcp(stream, CONNECT_TIMEOUT)?;
    let hello = greet(&mut wire)?;
    if !hello.machine.is_empty()
        && hello.machine == machine()
        && let Ok(near) = connect_unix(&hello.socket)
    {
        return Ok((near, Some(hello.socket)));
    }
    let streams = hello.streams;
    Ok((Connection { wire, streams }, None))
}

fn connect_unix(socket: &str) -> io::Result<Connection> {
    let address = SocketAddr::from_abstract_name(socket)?;
    let mut wire = Wire::unix(UnixStream::connect_addr(&address)?, CONNECT_TIMEOUT)?;
    let streams = greet(&mut wire)?.streams;
    Ok(Connection { wire, streams })
}

fn greet(wire: &mut Wire) -> io::Result<v1::FramedHello> {
    wire.write_all(&frames::PREFACE)?;
    wire.read_within(CONNECT_TIMEOUT);
    frames::read(wire)
}

/// Names this run of this machine's kernel; empty where that is not known. Whether a socket can really be reached
/// only an attempt shows: containers share the name and not the sockets.
pub fn machine() -> &'static [u8] {
    static MACHINE: OnceLock<Vec<u8>> = OnceLock::new();
    MACHINE.get_or_init(|| {
        let named = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        named.trim_ascii().to_vec()
    })
}
