//! The sessions in use, shared by all threads: read without waiting, ended in one place.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Clock;
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
    idle_timeout: Duration,
    last_seen: AtomicI64,
    stored_last_seen: AtomicI64,
    end: AtomicU8,
    ended: Notify,
}

const LIVE: u8 = 0;

impl LiveSession {
    fn new(session: &Session, idle_timeout: Duration) -> Self {
        Self {
            id: session.id,
            user: session.user.clone(),
            auth_time: session.auth_time,
            expires_at: session.expires_at,
            idle_timeout,
            last_seen: AtomicI64::new(session.last_seen_at.unix()),
            stored_last_seen: AtomicI64::new(session.last_seen_at.unix()),
            end: AtomicU8::new(LIVE),
            ended: Notify::new(),
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

    /// Uses it at `now`, unless it is over.
    pub fn touch(&self, now: Timestamp) -> Result<(), SessionEnd> {
        self.judge(now)?;
        if self.last_seen.load(Ordering::Relaxed) < now.unix() {
            self.last_seen.store(now.unix(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether it is good at `now`.
    pub fn judge(&self, now: Timestamp) -> Result<(), SessionEnd> {
        match self.end.load(Ordering::Acquire) {
            LIVE if now >= self.expires_at => Err(SessionEnd::Expired),
            LIVE if now >= self.last_seen() + self.idle_timeout => Err(SessionEnd::Idle),
            LIVE => Ok(()),
            end => Err(decode(end)),
        }
    }

    /// Whether somebody ended it; its timeouts are not looked at.
    pub fn has_ended(&self) -> bool {
        self.end.load(Ordering::Acquire) != LIVE
    }

    /// Returns when it is over: at once when told so, else within a second of its timeout.
    pub async fn over(&self, clock: &dyn Clock) {
        loop {
            let told = self.ended.notified();
            let now = clock.now();
            if self.judge(now).is_err() {
                return;
            }
            let left = self.expires_at.since(now).min((self.last_seen() + self.idle_timeout).since(now));
            let _ = tokio::time::timeout(left.max(Duration::from_secs(1)), told).await;
        }
    }

    fn last_seen(&self) -> Timestamp {
        Timestamp::from_unix(self.last_seen.load(Ordering::Relaxed))
    }

    fn finish(&self, end: SessionEnd) {
        self.end.store(encode(end), Ordering::Release);
        self.ended.notify_waiters();
    }
}

const fn encode(end: SessionEnd) -> u8 {
    match end {
        SessionEnd::Idle => 1,
        SessionEnd::Expired => 2,
        SessionEnd::SignedOut => 3,
        SessionEnd::Revoked => 4,
    }
}

const fn decode(end: u8) -> SessionEnd {
    match end {
        1 => SessionEnd::Idle,
        2 => SessionEnd::Expired,
        3 => SessionEnd::SignedOut,
        _ => SessionEnd::Revoked,
    }
}

/// All sessions in use, and the store behind them.
#[derive(Debug)]
pub struct Sessions {
    store: Store,
    idle_timeout: Duration,
    live: Mutex<HashMap<SessionId, Arc<LiveSession>>>,
    /// Grows with every change heard of, so that a record read before it is not taken for the truth after it.
    heard: AtomicU64,
}

impl Sessions {
    /// No session in use yet.
    pub fn new(store: Store, idle_timeout: Duration) -> Self {
        Self { store, idle_timeout, live: Mutex::default(), heard: AtomicU64::new(0) }
    }

    /// The session of that name, from memory or the store. `Ok(Err)` says that there is none or why it is over.
    pub async fn find(
        &self,
        id: SessionId,
        now: Timestamp,
    ) -> Result<Result<Arc<LiveSession>, Option<SessionEnd>>, StoreError> {
        loop {
            if let Some(session) = self.lock().get(&id) {
                return Ok(Ok(session.clone()));
            }
            let heard = self.heard.load(Ordering::Acquire);
            let Some(session) = self.store.session(id).await? else { return Ok(Err(None)) };
            if let Err(end) = session.judge(self.idle_timeout, now) {
                return Ok(Err(Some(end)));
            }
            let mut live = self.lock();
            // A session that ended while its record was read would otherwise live on here.
            if self.heard.load(Ordering::Acquire) == heard {
                let fresh = || Arc::new(LiveSession::new(&session, self.idle_timeout));
                return Ok(Ok(live.entry(id).or_insert_with(fresh).clone()));
            }
        }
    }

    /// Ends a session, everywhere: here at once, elsewhere when the change is heard of.
    pub async fn end(&self, id: SessionId, end: SessionEnd, now: Timestamp) -> Result<(), StoreError> {
        self.store.end_sessions(Which::One(id), end, now).await?;
        self.hear([Change::SessionEnded(id, end)]);
        Ok(())
    }

    /// Takes note of what others changed; true when the keys are to be read again.
    pub fn hear(&self, changes: impl IntoIterator<Item = Change>) -> bool {
        let mut keys_changed = false;
        let mut live = self.lock();
        self.heard.fetch_add(1, Ordering::AcqRel);
        for change in changes {
            match change {
                Change::KeysChanged => keys_changed = true,
                Change::Unknown => {
                    // Whatever it was: nobody's session is believed before its record has been read anew.
                    keys_changed = true;
                    live.drain().for_each(|(_, session)| session.finish(SessionEnd::Revoked));
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

    /// Writes down when sessions were last used, and lets go of those that are over.
    pub async fn tidy(&self, now: Timestamp) -> Result<(), StoreError> {
        let used: Vec<Arc<LiveSession>> = {
            let live = self.lock();
            let moved =
                |s: &&Arc<LiveSession>| s.last_seen().unix() > s.stored_last_seen.load(Ordering::Relaxed);
            live.values().filter(moved).cloned().collect()
        };
        if !used.is_empty() {
            let seen: Vec<_> = used.iter().map(|session| (session.id, session.last_seen())).collect();
            self.store.touch_sessions(seen.clone()).await?;
            for (session, (_, at)) in used.iter().zip(seen) {
                session.stored_last_seen.store(at.unix(), Ordering::Relaxed);
            }
        }
        self.lock().retain(|_, session| match session.judge(now) {
            Ok(()) => true,
            Err(end) => {
                session.finish(end);
                false
            }
        });
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, Arc<LiveSession>>> {
        self.live.lock().expect("nobody panics while holding it")
    }
}
