//! Watching a range of keys without missing a change: a stream at one member, asked for a sign of life so that a
//! frozen one is left within moments. Whoever watches reads anew when the stream ends; this file only notices.

use super::connection::{ANSWER_BYTES, Etcd};
use etcd_client::{Event, WatchOptions, WatchStream};
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// How often a member is asked for a sign of life, and how long its silence is borne.
const ASK: Duration = Duration::from_millis(300);
const SILENCE: Duration = Duration::from_millis(1000);
/// Time for beginning to watch at one member.
const BEGIN: Duration = Duration::from_millis(800);

/// Changes below a prefix, in order.
pub struct Watch {
    stream: WatchStream,
    ask: Interval,
    heard: Instant,
}

/// Why a watch ended; what happened since must be read.
#[derive(Debug, thiserror::Error)]
#[error("watching etcd ended: {0}")]
pub struct WatchEnd(String);

impl Watch {
    /// Watches what changes below `prefix` from `revision` on. `turn` counts attempts: each asks another member.
    pub async fn begin(etcd: &Etcd, prefix: &str, revision: i64, turn: usize) -> Result<Watch, WatchEnd> {
        let endpoint = etcd.preferred(turn);
        let options = WatchOptions::new()
            .with_prefix()
            .with_start_revision(revision)
            .with_fragment();
        let begin = async {
            let client = etcd.client(endpoint).await?;
            let mut watch = client.watch_client().max_decoding_message_size(ANSWER_BYTES);
            watch.watch(prefix, Some(options)).await
        };
        let ended = |reason: String| WatchEnd(format!("{}: {reason}", etcd.name(endpoint)));
        let stream = tokio::time::timeout(BEGIN, begin)
            .await
            .map_err(|_| ended("no answer".into()))?
            .map_err(|error| ended(error.to_string()))?;
        let mut ask = tokio::time::interval(ASK);
        ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Watch {
            stream,
            ask,
            heard: Instant::now(),
        })
    }

    /// The next changes. Cancelling the wait loses nothing.
    pub async fn next(&mut self) -> Result<Vec<Event>, WatchEnd> {
        loop {
            tokio::select! {
                biased;
                message = self.stream.message() => {
                    let message = message.map_err(|error| WatchEnd(error.to_string()))?;
                    let message = message.ok_or_else(|| WatchEnd("the member closed the stream".into()))?;
                    self.heard = Instant::now();
                    if message.canceled() {
                        let compacted = message.compact_revision();
                        return Err(WatchEnd(format!("{} (compacted: {compacted})", message.cancel_reason())));
                    }
                    if !message.events().is_empty() {
                        return Ok(message.events().to_vec());
                    }
                }
                _ = self.ask.tick() => {
                    if self.heard.elapsed() > SILENCE {
                        return Err(WatchEnd("the member is silent".into()));
                    }
                    self.stream
                        .request_progress()
                        .await
                        .map_err(|error| WatchEnd(error.to_string()))?;
                }
            }
        }
    }
}
