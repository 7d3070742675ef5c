//! Having a code sent: the line is looked at, the message is counted, the providers are asked in turn, and each step
//! is on the trail. For a stranger all of it is pretended.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::Instant;

use super::Cause;
use super::providers::Providers;
use super::trail::{Trail, Writer, call};
use crate::access::lines::Lines;
use crate::access::spend_guard::SpendGuard;
use crate::config;
use crate::domain::challenge::Challenge;
use crate::domain::channel::Channel;
use crate::domain::event::What;
use crate::domain::phone::PhoneNumber;
use crate::domain::sending::{Delivery, Holder, Prospect};
use crate::domain::spend::{Guard, Stop};
use crate::domain::user::User;
use crate::metrics::Code;
use crate::store::{Delivered, Lapsed, Reservation, Store, StoreError, UserKey};
use crate::verifier::failover::{Attempt, UnderWay};
use crate::verifier::{Scope, Trouble, VerifierError};

#[derive(Debug)]
pub(super) struct Sender {
    pub(super) store: Store,
    pub(super) providers: Arc<Providers>,
    pub(super) guard: Arc<SpendGuard>,
    pub(super) lines: Arc<Lines>,
    pub(super) writer: Writer,
    pub(super) challenge: config::Challenge,
}

/// A code to be sent.
#[derive(Debug)]
pub(super) struct Order {
    /// The challenge it is for.
    pub(super) challenge: Challenge,
    /// The challenge before another code was asked for; none for the first.
    pub(super) before: Option<Challenge>,
    /// Who may still hold an older code for the same person, which can no longer be typed.
    pub(super) old: Option<Holder>,
    /// Whom it goes to, as they were before the challenge stood; nobody for a stranger and whoever gets none.
    pub(super) to: Option<User>,
}

impl Order {
    /// Whether something was sent before, or it was said so.
    fn again(&self) -> bool {
        self.challenge.delivery != Delivery::Pending || self.old.is_some()
    }
}

/// A message that is really sent.
#[derive(Debug)]
struct Message {
    challenge: Challenge,
    channel: Channel,
    to: PhoneNumber,
    trail: Trail,
}

/// What asking for a message came to.
#[derive(Debug)]
struct Asked {
    delivered: Delivered,
    /// The number was refused, and who else may be asked for it.
    others: Option<Others>,
}

/// Who may still send to a number that was refused.
#[derive(Debug)]
enum Others {
    /// All but this one.
    Than(String),
    /// Nobody: all would say the same.
    Nobody,
}

impl Asked {
    const fn settled(delivered: Delivered) -> Self {
        Self { delivered, others: None }
    }
}

impl Sender {
    /// Sends a code, or pretends to. Of an error nothing went out, so nothing is waited for: the next start sends at
    /// once.
    pub(super) async fn send(self: &Arc<Self>, order: Order, trail: &Trail) -> Result<Challenge, Cause> {
        let (id, before) = (order.challenge.id, order.before.clone());
        let sent = self.try_send(order, trail).await;
        if sent.is_err() {
            self.store.undo_sending(id, before).await?;
        }
        sent
    }

    async fn try_send(self: &Arc<Self>, order: Order, trail: &Trail) -> Result<Challenge, Cause> {
        // What is wrong with one number is told to nobody but the trail: it is then pretended for, like a stranger.
        let to = self.unchanged(order.to.as_ref()).await?;
        let served = self.served(to, trail).await;
        let (counted, reserved) = self.reserve(&order.challenge, served, trail).await?;
        let (fitting, reserved) = self.fitting(&order.challenge, counted, reserved, trail).await?;
        let since = Instant::now();
        let message = fitting.map(|(to, channel)| Message {
            challenge: order.challenge.clone(),
            channel,
            to,
            trail: trail.clone(),
        });
        let asked = match &message {
            Some(message) => self.ask(message, &order, since).await,
            None => self.pretend(&order, since).await,
        };
        match asked {
            Ok(Asked { delivered, others }) => {
                self.record(&order.challenge, delivered.clone()).await?;
                if let Some((message, others)) = message.zip(others) {
                    // Not waited for: how long it takes would tell that the number is known.
                    tokio::spawn(self.clone().ask_others(message, others, reserved));
                }
                Ok(after(order.challenge, delivered))
            }
            Err(error) => {
                self.guard.refund(reserved).await?;
                Err(told_of(&error))
            }
        }
    }

    async fn record(&self, challenge: &Challenge, delivered: Delivered) -> Result<(), StoreError> {
        self.store.record_delivery(challenge.id, challenge.sent_at, delivered).await
    }

    /// Where a user's code goes, unless they were changed before the challenge stood: whatever changes them later ends it.
    async fn unchanged(&self, user: Option<&User>) -> Result<Option<PhoneNumber>, StoreError> {
        let Some(then) = user else { return Ok(None) };
        let now = self.store.user(UserKey::Id(then.id)).await?.filter(User::may_sign_in);
        Ok(now.map(|user| user.phone_number).filter(|number| *number == then.phone_number))
    }

    /// Whom the code goes to, if their country is served.
    async fn served(&self, to: Option<PhoneNumber>, trail: &Trail) -> Option<PhoneNumber> {
        let to = to?;
        if self.is_served(&to).await {
            return Some(to);
        }
        self.stopped(Guard::Country, trail).await;
        None
    }

    /// How the code goes to the number, as far as its line allows; a stranger's takes as long. It is counted already,
    /// since asking about a line costs money as well; where nothing was asked nor is sent the gateway gets its part back.
    async fn fitting(
        &self,
        challenge: &Challenge,
        to: Option<PhoneNumber>,
        reserved: Reservation,
        trail: &Trail,
    ) -> Result<(Option<(PhoneNumber, Channel)>, Reservation), Cause> {
        let Some(to) = to else {
            self.lines.pretend(&challenge.subject, self.writer.now()).await?;
            return Ok((None, reserved));
        };
        let (channel, asked) = self.line(challenge, &to, trail).await?;
        if channel.is_some() || asked {
            return Ok((channel.map(|channel| (to, channel)), reserved));
        }
        let (gateways, own) = reserved.split();
        self.guard.refund(gateways).await?;
        Ok((None, own))
    }

    /// The channel that the line allows, if any, and whether a question was asked for it.
    async fn line(
        &self,
        challenge: &Challenge,
        to: &PhoneNumber,
        trail: &Trail,
    ) -> Result<(Option<Channel>, bool), StoreError> {
        let (wanted, offered) = (challenge.channel, &self.challenge.channels);
        let judged = self.lines.judge(to, wanted, offered, self.writer.now()).await?;
        match judged.channel {
            Ok(channel) if channel == wanted => {}
            Ok(channel) => {
                let detail = format!("a landline gets a {}", channel.as_str());
                self.writer.note(What::NumberRefused, trail, detail).await?;
            }
            Err(refusal) => self.writer.note(What::NumberRefused, trail, refusal.as_str()).await?,
        }
        Ok((judged.channel.ok(), judged.asked))
    }

    /// Whether the number is of a country that codes go to. What was typed has been looked at before; a number that
    /// belongs to a name has not.
    async fn is_served(&self, to: &PhoneNumber) -> bool {
        if self.challenge.allowed_regions.is_empty() {
            // A code goes to a user's stored number only: the countries served are those of the users.
            return true;
        }
        let (to, allowed) = (to.clone(), self.challenge.allowed_regions.clone());
        // Parsing takes up to milliseconds under a lock of the library's.
        let look = move || to.region().is_some_and(|region| allowed.contains(&region));
        tokio::task::spawn_blocking(look).await.unwrap_or(false)
    }

    /// Counts the message, or says what everybody is told. What stops one number and is not told is counted like a
    /// stranger's, too.
    async fn reserve(
        &self,
        challenge: &Challenge,
        to: Option<PhoneNumber>,
        trail: &Trail,
    ) -> Result<(Option<PhoneNumber>, Reservation), Cause> {
        let stop = match self.count(challenge, to.as_ref(), trail).await? {
            Ok(reserved) => return Ok((to, reserved)),
            Err(stop) => stop,
        };
        if let Some(cause) = told(stop) {
            return Err(cause);
        }
        match self.count(challenge, None, trail).await? {
            Ok(reserved) => Ok((None, reserved)),
            Err(stop) => Err(told(stop).unwrap_or(Cause::TooManyRequests(stop.wait))),
        }
    }

    async fn count(
        &self,
        challenge: &Challenge,
        to: Option<&PhoneNumber>,
        trail: &Trail,
    ) -> Result<Result<Reservation, Stop>, StoreError> {
        let reserved = self.guard.reserve(challenge, to, self.writer.now()).await?;
        if let Err(stop) = reserved {
            self.stopped(stop.guard, trail).await;
        }
        Ok(reserved)
    }

    async fn stopped(&self, guard: Guard, trail: &Trail) {
        stopped(&self.guard, &self.writer, guard, trail).await;
    }

    /// Asks the providers in turn. An error is everybody's.
    async fn ask(&self, message: &Message, order: &Order, since: Instant) -> Result<Asked, VerifierError> {
        // What is pending is this very message, and of one that was refused no code is under way.
        let sent =
            order.challenge.delivery != Delivery::Pending && order.challenge.prospect == Prospect::Open;
        let live = order.challenge.holder.as_ref().filter(|_| sent);
        let under_way = live.or(order.old.as_ref()).map(|holder| self.under_way(holder, message, order));
        let refused_before = order.again() && under_way.is_none();
        let attempts = self.providers.start(&message.to, message.channel, under_way, since).await;
        if refused_before {
            // There was no code to make room for; a stranger waits as if there had been one.
            self.providers.imitate_resend(since).await;
        }
        self.note(message, &attempts).await;
        let Some(Attempt { provider, result }) = attempts.into_iter().last() else {
            return Err(VerifierError::down());
        };
        let error = match result {
            Ok(sent) => return Ok(Asked::settled(self.delivered(provider, Some(sent.handle)))),
            Err(error) => error,
        };
        if error.trouble.scope() == Scope::Unknown {
            // It may have been sent, under a name that is not known.
            let delivered = self.delivered(provider, None);
            return Ok(Asked::settled(Delivered { delivery: Delivery::Unconfirmed, ..delivered }));
        }
        let others = match error.trouble.scope() {
            Scope::Provider | Scope::Unknown => return Err(error),
            Scope::NumberHere => Others::Than(provider.clone()),
            Scope::Number => Others::Nobody,
        };
        let delivered = if live.is_some() {
            // A code sent earlier for this challenge is still good.
            let prospect = order.challenge.prospect;
            Delivered { delivery: Delivery::Sent, prospect, holder: None, code_length: None }
        } else {
            Delivered { prospect: Prospect::Refused, ..self.delivered(provider, None) }
        };
        Ok(Asked { delivered, others: Some(others) })
    }

    fn under_way<'a>(&self, holder: &'a Holder, message: &Message, order: &Order) -> UnderWay<'a> {
        let before = order.before.as_ref();
        // A landline was called the last time too, whatever was asked for.
        let same = before.filter(|_| message.channel == order.challenge.channel);
        let channel = same.map_or(message.channel, |before| before.channel);
        let age = before.map_or(Duration::MAX, |before| self.writer.now().since(before.sent_at));
        UnderWay { holder, channel, age }
    }

    /// A provider does not send to this number: others may, and else nothing went out.
    async fn ask_others(self: Arc<Self>, message: Message, others: Others, reserved: Reservation) {
        let attempts = match others {
            Others::Than(provider) => {
                self.providers.start_elsewhere(&provider, &message.to, message.channel).await
            }
            Others::Nobody => Vec::new(),
        };
        self.note(&message, &attempts).await;
        let last = attempts.into_iter().last().map(|attempt| (attempt.provider, attempt.result));
        let settled = match last {
            Some((provider, Ok(sent))) => {
                let delivered = self.delivered(provider, Some(sent.handle));
                self.record(&message.challenge, delivered).await
            }
            Some((provider, Err(error))) if error.trouble.scope() == Scope::Unknown => {
                let delivered = self.delivered(provider, None);
                self.record(&message.challenge, delivered).await
            }
            // The user's own budget is not given back, as a stranger's is not: their next start would tell.
            Some((_, Err(_))) | None => self.guard.refund(reserved.split().0).await,
        };
        if let Err(error) = settled {
            tracing::error!(%error, "what became of a message could not be written down");
        }
    }

    /// What a stranger gets: a challenge of whoever would have sent.
    async fn pretend(&self, order: &Order, since: Instant) -> Result<Asked, VerifierError> {
        let challenge = &order.challenge;
        let pretended = self.providers.pretend_start(challenge.channel, order.again(), since).await;
        let (delivery, provider) = match pretended {
            Ok(provider) => (Delivery::Sent, Some(provider)),
            Err(error) if error.trouble.scope() == Scope::Unknown => (Delivery::Unconfirmed, None),
            Err(error) => return Err(error),
        };
        if challenge.delivery != Delivery::Pending {
            // One that was sent before is still good, if any was.
            let prospect = challenge.prospect;
            return Ok(Asked::settled(Delivered { delivery, prospect, holder: None, code_length: None }));
        }
        // For nobody's challenge no code is right anyway; a known number that gets none is refused.
        let prospect = if challenge.user.is_some() { Prospect::Refused } else { Prospect::Open };
        Ok(Asked::settled(match provider {
            Some(provider) => Delivered { delivery, prospect, ..self.delivered(provider, None) },
            None => Delivered { delivery, prospect, holder: None, code_length: None },
        }))
    }

    fn delivered(&self, provider: String, handle: Option<String>) -> Delivered {
        let code_length = self.providers.code_length(&provider);
        let holder = Some(Holder { provider, handle });
        Delivered { delivery: Delivery::Sent, prospect: Prospect::Open, holder, code_length }
    }

    async fn note(&self, message: &Message, attempts: &[Attempt]) {
        let of = Challenge { channel: message.channel, ..message.challenge.clone() };
        for Attempt { provider, result } in attempts {
            let by = format!("{provider} {}", message.channel.as_str());
            let handle = result.as_ref().ok().map(|sent| sent.handle.clone());
            let holder = Holder { provider: provider.clone(), handle };
            let (what, detail, outcome) = match result {
                Ok(_) => (What::CodeSent, by, "sent"),
                Err(error) => (What::SendFailed, format!("{by}: {error}"), error.trouble.as_str()),
            };
            let call = call(&of, &holder, outcome);
            // A provider that rests was not asked.
            match result {
                Ok(_) => self.became(Code::Sent, provider, message),
                Err(error) if error.trouble == Trouble::Resting => {}
                Err(_) => self.became(Code::SendFailed, provider, message),
            }
            // What a provider did is done, whether it is written down or not; the log has it.
            let _ = self.writer.note_call(what, &message.trail, detail, call).await;
        }
    }

    fn became(&self, code: Code, provider: &str, message: &Message) {
        self.writer.count(code, provider, message.channel, message.to.clone());
    }

    /// Asks for a name that was lost with the answer to a start: what the person holds may be right all the same. The
    /// provider may send again, so it is counted like a message.
    pub(super) async fn recover(
        &self,
        challenge: Challenge,
        to: &PhoneNumber,
        trail: &Trail,
    ) -> Result<Result<Challenge, VerifierError>, Cause> {
        let lost = challenge.holder.clone().filter(|holder| self.providers.is_lost(holder));
        let Some(holder) = lost else { return Ok(Ok(challenge)) };
        let Ok(reserved) = self.count(&challenge, Some(to), trail).await? else {
            // Not told: a stranger's check asks for nothing.
            return Ok(Err(VerifierError::down()));
        };
        let recovered = match self.line(&challenge, to, trail).await? {
            (Some(channel), _) => (channel, self.providers.recover(&holder, to, channel).await),
            (None, _) => (challenge.channel, Err(VerifierError::down())),
        };
        match recovered {
            (channel, Ok(found)) => {
                self.writer.count(Code::Sent, &found.provider, channel, to.clone());
                Ok(Ok(self.found(challenge, channel, found, trail).await?))
            }
            (_, Err(error)) => {
                if error.trouble.scope() != Scope::Unknown {
                    self.guard.refund(reserved).await?;
                }
                Ok(Err(error))
            }
        }
    }

    async fn found(
        &self,
        challenge: Challenge,
        channel: Channel,
        holder: Holder,
        trail: &Trail,
    ) -> Result<Challenge, StoreError> {
        let by = format!("{} {}: found again", holder.provider, channel.as_str());
        self.writer.note_call(What::CodeSent, trail, by, call(&challenge, &holder, "sent")).await?;
        let delivered = Delivered {
            delivery: Delivery::Sent,
            prospect: Prospect::Open,
            holder: Some(holder.clone()),
            code_length: None,
        };
        self.record(&challenge, delivered).await?;
        Ok(Challenge { holder: Some(holder), ..challenge })
    }

    /// Has providers that would go on by themselves forget the codes nobody typed. What fails is tried again.
    pub(super) async fn release_abandoned(&self) -> Result<(), StoreError> {
        let abandoned = self.store.abandoned(self.writer.now()).await?;
        let releases = abandoned.into_iter().map(|(holder, reference)| async move {
            if self.providers.goes_on_by_itself(&holder)
                && let Err(error) = self.providers.cancel(&holder).await
            {
                let provider = &holder.provider;
                tracing::warn!(%error, %reference, provider, "a code that nobody typed could not be cancelled");
                return Ok(());
            }
            self.released(holder).await
        });
        let mut released = futures_util::stream::iter(releases).buffer_unordered(AT_ONCE);
        while let Some(release) = released.next().await {
            release?;
        }
        Ok(())
    }
}

impl Sender {
    /// A provider is done with a code. Whoever finds that nobody typed it counts it, once among all gateways.
    async fn released(&self, holder: Holder) -> Result<(), StoreError> {
        let provider = holder.provider.clone();
        let Some(Lapsed { channel, user }) = self.store.release(holder).await? else { return Ok(()) };
        if let Some(user) = self.store.user(UserKey::Id(user)).await? {
            self.writer.count(Code::Expired, &provider, channel, user.phone_number);
        }
        Ok(())
    }
}

/// So many abandoned codes are cancelled side by side.
const AT_ONCE: usize = 8;

/// A guard stopped somebody: on the trail each time, and aloud once a minute when it stops everybody.
pub(super) async fn stopped(spend: &SpendGuard, writer: &Writer, guard: Guard, trail: &Trail) {
    // It is in the log, too, and nothing was let through.
    let _ = writer.note(What::GuardTripped(guard), trail, guard.as_str()).await;
    if guard.is_for_everybody() && spend.alarm(guard) {
        let remedy = "look at: vestibule spend show";
        tracing::error!(guard = guard.as_str(), remedy, "the spend guard closed sending for everybody");
    }
}

/// What everybody is told of a guard, and a user of their own budget, as a stranger is of theirs.
fn told(stop: Stop) -> Option<Cause> {
    match stop.guard {
        guard if guard.is_for_everybody() => Some(Cause::SendingClosed(stop.wait)),
        Guard::UserDay | Guard::UserMonth => Some(Cause::TooManyRequests(stop.wait)),
        Guard::Day | Guard::Month | Guard::Prefix | Guard::Conversion | Guard::Sequence | Guard::Country => {
            None
        }
    }
}

/// For whom no provider says how long it is busy.
const A_WHILE: Duration = Duration::from_secs(30);

/// Trouble that is the same whoever asks.
pub(super) fn told_of(error: &VerifierError) -> Cause {
    match error.trouble {
        Trouble::Throttled => Cause::ProviderBusy(error.retry_after.unwrap_or(A_WHILE)),
        Trouble::Resting => Cause::ProviderDown(error.retry_after),
        Trouble::TooManySends
        | Trouble::InFlight
        | Trouble::InvalidNumber
        | Trouble::ChannelUnsuitable
        | Trouble::Blocked
        | Trouble::Refused
        | Trouble::Configuration
        | Trouble::Down
        | Trouble::Ambiguous => Cause::ProviderDown(None),
    }
}

fn after(challenge: Challenge, delivered: Delivered) -> Challenge {
    Challenge {
        delivery: delivered.delivery,
        prospect: delivered.prospect,
        holder: delivered.holder.or_else(|| challenge.holder.clone()),
        code_length: delivered.code_length.unwrap_or(challenge.code_length),
        ..challenge
    }
}
