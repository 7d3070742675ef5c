//! Signing in: ask for a code, type it, be in.
//!
//! Everything is spent before anything is judged; known and unknown people take the same steps in the same time;
//! and the recipient of a code only ever comes from the stored record.

mod failure;
mod identify;
mod provider;
mod start;
mod verify;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use failure::{Cause, Failure};
pub use identify::Identity;

use super::addresses::Addresses;
use super::keys::Keys;
use crate::audit::Audit;
use crate::clock::Clock;
use crate::config;
use crate::crypto::{self, MasterKey};
use crate::domain::challenge::{Challenge, Channel, State};
use crate::domain::event::{Event, What};
use crate::domain::id::{ChallengeId, Reference};
use crate::domain::limits::Rate;
use crate::domain::return_to::ReturnTo;
use crate::domain::session::Session;
use crate::domain::user::UserName;
use crate::store::{Store, StoreError};
use crate::verifier::Verifier;
use provider::Provider;

/// Lets people sign in.
#[derive(Debug)]
pub struct SignIn {
    parts: Parts,
    audit: Audit,
    provider: Arc<Provider>,
    challenge: config::Challenge,
    limits: config::Limits,
    session: config::Session,
    starts: Addresses,
    checks: Addresses,
    /// How often a refused address is written down.
    noted: Addresses,
}

/// What signing in is made of.
#[derive(Debug)]
pub struct Parts {
    /// Remembers.
    pub store: Arc<dyn Store>,
    /// Sends and checks codes.
    pub verifier: Arc<dyn Verifier>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Signs tokens.
    pub keys: Arc<Keys>,
    /// Hashes what strangers type.
    pub master: Arc<MasterKey>,
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
    pub fn new(parts: Parts, settings: &config::Settings) -> Self {
        Self {
            audit: Audit::new(parts.store.clone()),
            provider: Arc::new(Provider::new(parts.verifier.clone())),
            challenge: settings.challenge.clone(),
            limits: settings.limits,
            session: settings.session,
            starts: Addresses::new(settings.limits.starts_per_address),
            checks: Addresses::new(settings.limits.checks_per_address),
            noted: Addresses::new(NOTED),
            parts,
        }
    }

    /// The ways a code can be sent, the usual one first.
    pub fn channels(&self) -> &[Channel] {
        &self.challenge.channels
    }

    /// A challenge under way.
    pub async fn challenge(&self, id: ChallengeId) -> Result<Option<Challenge>, StoreError> {
        self.parts.store.challenge(id).await
    }

    /// The person gives a challenge up.
    pub async fn cancel(&self, id: ChallengeId) -> Result<(), StoreError> {
        self.parts.store.close_challenge(id, State::Cancelled).await
    }

    /// Forgets client addresses that have waited long enough.
    pub fn tidy(&self) {
        self.starts.tidy();
        self.checks.tidy();
        self.noted.tidy();
    }

    async fn record(&self, what: What, trail: &Trail, detail: impl Into<String>) {
        let event = Event {
            at: self.parts.clock.now(),
            what,
            reference: Some(trail.reference),
            user: trail.user.as_ref().map(UserName::to_string),
            client: trail.client.to_string(),
            detail: detail.into(),
        };
        self.audit.record(event).await;
    }

    /// Gives a cause its reference, and writes both down.
    async fn fail(&self, cause: Cause, trail: &Trail) -> Failure {
        if let Some(what) = cause.event() {
            self.record(what, trail, cause.to_string()).await;
        }
        Failure { cause, reference: Some(trail.reference) }
    }

    /// Turns an address away that comes too often. This is the cheapest answer there is: it waits for nothing, since
    /// it is the same for everybody, and is written down once a minute.
    async fn turn_away(&self, cause: Cause, client: IpAddr) -> Failure {
        if self.noted.spend(client).is_ok() {
            self.fail(cause, &Trail::new(client)).await
        } else {
            Failure { cause, reference: None }
        }
    }
}

const NOTED: Rate = Rate::new(1, Duration::from_secs(60));

/// Whom and what the audit trail is about, beside what happened.
#[derive(Debug)]
struct Trail {
    reference: Reference,
    user: Option<UserName>,
    client: IpAddr,
}

impl Trail {
    /// A trail that begins here.
    fn new(client: IpAddr) -> Self {
        Self { reference: Reference::from_random(crypto::random()), user: None, client }
    }

    /// The trail of a challenge, where there is one.
    fn of(challenge: Option<&Challenge>, client: IpAddr) -> Self {
        challenge.map_or_else(
            || Self::new(client),
            |of| Self { reference: of.reference, user: of.user_name.clone(), client },
        )
    }
}
