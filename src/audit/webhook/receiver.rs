//! The other end of the webhook: how a line gets there, and what its answers mean.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use secrecy::ExposeSecret as _;

use super::WebhookError;
use crate::audit::json;
use crate::config;
use crate::crypto;
use crate::domain::time::Timestamp;
use crate::store::Sealed;
use crate::tls;

/// It answers within this.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Who is told.
#[derive(Debug)]
pub(super) struct Receiver {
    http: reqwest::Client,
    settings: config::Webhook,
}

/// Why a line was not taken.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was answered with 4xx: it may be this line alone that is not liked.
    Refused(StatusCode),
    /// No line would be taken now.
    Away(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(status) => write!(f, "it answered {}", status.as_u16()),
            Self::Away(why) => f.write_str(why),
        }
    }
}

/// 4xx that say "later", whatever the line.
const LATER: [StatusCode; 3] =
    [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];

impl Receiver {
    pub(super) fn new(settings: config::Webhook) -> Result<Self, WebhookError> {
        let mut builder = reqwest::Client::builder()
            .timeout(ANSWER_WITHIN)
            // What is signed goes to the configured address only.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("vestibule/", env!("CARGO_PKG_VERSION")));
        if let Some(file) = &settings.authorities {
            let trust = config::Trust { authorities: Some(file.clone()), identity: None };
            builder = builder.tls_backend_preconfigured(tls::client(&trust)?);
        }
        Ok(Self { http: builder.build()?, settings })
    }

    /// Which events it wants; all, if none are named.
    pub(super) fn events(&self) -> &[String] {
        &self.settings.events
    }

    pub(super) fn wants(&self, line: &Sealed) -> bool {
        self.events().is_empty() || self.events().contains(&line.recorded.what)
    }

    /// One line, by one request. Only a 2xx is a yes.
    pub(super) async fn bring(&self, line: &Sealed, now: Timestamp) -> Result<(), Failure> {
        let body = json::line(&line.recorded).to_string();
        let at = now.unix();
        let secret = self.settings.secret.expose_secret().as_bytes();
        let signature = crypto::hmac_hexadecimal(secret, format!("{at}.{body}").as_bytes());
        let request = self
            .http
            .post(self.settings.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("vestibule-event-id", id(line))
            .header("vestibule-signature", format!("t={at},v1={signature}"))
            .body(body);
        let status = request.send().await.map_err(|error| Failure::Away(causes(error)))?.status();
        if status.is_success() {
            Ok(())
        } else if status.is_client_error() && !LATER.contains(&status) {
            Err(Failure::Refused(status))
        } else {
            Err(Failure::Away(format!("it answered {}", status.as_u16())))
        }
    }

    /// Whether it can be reached, by HEAD (RFC 9110 section 9.3.2: it changes nothing there) for its path without the
    /// query. Whatever it answers is an answer.
    pub(super) async fn knock(&self) -> Result<(), String> {
        let mut url = self.settings.url.clone();
        url.set_query(None);
        self.http.head(url).send().await.map(drop).map_err(causes)
    }
}

/// By which the receiver knows a line: its number, and the beginning of its seal, since a number is given anew where an
/// older copy of the store takes the newer one's place.
fn id(line: &Sealed) -> String {
    let seal = line.hash.as_deref().unwrap_or_default().iter().take(4);
    let seal: String = seal.map(|byte| format!("{byte:02x}")).collect();
    if seal.is_empty() { line.line.number.to_string() } else { format!("{}-{seal}", line.line.number) }
}

/// All of an error's causes, without the address, which may hold what only the two of us know.
fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut all = error.to_string();
    let mut deeper = error.source();
    while let Some(cause) = deeper {
        all = format!("{all}: {cause}");
        deeper = cause.source();
    }
    all
}
