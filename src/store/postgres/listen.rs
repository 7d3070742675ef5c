//! Hearing at once that somebody changed something, on a connection of its own.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use postgres::fallible_iterator::FallibleIterator as _;
use tokio::sync::Notify;

use super::Server;
use super::connection::Connection;
use crate::store::StoreError;

/// A connection on which nothing came for so long is asked whether it lives.
const QUIET: Duration = Duration::from_secs(10);
/// After a connection was lost or could not be made.
const PAUSE: Duration = Duration::from_secs(1);

/// Starts the thread; it ends when nobody listens to it any more.
pub(super) fn start(server: Arc<Server>, told: Weak<Notify>) {
    let listen = move || {
        while told.strong_count() > 0 {
            if let Err(error) = listen(&server, &told) {
                tracing::debug!(%error, "changes are not told of at the moment");
            }
            thread::sleep(PAUSE);
        }
    };
    thread::Builder::new().name("store-listen".to_owned()).spawn(listen).expect("a thread can be started");
}

fn listen(server: &Server, told: &Weak<Notify>) -> Result<(), StoreError> {
    let mut connection = Connection::open(server)?;
    let client = connection.client();
    client.batch_execute("LISTEN vestibule_change")?;
    // What was told while nobody listened is lost; reading on from the last number known finds it.
    while let Some(listener) = told.upgrade() {
        listener.notify_one();
        drop(listener);
        while client.notifications().timeout_iter(QUIET).next()?.is_none() {
            client.is_valid(QUIET)?;
            if told.strong_count() == 0 {
                return Ok(());
            }
        }
    }
    Ok(())
}
