//! The commands that need no kernel: `dfs info`, `dfs status`, `dfs fsck`, `dfs sync`. The `dfs` executable parses
//! its command line and calls `run`, which prints and returns the process's exit code.

/// Prints a line. A reader that has seen enough (`dfs status | head`) ends the command quietly.
macro_rules! say {
    ($($line:tt)*) => {
        crate::commands::line(format_args!($($line)*))
    };
}

pub mod fsck;
pub mod info;
pub mod node;
pub mod quota;
mod space;
pub mod status;
pub mod sync;
mod target;
pub mod top;
pub mod trash;

use crate::channel::{MESSAGE_MAX, connect_lazy};
use crate::config::Source;
use dfs_proto::v1;
use dfs_proto::v1::admin_client::AdminClient;
use std::process::ExitCode;
use std::time::Duration;
use tonic::transport::Channel;

/// What was asked for was done and nothing is wrong.
const CLEAN: u8 = 0;
/// Something is wrong with what was looked at.
const PROBLEMS: u8 = 1;
/// It could not be looked at.
const COULD_NOT: u8 = 2;

/// A coordinator that does not answer within this is passed over.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

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

type Admin = AdminClient<Channel>;

/// A coordinator that serves, and what it says of itself.
async fn connect(source: &Source) -> Result<(Admin, v1::StatusReply), Failure> {
    serving(source).await.map(|(admin, status, _)| (admin, status))
}

/// The same with its address.
async fn serving(source: &Source) -> Result<(Admin, v1::StatusReply, String), Failure> {
    let mut reason = String::new();
    for address in &source.coordinators {
        let channel = match connect_lazy(address) {
            Ok(channel) => channel,
            Err(error) => {
                reason = error.to_string();
                continue;
            }
        };
        let mut admin = AdminClient::new(channel).max_decoding_message_size(MESSAGE_MAX);
        match tokio::time::timeout(ANSWER_TIMEOUT, admin.status(v1::StatusRequest {})).await {
            Ok(Ok(status)) => {
                let status = status.into_inner();
                if status.volume != source.volume {
                    let message = format!(
                        "{address} serves volume `{}`, not `{}`",
                        status.volume, source.volume
                    );
                    return Err(Failure::Usage(message));
                }
                return Ok((admin, status, address.clone()));
            }
            Ok(Err(status)) => reason = status.message().to_string(),
            Err(_) => reason = "no answer in time".to_string(),
        }
    }
    Err(Failure::Unreachable {
        coordinators: source.coordinators.join(","),
        reason,
    })
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
