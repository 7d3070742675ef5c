//! Upstream connections that belong to one client: for applications that authenticate a connection and not each request
//! (NTLM, Negotiate), and for those that are told the client's address when a connection begins (the PROXY protocol).

use std::cell::RefCell;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use tokio::time::timeout;

use super::SharedPool;
use super::balance::Pools;
use super::connection::{Connection, Own};
use super::upload::{Progress, Stage};
use crate::access::sessions::LiveSession;

/// Upstream connections that a client's connection keeps; of more, the one used least lately is closed.
const MOST: usize = 8;
/// A connection whose last answer has been read is ready in so long, or not at all.
const READY: Duration = Duration::from_secs(10);

/// A client's connection: what it holds for as long as it lasts, and the upstream connections that are its own. They
/// are closed with it.
#[derive(Debug)]
pub struct ClientConnection {
    _held: Rc<dyn fmt::Debug>,
    /// The one used last at the end.
    pinned: RefCell<Vec<Pinned>>,
}

impl ClientConnection {
    /// A connection that holds this, such as its place among those that may be open.
    pub fn new(held: Rc<dyn fmt::Debug>) -> Self {
        Self { _held: held, pinned: RefCell::default() }
    }
}

#[derive(Debug)]
struct Pinned {
    pool: SharedPool,
    whose: Whose,
    own: Box<Own>,
}

/// Whose an upstream connection is. A proxy in front of us has many clients on one connection: they share nothing.
#[derive(Clone, Debug)]
struct Whose {
    /// The addresses from the client to us.
    chain: HeaderValue,
    session: Option<Arc<LiveSession>>,
}

impl Whose {
    /// Whether it is certainly one client. Behind a proxy, all strangers of one address look alike.
    fn is_one_client(&self) -> bool {
        self.session.is_some() || !self.chain.as_bytes().contains(&b',')
    }
}

impl PartialEq for Whose {
    fn eq(&self, other: &Self) -> bool {
        let session = |whose: &Self| whose.session.as_ref().map(Arc::as_ptr);
        self.chain == other.chain && session(self) == session(other)
    }
}

/// The part of a client's connection that is one client's.
#[derive(Clone, Debug)]
pub(super) struct Pin {
    client: Rc<ClientConnection>,
    whose: Whose,
}

impl Pin {
    pub(super) fn new(
        client: Rc<ClientConnection>,
        chain: HeaderValue,
        session: Option<Arc<LiveSession>>,
    ) -> Self {
        Self { client, whose: Whose { chain, session } }
    }

    /// The client's address, where it has one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.whose.chain.to_str().ok()?.split(',').next()?.trim().parse().ok()
    }

    /// The upstream of a route that it has a connection to.
    pub(super) fn pool(&self, pools: &Pools) -> Option<SharedPool> {
        let pinned = self.client.pinned.borrow();
        let mine = pinned.iter().filter(|pinned| pinned.whose == self.whose);
        mine.map(|pinned| &pinned.pool).find(|pool| pools.has(pool)).cloned()
    }

    /// Its connection to an upstream, once the last answer on it is over.
    pub(super) async fn take(&self, pool: &SharedPool) -> Option<Connection> {
        loop {
            let mut own = self.remove(pool)?;
            if timeout(READY, own.sender.ready()).await.is_ok_and(|ready| ready.is_ok()) {
                return Some(Connection::Own(own));
            }
        }
    }

    fn remove(&self, pool: &SharedPool) -> Option<Box<Own>> {
        let mut pinned = self.client.pinned.borrow_mut();
        let is_mine = |pinned: &Pinned| pinned.whose == self.whose && Rc::ptr_eq(&pinned.pool, pool);
        let place = pinned.iter().position(is_mine)?;
        Some(pinned.remove(place).own)
    }

    /// Keeps a connection for the client's next request.
    pub(super) fn give_back(self, pool: &SharedPool, connection: Connection, upload: Option<&Progress>) {
        let Connection::Own(own) = connection else { return };
        let mut pinned = self.client.pinned.borrow_mut();
        pinned.retain(|pinned| !pinned.own.sender.is_closed());
        if upload.is_some_and(|upload| upload.stage() == Stage::Held) || !self.whose.is_one_client() {
            return own.close();
        }
        // Whoever comes last may be half way through signing in.
        if pinned.len() >= MOST {
            pinned.remove(0).own.close();
        }
        pinned.push(Pinned { pool: pool.clone(), whose: self.whose, own });
    }
}
