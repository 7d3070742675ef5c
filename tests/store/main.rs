//! What every store must do, whatever keeps it: one suite, run whole on each engine.

#![allow(unreachable_pub, reason = "a test binary has no outside")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![allow(missing_debug_implementations, reason = "nobody prints a test's tools")]

#[path = "../common/postgres.rs"]
mod postgres;

mod engine;
mod given;

mod accept;
mod audit;
mod changes;
mod checks;
mod codes;
mod emergency;
mod keys;
mod lines;
mod messages;
mod opening;
mod purge;
mod races;
mod sending;
mod server;
mod sessions;
mod starts;
mod troubles;
mod users;
mod webhook;
