//! Listening sockets that the service manager opened and passes by name (sd_listen_fds(3)), so that the gateway needs
//! no right to open them and none is closed while it restarts.

use std::fmt;
use std::io;

use listenfd::ListenFd;
use socket2::{SockRef, Type};

use super::listener::Bound;
use crate::config;

/// What was passed and not taken yet.
pub struct Passed {
    sockets: ListenFd,
    names: Vec<String>,
}

impl fmt::Debug for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passed").field("names", &self.names).finish_non_exhaustive()
    }
}

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
        Self { sockets, names }
    }

    /// All sockets of a name, each for so many threads.
    pub fn take(&mut self, name: &str, threads: usize) -> Result<Vec<Vec<Bound>>, PassedError> {
        if self.names.is_empty() {
            return Err(PassedError::None);
        }
        let places: Vec<usize> = (0..self.names.len()).filter(|place| self.names[*place] == name).collect();
        if places.is_empty() {
            return Err(PassedError::Unknown(self.names.join(", ")));
        }
        let socket = |place| self.socket(place).and_then(|bound| bound.shared(threads));
        places.into_iter().map(socket).collect::<io::Result<_>>().map_err(PassedError::Unfit)
    }

    /// Names that nobody asked for.
    pub fn left<'p>(&'p self, asked: impl Fn(&str) -> bool + 'p) -> impl Iterator<Item = &'p str> {
        self.names.iter().map(String::as_str).filter(move |name| !asked(name))
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

fn listens(bound: &Bound) -> io::Result<bool> {
    let socket = match bound {
        Bound::Tcp(listener) => SockRef::from(listener),
        Bound::Unix(listener) => SockRef::from(listener),
    };
    Ok(socket.r#type()? == Type::STREAM && socket.is_listener()?)
}
