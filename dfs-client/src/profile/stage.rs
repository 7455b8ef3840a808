//! The stages of a call, and what the calling thread has spent in each. Waits note themselves here, in the thread that
//! serves the call; a call that waits for nothing comes by no line of this.

use dfs_proto::v1;
use std::time::Duration;

/// Where time goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Stage {
    /// For a thread of the mount.
    Thread,
    /// The mount's own work, and what nobody accounts for.
    Own,
    /// For a lease that another mount had, and for what else the coordinator lets calls wait for.
    Lease,
    /// In the coordinator's queue.
    Coordinator,
    /// From execution until durable in the metadata log.
    Log,
    /// On the way, and in the queues of the way; a server that stands still is seen as this.
    Network,
    /// The disks of datanodes, and turns at them.
    Datanode,
    /// The cache on the local disk.
    Cache,
}

/// Names of the stages, in the order of their numbers.
pub(crate) const STAGES: [&str; 8] = [
    "thread",
    "mount",
    "lease",
    "coordinator",
    "log",
    "network",
    "datanode",
    "cache-disk",
];

/// Nanoseconds in each stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times(pub [u64; STAGES.len()]);

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Times {
    pub fn add(&mut self, stage: Stage, time: Duration) {
        self.0[stage as usize] += nanos(time);
    }

    pub fn of(&self, stage: Stage) -> Duration {
        Duration::from_nanos(self.0[stage as usize])
    }

    pub fn add_all(&mut self, other: &Times) {
        for (own, other) in self.0.iter_mut().zip(other.0) {
            *own += other;
        }
    }

    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.0.iter().sum())
    }

    /// This part of each.
    pub fn scaled(&self, part: f64) -> Times {
        Times(self.0.map(|nanos| (nanos as f64 * part) as u64))
    }

    /// A wait for the coordinator, split by what it says of itself: the rest was the way there and back.
    pub fn at_coordinator(wait: Duration, timing: Option<&v1::Timing>) -> Times {
        let Some(timing) = timing else {
            return Times::split(wait, &[], Stage::Coordinator);
        };
        let micros = |micros: u32| Duration::from_micros(micros.into());
        let shares = [
            (Stage::Coordinator, micros(timing.queued_us)),
            (Stage::Lease, micros(timing.waited_us)),
            (Stage::Log, micros(timing.log_us)),
        ];
        Times::split(wait, &shares, Stage::Network)
    }

    /// A wait for a datanode of which its disks took a share.
    pub fn at_datanode(wait: Duration, disk: Duration) -> Times {
        Times::split(wait, &[(Stage::Datanode, disk)], Stage::Network)
    }

    /// A wait with the shares of others, and the rest. Who began to wait late has waited for the end of it.
    fn split(wait: Duration, shares: &[(Stage, Duration)], rest: Stage) -> Times {
        let mut times = Times::default();
        for (stage, share) in shares {
            times.add(*stage, *share);
        }
        let sum = times.sum();
        if sum > wait {
            return times.scaled(wait.as_secs_f64() / sum.as_secs_f64());
        }
        times.add(rest, wait - sum);
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_wait_is_split_by_what_the_coordinator_says() {
        let timing = v1::Timing {
            queued_us: 1_000,
            waited_us: 20_000,
            log_us: 5_000,
        };
        let times = Times::at_coordinator(ms(30), Some(&timing));
        let of = |times: Times, stage: Stage| times.of(stage);
        assert_eq!(of(times, Stage::Lease), ms(20));
        assert_eq!((of(times, Stage::Log), of(times, Stage::Network)), (ms(5), ms(4)));
        assert_eq!(times.sum(), ms(30));
        // Who came in the middle has waited no longer than it did.
        let late = Times::at_coordinator(ms(13), Some(&timing));
        assert_eq!(
            (of(late, Stage::Lease), of(late, Stage::Network)),
            (ms(10), ms(0))
        );
        let silent = Times::at_coordinator(ms(13), None);
        assert_eq!(of(silent, Stage::Coordinator), ms(13));
        let read = Times::at_datanode(ms(10), ms(7));
        assert_eq!(
            (of(read, Stage::Datanode), of(read, Stage::Network)),
            (ms(7), ms(3))
        );
    }
}
