//! A real etcd of one or three members on this machine, each a process with its own directory: killed, frozen and
//! started again one by one. Clusters with several coordinators use it; it knows only one key of what they keep
//! there.
use crate::process::Process;
use crate::{cluster, patience, programs};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const START_LIMIT: Duration = Duration::from_secs(60);
const CONNECT_LIMIT: Duration = Duration::from_millis(200);

/// One member: its command line, and its process while it runs.
pub struct Member {
    pub name: String,
    pub address: SocketAddr,
    args: Vec<String>,
    log: PathBuf,
    process: Option<Process>,
}

impl Member {
    pub fn start(&mut self) {
        let mut command = Command::new(programs::debian("etcd"));
        command.args(&self.args);
        self.process = Some(Process::start(&self.name, &mut command, &self.log));
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the member runs")
    }
}

/// All members.
pub struct Etcd {
    pub members: Vec<Member>,
}

impl Etcd {
    /// Starts `count` members with further `flags` below `dir`; returns when they take writes.
    pub fn start(dir: &Path, count: usize, flags: &[String]) -> Etcd {
        let ports = cluster::free_ports(2 * count);
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let name = |number: usize| format!("etcd-{}", number + 1);
        let all: Vec<String> = (0..count)
            .map(|number| format!("{}={}", name(number), url(ports[2 * number + 1])))
            .collect();
        let members = (0..count).map(|number| {
            let (client, peer) = (ports[2 * number], ports[2 * number + 1]);
            let name = name(number);
            let data = dir.join(&name).display().to_string();
            let mut args: Vec<String> = [
                ("--name", name.as_str()),
                ("--data-dir", &data),
                ("--listen-client-urls", &url(client)),
                ("--advertise-client-urls", &url(client)),
                ("--listen-peer-urls", &url(peer)),
                ("--initial-advertise-peer-urls", &url(peer)),
                ("--initial-cluster", &all.join(",")),
                ("--logger", "zap"),
                ("--log-level", "error"),
            ]
            .iter()
            .flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()])
            .collect();
            args.extend(flags.iter().cloned());
            Member {
                address: ([127, 0, 0, 1], client).into(),
                log: dir.join(format!("{name}.log")),
                name,
                args,
                process: None,
            }
        });
        let mut etcd = Etcd {
            members: members.collect(),
        };
        etcd.members.iter_mut().for_each(Member::start);
        etcd.wait_until_writable();
        etcd
    }

    /// What `--etcd` is given.
    pub fn endpoints(&self) -> String {
        let urls = self
            .members
            .iter()
            .map(|member| format!("http://{}", member.address));
        urls.collect::<Vec<_>>().join(",")
    }

    /// Until a majority takes a write.
    pub fn wait_until_writable(&mut self) {
        for member in &mut self.members {
            let (name, address) = (member.name.clone(), member.address);
            let Some(process) = member.process.as_mut() else {
                continue;
            };
            patience::until_true(&format!("{name} listens"), START_LIMIT, || {
                if let Some(status) = process.ended() {
                    panic!("{name} ended instead of starting: {status}\n{}", process.log());
                }
                TcpStream::connect_timeout(&address, CONNECT_LIMIT).is_ok()
            });
        }
        patience::until_true("etcd takes a write", START_LIMIT, || {
            self.ctl(&["put", "test", "x"]).is_some()
        });
    }

    /// Runs `etcdctl`; what it printed, or `None` when it failed.
    pub fn ctl(&self, args: &[&str]) -> Option<String> {
        let mut command = Command::new(programs::debian("etcdctl"));
        command.env("ETCDCTL_API", "3");
        command.args(["--endpoints", &self.endpoints(), "--command-timeout", "3s"]);
        let output = command.args(args).stdin(Stdio::null()).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(printed)
    }

    /// The member that leads etcd itself.
    pub fn leading_member(&self) -> Option<usize> {
        let all = self.ctl(&["endpoint", "status", "-w", "json"])?;
        let all: serde_json::Value = serde_json::from_str(&all).ok()?;
        let leads = |one: &serde_json::Value| {
            let status = &one["Status"];
            status["leader"] == status["header"]["member_id"]
        };
        let endpoint = all.as_array()?.iter().find(|one| leads(one))?["Endpoint"].as_str()?;
        let found = |member: &Member| endpoint.ends_with(&member.address.to_string());
        self.members.iter().position(found)
    }

    /// Below it the registry of the cluster.
    fn registry(&self) -> Option<String> {
        let cluster = self.ctl(&["get", "--print-value-only", "/dfs/cluster"])?;
        let cluster: String = serde_json::from_str(cluster.trim()).ok()?;
        Some(format!("/dfs/{cluster}/registry"))
    }

    /// The address of the coordinator that leads the first volume.
    pub fn volume_leader(&self) -> Option<String> {
        let key = format!("{}/leaders/0", self.registry()?);
        let leader = self.ctl(&["get", "--print-value-only", &key])?;
        let leader: serde_json::Value = serde_json::from_str(leader.trim()).ok()?;
        Some(leader["address"].as_str()?.to_owned())
    }

    /// The entries of the coordinators that live.
    pub fn coordinators(&self) -> Vec<serde_json::Value> {
        let entries = || {
            let prefix = format!("{}/coordinators/", self.registry()?);
            self.ctl(&["get", "--print-value-only", "--prefix", &prefix])
        };
        let entries = entries().unwrap_or_default();
        let entry = |line: &str| serde_json::from_str(line).ok();
        entries.lines().filter_map(entry).collect()
    }
}
