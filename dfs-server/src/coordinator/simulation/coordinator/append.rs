//! A leader's records on their way into the log: one at a time, again until it is known what became of each, and
//! what a crash in the middle leaves.

use super::*;

impl World {
    pub(super) fn append_done(&mut self, own: usize, number: u64) {
        let coordinator = &mut self.coordinators[own];
        match &mut coordinator.role {
            Role::Opening(opening) => {
                if coordinator.asked.is_none_or(|asked| asked.0 != number) {
                    return;
                }
                coordinator.asked = None;
                if let Some(record) = opening.to_append.pop_front() {
                    coordinator.rows.apply(&record);
                    coordinator.last_term = record.term;
                }
                if opening.to_append.is_empty() {
                    self.begin_reign(own);
                } else {
                    self.append_opening(own);
                }
            }
            Role::Leading(reign) => {
                // Whichever of several tries is answered, it is this record.
                if coordinator.asked.is_none_or(|asked| asked.0 != number) {
                    return;
                }
                coordinator.asked = None;
                if let Some(appending) = reign.appending.take() {
                    reign
                        .completions
                        .push(Completion::Durable(appending.record.index));
                    let later = self.now + self.random.between(100, 20 * MS);
                    reign.unapplied.push_back((later, appending.record));
                }
                self.wake_coordinator(own);
            }
            Role::Follower => {}
        }
    }

    pub(super) fn log_lost(&mut self, own: usize, number: u64) {
        let coordinator = &mut self.coordinators[own];
        let asked = coordinator.asked.is_some_and(|asked| asked.0 == number);
        match &mut coordinator.role {
            Role::Opening(_) if asked => coordinator.role = Role::Follower,
            Role::Leading(reign) if reign.keepalives.contains_key(&number) => reign.standing.end(),
            Role::Leading(reign) if asked => {
                let (own_term, newer) = (Term(reign.term), Term(reign.term + 1));
                let error = LogError::Fenced { own: own_term, newer };
                reign
                    .completions
                    .push(Completion::Failed(WriterError::Log(error)));
                self.fault(Fault::Fenced);
                self.wake_coordinator(own);
            }
            _ => {}
        }
    }

    /// One record at a time goes to the log; one without an answer goes again: the log knows whether it has it.
    pub(super) fn carry(&mut self, own: usize) {
        let now = self.now;
        let Some(reign) = self.reign(own) else {
            return;
        };
        if reign.appending.is_none() {
            let job = reign.jobs.0.lock().pop_front();
            match job {
                Some(Job::Append(record)) => reign.appending = Some(Appending { record, sent: 0 }),
                Some(Job::Trim(up_to)) => {
                    let revision = reign.revision;
                    self.ask_log(own, LogRequest::Trim { revision, up_to });
                    return self.carry(own);
                }
                None => {}
            }
        }
        let revision = reign.revision;
        let Some(appending) = reign.appending.as_mut() else {
            return;
        };
        if appending.sent != 0 && now - appending.sent < APPEND_AGAIN {
            return;
        }
        appending.sent = now;
        let request = append_request(revision, &appending.record);
        let number = self.ask_log(own, request);
        self.coordinators[own].asked = Some((number, now));
    }

    /// A record was answered for: when it is new in the log, it has happened, whoever learns of it.
    pub fn appended(&mut self, own: usize, request: &LogRequest, reply: &LogReply) {
        let (
            LogRequest::Append {
                revision,
                index,
                bytes,
            },
            LogReply::Appended,
        ) = (request, reply)
        else {
            return;
        };
        if self.truth.known >= *index {
            return;
        }
        self.truth.known = *index;
        self.tally.check(Check::OldTerm);
        if !self.log.leads(*revision) {
            self.fail(format!(
                "OldTerm: coordinator {own} is deposed and has appended record {}",
                index.0
            ));
        }
        let Ok(record) = Record::decode(bytes) else {
            return self.fail("Model: a record does not decode".to_owned());
        };
        self.tell(|| format!("record {} of term {} is durable", record.index.0, record.term.0));
        let wrong = self.truth.durable(&record);
        self.tally.check(Check::AtMostOnce);
        self.tally.check(Check::Model);
        for reason in wrong {
            self.fail(reason);
        }
        self.check_commits();
        self.check_record(&record);
    }

    /// The process dies while its record is being written: it is not there, in part there (on a disk of its own),
    /// or there and nobody was told.
    pub fn crash_appending(&mut self, own: usize, request: &LogRequest) {
        let LogRequest::Append { bytes, index, .. } = request else {
            return;
        };
        match self.random.below(4) {
            0 => {}
            1 | 2 if self.embedded && index.0 == self.log.last().0.0 + 1 => {
                self.fault(Fault::TornTail);
                let kept = self.random.index(bytes.len());
                self.log.tear(bytes, kept);
            }
            _ => {
                if let Some(reply) = self.log.serve(self.now, own, request) {
                    self.fault(Fault::UnknownAppend);
                    self.appended(own, request, &reply);
                }
            }
        }
        self.coordinator_dies(own);
        self.kill(Party::Coordinator(own));
    }
}

pub(super) fn append_request(revision: u64, record: &Record) -> LogRequest {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    LogRequest::Append {
        revision,
        index: record.index,
        bytes,
    }
}
