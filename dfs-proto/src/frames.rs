//! Framed connections: how messages are delimited on them. Clients and datanodes call it with any byte stream, so that
//! TCP, Unix sockets and TLS carry the same bytes. It knows no socket and waits for nothing by itself.

use prost::Message;
use std::io::{self, Read};

/// What a client says first. Its first byte tells a framed connection from HTTP/2 (`P`) and TLS (0x16).
pub const PREFACE: [u8; 8] = *b"DFSFRM\x01\n";
/// Longest message, its content not counted.
pub const MESSAGE_MAX: usize = 64 << 10;
/// Most blocks of content behind one reply: 1 MiB.
pub const BLOCKS_MAX: u32 = 16;
/// Most pages of one request: more are a block.
pub const PAGES_MAX: u32 = 16;

/// The message with its length before it.
pub fn encode(message: &impl Message) -> Vec<u8> {
    let len = message.encoded_len();
    let mut out = Vec::with_capacity(4 + len);
    out.extend_from_slice(&(len as u32).to_le_bytes());
    message
        .encode(&mut out)
        .expect("a vector grows as far as it must");
    out
}

/// The next message of the stream. `UnexpectedEof` when it ends before, `InvalidData` when it makes no sense.
pub fn read<M: Message + Default>(stream: &mut impl Read) -> io::Result<M> {
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len) as usize;
    if len > MESSAGE_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a message of {len} bytes: at most {MESSAGE_MAX} are taken"),
        ));
    }
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes)?;
    M::decode(bytes.as_slice()).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;

    #[test]
    fn a_request_has_golden_bytes_and_comes_back() {
        let request = v1::FramedRequest {
            number: 7,
            request: "r".to_string(),
            body: Some(v1::framed_request::Body::Get(v1::GetRequest {
                first_block: 3,
                blocks: 1,
                ..v1::GetRequest::default()
            })),
            payload: 0,
        };
        let bytes = encode(&request);
        assert_eq!(bytes, b"\x0b\0\0\0\x08\x07\x12\x01r\x1a\x04\x18\x03\x20\x01");
        assert_eq!(read::<v1::FramedRequest>(&mut &bytes[..]).unwrap(), request);
    }

    #[test]
    fn what_is_cut_off_too_long_or_senseless_is_refused() {
        let bytes = encode(&v1::FramedHello {
            machine: vec![1; 16],
            socket: "s".to_string(),
            streams: true,
        });
        for len in 0..bytes.len() {
            let error = read::<v1::FramedHello>(&mut &bytes[..len]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{len} bytes");
        }
        let long = (MESSAGE_MAX as u32 + 1).to_le_bytes();
        let error = read::<v1::FramedHello>(&mut &long[..]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let error = read::<v1::FramedHello>(&mut &b"\x02\0\0\0\xff\xff"[..]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
