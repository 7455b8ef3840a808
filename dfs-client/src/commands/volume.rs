//! `dfs volume`: which volumes a cluster has, making and deleting them.

use super::{CLEAN, Failure, PROBLEMS, connecting, finish, hex, leader_in, target};
use crate::config::Source;
use dfs_proto::v1;
use dfs_proto::v1::volumes_client::VolumesClient;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tonic::Status;
use tonic::transport::Channel;

/// How long a new volume may take until somebody leads it.
const LEAD_LIMIT: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(100);
/// How long one coordinator is waited for.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Refusals that are followed to the leader they name.
const REDIRECTS: usize = 4;

/// What is asked of `dfs volume`.
pub enum Ask {
    List,
    Create {
        name: String,
    },
    /// `sure`: without asking for the name again. `force`: although it is mounted.
    Delete {
        name: String,
        sure: bool,
        force: bool,
    },
}

/// Does it in the cluster of the volume that `given` names; without it, of the one that is mounted here.
pub fn run(given: Option<&str>, ask: Ask, json: bool) -> ExitCode {
    finish("volume", async {
        let source = target::volume(given)?;
        match ask {
            Ask::List => list(&source, json).await,
            Ask::Create { name } => create(&source, &name, json).await,
            Ask::Delete { name, sure, force } => delete(&source, &name, sure, force).await,
        }
    })
}

/// Calls the coordinators in turn until one does what is asked; a refusal that names the leader leads on.
async fn ask<T>(
    source: &Source,
    call: impl AsyncFn(VolumesClient<Channel>) -> Result<tonic::Response<T>, Status>,
) -> Result<T, Failure> {
    let mut next: VecDeque<String> = source.coordinators.iter().cloned().collect();
    let mut redirects = 0;
    let mut reason = String::new();
    while let Some(address) = next.pop_front() {
        let client = VolumesClient::new(connecting(&address)?);
        match tokio::time::timeout(ANSWER_LIMIT, call(client)).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => {
                if let Some(leader) = leader_in(&status).filter(|_| redirects < REDIRECTS) {
                    redirects += 1;
                    next.push_front(leader);
                } else if status.code() != tonic::Code::Unavailable {
                    return Err(status.into());
                }
                reason = status.message().to_owned();
            }
            Err(_) => reason = "no answer in time".to_owned(),
        }
    }
    Err(Failure::Unreachable {
        coordinators: source.coordinators.join(","),
        reason,
    })
}

async fn volumes(source: &Source) -> Result<v1::VolumesReply, Failure> {
    ask(source, async |mut client| {
        client.list(v1::VolumesRequest {}).await
    })
    .await
}

async fn list(source: &Source, json: bool) -> Result<u8, Failure> {
    let reply = volumes(source).await?;
    if json {
        let volumes: Vec<Value> = reply.volumes.iter().map(as_json).collect();
        say!(
            "{:#}",
            json!({
                "cluster": hex(&reply.cluster),
                "coordinators": reply.coordinators,
                "volumes": volumes,
            })
        );
        return Ok(CLEAN);
    }
    say!("{:>6}  {:<24} {:<24} STATE", "NUMBER", "NAME", "LEADER");
    for volume in &reply.volumes {
        let state = match (volume.deleting, volume.leader.is_empty()) {
            (true, _) => "being deleted",
            (false, true) => "nobody leads it",
            (false, false) => "serves",
        };
        let leader = if volume.leader.is_empty() {
            "-"
        } else {
            &volume.leader
        };
        say!("{:>6}  {:<24} {leader:<24} {state}", volume.number, volume.name);
    }
    Ok(CLEAN)
}

fn as_json(volume: &v1::Volume) -> Value {
    json!({
        "number": volume.number,
        "name": volume.name,
        "deleting": volume.deleting,
        "leader": volume.leader,
    })
}

async fn create(source: &Source, name: &str, json: bool) -> Result<u8, Failure> {
    let request = v1::CreateVolumeRequest {
        name: name.to_owned(),
    };
    let made = ask(source, async |mut client| client.create(request.clone()).await).await?;
    let number = made.volume.unwrap_or_default().number;
    let until = Instant::now() + LEAD_LIMIT;
    let volume = loop {
        let known = volumes(source).await?.volumes;
        let led = known
            .into_iter()
            .find(|own| own.number == number && !own.leader.is_empty());
        match led {
            Some(volume) => break volume,
            None if Instant::now() > until => {
                eprintln!("dfs volume: {name} was made, but nobody leads it yet; see `dfs volume list`");
                return Ok(PROBLEMS);
            }
            None => tokio::time::sleep(LOOK).await,
        }
    };
    if json {
        say!("{:#}", as_json(&volume));
    } else {
        say!(
            "volume {name} was made; mount it as dfs://{}/{name}",
            source.coordinators.join(",")
        );
    }
    Ok(CLEAN)
}

async fn delete(source: &Source, name: &str, sure: bool, force: bool) -> Result<u8, Failure> {
    if !sure && !confirmed(name)? {
        return Err(Failure::Usage("nothing was deleted".to_owned()));
    }
    let request = v1::DeleteVolumeRequest {
        name: name.to_owned(),
        force,
    };
    ask(source, async |mut client| client.delete(request.clone()).await).await?;
    say!("volume {name} is being deleted; it is gone when `dfs volume list` does not show it any more");
    Ok(CLEAN)
}

/// Whether the operator types the name again.
fn confirmed(name: &str) -> Result<bool, Failure> {
    let failed = |error| Failure::Io {
        what: "asking for the name".to_owned(),
        error,
    };
    eprint!("All files of volume {name} will be gone for ever. Type its name to go on: ");
    std::io::stderr().flush().map_err(failed)?;
    let mut typed = String::new();
    std::io::stdin().read_line(&mut typed).map_err(failed)?;
    Ok(typed.trim_end_matches('\n') == name)
}
