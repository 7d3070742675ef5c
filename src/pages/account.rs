//! Who I am here, and out again.

use hyper::StatusCode;
use minijinja::context;

use super::challenge::unavailable;
use super::problem::Refusal;
use super::reply::{self, Reply, with_cookie};
use super::visit::Visit;
use super::{Desk, Message, challenge_page};
use crate::access::sessions::Ended;
use crate::domain::event::{Event, What};
use crate::domain::id::SessionId;
use crate::domain::policy::Cause;
use crate::domain::session::SessionEnd;
use crate::domain::user::UserName;

impl Desk {
    pub(super) async fn account(&self, visit: &Visit) -> Result<Reply, Refusal> {
        let Ok(session) = &visit.session else { return Ok(reply::see_other(&challenge_page(&[]))) };
        let now = self.clock.now();
        let recipient = self.sign_in.recipient_of(session.user()).await.map_err(unavailable)?;
        let page = context! {
            user => session.user().as_str(),
            recipient,
            signed_in_ago => now.since(session.auth_time()).as_secs(),
            ends_in => session.expires_at().since(now).as_secs(),
            continue_to => "/",
        };
        Ok(self.pages.render("account.html", StatusCode::OK, None, None, page))
    }

    pub(super) async fn sign_out(&self, visit: &Visit) -> Result<Reply, Refusal> {
        let (status, message) = match self.end_session(visit).await? {
            None | Some(Ended::Recorded) => (StatusCode::OK, None),
            // It will be done (RFC 9110 section 15.3.3).
            Some(Ended::Unrecorded) => (StatusCode::ACCEPTED, Some("signed_out.unrecorded")),
        };
        let message = message.map(|key| Message::error(self.pages.catalogue().text(key)));
        let page = self.pages.render("signed_out.html", status, message.as_ref(), None, context! {});
        Ok(with_cookie(page, self.cookies.clear(self.cookies.session)))
    }

    /// Ends the session that came along, if there is one.
    async fn end_session(&self, visit: &Visit) -> Result<Option<Ended>, Refusal> {
        let Some((id, user)) = self.named_by(visit) else { return Ok(None) };
        let now = self.clock.now();
        let ended = self.sessions.end(id, SessionEnd::SignedOut, now).await.map_err(unavailable)?;
        let (user, client) = (user.map(|user| user.to_string()), visit.client.to_string());
        let detail = SessionEnd::SignedOut.as_str().to_owned();
        let what = What::SessionEnded;
        let event = Event { at: now, what, reference: None, user, client, detail, message: None };
        // They are out; that it cannot be written down yet keeps nobody in.
        let _ = self.audit.record(event).await;
        Ok(Some(ended))
    }

    /// Whose session is to end. One whose record cannot be read is known by its token alone, and can be ended by that.
    fn named_by(&self, visit: &Visit) -> Option<(SessionId, Option<UserName>)> {
        match &visit.session {
            Ok(session) => Some((session.id(), Some(session.user().clone()))),
            Err(Cause::NoSession) => {
                let token = self.cookies.find(self.cookies.session, &visit.headers)?;
                Some((self.sign_in.session_of(token)?, None))
            }
            Err(Cause::SessionEnded(_) | Cause::ProofTooOld) => None,
        }
    }
}
