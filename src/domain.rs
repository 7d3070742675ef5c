//! The rules, and nothing but the rules.
//!
//! No clock, no randomness, no input or output: `now` and random bytes are arguments, so every rule can be
//! tested at any moment of time. Nothing here knows HTTP, SQL or a provider's words.

pub mod buckets;
pub mod chain;
pub mod challenge;
pub mod channel;
pub mod emergency;
pub mod event;
pub mod id;
pub mod limits;
pub mod line;
pub mod phone;
pub mod policy;
pub mod return_to;
pub mod sending;
pub mod session;
pub mod spend;
pub mod time;
pub mod token;
pub mod user;
