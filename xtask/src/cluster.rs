//! One `dfs-server standalone` and one mount of it, as processes. Called by `up` and by the benchmark.
//! Knows the command lines of the executables and nothing of what is behind them.
use crate::fuse;
use crate::shell::{self, Outcome};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Starting includes recovery by scan of the datanodes' segments.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Stopping drains; longer than this is a fault.
const STOP_LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
/// How much of the server's log is shown when it did not start.
const TAIL_LINES: usize = 15;

/// Where a server keeps its things and which executables are run.
pub struct Cluster {
    pub programs: PathBuf,
    pub home: PathBuf,
    /// Coordinator first, then the three datanodes.
    pub ports: [u16; 4],
}

impl Cluster {
    pub fn pid_file(&self) -> PathBuf {
        self.home.join("standalone.pid")
    }

    pub fn log_file(&self) -> PathBuf {
        self.home.join("standalone.log")
    }

    /// What `dfs mount` is given.
    pub fn source(&self) -> String {
        format!("dfs://localhost:{}/default", self.ports[0])
    }

    /// The running server's process, if it is one and is ours.
    pub fn running(&self) -> Option<i32> {
        let pid: i32 = std::fs::read_to_string(self.pid_file())
            .ok()?
            .trim()
            .parse()
            .ok()?;
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        (name.trim() == "dfs-server").then_some(pid)
    }

    /// Starts the server in the background and waits until it answers.
    pub fn start(&self) -> Outcome {
        let failed = |e: std::io::Error| format!("cannot prepare {}: {e}", self.home.display());
        std::fs::create_dir_all(&self.home).map_err(failed)?;
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .map_err(failed)?;
        let program = self.programs.join("dfs-server");
        let mut server = shell::command(&program);
        server
            .arg("standalone")
            .arg("--data-dir")
            .arg(self.home.join("data"));
        server.arg("--listen").arg(format!("127.0.0.1:{}", self.ports[0]));
        for port in &self.ports[1..] {
            server.arg("--datanode-listen").arg(format!("127.0.0.1:{port}"));
        }
        server
            .current_dir("/")
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log);
        // SAFETY: setsid is safe between fork and exec; the server must outlive this terminal.
        unsafe {
            server.pre_exec(|| {
                if libc::setsid() < 0 {
                    Err(std::io::Error::last_os_error())
                } else {
                    Ok(())
                }
            })
        };
        let mut child = server
            .spawn()
            .map_err(|e| format!("cannot start {}: {e}", program.display()))?;
        std::fs::write(self.pid_file(), format!("{}\n", child.id())).map_err(failed)?;
        self.wait_until_listening(&mut child)?;
        self.wait_until_healthy()
    }

    /// Listening is not enough: the datanodes must have joined, or the first files would have too few copies.
    fn wait_until_healthy(&self) -> Outcome {
        let begun = Instant::now();
        let status =
            || shell::capture(shell::command(self.programs.join("dfs")).args(["status", &self.source()]));
        while let Err(complaint) = status() {
            if begun.elapsed() > START_LIMIT {
                return Err(format!(
                    "the cluster does not become healthy: {complaint}\n{}",
                    self.log_tail()
                ));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    fn wait_until_listening(&self, child: &mut std::process::Child) -> Outcome {
        let begun = Instant::now();
        for port in self.ports {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            while TcpStream::connect_timeout(&address, POLL).is_err() {
                if let Ok(Some(status)) = child.try_wait() {
                    return Err(format!(
                        "dfs-server ended ({status}); its log says:\n{}",
                        self.log_tail()
                    ));
                }
                if begun.elapsed() > START_LIMIT {
                    return Err(format!(
                        "dfs-server does not listen on {address}:\n{}",
                        self.log_tail()
                    ));
                }
                std::thread::sleep(POLL);
            }
        }
        Ok(())
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Mounts the volume; `dfs mount` returns when the mount is usable.
    pub fn mount(&self, point: &Path) -> Outcome {
        std::fs::create_dir_all(point).map_err(|e| format!("cannot make {}: {e}", point.display()))?;
        let mut dfs = shell::command(self.programs.join("dfs"));
        dfs.args(["mount", &self.source()])
            .arg(point)
            .args(["-o", "allow_other"]);
        dfs.stdout(Stdio::null());
        shell::run(&mut dfs)?;
        if fuse::mounted(point).is_none() {
            return Err(format!(
                "`dfs mount` returned, but nothing is mounted on {}",
                point.display()
            ));
        }
        Ok(())
    }

    /// Asks the server to stop and waits; one that does not stop is killed, and that is said.
    pub fn stop(&self) -> Outcome {
        let Some(pid) = self.running() else { return Ok(()) };
        signal(pid, libc::SIGTERM);
        let begun = Instant::now();
        while self.running().is_some_and(|_| !reap(pid)) {
            if begun.elapsed() > STOP_LIMIT {
                println!(
                    "dfs-server (process {pid}) did not stop in {} s: killing it",
                    STOP_LIMIT.as_secs()
                );
                signal(pid, libc::SIGKILL);
                std::thread::sleep(POLL);
                reap(pid);
                break;
            }
            std::thread::sleep(POLL);
        }
        std::fs::remove_file(self.pid_file()).map_err(|e| format!("cannot remove the pid file: {e}"))
    }
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: kill has no memory effects; a process already gone is what we want.
    unsafe { libc::kill(pid, signal) };
}

/// True when the process was our child and has ended; for other processes /proc tells.
fn reap(pid: i32) -> bool {
    // SAFETY: a null status pointer is allowed.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) == pid }
}
