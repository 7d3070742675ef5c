//! The threads that run commands, each with a connection of its own.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::Server;
use super::connection::{Connection, is_worth_another_try};
use crate::store::StoreError;
use crate::store::engine::{QUEUE, Request};

/// How often a transaction is tried.
const TRIES: u32 = 4;
/// A server that could not be reached is not tried again sooner.
const PAUSE: Duration = Duration::from_millis(500);

struct Pool {
    server: Arc<Server>,
    queue: Mutex<mpsc::Receiver<Request>>,
    /// When the server could last not be reached, and why.
    gone: Mutex<Option<(Instant, StoreError)>>,
}

/// Starts the threads, the first of them with a connection that is there already; the others connect when they are needed.
pub(super) fn start(
    server: &Arc<Server>,
    mut first: Option<Connection>,
    threads: usize,
) -> mpsc::Sender<Request> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let pool = Arc::new(Pool { server: server.clone(), queue: Mutex::new(receiver), gone: Mutex::default() });
    for number in 0..threads.max(1) {
        let (pool, connection) = (pool.clone(), first.take());
        let serve = move || pool.serve(connection);
        thread::Builder::new().name(format!("store-{number}")).spawn(serve).expect("a thread can be started");
    }
    sender
}

impl Pool {
    fn serve(&self, mut connection: Option<Connection>) {
        while let Some(mut request) = self.next() {
            if !request.command.is_abandoned() {
                let settled = self.settle(&mut connection, &mut request);
                request.command.answer(settled);
            }
        }
    }

    /// The next command; whoever waits for it holds the queue, and lets go when it has one.
    fn next(&self) -> Option<Request> {
        self.queue.lock().expect("nobody panics while holding it").blocking_recv()
    }

    fn settle(&self, connection: &mut Option<Connection>, request: &mut Request) -> Result<(), StoreError> {
        let mut settled = Err(StoreError::Unavailable);
        for _ in 0..TRIES {
            settled = self.attempt(connection, request);
            if !settled.as_ref().is_err_and(is_worth_another_try) {
                break;
            }
        }
        settled
    }

    fn attempt(&self, connection: &mut Option<Connection>, request: &mut Request) -> Result<(), StoreError> {
        let mut open = match connection.take().filter(|connection| !connection.is_closed()) {
            Some(open) => open,
            None => self.connect()?,
        };
        let settled = open.run(request.kind, &mut *request.command);
        // What went wrong on one may go well on another: the server may have handed its work over.
        *connection = Some(open).filter(|_| !settled.as_ref().is_err_and(is_worth_another_try));
        settled
    }

    /// One at a time: while the server is away nobody waits for it longer than the first who found out.
    fn connect(&self) -> Result<Connection, StoreError> {
        let mut gone = self.gone.lock().expect("nobody panics while holding it");
        if let Some((_, why)) = gone.as_ref().filter(|(since, _)| since.elapsed() < PAUSE) {
            return Err(why.clone());
        }
        let connected = Connection::open(&self.server);
        *gone = connected.as_ref().err().map(|error| (Instant::now(), error.clone()));
        connected
    }
}
