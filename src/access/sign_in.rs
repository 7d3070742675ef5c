//! Signing in: ask for a code, type it, be in.
//!
//! Everything is spent before anything is judged; known and unknown people take the same steps in the same time;
//! and the recipient of a code only ever comes from the stored record.

mod emergency;
mod failure;
mod fault;
mod identify;
mod pending;
mod providers;
mod sender;
mod start;
mod tables;
mod trail;
mod verify;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub use emergency::hash as emergency_hash;
pub use failure::{Cause, Failure};
pub use identify::Identity;

use super::addresses::Addresses;
use super::keys::Keys;
use super::lines::Lines;
use super::pace;
use super::spend_guard::SpendGuard;
use crate::audit::Audit;
use crate::clock::Clock;
use crate::config;
use crate::crypto::MasterKey;
use crate::domain::challenge::Challenge;
use crate::domain::channel::Channel;
use crate::domain::event::What;
use crate::domain::id::{ChallengeId, SessionId};
use crate::domain::limits::Rate;
use crate::domain::return_to::ReturnTo;
use crate::domain::session::Session;
use crate::metrics::Limit;
use crate::store::{Refused, Store, StoreError};
use crate::verifier::failover::Failover;
use pending::Pending;
use providers::Providers;
use sender::Sender;
use trail::{Trail, Writer};

/// Lets people sign in.
#[derive(Debug)]
pub struct SignIn {
    parts: Parts,
    writer: Writer,
    guard: Arc<SpendGuard>,
    providers: Arc<Providers>,
    sender: Arc<Sender>,
    pending: Arc<Pending>,
    challenge: config::Challenge,
    limits: config::Limits,
    session: config::Session,
    starts: Arc<Addresses>,
    checks: Arc<Addresses>,
    /// How often a refused address is written down.
    noted: Arc<Addresses>,
}

/// What signing in is made of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Remembers.
    pub store: Store,
    /// Send and check codes.
    pub failover: Arc<Failover>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Signs tokens.
    pub keys: Arc<Keys>,
    /// Hashes what strangers type.
    pub master: Arc<MasterKey>,
    /// Writes down what happens.
    pub audit: Audit,
}

/// What a change of the configuration does not make it forget.
struct Memory {
    guard: SpendGuard,
    providers: Arc<Providers>,
    pending: Arc<Pending>,
    starts: Arc<Addresses>,
    checks: Arc<Addresses>,
    noted: Arc<Addresses>,
}

/// Somebody is in.
#[derive(Debug)]
pub struct SignedIn {
    /// Their session.
    pub session: Session,
    /// The token for their cookie.
    pub token: String,
    /// Where they wanted to go.
    pub return_to: ReturnTo,
}

impl SignIn {
    /// Signing in under these settings.
    pub fn new(parts: Parts, lines: Arc<Lines>, settings: &config::Settings) -> Self {
        let guard = SpendGuard::new(parts.store.clone(), parts.master.clone(), settings.spend);
        let memory = Memory {
            guard,
            providers: Arc::new(Providers::new(parts.failover.clone())),
            pending: Arc::default(),
            starts: Arc::new(Addresses::new(settings.limits.starts_per_address)),
            checks: Arc::new(Addresses::new(settings.limits.checks_per_address)),
            noted: Arc::new(Addresses::new(NOTED)),
        };
        Self::with_memory(memory, parts, lines, settings)
    }

    /// Signing in under other settings. What was counted, and who waits for a message, stays as it is.
    pub fn next(&self, failover: Arc<Failover>, lines: Arc<Lines>, settings: &config::Settings) -> Self {
        let memory = Memory {
            guard: self.guard.next(settings.spend),
            providers: Providers::next(&self.providers, &failover),
            pending: self.pending.clone(),
            starts: self.starts.next(settings.limits.starts_per_address),
            checks: self.checks.next(settings.limits.checks_per_address),
            noted: self.noted.clone(),
        };
        Self::with_memory(memory, Parts { failover, ..self.parts.clone() }, lines, settings)
    }

    fn with_memory(memory: Memory, parts: Parts, lines: Arc<Lines>, settings: &config::Settings) -> Self {
        let Memory { guard, providers, pending, starts, checks, noted } = memory;
        let writer = Writer::new(parts.audit.clone(), parts.clock.clone());
        let guard = Arc::new(guard);
        let sender = Sender {
            store: parts.store.clone(),
            providers: providers.clone(),
            guard: guard.clone(),
            lines,
            writer: writer.clone(),
            challenge: settings.challenge.clone(),
        };
        Self {
            writer,
            guard,
            providers,
            sender: Arc::new(sender),
            pending,
            challenge: settings.challenge.clone(),
            limits: settings.limits,
            session: settings.session,
            starts,
            checks,
            noted,
            parts,
        }
    }

    /// What is known of lines, and who is asked about them.
    pub fn lines(&self) -> &Arc<Lines> {
        &self.sender.lines
    }

    /// Who sends codes.
    pub fn failover(&self) -> &Arc<Failover> {
        &self.parts.failover
    }

    /// The ways a code of a challenge can be sent, the usual one first.
    pub fn channels(&self, challenge: &Challenge) -> Vec<Channel> {
        let fits = |channel: &&Channel| !challenge.landline || **channel == Channel::Call;
        self.challenge.channels.iter().filter(fits).copied().collect()
    }

    /// A challenge under way.
    pub async fn challenge(&self, id: ChallengeId) -> Result<Option<Challenge>, StoreError> {
        self.parts.store.challenge(id).await
    }

    /// The person gives a challenge up.
    pub async fn cancel(&self, id: ChallengeId) -> Result<(), StoreError> {
        self.parts.store.cancel_challenge(id).await
    }

    /// The session that a token names, good or not.
    pub fn session_of(&self, token: &[u8]) -> Option<SessionId> {
        let opened = self.parts.keys.keyring().open(token, self.parts.clock.now()).ok()?;
        Some(opened.session)
    }

    /// Has providers forget codes that nobody typed, where they would go on by themselves.
    pub async fn release_abandoned(&self) -> Result<(), StoreError> {
        self.sender.release_abandoned().await
    }

    /// Forgets what was counted long enough ago.
    pub fn tidy(&self) {
        self.starts.tidy();
        self.checks.tidy();
        self.noted.tidy();
        self.guard.tidy();
    }

    /// Counts a limit that stopped somebody.
    fn hit(&self, limit: Limit) {
        self.parts.audit.metrics().count_limit(limit);
    }

    /// What a refusal of the store means to the person; `sending` tells another code from another check.
    fn refused(&self, refused: Refused, sending: bool) -> Cause {
        if let Some(limit) = start::limit_of(refused, sending) {
            self.hit(limit);
        }
        start::cause_of(refused, sending)
    }

    /// Gives a cause its reference, and writes both down.
    async fn fail(&self, cause: Cause, trail: &Trail) -> Failure {
        if cause.event().is_some_and(|what| !self.parts.audit.has_room(what)) {
            return Failure { cause, reference: None };
        }
        let written = match (cause.event(), trail.call.clone()) {
            (Some(what), Some(call)) => self.writer.note_call(what, trail, cause.to_string(), call).await,
            (Some(what), None) => self.writer.note(what, trail, cause.to_string()).await,
            (None, _) => Ok(()),
        };
        let cause = match written {
            // What would let somebody try again unseen is not told.
            Err(error) if matches!(cause.event(), Some(What::WrongCode | What::BreakGlassRefused)) => {
                Cause::Store(error)
            }
            Err(_) | Ok(()) => cause,
        };
        Failure { cause, reference: Some(trail.reference) }
    }

    /// What whoever waits is told: written down where it came to nothing, and told after as long as it takes everybody.
    async fn answer<T>(
        &self,
        since: Instant,
        came_to: Result<T, Cause>,
        trail: &Trail,
    ) -> Result<T, Failure> {
        let answer = match came_to {
            Ok(answer) => Ok(answer),
            Err(cause) => Err(self.fail(cause, trail).await),
        };
        pace::hold(since).await;
        answer
    }

    /// Turns an address away that comes too often. This is the cheapest answer there is: it waits for nothing, since
    /// it is the same for everybody, and is written down once a minute.
    async fn turn_away(&self, limit: Limit, cause: Cause, client: IpAddr) -> Failure {
        self.hit(limit);
        if self.noted.spend(client).is_ok() {
            self.fail(cause, &Trail::new(client)).await
        } else {
            Failure { cause, reference: None }
        }
    }
}

const NOTED: Rate = Rate::new(1, Duration::from_secs(60));
