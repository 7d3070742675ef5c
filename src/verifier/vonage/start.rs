//! A start that finds out what became of it. A second start of the same number cannot send twice: it is told the
//! name of the first.

use std::time::Duration;

use tokio::time::Instant;

use crate::verifier::wire;
use crate::verifier::{Sent, Trouble, VerifierError};

/// What one start came to.
#[derive(Debug)]
pub(super) enum Started {
    /// A code is on its way under this name.
    Sent(String),
    /// One was under way to this number, under this name if it was told.
    UnderWay(Option<String>, VerifierError),
}

/// Whose a code is that was under way before a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnderWayIs {
    /// Of an earlier start of ours whose answer was lost.
    Ours,
    /// Not known to us.
    Anothers,
}

const PAUSE: Duration = Duration::from_millis(200);

/// Starts by `ask`, which makes one try until the moment it is given. After a try that may have sent, one more tells.
/// A name that it is told then is of a code that this very start sent; else it is taken only where it is known whose.
pub(super) async fn start<F: Future<Output = Result<Started, VerifierError>>>(
    until: Instant,
    under_way: UnderWayIs,
    ask: impl Fn(Instant) -> F,
) -> Result<Sent, VerifierError> {
    let first = wire::patiently(until, wire::pause_of_unprocessed, || ask(wire::most_of(until))).await;
    match first {
        Ok(started) => settle(started, under_way),
        Err(error) if may_have_sent(&error) => {
            tracing::debug!(%error, "asking what became of a start");
            tokio::time::sleep(PAUSE).await;
            let found = ask(until).await.and_then(|started| settle(started, UnderWayIs::Ours));
            // What the second try met says nothing of the first.
            found.map_err(|second| if error.trouble == Trouble::Ambiguous { error } else { second })
        }
        Err(error) => Err(error),
    }
}

fn settle(started: Started, under_way: UnderWayIs) -> Result<Sent, VerifierError> {
    match (started, under_way) {
        (Started::Sent(handle), _) | (Started::UnderWay(Some(handle), _), UnderWayIs::Ours) => {
            Ok(Sent { handle })
        }
        (Started::UnderWay(_, error), _) => Err(error),
    }
}

/// Its answer was lost, or is the vendor's own fault.
fn may_have_sent(error: &VerifierError) -> bool {
    error.trouble == Trouble::Ambiguous || error.trouble == Trouble::Down && !error.never_left()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const TIME: Duration = Duration::from_secs(9);

    fn error(trouble: Trouble) -> VerifierError {
        VerifierError { trouble, status: Some(500), ..wire::lost() }
    }

    fn under_way(name: Option<&str>) -> Result<Started, VerifierError> {
        Ok(Started::UnderWay(name.map(str::to_owned), error(Trouble::InFlight)))
    }

    fn sent(name: &str) -> Result<Started, VerifierError> {
        Ok(Started::Sent(name.to_owned()))
    }

    /// The result, and how long each try might have taken.
    async fn run(
        whose: UnderWayIs,
        mut script: Vec<Result<Started, VerifierError>>,
    ) -> (Result<String, Trouble>, Vec<Duration>) {
        script.reverse();
        let (script, times) = (Mutex::new(script), Mutex::new(Vec::new()));
        let began = Instant::now();
        let result = start(began + TIME, whose, |until| {
            times.lock().unwrap().push(until - began);
            let next = script.lock().unwrap().pop().expect("no more tries than these");
            std::future::ready(next)
        });
        let result = result.await.map(|sent| sent.handle).map_err(|error| error.trouble);
        assert!(script.into_inner().unwrap().is_empty(), "fewer tries than these");
        (result, times.into_inner().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_that_was_lost_is_found() {
        for lost in [Trouble::Ambiguous, Trouble::Down] {
            let script = vec![Err(error(lost)), under_way(Some("first"))];
            let (result, times) = run(UnderWayIs::Anothers, script).await;
            assert_eq!(result, Ok("first".to_owned()), "{lost:?}");
            assert_eq!(times, [TIME * 2 / 3, TIME], "a third of the time is kept for finding it");
        }
        let script = vec![Err(error(Trouble::Ambiguous)), sent("second")];
        assert_eq!(run(UnderWayIs::Anothers, script).await.0, Ok("second".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn anothers_is_not_taken() {
        let script = || vec![under_way(Some("live"))];
        assert_eq!(run(UnderWayIs::Anothers, script()).await.0, Err(Trouble::InFlight));
        assert_eq!(run(UnderWayIs::Ours, script()).await.0, Ok("live".to_owned()));
        assert_eq!(run(UnderWayIs::Ours, vec![under_way(None)]).await.0, Err(Trouble::InFlight));
        let script = vec![Err(error(Trouble::Throttled)), under_way(Some("live"))];
        assert_eq!(run(UnderWayIs::Anothers, script).await.0, Err(Trouble::InFlight));
        let unconnected = VerifierError::down();
        let script = vec![Err(unconnected), under_way(Some("live"))];
        assert_eq!(run(UnderWayIs::Anothers, script).await.0, Err(Trouble::InFlight));
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_found_stays_lost() {
        for second in [Trouble::Ambiguous, Trouble::Down, Trouble::Configuration] {
            let script = vec![Err(error(Trouble::Ambiguous)), Err(error(second))];
            assert_eq!(run(UnderWayIs::Anothers, script).await.0, Err(Trouble::Ambiguous), "{second:?}");
            let script = vec![Err(error(Trouble::Down)), Err(error(second))];
            assert_eq!(run(UnderWayIs::Anothers, script).await.0, Err(second), "{second:?}");
        }
        let script = vec![Err(error(Trouble::InvalidNumber))];
        assert_eq!(run(UnderWayIs::Anothers, script).await.0, Err(Trouble::InvalidNumber));
    }
}
