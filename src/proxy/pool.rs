//! Connections to one upstream, kept by one thread for itself: no lock, no hop between tasks.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderName;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::application::Application;
use super::connection::{Connection, Need, Opened, Own, To, open};
use super::failures::Failures;
use super::health::{Change, Health};
use super::http2::{Link, Stream};
use super::pin::Pin;
use super::upload::{Progress, Stage};
use super::{Late, UpstreamError};
use crate::config::{Upstream, Upstreams};

/// A request's body may stand still for so long once its answer is over.
const LONGEST_REST: Duration = Duration::from_secs(30);
/// HTTP/2 connections of one thread to one upstream; beyond them requests wait for a stream.
const MOST_LINKS: usize = 8;

/// Connections to one upstream.
#[derive(Debug)]
pub(super) struct Pool {
    application: Arc<Application>,
    place: usize,
    #[allow(clippy::vec_box, reason = "they are handed on as they are")]
    idle: RefCell<Vec<Box<Own>>>,
    links: RefCell<Vec<Link>>,
    /// Held while an HTTP/2 connection is opened: who comes meanwhile shares it.
    opening: Mutex<()>,
    /// Whether it speaks HTTP/2, as far as we know.
    speaks_http2: Cell<bool>,
}

impl Pool {
    pub(super) fn new(application: Arc<Application>, place: usize) -> Self {
        let upstream = &application.route.upstreams.list[place];
        let speaks_http2 = Cell::new(matches!(upstream, Upstream::H2c(_) | Upstream::Https { .. }));
        Self {
            application,
            place,
            idle: RefCell::default(),
            links: RefCell::default(),
            opening: Mutex::default(),
            speaks_http2,
        }
    }

    pub(super) fn upstream(&self) -> &Upstream {
        &self.application.route.upstreams.list[self.place]
    }

    /// How it is spoken to.
    pub(super) fn terms(&self) -> &Upstreams {
        &self.application.route.upstreams
    }

    /// How it is.
    pub(super) fn health(&self) -> &Health {
        &self.application.health[self.place]
    }

    /// What went wrong with it.
    pub(super) fn failures(&self) -> &Failures {
        &self.application.failures[self.place]
    }

    /// Notes that it answered.
    pub(super) fn note_success(&self) {
        let change = self.health().note_success();
        if change != Change::None {
            self.application.tell(self.place, change, None::<&UpstreamError>);
        }
    }

    /// Notes that no connection could be had.
    pub(super) fn note_failure(&self, error: &UpstreamError) {
        self.failures().note_error(error);
        self.application.tell(self.place, self.health().note_failure(), Some(error));
    }

    /// What the log calls the route.
    pub(super) fn route(&self) -> impl fmt::Display + '_ {
        self.application.name()
    }

    /// Fields that carry the user's name to it.
    pub(super) fn identity_headers(&self) -> &[HeaderName] {
        &self.application.route.identity_headers
    }

    /// The connection used last, if one is still open.
    pub(super) fn take(&self, need: Need, now: Instant) -> Option<Connection> {
        if need == Need::Any
            && let Some(stream) = self.stream()
        {
            return Some(Connection::Stream(stream));
        }
        let mut idle = self.idle.borrow_mut();
        let longest = self.terms().keep_alive;
        let is_fresh = |used| now.saturating_duration_since(used) < longest;
        let usable =
            std::iter::from_fn(|| idle.pop()).find(|own| own.sender.is_ready() && is_fresh(own.used));
        usable.map(Connection::Own)
    }

    /// A stream of a connection that has room, or of the one with the fewest when no more may be opened.
    fn stream(&self) -> Option<Stream> {
        let mut links = self.links.borrow_mut();
        if links.is_empty() {
            return None;
        }
        links.retain(Link::is_open);
        // A new connection is not asked to take more than the others may: what it allows itself comes a little later.
        let allowed = links.iter().map(Link::allowed).min()?;
        let fewest = links.iter().min_by_key(|link| link.open_streams())?;
        (links.len() >= MOST_LINKS || fewest.open_streams() < allowed).then(|| fewest.stream())
    }

    /// Gives a connection back once its answer has been read.
    pub(super) fn give_back(self: &Rc<Self>, connection: Connection, upload: Option<Rc<Progress>>) {
        let Connection::Own(mut own) = connection else { return };
        if own.sender.is_ready() {
            return self.keep(own);
        }
        // What the upstream answered without asking for is not sent.
        if upload.as_ref().is_some_and(|upload| upload.stage() == Stage::Held) {
            return own.close();
        }
        let pool = self.clone();
        tokio::task::spawn_local(async move {
            while timeout(LONGEST_REST, own.sender.ready()).await.is_err() {
                // A request that still comes when its answer is long over.
                if upload.as_ref().is_none_or(|upload| upload.moved().elapsed() >= LONGEST_REST) {
                    return own.close();
                }
            }
            if own.sender.is_ready() {
                pool.keep(own);
            }
        });
    }

    fn keep(&self, own: Box<Own>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.terms().most_idle && !self.application.places.are_scarce() {
            idle.push(own);
        }
    }

    pub(super) async fn connect(&self, need: Need, pin: Option<&Pin>) -> Result<Connection, UpstreamError> {
        if need == Need::Any && self.speaks_http2.get() {
            return self.connect_shared().await;
        }
        self.open(need, pin.and_then(Pin::address)).await
    }

    /// Opens a connection that others may be waiting for too.
    async fn connect_shared(&self) -> Result<Connection, UpstreamError> {
        let Ok(_turn) = timeout(self.terms().connect_timeout, self.opening.lock()).await else {
            return Err(UpstreamError::Timeout(self.upstream().to_string(), Late::Connection));
        };
        if let Some(stream) = self.stream() {
            return Ok(Connection::Stream(stream));
        }
        self.open(Need::Any, None).await
    }

    async fn open(&self, need: Need, client: Option<IpAddr>) -> Result<Connection, UpstreamError> {
        let place = self.application.places.take(self.terms().connect_timeout).await;
        let whom = To { client, place: Some(place.ok_or(UpstreamError::Crowded)?) };
        match open(&self.application, self.upstream(), need, whom).await? {
            Opened::Own(own) => {
                self.speaks_http2.set(self.speaks_http2.get() && need != Need::Any);
                Ok(Connection::Own(own))
            }
            Opened::Link(link) => {
                self.speaks_http2.set(true);
                let stream = link.stream();
                self.links.borrow_mut().push(link);
                Ok(Connection::Stream(stream))
            }
        }
    }

    pub(super) fn tidy(&self) {
        let longest = self.terms().keep_alive;
        self.idle.borrow_mut().retain(|own| own.sender.is_ready() && own.used.elapsed() < longest);
        self.links.borrow_mut().retain(|link| link.is_open() && !link.is_idle_for(longest));
    }
}
