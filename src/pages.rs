//! The person's side: everything under `/.vestibule/` that a browser sees.

mod account;
mod assets;
pub mod catalogue;
mod challenge;
mod endpoint;
mod form;
mod overrides;
pub mod problem;
pub mod reply;
mod sentence;
mod templates;
pub mod visit;

pub(crate) use sentence::status as status_of;

use std::path::Path;
use std::sync::Arc;

use hyper::StatusCode;
use minijinja::{Value, context};

use crate::access::sessions::Sessions;
use crate::access::sign_in::SignIn;
use crate::audit::Audit;
use crate::clock::Clock;
use crate::domain::id::Reference;
use crate::message::kind::Kind;
use crate::message::session_cookie::Names;
use catalogue::Catalogue;
use endpoint::Endpoint;
use overrides::TemplateError;
use problem::Refusal;
use reply::Reply;
use templates::Templates;
use visit::Visit;

/// Renders pages. Holds no state of any person; shared by all threads.
#[derive(Debug)]
pub struct Pages {
    templates: Templates,
    catalogue: Arc<Catalogue>,
    brand: String,
}

/// What stands at the top of a page.
#[derive(Clone, Debug)]
pub struct Message {
    kind: &'static str,
    text: String,
}

impl Message {
    /// Something went wrong.
    pub fn error(text: String) -> Self {
        Self { kind: "error", text }
    }

    /// Something worth knowing.
    pub fn notice(text: String) -> Self {
        Self { kind: "notice", text }
    }
}

/// Where the gateway's own pages live.
pub const BASE: &str = "/.vestibule";

impl Pages {
    /// Pages with the operator's templates and sentences before the built-in ones.
    pub fn new(overrides: Option<&Path>, brand: &str) -> Result<Self, TemplateError> {
        let catalogue = Arc::new(Catalogue::open(overrides)?);
        let templates = Templates::open(overrides, catalogue.clone())?;
        let pages = Self { templates, catalogue, brand: brand.to_owned() };
        pages.rehearse()?;
        Ok(pages)
    }

    /// Renders every page once: a template that names what it is not given is found now, not by a person.
    fn rehearse(&self) -> Result<(), TemplateError> {
        let message = Message::error("rehearsal".to_owned());
        for (template, page) in templates::rehearsals() {
            for message in [None, Some(&message)] {
                let page = context! { ..page.clone(), ..self.frame(message, None) };
                self.templates
                    .render(template, page)
                    .map_err(|error| TemplateError::Template(template.to_owned(), error))?;
            }
        }
        Ok(())
    }

    /// The sentences.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// What every page has around it.
    fn frame(&self, message: Option<&Message>, reference: Option<Reference>) -> Value {
        context! {
            language => self.catalogue.language(),
            direction => self.catalogue.direction(),
            brand => &self.brand,
            assets => "/.vestibule/assets",
            base => BASE,
            reference => reference.map(|reference| reference.to_string()),
            message => message.map(|message| context! { kind => message.kind, text => &message.text }),
        }
    }

    fn render(
        &self,
        template: &str,
        status: StatusCode,
        message: Option<&Message>,
        reference: Option<Reference>,
        page: Value,
    ) -> Reply {
        match self.templates.render(template, context! { ..page, ..self.frame(message, reference) }) {
            Ok(html) => reply::html(status, html),
            Err(error) => {
                tracing::error!(template, %error, "a page could not be rendered; the operator's template is at fault");
                reply::plain(StatusCode::INTERNAL_SERVER_ERROR, "500")
            }
        }
    }
}

/// The desk people come to, and what it works with.
#[derive(Debug)]
pub struct Desk {
    /// Lets people sign in.
    pub sign_in: SignIn,
    /// Knows the sessions in use.
    pub sessions: Arc<Sessions>,
    /// Renders.
    pub pages: Arc<Pages>,
    /// The names of our cookies.
    pub cookies: Names,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// The audit trail.
    pub audit: Audit,
}

impl Desk {
    /// Answers a visit to one of our pages.
    pub async fn serve(&self, visit: &Visit) -> Result<Reply, Refusal> {
        let endpoint = Endpoint::of(visit)?;
        if endpoint.changes_something() && !visit.is_same_site() {
            tracing::info!(
                "a form of another site was refused; if it was ours, a proxy rewrites Host or Origin"
            );
            return Err(Refusal::CrossSite);
        }
        match endpoint {
            Endpoint::Challenge
            | Endpoint::Start
            | Endpoint::Verify
            | Endpoint::Resend
            | Endpoint::Cancel
            | Endpoint::Emergency
                if self.sessions.outage().is_away() =>
            {
                Err(Refusal::StoreUnavailable)
            }
            Endpoint::Challenge => self.show_challenge(visit).await,
            Endpoint::Start => self.start(visit).await,
            Endpoint::Verify => self.verify(visit).await,
            Endpoint::Resend => self.resend(visit).await,
            Endpoint::Cancel => self.cancel(visit).await,
            Endpoint::Emergency => self.emergency(visit).await,
            Endpoint::Account => self.account(visit).await,
            Endpoint::SignOut => self.sign_out(visit).await,
            Endpoint::Asset(name) => assets::serve(name).ok_or(Refusal::NotFound),
        }
    }
}

/// Whether a page of ours is for somebody who is in. The others say by themselves what is not possible.
pub fn needs_session(path: &str) -> bool {
    path.strip_prefix(BASE) == Some("/account")
}

/// The address of the challenge page, with a query.
fn challenge_page(pairs: &[(&str, &str)]) -> String {
    if pairs.is_empty() {
        return format!("{BASE}/challenge");
    }
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("{BASE}/challenge?{query}")
}

impl Kind {
    /// Whether a person looks at the answer.
    pub(crate) fn is_navigation(self) -> bool {
        self != Self::Program
    }
}
