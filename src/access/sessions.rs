//! The sessions in use, shared by all threads: read without waiting, ended in one place.
//!
//! **Idle across gateways.** Each gateway counts the last use of a session in memory and knows nothing of uses at the
//! others. So there are two rules. *Reading:* no session is called idle before its record has been read anew, and only
//! by what stands there. *Writing:* a use is written down after [`write_every`], at most a quarter of the idle timeout;
//! one that follows on a pause of half the idle timeout or more, at once. Then a record that says "idle" is right: a use
//! it does not tell of was either after a long pause, and is missing only for as long as a write takes; or it was within
//! half the timeout after what the record tells of, so that more than the other half has passed since, in which it would
//! have been written.
//!
//! While the store is away nothing can be read anew: what is idle as far as this gateway knows is refused (503) and not
//! challenged, and judged by its record when the store is back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::{Notify, mpsc};

use super::endings::{Ending, Endings};
use super::outage::{Moment, Outage};
use crate::clock::Clock;
use crate::config;
use crate::domain::id::SessionId;
use crate::domain::session::{Session, SessionEnd};
use crate::domain::time::Timestamp;
use crate::domain::user::UserName;
use crate::store::{Change, Store, StoreError, Which};

/// A session in use. Whoever holds one has seen its token verified and its record read.
#[derive(Debug)]
pub struct LiveSession {
    id: SessionId,
    user: UserName,
    auth_time: Timestamp,
    expires_at: Timestamp,
    common: Arc<Common>,
    last_seen: AtomicI64,
    stored_last_seen: AtomicI64,
    end: AtomicU8,
    /// Whether it waits to be compared with its record.
    unsettled: AtomicBool,
    told: Notify,
}

/// What all sessions in use share.
#[derive(Debug)]
struct Common {
    idle_timeout: Duration,
    outage: Outage,
    /// Sessions to be compared with their records. Each is in it once, so that it is no longer than all.
    unsettled: mpsc::UnboundedSender<SessionId>,
}

/// Why a session in memory is good for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It is over.
    Over(SessionEnd),
    /// Its record must be read before more is said: as far as is known here nobody used it for the idle timeout, or
    /// something was missed.
    Unread,
    /// The store has been away for longer than the grace: it may have been ended meanwhile.
    CutOff,
}

const LIVE: u8 = 0;
const LET_GO: u8 = u8::MAX;

impl LiveSession {
    fn new(session: &Session, common: Arc<Common>) -> Self {
        Self {
            id: session.id,
            user: session.user.clone(),
            auth_time: session.auth_time,
            expires_at: session.expires_at,
            common,
            last_seen: AtomicI64::new(session.last_seen_at.unix()),
            stored_last_seen: AtomicI64::new(session.last_seen_at.unix()),
            end: AtomicU8::new(LIVE),
            unsettled: AtomicBool::new(false),
            told: Notify::new(),
        }
    }

    /// Its name.
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// Whose it is.
    pub const fn user(&self) -> &UserName {
        &self.user
    }

    /// When they proved themselves.
    pub const fn auth_time(&self) -> Timestamp {
        self.auth_time
    }

    /// When it ends, used or not.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Uses it at `now`, unless it is good for nothing.
    pub fn touch(&self, now: Timestamp) -> Result<(), Unusable> {
        self.judge(now)?;
        if self.last_seen.load(Ordering::Relaxed) < now.unix() {
            self.last_seen.store(now.unix(), Ordering::Relaxed);
            // Other gateways would soon take it for idle.
            if now >= stamp(&self.stored_last_seen) + self.common.idle_timeout / 2 {
                self.settle();
            }
        }
        Ok(())
    }

    /// Whether it is good at `now`.
    pub fn judge(&self, now: Timestamp) -> Result<(), Unusable> {
        match self.end.load(Ordering::Acquire) {
            LIVE if now >= self.expires_at => Err(Unusable::Over(SessionEnd::Expired)),
            LIVE if self.common.outage.is_cut_off() => Err(Unusable::CutOff),
            LIVE if now >= self.idle_at() => Err(Unusable::Unread),
            LIVE => Ok(()),
            end => Err(decode(end)),
        }
    }

    /// Whether it ended or cannot be believed any more; its timeouts are not looked at.
    pub fn has_ended(&self) -> bool {
        self.end.load(Ordering::Acquire) != LIVE || self.common.outage.is_cut_off()
    }

    /// Whether it is believed where sessions are believed for so long while the store is away.
    pub fn is_believed(&self, grace: Option<Duration>) -> bool {
        grace.is_none_or(|grace| !self.common.outage.is_beyond(grace))
    }

    /// Returns when it is not believed any more where sessions are believed for so long.
    pub async fn unbelieved(&self, grace: Duration) {
        self.common.outage.beyond(grace).await;
    }

    /// Whether it is over at `now`. One that is idle as far as is known here is not, yet: its record is asked for, and
    /// ends it soon if it says the same.
    pub fn is_over(&self, now: Timestamp) -> bool {
        match self.judge(now) {
            Ok(()) => false,
            Err(Unusable::Unread) if !self.has_ended() => {
                self.settle();
                false
            }
            Err(_) => true,
        }
    }

    /// Returns when it is over: at once when told so, else within a second of its timeout.
    pub async fn over(&self, clock: &dyn Clock) {
        loop {
            let told = self.told.notified();
            let now = clock.now();
            if self.is_over(now) {
                return;
            }
            let left = self.expires_at.since(now).min(self.idle_at().since(now));
            let _ = tokio::time::timeout(left.max(Duration::from_secs(1)), told).await;
        }
    }

    /// Whether it was used since that was last written down.
    fn was_used(&self) -> bool {
        stamp(&self.last_seen) > stamp(&self.stored_last_seen)
    }

    fn idle_at(&self) -> Timestamp {
        stamp(&self.last_seen) + self.common.idle_timeout
    }

    /// Has it compared with its record, soon.
    fn settle(&self) {
        if !self.unsettled.swap(true, Ordering::Relaxed) {
            // Nobody listens any more when the gateway stops; it writes down what it knows by itself then.
            let _ = self.common.unsettled.send(self.id);
        }
    }

    /// Takes over what others saw of it.
    fn take_over(&self, record: &Session) {
        self.last_seen.fetch_max(record.last_seen_at.unix(), Ordering::Relaxed);
        self.stored_last_seen.fetch_max(record.last_seen_at.unix(), Ordering::Relaxed);
    }

    fn finish(&self, end: SessionEnd) {
        self.stop(encode(end));
    }

    fn stop(&self, end: u8) {
        self.end.store(end, Ordering::Release);
        self.told.notify_waiters();
    }
}

fn stamp(at: &AtomicI64) -> Timestamp {
    Timestamp::from_unix(at.load(Ordering::Relaxed))
}

const fn encode(end: SessionEnd) -> u8 {
    match end {
        SessionEnd::Idle => 1,
        SessionEnd::Expired => 2,
        SessionEnd::SignedOut => 3,
        SessionEnd::Revoked => 4,
    }
}

const fn decode(end: u8) -> Unusable {
    match end {
        // Somebody may have used it elsewhere since.
        1 | LET_GO => Unusable::Unread,
        2 => Unusable::Over(SessionEnd::Expired),
        3 => Unusable::Over(SessionEnd::SignedOut),
        _ => Unusable::Over(SessionEnd::Revoked),
    }
}

/// How often the last use of sessions is written down: often enough for gateways that share them.
pub fn write_every(idle_timeout: Duration) -> Duration {
    (idle_timeout / 4).clamp(Duration::from_millis(250), Duration::from_secs(10))
}

/// Whether the end of a session is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is: the session is over everywhere.
    Recorded,
    /// The store could not: the session is over at this gateway, and elsewhere when the store answers again.
    Unrecorded,
}

/// All sessions in use, and the store behind them.
#[derive(Debug)]
pub struct Sessions {
    store: Store,
    common: Arc<Common>,
    live: Mutex<HashMap<SessionId, Arc<LiveSession>>>,
    endings: Endings,
    unsettled: tokio::sync::Mutex<mpsc::UnboundedReceiver<SessionId>>,
    /// Grows with every change heard of, so that a record read before it is not taken for the truth after it.
    heard: AtomicU64,
    /// Whether the store did not take the last uses.
    unwritten: AtomicBool,
}

/// A person who signs out waits so long for the store.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many records are read anew at a time, and so many of them side by side; the rest waits for the next time.
const MOST_READ: usize = 8_192;
const SIDE_BY_SIDE: usize = 32;
/// Changes are kept for a day. Who has heard nothing for half of one may have missed some.
const TOO_LONG: Duration = Duration::from_secs(43_200);

impl Sessions {
    /// No session in use yet.
    pub fn new(store: Store, settings: config::Session, clock: Arc<dyn Clock>) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let common = Common {
            idle_timeout: settings.idle_timeout,
            outage: Outage::new(settings.outage_grace, clock),
            unsettled: sender,
        };
        Self {
            store,
            common: Arc::new(common),
            live: Mutex::default(),
            endings: Endings::default(),
            unsettled: tokio::sync::Mutex::new(receiver),
            heard: AtomicU64::new(0),
            unwritten: AtomicBool::new(false),
        }
    }

    /// How many are in memory: used since the gateway started, and not over.
    pub fn in_use(&self) -> usize {
        self.lock().len()
    }

    /// Whether the store answers.
    pub fn outage(&self) -> &Outage {
        &self.common.outage
    }

    /// The session of that name, from memory or the store. `Ok(Err)` says that there is none or why it is over.
    pub async fn find(
        &self,
        id: SessionId,
        now: Timestamp,
    ) -> Result<Result<Arc<LiveSession>, Option<SessionEnd>>, StoreError> {
        loop {
            if let Some(end) = self.endings.of(id) {
                return Ok(Err(Some(end)));
            }
            let known = self.lock().get(&id).cloned();
            match known.map(|session| (session.judge(now), session)) {
                Some((Ok(()), session)) => return Ok(Ok(session)),
                Some((Err(Unusable::Over(end)), _)) => return Ok(Err(Some(end))),
                Some((Err(Unusable::Unread | Unusable::CutOff), _)) | None => {}
            }
            if self.outage().is_away() {
                return Err(StoreError::Unavailable);
            }
            let heard = self.heard.load(Ordering::Acquire);
            let Some(record) = self.store.session(id).await? else { return Ok(Err(None)) };
            if let Err(end) = record.judge(self.common.idle_timeout, now) {
                return Ok(Err(Some(end)));
            }
            let mut live = self.lock();
            // A session that ended while its record was read would otherwise live on here.
            if self.heard.load(Ordering::Acquire) == heard {
                let fresh = || Arc::new(LiveSession::new(&record, self.common.clone()));
                let session = live.entry(id).or_insert_with(fresh).clone();
                session.take_over(&record);
                return Ok(Ok(session));
            }
        }
    }

    /// Ends a session, everywhere: here at once, elsewhere when the change is heard of. `Err`: it is not ended.
    pub async fn end(&self, id: SessionId, end: SessionEnd, now: Timestamp) -> Result<Ended, StoreError> {
        // Before anything else: nobody is to read the record once more as long as it does not tell.
        if !self.endings.note(id, Ending { end, at: now }) {
            return Err(StoreError::Unavailable);
        }
        self.hear([Change::SessionEnded(id, end)]);
        if self.outage().is_away() {
            return Ok(Ended::Unrecorded);
        }
        let written = tokio::time::timeout(PATIENCE, self.store.end_sessions(Which::One(id), end, now));
        match written.await {
            Ok(Ok(_)) => {
                self.endings.written(id);
                Ok(Ended::Recorded)
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the end of a session could not be written down yet");
                Ok(Ended::Unrecorded)
            }
            Err(_) => Ok(Ended::Unrecorded),
        }
    }

    /// Takes note of what others changed; true when the keys are to be read again.
    pub fn hear(&self, changes: impl IntoIterator<Item = Change>) -> bool {
        let mut keys_changed = false;
        let mut live = self.lock();
        self.heard.fetch_add(1, Ordering::AcqRel);
        for change in changes {
            match change {
                Change::KeysChanged => keys_changed = true,
                Change::BreakGlassMade(_) => {}
                Change::Unknown => {
                    // Whatever it was: nobody's session is believed before its record has been read anew.
                    keys_changed = true;
                    live.drain().for_each(|(_, session)| session.stop(LET_GO));
                }
                Change::SessionEnded(id, end) => {
                    if let Some(session) = live.remove(&id) {
                        tracing::info!(user = %session.user, why = end.as_str(), "a session ended");
                        session.finish(end);
                    }
                }
            }
        }
        keys_changed
    }

    /// All changes up to a moment have been heard of: the store is there.
    pub fn caught_up(&self, up_to: Moment) {
        if self.outage().unheard_for() >= TOO_LONG {
            self.hear([Change::Unknown]);
        }
        self.outage().end(up_to);
    }

    /// Ends what is under way when the store has been away for longer than the grace.
    pub fn keep_grace(&self) {
        if self.outage().cut_off_if_due() {
            self.lock().values().for_each(|session| session.told.notify_waiters());
        }
    }

    /// Waits for sessions that are to be compared with their records, and does so.
    pub async fn settle(&self) {
        let mut ids = Vec::new();
        self.unsettled.lock().await.recv_many(&mut ids, MOST_READ).await;
        // Both are done for all by the next tidying.
        if self.outage().is_away() {
            return;
        }
        let sessions: Vec<_> = {
            let live = self.lock();
            ids.iter().filter_map(|id| live.get(id).cloned()).collect()
        };
        if self.write_down(&sessions).await.is_ok() {
            self.read_anew(&sessions).await;
        }
    }

    /// Writes down when sessions were last used and which ended, and lets go of those that are over.
    pub async fn tidy(&self, now: Timestamp) -> Result<(), StoreError> {
        let written = self.catch_up().await;
        let idle: Vec<_> = {
            let live = self.lock();
            let is_idle = |session: &&Arc<LiveSession>| session.judge(now) == Err(Unusable::Unread);
            live.values().filter(is_idle).take(MOST_READ).cloned().collect()
        };
        self.read_anew(&idle).await;
        self.lock().retain(|_, session| match session.judge(now) {
            Ok(()) | Err(Unusable::CutOff) => true,
            // One that was not read anew is looked at the next time.
            Err(Unusable::Unread) => !session.has_ended(),
            Err(Unusable::Over(end)) => {
                session.finish(end);
                false
            }
        });
        written
    }

    /// Writes down what is only in memory, if the store is there.
    pub async fn catch_up(&self) -> Result<(), StoreError> {
        if self.outage().is_away() {
            return Ok(());
        }
        let used: Vec<_> = self.lock().values().filter(|session| session.was_used()).cloned().collect();
        self.write_down(&used).await?;
        for (id, Ending { end, at }) in self.endings.all() {
            self.store.end_sessions(Which::One(id), end, at).await?;
            self.endings.written(id);
        }
        Ok(())
    }

    /// Whether something is known here that the store did not take.
    pub fn is_behind(&self) -> bool {
        self.unwritten.load(Ordering::Relaxed) || !self.endings.is_empty()
    }

    /// Sessions that ended here without the store knowing.
    pub fn unrecorded(&self) -> Vec<SessionId> {
        self.endings.all().into_iter().map(|(id, _)| id).collect()
    }

    async fn write_down(&self, sessions: &[Arc<LiveSession>]) -> Result<(), StoreError> {
        let seen: Vec<_> = sessions.iter().map(|session| (session.id, stamp(&session.last_seen))).collect();
        if !seen.is_empty() {
            let written = self.store.touch_sessions(seen.clone()).await;
            self.unwritten.store(written.is_err(), Ordering::Relaxed);
            written?;
        }
        for (session, (_, at)) in sessions.iter().zip(seen) {
            session.stored_last_seen.fetch_max(at.unix(), Ordering::Relaxed);
            session.unsettled.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Compares sessions that are idle, as far as is known here, with their records, and ends those that are.
    async fn read_anew(&self, sessions: &[Arc<LiveSession>]) {
        let now = self.outage().now();
        let idle = sessions.iter().filter(|session| session.judge(now) == Err(Unusable::Unread));
        let idle = idle.filter(|session| session.end.load(Ordering::Acquire) == LIVE).cloned();
        let reads = idle.map(|session| async move {
            // A store that does not answer says nothing for it: it ends here, and its record is read when it is back.
            let read = if self.outage().is_away() {
                None
            } else {
                self.store.session(session.id).await.ok().flatten()
            };
            if let Some(record) = read.filter(|record| record.ended.is_none()) {
                session.take_over(&record);
                session.unsettled.store(false, Ordering::Relaxed);
            }
            session
        });
        let mut read = futures_util::stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(SIDE_BY_SIDE);
        while let Some(session) = read.next().await {
            if session.judge(now).is_ok() {
                session.told.notify_waiters();
            } else {
                self.forget(&session);
                session.finish(SessionEnd::Idle);
            }
        }
    }

    /// Unless a newer one of that name has taken its place.
    fn forget(&self, session: &Arc<LiveSession>) {
        let mut live = self.lock();
        if live.get(&session.id).is_some_and(|known| Arc::ptr_eq(known, session)) {
            live.remove(&session.id);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, Arc<LiveSession>>> {
        self.live.lock().expect("nobody panics while holding it")
    }
}
