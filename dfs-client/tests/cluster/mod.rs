//! A coordinator and three datanodes in memory, behind real gRPC on loopback: what the tests of the client run
//! against. The namespace is the core's own; leases are recalled as the real coordinator does; datanodes share one
//! store and fail when told to. Keeps nothing on disk.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod coordinator;
mod datanode;
mod framed;

use dfs_client::config::{MountConfig, Source};
use dfs_client::vfs::{Caller, Vfs, WriteHow};
use dfs_core::ids::Ino;
use dfs_proto::v1;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

pub use coordinator::Coordinator;
pub use datanode::Store;

pub const MEMBERS: u32 = 3;

/// A running cluster.
pub struct Cluster {
    pub coordinator: Coordinator,
    pub store: Arc<Store>,
    address: String,
    _runtime: tokio::runtime::Runtime,
}

impl Cluster {
    pub fn start() -> Cluster {
        Cluster::start_with(false)
    }

    /// Its datanodes take framed connections, too.
    pub fn start_framed() -> Cluster {
        Cluster::start_with(true)
    }

    fn start_with(framed: bool) -> Cluster {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let store = Arc::new(Store::default());
        let mut nodes = Vec::new();
        for id in 1..=MEMBERS {
            let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let service = datanode::service(id, store.clone());
            let server = Server::builder().add_service(service);
            if framed {
                let _inside = runtime.enter();
                let incoming = framed::front(id, store.clone(), listener);
                runtime.spawn(server.serve_with_incoming(incoming));
            } else {
                let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
                runtime.spawn(server.serve_with_incoming(incoming));
            }
            nodes.push(v1::Node {
                id,
                address,
                alive: true,
                zone: String::new(),
            });
        }
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let coordinator = Coordinator::new(nodes);
        let service = coordinator.service();
        runtime.spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))),
        );
        Cluster {
            coordinator,
            store,
            address,
            _runtime: runtime,
        }
    }

    /// A mount without a kernel.
    pub fn mount(&self) -> Arc<Vfs> {
        self.mount_with(|_| {})
    }

    /// Two mounts that ask for each change: tests name on one by its number what the other has made, as nobody could who had
    /// not looked it up.
    pub fn two_mounts(&self) -> (Arc<Vfs>, Arc<Vfs>) {
        let mount = || self.mount_with(|config| config.writes_back = false);
        (mount(), mount())
    }

    pub fn mount_with(&self, change: impl FnOnce(&mut MountConfig)) -> Arc<Vfs> {
        let source = Source::parse(&format!("dfs://{}/test", self.address)).unwrap();
        let mut config = MountConfig::new(source, "test");
        config.timeout = Duration::from_secs(10);
        change(&mut config);
        Vfs::start(config).unwrap()
    }
}

pub fn root() -> Caller<'static> {
    Caller::default()
}

/// Creates a file in the root: its number and a handle.
pub fn create(vfs: &Vfs, name: &str) -> (Ino, u64) {
    let flags = libc::O_RDWR | libc::O_CREAT;
    let (entry, opened) = vfs
        .create(&root(), Ino::ROOT, name.as_bytes(), 0o644, 0, flags)
        .unwrap();
    (entry.attr.ino, opened.fh)
}

/// Looks a file up in the root and opens it.
pub fn open(vfs: &Vfs, name: &str, flags: i32) -> (Ino, u64) {
    let found = vfs.lookup(&root(), Ino::ROOT, name.as_bytes()).unwrap();
    let dfs_client::vfs::Found::Entry(entry) = found else {
        panic!("{name} is absent")
    };
    let opened = vfs.open(&root(), entry.attr.ino, flags, false).unwrap();
    (entry.attr.ino, opened.fh)
}

pub fn read(vfs: &Vfs, (ino, fh): (Ino, u64), offset: u64, size: u32) -> Vec<u8> {
    vfs.read(&root(), ino, fh, offset, size, true).unwrap().concat()
}

pub fn write(vfs: &Vfs, (ino, fh): (Ino, u64), offset: u64, data: &[u8]) {
    assert_eq!(
        vfs.write(&root(), ino, fh, offset, data, WriteHow::default()),
        Ok(data.len())
    );
}

pub fn fsync(vfs: &Vfs, (ino, fh): (Ino, u64)) {
    vfs.fsync(&root(), ino, Some(fh), false).unwrap();
}

pub fn size(vfs: &Vfs, (ino, _): (Ino, u64)) -> u64 {
    vfs.getattr(&root(), ino, None).unwrap().0.size
}
