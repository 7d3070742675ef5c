//! PostgreSQL, for one gateway or many.
//!
//! Threads with a connection each take commands from one queue. A transaction is at READ COMMITTED and takes advisory locks
//! of what it works on before it looks, so that it finds what their last holders wrote; nothing is ever judged by an old
//! snapshot, and nothing has to be tried again because two were at it together.

mod connection;
mod listen;
mod migrate;
mod pool;
mod values;
mod wire;

use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tokio::sync::Notify;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use self::connection::Connection;
use super::engine::{Dialect, Engine};
use super::times::Times;
use super::{OpenError, StoreError, Use};
use crate::config;
use crate::crypto::ChainKey;
use crate::tls;

/// What connections are made with.
#[derive(Clone)]
pub(super) struct Server {
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
}

/// What gateways, and commands beside them, are called at the server.
const GATEWAY: &str = "vestibule";
/// With several hosts in the URL, the next one is tried after this long.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// What was sent and is not acknowledged for so long never will be.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(5);

/// A revocation must be heard of within a second, even where the server's word does not arrive.
const POLL: Duration = Duration::from_millis(750);

/// Connects, brings the schema up to date and starts the threads.
pub(super) fn start(
    settings: &config::Postgres,
    use_: Use,
    chain: Option<&ChainKey>,
) -> Result<Engine, OpenError> {
    let server = Arc::new(Server::new(settings, use_)?);
    let mut first = Connection::open(&server)?;
    migrate::migrate(&mut first, &server, chain.filter(|_| use_ != Use::TakeOver))?;
    if use_ == Use::Move {
        migrate::refuse_company(&mut first)?;
    } else if migrate::is_being_filled(&mut first)? {
        return Err(StoreError::Unfinished.into());
    }
    // Whoever moves all of it needs one, and another would look like a gateway.
    let connections = if use_ == Use::Move { 1 } else { settings.connections };
    let queue = pool::start(&server, Some(first), connections);
    let told = Arc::new(Notify::new());
    let (listening, once) = (told.clone(), Once::new());
    Ok(Engine {
        news: pool::start(&server, None, 1),
        readers: queue.clone(),
        writers: queue,
        told,
        listen: Box::new(move || {
            once.call_once(|| listen::start(server.clone(), Arc::downgrade(&listening)))
        }),
        poll: POLL,
        dialect: Dialect::Postgres,
        times: Arc::new(Times::new(Dialect::Postgres)),
        claim: Mutex::default(),
    })
}

impl Server {
    fn new(settings: &config::Postgres, use_: Use) -> Result<Self, tls::TlsError> {
        let mut config = settings.server.clone();
        config
            .application_name(if use_ == Use::Move { "vestibule store migrate" } else { GATEWAY })
            .ssl_mode(if settings.encrypted { SslMode::Require } else { SslMode::Disable })
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .connect_timeout(CONNECT_WITHIN)
            .tcp_user_timeout(ACKNOWLEDGE_WITHIN)
            .keepalives_idle(ACKNOWLEDGE_WITHIN)
            .keepalives_interval(Duration::from_secs(2))
            .keepalives_retries(3);
        if let Ok(Some(password)) = &settings.password {
            config.password(password.expose_secret());
        }
        Ok(Self { config, tls: MakeRustlsConnect::new(tls::client(&settings.trust)?) })
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(Arc::new(error))
    }
}
