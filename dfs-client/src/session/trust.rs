//! How long leases are trusted: for most of a lease term from the sending of the newest heartbeat that was answered. The
//! coordinator keeps them for a term from when that heartbeat came to it, which was later. Owned by the session.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

/// What two clocks may differ in speed, and what it takes to empty the kernel's caches when the trust ends.
const NUMERATOR: u64 = 3;
const DENOMINATOR: u64 = 4;
/// Heartbeats without an answer that are remembered: with four of them in a term, an older one's answer says nothing.
const REMEMBERED: usize = 16;

/// Times are milliseconds of the session's clock; 0 is never.
#[derive(Default)]
pub(super) struct Trust {
    beats: Mutex<Beats>,
    /// When the newest answered heartbeat was sent.
    echoed: AtomicU64,
}

#[derive(Default)]
struct Beats {
    last: u64,
    sent: VecDeque<(u64, u64)>,
}

impl Trust {
    /// A heartbeat is about to be sent: its number.
    pub fn beat(&self, now: u64) -> u64 {
        let mut beats = self.beats.lock();
        beats.last += 1;
        let number = beats.last;
        if beats.sent.len() == REMEMBERED {
            beats.sent.pop_front();
        }
        beats.sent.push_back((number, now));
        number
    }

    /// The coordinator answered the heartbeat of this number.
    pub fn echo(&self, number: u64) {
        let mut beats = self.beats.lock();
        let Some(place) = beats.sent.iter().position(|(sent, _)| *sent == number) else {
            return;
        };
        let (_, when) = beats.sent[place];
        beats.sent.drain(..=place);
        self.echoed.fetch_max(when, Ordering::AcqRel);
    }

    pub fn holds(&self, now: u64, lease_term: u64) -> bool {
        let echoed = self.echoed.load(Ordering::Acquire);
        echoed != 0 && now < echoed + lease_term * NUMERATOR / DENOMINATOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_counts_from_the_sending_of_what_was_answered() {
        let trust = Trust::default();
        assert!(!trust.holds(1, 1000), "nothing was answered yet");
        let first = trust.beat(100);
        let second = trust.beat(400);
        trust.echo(first);
        assert!(trust.holds(849, 1000));
        assert!(!trust.holds(850, 1000), "however late the answer came");
        trust.echo(second);
        trust.echo(first);
        assert!(trust.holds(1149, 1000) && !trust.holds(1150, 1000));
    }

    #[test]
    fn what_was_not_asked_earns_no_trust() {
        let trust = Trust::default();
        trust.beat(100);
        trust.echo(0);
        trust.echo(7);
        assert!(!trust.holds(101, 1000));
    }
}
