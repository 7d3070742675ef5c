//! What a start asks for, once it has been found acceptable.

use std::time::Duration;

/// How a request will go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// Never empty.
    pub(super) steps: Vec<Step>,
    pub(super) code_length: u8,
    /// The caller's own code, instead of one that is made.
    pub(super) own_code: Option<String>,
    /// `None`: a code lasts until the next one is made.
    pub(super) code_lifetime: Option<Duration>,
    /// Whether each new code may be tried anew.
    pub(super) tries_renewed: bool,
    /// Who sends, in version 1.
    pub(super) sender: String,
}

/// One message of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) channel: String,
    /// A number in E.164, or an e-mail address.
    pub(super) to: String,
    /// Until the next step, or the end.
    pub(super) wait: Duration,
    /// Whether it repeats the code under way, if that has not expired.
    pub(super) reuse_code: bool,
}
