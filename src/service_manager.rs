//! What the service manager is told (sd_notify(3)), when there is one. Without `NOTIFY_SOCKET` nothing is.

use std::time::Duration;

use sd_notify::NotifyState;

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
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}
