//! Generates the wire types from `proto/dfs/v1`. Needs `protoc` (Debian: `protobuf-compiler`).

fn main() -> std::io::Result<()> {
    let files = ["metadata", "chunks", "cluster", "volumes", "nodes", "space"]
        .map(|name| format!("proto/dfs/v1/{name}.proto"));
    tonic_prost_build::configure()
        // Payloads are slices of the received buffer, never copies of it.
        .bytes(".dfs.v1.BlockGroup.payload")
        .bytes(".dfs.v1.CheckpointPart.bytes")
        .compile_protos(&files, &["proto".to_string()])
}
