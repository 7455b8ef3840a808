//! A real etcd for tests of this crate: one member with its own directory, gone when its owner is; and a proxy in
//! front of it that loses answers on demand. Only tests name it.

use super::settings::EtcdSettings;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

const START: Duration = Duration::from_secs(60);
/// Ports given by the system could be taken by outgoing connections before etcd listens: tried so often.
const TRIES: u32 = 5;

/// A running member; killed when this is dropped.
pub struct Trial {
    child: Child,
    pub address: SocketAddr,
    _dir: TempDir,
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Trial {
    pub fn start(flags: &[&str]) -> Trial {
        Trial::start_with("http", flags)
    }

    /// One that speaks TLS to its clients, as the flags say.
    pub fn start_secure(flags: &[&str]) -> Trial {
        Trial::start_with("https", flags)
    }

    fn start_with(scheme: &str, flags: &[&str]) -> Trial {
        (0..TRIES)
            .find_map(|_| Trial::try_start(scheme, flags))
            .expect("etcd starts")
    }

    fn try_start(scheme: &str, flags: &[&str]) -> Option<Trial> {
        let dir = tempfile::tempdir().unwrap();
        let (address, peer) = (free_address(), free_address());
        let (client_url, peer_url) = (format!("{scheme}://{address}"), format!("http://{peer}"));
        let mut command = Command::new("etcd");
        command
            .args(["--name", "one", "--data-dir"])
            .arg(dir.path())
            .args([
                "--listen-client-urls",
                &client_url,
                "--advertise-client-urls",
                &client_url,
            ])
            .args([
                "--listen-peer-urls",
                &peer_url,
                "--initial-advertise-peer-urls",
                &peer_url,
            ])
            .args([
                "--initial-cluster",
                &format!("one={peer_url}"),
                "--log-level",
                "error",
            ])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // SAFETY: prctl is safe between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            })
        };
        let child = command
            .spawn()
            .expect("etcd is installed (Debian's package etcd-server; cargo xtask test installs it)");
        let mut trial = Trial {
            child,
            address,
            _dir: dir,
        };
        let begun = Instant::now();
        while begun.elapsed() < START {
            if trial.child.try_wait().unwrap().is_some() {
                return None;
            }
            if std::net::TcpStream::connect(address).is_ok() {
                return Some(trial);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("etcd does not listen on {address}");
    }

    pub fn settings(&self) -> EtcdSettings {
        EtcdSettings::plain(vec![format!("http://{}", self.address)])
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: the child is not reaped before this is dropped.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
        self.child.wait().ok();
    }
}

/// Passes bytes on, until it is told to lose what the server says.
pub struct Proxy {
    pub address: SocketAddr,
    lossy: Arc<AtomicBool>,
    cut: tokio::sync::watch::Sender<bool>,
}

impl Proxy {
    pub async fn start(server: SocketAddr) -> Proxy {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let lossy = Arc::new(AtomicBool::new(false));
        let (cut, gate) = tokio::sync::watch::channel(false);
        let flag = lossy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, server, flag.clone(), gate.clone()));
            }
        });
        Proxy { address, lossy, cut }
    }

    /// From now on nothing arrives anywhere, as behind a cut cable, until `false`.
    pub fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }

    /// From now on requests arrive and answers do not, until `false`.
    pub fn lose_answers(&self, lossy: bool) {
        self.lossy.store(lossy, Ordering::SeqCst);
    }

    pub fn settings(&self) -> EtcdSettings {
        EtcdSettings::plain(vec![format!("http://{}", self.address)])
    }
}

/// One connection.
async fn pass(
    client: TcpStream,
    server: SocketAddr,
    lossy: Arc<AtomicBool>,
    gate: tokio::sync::watch::Receiver<bool>,
) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let up = copy(from_client, to_server, gate.clone(), || false);
    // The request was done; its answer and the connection are lost.
    let down = copy(from_server, to_client, gate, || lossy.load(Ordering::SeqCst));
    let ended = tokio::select! { end = up => end, end = down => end };
    drop(ended);
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut gate: tokio::sync::watch::Receiver<bool>,
    lose: impl Fn() -> bool,
) -> std::io::Result<()> {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut bytes).await?;
        if gate.wait_for(|cut| !cut).await.is_err() || count == 0 || lose() {
            return Ok(());
        }
        to.write_all(&bytes[..count]).await?;
    }
}
