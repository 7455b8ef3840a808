//! How servers listen: one place for the figures of the server side of HTTP/2; those of connecting are in
//! `dfs_client::channel`. Every role calls it; it knows no service.

use dfs_client::channel::{CONNECTION_WINDOW, FRAME_SIZE, STREAM_WINDOW};
use std::time::Duration;
use tonic::transport::Server;

/// A peer that vanished without a word is noticed in about half a minute.
const KEEPALIVE: Duration = Duration::from_secs(20);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(10);
/// Streams of one connection; each transfer takes one.
const STREAMS_MAX: u32 = 1024;

/// A server with our figures.
pub fn server() -> Server {
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_SIZE)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER))
}
