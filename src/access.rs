//! What people and administrators may do, without a word of HTTP.

pub mod addresses;
mod endings;
pub mod keys;
pub mod lines;
pub mod outage;
pub mod pace;
pub mod sessions;
pub mod sign_in;
pub mod spend_guard;
