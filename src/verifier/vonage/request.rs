//! A code that is sent once more: while a request is too young to be cancelled it goes on to its second step, and later
//! it makes room for a new one.

use tokio::time::Instant;

use super::common::SETTLED;
use super::start::UnderWayIs;
use crate::domain::channel::Channel;
use crate::domain::phone::PhoneNumber;
use crate::verifier::{Live, Sent, VerifierError};

/// What both versions can do with a request, each by its own words.
pub(super) trait Requests {
    /// The second step of a request that began this way.
    fn second(&self, first: Channel) -> Channel;

    /// Makes a request.
    async fn begin(
        &self,
        to: &PhoneNumber,
        channel: Channel,
        until: Instant,
        under_way: UnderWayIs,
    ) -> Result<Sent, VerifierError>;

    /// Takes the second step at once; false when there is none left.
    async fn advance(&self, handle: &str, until: Instant) -> Result<bool, VerifierError>;

    /// Cancels a request; one that is not there is as good as cancelled.
    async fn forget(&self, handle: &str, until: Instant) -> Result<(), VerifierError>;
}

/// Sends the code of a live request once more.
pub(super) async fn again(
    requests: &impl Requests,
    to: &PhoneNumber,
    channel: Channel,
    live: Live<'_>,
    until: Instant,
) -> Result<Sent, VerifierError> {
    let Some(handle) = live.handle else {
        return requests.begin(to, channel, until, UnderWayIs::Ours).await;
    };
    let is_next = channel == requests.second(live.channel);
    if live.age < SETTLED && is_next && requests.advance(handle, until).await? {
        return Ok(Sent { handle: handle.to_owned() });
    }
    // A request that cannot be cancelled any more keeps the number to itself: the next start says so.
    requests.forget(handle, until).await?;
    requests.begin(to, channel, until, UnderWayIs::Anothers).await
}
