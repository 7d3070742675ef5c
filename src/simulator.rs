//! Stand-ins for the outside world: providers that "send" codes without a phone network, and an
//! application to protect. They serve `vestibule simulate`, `vestibule demo` and the tests.
//!
//! A simulator speaks the provider's real wire format over real sockets, so the gateway cannot tell the
//! difference and needs no test mode. Nothing in the gateway itself may depend on this module.

use std::fmt;
use std::time::SystemTime;

pub mod application;
mod call;
mod fault;
mod faults;
mod form;
mod journal;
mod number;
mod provider;
mod random;
mod reply;
mod side_channel;
pub mod twilio;
pub mod vonage;
mod wire;

pub use fault::{Fault, FaultError};

/// A code that a provider would have sent to a person's phone.
#[derive(Clone, PartialEq, Eq)]
pub struct SentCode {
    /// Where it went: a number in E.164, or an e-mail address.
    pub to: String,
    /// How it went, in the provider's word: `sms`, `call`, …
    pub channel: String,
    /// The digits themselves.
    pub code: String,
    /// When it was sent.
    pub sent_at: SystemTime,
}

impl fmt::Debug for SentCode {
    /// The simulator shows codes only through its side channel, so a stray `{:?}` must not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentCode").field("channel", &self.channel).finish_non_exhaustive()
    }
}

/// Receives every sent code before the API call that sent it is answered.
type Sink = dyn Fn(&SentCode) + Send + Sync;
