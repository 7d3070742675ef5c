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

#[derive(Debug)]
pub(super) struct Signals {
    term: unix::Signal,
    int: unix::Signal,
    hup: unix::Signal,
    usr2: unix::Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            term: unix::signal(SignalKind::terminate())?,
            int: unix::signal(SignalKind::interrupt())?,
            hup: unix::signal(SignalKind::hangup())?,
            usr2: unix::signal(SignalKind::user_defined2())?,
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
            _ = self.usr2.recv() => Signal::HandOver,
            _ = self.hup.recv() => Signal::Reload,
        }
    }
}
