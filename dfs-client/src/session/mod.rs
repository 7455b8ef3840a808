//! The metadata session: every question and change of this client goes over one stream to the coordinator, and
//! recalls come back on it. The caches (`inode`) learn of replies in stream order through [`Events`]; `vfs` and
//! `data` make calls. Knows no cache and no kernel.

mod leader;
mod map;
mod outbox;
mod stream;
#[cfg(test)]
mod tests;
mod trust;

pub use map::Map;
pub(crate) use outbox::{Answer, Body};

use crate::figures::{self, Figures};
use crate::observe::request;
use crate::profile::Times;
use crate::wait::{Patience, Slot};
use dfs_core::error::{FsError, FsResult};
use dfs_core::ids::{Ino, SessionId};
use dfs_core::lock::Lock;
use dfs_core::op::{Op, Reply};
use dfs_core::types::{Attr, LeaseMode, Timestamp};
use dfs_proto::convert::LockAction;
use dfs_proto::v1;
use outbox::Outbox;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the answer for a killed caller may still come. Without it a change on its way would take effect
/// after its caller has died, before the eyes of a parent that cleans up.
const DYING_WAIT: Duration = Duration::from_millis(300);

/// Where replies and recalls go, in the order of the stream and before the caller of a reply wakes. Called from
/// the stream's task: it must not block.
pub(crate) trait Events: Send + Sync + 'static {
    /// With `repeated` the outcome was told before, and only `touched` is of now.
    fn replied(
        &self,
        op: Option<&Op>,
        outcome: &FsResult<Reply>,
        grants: &[(Ino, LeaseMode)],
        touched: &[Attr],
        repeated: bool,
    );
    /// With `taken` everything beyond `keep` is lost already.
    fn recalled(&self, ino: Ino, keep: LeaseMode, number: u64, taken: bool);
    /// Leases are not trusted at present: others may get them soon.
    fn distrusted(&self);
    /// What quotas have promised and is not used is to be returned.
    fn promises_wanted(&self);
    /// The session is gone: leases, locks and uncommitted chunk ids with it. A new one begins.
    fn ended(&self);
    /// What must be told before a call that is about to be sent. Called with the session locked.
    fn before(&self, body: &mut Body) -> Vec<Op>;
    /// The coordinator said what time it is, and whether it refuses whatever grows.
    fn heard(&self, time: Option<Timestamp>, full: bool);
    /// Whether the coordinator refused what cannot be taken back: the session is to end.
    fn is_refused(&self) -> bool;
    /// Leases and locks to claim again after a reconnect.
    fn held(&self) -> (Vec<v1::HeldLease>, Vec<v1::Lock>);
}

/// Why the session could not begin.
#[derive(Clone, Debug)]
pub(crate) enum StartError {
    Unreachable(String),
    Refused(String),
}

pub(crate) struct Settings {
    pub coordinators: Vec<String>,
    pub volume: String,
    pub client: String,
    pub figures: Arc<Figures>,
    /// It changes names under exclusive leases by itself, and gets them.
    pub writes_back: bool,
}

/// A metadata session, alive until `close`.
pub(crate) struct Session {
    settings: Settings,
    coordinators: leader::Coordinators,
    events: std::sync::OnceLock<Arc<dyn Events>>,
    /// Owner of calls under way and of what is to be sent.
    outbox: Mutex<Outbox>,
    map: RwLock<Arc<Map>>,
    started: Instant,
    /// Milliseconds after `started` when the coordinator was last heard of; 0 is never.
    heard: AtomicU64,
    trust: trust::Trust,
    /// Milliseconds that leases are good for without hearing from the coordinator.
    lease_term: AtomicU64,
    closing: AtomicBool,
    closed: tokio::sync::Notify,
    first: Slot<Result<(), StartError>>,
}

impl Session {
    pub fn new(settings: Settings) -> Arc<Session> {
        Arc::new(Session {
            coordinators: leader::Coordinators::new(&settings.coordinators),
            settings,
            events: std::sync::OnceLock::new(),
            outbox: Mutex::new(Outbox::new()),
            map: RwLock::default(),
            started: Instant::now(),
            heard: AtomicU64::new(0),
            trust: Default::default(),
            lease_term: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            closed: tokio::sync::Notify::new(),
            first: Slot::default(),
        })
    }

    /// Connects in the background and returns when the coordinator has welcomed the session or refused it.
    pub fn start(
        self: &Arc<Self>,
        runtime: &tokio::runtime::Handle,
        events: Arc<dyn Events>,
        timeout: Duration,
    ) -> Result<(), StartError> {
        let _ = self.events.set(events);
        runtime.spawn(stream::run(self.clone()));
        runtime.spawn(stream::watch_trust(self.clone()));
        self.first
            .wait(Patience::new(timeout, None))
            .unwrap_or_else(|_| Err(StartError::Unreachable("no answer in time".to_string())))
    }

    /// Where chunks are, as the coordinator last said.
    pub fn map(&self) -> Arc<Map> {
        self.map.read().clone()
    }

    /// Whether what leases protect may be answered from memory.
    pub fn trusted(&self) -> bool {
        self.trust
            .holds(self.now(), self.lease_term.load(Ordering::Relaxed))
    }

    /// Whether names and attributes may be changed here at all.
    pub fn writes_back(&self) -> bool {
        self.settings.writes_back
    }

    /// The coordinator's lease term; zero before the first welcome.
    pub fn lease_term(&self) -> Duration {
        Duration::from_millis(self.lease_term.load(Ordering::Relaxed))
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64 + 1
    }

    /// Performs the operation and waits for the reply in the calling thread.
    pub fn call(&self, op: Op, patience: Patience<'_>) -> FsResult<Reply> {
        let slot = Slot::default();
        let filler = slot.clone();
        let number = self.begin(|| Some(Body::op(op)), Box::new(move |answer| filler.fill(answer)));
        self.finish(number, slot, patience)
    }

    /// Like `call`, for an operation made at its place in the session's order, as `ask_built` says.
    pub fn call_built(&self, build: impl FnOnce() -> Op, patience: Patience<'_>) -> FsResult<Reply> {
        let slot = Slot::default();
        let filler = slot.clone();
        let number = self.begin(
            || Some(Body::op(build())),
            Box::new(move |answer| filler.fill(answer)),
        );
        self.finish(number, slot, patience)
    }

    /// Performs two operations in order with one wait; both are on their way together.
    pub fn call_both(
        &self,
        first: Op,
        second: Op,
        patience: Patience<'_>,
    ) -> FsResult<(Reply, FsResult<Reply>)> {
        let slots = [Slot::default(), Slot::default()];
        let fillers = slots.clone();
        let [one, two] = fillers;
        let number = self.begin(|| Some(Body::op(first)), Box::new(move |answer| one.fill(answer)));
        let number2 = self.begin(
            || Some(Body::op(second)),
            Box::new(move |answer| two.fill(answer)),
        );
        let [one, two] = slots;
        let first = self.finish(number, one, patience)?;
        Ok((first, self.finish(number2, two, patience)))
    }

    fn finish(&self, number: u64, slot: Slot<FsResult<Answer>>, patience: Patience<'_>) -> FsResult<Reply> {
        let begun = Instant::now();
        let mut waited = slot.wait(patience);
        if matches!(waited, Err(FsError::Interrupted)) {
            waited = slot.wait(Patience::new(DYING_WAIT, None)).or(waited);
        }
        figures::waited("coordinator", begun, || self.request(number));
        let profile = &self.settings.figures.profile;
        if profile.is_on() {
            let timing = profile.timing(number);
            figures::spent(&Times::at_coordinator(begun.elapsed(), timing.as_ref()));
        }
        match waited {
            Ok(Ok(Answer::Reply(reply))) => Ok(reply),
            Ok(Ok(Answer::Lock(_))) => Err(FsError::Io),
            Ok(Err(error)) => Err(error),
            Err(error) => {
                self.outbox.lock().abandon(number);
                Err(error)
            }
        }
    }

    /// The id of a call in the logs of this mount and of the coordinator.
    fn request(&self, number: u64) -> String {
        request::call(self.id(), number)
    }

    pub fn figures(&self) -> &Figures {
        &self.settings.figures
    }

    /// The present session.
    pub fn id(&self) -> SessionId {
        SessionId(self.outbox.lock().session)
    }

    /// Performs the operation that `build` makes at the moment when its place in the order is fixed; `None`
    /// cancels. `build` runs under the session's lock: it may lock inodes, and nobody who has an inode locked
    /// may call the session.
    pub async fn ask_built(&self, build: impl FnOnce() -> Option<Op>) -> FsResult<Option<Reply>> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let done = Box::new(move |answer| {
            let _ = sender.send(answer);
        });
        let number = self.begin(|| build().map(Body::op), done);
        if number == 0 {
            return Ok(None);
        }
        match receiver.await {
            Ok(Ok(Answer::Reply(reply))) => Ok(Some(reply)),
            Ok(Err(error)) => Err(error),
            _ => Err(FsError::Io),
        }
    }

    /// Performs the operation without holding a thread.
    pub async fn ask(&self, op: Op) -> FsResult<Reply> {
        self.ask_built(move || Some(op)).await?.ok_or(FsError::Io)
    }

    /// Sends an operation whose outcome nobody waits for.
    pub fn send(&self, op: Op) {
        self.begin(|| Some(Body::op(op)), Box::new(|_| {}));
    }

    /// Like `send`, of what `build` makes at its place in the order: whether it made anything.
    pub fn send_built(&self, build: impl FnOnce() -> Option<Op>) -> bool {
        self.begin(|| build().map(Body::op), Box::new(|_| {})) != 0
    }

    /// Asks for a lock; `done` gets the conflict, or `None` when granted. Returns the call's number.
    pub fn lock(
        &self,
        lock: Lock,
        action: LockAction,
        done: Box<dyn FnOnce(FsResult<Option<Lock>>) + Send>,
    ) -> u64 {
        let done = Box::new(move |answer| {
            done(match answer {
                Ok(Answer::Lock(conflict)) => Ok(conflict),
                Ok(Answer::Reply(_)) => Err(FsError::Io),
                Err(error) => Err(error),
            });
        });
        self.begin(|| Some(Body::Lock(lock, action)), done)
    }

    /// Ends the waiting for a lock: the reply says whether it was granted first.
    pub fn cancel_lock(&self, number: u64) {
        let message = v1::client_message::Message::CancelLock(v1::CancelLock { op_id: number });
        self.outbox.lock().tell(message);
    }

    /// Nobody waits for this call any more.
    pub fn abandon(&self, number: u64) {
        self.outbox.lock().abandon(number);
    }

    /// Acknowledges a recall: `lower` lowers the lease and says what is left, at the place in the order where
    /// the coordinator learns of it. `None` when it is not time yet.
    pub fn acknowledge(&self, ino: Ino, number: u64, lower: impl FnOnce() -> Option<(LeaseMode, bool)>) {
        let mut outbox = self.outbox.lock();
        let Some((mode, open)) = lower() else { return };
        let mode = v1::LeaseMode::from(mode).into();
        outbox.tell(v1::client_message::Message::LeaseAck(v1::LeaseAck {
            ino: ino.0,
            mode,
            open,
            number,
        }));
    }

    /// Says unasked what is held of an inode. The coordinator confirms a lowered mode by a recall.
    pub fn tell_held(&self, ino: Ino, mode: LeaseMode, open: bool) {
        let mode = v1::LeaseMode::from(mode).into();
        let ack = v1::LeaseAck {
            ino: ino.0,
            mode,
            open,
            number: 0,
        };
        self.outbox
            .lock()
            .tell(v1::client_message::Message::LeaseAck(ack));
    }

    /// Reports a copy that failed its checks.
    pub fn report_bad_copy(&self, copy: v1::BadCopy) {
        self.outbox
            .lock()
            .tell(v1::client_message::Message::BadCopy(copy));
    }

    /// Ends the session cleanly.
    pub async fn close(&self) {
        self.outbox
            .lock()
            .tell(v1::client_message::Message::Goodbye(v1::Goodbye {}));
        self.closing.store(true, Ordering::SeqCst);
        // The stream ends when the coordinator has read the goodbye; a dead one is not waited for.
        let _ = tokio::time::timeout(Duration::from_secs(2), self.closed.notified()).await;
    }

    /// 0 when there was nothing to do or no room.
    fn begin(&self, build: impl FnOnce() -> Option<Body>, done: outbox::Done) -> u64 {
        let before = |body: &mut Body| {
            let events = self.events.get();
            events.map_or_else(Vec::new, |events| events.before(body))
        };
        let refused = match self.outbox.lock().begin(build, before, done) {
            Ok(number) => return number,
            Err(refused) => refused,
        };
        if let Some(done) = refused {
            done(Err(FsError::TimedOut));
        }
        0
    }
}
