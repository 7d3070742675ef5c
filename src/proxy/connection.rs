//! A connection to an upstream, and how one is opened.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::application::Application;
use super::http2::{Link, Stream};
use super::keepalive::KEEPALIVE;
use super::places::{Place, Placed};
use super::proxy_protocol;
use super::upload::Upload;
use super::watch::Watch;
use super::{Late, UpstreamError};
use crate::config::{ProxyProtocol, Upstream};

/// All of the head of an answer, in bytes.
pub(super) const LONGEST_HEAD: usize = 64 * 1_024;

/// What one request is sent on.
#[derive(Debug)]
pub(super) enum Connection {
    /// HTTP/1.1: a connection of its own. Boxed: it passes from hand to hand with each request.
    Own(Box<Own>),
    /// HTTP/2: one stream among others.
    Stream(Stream),
}

impl Connection {
    /// Ends what is under way on it.
    pub(super) fn close(self) {
        match self {
            Self::Own(own) => own.close(),
            // Its stream is reset once the answer is let go.
            Self::Stream(_) => {}
        }
    }
}

/// The sending half of an HTTP/1.1 connection.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) sender: http1::SendRequest<Upload>,
    /// When it was used last.
    pub(super) used: Instant,
    /// Whether it was never used.
    pub(super) is_new: bool,
    /// For the answers that come on it.
    pub(super) watch: Watch,
    task: JoinHandle<()>,
}

impl Own {
    /// Ends it now, whatever is under way.
    pub(super) fn close(&self) {
        self.task.abort();
    }
}

/// What a request needs of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Any version.
    Any,
    /// HTTP/1.1: it may become a tunnel.
    Http1,
}

/// What was opened.
pub(super) enum Opened {
    Own(Box<Own>),
    Link(Link),
}

/// Whom a connection is for.
pub(super) struct To {
    /// The client, where the upstream is to know.
    pub(super) client: Option<IpAddr>,
    /// Its place among those to upstreams, where it is counted.
    pub(super) place: Option<Place>,
}

/// Opens a connection to an upstream of an application.
pub(super) async fn open(
    application: &Application,
    upstream: &Upstream,
    need: Need,
    whom: To,
) -> Result<Opened, UpstreamError> {
    let opening =
        timeout(application.route.upstreams.connect_timeout, dial(application, upstream, need, whom));
    opening.await.map_err(|_| UpstreamError::Timeout(upstream.to_string(), Late::Connection))?
}

async fn dial(
    application: &Application,
    upstream: &Upstream,
    need: Need,
    whom: To,
) -> Result<Opened, UpstreamError> {
    let unreachable = |error| UpstreamError::Unreachable(upstream.to_string(), error);
    let failed = |error| UpstreamError::Failed(upstream.to_string(), error);
    let To { client, place } = whom;
    let for_whom = application.route.upstreams.proxy_protocol.map(|version| (version, client));
    let opened = match upstream {
        Upstream::Http(authority) => {
            http1(tcp(upstream, authority, for_whom, place).await?).await.map(Opened::Own)
        }
        Upstream::Unix(path) => {
            http1(unix(path, for_whom, place).await.map_err(unreachable)?).await.map(Opened::Own)
        }
        Upstream::H2c(authority) => {
            Link::open(tcp(upstream, authority, for_whom, place).await?, "http").await.map(Opened::Link)
        }
        Upstream::Https { authority, name } => {
            let tls = application.tls.as_ref().expect("it was made for a route with such an upstream");
            let connector = if need == Need::Http1 { &tls.http1 } else { &tls.any };
            let stream = tcp(upstream, authority, for_whom, place).await?;
            let stream = connector.connect(name.clone(), stream).await;
            let stream = stream.map_err(|error| UpstreamError::Tls(upstream.to_string(), error))?;
            match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => Link::open(stream, "https").await.map(Opened::Link),
                _ => http1(stream).await.map(Opened::Own),
            }
        }
    };
    opened.map_err(failed)
}

/// A version of the PROXY protocol, and the client it names.
type ForWhom = Option<(ProxyProtocol, Option<IpAddr>)>;

async fn tcp(
    upstream: &Upstream,
    authority: &str,
    for_whom: ForWhom,
    place: Option<Place>,
) -> Result<Placed<TcpStream>, UpstreamError> {
    let unresolved = |error| UpstreamError::Unresolved(upstream.to_string(), error);
    let addresses: Vec<SocketAddr> = lookup_host(authority).await.map_err(unresolved)?.collect();
    let connected = connect(&addresses, for_whom, place).await;
    connected.map_err(|error| UpstreamError::Unreachable(upstream.to_string(), error))
}

async fn connect(
    addresses: &[SocketAddr],
    for_whom: ForWhom,
    place: Option<Place>,
) -> io::Result<Placed<TcpStream>> {
    let mut stream = TcpStream::connect(addresses).await?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE)?;
    if let Some((version, client)) = for_whom {
        let upstream = stream.peer_addr().ok();
        proxy_protocol::say(&mut stream, version, client, upstream).await?;
    }
    Ok(Placed::new(stream, place))
}

async fn unix(path: &Path, for_whom: ForWhom, place: Option<Place>) -> io::Result<Placed<UnixStream>> {
    let mut stream = UnixStream::connect(path).await?;
    if let Some((version, client)) = for_whom {
        proxy_protocol::say(&mut stream, version, client, None).await?;
    }
    Ok(Placed::new(stream, place))
}

async fn http1<I>(stream: I) -> hyper::Result<Box<Own>>
where
    TokioIo<I>: Read + Write + Unpin + Send + 'static,
{
    // A slow reader makes this much wait, and no more.
    let mut builder = http1::Builder::new();
    builder.max_header_size(LONGEST_HEAD).max_buf_size(LONGEST_HEAD);
    let handshake = builder.handshake(TokioIo::new(stream));
    let (sender, connection) = handshake.await?;
    // Ends by itself when the upstream or we close; what went wrong is told to whoever waits for an answer.
    let task = tokio::task::spawn_local(async move { connection.with_upgrades().await.unwrap_or_default() });
    Ok(Box::new(Own { sender, used: Instant::now(), is_new: true, watch: Watch::default(), task }))
}
