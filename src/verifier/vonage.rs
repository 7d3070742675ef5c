//! Vonage Verify, in both its versions. They share how numbers and brands are written, what a lost start came to, and
//! how a code is sent once more; what they say on the wire is each one's own.

mod common;
mod request;
mod start;
pub mod v1;
pub mod v2;
