//! Vestibule: a reverse-proxy two-factor gateway. `ARCHITECTURE.md` draws the house; `gateway` is read first.

pub mod access;
pub mod access_log;
pub mod api;
pub mod app;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crypto;
pub mod domain;
pub mod gateway;
pub mod message;
pub mod metrics;
pub mod pages;
pub mod proxy;
pub mod server;
pub mod service_manager;
pub mod simulator;
pub mod store;
pub mod tls;
pub mod traces;
pub mod verifier;
