//! Hearing at once that somebody changed something, on a connection of its own.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;

use super::Server;
use super::wire::Wire;
use crate::store::StoreError;

/// The connection is asked this often whether it lives, and must say so within as long.
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
    let mut wire = Wire::open(server, "LISTEN vestibule_change", told.clone())?;
    // What was told while nobody listened is lost; reading on from the last number known finds it.
    if let Some(told) = told.upgrade() {
        told.notify_one();
    }
    while told.strong_count() > 0 {
        wire.listen(QUIET);
        wire.patience = QUIET;
        wire.batch("")?;
    }
    Ok(())
}
