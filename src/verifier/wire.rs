//! What every provider's client does on the wire: one HTTPS client, answers read whole and bounded, a deadline over
//! all tries, and the pauses between them.

use std::error::Error;
use std::io::ErrorKind;
use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{Trouble, VerifierError};
use crate::crypto;

/// The HTTPS client of one provider.
#[derive(Debug)]
pub(super) struct Wire {
    http: reqwest::Client,
    /// For one whole operation, with its tries and pauses.
    timeout: Duration,
}

/// An answer as it came.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

/// A call that was certainly not processed is made so often.
const TRIES: u32 = 3;
/// Longest pause before trying again, whatever the answer asked for: a person is waiting.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl Wire {
    /// Opens no connection, and never follows a redirect: secrets go to the configured host only.
    pub(super) fn new(timeout: Duration) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(3))
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("vestibule/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { http, timeout })
    }

    pub(super) const fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// When an operation that begins now must be over.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Sends one request and reads its whole answer: one that breaks off is as lost as none.
    pub(super) async fn send(&self, request: RequestBuilder, until: Instant) -> Result<Raw, VerifierError> {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let mut answer = request.timeout(left).send().await.map_err(|error| of_transport(&error))?;
        let (status, retry_after) = (answer.status(), retry_after(answer.headers()));
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| of_transport(&error))? {
            if body.len() + chunk.len() > LONGEST_ANSWER {
                return Err(VerifierError { status: Some(status.as_u16()), ..lost() });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Raw { status, retry_after, body })
    }
}

/// The documents are a few hundred bytes.
const LONGEST_ANSWER: usize = 64 * 1_024;

/// When a try that begins now must be over, for a third of the time to be left to find out what became of it.
pub(super) fn most_of(until: Instant) -> Instant {
    let now = Instant::now();
    now + until.saturating_duration_since(now) * 2 / 3
}

/// Makes a call again as long as `pause` says so and the deadline allows.
pub(super) async fn patiently<T, F: Future<Output = Result<T, VerifierError>>>(
    until: Instant,
    pause: fn(&VerifierError, u32) -> Option<Duration>,
    mut call: impl FnMut() -> F,
) -> Result<T, VerifierError> {
    let mut tried = 1;
    loop {
        let error = match call().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let again = pause(&error, tried).map(|pause| pause.min(LONGEST_PAUSE)).filter(|_| tried < TRIES);
        let Some(pause) = again.map(|pause| pause + jitter(pause)).filter(|p| Instant::now() + *p < until)
        else {
            return Err(error);
        };
        tracing::debug!(%error, tried, "calling the provider again");
        tokio::time::sleep(pause).await;
        tried += 1;
    }
}

/// Before a start is made again: only where the refused one was not processed, or the vendor failed.
pub(super) fn pause_of_start(error: &VerifierError, tried: u32) -> Option<Duration> {
    if error.trouble == Trouble::Throttled {
        return Some(error.retry_after.unwrap_or_else(|| Duration::from_millis(100 << tried.min(5))));
    }
    // No connection, or the vendor's own fault: once more.
    (error.trouble == Trouble::Down && tried == 1).then_some(Duration::from_millis(200))
}

/// The same for a call that must not be made twice: the vendor's own fault does not say whether it was processed.
pub(super) fn pause_of_unprocessed(error: &VerifierError, tried: u32) -> Option<Duration> {
    let unknown = error.trouble == Trouble::Down && !error.never_left();
    if unknown { None } else { pause_of_start(error, tried) }
}

/// Before a check is made again: only where it never left, since a repeat could cost a second try.
pub(super) fn pause_of_check(error: &VerifierError, tried: u32) -> Option<Duration> {
    (error.never_left() && tried == 1).then_some(Duration::from_millis(200))
}

/// Before a code is cancelled again: doing it twice does no harm, and nobody waits.
pub(super) fn pause_of_cancel(error: &VerifierError, tried: u32) -> Option<Duration> {
    let may_pass = [Trouble::Throttled, Trouble::Down, Trouble::Ambiguous].contains(&error.trouble);
    may_pass.then(|| Duration::from_millis(500) * tried)
}

/// Up to a quarter more, so that those refused together do not come back together.
fn jitter(wait: Duration) -> Duration {
    wait / 4 * u32::from(crypto::random::<1>()[0]) / 255
}

/// A request that found no connection was certainly not processed; of any other lost one nothing is known.
fn of_transport(error: &reqwest::Error) -> VerifierError {
    let trouble = if error.is_connect() { Trouble::Down } else { Trouble::Ambiguous };
    VerifierError { trouble, code: Some(word(error).to_owned()), ..lost() }
}

/// Why nothing came, in a word: what an administrator looks for first. The error's own text has the address.
fn word(error: &reqwest::Error) -> &'static str {
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = source {
        let io = error.downcast_ref::<std::io::Error>();
        if let Some(inner) = io.and_then(std::io::Error::get_ref)
            && inner.is::<rustls::Error>()
        {
            return "tls";
        }
        match io.map(std::io::Error::kind) {
            Some(ErrorKind::ConnectionRefused) => return "connection_refused",
            Some(ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable) => return "unreachable",
            Some(_) | None if error.to_string().starts_with("dns error") => return "dns",
            Some(_) | None => source = error.source(),
        }
    }
    if error.is_timeout() { "timeout" } else { "connection_broken" }
}

/// What an HTTP status says where the provider has no word of its own. Of an edge that got no answer nobody knows
/// whether the request behind it was processed.
pub(super) const fn by_status(status: u16) -> Trouble {
    match status {
        401..=404 => Trouble::Configuration,
        429 => Trouble::Throttled,
        // Answered, so certainly not sent; whether for this number or for all it does not say.
        400..=499 => Trouble::Refused,
        502 | 504 => Trouble::Ambiguous,
        _ => Trouble::Down,
    }
}

/// A success that cannot be read: done, but we do not know what.
pub(super) const fn lost() -> VerifierError {
    VerifierError { trouble: Trouble::Ambiguous, code: None, status: None, retry_after: None }
}

/// A document as it must be: an object. serde reads a struct from an array too, by the order of its members.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, VerifierError> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(lost());
    }
    serde_json::from_slice(body).map_err(|_| lost())
}

/// A provider's name for a code, if it is one: it becomes part of an address.
pub(super) fn handle(text: &str) -> Option<String> {
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    fits.then(|| text.to_owned())
}

/// Seconds, a date, or a word that means nothing (RFC 9110 section 10.2.3). A date counts from the answer's own.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        Err(_) => {
            let from = date(headers.get(DATE)?.to_str().ok()?)?;
            Duration::from_secs(u64::try_from(date(text)?.as_second() - from.as_second()).unwrap_or(0))
        }
    };
    Some(wait.min(LONGEST_WISH))
}

fn date(text: &str) -> Option<jiff::Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// No answer is believed that asks for more.
const LONGEST_WISH: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    fn error(trouble: Trouble) -> VerifierError {
        VerifierError { trouble, status: Some(500), ..lost() }
    }

    #[test]
    fn only_what_was_not_processed_is_tried_again() {
        for trouble in [Trouble::Throttled, Trouble::Down] {
            assert!(pause_of_start(&error(trouble), 1).is_some());
        }
        assert!(pause_of_start(&error(Trouble::Down), 2).is_none());
        for trouble in [Trouble::TooManySends, Trouble::Configuration, Trouble::Blocked, Trouble::Ambiguous] {
            assert!(pause_of_start(&error(trouble), 1).is_none(), "{trouble:?}");
        }
    }

    #[test]
    fn what_may_have_been_processed_is_not_made_twice() {
        let unconnected = VerifierError { trouble: Trouble::Down, ..lost() };
        assert!(pause_of_unprocessed(&unconnected, 1).is_some());
        assert!(pause_of_unprocessed(&error(Trouble::Throttled), 2).is_some());
        for trouble in [Trouble::Down, Trouble::Ambiguous, Trouble::InFlight] {
            assert!(pause_of_unprocessed(&error(trouble), 1).is_none(), "{trouble:?}");
        }
    }

    #[test]
    fn a_check_is_made_again_only_when_it_never_left() {
        let unconnected = VerifierError { trouble: Trouble::Down, ..lost() };
        assert!(pause_of_check(&unconnected, 1).is_some());
        assert!(pause_of_check(&unconnected, 2).is_none());
        for trouble in [Trouble::Down, Trouble::Throttled, Trouble::Ambiguous] {
            assert!(pause_of_check(&error(trouble), 1).is_none(), "{trouble:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_ends_patience() {
        let since = Instant::now();
        let mut calls = 0;
        let busy = VerifierError { retry_after: Some(Duration::from_secs(600)), ..error(Trouble::Throttled) };
        let answer: Result<(), _> = patiently(since + Duration::from_secs(3), pause_of_start, || {
            calls += 1;
            std::future::ready(Err(busy.clone()))
        })
        .await;
        assert_eq!((answer, calls), (Err(busy), 2));
        assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    }

    #[test]
    fn what_would_leave_its_place_in_an_address_is_no_name() {
        assert!(handle("c11236f4-00bf-4b89-84ba-88b25df97315").is_some());
        assert!(handle("abcdef0123456789abcdef0123456789").is_some());
        for text in ["", "../x", "a/b", "a?b", "a b", "%2e", &"a".repeat(65)] {
            assert_eq!(handle(text), None, "{text}");
        }
    }

    #[test]
    fn only_an_object_is_an_answer() {
        #[derive(serde::Deserialize, Debug, PartialEq)]
        struct Answer {
            status: String,
        }
        let read = |text: &str| read::<Answer>(text.as_bytes()).map(|answer| answer.status);
        assert_eq!(read(r#" {"status":"approved"}"#).unwrap(), "approved");
        for text in
            ["", r#"["approved"]"#, r#""approved""#, r#"{"status":"approved","status":"approved"}"#, "{"]
        {
            assert_eq!(read(text), Err(lost()), "{text}");
        }
    }

    #[test]
    fn a_strange_retry_after_is_survived() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(DATE, "Tue, 24 Nov 2026 10:00:00 GMT".parse().unwrap());
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(read("2"), Some(Duration::from_secs(2)));
        assert_eq!(read(" 1.5 "), Some(Duration::from_millis(1_500)));
        assert_eq!(read("Tue, 24 Nov 2026 10:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(read("Tue, 24 Nov 2026 09:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("1e19"), Some(LONGEST_WISH));
        assert_eq!(read("Thu, 31 Dec 2099 23:59:59 GMT"), Some(LONGEST_WISH));
        for junk in ["string", "-1", "NaN", "1e300", "tomorrow", ""] {
            assert_eq!(read(junk), None, "{junk}");
        }
    }
}
