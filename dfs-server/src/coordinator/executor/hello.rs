//! A client presents its session: a new one is made durable, a known one resumes on a new stream and reclaims its
//! leases and locks. The new stream replaces the old one.

use super::deliver::refuse_stream;
use super::event::Greeting;
use super::grace::Grace;
use super::lapse::Lapse;
use super::rules::Rule;
use super::session::{Outgoing, Session, Stream};
use super::{Executor, Fault};
use crate::coordinator::limits::SESSIONS;
use dfs_core::ids::{Index, SessionId};
use dfs_core::keys;
use dfs_core::rows::SessionRow;
use dfs_core::types::LeaseMode;
use dfs_core::view::View;
use dfs_proto::v1::{self, refused::Reason, server_message::Message};

impl Executor {
    pub(super) fn hello(&mut self, greeting: Greeting) -> Result<(), Fault> {
        let id = greeting.session;
        let known = self.sessions.contains_key(&id);
        if let Some((reason, message)) = self.unwelcome(&greeting, known) {
            refuse_stream(&greeting.messages, reason, message);
            return Ok(());
        }
        self.refuse(id, Reason::Replaced, "a newer stream of this session took over");
        let now = self.now.monotonic;
        let stream = Stream {
            number: greeting.stream,
            messages: greeting.messages,
        };
        let index = if known {
            Index(0)
        } else {
            self.sessions
                .insert(id, Session::new(greeting.client.clone(), now));
            let row = SessionRow {
                client: greeting.client,
                created: self.now.wall,
                lapsed: false,
            };
            self.put_row(keys::session(id), Some(row.encode()));
            self.batch.index
        };
        if let Some(session) = self.sessions.get_mut(&id) {
            session.stream = Some(stream);
            session.ordinal = session.ordinal.max(greeting.ordinal);
            session.writes_back = greeting.writes_back;
            session.heard = now;
            session.outbox.clear();
        }
        let welcome = self.welcome(known);
        self.send(id, index, Outgoing::Message(welcome));
        self.note_returned(id);
        if known && !self.reclaim(id, &greeting.leases, &greeting.locks)? {
            // Its processes go on as if they had the lock: only with everything else taken, too, do they learn.
            self.refuse(
                id,
                Reason::SessionEnded,
                "a lock of this session was given to another while it was away; begin a new one",
            );
            return self.end_refused(id);
        }
        tracing::info!(session = %id, resumed = known, leases = greeting.leases.len(), "a client is connected");
        self.settle(id)?;
        self.end_grace(now)
    }

    fn unwelcome(&self, greeting: &Greeting, known: bool) -> Option<(Reason, &'static str)> {
        if self.stopping {
            return Some((Reason::Shutdown, "the coordinator stops"));
        }
        let refused = |grace: &Grace| grace.refused.contains(&greeting.session);
        if greeting.resume && (!known || self.grace.as_ref().is_some_and(refused)) {
            return Some((Reason::SessionEnded, "the session has ended; begin a new one"));
        }
        let newest = self.sessions.get(&greeting.session).map_or(0, |own| own.ordinal);
        if greeting.ordinal != 0 && greeting.ordinal < newest {
            // It lay in a buffer while the client gave it up: what it claims is older than what is known.
            return Some((Reason::Replaced, "a newer stream of this session came first"));
        }
        if !known && self.sessions.len() >= SESSIONS {
            return Some((
                Reason::Protocol,
                "too many sessions; unmount some, or wait until silent ones end",
            ));
        }
        None
    }

    fn welcome(&self, resumed: bool) -> v1::ServerMessage {
        let welcome = v1::Welcome {
            cluster: self.settings.cluster.as_bytes().to_vec(),
            term: self.term.0,
            lease_term_ms: self.settings.lease_term.as_millis() as u32,
            session_timeout_ms: self.settings.session_timeout.as_millis() as u32,
            map: Some(self.cluster.map()),
            resumed,
        };
        v1::ServerMessage {
            message: Some(Message::Welcome(welcome)),
        }
    }

    /// The table becomes what the client says, as far as it may: within what it held here, or, when this
    /// coordinator is new, beside what others reclaimed; nothing when an earlier one gave to others what it held. What
    /// it claims beyond that it is told to have lost. False when a lock that it believes to have is, or was, another's.
    fn reclaim(
        &mut self,
        id: SessionId,
        claims: &[(dfs_core::ids::Ino, LeaseMode, bool)],
        locks: &[dfs_core::lock::Lock],
    ) -> Result<bool, Fault> {
        let lapse = self.begin_again(id);
        let fresh = lapse == Lapse::No
            && self
                .grace
                .as_ref()
                .is_some_and(|grace| grace.absent.contains(&id));
        let mut bounds = Vec::with_capacity(claims.len());
        for (ino, ..) in claims {
            // What it has made and not told yet is nobody else's.
            let unborn =
                || Ok::<_, Fault>(lapse == Lapse::No && self.view.get(&keys::inode(*ino))?.is_none());
            bounds.push(match fresh || unborn()? {
                true => LeaseMode::Exclusive,
                false => self.leases.mode(id, *ino),
            });
        }
        self.drop_waiting(id);
        let mut freed = self.recalls.drop_session(id);
        freed.extend(self.leases.drop_session(id));
        for ((ino, mode, open), bound) in claims.iter().zip(bounds) {
            let held = self.leases.set(id, *ino, (*mode).min(bound), *open);
            if held < *mode {
                self.tell_taken(id, *ino, held);
            }
        }
        let open: Vec<_> = claims
            .iter()
            .filter(|(_, _, open)| *open)
            .map(|(ino, ..)| *ino)
            .collect();
        self.tell_nameless(id, &open)?;
        let mut whole = lapse != Lapse::Before || locks.is_empty();
        for lock in locks {
            if let Err(conflict) = self.locks.set(id, lock) {
                whole = false;
                tracing::warn!(session = %id, ino = %lock.ino, holder = %conflict.session,
                    "a lock could not be reclaimed");
            }
        }
        freed.retain(|ino| self.parked.wants(*ino));
        for ino in freed {
            self.retry(ino)?;
        }
        Ok(whole)
    }

    /// What waits for leases comes again, behind what builds on leases of before: these must not be given anew in between.
    fn drop_waiting(&mut self, id: SessionId) {
        let mut waiting = self.parked.drop_session(id);
        if let Some(grace) = &mut self.grace {
            let theirs = grace
                .parked
                .extract_if(.., |pending| pending.caller.call_of(id).is_some());
            waiting.extend(theirs.filter_map(|pending| pending.caller.call_of(id)));
        }
        if let Some(own) = self.sessions.get_mut(&id) {
            own.executing.retain(|number, _| !waiting.contains(number));
        }
    }

    /// How much its claims count. What an earlier leader gave away is told now: from here on the tables know.
    fn begin_again(&mut self, id: SessionId) -> Lapse {
        let believes = self.breaks(Rule::Lapse);
        let Some(own) = self.sessions.get_mut(&id) else {
            return Lapse::No;
        };
        let lapse = own.lapse;
        if lapse == Lapse::Before {
            own.lapse = Lapse::Here;
        }
        if believes { Lapse::No } else { lapse }
    }
}
