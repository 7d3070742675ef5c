//! Listening sockets: one for each thread on the same port, so that the kernel spreads the connections.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{SocketAddr as SocketAddrUnix, UnixListener as StdUnixListener};
use std::path::Path;
use std::task::{Context, Poll};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::server::TlsStream;

use crate::config::Listen;
use crate::proxy::KEEPALIVE;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1_024;

/// Bytes that wait in the kernel, beyond those on their way: what a slow client takes is seen while it takes it.
const UNSENT: u32 = 256 * 1_024;

/// A bound socket, not yet part of any runtime.
#[derive(Debug)]
pub enum Bound {
    /// An address and port.
    Tcp(StdTcpListener),
    /// A Unix socket.
    Unix(StdUnixListener),
}

/// A socket that accepts.
#[derive(Debug)]
pub enum Listener {
    /// An address and port.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

/// Binds one place for so many threads; with `only_v6` an IPv6 address does not serve IPv4 too. Fails when somebody
/// else has it, also another gateway.
pub fn bind_tcp(address: SocketAddr, threads: usize, only_v6: bool) -> io::Result<Vec<Bound>> {
    // Sockets that share a port would share it with another gateway too, silently; this one does not share.
    let address = socket(address, only_v6, false)?.local_addr()?;
    (0..threads).map(|_| socket(address, only_v6, true).map(Bound::Tcp)).collect()
}

fn socket(address: SocketAddr, only_v6: bool, shared: bool) -> io::Result<StdTcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    prepare_tcp(SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn prepare_tcp(socket: SockRef<'_>) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    // Its connections inherit both.
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.set_tcp_keepalive(&KEEPALIVE)
}

/// Binds a path. Fails when somebody else has it.
pub fn bind_unix(path: &Path) -> io::Result<Bound> {
    // A file left by a gateway that was killed is in the way; one that answers is not ours to take.
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        // Whatever else is there is somebody's.
        Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => {}
    }
    Bound::Unix(StdUnixListener::bind(path)?).prepared()
}

impl Bound {
    /// As all of them must be, whoever opened it.
    pub(super) fn prepared(self) -> io::Result<Self> {
        match &self {
            Self::Tcp(listener) => prepare_tcp(SockRef::from(listener))?,
            Self::Unix(listener) => listener.set_nonblocking(true)?,
        }
        Ok(self)
    }

    /// Whether it is a socket that an entry of `server.listen` names.
    pub(super) fn listens_at(&self, listen: &Listen) -> bool {
        match (self, listen) {
            (Self::Tcp(listener), Listen::Tcp(wanted)) => {
                listener.local_addr().is_ok_and(|address| is_at(address, *wanted))
            }
            (Self::Unix(listener), Listen::Unix(wanted)) => {
                listener.local_addr().is_ok_and(|address| address.as_pathname() == Some(wanted))
            }
            (Self::Tcp(_) | Self::Unix(_), Listen::Tcp(_) | Listen::Unix(_) | Listen::Passed(_)) => false,
        }
    }

    /// Another descriptor of it, to be passed on.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(listener) => listener.try_clone().map(OwnedFd::from),
            Self::Unix(listener) => listener.try_clone().map(OwnedFd::from),
        }
    }

    /// The same socket for so many threads.
    pub fn shared(&self, threads: usize) -> io::Result<Vec<Self>> {
        let share = |_| match self {
            Self::Tcp(listener) => listener.try_clone().map(Self::Tcp),
            Self::Unix(listener) => listener.try_clone().map(Self::Unix),
        };
        (0..threads).map(share).collect()
    }

    /// Where it listens, for the log; an abstract name begins with `@`.
    pub fn address(&self) -> String {
        let address = match self {
            Self::Tcp(listener) => listener.local_addr().map(|address| address.to_string()),
            Self::Unix(listener) => listener.local_addr().map(|address| unix_name(&address)),
        };
        address.unwrap_or_default()
    }

    /// Makes it part of the current runtime.
    pub fn listen(self) -> io::Result<Listener> {
        match self {
            Self::Tcp(listener) => TcpListener::from_std(listener).map(Listener::Tcp),
            Self::Unix(listener) => UnixListener::from_std(listener).map(Listener::Unix),
        }
    }
}

/// Whether a socket at this address is the one that is wanted. Port 0 is any.
pub(super) fn is_at(address: SocketAddr, wanted: SocketAddr) -> bool {
    address.ip() == wanted.ip() && [address.port(), 0].contains(&wanted.port())
}

fn unix_name(address: &SocketAddrUnix) -> String {
    let path = address.as_pathname().map(|path| format!("unix:{}", path.display()));
    let name = || Some(format!("unix:@{}", str::from_utf8(address.as_abstract_name()?).ok()?));
    path.or_else(name).unwrap_or_default()
}

/// Either kind of connection.
pub type Stream = Box<dyn Io>;

/// What a connection can do.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {
    /// Waits for bytes, or the end, without a buffer for them.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Io for TcpStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }
}

impl Io for UnixStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }
}

impl<T: Io + ?Sized> Io for Box<T> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_readable(cx)
    }
}

impl<T: Io> Io for TlsStream<T> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (stream, session) = self.get_ref();
        // What came with the end of the handshake is decrypted already.
        if !session.wants_read() {
            return Poll::Ready(Ok(()));
        }
        stream.poll_readable(cx)
    }
}

impl Listener {
    /// The next connection, with the peer's address where it has one.
    pub async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Box::new(stream), Some(address)))
            }
            Self::Unix(listener) => Ok((Box::new(listener.accept().await?.0), None)),
        }
    }
}
