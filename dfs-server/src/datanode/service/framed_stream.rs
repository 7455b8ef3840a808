//! A chunk of any length on a framed connection: its groups are read straight into memory that goes to the disk as it is,
//! and is forwarded from there. `put` does the rest.

use super::put::{self, Parts};
use super::{SILENCE, Shared, forward};
use crate::datanode::buffers::{Buffers, LEN};
use dfs_client::channel::Wire;
use dfs_core::chunk::BLOCK_SIZE;
use dfs_proto::convert::put_begin;
use dfs_proto::frames::{self, BLOCKS_MAX};
use dfs_proto::v1::put_request::Part;
use dfs_proto::v1::{BlockGroup, FramedGroup, FramedStream, PutEnd, PutReply};
use std::io::{self, Read};
use std::sync::Arc;
use tokio::runtime::Handle;
use tonic::Status;

/// Content bytes of a group.
const GROUP: usize = (BLOCKS_MAX * BLOCK_SIZE) as usize;
const _: () = assert!(GROUP <= LEN, "a group fits into a buffer");

/// Receives the chunk on this thread. An error is the connection's; a refusal comes behind all of the content, so that the
/// connection can be used on.
pub fn put(
    shared: &Arc<Shared>,
    runtime: &Handle,
    wire: &mut Wire,
    id: &str,
    stream: FramedStream,
) -> io::Result<Result<PutReply, Status>> {
    let Some(begin) = stream.begin else {
        return Err(io::Error::other("FramedStream.begin is absent"));
    };
    let cluster = shared.membership.check_cluster(&begin.cluster);
    // How much follows is not known where this makes no sense.
    let transfer = put_begin(begin).map_err(io::Error::other)?;
    let mut parts = Framed {
        wire,
        buffers: &shared.buffers,
        left: transfer.len as usize,
        block: 0,
        ended: false,
        broken: None,
    };
    let done = match cluster {
        Ok(()) => {
            let put = put::receive(shared, transfer, &mut parts);
            runtime.block_on(forward::REQUEST.scope(id.to_owned(), put))
        }
        Err(refused) => Err(refused),
    };
    if let Some(error) = parts.broken {
        return Err(error);
    }
    while !parts.ended {
        parts.read()?;
    }
    Ok(done)
}

struct Framed<'a> {
    wire: &'a mut Wire,
    buffers: &'a Arc<Buffers>,
    /// Bytes of the content that have not come.
    left: usize,
    block: u32,
    ended: bool,
    broken: Option<io::Error>,
}

impl Framed<'_> {
    fn read(&mut self) -> io::Result<Part> {
        self.wire.read_within(SILENCE);
        if self.left == 0 {
            let end = frames::read::<PutEnd>(self.wire)?;
            self.ended = true;
            return Ok(Part::End(end));
        }
        let FramedGroup { crcs } = frames::read(self.wire)?;
        let len = self.left.min(GROUP);
        let mut buffer = self.buffers.take();
        self.wire.read_exact(&mut buffer.as_mut()[..len])?;
        let first_block = self.block;
        self.left -= len;
        self.block += BLOCKS_MAX;
        Ok(Part::Blocks(BlockGroup {
            first_block,
            payload: buffer.share(len),
            crcs,
            disk_us: 0,
        }))
    }
}

impl Parts for Framed<'_> {
    async fn next(&mut self) -> Result<Part, Status> {
        self.read().map_err(|error| {
            let status = Status::aborted(format!("the sender's connection ended: {error}"));
            self.broken = Some(error);
            status
        })
    }
}
