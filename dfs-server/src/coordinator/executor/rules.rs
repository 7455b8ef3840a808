//! Rules of the executor that a simulation breaks on purpose, to see that its checkers notice. Outside of tests
//! nothing can break them.

use super::Executor;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A commit needs the exclusive lease on each file.
    LeaseForCommit,
    /// A reply leaves when what it tells is durable.
    DurableReply,
    /// After a start nothing conflicts with leases that are not known yet.
    Grace,
    /// An answered call is not executed again, whoever leads.
    OneAnswer,
    /// Who has lapsed under an earlier leader holds nothing.
    Lapse,
    /// Nothing leaves when another may lead.
    Standing,
    /// A member that joins is to be filled with what its set had.
    FillOlder,
    /// What changes an inode changes the sums of the directories above it.
    Sums,
}

impl Executor {
    pub(super) fn breaks(&self, rule: Rule) -> bool {
        #[cfg(test)]
        return self.broken == Some(rule);
        #[cfg(not(test))]
        {
            let _ = rule;
            false
        }
    }

    #[cfg(test)]
    pub fn break_rule(&mut self, rule: Rule) {
        self.broken = Some(rule);
    }
}
