//! Sockets: listening, one thread of the front, one connection, and stopping without dropping anybody.

pub mod acme;
pub mod addresses;
mod client;
mod connection;
pub mod front;
mod http1;
mod http2;
mod in_flight;
mod lingering;
pub mod listener;
mod minder;
pub mod observe;
pub mod offenders;
pub mod passed;
mod proxy_protocol;
pub mod redirect;
mod screened;
mod text;
pub mod tls;
mod traffic;
mod turns;
