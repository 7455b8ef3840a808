//! Coordinators and datanodes as separate processes with their own data directories. Called by every test;
//! knows the servers' command lines and nothing of what is in them.
use crate::clock::Clocks;
use crate::etcd::Etcd;
use crate::net::{Network, Node};
use crate::process::Process;
use crate::{patience, programs};
use rand::RngExt;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self as unix, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const START_LIMIT: Duration = Duration::from_secs(60);
const CONNECT_LIMIT: Duration = Duration::from_millis(200);

/// How a cluster differs from the usual one.
#[derive(Clone)]
pub struct Setup {
    /// More than one need etcd.
    pub coordinators: usize,
    /// Members of etcd; none: the log is in the coordinator's directory.
    pub etcd: usize,
    pub etcd_flags: Vec<String>,
    pub datanodes: usize,
    pub replication: usize,
    /// Directories other than the usual, by the server's name (`coordinator`, `datanode-1`...).
    pub directories: Vec<(String, PathBuf)>,
    pub coordinator_flags: Vec<String>,
    pub datanode_flags: Vec<String>,
    /// Each server, and each mount, in a namespace of its own, under its name (`coordinator`, `datanode-1`, `mnt`...).
    pub network: Option<Arc<Network>>,
    /// Wall clocks that a test sets, one for each server under its name.
    pub clocks: Option<Clocks>,
}

impl Default for Setup {
    fn default() -> Self {
        // Seconds instead of minutes, so that what time does can be seen in a test.
        let quick = [
            "--lease-term",
            "1s",
            "--gc-delay",
            "1s",
            "--session-timeout",
            "6s",
            "--inventory-interval",
            "5s",
        ];
        Self {
            coordinators: 1,
            etcd: 0,
            etcd_flags: Vec::new(),
            datanodes: 3,
            replication: 3,
            directories: Vec::new(),
            coordinator_flags: quick.map(String::from).to_vec(),
            datanode_flags: Vec::new(),
            network: None,
            clocks: None,
        }
    }
}

impl Setup {
    /// Where the server of this name listens.
    pub fn address(&self, name: &str, port: u16) -> SocketAddr {
        match &self.network {
            Some(network) => (network.node(name).address, port).into(),
            None => ([127, 0, 0, 1], port).into(),
        }
    }
}

/// One server: its command line, and its process while it runs.
pub struct Server {
    pub name: String,
    pub data: PathBuf,
    pub address: SocketAddr,
    /// Where it shows its figures.
    pub metrics: SocketAddr,
    args: Vec<String>,
    log: PathBuf,
    node: Option<Node>,
    clocks: Option<Clocks>,
    process: Option<Process>,
}

impl Server {
    /// The first start creates what is missing, later ones must find it.
    fn start(&mut self, first: bool) {
        let mut command = Command::new(programs::dfs_server());
        command.args(&self.args);
        if first {
            command.arg("--init");
        }
        if let Some(node) = &self.node {
            node.enter(&mut command);
        }
        if let Some(clocks) = &self.clocks {
            clocks.give(&self.name, &mut command);
        }
        self.process = Some(Process::start(&self.name, &mut command, &self.log));
    }

    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the server runs")
    }

    pub fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Flags for the starts from now on.
    pub fn add_flags(&mut self, flags: &[String]) {
        self.args.extend(flags.iter().cloned());
    }

    pub fn kill(&mut self) {
        self.process = self.process.take().and_then(|mut process| {
            process.kill();
            None
        });
    }

    /// SIGTERM, and the server has ended well when this returns.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let status = process.terminate();
            assert!(
                status.success(),
                "{} ended with {status} after SIGTERM",
                self.name
            );
        }
    }

    pub fn restart(&mut self) {
        self.kill();
        self.start(false);
        self.wait_until_listening();
    }

    /// As a fresh server in the place of this one, whose disk is lost.
    pub fn start_anew(&mut self) {
        self.kill();
        std::fs::remove_dir_all(&self.data).unwrap();
        self.start(true);
    }

    pub fn start_again(&mut self) {
        self.start(false);
    }

    pub fn wait_until_listening(&mut self) {
        let (address, name) = (self.address, self.name.clone());
        let process = self.process();
        patience::until_true(&format!("{name} listens on {address}"), START_LIMIT, || {
            if let Some(status) = process.ended() {
                panic!("{name} ended instead of starting: {status}");
            }
            TcpStream::connect_timeout(&address, CONNECT_LIMIT).is_ok()
        });
    }
}

/// The servers go before what they use.
pub struct Cluster {
    pub coordinator: Server,
    /// The coordinators after the first.
    pub others: Vec<Server>,
    pub datanodes: Vec<Server>,
    pub etcd: Option<Etcd>,
    pub network: Option<Arc<Network>>,
}

impl Cluster {
    pub fn start(dir: &Path) -> Self {
        Self::with(dir, &Setup::default())
    }

    pub fn with(dir: &Path, setup: &Setup) -> Self {
        let etcd = (setup.etcd > 0).then(|| Etcd::start(dir, setup.etcd, &setup.etcd_flags));
        let ports = free_ports(setup.coordinators + setup.datanodes);
        let mut own = vec!["--replication".to_owned(), setup.replication.to_string()];
        own.extend(setup.coordinator_flags.iter().cloned());
        if let Some(etcd) = &etcd {
            own.extend(["--etcd".to_owned(), etcd.endpoints()]);
        }
        let mut coordinators = (0..setup.coordinators).map(|n| {
            let name = match n {
                0 => "coordinator".to_owned(),
                n => format!("coordinator-{}", n + 1),
            };
            let address = setup.address(&name, ports[n]);
            server(dir, setup, "coordinator", &name, address, &own)
        });
        let coordinator = coordinators.next().expect("there is a coordinator");
        let others: Vec<Server> = coordinators.collect();
        let mut own = vec!["--coordinator".to_owned(), addresses(&coordinator, &others)];
        own.extend(setup.datanode_flags.iter().cloned());
        let datanodes = (1..=setup.datanodes).map(|n| {
            let name = format!("datanode-{n}");
            let address = setup.address(&name, ports[setup.coordinators + n - 1]);
            server(dir, setup, "datanode", &name, address, &own)
        });
        let mut cluster = Self {
            coordinator,
            others,
            datanodes: datanodes.collect(),
            etcd,
            network: setup.network.clone(),
        };
        cluster.all().for_each(|server| server.start(true));
        cluster.all().for_each(Server::wait_until_listening);
        cluster.wait_until_healthy();
        cluster
    }

    pub fn all(&mut self) -> impl Iterator<Item = &mut Server> {
        let others = self.others.iter_mut();
        let coordinators = std::iter::once(&mut self.coordinator).chain(others);
        coordinators.chain(&mut self.datanodes)
    }

    /// The coordinator that leads the volume, once there is one.
    pub fn leader(&mut self) -> &mut Server {
        let etcd = self.etcd.as_ref().expect("a cluster with etcd");
        let leader = patience::until("a coordinator leads", START_LIMIT, || etcd.volume_leader());
        self.coordinators()
            .find(|server| server.address.to_string() == leader)
            .unwrap_or_else(|| panic!("nobody is {leader}"))
    }

    /// Starts one more coordinator, with nothing in its directory and the setup's flags.
    pub fn join(&mut self, dir: &Path, setup: &Setup, name: &str) {
        let address = setup.address(name, free_ports(1)[0]);
        let flags = &setup.coordinator_flags;
        let mut server = server(dir, setup, "coordinator", name, address, flags);
        server.start(true);
        server.wait_until_listening();
        self.others.push(server);
    }

    pub fn coordinators(&mut self) -> impl Iterator<Item = &mut Server> {
        std::iter::once(&mut self.coordinator).chain(&mut self.others)
    }

    /// One more datanode, which joins by being started.
    pub fn add_datanode(&mut self, dir: &Path, setup: &Setup) -> &mut Server {
        let name = format!("datanode-{}", self.datanodes.len() + 1);
        let coordinators = addresses(&self.coordinator, &self.others);
        let mut own = vec!["--coordinator".to_owned(), coordinators];
        own.extend(setup.datanode_flags.iter().cloned());
        let address = setup.address(&name, free_ports(1)[0]);
        let mut added = server(dir, setup, "datanode", &name, address, &own);
        added.start(true);
        added.wait_until_listening();
        self.datanodes.push(added);
        self.datanodes.last_mut().expect("just added")
    }

    pub fn kill_all(&mut self) {
        self.all().for_each(Server::kill);
    }

    pub fn start_all(&mut self) {
        self.all().for_each(Server::start_again);
        self.all().for_each(Server::wait_until_listening);
    }

    /// Until `dfs status` finds nothing to complain about.
    pub fn wait_until_healthy(&self) {
        patience::until_true("the cluster is healthy", START_LIMIT, || {
            self.dfs(&["status"]).status.success()
        });
    }

    /// What `dfs mount` is given; `inside` is a directory of the volume or empty.
    pub fn source(&self, inside: &str) -> String {
        let slash = if inside.is_empty() { "" } else { "/" };
        self.source_of(&format!("default{slash}{inside}"))
    }

    /// The same of any volume.
    pub fn source_of(&self, volume: &str) -> String {
        format!("dfs://{}/{volume}", addresses(&self.coordinator, &self.others))
    }

    /// Runs a `dfs` command that talks to this cluster; the volume is its last argument.
    pub fn dfs(&self, args: &[&str]) -> Output {
        let mut command = Command::new(programs::dfs());
        command.args(args).arg(self.source("")).stdin(Stdio::null());
        command.output().unwrap()
    }

    /// `dfs fsck` reads every chunk and finds nothing wrong.
    pub fn assert_clean(&self) {
        let output = self.dfs(&["fsck"]);
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "dfs fsck: {} says\n{said}",
            output.status
        );
    }
}

/// What clients and datanodes are told of the coordinators.
fn addresses(coordinator: &Server, others: &[Server]) -> String {
    let all = std::iter::once(coordinator).chain(others);
    all.map(|server| server.address.to_string())
        .collect::<Vec<_>>()
        .join(",")
}

fn server(dir: &Path, setup: &Setup, role: &str, name: &str, address: SocketAddr, own: &[String]) -> Server {
    let special = setup.directories.iter().find(|(of, _)| of == name);
    let data = special.map_or_else(|| dir.join(name), |(_, data)| data.clone());
    let mut args = vec![role.to_owned(), "--data-dir".into(), data.display().to_string()];
    args.extend(["--listen".to_owned(), address.to_string()]);
    let metrics = SocketAddr::from(([127, 0, 0, 1], free_ports(1)[0]));
    args.extend(["--metrics-listen".to_owned(), metrics.to_string()]);
    args.extend(own.iter().cloned());
    Server {
        name: name.into(),
        data,
        address,
        metrics,
        args,
        log: dir.join(format!("{name}.log")),
        node: setup.network.as_ref().map(|network| network.node(name)),
        clocks: setup.clocks.clone(),
        process: None,
    }
}

/// Below the kernel's range for outgoing connections, so that no client takes a port while its server is dead.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// Ports that this test program has given out. Each is held as a name in the kernel, which goes with the program: a server
/// may start long after its port was found free, and tests run beside one another.
static GIVEN: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

pub fn free_ports(count: usize) -> Vec<u16> {
    let mut random = rand::rng();
    let mut found: Vec<u16> = Vec::new();
    while found.len() < count {
        let port = random.random_range(PORTS);
        let name = unix::SocketAddr::from_abstract_name(format!("dfs-test-port-{port}")).unwrap();
        let Ok(held) = UnixListener::bind_addr(&name) else {
            continue;
        };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            GIVEN.lock().unwrap().push(held);
            found.push(port);
        }
    }
    found
}
