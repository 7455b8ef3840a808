//! From follower to leader: the campaign for the key, reading the log to its end, the first record of a term, the
//! executor.

use super::append::append_request;
use super::*;

fn settings() -> Settings {
    Settings {
        data_dir: PathBuf::new(),
        cluster: uuid::Uuid::from_u128(1),
        volume: "default".into(),
        number: VolumeId(0),
        replication: 3,
        min_replicas: MIN_REPLICAS,
        lease_term: LEASE_TERM,
        session_timeout: SESSION_TIMEOUT,
        gc_delay: GC_DELAY,
        inventory_interval: Duration::from_secs(5),
        clean_interval: Duration::from_secs(600),
        checkpoint_records: u64::MAX,
        max_leases: 1 << 21,
        observer: Default::default(),
        healing: Healing {
            suspect_after: Duration::from_secs(3),
            dead_after: Duration::from_secs(8),
        },
    }
}

impl World {
    pub(super) fn campaign(&mut self, own: usize) {
        if self.coordinators[own].next_campaign > self.now {
            return;
        }
        self.coordinators[own].next_campaign = self.now + CAMPAIGN_EVERY;
        let number = self.ask_log(own, LogRequest::Campaign);
        self.coordinators[own].asked = Some((number, self.now));
    }

    pub(super) fn standing_from(&self, sent: Time) -> Standing {
        match self.embedded {
            true => Standing::unlimited(),
            false => Standing::until(self.instant(sent + TTL - MARGIN)),
        }
    }

    /// Asks for the records that the state lacks.
    pub(super) fn read_on(&mut self, own: usize, revision: u64) {
        let from = self.coordinators[own].rows.applied().next();
        let number = self.ask_log(own, LogRequest::Read { revision, from });
        self.coordinators[own].asked = Some((number, self.now));
    }

    pub(super) fn read_to_the_end(&mut self, own: usize, records: Vec<Record>) {
        let clocks = self.clocks(self.coordinators[own].skew);
        self.coordinators[own].replay(&records);
        self.check_recovered(own);
        let coordinator = &mut self.coordinators[own];
        let Role::Opening(opening) = &mut coordinator.role else {
            return;
        };
        let mut last = (coordinator.rows.applied(), coordinator.last_term);
        if last.0 == Index(0) {
            let first = crate::coordinator::recovery::first_record(clocks.wall);
            last = (first.index, first.term);
            opening.to_append.push_back(Arc::new(first));
        }
        opening.to_append.push_back(Arc::new(Record {
            index: last.0.next(),
            term: Term(last.1.0 + 1),
            time: clocks.wall,
            rows: Vec::new(),
        }));
        self.append_opening(own);
    }

    pub(super) fn append_opening(&mut self, own: usize) {
        let now = self.now;
        let coordinator = &mut self.coordinators[own];
        let Role::Opening(opening) = &mut coordinator.role else {
            return;
        };
        let waits = coordinator
            .asked
            .is_some_and(|(_, sent)| now - sent < APPEND_AGAIN);
        let Some(record) = opening.to_append.front().filter(|_| !waits) else {
            return;
        };
        let request = append_request(opening.revision, record);
        let number = self.ask_log(own, request);
        self.coordinators[own].asked = Some((number, now));
    }

    pub(super) fn begin_reign(&mut self, own: usize) {
        let now = self.clocks(self.coordinators[own].skew);
        let coordinator = &mut self.coordinators[own];
        let Role::Opening(opening) = std::mem::take(&mut coordinator.role) else {
            return;
        };
        let jobs = Jobs::default();
        let term = coordinator.last_term;
        let recovery = Recovery {
            view: Box::new(coordinator.rows.clone()),
            applied: coordinator.rows.applied(),
            term,
            standing: opening.standing.clone(),
        };
        let executor = Executor::new(
            Arc::new(settings()),
            Inbox::new(),
            Box::new(jobs.clone()),
            recovery,
            Arc::new(AtomicBool::new(false)),
            now,
        );
        let mut executor = match executor {
            Ok(executor) => executor,
            Err(fault) => return self.fail(format!("Model: the state does not load: {fault}")),
        };
        if let Some(Broken::Executor(rule)) = self.options.broken {
            executor.break_rule(rule);
        }
        self.tell(|| format!("coordinator {own} leads in term {}", term.0));
        let others = (0..self.coordinators.len()).filter(|other| *other != own);
        let led = |other: &usize| matches!(self.coordinators[*other].role, Role::Leading(_));
        if others
            .filter(led)
            .any(|other| self.process(Party::Coordinator(other)).up)
        {
            self.fault(Fault::TwoLeaders);
        }
        self.coordinators[own].role = Role::Leading(Box::new(Reign {
            executor,
            jobs,
            term: term.0,
            revision: opening.revision,
            standing: opening.standing,
            keepalives: BTreeMap::new(),
            next_keepalive: self.now,
            appending: None,
            unapplied: VecDeque::new(),
            completions: Vec::new(),
            events: Vec::new(),
            streams: BTreeMap::new(),
            beats: Vec::new(),
            workers: Workers::default(),
        }));
        self.wake_coordinator(own);
    }
}
