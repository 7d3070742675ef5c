//! HTTP/2 to an upstream: one connection for many requests at once.

use std::cell::{Cell, RefCell};
use std::error::Error as _;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::header::{self, HeaderValue};
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::rt::{Executor, Read, Write};
use hyper::{Request, Uri, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;

use super::connection::LONGEST_HEAD;
use super::upload::Upload;
use super::watch::Watch;

/// Requests on one connection at once, where the upstream allows as many.
const MOST_STREAMS: usize = 100;
/// What an upstream may send us of one answer before the client has read it, in bytes.
const STREAM_WINDOW: u32 = 128 * 1_024;
/// The same of all answers of one connection: so that slow clients cannot keep it from the others, each has its share.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 128;
/// While it has requests under way, an upstream that does not answer a ping is gone.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_ANSWER: Duration = Duration::from_secs(10);

/// One HTTP/2 connection.
#[derive(Clone, Debug)]
pub(super) struct Link(Rc<Inner>);

struct Inner {
    sender: SendRequest<Upload>,
    scheme: Scheme,
    /// Streams under way.
    open: Cell<usize>,
    /// How many the upstream allows, once it has said so.
    allowed: Box<dyn Fn() -> usize>,
    /// Whether it has answered, and so has said it before.
    answered: Cell<bool>,
    /// When a stream last ended.
    used: Cell<Instant>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("open", &self.open).finish_non_exhaustive()
    }
}

impl Link {
    /// Begins HTTP/2 on a new connection.
    pub(super) async fn open<I>(stream: I, scheme: &'static str) -> hyper::Result<Self>
    where
        TokioIo<I>: Read + Write + Unpin + Send + 'static,
    {
        let handshake = Builder::new(OnThisThread)
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(LONGEST_HEAD).unwrap_or(u32::MAX))
            // Until the upstream has said how many it allows, which it does at once, others wait: it would refuse them.
            .initial_max_send_streams(1)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_ANSWER)
            .handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await?;
        let connection = Rc::new(RefCell::new(connection));
        let known = Rc::downgrade(&connection);
        let allowed = move || {
            let connection = known.upgrade();
            let said =
                connection.and_then(|known| known.try_borrow().map(|c| c.current_max_send_streams()).ok());
            said.unwrap_or(MOST_STREAMS)
        };
        // Ends by itself when the upstream or we close; what went wrong is told to whoever waits for an answer.
        tokio::task::spawn_local(poll_fn(move |cx| {
            Pin::new(&mut *connection.borrow_mut()).poll(cx).map(Result::unwrap_or_default)
        }));
        Ok(Self(Rc::new(Inner {
            sender,
            scheme: scheme.parse().expect("a scheme"),
            open: Cell::new(0),
            allowed: Box::new(allowed),
            answered: Cell::new(false),
            used: Cell::new(Instant::now()),
        })))
    }

    /// Whether it can take another request.
    pub(super) fn is_open(&self) -> bool {
        self.0.sender.is_ready()
    }

    /// How many streams the upstream allows; many, as long as it has not said so.
    pub(super) fn allowed(&self) -> usize {
        if self.0.answered.get() { (self.0.allowed)().min(MOST_STREAMS) } else { MOST_STREAMS }
    }

    /// Streams under way.
    pub(super) fn open_streams(&self) -> usize {
        self.0.open.get()
    }

    /// Whether nobody has used it for so long.
    pub(super) fn is_idle_for(&self, time: Duration) -> bool {
        self.0.open.get() == 0 && self.0.used.get().elapsed() >= time
    }

    /// A stream of it.
    pub(super) fn stream(&self) -> Stream {
        self.0.open.set(self.0.open.get() + 1);
        Stream { link: self.clone(), watch: Watch::default() }
    }
}

/// One stream of a connection, counted for as long as it is held.
#[derive(Debug)]
pub(super) struct Stream {
    link: Link,
    /// For its answer.
    pub(super) watch: Watch,
}

impl Stream {
    /// What sends a request on it.
    pub(super) fn sender(&self) -> SendRequest<Upload> {
        self.link.0.sender.clone()
    }

    /// Notes that the upstream has answered.
    pub(super) fn note_answer(&self) {
        self.link.0.answered.set(true);
    }

    /// The scheme of its requests.
    pub(super) fn scheme(&self) -> Scheme {
        self.link.0.scheme.clone()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let link = &*self.link.0;
        link.open.set(link.open.get() - 1);
        link.used.set(Instant::now());
    }
}

/// Puts a request that is ready for HTTP/1.1 into the form of HTTP/2: the host is part of the target, and what belongs
/// to an HTTP/1.1 connection is gone (RFC 9113 sections 8.2.2 and 8.3.1). Gives the host, to undo it with.
pub(super) fn to_http2<B>(request: &mut Request<B>, scheme: Scheme) -> Option<HeaderValue> {
    let host = request.headers_mut().remove(header::HOST);
    for name in [header::CONNECTION, header::UPGRADE, header::TRANSFER_ENCODING] {
        request.headers_mut().remove(name);
    }
    let authority = host.as_ref().and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let absolute = authority.and_then(|authority| {
        Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build().ok()
    });
    if let Some(absolute) = absolute {
        *request.uri_mut() = absolute;
    }
    *request.version_mut() = Version::HTTP_2;
    host
}

/// Undoes it.
pub(super) fn from_http2<B>(request: &mut Request<B>, host: Option<HeaderValue>) {
    if let Some(host) = host {
        request.headers_mut().insert(header::HOST, host);
    }
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    *request.version_mut() = Version::HTTP_11;
}

/// Whether the upstream said that it did not process the request: it refused the stream, or went away before it
/// (RFC 9113 sections 6.8 and 8.7).
pub(super) fn was_refused(error: &hyper::Error) -> bool {
    let Some(error) = error.source().and_then(|source| source.downcast_ref::<h2::Error>()) else {
        return false;
    };
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (refused || error.is_go_away())
}

/// Runs the tasks of a connection on the thread that has it.
#[derive(Clone, Copy, Debug)]
pub struct OnThisThread;

impl<F: Future<Output = ()> + 'static> Executor<F> for OnThisThread {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

#[cfg(test)]
mod tests {
    use hyper::Method;

    use super::*;

    #[test]
    fn a_request_takes_the_form_of_http2_and_has_its_own_back() {
        for (method, target) in [(Method::GET, "/a%20b/?c=d"), (Method::OPTIONS, "*")] {
            let fields =
                [("host", "Wiki.test:8080"), ("te", "trailers"), ("connection", "te"), ("x-kept", "1")];
            let mut request = Request::builder().method(method).uri(target);
            for (name, value) in fields {
                request = request.header(name, value);
            }
            let mut request = request.header("transfer-encoding", "chunked").body(()).unwrap();
            let host = to_http2(&mut request, Scheme::HTTPS);
            let uri = request.uri();
            assert_eq!(
                (uri.scheme_str(), uri.authority().unwrap().as_str()),
                (Some("https"), "Wiki.test:8080")
            );
            assert_eq!(uri.path_and_query().unwrap().as_str(), target);
            assert_eq!(request.version(), Version::HTTP_2);
            let mut left: Vec<_> = request.headers().keys().map(|name| name.as_str()).collect();
            left.sort_unstable();
            assert_eq!(left, ["te", "x-kept"]);
            from_http2(&mut request, host);
            assert_eq!((request.uri().to_string().as_str(), request.version()), (target, Version::HTTP_11));
            assert_eq!(request.headers()["host"], "Wiki.test:8080");
        }
    }
}
