//! All in one process: a coordinator and its datanodes, each with its own data directory, over the loopback
//! network as on many machines. The default for one laptop. It only starts and stops the roles.

use crate::config::signals;
use crate::config::units::parse_size;
use crate::config::{Fatal, Shared};
use crate::coordinator::{self, Coordinator};
use crate::datanode::{self, Datanode};
use dfs_client::observe::Observer;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Settings of `dfs-server standalone`. What is missing in the data directory is made.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub shared: Shared,
    /// Address of the coordinator
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:7400",
        env = "DFS_LISTEN"
    )]
    pub listen: SocketAddr,
    /// Addresses of the datanodes: one datanode for each
    #[arg(
        long,
        value_name = "ADDRESSES",
        value_delimiter = ',',
        default_values = ["127.0.0.1:7411", "127.0.0.1:7412", "127.0.0.1:7413"],
        env = "DFS_DATANODE_LISTEN"
    )]
    pub datanode_listen: Vec<SocketAddr>,
    /// Directory for everything: `coordinator`, `datanode-1`, ... below it
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/lib/dfs",
        env = "DFS_DATA_DIR"
    )]
    pub data_dir: PathBuf,
    /// Accepted for symmetry: this role always makes what is missing
    #[arg(long)]
    pub init: bool,
    /// Most bytes for chunks on each datanode, such as 50GiB (default: what the disk has)
    #[arg(long, value_name = "SIZE", value_parser = parse_size, env = "DFS_CAPACITY")]
    pub capacity: Option<u64>,
    #[command(flatten)]
    pub care: datanode::Care,
    #[command(flatten)]
    pub policy: coordinator::Policy,
}

impl Args {
    fn policy(&self) -> coordinator::Policy {
        let most = self.datanode_listen.len().clamp(1, 3) as u8;
        coordinator::Policy {
            replication: self.policy.replication.or(Some(most)),
            ..self.policy.clone()
        }
    }

    fn datanode(&self, number: usize, observer: &Observer) -> datanode::Settings {
        datanode::Settings {
            data_dir: self.data_dir.join(format!("datanode-{number}")),
            coordinators: vec![self.listen.to_string()],
            advertise: None,
            zone: format!("zone-{number}"),
            capacity: self.capacity,
            reserve: None,
            sharers: self.datanode_listen.len() as u64,
            care: self.care,
            observer: observer.part("datanode", &number.to_string()),
        }
    }
}

/// One role, listening and ready to serve.
enum Part {
    Coordinator(Box<Coordinator>, TcpListener),
    Datanode(Datanode, TcpListener),
}

/// The process `dfs-server standalone`: ends when it is told to or when any part fails.
pub async fn run(args: Args) -> Result<(), Fatal> {
    let asked = signals::stop()?;
    let parts = prepare(&args).await?;
    let (tell, stop) = watch::channel(false);
    let mut running = JoinSet::new();
    for part in parts {
        let stop = stop.clone();
        match part {
            Part::Coordinator(part, listener) => running.spawn(part.serve(listener, stop)),
            Part::Datanode(part, listener) => running.spawn(part.serve(listener, stop)),
        };
    }
    println!(
        "dfs-server standalone serves volume {:?} at dfs://{}/{} with {} datanodes, data in {}",
        args.policy.volume,
        args.listen,
        args.policy.volume,
        args.datanode_listen.len(),
        args.data_dir.display()
    );
    let first = tokio::select! {
        ended = running.join_next() => part_end(ended),
        () = asked => Ok(()),
    };
    // Parts that ended have dropped their receivers.
    let _ = tell.send(true);
    let mut result = first;
    while let Some(ended) = running.join_next().await {
        result = result.and(part_end(Some(ended)));
    }
    result
}

/// Opens every directory and takes every address before anything is served.
async fn prepare(args: &Args) -> Result<Vec<Part>, Fatal> {
    let observer = args.shared.observe(coordinator::METRICS_PORT).await?;
    let (policy, data_dir) = (args.policy(), args.data_dir.join("coordinator"));
    let mut dir = crate::config::data_dir::DataDir::open(&data_dir, "coordinator", true)?;
    let cluster = coordinator::join_cluster(&mut dir, &policy)?;
    let settings = policy.settings(&data_dir, cluster, &observer)?;
    let listener = coordinator::bind(args.listen).await?;
    let part = Coordinator::start_alone(dir, settings, args.listen.to_string(), true).await?;
    let mut parts = vec![Part::Coordinator(Box::new(part), listener)];
    for (position, address) in args.datanode_listen.iter().enumerate() {
        let listener = datanode::bind(*address).await?;
        let part = datanode::start_blocking(args.datanode(position + 1, &observer), true).await?;
        parts.push(Part::Datanode(part, listener));
    }
    Ok(parts)
}

fn part_end(ended: Option<Result<Result<(), Fatal>, tokio::task::JoinError>>) -> Result<(), Fatal> {
    match ended {
        Some(Ok(result)) => result,
        Some(Err(error)) => Err(Fatal::io("a part of the server panicked; start it again", error)),
        None => Ok(()),
    }
}
