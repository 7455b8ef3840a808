//! How quickly a peer has answered lately, so that a reader knows when it is slower than usual by far. One for each
//! peer; the reader's transfers are its only writers.

use parking_lot::Mutex;
use std::time::Duration;

/// Answers that are remembered.
const REMEMBERED: usize = 64;
/// Fewer say nothing.
const ENOUGH: usize = 8;
/// The part of the answers that comes sooner than what `usual` names, in hundredths.
const PART: usize = 95;

#[derive(Default)]
struct Answers {
    micros: Vec<u32>,
    next: usize,
}

#[derive(Default)]
pub(super) struct Pace(Mutex<Answers>);

impl Pace {
    pub fn note(&self, took: Duration) {
        let mut answers = self.0.lock();
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        if answers.micros.len() < REMEMBERED {
            answers.micros.push(micros);
            return;
        }
        let at = answers.next;
        answers.micros[at] = micros;
        answers.next = (at + 1) % REMEMBERED;
    }

    /// Nearly all recent answers came within this; none when there were too few.
    pub fn usual(&self) -> Option<Duration> {
        let mut micros = self.0.lock().micros.clone();
        if micros.len() < ENOUGH {
            return None;
        }
        let at = micros.len() * PART / 100;
        let (_, usual, _) = micros.select_nth_unstable(at);
        Some(Duration::from_micros(u64::from(*usual)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_is_that_of_the_last_answers() {
        let pace = Pace::default();
        pace.note(Duration::from_secs(9));
        assert_eq!(pace.usual(), None);
        for millis in 0..64 {
            pace.note(Duration::from_millis(millis));
        }
        assert_eq!(pace.usual(), Some(Duration::from_millis(60)));
        for _ in 0..64 {
            pace.note(Duration::from_secs(1));
        }
        assert_eq!(pace.usual(), Some(Duration::from_secs(1)));
    }
}
