//! Idle connections to the upstreams of one route, kept by one thread for itself: no lock, no hop between tasks.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::body::Upload;
use super::{LONGEST_IDLE, MOST_IDLE, SharedPool, UpstreamError};
use crate::config::Route;

/// The sending half of one connection.
pub(super) type Connection = SendRequest<Upload>;

/// The upstreams of one route, taken in turn.
#[derive(Debug)]
pub(super) struct Pools {
    pools: Vec<SharedPool>,
    next: Cell<usize>,
}

impl Pools {
    pub(super) fn new(route: &Route) -> Self {
        let pool = |authority: &str| {
            Rc::new(Pool {
                authority: authority.to_owned(),
                connect_timeout: route.connect_timeout,
                idle: RefCell::default(),
            })
        };
        Self {
            pools: route.upstreams.iter().map(|upstream| pool(&upstream.authority)).collect(),
            next: Cell::new(0),
        }
    }

    /// Each upstream once, beginning with the one whose turn it is.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = &SharedPool> {
        let first = self.next.get() % self.pools.len();
        self.next.set(first + 1);
        self.pools[first..].iter().chain(&self.pools[..first])
    }

    pub(super) fn tidy(&self) {
        self.pools.iter().for_each(|pool| pool.tidy());
    }
}

/// Idle connections to one upstream.
#[derive(Debug)]
pub(super) struct Pool {
    authority: String,
    connect_timeout: Duration,
    idle: RefCell<Vec<(Connection, Instant)>>,
}

impl Pool {
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// The connection used last, if one is still open.
    pub(super) fn take(&self) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        std::iter::from_fn(|| idle.pop()).map(|(connection, _)| connection).find(Connection::is_ready)
    }

    /// Gives a connection back once its answer has been read.
    pub(super) fn give_back(self: &Rc<Self>, mut connection: Connection) {
        if connection.is_ready() {
            return self.keep(connection);
        }
        let pool = self.clone();
        tokio::task::spawn_local(async move {
            if timeout(LONGEST_IDLE, connection.ready()).await.is_ok_and(|ready| ready.is_ok()) {
                pool.keep(connection);
            }
        });
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MOST_IDLE {
            idle.push((connection, Instant::now()));
        }
    }

    pub(super) async fn connect(&self) -> Result<Connection, UpstreamError> {
        let unreachable = |error| UpstreamError::Unreachable(self.authority.clone(), error);
        let connecting = timeout(self.connect_timeout, TcpStream::connect(&self.authority)).await;
        let stream =
            connecting.map_err(|_| UpstreamError::Timeout(self.authority.clone()))?.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let handshake = http1::Builder::new().handshake(TokioIo::new(stream)).await;
        let (sender, connection) =
            handshake.map_err(|error| UpstreamError::Failed(self.authority.clone(), error))?;
        // Ends by itself when the upstream or we close; what went wrong is told to whoever waits for an answer.
        tokio::task::spawn_local(async move { connection.with_upgrades().await.ok() });
        Ok(sender)
    }

    fn tidy(&self) {
        self.idle
            .borrow_mut()
            .retain(|(connection, since)| connection.is_ready() && since.elapsed() < LONGEST_IDLE);
    }
}
