//! The stream: connecting to one coordinator after the other, presenting the session, sending calls again, the
//! echo, what comes down.

use super::{Body, Recall};
use crate::coordinator::simulation::client::{Client, Inode};
use crate::coordinator::simulation::coordinator::LEASE_TERM;
use crate::coordinator::simulation::messages::datanode_at;
use crate::coordinator::simulation::tally::Fault;
use crate::coordinator::simulation::world::{Broken, MS, Party, SEC, Time, World};
use dfs_core::ids::{Ino, NodeId, SetId};
use dfs_core::lock::{Lock, LockKind, LockType};
use dfs_core::op::Op;
use dfs_core::types::LeaseMode;
use dfs_proto::convert::{self, op_to_wire};
use dfs_proto::v1::client_message::Message as Up;
use dfs_proto::v1::refused::Reason;
use dfs_proto::v1::server_message::Message as Down;
use dfs_proto::v1::{self, ClientMessage, ServerMessage};
use std::collections::BTreeSet;

const TERM: Time = LEASE_TERM.as_micros() as Time;
const TRUST: Time = TERM * 3 / 4;
const BEAT: Time = TERM / 4;
const WELCOME_PATIENCE: Time = 2 * SEC;

impl World {
    /// Whether what leases protect may be answered from memory.
    pub fn trusted(&self, own: usize) -> bool {
        let client = &self.clients[own];
        client.trusted_from != 0 && self.now < client.trusted_from + TRUST
    }

    pub fn keep_connected(&mut self, own: usize) {
        let now = self.now;
        let client = &mut self.clients[own];
        if client.session == 0 && !client.leaving {
            let number = self.number();
            self.clients[own].session = (u128::from(number) << 64) | (own as u128 + 1);
        }
        let client = &mut self.clients[own];
        match client.stream {
            None if client.connect_at <= now && client.session != 0 => self.connect(own),
            Some(stream) if !client.welcomed && now - client.connecting_since > WELCOME_PATIENCE => {
                self.give_up_stream(own, stream);
            }
            Some(stream) if client.welcomed => {
                if now - client.heard > TERM {
                    self.give_up_stream(own, stream);
                } else if client.next_beat <= now {
                    client.next_beat = now + BEAT;
                    client.beat += 1;
                    let number = client.beat;
                    client.beats.insert(number, now);
                    let beat = v1::Heartbeat {
                        number,
                        ..Default::default()
                    };
                    self.tell_coordinator(own, Up::Heartbeat(beat));
                }
            }
            _ => {}
        }
    }

    fn give_up_stream(&mut self, own: usize, stream: u64) {
        self.break_stream(stream, true);
        self.client_lost_stream(own, stream);
    }

    fn connect(&mut self, own: usize) {
        let coordinator = self.clients[own].coordinator % self.coordinators.len();
        let number = self.open_stream(own, coordinator);
        let now = self.now;
        let client = &mut self.clients[own];
        client.beats.clear();
        client.stream = Some(number);
        client.streams.insert(number, client.session);
        client.welcomed = false;
        client.connecting_since = now;
        let held: BTreeSet<Ino> = client
            .inodes
            .keys()
            .copied()
            .filter(|ino| client.is_held(*ino))
            .collect();
        for (ino, inode) in &mut client.inodes {
            inode.declared = held.contains(ino);
        }
        let claimed = client
            .inodes
            .iter()
            .filter(|(_, inode)| inode.lease > LeaseMode::None || inode.declared);
        let leases = claimed.map(|(ino, inode)| v1::HeldLease {
            ino: ino.0,
            mode: v1::LeaseMode::from(inode.lease).into(),
            open: inode.declared,
        });
        let locks = client.locks.iter().map(|ino| write_lock(*ino, own).into());
        let resume = client.known;
        let hello = v1::Hello {
            session: client.session.to_be_bytes().to_vec(),
            volume: "default".into(),
            client: format!("client-{own}"),
            protocol: 1,
            resume,
            leases: if resume { leases.collect() } else { Vec::new() },
            locks: if resume { locks.collect() } else { Vec::new() },
            stream: number,
            writes_back: false,
        };
        self.tell(|| {
            format!(
                "client {own} says hello to coordinator {coordinator} on {number} with {:?}",
                hello.leases
            )
        });
        self.up(number, Up::Hello(hello));
    }

    fn up(&mut self, number: u64, message: Up) {
        let message = ClientMessage {
            message: Some(message),
        };
        self.send_up(number, message);
    }

    /// A message that is no call: lost with the stream.
    pub fn tell_coordinator(&mut self, own: usize, message: Up) {
        if let Some(number) = self.clients[own].stream.filter(|_| self.clients[own].welcomed) {
            self.up(number, message);
        }
    }

    pub fn send_calls(&mut self, own: usize, numbers: Vec<u64>) {
        let client = &self.clients[own];
        let Some(stream) = client.stream else {
            return;
        };
        let change = |body: &Body| matches!(body, Body::Op(op) if op.is_change());
        let first = client.pending.iter().find(|(_, pending)| change(&pending.body));
        let acked_below = first.map_or(client.next_op + 1, |(number, _)| *number);
        let calls = numbers.iter().filter_map(|number| {
            let body = match &client.pending.get(number)?.body {
                Body::Op(op) => v1::call::Body::Op(op_to_wire(op)?),
                Body::Lock(lock, action) => {
                    v1::call::Body::Lock(convert::lock_request_to_wire(*lock, *action))
                }
            };
            Some(v1::Call {
                op_id: *number,
                acked_below,
                timed: false,
                body: Some(body),
            })
        });
        let calls: Vec<v1::Call> = calls.collect();
        self.tell(|| {
            format!(
                "client {own} sends calls {:?}",
                calls.iter().map(|call| call.op_id).collect::<Vec<_>>()
            )
        });
        self.up(stream, Up::Calls(v1::Calls { calls }));
    }

    pub fn client_lost_stream(&mut self, own: usize, number: u64) {
        let delay = self.random.between(20 * MS, 300 * MS);
        let now = self.now;
        let client = &mut self.clients[own];
        if client.stream == Some(number) {
            client.stream = None;
            client.welcomed = false;
            client.coordinator += 1;
            client.connect_at = now + delay;
            self.tell(|| format!("client {own} lost stream {number}"));
        }
    }

    pub fn client_received(&mut self, own: usize, number: u64, message: ServerMessage) {
        if self.clients[own].stream != Some(number) {
            return;
        }
        let now = self.now;
        self.clients[own].heard = now;
        if self.breaks(Broken::TrustOnArrival) {
            self.clients[own].trusted_from = now;
        }
        match message.message {
            Some(Down::Welcome(welcome)) => self.welcome(own, welcome),
            Some(Down::Replies(replies)) => {
                for reply in replies.replies {
                    self.replied(own, reply);
                }
            }
            Some(Down::Recall(recall)) => self.recalled(own, recall),
            Some(Down::Map(map)) => self.mapped(own, map),
            Some(Down::Refused(refused)) => {
                if refused.reason() == Reason::SessionEnded {
                    self.fault(Fault::SessionEnded);
                    self.lose_session(own, true);
                }
                self.client_lost_stream(own, number);
            }
            Some(Down::Heartbeat(beat)) => {
                // Leases are trusted from the sending of what was answered.
                let client = &mut self.clients[own];
                let sent = client.beats.remove(&beat.number).unwrap_or(0);
                client.trusted_from = client.trusted_from.max(sent);
            }
            // The model's volume has no quotas.
            Some(Down::ReturnPromises(_)) | None => {}
        }
        self.wake(Party::Client(own), 0);
    }

    /// A clean end of the session; no new one begins.
    pub fn say_goodbye(&mut self, own: usize) {
        if let Some(reason) = self.clients[own].unfinished() {
            self.fail(format!("Converges: client {own}: {reason}"));
        }
        self.clients[own].leaving = true;
        self.tell_coordinator(own, Up::Goodbye(v1::Goodbye {}));
        if let Some(stream) = self.clients[own].stream.take() {
            self.break_stream(stream, true);
        }
        self.clients[own].session = 0;
        self.clients[own].welcomed = false;
        self.clients[own].pending.clear();
    }

    fn welcome(&mut self, own: usize, welcome: v1::Welcome) {
        if self.clients[own].known && !welcome.resumed {
            self.lose_session(own, false);
        }
        self.tell(|| {
            format!(
                "client {own} is welcome in term {} (resumed {})",
                welcome.term, welcome.resumed
            )
        });
        let client = &mut self.clients[own];
        client.known = true;
        client.welcomed = true;
        client.next_beat = 0;
        // What builds on leases goes before what may bring them back anew.
        let builds = |number: &u64| match &client.pending[number].body {
            Body::Op(op) => matches!(op, Op::Commit(_)),
            Body::Lock(..) => false,
        };
        let (mut numbers, others): (Vec<u64>, Vec<u64>) = client.pending.keys().copied().partition(builds);
        numbers.extend(others);
        self.mapped(own, welcome.map.unwrap_or_default());
        self.send_calls(own, numbers);
    }

    fn mapped(&mut self, own: usize, map: v1::ClusterMap) {
        let client = &mut self.clients[own];
        client.nodes = map
            .nodes
            .iter()
            .filter_map(|node| Some((NodeId(node.id), datanode_at(&node.address)?)))
            .collect();
        let nodes = |ids: &[u32]| ids.iter().map(|id| NodeId(*id)).collect::<Vec<_>>();
        let sets = map.sets.iter();
        client.sets = sets
            .clone()
            .map(|set| (SetId(set.id), nodes(&set.members)))
            .collect();
        let writers = |set: &v1::ReplicaSet| {
            let mut writers = nodes(&set.members);
            writers.retain(|node| !set.leaving.contains(&node.0));
            writers
        };
        client.writers = sets.map(|set| (SetId(set.id), writers(set))).collect();
    }

    fn recalled(&mut self, own: usize, recall: v1::Recall) {
        let Ok((ino, keep, number, taken)) = convert::recall(recall) else {
            return self.fail("Model: a recall does not convert".to_owned());
        };
        self.tell(|| format!("client {own} is asked to keep {keep:?} of {ino} ({number}, taken {taken})"));
        let now = self.now;
        let client = &mut self.clients[own];
        let inode = client.inode(ino);
        if number == 0 {
            inode.orphan = true;
            return;
        }
        inode.recalling += 1;
        if taken {
            return self.give_back(own, ino, keep, number);
        }
        let client = &mut self.clients[own];
        client.recalls.push(Recall {
            ino,
            keep,
            number,
            since: now,
        });
    }

    /// The coordinator knows the session no more: everything under it is gone, and who waits is told.
    fn lose_session(&mut self, own: usize, begin_anew: bool) {
        self.tell(|| format!("client {own} lost its session"));
        let client = &mut self.clients[own];
        if begin_anew {
            client.session = 0;
            client.known = false;
        }
        client.trusted_from = 0;
        client.locks.clear();
        client.recalls.clear();
        client.stock.clear();
        client.flights.clear();
        client.inodes.clear();
        client.files.clear();
        client.pending.clear();
        client.fetches.clear();
        client.beats.clear();
        for thread in &mut client.threads {
            thread.stop();
        }
    }
}

pub fn write_lock(ino: Ino, own: usize) -> Lock {
    Lock {
        ino,
        owner: own as u64 + 1,
        kind: LockKind::Posix,
        typ: LockType::Write,
        start: 0,
        end: u64::MAX >> 1,
        pid: 1,
    }
}

impl Client {
    /// What is held of an inode by leases and used: what is being given back is not.
    pub fn holds(&self, ino: Ino) -> LeaseMode {
        let inode = self.inodes.get(&ino).filter(|inode| inode.recalling == 0);
        inode.map_or(LeaseMode::None, |inode| inode.lease)
    }

    pub fn held(&self) -> impl Iterator<Item = (Ino, LeaseMode)> {
        let used = |(_, inode): &(&Ino, &Inode)| inode.recalling == 0 && inode.lease > LeaseMode::None;
        self.inodes
            .iter()
            .filter(used)
            .map(|(ino, inode)| (*ino, inode.lease))
    }
}
