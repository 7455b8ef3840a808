//! The door of the chunk service: one port for HTTP/2 and for framed connections, told apart by their first byte, and
//! a Unix socket with frames only for clients on this machine. It reads no message.

use super::Shared;
use super::framed::{Framed, WRITE_LIMIT};
use dfs_client::channel::Wire;
use dfs_proto::frames::PREFACE;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener as StdUnixListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;

/// Who says nothing for so long is turned away.
const FIRST_WORD: Duration = Duration::from_secs(10);
/// Connections that have not said anything yet.
const UNDECIDED_MAX: usize = 1024;
/// HTTP/2 connections that wait to be taken over.
const QUEUE: usize = 64;
/// After a failure to accept: most likely no descriptor is left, and trying at once changes nothing.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts until the stream is dropped. HTTP/2 connections come out of it; framed ones get a thread of their own.
pub fn open(shared: &Arc<Shared>, listener: TcpListener) -> ReceiverStream<io::Result<TcpStream>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let (near, socket) = match bind_near() {
        Ok((near, socket)) => (Some(near), socket),
        Err(error) => {
            tracing::info!(%error, "no Unix socket: clients on this machine use TCP");
            (None, String::new())
        }
    };
    let framed = Framed::new(shared, socket);
    tokio::spawn(accept(listener, near, framed, sender));
    ReceiverStream::new(receiver)
}

/// A socket under a name that nobody has: abstract ones leave no file behind.
fn bind_near() -> io::Result<(UnixListener, String)> {
    let name = format!("dfs-datanode-{}", uuid::Uuid::new_v4());
    let listener = StdUnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    listener.set_nonblocking(true)?;
    Ok((UnixListener::from_std(listener)?, name))
}

async fn accept(
    listener: TcpListener,
    near: Option<UnixListener>,
    framed: Arc<Framed>,
    http: mpsc::Sender<io::Result<TcpStream>>,
) {
    let undecided = Arc::new(Semaphore::new(UNDECIDED_MAX));
    loop {
        let Ok(permit) = undecided.clone().acquire_owned().await else {
            break;
        };
        let accepted = tokio::select! {
            () = http.closed() => break,
            accepted = listener.accept() => accepted.map(|(stream, _)| Some(stream)),
            taken = accept_near(near.as_ref(), &framed) => taken.map(|()| None),
        };
        match accepted {
            Ok(Some(stream)) => {
                let (framed, http) = (framed.clone(), http.clone());
                tokio::spawn(async move {
                    let decided = tokio::time::timeout(FIRST_WORD, decide(stream, &framed, &http));
                    if let Ok(Err(error)) = decided.await {
                        tracing::debug!(%error, "a connection was not taken");
                    }
                    drop(permit);
                });
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    framed.close();
}

async fn accept_near(near: Option<&UnixListener>, framed: &Arc<Framed>) -> io::Result<()> {
    let Some(near) = near else {
        return std::future::pending().await;
    };
    let stream = near.accept().await?.0.into_std()?;
    stream.set_nonblocking(false)?;
    framed.serve(Wire::unix(stream, WRITE_LIMIT)?)
}

/// Looks at the first byte and leaves it there.
async fn decide(
    stream: TcpStream,
    framed: &Arc<Framed>,
    http: &mpsc::Sender<io::Result<TcpStream>>,
) -> io::Result<()> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Ok(());
    }
    if first[0] != PREFACE[0] {
        // With Nagle's algorithm every small streamed answer takes 40 ms.
        stream.set_nodelay(true)?;
        // Nobody takes it when the server stops.
        let _ = http.send(Ok(stream)).await;
        return Ok(());
    }
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    framed.serve(Wire::tcp(stream, WRITE_LIMIT)?)
}
