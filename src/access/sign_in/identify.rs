//! From what a person types to the user they claim to be, or to nobody, with the same steps either way.

use super::{Cause, SignIn, Trail, sender, tables};
use crate::config::IdentifyBy;
use crate::domain::challenge::Subject;
use crate::domain::channel::Channel;
use crate::domain::line::LineKind;
use crate::domain::phone::{PhoneError, PhoneNumber, mask};
use crate::domain::user::{User, UserName};
use crate::store::{Spend, StoreError, UserKey};

/// What a person typed to say who they are.
#[derive(Clone, Debug)]
pub enum Identity {
    /// A phone number, as they write it.
    Phone(String),
    /// A user name.
    Name(String),
}

/// Somebody who asked for a code.
#[derive(Debug)]
pub(super) struct Identified {
    /// The user who may get one. `None`: unknown, disabled, or shut out; they see the same as everybody.
    pub(super) user: Option<User>,
    /// The name of the user who was found, whether they may get a code or not.
    pub(super) name: Option<UserName>,
    /// Whose failures and starts count.
    pub(super) subject: Subject,
    /// What the page shows of the number.
    pub(super) recipient: String,
    /// What a start is counted against.
    pub(super) spends: Vec<Spend>,
    /// Whether the number that was typed is one of a landline.
    pub(super) landline: bool,
    /// For the audit trail: why no code is sent, when none is.
    pub(super) refusal: &'static str,
}

/// What was typed, understood.
pub(super) struct Typed {
    pub(super) key: UserKey,
    /// A keyed hash that stands for a stranger.
    pub(super) hash: String,
    landline: bool,
}

impl SignIn {
    pub(super) async fn identify(&self, identity: Identity, trail: &Trail) -> Result<Identified, Cause> {
        // Else only a person who is known would wait for them.
        tables::read().await;
        let Typed { key, hash: typed, landline } = self.read(identity).await?;
        if let UserKey::PhoneNumber(number) = &key
            && let Err(stop) = self.guard.watch(trail.client, number)
        {
            sender::stopped(&self.guard, &self.writer, stop.guard, trail).await;
            return Err(Cause::TooManyRequests(stop.wait));
        }
        let found = self.parts.store.user(key.clone()).await?;
        let subject = found.as_ref().map_or_else(|| Subject::stranger(&typed), |user| Subject::user(user.id));
        let closed = self.parts.store.failures(subject.clone()).await?.is_closed();
        let refusal = match &found {
            None => "unknown, nothing is sent",
            Some(user) if user.disabled => "disabled, nothing is sent",
            Some(user) if !user.may_sign_in() => "two-factor is off, nothing is sent",
            Some(_) if closed => "closed after too many wrong codes, nothing is sent",
            Some(_) => "",
        };
        let number = found.as_ref().map(|user| &user.phone_number);
        Ok(Identified {
            recipient: self.recipient(&key, number, &typed),
            spends: self.spends(number, &subject, &typed),
            name: found.as_ref().map(|user| user.name.clone()),
            user: found.filter(|user| user.may_sign_in() && !closed),
            subject,
            landline,
            refusal,
        })
    }

    /// What was typed, and nothing of whom it belongs to.
    pub(super) async fn read(&self, identity: Identity) -> Result<Typed, Cause> {
        match identity {
            Identity::Name(text) => {
                let name: UserName = text.parse().map_err(|_| Cause::Name)?;
                let hash = self.parts.master.hash("name", name.as_str());
                Ok(Typed { key: UserKey::Name(name), hash, landline: false })
            }
            Identity::Phone(text) => {
                let (number, landline) = self.phone_number(text).await?;
                let hash = self.parts.master.hash("number", number.as_e164());
                Ok(Typed { key: UserKey::PhoneNumber(number), hash, landline })
            }
        }
    }

    /// A number, and whether it is one of a landline. Parsing takes up to milliseconds under a lock of the library's:
    /// not on a thread that others wait for.
    async fn phone_number(&self, text: String) -> Result<(PhoneNumber, bool), Cause> {
        let (default, allowed) = (self.challenge.default_region, self.challenge.allowed_regions.clone());
        let calls = self.challenge.channels.contains(&Channel::Call);
        let parse = move || {
            let number = PhoneNumber::parse(&text, default).map_err(Cause::Phone)?;
            let served =
                allowed.is_empty() || number.region().is_some_and(|region| allowed.contains(&region));
            // What the digits alone tell may be told.
            match number.kind() {
                _ if !served => Err(Cause::Region),
                Some(LineKind::Special) => Err(Cause::NumberKind),
                Some(LineKind::Landline) if !calls => Err(Cause::NumberKind),
                kind => Ok((number, kind == Some(LineKind::Landline))),
            }
        };
        tokio::task::spawn_blocking(parse).await.unwrap_or(Err(Cause::Phone(PhoneError::Invalid)))
    }

    /// The page shows the end of the number that was typed, or that belongs to the name; a name without a user has
    /// one too, always the same.
    fn recipient(&self, key: &UserKey, number: Option<&PhoneNumber>, typed: &str) -> String {
        match (key, number) {
            (UserKey::PhoneNumber(number), _) | (_, Some(number)) => number.masked(),
            (UserKey::Name(_) | UserKey::Id(_), None) => {
                let hash = self.parts.master.hash("mask", typed);
                let sum: u32 = hash.bytes().map(u32::from).sum();
                mask(&format!("{:02}", sum % 100))
            }
        }
    }

    /// One count by number and one by user; a stranger's are by what they typed.
    pub(super) fn spends(&self, number: Option<&PhoneNumber>, subject: &Subject, typed: &str) -> Vec<Spend> {
        let hash = number
            .map_or_else(|| typed.to_owned(), |number| self.parts.master.hash("number", number.as_e164()));
        vec![
            Spend { key: format!("starts_number:{hash}"), rate: self.limits.starts_per_number },
            Spend { key: format!("starts:{}", subject.as_str()), rate: self.limits.starts_per_user },
        ]
    }

    /// What a page may show of a user's number.
    pub async fn recipient_of(&self, name: &UserName) -> Result<Option<String>, StoreError> {
        let user = self.parts.store.user(UserKey::Name(name.clone())).await?;
        Ok(user.map(|user| user.phone_number.masked()))
    }

    /// How the settings have people say who they are.
    pub fn identify_by(&self) -> IdentifyBy {
        self.challenge.identify_by
    }

    /// Whether a number must be typed with its country.
    pub fn needs_country(&self) -> bool {
        self.challenge.default_region.is_none()
    }
}
