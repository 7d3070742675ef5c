//! Signing in by an emergency code, which an administrator made: no provider is asked, and nothing is sent.

use std::net::IpAddr;

use tokio::time::Instant;

use super::{Cause, Failure, Identity, SignIn, SignedIn, Trail, tables};
use crate::access::addresses::network;
use crate::crypto::{self, MasterKey};
use crate::domain::challenge::Subject;
use crate::domain::emergency::EmergencyCode;
use crate::domain::event::What;
use crate::domain::id::SessionId;
use crate::domain::return_to::ReturnTo;
use crate::metrics::Limit;
use crate::store::{EmergencyAttempt, NewSession, Spend};

/// What the store has of a user's emergency code. It is no other user's, whatever somebody does to the store.
pub fn hash(master: &MasterKey, user: &str, code: &EmergencyCode) -> String {
    master.hash("emergency code", &format!("{user}:{}", code.text()))
}

impl SignIn {
    /// Somebody says who they are and types an emergency code. A try is spent, durably, before anybody looks at it; known and
    /// unknown people take the same steps. `carried` is the session that their browser has already.
    pub async fn break_glass(
        &self,
        identity: Identity,
        typed: &str,
        return_to: ReturnTo,
        client: IpAddr,
        carried: Option<SessionId>,
    ) -> Result<SignedIn, Failure> {
        if let Err(wait) = self.checks.spend(client) {
            return Err(self.turn_away(Limit::ChecksPerAddress, Cause::TooManyAttempts(wait), client).await);
        }
        let since = Instant::now();
        let mut trail = Trail::new(client);
        let came_to = self.break_glass_at_once(identity, typed, return_to, carried, &mut trail).await;
        self.answer(since, came_to, &trail).await
    }

    async fn break_glass_at_once(
        &self,
        identity: Identity,
        typed: &str,
        return_to: ReturnTo,
        carried: Option<SessionId>,
        trail: &mut Trail,
    ) -> Result<SignedIn, Cause> {
        // What cannot be one costs no try, and is answered like a wrong one.
        let code: EmergencyCode = typed.parse().map_err(|_| Cause::MalformedEmergencyCode)?;
        tables::read().await;
        let who = self.read(identity).await?;
        let user = self.parts.store.user(who.key).await?;
        trail.user = user.as_ref().map(|user| user.name.clone());
        let subject =
            user.as_ref().map_or_else(|| Subject::stranger(&who.hash), |user| Subject::user(user.id));
        // By network, too: else a stranger could keep somebody's last way in shut.
        let key = format!("emergency:{}:{}", subject.as_str(), network(trail.client));
        let (rate, now) = (self.limits.checks_per_challenge, self.parts.clock.now());
        let spent = self.parts.store.spend_emergency_try(Spend { key, rate }, now).await?;
        spent.inspect_err(|_| self.hit(Limit::EmergencyTries)).map_err(Cause::TooManyAttempts)?;
        let attempt = EmergencyAttempt {
            hash: hash(&self.parts.master, user.as_ref().map_or("", |user| user.name.as_str()), &code),
            user: user.map(|user| user.id),
            subject,
            session: NewSession {
                id: SessionId::from_random(crypto::random()),
                expires_at: now + self.session.absolute_timeout,
                client: trail.client.to_string(),
                follows: carried,
                event: self.writer.event(What::BreakGlassUsed, trail, String::new(), None),
            },
        };
        let taken = self.parts.store.take_emergency_code(attempt, now).await?;
        let (session, event) = taken.ok_or(Cause::WrongEmergencyCode)?;
        let token = self.parts.keys.keyring().sign(&session);
        self.writer.log_and_count(&event);
        Ok(SignedIn { session, token, return_to })
    }
}
