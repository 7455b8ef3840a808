//! The framed connections of a member, beside its gRPC on the same port: reads of blocks and of pages.

use super::datanode::Store;
use bytes::Bytes;
use dfs_client::channel::Wire;
use dfs_core::chunk::pages::{PAGE_SIZE, page_crcs};
use dfs_core::chunk::{BLOCK_SIZE, block_crcs};
use dfs_core::ids::ChunkId;
use dfs_proto::v1::framed_request::Body;
use dfs_proto::{frames, v1};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

const LONG: Duration = Duration::from_secs(60);

/// HTTP/2 connections come out of it; framed ones are served by threads.
pub fn front(id: u32, store: Arc<Store>, listener: TcpListener) -> ReceiverStream<io::Result<TcpStream>> {
    let (http, receiver) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (store, http) = (store.clone(), http.clone());
            tokio::spawn(async move {
                let mut first = [0];
                if stream.peek(&mut first).await? == 0 {
                    return io::Result::Ok(());
                }
                if first[0] != frames::PREFACE[0] {
                    stream.set_nodelay(true)?;
                    let _ = http.send(Ok(stream)).await;
                    return Ok(());
                }
                let stream = stream.into_std()?;
                stream.set_nonblocking(false)?;
                let wire = Wire::tcp(stream, LONG)?;
                std::thread::Builder::new().spawn(move || converse(wire, id, &store))?;
                Ok(())
            });
        }
    });
    ReceiverStream::new(receiver)
}

/// Until the client ends it.
fn converse(mut wire: Wire, id: u32, store: &Store) -> io::Result<()> {
    wire.read_within(LONG);
    wire.read_exact(&mut [0; frames::PREFACE.len()])?;
    wire.write_all(&frames::encode(&v1::FramedHello::default()))?;
    loop {
        wire.read_within(LONG);
        let request = frames::read::<v1::FramedRequest>(&mut wire)?;
        let mut content = vec![0; request.payload as usize];
        wire.read_exact(&mut content)?;
        let (mut reply, mut payload) = match request.body {
            Some(Body::Get(get)) => blocks(store, get),
            Some(Body::GetPages(get)) => pages(store, get),
            _ => refusal(Code::Unimplemented),
        };
        if store.faults.lock().unwrap().rotten.contains(&id)
            && let Some(byte) = payload.first_mut()
        {
            *byte ^= 1;
        }
        (reply.number, reply.payload) = (request.number, payload.len() as u32);
        wire.write_both(&frames::encode(&reply), &payload)?;
    }
}

fn refusal(code: Code) -> (v1::FramedReply, Vec<u8>) {
    let reply = v1::FramedReply {
        code: code as u32,
        ..v1::FramedReply::default()
    };
    (reply, Vec::new())
}

fn content_of(store: &Store, chunk: Option<v1::ChunkId>) -> Bytes {
    let id = ChunkId::try_from(chunk.unwrap()).unwrap();
    store.chunks.lock().unwrap()[&id].clone()
}

fn blocks(store: &Store, get: v1::GetRequest) -> (v1::FramedReply, Vec<u8>) {
    store.faults.lock().unwrap().gets += 1;
    let content = content_of(store, get.chunk);
    let bytes = |block: u32| content.len().min((block * BLOCK_SIZE) as usize);
    let payload = content[bytes(get.first_block)..bytes(get.first_block + get.blocks)].to_vec();
    let group = v1::BlockGroup {
        first_block: get.first_block,
        crcs: block_crcs(&payload),
        ..v1::BlockGroup::default()
    };
    let reply = v1::FramedReply {
        group: Some(group),
        ..v1::FramedReply::default()
    };
    (reply, payload)
}

fn pages(store: &Store, get: v1::FramedGetPages) -> (v1::FramedReply, Vec<u8>) {
    let mut faults = store.faults.lock().unwrap();
    faults.page_gets += 1;
    if faults.no_pages {
        return refusal(Code::Unimplemented);
    }
    drop(faults);
    let content = content_of(store, get.chunk);
    let bytes = |page: u32| content.len().min((page * PAGE_SIZE) as usize);
    let payload = content[bytes(get.first_page)..bytes(get.first_page + get.pages)].to_vec();
    let mut crcs = Vec::new();
    page_crcs(&payload, &mut crcs);
    let reply = v1::FramedReply {
        pages: Some(v1::PageGroup {
            first_page: get.first_page,
            crcs,
        }),
        ..v1::FramedReply::default()
    };
    (reply, payload)
}
