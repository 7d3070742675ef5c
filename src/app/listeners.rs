//! Where connections are accepted: sockets of our own, and those that the service manager passes.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::thread;

use super::StartError;
use crate::config::{Listen, Settings};
use crate::server::listener::{Bound, bind_tcp, bind_unix};
use crate::server::passed::{OURS, Passed};

/// One set of listeners for each thread.
pub(super) struct Listeners {
    /// Where they listen, as it turned out.
    pub(super) addresses: Vec<String>,
    pub(super) by_thread: Vec<Vec<Bound>>,
    /// All of them once more, for the process that takes over from this one.
    pub(super) kept: Vec<Kept>,
    /// Those where http is sent on to https.
    pub(super) redirects: Vec<TcpListener>,
}

/// A socket to be passed on.
#[derive(Debug)]
pub(super) struct Kept {
    /// What it is called then.
    pub(super) name: String,
    pub(super) socket: OwnedFd,
}

impl Kept {
    fn of(listen: &Listen, bound: &Bound) -> io::Result<Self> {
        let name = match listen {
            Listen::Passed(name) => name,
            Listen::Tcp(_) | Listen::Unix(_) => OURS,
        };
        Ok(Self { name: name.to_owned(), socket: bound.descriptor()? })
    }
}

impl Listeners {
    pub(super) fn open(settings: &Settings, passed: &mut Passed) -> Result<Self, StartError> {
        let threads = match settings.server.workers {
            0 => thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        let by_thread = (0..threads).map(|_| Vec::new()).collect();
        let mut listeners =
            Self { addresses: Vec::new(), by_thread, kept: Vec::new(), redirects: Vec::new() };
        for listen in &settings.server.listen {
            let sockets = open(settings, listen, threads, passed)?;
            let added = listeners.add(listen, sockets);
            added.map_err(|error| StartError::Listen(listen.to_string(), error))?;
        }
        for address in &settings.server.redirect_listen {
            let opened = listeners.add_redirect(*address, passed);
            opened.map_err(|error| StartError::Listen(address.to_string(), error))?;
        }
        for address in passed.close_inherited() {
            tracing::info!(
                address,
                "the process before this one listened there; server.listen does not name it any more"
            );
        }
        let is_asked = |name: &str| settings.server.listen.contains(&Listen::Passed(name.to_owned()));
        for name in passed.left(is_asked) {
            let remedy = "write it in server.listen, or remove it from the .socket unit";
            tracing::warn!(listen = %format!("fd:{name}"), remedy, "a socket was passed that nobody listens on");
        }
        Ok(listeners)
    }

    fn add_redirect(&mut self, address: SocketAddr, passed: &mut Passed) -> io::Result<()> {
        let listen = Listen::Tcp(address);
        let mut sockets = passed.take_over(&listen);
        if sockets.is_empty() {
            sockets = bind_tcp(address, 1, false)?;
        }
        for bound in sockets {
            self.kept.push(Kept::of(&listen, &bound)?);
            if let Bound::Tcp(listener) = bound {
                tracing::info!(address = %listener.local_addr()?, "http is sent on to https");
                self.redirects.push(listener);
            }
        }
        Ok(())
    }

    /// Shares the sockets of an entry out: each has a thread, and each thread has one of each address.
    fn add(&mut self, listen: &Listen, sockets: Vec<Bound>) -> io::Result<()> {
        let threads = self.by_thread.len();
        for bound in &sockets {
            self.kept.push(Kept::of(listen, bound)?);
            if !self.addresses.contains(&bound.address()) {
                self.addresses.push(bound.address());
            }
        }
        let mut by_address: BTreeMap<String, Vec<Bound>> = BTreeMap::new();
        sockets.into_iter().for_each(|bound| by_address.entry(bound.address()).or_default().push(bound));
        for mut same in by_address.into_values() {
            for missing in 0..threads.saturating_sub(same.len()) {
                let again = same[missing].shared(1)?;
                same.extend(again);
            }
            same.into_iter()
                .enumerate()
                .for_each(|(place, bound)| self.by_thread[place % threads].push(bound));
        }
        Ok(())
    }
}

/// The sockets that an entry of `server.listen` stands for: those of the process before this one, or new ones.
fn open(
    settings: &Settings,
    listen: &Listen,
    threads: usize,
    passed: &mut Passed,
) -> Result<Vec<Bound>, StartError> {
    let inherited = passed.take_over(listen);
    if !inherited.is_empty() {
        return Ok(inherited);
    }
    let opened = match listen {
        Listen::Tcp(address) => bind_tcp(*address, threads, only_v6(settings, listen)),
        // One queue, however many threads take from it.
        Listen::Unix(path) => bind_unix(path).map(|bound| vec![bound]),
        Listen::Passed(name) => {
            return passed.take(name).map_err(|error| StartError::Passed(listen.to_string(), error));
        }
    };
    opened.map_err(|error| StartError::Listen(listen.to_string(), error))
}

/// `[::]` alone serves IPv4 too; beside an IPv4 address with its port it must not, or they would be in each other's
/// way.
fn only_v6(settings: &Settings, listen: &Listen) -> bool {
    let Listen::Tcp(address) = listen else { return false };
    let is_its_v4 =
        |other: &Listen| matches!(other, Listen::Tcp(v4) if v4.is_ipv4() && v4.port() == address.port());
    address.is_ipv6() && settings.server.listen.iter().any(is_its_v4)
}
