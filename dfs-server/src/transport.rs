//! How servers speak HTTP/2: one place for the figures of listening and of connecting to another server.
//! Every role and its internal clients call it; it knows no service.

use std::time::Duration;
use tonic::transport::{Channel, Endpoint, Server};

/// Largest message of any service; payload groups are 1 MiB.
pub const MESSAGE_MAX: usize = 4 * 1024 * 1024;
/// Flow-control windows: 1 MiB messages keep several in flight on a local network (DESIGN, section 10).
const STREAM_WINDOW: u32 = 8 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// One frame for each 1 MiB message.
const FRAME: u32 = 1024 * 1024;
/// A peer that vanished without a word is noticed in about half a minute.
const KEEPALIVE: Duration = Duration::from_secs(20);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(10);
/// A listener that does not answer a connection attempt by then is down.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Streams of one connection; each transfer takes one.
const STREAMS_MAX: u32 = 1024;

/// A server with our figures.
pub fn server() -> Server {
    Server::builder()
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER))
}

/// A channel to `address` (host:port) that connects when first used and again when it broke.
pub fn channel(address: &str) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|e| format!("{address:?} is no host:port: {e}"))?;
    let endpoint = endpoint
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_LIMIT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_ANSWER)
        .keep_alive_while_idle(true);
    Ok(endpoint.connect_lazy())
}
