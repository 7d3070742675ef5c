//! What the process is asked for.

use std::io;

use tokio::signal::unix::{self, SignalKind};

/// What the process was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// To end (SIGTERM, SIGINT).
    End,
    /// To read its configuration again (SIGHUP).
    Reload,
    /// To have another process take over (SIGUSR2).
    HandOver,
}

/// Calls to a running gateway. Until somebody hears them they end the process; one that came early is heard later.
#[derive(Debug)]
pub(super) struct Calls {
    hup: unix::Signal,
    usr2: unix::Signal,
}

impl Calls {
    pub(super) fn hear() -> io::Result<Self> {
        Ok(Self {
            hup: unix::signal(SignalKind::hangup())?,
            usr2: unix::signal(SignalKind::user_defined2())?,
        })
    }
}

/// Calls, and what ends a gateway gently once there is one. Before that it ends the process at once, however long the
/// start takes.
#[derive(Debug)]
pub(super) struct Signals {
    term: unix::Signal,
    int: unix::Signal,
    calls: Calls,
}

impl Signals {
    pub(super) fn listen(calls: Calls) -> io::Result<Self> {
        Ok(Self {
            term: unix::signal(SignalKind::terminate())?,
            int: unix::signal(SignalKind::interrupt())?,
            calls,
        })
    }

    /// Waits until the process is asked to end.
    pub(super) async fn end(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }

    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            _ = self.term.recv() => Signal::End,
            _ = self.int.recv() => Signal::End,
            _ = self.calls.usr2.recv() => Signal::HandOver,
            _ = self.calls.hup.recv() => Signal::Reload,
        }
    }
}
