//! What goes wrong, when, and for how long: drawn from the seed until the calm begins.

use super::log::TTL;
use super::tally::Fault;
use super::world::{Happening, MS, Party, SEC, Time, World};

/// Something that ends.
pub enum Trouble {
    Cut(Vec<(Party, Party)>),
    SlowNet,
    Majority,
    Rise(Party),
    /// The operator takes a drained node back, or something from the trash.
    Uncordon,
    Restore,
}

impl World {
    /// One more fault, and when the next one comes.
    pub fn trouble(&mut self) {
        if self.now >= self.options.chaos {
            return;
        }
        let next = self.random.between(150 * MS, 1_500 * MS);
        self.schedule(next, Happening::Trouble);
        match self.random.below(100) {
            0..=11 => self.cut_off(),
            12..=13 => self.cut_from_log(),
            14..=20 => self.break_any_stream(),
            21..=26 => self.crash_client(),
            27..=34 => self.crash_coordinator(),
            35..=38 => self.crash_datanode(),
            39 => self.lose_datanode(),
            40 => self.drain(),
            41..=50 => self.pause_client(),
            51..=59 => self.pause_coordinator(),
            60..=63 => self.pause_datanode(),
            64..=68 => self.step_clock(),
            69..=76 => self.corrupt(),
            77..=80 => self.slow_disk(),
            81..=82 => self.turn_trash(),
            83..=85 => self.fill_disk(),
            86..=87 => self.restore(),
            88..=92 => self.lose_majority(),
            93..=96 => self.damage_checkpoint(),
            97 => self.drain(),
            _ => self.slow_down(),
        }
    }

    fn any(&mut self, parties: &[Party]) -> Party {
        parties[self.random.index(parties.len())]
    }

    fn parties(&self) -> [Vec<Party>; 3] {
        [
            (0..self.clients.len()).map(Party::Client).collect(),
            (0..self.coordinators.len()).map(Party::Coordinator).collect(),
            (0..self.datanodes.len()).map(Party::Datanode).collect(),
        ]
    }

    /// A time that is short, or long enough for leases, reigns and sessions to end.
    fn how_long(&mut self) -> Time {
        match self.random.below(10) {
            0..=4 => self.random.between(50 * MS, SEC),
            5..=8 => self.random.between(SEC, 6 * SEC),
            _ => self.random.between(6 * SEC, 18 * SEC),
        }
    }

    fn cut_off(&mut self) {
        let [clients, coordinators, datanodes] = self.parties();
        let mut all: Vec<Party> = clients.into_iter().chain(datanodes).collect();
        all.extend(coordinators.iter().copied());
        let one = self.any(&all);
        let mut others = coordinators;
        if !self.embedded {
            others.push(Party::Log);
        }
        others.extend(all);
        // From one other, or from everybody.
        let others = if self.random.chance(500) {
            vec![self.any(&others)]
        } else {
            others
        };
        let one_way = self.random.chance(400);
        let mut ways = Vec::new();
        for other in others.into_iter().filter(|other| *other != one) {
            if self.embedded && (other == Party::Log || one == Party::Log) {
                continue;
            }
            let flip = one_way && self.random.chance(500);
            if !one_way || flip {
                ways.push((one, other));
            }
            if !one_way || !flip {
                ways.push((other, one));
            }
        }
        self.fault(if one_way { Fault::OneWay } else { Fault::Partition });
        self.tell(|| format!("cut: {ways:?}"));
        self.cut.extend(ways.iter().copied());
        let time = self.how_long();
        self.schedule(time, Happening::Over(Trouble::Cut(ways)));
    }

    /// A coordinator loses the log and nobody else, for longer than a reign lasts without it: clients still hear it.
    fn cut_from_log(&mut self) {
        if self.embedded {
            return;
        }
        let one = Party::Coordinator(self.random.index(self.coordinators.len()));
        self.fault(Fault::Partition);
        self.tell(|| format!("{one:?} is cut off from the log"));
        let ways = vec![(one, Party::Log), (Party::Log, one)];
        self.cut.extend(ways.iter().copied());
        let time = self.random.between(TTL, 3 * TTL);
        self.schedule(time, Happening::Over(Trouble::Cut(ways)));
    }

    fn break_any_stream(&mut self) {
        if let Some(stream) = self.any_stream() {
            self.fault(Fault::StreamBreak);
            let late = self.random.chance(700);
            self.break_stream(stream, late);
        }
    }

    pub fn kill(&mut self, party: Party) {
        if let Some(process) = self.processes.get_mut(&party) {
            process.up = false;
        }
        self.break_streams_of(party);
        let time = self.how_long();
        self.schedule(time, Happening::Over(Trouble::Rise(party)));
    }

    fn crash_client(&mut self) {
        let own = self.random.index(self.clients.len());
        if self.process(Party::Client(own)).up {
            self.fault(Fault::ClientCrash);
            self.tell(|| format!("client {own} dies"));
            self.kill(Party::Client(own));
            self.client_dies(own);
        }
    }

    fn crash_coordinator(&mut self) {
        let own = self.random.index(self.coordinators.len());
        if self.random.chance(500) {
            self.crash_at_append = Some(own);
        } else if self.process(Party::Coordinator(own)).up {
            self.tell(|| format!("coordinator {own} dies"));
            self.coordinator_dies(own);
            self.kill(Party::Coordinator(own));
        }
    }

    fn crash_datanode(&mut self) {
        let own = self.random.index(self.datanodes.len());
        if self.process(Party::Datanode(own)).up {
            self.tell(|| format!("datanode {own} dies"));
            self.datanode_dies(own);
            self.kill(Party::Datanode(own));
        }
    }

    fn pause(&mut self, party: Party, fault: Fault) {
        let until = self.now + self.how_long();
        if let Some(process) = self.processes.get_mut(&party).filter(|process| process.up) {
            process.paused_until = until;
            self.fault(fault);
            self.tell(|| format!("{party:?} is stopped until {:.3}", until as f64 / SEC as f64));
        }
    }

    fn pause_client(&mut self) {
        let party = Party::Client(self.random.index(self.clients.len()));
        self.pause(party, Fault::ClientPause);
    }

    fn pause_coordinator(&mut self) {
        let party = Party::Coordinator(self.random.index(self.coordinators.len()));
        self.pause(party, Fault::CoordinatorPause);
    }

    fn pause_datanode(&mut self) {
        let party = Party::Datanode(self.random.index(self.datanodes.len()));
        self.pause(party, Fault::DatanodePause);
    }

    /// A wall clock jumps, by up to an hour, to either side.
    fn step_clock(&mut self) {
        let own = self.random.index(self.coordinators.len());
        let step = self.random.below(7200 * SEC) as i64 - 3600 * SEC as i64;
        self.coordinators[own].skew = step;
        self.fault(Fault::ClockStep);
    }

    /// One copy of a chunk rots; never more than one of those that count, so that what was promised can be kept: what former
    /// members and lost nodes have does not count.
    fn corrupt(&mut self) {
        let node = self.random.index(self.datanodes.len());
        let chunks: Vec<_> = self.datanodes[node].chunks.keys().copied().collect();
        if chunks.is_empty() {
            return;
        }
        let chunk = chunks[self.random.index(chunks.len())];
        let good = |datanode: &super::datanode::Datanode| {
            datanode
                .chunks
                .get(&chunk)
                .is_some_and(|stored| stored.durable && !stored.corrupt)
        };
        let holders = self.truth.holders(chunk);
        let others = self
            .datanodes
            .iter()
            .enumerate()
            .filter(|(other, datanode)| *other != node && !datanode.lost && holders.contains(other));
        if others.filter(|(_, datanode)| good(datanode)).count() >= 2
            && let Some(stored) = self.datanodes[node].chunks.get_mut(&chunk)
        {
            stored.corrupt = true;
            self.fault(Fault::Corruption);
        }
    }

    fn slow_disk(&mut self) {
        let node = self.random.index(self.datanodes.len());
        self.datanodes[node].slow_until = self.now + self.how_long();
        self.fault(Fault::SlowDisk);
    }

    fn fill_disk(&mut self) {
        let node = self.random.index(self.datanodes.len());
        self.datanodes[node].full_until = self.now + self.how_long();
        self.fault(Fault::FullDisk);
    }

    fn lose_majority(&mut self) {
        if !self.embedded && self.log.lost_until <= self.now {
            let time = self.how_long();
            self.log.lost_until = self.now + time;
            self.fault(Fault::MajorityLost);
            self.schedule(time, Happening::Over(Trouble::Majority));
        }
    }

    fn slow_down(&mut self) {
        self.slow_net = self.random.between(5 * MS, TTL / 4);
        self.fault(Fault::Delay);
        let time = self.how_long();
        self.schedule(time, Happening::Over(Trouble::SlowNet));
    }

    pub fn over(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Cut(ways) => {
                for way in ways {
                    self.cut.remove(&way);
                }
            }
            Trouble::Uncordon => self.uncordon(),
            Trouble::Restore => self.restore(),
            Trouble::SlowNet => self.slow_net = 0,
            Trouble::Majority => self.log.restore(self.now),
            Trouble::Rise(party) => {
                if !self.process(party).up {
                    self.tell(|| format!("{party:?} rises"));
                    self.start(party);
                }
            }
        }
    }

    /// Everything that went wrong is over.
    pub fn calm_down(&mut self) {
        self.tell(|| "the calm begins".to_owned());
        self.calm = true;
        self.cut.clear();
        self.slow_net = 0;
        self.crash_at_append = None;
        self.log.lost_until = 0;
        self.log.restore(self.now);
        for node in &mut self.datanodes {
            (node.slow_until, node.full_until) = (0, 0);
        }
        let parties: Vec<Party> = self.processes.keys().copied().collect();
        for party in parties {
            if matches!(party, Party::Datanode(own) if self.datanodes[own].lost) {
                continue;
            }
            if !self.process(party).up {
                self.start(party);
            } else if let Some(process) = self.processes.get_mut(&party) {
                process.paused_until = 0;
            }
        }
    }
}
