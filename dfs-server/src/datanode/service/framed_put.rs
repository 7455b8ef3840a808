//! A small chunk in one framed request: checked, written and made durable by the connection's own thread. The writer
//! sends it to every member by itself, so nothing is forwarded from here.

use super::{Shared, status};
use dfs_core::chunk::BLOCK_SIZE;
use dfs_proto::convert::{ids, put_begin};
use dfs_proto::frames::BLOCKS_MAX;
use dfs_proto::v1::FramedPut;
use tonic::Status;

/// Where it is durable now: this node's number.
pub fn put(shared: &Shared, request: FramedPut, content: &[u8]) -> Result<u32, Status> {
    let begin = request
        .begin
        .ok_or_else(|| Status::invalid_argument("FramedPut.begin is absent"))?;
    shared.membership.check_cluster(&begin.cluster)?;
    let transfer = put_begin(begin)?;
    let whole = content.len() == transfer.len as usize && transfer.len <= BLOCKS_MAX * BLOCK_SIZE;
    if !whole || !transfer.forward.is_empty() {
        return Err(Status::invalid_argument(format!(
            "a framed put is a whole chunk of at most {BLOCKS_MAX} blocks and is not forwarded: use gRPC for others"
        )));
    }
    let sha256 = ids::sha256(&request.sha256, "FramedPut.sha256")?;
    let own = shared.membership.node(transfer.chunk.set.volume())?;
    let _session = shared.transfers.begin(transfer.transfer)?;
    let store = &shared.store;
    let mut writer = store
        .begin(transfer.chunk, transfer.len, false)
        .map_err(status::of)?;
    writer.write(0, content, &request.crcs).map_err(status::of)?;
    writer.finish(&sha256).map_err(status::of)?;
    shared.figures.received.add(u64::from(transfer.len));
    Ok(own)
}
