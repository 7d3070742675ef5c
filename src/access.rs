//! What people and administrators may do, without a word of HTTP.

pub mod addresses;
pub mod keys;
pub mod pace;
pub mod sessions;
pub mod sign_in;
