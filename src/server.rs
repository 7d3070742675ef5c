//! Sockets: listening, one thread of the front, one connection, and stopping without dropping anybody.

pub mod connection;
pub mod front;
mod lingering;
pub mod listener;
pub mod observe;
mod screened;
pub mod tls;
mod traffic;
