//! Who I am here, and out again.

use hyper::StatusCode;
use minijinja::context;

use super::challenge::unavailable;
use super::problem::Refusal;
use super::reply::{self, Reply, with_cookie};
use super::visit::Visit;
use super::{Desk, challenge_page};
use crate::domain::event::{Event, What};
use crate::domain::session::SessionEnd;

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
        if let Ok(session) = &visit.session {
            let now = self.clock.now();
            self.sessions.end(session.id(), SessionEnd::SignedOut, now).await.map_err(unavailable)?;
            let (user, client) = (Some(session.user().to_string()), visit.client.to_string());
            let detail = SessionEnd::SignedOut.as_str().to_owned();
            self.audit
                .record(Event {
                    at: now,
                    what: What::SessionEnded,
                    reference: None,
                    user,
                    client,
                    detail,
                    message: None,
                })
                .await;
        }
        let page = self.pages.render("signed_out.html", StatusCode::OK, None, None, context! {});
        Ok(with_cookie(page, self.cookies.clear(self.cookies.session)))
    }
}
