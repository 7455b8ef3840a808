//! A network for one test: each process has a network namespace with an address of its own, and the test's thread sits in
//! the router between them, where it cuts and heals single directions. Called by tests of partitions, through
//! `Setup::network`. Nothing has a name outside: all of it is gone when the test's processes are.
use crate::programs;
use std::collections::BTreeMap;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// Our side of every link.
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// One process's place in the network.
#[derive(Clone)]
pub struct Node {
    pub address: Ipv4Addr,
    namespace: Arc<File>,
}

impl Node {
    /// The command will run in this node's namespace.
    pub fn enter(&self, command: &mut Command) {
        let namespace = self.namespace.clone();
        // SAFETY: setns is a plain system call on a descriptor that the closure keeps open.
        unsafe {
            command.pre_exec(
                move || match libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                },
            )
        };
    }

    fn ip(&self, line: &str) {
        let mut command = ip_command(line);
        self.enter(&mut command);
        run(&mut command);
    }
}

pub struct Network {
    nodes: Mutex<BTreeMap<String, Node>>,
}

impl Network {
    /// Moves the calling thread, and what it starts from now on, into a network namespace: the router.
    pub fn new() -> Arc<Self> {
        // SAFETY: this thread only; it is the test's own.
        let outcome = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(outcome, 0, "unshare: {}", std::io::Error::last_os_error());
        ip("link set lo up");
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        Arc::new(Self {
            nodes: Mutex::default(),
        })
    }

    /// The node of this name; made when there is none yet.
    pub fn node(&self, name: &str) -> Node {
        let mut nodes = self.nodes.lock().unwrap();
        if let Some(node) = nodes.get(name) {
            return node.clone();
        }
        let number = nodes.len() as u8 + 2;
        let node = Node {
            address: Ipv4Addr::new(10, 99, 0, number),
            namespace: Arc::new(fresh_namespace()),
        };
        let (address, link) = (node.address, format!("to-{number}"));
        let place = format!("/proc/{}/fd/{}", std::process::id(), node.namespace.as_raw_fd());
        ip(&format!("link add {link} type veth peer name eth0 netns {place}"));
        ip(&format!("addr add {ROUTER}/32 dev {link}"));
        ip(&format!("link set {link} up"));
        ip(&format!("route add {address}/32 dev {link} src {ROUTER}"));
        node.ip("link set lo up");
        node.ip(&format!("addr add {address}/32 dev eth0"));
        node.ip("link set eth0 up");
        node.ip(&format!("route add {ROUTER}/32 dev eth0 src {address}"));
        node.ip(&format!("route add default via {ROUTER}"));
        nodes.insert(name.into(), node.clone());
        node
    }

    /// From now on nothing of `from` reaches `to`: packets vanish without a word, as behind a cut cable.
    pub fn cut_one_way(&self, from: &str, to: &str) {
        ip(&format!("rule add {}", self.rule(from, to)));
    }

    /// Both directions.
    pub fn cut(&self, a: &str, b: &str) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// `name` reaches nobody and nobody reaches it, except the test's own thread.
    pub fn isolate(&self, name: &str) {
        let others: Vec<_> = self.nodes.lock().unwrap().keys().cloned().collect();
        for other in others.iter().filter(|other| *other != name) {
            self.cut(name, other);
        }
    }

    pub fn heal_one_way(&self, from: &str, to: &str) {
        ip(&format!("rule del {}", self.rule(from, to)));
    }

    pub fn heal(&self, a: &str, b: &str) {
        self.heal_one_way(a, b);
        self.heal_one_way(b, a);
    }

    /// Everybody reaches everybody again.
    pub fn heal_all(&self) {
        while try_ip("rule del pref 10") {}
    }

    fn rule(&self, from: &str, to: &str) -> String {
        let address = |name: &str| {
            let nodes = self.nodes.lock().unwrap();
            let node = nodes.get(name);
            node.unwrap_or_else(|| panic!("there is no node {name} in the network"))
                .address
        };
        format!("pref 10 from {} to {} blackhole", address(from), address(to))
    }
}

/// Made by a thread that ends at once; the descriptor keeps it.
fn fresh_namespace() -> File {
    let made = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: changes only this thread.
            let outcome = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(outcome, 0, "unshare: {}", std::io::Error::last_os_error());
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        thread.join()
    });
    made.expect("a network namespace")
}

fn ip_command(line: &str) -> Command {
    let mut command = Command::new(programs::debian("ip"));
    command.args(line.split(' '));
    command
}

fn ip(line: &str) {
    run(&mut ip_command(line));
}

fn try_ip(line: &str) -> bool {
    ip_command(line).output().unwrap().status.success()
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    /// Does `work` in the node's namespace.
    fn inside<T: Send>(node: &Node, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // SAFETY: changes only this thread.
                let outcome = unsafe { libc::setns(node.namespace.as_raw_fd(), libc::CLONE_NEWNET) };
                assert_eq!(outcome, 0);
                work()
            });
            thread.join().unwrap()
        })
    }

    fn hears(stream: &mut TcpStream) -> bool {
        let mut byte = [0];
        match stream.read_exact(&mut byte) {
            Ok(()) => true,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
            Err(e) => panic!("a cut must be silent: {e}"),
        }
    }

    #[test]
    fn directions_are_cut_silently_and_healed() {
        let network = Network::new();
        let (a, b) = (network.node("a"), network.node("b"));
        let listener = inside(&b, || TcpListener::bind((b.address, 7000)).unwrap());
        let mut near = inside(&a, || TcpStream::connect((b.address, 7000)).unwrap());
        let (mut far, from) = listener.accept().unwrap();
        assert_eq!(from.ip(), a.address);
        for stream in [&near, &far] {
            stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        }
        near.write_all(b"1").unwrap();
        assert!(hears(&mut far));

        network.cut_one_way("a", "b");
        near.write_all(b"2").unwrap();
        assert!(!hears(&mut far), "what a sends vanishes");
        let connect = TcpStream::connect_timeout(&(b.address, 7000).into(), Duration::from_secs(5));
        assert!(connect.is_ok(), "the router still reaches b");
        network.heal_one_way("a", "b");
        far.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(hears(&mut far), "and is sent again after the heal");

        network.isolate("a");
        far.write_all(b"3").unwrap();
        assert!(!hears(&mut near));
        network.heal_all();
        near.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(hears(&mut near));
    }
}
