//! What every store must do, whatever keeps it: one suite, run whole on each engine.

#![allow(unreachable_pub, reason = "a test binary has no outside")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![allow(missing_debug_implementations, reason = "nobody prints a test's tools")]

#[path = "../common/postgres.rs"]
mod postgres;

mod server;
