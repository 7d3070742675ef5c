//! Trouble that known people met and strangers must meet too, though nothing is sent or checked for them.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::verifier::VerifierError;

/// What the last real call of a kind came to at one provider, when it was trouble that is everybody's.
#[derive(Debug, Default)]
pub(super) struct Fault(Mutex<Option<Met>>);

#[derive(Debug)]
struct Met {
    at: Instant,
    error: VerifierError,
    /// Whether the provider was in trouble as well when it was only asked whether it is there.
    shows: bool,
}

/// Trouble that shows in no other way is over when a real call succeeds; if none is made, after so long.
const LASTS: Duration = Duration::from_secs(3_600);

impl Fault {
    /// A real call came to this.
    pub(super) fn note(&self, error: Option<&VerifierError>) {
        let shared = error.filter(|error| !error.trouble.is_healthy());
        let met = shared.map(|error| Met { at: Instant::now(), error: error.clone(), shows: false });
        *self.met() = met;
    }

    /// Whether the last real call came to trouble that is everybody's.
    pub(super) fn is_met(&self) -> bool {
        self.met().is_some()
    }

    /// What a call would come to, given what the provider says of its health.
    pub(super) fn judge(&self, health: Result<(), VerifierError>) -> Result<(), VerifierError> {
        let mut met = self.met();
        let Some(fault) = met.as_mut().filter(|fault| fault.at.elapsed() < LASTS) else { return health };
        fault.shows |= health.is_err();
        if fault.shows && health.is_ok() {
            *met = None;
            return Ok(());
        }
        Err(fault.error.clone())
    }

    fn met(&self) -> std::sync::MutexGuard<'_, Option<Met>> {
        self.0.lock().expect("nobody panics while holding it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verifier::Trouble;

    fn error(trouble: Trouble) -> VerifierError {
        VerifierError { trouble, ..VerifierError::down() }
    }

    fn down() -> Result<(), VerifierError> {
        Err(VerifierError::down())
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_that_shows_ends_with_it_and_other_trouble_with_a_success() {
        let fault = Fault::default();
        assert_eq!(fault.judge(Ok(())), Ok(()));
        assert_eq!(fault.judge(down()), down());
        let ambiguous = error(Trouble::Ambiguous);
        fault.note(Some(&ambiguous));
        assert_eq!(fault.judge(Ok(())), Err(ambiguous.clone()), "health does not show it");
        assert_eq!(fault.judge(down()), Err(ambiguous.clone()), "a known person meets this");
        assert_eq!(fault.judge(Ok(())), Ok(()), "it is well again");
        fault.note(Some(&ambiguous));
        fault.note(None);
        assert_eq!(fault.judge(Ok(())), Ok(()));
        fault.note(Some(&error(Trouble::Blocked)));
        assert_eq!(fault.judge(Ok(())), Ok(()), "one number's is nobody else's");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_meets_again_is_forgotten() {
        let fault = Fault::default();
        fault.note(Some(&error(Trouble::Configuration)));
        tokio::time::advance(LASTS - Duration::from_secs(1)).await;
        assert!(fault.judge(Ok(())).is_err());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(fault.judge(Ok(())), Ok(()));
    }
}
