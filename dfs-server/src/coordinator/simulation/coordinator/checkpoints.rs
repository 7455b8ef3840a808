//! Coordinators beside the leader: they follow the log, make checkpoints, and get one from another when the log has
//! left them behind. How far a leader trims the log is the real host's decision.

use super::*;
use crate::coordinator::checkpoint::KEEP;
use crate::coordinator::host::trim_to;
use crate::coordinator::simulation::world::SEC;

/// Records between two checkpoints.
const RECORDS: u64 = 25;
const EVERY: Time = SEC;
const FOLLOW_EVERY: Time = 600 * MS;
const FETCH_PATIENCE: Time = 2 * SEC;

/// All rows at one record, whole on a disk.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub index: Index,
    term: Term,
    rows: Arc<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// It verifies whole.
    pub good: bool,
}

/// What a process knows beside its disk.
#[derive(Default)]
pub(super) struct Following {
    next_look: Time,
    next_follow: Time,
    asked: Option<u64>,
    /// A checkpoint is asked of another.
    fetching: Option<(u64, Time)>,
    /// The log does not reach back to what is here.
    behind: bool,
    /// Checkpoints that verified when they were last looked at, newest first.
    verified: Option<Vec<Index>>,
    /// The newest of each of the others, when they were last told.
    pub peers: Vec<Index>,
    trimmed: Index,
}

impl Coordinator {
    /// Applies what goes on from here.
    pub(super) fn replay(&mut self, records: &[Record]) {
        for record in records {
            if record.index == self.rows.applied().next() {
                self.rows.apply(record);
                self.last_term = record.term;
            }
        }
    }

    fn newest_good(&self) -> Option<&Checkpoint> {
        self.checkpoints.iter().find(|checkpoint| checkpoint.good)
    }

    fn keep(&mut self, checkpoint: Checkpoint) {
        // One that was damaged is replaced, as its file is.
        self.checkpoints.retain(|kept| kept.index != checkpoint.index);
        self.checkpoints.push(checkpoint);
        self.checkpoints
            .sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.index));
        self.checkpoints.truncate(KEEP);
        let good = self.checkpoints.iter().filter(|checkpoint| checkpoint.good);
        self.following.verified = Some(good.map(|checkpoint| checkpoint.index).collect());
    }
}

impl World {
    /// Makes a checkpoint when the log has grown enough, tells the others, and trims the log that is led here.
    pub(super) fn see_to_checkpoints(&mut self, own: usize) {
        let now = self.now;
        let coordinator = &mut self.coordinators[own];
        if coordinator.following.next_look > now {
            return;
        }
        coordinator.following.next_look = now + EVERY;
        let newest = coordinator.checkpoints.first().map_or(0, |newest| newest.index.0);
        if coordinator.rows.applied().0 >= newest + RECORDS {
            let (index, rows) = coordinator.rows.moment();
            coordinator.keep(Checkpoint {
                index,
                term: coordinator.last_term,
                rows: Arc::new(rows),
                good: true,
            });
            self.tell(|| format!("coordinator {own} makes a checkpoint of record {}", index.0));
        }
        let coordinator = &mut self.coordinators[own];
        let good = coordinator
            .checkpoints
            .iter()
            .filter(|checkpoint| checkpoint.good);
        let good: Vec<Index> = good.map(|checkpoint| checkpoint.index).collect();
        let verified = coordinator.following.verified.get_or_insert(good).clone();
        let peers = coordinator.following.peers.clone();
        let mut up_to = trim_to(&verified, peers.into_iter());
        if self.options.broken == Some(Broken::EarlyTrim) {
            up_to = self.coordinators[own].rows.applied();
        }
        let trimmed = self.coordinators[own].following.trimmed;
        if let Some(reign) = self.reign(own).filter(|_| up_to > trimmed) {
            reign.events.push(Event::Trim(up_to));
            self.coordinators[own].following.trimmed = up_to;
        }
        if !self.embedded {
            let checkpoint = verified.first().copied().unwrap_or_default();
            self.ask_log(own, LogRequest::Note { checkpoint });
        }
    }

    /// A follower applies what is new in the log and stands for election; one that is behind the log does neither.
    pub(super) fn follow_and_stand(&mut self, own: usize) {
        if self.coordinators[own].following.behind {
            return self.catch_up(own);
        }
        let now = self.now;
        if !self.embedded && self.coordinators[own].following.next_follow <= now {
            let from = self.coordinators[own].rows.applied().next();
            let number = self.ask_log(own, LogRequest::Follow { from });
            let following = &mut self.coordinators[own].following;
            following.next_follow = now + FOLLOW_EVERY;
            following.asked = Some(number);
        }
        self.campaign(own);
    }

    pub(super) fn followed(&mut self, own: usize, number: u64, records: Vec<Record>) {
        let coordinator = &mut self.coordinators[own];
        if matches!(coordinator.role, Role::Follower) && coordinator.following.asked == Some(number) {
            coordinator.following.asked = None;
            coordinator.replay(&records);
        }
    }

    /// The log begins after what is here: a checkpoint must make up for it.
    pub(super) fn left_behind(&mut self, own: usize, number: u64) {
        let reading = self.is_asked(own, number);
        let coordinator = &mut self.coordinators[own];
        let follows =
            matches!(coordinator.role, Role::Follower) && coordinator.following.asked == Some(number);
        let revision = match &coordinator.role {
            Role::Opening(opening) if reading => Some(opening.revision),
            _ if follows => None,
            _ => return,
        };
        self.fault(Fault::LeftBehind);
        let loaded = self.load_checkpoint(own);
        match revision {
            Some(revision) if loaded => self.read_on(own, revision),
            _ if self.embedded => self.fail(format!(
                "Recovered: the log begins after record {}, and no checkpoint reaches it",
                self.log.trimmed
            )),
            _ => {
                self.coordinators[own].role = Role::Follower;
                self.coordinators[own].following.behind = !loaded;
            }
        }
    }

    /// The state is that of the newest good checkpoint from now on, if that is newer.
    pub(super) fn load_checkpoint(&mut self, own: usize) -> bool {
        let coordinator = &mut self.coordinators[own];
        let applied = coordinator.rows.applied();
        let newest = coordinator.newest_good().filter(|newest| newest.index > applied);
        let Some(newest) = newest.cloned() else {
            return false;
        };
        coordinator.rows.restore(newest.index, (*newest.rows).clone());
        coordinator.last_term = newest.term;
        self.fault(Fault::FromCheckpoint);
        self.tell(|| {
            format!(
                "coordinator {own} begins from the checkpoint of record {}",
                newest.index.0
            )
        });
        true
    }

    /// Asks one of the others for a newer checkpoint, again and again.
    fn catch_up(&mut self, own: usize) {
        let now = self.now;
        let asked = self.coordinators[own].following.fetching;
        if asked.is_some_and(|(_, sent)| now - sent < FETCH_PATIENCE) {
            return;
        }
        let others: Vec<usize> = (0..self.coordinators.len())
            .filter(|other| *other != own)
            .collect();
        let other = others[self.random.index(others.len())];
        let number = self.number();
        let than = self.coordinators[own].rows.applied();
        self.coordinators[own].following.fetching = Some((number, now));
        let (from, to) = (Party::Coordinator(own), Party::Coordinator(other));
        self.send(from, to, Message::WantCheckpoint(number, than));
    }

    pub(super) fn give_checkpoint(&mut self, own: usize, to: Party, number: u64, than: Index) {
        let newest = self.coordinators[own].newest_good();
        let newest = newest.filter(|newest| newest.index > than).cloned();
        let me = Party::Coordinator(own);
        self.send(me, to, Message::HaveCheckpoint(number, newest));
    }

    pub(super) fn take_checkpoint(&mut self, own: usize, number: u64, checkpoint: Option<Checkpoint>) {
        let following = &mut self.coordinators[own].following;
        let waits = following.fetching.take_if(|(asked, _)| *asked == number);
        if waits.is_none() || !matches!(self.coordinators[own].role, Role::Follower) {
            return;
        }
        if let Some(checkpoint) = checkpoint {
            self.coordinators[own].keep(checkpoint);
            self.fault(Fault::FromPeer);
        }
        self.load_checkpoint(own);
        // Whether it is enough, the log says.
        self.coordinators[own].following.behind = false;
        self.coordinators[own].following.next_follow = 0;
    }

    /// What a leader begins its term with is the durable history.
    pub(super) fn check_recovered(&mut self, own: usize) {
        let coordinator = &self.coordinators[own];
        let leads = matches!(&coordinator.role, Role::Opening(opening) if self.log.leads(opening.revision));
        if !leads {
            return;
        }
        self.tally.check(Check::Recovered);
        let coordinator = &self.coordinators[own];
        if coordinator.rows.applied() != self.truth.known || !coordinator.rows.are(&self.truth.rows) {
            self.fail(format!(
                "Recovered: coordinator {own} begins a term at record {} with other rows than the log has at record {}",
                coordinator.rows.applied().0,
                self.truth.known.0
            ));
        }
    }

    /// Records went from the log: a good checkpoint has them.
    pub fn check_trimmed(&mut self, request: &LogRequest, reply: &LogReply) {
        let (LogRequest::Trim { .. }, LogReply::Trimmed(trimmed)) = (request, reply) else {
            return;
        };
        self.fault(Fault::Trimmed);
        self.tally.check(Check::Trim);
        let reaches = |coordinator: &Coordinator| {
            let newest = coordinator.newest_good();
            newest.is_some_and(|newest| newest.index >= *trimmed)
        };
        if *trimmed > Index(0) && !self.coordinators.iter().any(reaches) {
            self.fail(format!(
                "Trim: the log was trimmed up to record {}, and no good checkpoint has it",
                trimmed.0
            ));
        }
    }

    /// A checkpoint rots, never the last good one of its coordinator, nor when a disk is lost: the log was trimmed for
    /// checkpoints of two coordinators, and one of them must be left.
    pub fn damage_checkpoint(&mut self) {
        let own = self.random.index(self.coordinators.len());
        let place = self.random.index(KEEP);
        let checkpoints = &mut self.coordinators[own].checkpoints;
        let good = checkpoints.iter().filter(|checkpoint| checkpoint.good).count();
        if let Some(checkpoint) = checkpoints.get_mut(place)
            && good > 1
            && !self.tally.faults.contains_key(&Fault::DiskLost)
        {
            checkpoint.good = false;
            self.fault(Fault::BadCheckpoint);
        }
    }

    /// The disk is gone with its checkpoints: once, and when another coordinator can make up for it.
    pub(super) fn lose_disk(&mut self, own: usize) {
        let mine = self.coordinators[own].checkpoints.iter();
        let mine = mine.map(|checkpoint| checkpoint.index).max().unwrap_or_default();
        let others = (0..self.coordinators.len()).filter(|other| *other != own);
        let reaches = |other: usize| {
            let newest = self.coordinators[other].newest_good();
            newest.is_some_and(|newest| newest.index >= mine)
        };
        let safe = others.into_iter().any(reaches) && !self.tally.faults.contains_key(&Fault::DiskLost);
        if safe && self.random.chance(400) {
            self.fault(Fault::DiskLost);
            self.coordinators[own].checkpoints.clear();
        }
    }
}
