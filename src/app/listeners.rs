//! Where connections are accepted: sockets of our own, and those that the service manager passes.

use std::thread;

use super::StartError;
use crate::config::{Listen, Settings};
use crate::server::listener::{Bound, bind_tcp, bind_unix};
use crate::server::passed::Passed;

/// One set of listeners for each thread.
pub(super) struct Listeners {
    /// Where they listen, as it turned out.
    pub(super) addresses: Vec<String>,
    pub(super) by_thread: Vec<Vec<Bound>>,
}

impl Listeners {
    pub(super) fn open(settings: &Settings) -> Result<Self, StartError> {
        let threads = match settings.server.workers {
            0 => thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        let mut passed = Passed::from_environment();
        let mut listeners =
            Self { addresses: Vec::new(), by_thread: (0..threads).map(|_| Vec::new()).collect() };
        for listen in &settings.server.listen {
            for sockets in open(settings, listen, threads, &mut passed)? {
                listeners.add(sockets);
            }
        }
        let is_asked = |name: &str| settings.server.listen.contains(&Listen::Passed(name.to_owned()));
        for name in passed.left(is_asked) {
            let remedy = "write it in server.listen, or remove it from the .socket unit";
            tracing::warn!(listen = %format!("fd:{name}"), remedy, "a socket was passed that nobody listens on");
        }
        Ok(listeners)
    }

    /// A place, with a socket for each thread.
    fn add(&mut self, sockets: Vec<Bound>) {
        self.addresses.extend(sockets.first().map(Bound::address));
        self.by_thread.iter_mut().zip(sockets).for_each(|(thread, bound)| thread.push(bound));
    }
}

/// The places that an entry of `server.listen` stands for, each with a socket for each thread.
fn open(
    settings: &Settings,
    listen: &Listen,
    threads: usize,
    passed: &mut Passed,
) -> Result<Vec<Vec<Bound>>, StartError> {
    let opened = match listen {
        Listen::Tcp(address) => bind_tcp(*address, threads, only_v6(settings, listen)),
        Listen::Unix(path) => bind_unix(path, threads),
        Listen::Passed(name) => {
            return passed.take(name, threads).map_err(|error| StartError::Passed(listen.to_string(), error));
        }
    };
    let opened = opened.map_err(|error| StartError::Listen(listen.to_string(), error))?;
    Ok(vec![opened])
}

/// `[::]` alone serves IPv4 too; beside an IPv4 address with its port it must not, or they would be in each other's
/// way.
fn only_v6(settings: &Settings, listen: &Listen) -> bool {
    let Listen::Tcp(address) = listen else { return false };
    let is_its_v4 =
        |other: &Listen| matches!(other, Listen::Tcp(v4) if v4.is_ipv4() && v4.port() == address.port());
    address.is_ipv6() && settings.server.listen.iter().any(is_its_v4)
}
