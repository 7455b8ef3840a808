//! The commands that need no kernel: `dfs info`, `dfs status`, `dfs fsck`, `dfs sync`, `dfs node`, `dfs volume`. The
//! `dfs` executable parses its command line and calls `run`, which prints and returns the process's exit code.

/// Prints a line. A reader that has seen enough (`dfs status | head`) ends the command quietly.
macro_rules! say {
    ($($line:tt)*) => {
        crate::commands::line(format_args!($($line)*))
    };
}

pub mod bench_directory;
pub mod bench_metadata;
pub mod fsck;
pub mod info;
pub mod node;
pub mod profile;
pub mod quota;
mod space;
pub mod stats;
pub mod status;
pub mod summary;
pub mod sync;
mod target;
pub mod top;
pub mod trash;
pub mod volume;
pub mod warmup;

use crate::channel::{MESSAGE_MAX, connect_lazy};
use crate::config::Source;
use dfs_proto::v1;
use dfs_proto::v1::admin_client::AdminClient;
use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// What was asked for was done and nothing is wrong.
const CLEAN: u8 = 0;
/// Something is wrong with what was looked at.
const PROBLEMS: u8 = 1;
/// It could not be looked at.
const COULD_NOT: u8 = 2;

/// A coordinator that does not answer within this is passed over.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The same, where there are others to ask.
const OTHERS_TIMEOUT: Duration = Duration::from_secs(3);
/// Between two looks for a leader.
const LEADER_LOOK: Duration = Duration::from_millis(200);
/// Refusals of one round that are followed to the leader they name.
const REDIRECTS: usize = 4;
/// Metadata of requests and of refusals: the volume's name, and the leader's address.
const VOLUME_KEY: &str = "dfs-volume";
const LEADER_KEY: &str = "dfs-leader";

/// Why a command could not do its work: printed as one line.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("no coordinator answers at {coordinators}: {reason}; is dfs-server running there?")]
    Unreachable { coordinators: String, reason: String },
    #[error("the coordinator answered: {}", .0.message())]
    Refused(#[from] tonic::Status),
    #[error("{what}: {error}")]
    Io { what: String, error: std::io::Error },
}

/// Names the volume in every request.
#[derive(Clone)]
struct About(MetadataValue<Ascii>);

impl Interceptor for About {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(VOLUME_KEY, self.0.clone());
        Ok(request)
    }
}

type Admin = AdminClient<InterceptedService<Channel, About>>;

/// The leader that a refusal names.
fn leader_in(status: &Status) -> Option<String> {
    Some(status.metadata().get(LEADER_KEY)?.to_str().ok()?.to_owned())
}

fn connecting(address: &str) -> Result<Channel, Failure> {
    connect_lazy(address).map_err(|error| Failure::Usage(format!("{address}: {error}")))
}

/// A coordinator that serves, and what it says of itself.
async fn connect(source: &Source) -> Result<(Admin, v1::StatusReply), Failure> {
    serving(source).await.map(|(admin, status, _)| (admin, status))
}

/// The same with its address: that of the volume's leader, which is looked for while there is none.
async fn serving(source: &Source) -> Result<(Admin, v1::StatusReply, String), Failure> {
    let volume = source.volume.parse();
    let about = About(volume.map_err(|_| Failure::Usage("the volume's name is not plain text".to_owned()))?);
    let until = Instant::now() + ANSWER_TIMEOUT;
    let limit = match source.coordinators.len() {
        1 => ANSWER_TIMEOUT,
        _ => OTHERS_TIMEOUT,
    };
    let mut next: VecDeque<String> = source.coordinators.iter().cloned().collect();
    loop {
        let mut reason = "no coordinator was named".to_owned();
        let mut leaderless = false;
        let mut redirects = 0;
        while let Some(address) = next.pop_front() {
            let channel = connecting(&address)?;
            let mut admin =
                AdminClient::with_interceptor(channel, about.clone()).max_decoding_message_size(MESSAGE_MAX);
            match tokio::time::timeout(limit, admin.status(v1::StatusRequest {})).await {
                Ok(Ok(status)) => {
                    let status = status.into_inner();
                    if status.volume != source.volume {
                        let message = format!(
                            "{address} serves volume `{}`, not `{}`",
                            status.volume, source.volume
                        );
                        return Err(Failure::Usage(message));
                    }
                    return Ok((admin, status, address));
                }
                Ok(Err(status)) if status.code() == Code::NotFound => return Err(status.into()),
                Ok(Err(status)) => {
                    reason = status.message().to_string();
                    leaderless |= status.code() == Code::Unavailable && source.coordinators.len() > 1;
                    if let Some(leader) = leader_in(&status).filter(|_| redirects < REDIRECTS) {
                        redirects += 1;
                        next.push_front(leader);
                    }
                }
                Err(_) => reason = "no answer in time".to_string(),
            }
        }
        if !leaderless || Instant::now() >= until {
            return Err(Failure::Unreachable {
                coordinators: source.coordinators.join(","),
                reason,
            });
        }
        tokio::time::sleep(LEADER_LOOK).await;
        next.extend(source.coordinators.iter().cloned());
    }
}

fn line(text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    let Err(error) = writeln!(std::io::stdout().lock(), "{text}") else {
        return;
    };
    if error.kind() != std::io::ErrorKind::BrokenPipe {
        eprintln!("dfs: cannot print the answer: {error}");
    }
    std::process::exit(COULD_NOT.into());
}

/// Runs a command's work and turns its outcome into an exit code.
fn finish(name: &str, work: impl Future<Output = Result<u8, Failure>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("dfs {name}: cannot start: {error}");
            return ExitCode::from(COULD_NOT);
        }
    };
    match runtime.block_on(work) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("dfs {name}: {failure}");
            ExitCode::from(COULD_NOT)
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `host:port` of a node, for people.
fn place(node: &v1::Node) -> String {
    format!("{} ({})", node.id, node.address)
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", units[unit])
    }
}
