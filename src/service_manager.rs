//! What the service manager is told (sd_notify(3)), when there is one. Without `NOTIFY_SOCKET` nothing is.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::config;

/// Everything listens, and the store has answered.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is read again; [`ready`] says that it is over, whatever came of it. The moment is what
/// `Type=notify-reload` waits for (systemd 253).
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(moment) => tell(&[NotifyState::Reloading, moment]),
        Err(error) => tracing::warn!(%error, "the service manager cannot be told of the reload"),
    }
}

/// What is under way is finished, and nothing new is begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing what is under way")]);
}

/// A line for `systemctl status`.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// It works, as was just tried.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// Another process has taken over, and is the one to be watched and stopped from now on.
pub fn main_process(id: u32) {
    tell(&[NotifyState::MainPid(id)]);
}

/// Who is not heard of for so long is taken for dead, and killed (`WatchdogSec=`).
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn tell(state: &[NotifyState<'_>]) {
    let told = match config::abstract_notify_socket() {
        None => sd_notify::notify(state),
        Some(name) => tell_at(&name, state),
    };
    if let Err(error) = told {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

/// The library knows paths only.
fn tell_at(name: &str, state: &[NotifyState<'_>]) -> io::Result<()> {
    let notice: String = state.iter().map(|state| format!("{state}\n")).collect();
    let address = SocketAddr::from_abstract_name(name)?;
    UnixDatagram::unbound()?.send_to_addr(notice.as_bytes(), &address).map(drop)
}
