//! How fast records may be added while etcd fills: the fuller it is, the slower, so that checkpoints and trims keep up
//! and a fast writer is slowed down before anybody must be refused. The log in etcd asks before each record. It knows
//! how full etcd is, not what fills it.

use crate::coordinator::authority::Standing;
use crate::coordinator::etcd::space::Space;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// What is left may be filled in no less than this: two checkpoints here, one at another coordinator, a trim and
/// etcd's compaction take seconds.
const HORIZON: Duration = Duration::from_secs(10);
/// Longest wait for one record. Trims wait behind it, and deletions must go on when others fill etcd.
const MOST: Duration = Duration::from_millis(500);
/// What etcd adds to a value: key, revision, pages of its tree.
const OVERHEAD: u64 = 512;

pub struct Pace {
    space: watch::Receiver<Space>,
    /// Bytes added since the space was last looked at.
    added: u64,
}

impl Pace {
    pub fn new(space: watch::Receiver<Space>) -> Pace {
        Pace { space, added: 0 }
    }

    /// Returns when a record of so many bytes may be added, or the reign is over.
    pub async fn wait(&mut self, bytes: usize, standing: &Standing) {
        let bytes = bytes as u64 + OVERHEAD;
        let begun = Instant::now();
        let mut known = true;
        loop {
            if self.space.has_changed().unwrap_or(false) {
                self.added = 0;
            }
            let space = *self.space.borrow_and_update();
            let until = begun + pause(&space, self.added, bytes);
            if until <= Instant::now() {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep_until(until) => break,
                changed = self.space.changed(), if known => match changed {
                    Ok(()) => self.added = 0,
                    // Nobody looks any more: the process ends.
                    Err(_) => known = false,
                },
                () = standing.ended() => break,
            }
        }
        self.added += bytes;
    }
}

/// How long to wait with so many bytes after `added` others.
fn pause(space: &Space, added: u64, bytes: u64) -> Duration {
    // When it is low nothing that grows is taken any more, and what frees space is not delayed.
    if space.size == 0 || space.low {
        return Duration::ZERO;
    }
    let Some(room) = space.room.checked_sub(added) else {
        return MOST;
    };
    if room >= space.easy {
        return Duration::ZERO;
    }
    let micros = u128::from(bytes) * HORIZON.as_micros() / u128::from(room.max(1));
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn space(room: u64) -> Space {
        Space {
            size: 1,
            room,
            easy: 10 * MIB,
            low: room == 0,
            ..Space::default()
        }
    }

    #[test]
    fn the_less_room_is_left_the_slower_and_deletions_are_not_delayed_when_there_is_none() {
        let of = |room, added| pause(&space(room), added, MIB / 100);
        assert_eq!(of(20 * MIB, 10 * MIB), Duration::ZERO);
        assert_eq!(of(20 * MIB, 15 * MIB), of(5 * MIB, 0));
        assert!(of(8 * MIB, 0) < of(4 * MIB, 0) && of(4 * MIB, 0) < of(MIB, 0));
        assert_eq!(of(MIB / 100, 0), MOST);
        assert_eq!(of(MIB, 2 * MIB), MOST, "more than there was room for");
        assert_eq!(of(0, 0), Duration::ZERO);
        assert_eq!(
            pause(&Space::default(), 0, MIB),
            Duration::ZERO,
            "nothing is known yet"
        );
    }

    #[test]
    fn a_fast_writer_does_not_fill_what_is_left_while_nothing_is_trimmed() {
        let (mut room, mut time) = (8 * MIB, Duration::ZERO);
        while time < HORIZON {
            time += pause(&space(room), 0, 60_000);
            room -= 60_000;
        }
        assert!(room > MIB && room < 5 * MIB, "{room} bytes are left");
    }

    #[tokio::test]
    async fn a_writer_goes_on_as_soon_as_there_is_room_or_its_reign_is_over() {
        let (tell, told) = watch::channel(space(1000));
        let standing = Standing::until(std::time::Instant::now() + Duration::from_secs(3600));
        let mut pace = Pace::new(told);
        {
            let mut waiting = std::pin::pin!(pace.wait(60_000, &standing));
            assert!(is_pending(waiting.as_mut()).await);
            tell.send_replace(space(20 * MIB));
            assert!(!is_pending(waiting.as_mut()).await);
        }
        tell.send_replace(space(1000));
        let mut waiting = std::pin::pin!(pace.wait(60_000, &standing));
        assert!(is_pending(waiting.as_mut()).await);
        standing.end();
        assert!(!is_pending(waiting.as_mut()).await);
    }

    async fn is_pending(waiting: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
        tokio::select! {
            biased;
            () = waiting => false,
            () = std::future::ready(()) => true,
        }
    }
}
