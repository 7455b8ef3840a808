//! Pages of a chunk on a framed connection, for a reader at random places: what it needs and little more, with
//! checksums. `framed` calls it; gRPC has no such request.

use super::super::store::{Content, Pages};
use super::{Shared, status};
use dfs_proto::convert::{asked_pages, ids};
use dfs_proto::v1::{FramedGetPages, FramedReply, PageGroup};
use tonic::Status;

pub fn read(shared: &Shared, request: FramedGetPages) -> Result<(FramedReply, Content), Status> {
    shared.membership.check_cluster(&request.cluster)?;
    let (first, count) = (request.first_page, request.pages);
    let chunk = ids::stored_chunk(request.chunk, "FramedGetPages.chunk")?;
    let len = shared.store.len(chunk).map_err(status::of)?;
    let pages = asked_pages(first, count, len)?;
    let read = shared.store.read_pages(chunk, pages.start, pages.len() as u32);
    let Pages { first, payload, crcs } = read.map_err(status::of)?;
    shared.figures.sent.add(payload.len() as u64);
    let reply = FramedReply {
        pages: Some(PageGroup {
            first_page: first,
            crcs,
        }),
        payload: payload.len() as u32,
        ..FramedReply::default()
    };
    Ok((reply, Content::Here(payload)))
}
