//! Listening sockets that the service manager opened and passes by name (sd_listen_fds(3)), so that the gateway needs
//! no right to open them and none is closed while it restarts.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;

use listenfd::ListenFd;
use socket2::{Domain, SockRef, Type};

use super::listener::{Bound, is_at};
use crate::config::{self, Listen};

/// What was passed and not taken yet.
pub struct Passed {
    sockets: ListenFd,
    names: Vec<String>,
    /// Those that the process before this one had opened itself.
    inherited: Vec<Bound>,
}

impl fmt::Debug for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passed").field("names", &self.names).finish_non_exhaustive()
    }
}

/// What our own sockets are called when one process hands over to the next, and the way the two speak.
pub const OURS: &str = "vestibule";
pub const OBSERVE: &str = "vestibule-observe";
pub const WORD: &str = "vestibule-word";

/// Why there is no such socket.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// Nobody passes any.
    #[error(
        "the service manager passes no sockets; start the gateway by vestibule.socket, or write an address in server.listen"
    )]
    None,
    /// Others are passed.
    #[error(
        "no socket of this name is passed, only {0}; write FileDescriptorName= of the .socket unit in server.listen"
    )]
    Unknown(String),
    /// The gateway calls its own so.
    #[error(
        "sockets of this name are the gateway's own; write another in FileDescriptorName= and in server.listen"
    )]
    Reserved,
    /// It is none on which connections are accepted.
    #[error("it is no listening stream socket ({0}); write ListenStream= and Accept=no in the .socket unit")]
    Unfit(io::Error),
}

impl Passed {
    /// All that was passed to this process.
    pub fn from_environment() -> Self {
        let sockets = ListenFd::from_env();
        let mut names = config::passed_names();
        // Who names none calls all of them so (sd_listen_fds_with_names(3)).
        names.resize(sockets.len(), "unknown".to_owned());
        let mut passed = Self { sockets, names, inherited: Vec::new() };
        let ours: Vec<usize> = (0..passed.names.len()).filter(|place| passed.names[*place] == OURS).collect();
        passed.inherited = ours.into_iter().filter_map(|place| passed.socket(place).ok()).collect();
        passed
    }

    /// All sockets of a name.
    pub fn take(&mut self, name: &str) -> Result<Vec<Bound>, PassedError> {
        if is_own(name) {
            return Err(PassedError::Reserved);
        }
        if self.names.is_empty() {
            return Err(PassedError::None);
        }
        let places: Vec<usize> = (0..self.names.len()).filter(|place| self.names[*place] == name).collect();
        if places.is_empty() {
            return Err(PassedError::Unknown(self.names.join(", ")));
        }
        places
            .into_iter()
            .map(|place| self.socket(place))
            .collect::<io::Result<_>>()
            .map_err(PassedError::Unfit)
    }

    /// The sockets of the process before this one that listen where this entry says.
    pub fn take_over(&mut self, listen: &Listen) -> Vec<Bound> {
        self.inherited.extract_if(.., |bound| bound.listens_at(listen)).collect()
    }

    /// Closes those of the process before this one that no entry took over; where they listened. Kept open, whoever
    /// comes there would wait in a queue that nobody looks at.
    pub fn close_inherited(&mut self) -> Vec<String> {
        self.inherited.drain(..).map(|bound| bound.address()).collect()
    }

    /// The one where monitors asked the process before this one, if they are still to ask there.
    pub fn take_observe(&mut self, wanted: SocketAddr) -> Option<TcpListener> {
        let place = self.names.iter().position(|name| name == OBSERVE)?;
        let listener = self.sockets.take_tcp_listener(place).ok().flatten()?;
        let there = listener.local_addr().ok()?;
        is_at(there, wanted).then_some(listener)
    }

    /// The way to speak with the process before this one.
    pub fn take_word(&mut self) -> Option<UnixStream> {
        let place = self.names.iter().position(|name| name == WORD)?;
        let (family, kind) = (Domain::UNIX.into(), Type::STREAM.into());
        self.sockets.take_custom(place, family, kind, "stream").ok().flatten()
    }

    /// Names of the service manager's that nobody asked for.
    pub fn left<'p>(&'p self, asked: impl Fn(&str) -> bool + 'p) -> impl Iterator<Item = &'p str> {
        self.names.iter().map(String::as_str).filter(move |name| !is_own(name) && !asked(name))
    }

    fn socket(&mut self, place: usize) -> io::Result<Bound> {
        let taken = || io::Error::other("two entries of server.listen name it");
        let bound = match self.sockets.take_tcp_listener(place) {
            Ok(tcp) => Bound::Tcp(tcp.ok_or_else(taken)?),
            Err(_) => Bound::Unix(self.sockets.take_unix_listener(place)?.ok_or_else(taken)?),
        };
        if !listens(&bound)? {
            return Err(io::Error::other("it does not listen"));
        }
        bound.prepared()
    }
}

fn is_own(name: &str) -> bool {
    [OURS, OBSERVE, WORD].contains(&name)
}

fn listens(bound: &Bound) -> io::Result<bool> {
    let socket = match bound {
        Bound::Tcp(listener) => SockRef::from(listener),
        Bound::Unix(listener) => SockRef::from(listener),
    };
    Ok(socket.r#type()? == Type::STREAM && socket.is_listener()?)
}
