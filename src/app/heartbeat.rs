//! What the service manager is told while the gateway runs: that it still answers, and how it is.

mod knock;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use self::knock::Door;
use crate::config::Settings;
use crate::server::front::Serving;
use crate::server::observe::Observed;
use crate::service_manager;

/// Its line is looked at this often.
const EVERY: Duration = Duration::from_secs(10);

/// The line before it is killed.
const SILENT: &str = "requests of its own are not answered; the log says why";

/// What is looked at.
pub(super) struct Heartbeat {
    pub(super) observed: watch::Receiver<Arc<Observed>>,
    pub(super) serving: watch::Receiver<Arc<Serving>>,
    /// Places for connections.
    pub(super) places: Arc<Semaphore>,
    /// Where connections are accepted.
    pub(super) addresses: Vec<String>,
    /// How many threads accept them.
    pub(super) threads: usize,
}

impl Heartbeat {
    pub(super) fn begin(self, office: &Handle, settings: &Settings) {
        let most = settings.server.max_connections;
        let (answers, answered) = watch::channel(true);
        if let Some(patience) = service_manager::watchdog() {
            let beat = self.beat(settings, patience, answers);
            office.spawn(beat);
        }
        office.spawn(self.show(most, answered));
    }

    /// Is heard of for as long as requests are answered.
    fn beat(
        &self,
        settings: &Settings,
        patience: Duration,
        answers: watch::Sender<bool>,
    ) -> impl Future<Output = ()> + use<> {
        let (addresses, threads) = (self.addresses.clone(), self.threads);
        let (serving, places) = (self.serving.clone(), self.places.clone());
        let says_proxy = settings.server.proxy_protocol;
        async move {
            let half = patience / 2;
            loop {
                let door = Door::of(&serving.borrow().clone(), &addresses, says_proxy);
                // Where nobody more is let in, somebody is being served.
                let is_full = places.available_permits() == 0;
                let answered = timeout(half, door.knock(threads * 2)).await;
                let is_alive = is_full || matches!(answered, Ok(Ok(())));
                answers.send_replace(is_alive);
                match answered {
                    Ok(_) | Err(_) if is_alive => service_manager::alive(),
                    Ok(Err(error)) => {
                        tracing::error!(%error, "a request of our own was not answered as it must be")
                    }
                    Ok(Ok(())) | Err(_) => tracing::error!("a request of our own was not answered in time"),
                }
                sleep(half / 2).await;
            }
        }
    }

    /// Keeps the line of `systemctl status` up to date. It is told each time: what is said before systemd knows of a
    /// process that takes over is not heard.
    async fn show(self, most: usize, answered: watch::Receiver<bool>) {
        loop {
            let observed = self.observed.borrow().clone();
            let connections = most.saturating_sub(self.places.available_permits());
            let line = match observed.unready().await {
                _ if !*answered.borrow() => SILENT.to_owned(),
                Some(why) => why.trim_end().to_owned(),
                None => format!(
                    "serving: {connections} connections, {} sessions in use",
                    observed.sessions.in_use()
                ),
            };
            service_manager::status(&line);
            sleep(EVERY).await;
        }
    }
}
