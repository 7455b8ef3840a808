//! What a run did: how often each fault happened and each checker looked at a real subject. A set of seeds in
//! which one of them never fired has proved less than it says.

use std::collections::BTreeMap;
use std::fmt;

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$each])* $variant),* }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),*];
        }
    };
}

named! {
    /// What goes wrong in the world.
    Fault {
        Loss, Duplicate, Delay, Reorder, StreamBreak, StaleStream, Partition, OneWay,
        ClientCrash, CoordinatorCrash, DatanodeCrash, StateLost, TornTail, UnknownAppend,
        ClientPause, CoordinatorPause, DatanodePause, ClockStep, Corruption, SlowDisk, FullDisk,
        MajorityLost, TwoLeaders, Fenced, SessionEnded, CommitRefused,
        TrashTurned, RestoreAsked, DatanodeLost, CameLater, Drained, TakenBack, SetChanged, Dead,
        Trimmed, LeftBehind, FromCheckpoint, FromPeer, BadCheckpoint, DiskLost,
    }
}

named! {
    /// What must hold, each looked at when its subject happens.
    Check {
        /// What fsync acknowledged is in the durable history.
        Fsync,
        /// What a client answers from memory is not older than what anybody was told before.
        CachedRead,
        /// The same for what a coordinator answers.
        ServedRead,
        /// One session at most trusts an exclusive lease, and then nobody else trusts a shared one.
        ExclusiveLease,
        /// No chunk that the durable metadata refers to is deleted, and none is committed that is not on disks.
        ReferencedChunk,
        /// What was written later is not overwritten by what was written before it.
        WriteOrder,
        /// No garbage is deleted before its quarantine is over, whatever clocks say.
        Quarantine,
        /// What an older term orders does not happen.
        OldTerm,
        /// A change takes effect at most once, and its caller gets the answer of that one.
        AtMostOnce,
        /// No change is acknowledged that is not durable.
        Durable,
        /// Rows and the reference agree on names, files and content.
        Model,
        /// Two sessions never hold a write lock on one file.
        Lock,
        /// Nothing leaves the trash before its time.
        Trash,
        /// A member that counts as filled has every chunk that is not noted as missing at it.
        Filled,
        /// A former member deletes no copy that could be the last good one.
        LastCopy,
        /// A new leader has the rows of the whole log, whatever it began from.
        Recovered,
        /// The root's sums, and what is on its way to them, are those of all files that have a name.
        Sums,
        /// The log is trimmed only below checkpoints that are good and on disk.
        Trim,
        /// After the last fault: nothing waits, every chunk is on all members, nothing is left over.
        Converges,
    }
}

#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub faults: BTreeMap<Fault, u64>,
    pub checks: BTreeMap<Check, u64>,
    /// Calls that ended with an answer.
    pub calls: u64,
    pub happenings: u64,
}

impl Tally {
    pub fn fault(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    pub fn check(&mut self, check: Check) {
        *self.checks.entry(check).or_default() += 1;
    }

    pub fn add(&mut self, other: &Tally) {
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (check, count) in &other.checks {
            *self.checks.entry(*check).or_default() += count;
        }
        self.calls += other.calls;
        self.happenings += other.happenings;
    }

    /// Faults and checkers that never fired.
    pub fn idle(&self) -> Vec<String> {
        let faults = Fault::ALL.iter().filter(|fault| !self.faults.contains_key(fault));
        let checks = Check::ALL.iter().filter(|check| !self.checks.contains_key(check));
        faults
            .map(|fault| format!("{fault:?}"))
            .chain(checks.map(|check| format!("{check:?}")))
            .collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} happenings, {} calls answered", self.happenings, self.calls)?;
        writeln!(f, "faults: {:?}", self.faults)?;
        write!(f, "checks: {:?}", self.checks)
    }
}
