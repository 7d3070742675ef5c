//! The two pages of the challenge: who are you, and which code did you get.

use std::time::Duration;

use hyper::StatusCode;
use jiff::Zoned;
use jiff::tz::TimeZone;
use minijinja::context;

use crate::access::sign_in::Cause;
use crate::config::IdentifyBy;
use crate::domain::challenge::{Challenge, Closed};
use crate::domain::id::Reference;
use crate::domain::return_to::ReturnTo;
use crate::domain::sending::Delivery;
use crate::domain::time::Timestamp;
use crate::pages::reply::{Reply, with_cookie};
use crate::pages::visit::Visit;
use crate::pages::{Desk, Message};

impl Desk {
    /// The page of a challenge that was started before.
    pub(super) fn show_under_way(
        &self,
        visit: &Visit,
        challenge: &Challenge,
        wrong: Option<Message>,
        return_to: Option<&ReturnTo>,
    ) -> Reply {
        match challenge.usable(self.clock.now()) {
            Ok(()) => {
                let message = wrong.or_else(|| self.sent_again(challenge));
                self.ask_code(StatusCode::OK, message.as_ref(), challenge, return_to)
            }
            Err(Closed::Expired) => self.ask_code(
                StatusCode::OK,
                Some(&self.pages.sentence(&Cause::Expired)),
                challenge,
                return_to,
            ),
            Err(Closed::TooManyChecks) => self.ask_code(StatusCode::OK, None, challenge, return_to),
            Err(closed @ (Closed::AlreadyUsed | Closed::Cancelled)) => {
                let used = closed == Closed::AlreadyUsed;
                let message = used.then(|| self.pages.sentence(&Cause::AlreadyUsed));
                let return_to = return_to.unwrap_or(&challenge.return_to);
                let reference = used.then_some(challenge.reference);
                let page =
                    self.ask_who(visit, StatusCode::OK, message.as_ref(), reference, "", Some(return_to));
                with_cookie(page, self.cookies.clear(self.cookies.challenge))
            }
        }
    }

    /// Another code was sent a moment ago: say so, once.
    fn sent_again(&self, challenge: &Challenge) -> Option<Message> {
        let recent = self.clock.now().since(challenge.sent_at) < Duration::from_secs(5);
        let key = format!("message.code_sent_again.{}", challenge.channel.as_str());
        let sent = challenge.delivery == Delivery::Sent;
        (challenge.sends > 1 && recent && sent).then(|| Message::notice(self.pages.catalogue().text(&key)))
    }

    /// The last code was wrong, and so many tries are left.
    pub(super) fn wrong_code(&self, challenge: &Challenge) -> Message {
        self.pages.sentence(&Cause::WrongCode(challenge.max_checks.saturating_sub(challenge.checks)))
    }

    /// Whoever is signed in is here for a fresh proof.
    pub(super) fn ask_who(
        &self,
        visit: &Visit,
        status: StatusCode,
        message: Option<&Message>,
        reference: Option<Reference>,
        typed: &str,
        return_to: Option<&ReturnTo>,
    ) -> Reply {
        self.sign_in.expect_somebody();
        let page = context! {
            identify_by => word(self.sign_in.identify_by()),
            needs_country => self.sign_in.needs_country(),
            proves_again => visit.session.is_ok(),
            value => typed.chars().take(128).collect::<String>(),
            return_to => return_to.map_or("/", ReturnTo::as_str),
        };
        self.pages.render("identify.html", status, message, reference, page)
    }

    pub(super) fn ask_code(
        &self,
        status: StatusCode,
        message: Option<&Message>,
        challenge: &Challenge,
        return_to: Option<&ReturnTo>,
    ) -> Reply {
        let now = self.clock.now();
        let channels = self.sign_in.channels(challenge);
        let channels = channels.iter().filter(|channel| **channel != challenge.channel);
        let can_check = challenge.usable(now).is_ok();
        let wait =
            |channel| if can_check { self.sign_in.resend_wait(challenge, channel).as_secs() } else { 0 };
        let other_in = channels.clone().map(|channel| wait(*channel)).max().unwrap_or(0);
        let page = context! {
            identify_by => word(self.sign_in.identify_by()),
            recipient => &challenge.recipient,
            channel => challenge.channel.as_str(),
            code_length => challenge.code_length,
            expires_in => challenge.expires_at.since(now).as_secs(),
            sent_at => clock_time(challenge.sent_at),
            sent_at_utc => zoned(challenge.sent_at, TimeZone::UTC).timestamp().to_string(),
            resend_in => wait(challenge.channel),
            other_in => other_in,
            other_channels => channels.map(|channel| channel.as_str()).collect::<Vec<_>>(),
            unconfirmed => challenge.delivery != Delivery::Sent,
            can_check => can_check,
            return_to => return_to.unwrap_or(&challenge.return_to).as_str(),
        };
        self.pages.render("code.html", status, message, Some(challenge.reference), page)
    }
}

/// A moment as a clock on the server's wall shows it, with its time zone: `10:42 UTC`.
fn clock_time(at: Timestamp) -> String {
    zoned(at, TimeZone::system()).strftime("%H:%M %Z").to_string()
}

fn zoned(at: Timestamp, zone: TimeZone) -> Zoned {
    at.to_jiff().to_zoned(zone)
}

pub(super) const fn word(identify_by: IdentifyBy) -> &'static str {
    match identify_by {
        IdentifyBy::Phone => "phone",
        IdentifyBy::Name => "name",
    }
}
