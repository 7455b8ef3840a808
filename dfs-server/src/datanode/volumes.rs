//! Which volumes there are and who leads them, asked of all coordinators that are known. The heartbeat uses it; it
//! remembers the coordinators that it hears of.

use dfs_client::channel::Pool;
use dfs_core::ids::VolumeId;
use dfs_proto::v1::VolumesRequest;
use dfs_proto::v1::volumes_client::VolumesClient;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::Code;

/// A coordinator that does not answer by then is passed over.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// Coordinators that are remembered beside those in the settings.
const LEARNED_MAX: usize = 16;

/// The volumes' leaders; empty: nobody leads the volume now.
pub type Leaders = BTreeMap<VolumeId, String>;

/// The coordinators of the settings, and those that they named.
pub struct Coordinators {
    given: Vec<String>,
    learned: Vec<String>,
}

struct Answer {
    leaders: Leaders,
    /// Volumes that the one that answered leads.
    here: Vec<VolumeId>,
    coordinators: Vec<String>,
}

impl Coordinators {
    pub fn new(given: Vec<String>) -> Coordinators {
        Coordinators {
            given,
            learned: Vec::new(),
        }
    }

    /// Asks all at once. A leader's own word counts more than what others heard of it.
    pub async fn leaders(&mut self, pool: &Pool) -> Result<Leaders, String> {
        let known = self.given.iter().chain(&self.learned);
        let mut asked: FuturesUnordered<_> = known.map(|address| ask(pool, address.clone())).collect();
        let mut reason = "no coordinator is given".to_owned();
        let mut found = Leaders::new();
        let mut sure: BTreeMap<VolumeId, String> = BTreeMap::new();
        let mut learned = None;
        while let Some((address, answer)) = asked.next().await {
            match answer {
                Ok(answer) => {
                    sure.extend(answer.here.into_iter().map(|volume| (volume, address.clone())));
                    for (volume, leader) in answer.leaders {
                        let known = found.entry(volume).or_default();
                        if known.is_empty() {
                            *known = leader;
                        }
                    }
                    learned = Some(answer.coordinators);
                    if !found.is_empty() && found.keys().all(|volume| sure.contains_key(volume)) {
                        break;
                    }
                }
                Err(error) => reason = error,
            }
        }
        let Some(learned) = learned else {
            return Err(reason);
        };
        self.learned = learned;
        self.learned.retain(|address| !self.given.contains(address));
        self.learned.truncate(LEARNED_MAX);
        found.extend(sure);
        Ok(found)
    }
}

async fn ask(pool: &Pool, address: String) -> (String, Result<Answer, String>) {
    let answer = ask_one(pool, &address).await;
    (address, answer)
}

async fn ask_one(pool: &Pool, address: &str) -> Result<Answer, String> {
    let peer = pool
        .peer(address)
        .map_err(|error| format!("{address:?} is no host:port: {error}"))?;
    let mut client = VolumesClient::new(peer.channel());
    let reply = tokio::time::timeout(ANSWER_LIMIT, client.list(VolumesRequest {})).await;
    let reply = match reply.map_err(|_| format!("{address}: no answer"))? {
        Ok(reply) => reply.into_inner(),
        // One of before there could be several volumes leads the only one.
        Err(status) if status.code() == Code::Unimplemented => {
            return Ok(Answer {
                leaders: Leaders::from([(VolumeId(0), address.to_owned())]),
                here: vec![VolumeId(0)],
                coordinators: Vec::new(),
            });
        }
        Err(status) => return Err(format!("{address}: {}", status.message())),
    };
    let mut answer = Answer {
        leaders: Leaders::new(),
        here: Vec::new(),
        coordinators: reply.coordinators,
    };
    for volume in reply.volumes {
        let Ok(number) = u16::try_from(volume.number) else {
            continue;
        };
        if volume.here {
            answer.here.push(VolumeId(number));
        }
        answer.leaders.insert(VolumeId(number), volume.leader);
    }
    Ok(answer)
}
