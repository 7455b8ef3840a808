//! The session's stream: connects to a coordinator, presents the session, hands on what comes, beats, and begins
//! again with the next coordinator when it breaks.

use super::outbox::{Answer, Body, Pending, taken_for_nobody};
use super::{Map, Session, StartError, leader};
use crate::channel::{Backoff, MESSAGE_MAX, connect_lazy};
use crate::profile::Times;
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::{Ino, Term};
use dfs_core::lock::Lock;
use dfs_core::op::Op;
use dfs_core::types::{Attr, LeaseMode};
use dfs_proto::convert;
use dfs_proto::convert::LockAction;
use dfs_proto::v1;
use dfs_proto::v1::metadata_client::MetadataClient;
use dfs_proto::v1::server_message::Message;
use futures_util::{StreamExt, stream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

const PROTOCOL: u32 = 1;
/// A coordinator that reads its log before it serves answers within this.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_MOST: Duration = Duration::from_secs(1);
/// While another coordinator may take over at any moment, it is looked for this often, for this many times.
const FAILOVER_RETRY: Duration = Duration::from_millis(80);
const FAILOVER_TRIES: usize = 200;
/// Heartbeats per lease term.
const BEATS_PER_TERM: u32 = 4;
/// How often it is looked whether the leases are still trusted, per lease term, and how often at most.
const LOOKS_PER_TERM: u32 = 40;
const LOOK_MIN: Duration = Duration::from_millis(20);
/// Tried this often before a mount that was never welcomed gives up on coordinators that cannot be reached.
const FIRST_ATTEMPTS: usize = 3;

enum Broken {
    /// The connection failed or ended.
    Lost(String),
    Refused(v1::refused::Reason, String),
    /// Another coordinator leads the volume.
    Moved(String),
}

/// Serves the session until it is closed.
pub(super) async fn run(session: Arc<Session>) {
    let mut backoff = Backoff::new(RETRY_FIRST, FAILOVER_RETRY, None);
    let (mut attempts, mut tries, mut turn) = (0, 0, 0);
    let mut next = None;
    loop {
        let known = session.coordinators.known();
        let address = match next.take() {
            Some(address) => address,
            None => {
                turn += 1;
                known.get(turn % known.len().max(1)).cloned().unwrap_or_default()
            }
        };
        let heard_before = session.heard.load(Ordering::Relaxed);
        let broken = serve(&session, &address).await;
        session.settings.figures.connected.set(0);
        session.settings.figures.reconnects.inc();
        if session.closing.load(Ordering::SeqCst) {
            break;
        }
        if session.heard.load(Ordering::Relaxed) != heard_before {
            backoff = Backoff::new(RETRY_FIRST, FAILOVER_RETRY, None);
            tries = 0;
        }
        attempts += 1;
        tries += 1;
        if tries == FAILOVER_TRIES {
            backoff = Backoff::new(FAILOVER_RETRY, RETRY_MOST, None);
        }
        report(&session, &address, &broken, attempts);
        next = match broken {
            Broken::Refused(v1::refused::Reason::SessionEnded, _) => {
                end(&session, true);
                Some(address.clone())
            }
            Broken::Moved(to) => Some(to),
            _ => None,
        };
        backoff.wait().await;
        if next.is_none() {
            next = successor(&session, &address, &mut backoff).await;
        }
    }
    session.closed.notify_one();
}

/// Where to go when the stream to `failed` has ended: to whoever leads now. `None`: to the next in turn.
async fn successor(session: &Session, failed: &str, backoff: &mut Backoff) -> Option<String> {
    if session.coordinators.known().len() < 2 {
        return None;
    }
    for _ in 0..FAILOVER_TRIES {
        if session.closing.load(Ordering::SeqCst) {
            return None;
        }
        let found = session.coordinators.find(&session.settings.volume, None).await?;
        // The dead one is named as long as its reign may last.
        if found.sure || found.address != failed {
            return Some(found.address);
        }
        backoff.wait().await;
    }
    None
}

/// Says when the trust in the leases has ended, so that the kernel's caches can be emptied before others get them.
pub(super) async fn watch_trust(session: Arc<Session>) {
    let mut trusted = false;
    while !session.closing.load(Ordering::SeqCst) {
        let before = std::mem::replace(&mut trusted, session.trusted());
        if before && !trusted {
            tracing::warn!("the coordinator is silent; nothing is answered from memory until it is back");
            if let Some(events) = session.events.get() {
                events.distrusted();
            }
        }
        tokio::time::sleep((session.lease_term() / LOOKS_PER_TERM).max(LOOK_MIN)).await;
    }
}

fn report(session: &Session, address: &str, broken: &Broken, attempts: usize) {
    use v1::refused::Reason;
    match broken {
        Broken::Lost(reason) => {
            tracing::info!(
                coordinator = address,
                reason,
                "metadata stream ended; reconnecting"
            );
            if attempts >= FIRST_ATTEMPTS * session.coordinators.known().len() {
                session.first.fill(Err(StartError::Unreachable(reason.clone())));
            }
        }
        Broken::Moved(to) => {
            tracing::info!(coordinator = address, to, "another coordinator leads the volume");
        }
        Broken::Refused(reason, message) => {
            tracing::warn!(
                coordinator = address,
                ?reason,
                message,
                "the coordinator refused the session"
            );
            if matches!(reason, Reason::NoVolume | Reason::Protocol) {
                session.first.fill(Err(StartError::Refused(message.clone())));
            }
        }
    }
}

/// The session was lost: whoever waits for a change that may or may not have happened is told so.
fn end(session: &Session, begin_anew: bool) {
    tracing::error!("the metadata session ended; unsaved data is lost and reported to its writers");
    let doubtful = session.outbox.lock().lost(begin_anew);
    if let Some(events) = session.events.get() {
        events.ended();
    }
    for done in doubtful.into_iter().filter_map(|pending| pending.done) {
        done(Err(FsError::Io));
    }
}

async fn serve(session: &Arc<Session>, address: &str) -> Broken {
    let lost = |error: &dyn std::fmt::Display| Broken::Lost(error.to_string());
    let channel = match connect_lazy(address) {
        Ok(channel) => channel,
        Err(error) => return lost(&error),
    };
    let mut client = MetadataClient::new(channel)
        .max_decoding_message_size(MESSAGE_MAX)
        .max_encoding_message_size(MESSAGE_MAX);
    let requests = requests(session);
    let opening = async {
        let mut messages = client.session(requests).await?.into_inner();
        let first = messages.message().await?;
        Ok::<_, tonic::Status>((messages, first))
    };
    let mut moved = std::pin::pin!(leader::moved(session, address));
    let opened = tokio::select! {
        opened = tokio::time::timeout(WELCOME_TIMEOUT, opening) => opened,
        to = &mut moved => return Broken::Moved(to),
    };
    let (mut messages, first) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(status)) => return lost(&status.message()),
        Err(_) => return lost(&"no welcome in time"),
    };
    match first.and_then(|first| first.message) {
        Some(Message::Welcome(welcome)) => {
            welcomed(session, welcome);
            let (session, address) = (session.clone(), address.to_owned());
            tokio::spawn(async move { session.coordinators.learn_from(address).await });
        }
        Some(Message::Refused(refused)) => return refusal(refused),
        _ => return lost(&"the coordinator did not welcome the session"),
    }
    let term = Duration::from_millis(session.lease_term.load(Ordering::Relaxed));
    let mut beat = tokio::time::interval(term / BEATS_PER_TERM);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            message = messages.message() => match message {
                Ok(Some(message)) => {
                    session.heard.store(session.now(), Ordering::Release);
                    if let Some(broken) = receive(session, message) {
                        return broken;
                    }
                }
                Ok(None) => return lost(&"the coordinator closed the stream"),
                Err(status) => return lost(&status.message()),
            },
            to = &mut moved => return Broken::Moved(to),
            _ = beat.tick() => {
                if session.now() > session.heard.load(Ordering::Relaxed) + term.as_millis() as u64 {
                    return lost(&"the coordinator is silent");
                }
                let number = session.trust.beat(session.now());
                let figures = &session.settings.figures;
                let beat = v1::Heartbeat {
                    number,
                    read_bytes: figures.read_bytes.get(),
                    written_bytes: figures.written_bytes.get(),
                    ..v1::Heartbeat::default()
                };
                session.outbox.lock().tell(v1::client_message::Message::Heartbeat(beat));
            }
        }
    }
}

/// The stream of what we send: the hello, then whatever the outbox holds.
fn requests(
    session: &Arc<Session>,
) -> impl stream::Stream<Item = v1::ClientMessage> + Send + 'static + use<> {
    let (number, id, resume) = {
        let mut outbox = session.outbox.lock();
        (outbox.new_stream(), outbox.session, outbox.known)
    };
    let (leases, locks) = match session.events.get() {
        Some(events) if resume => events.held(),
        _ => Default::default(),
    };
    let hello = v1::Hello {
        session: id.to_be_bytes().to_vec(),
        volume: session.settings.volume.clone(),
        client: session.settings.client.clone(),
        protocol: PROTOCOL,
        resume,
        leases,
        locks,
        stream: number,
        writes_back: session.settings.writes_back,
    };
    let hello = v1::ClientMessage {
        message: Some(v1::client_message::Message::Hello(hello)),
    };
    let session = session.clone();
    let rest = stream::poll_fn(move |context| {
        let timed = session.settings.figures.profile.is_on();
        match session.outbox.lock().next_message(number, timed, context.waker()) {
            Ok(Some(message)) => Poll::Ready(Some(message)),
            Ok(None) => Poll::Pending,
            Err(()) => Poll::Ready(None),
        }
    });
    stream::once(std::future::ready(hello)).chain(rest)
}

fn welcomed(session: &Session, welcome: v1::Welcome) {
    let known = session.outbox.lock().known;
    if known && !welcome.resumed {
        end(session, false);
    }
    let base = Map {
        cluster: welcome.cluster,
        term: Term(welcome.term),
        ..Map::default()
    };
    *session.map.write() = Arc::new(base.updated(welcome.map.unwrap_or_default()));
    session
        .lease_term
        .store(u64::from(welcome.lease_term_ms).max(100), Ordering::Relaxed);
    session.heard.store(session.now(), Ordering::Release);
    session.outbox.lock().welcomed();
    session.settings.figures.connected.set(1);
    session.first.fill(Ok(()));
}

fn refusal(refused: v1::Refused) -> Broken {
    if !refused.leader.is_empty() {
        return Broken::Moved(refused.leader);
    }
    Broken::Refused(refused.reason(), refused.message)
}

fn receive(session: &Session, message: v1::ServerMessage) -> Option<Broken> {
    let events = session.events.get()?;
    match message.message? {
        Message::Replies(replies) => {
            for reply in replies.replies {
                replied(session, events.as_ref(), reply);
            }
            if events.is_refused() {
                let why = "what was done here was refused".to_owned();
                return Some(Broken::Refused(v1::refused::Reason::SessionEnded, why));
            }
        }
        Message::Recall(recall) => match convert::recall(recall) {
            Ok((ino, keep, number, taken)) => events.recalled(ino, keep, number, taken),
            Err(error) => return Some(Broken::Lost(error.to_string())),
        },
        Message::Map(map) => {
            let mut current = session.map.write();
            *current = Arc::new(current.updated(map));
        }
        Message::Refused(refused) => return Some(refusal(refused)),
        Message::ReturnPromises(_) => events.promises_wanted(),
        Message::Heartbeat(beat) => {
            session.trust.echo(beat.number);
            let time = beat.time.and_then(|time| time.try_into().ok());
            events.heard(time, beat.full);
        }
        Message::Welcome(_) => {}
    }
    None
}

/// One reply: the caches first, then its caller.
fn replied(session: &Session, events: &dyn super::Events, reply: v1::Reply) {
    let number = reply.op_id;
    let grants = grants(reply.grants);
    let touched: Vec<Attr> = reply
        .touched
        .into_iter()
        .filter_map(|attr| attr.try_into().ok())
        .collect();
    let pending = session.outbox.lock().take(number);
    let answer = answer(reply.outcome);
    let op = match pending.as_ref().map(|pending| &pending.body) {
        Some(Body::Op(op)) => Some(op.as_ref()),
        _ => None,
    };
    let (outcome, lock) = match answer {
        Ok(Answer::Reply(reply)) => (Ok(reply), None),
        Ok(Answer::Lock(conflict)) => (Ok(dfs_core::op::Reply::Done), Some(conflict)),
        Err(error) => (Err(error), None),
    };
    events.replied(op, &outcome, &grants, &touched, reply.repeated);
    let answer = match lock {
        Some(conflict) => Ok(Answer::Lock(conflict)),
        None => outcome.map(Answer::Reply),
    };
    let Some(pending) = pending else { return };
    let (kind, time) = (pending.body.name(), pending.since.elapsed());
    session.settings.figures.answered(kind, time);
    if let Some(timing) = reply.timing {
        note_timing(session, number, &pending, timing);
    }
    tracing::debug!(
        request = session.request(number),
        op = kind,
        ms = time.as_millis() as u64,
        "answered"
    );
    if let Some(unlock) = taken_for_nobody(&pending, &answer) {
        session.lock(unlock, LockAction::Try, Box::new(|_| {}));
    }
    if let Some(done) = pending.done {
        done(answer);
    }
}

/// A caller that waits for this very answer looks the timing up; the others' waits look up what was worked at.
fn note_timing(session: &Session, number: u64, pending: &Pending, timing: v1::Timing) {
    let profile = &session.settings.figures.profile;
    if let Body::Op(op) = &pending.body
        && matches!(op.as_ref(), Op::Commit(_) | Op::Ship(_) | Op::AllocChunks { .. })
    {
        let times = Times::at_coordinator(pending.since.elapsed(), Some(&timing));
        profile.worked(pending.since, times);
    }
    profile.keep_timing(number, timing);
}

fn grants(grants: Vec<v1::Grant>) -> Vec<(Ino, LeaseMode)> {
    grants
        .into_iter()
        .filter_map(|grant| convert::grant(grant).ok())
        .collect()
}

fn answer(outcome: Option<v1::reply::Outcome>) -> FsResult<Answer> {
    let damaged = |error: convert::WireError| {
        tracing::error!(%error, "the coordinator sent a reply that cannot be read");
        FsError::Io
    };
    match outcome {
        Some(v1::reply::Outcome::Lock(reply)) => {
            let conflict: Option<Lock> = convert::lock_reply(reply).map_err(damaged)?;
            Ok(Answer::Lock(conflict))
        }
        outcome => convert::outcome(outcome).map_err(damaged)?.map(Answer::Reply),
    }
}
