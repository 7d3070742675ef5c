//! Sessions that ended here and of whose end the store does not know yet: they must not come back with it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use crate::domain::id::SessionId;
use crate::domain::session::SessionEnd;
use crate::domain::time::Timestamp;

/// Ends that wait to be written down, by session.
#[derive(Debug, Default)]
pub(super) struct Endings(Mutex<HashMap<SessionId, Ending>>);

/// How and when a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) end: SessionEnd,
    pub(super) at: Timestamp,
}

/// So many wait. Each is of a session that somebody had a token of, so that nobody can fill the places with names.
const MOST: usize = 65_536;

impl Endings {
    /// Notes an end; false when there is no place for it.
    pub(super) fn note(&self, id: SessionId, ending: Ending) -> bool {
        let mut waiting = self.lock();
        let has_place = waiting.len() < MOST || waiting.contains_key(&id);
        if has_place {
            waiting.entry(id).or_insert(ending);
        }
        has_place
    }

    /// How a session ended, as long as the store does not know.
    pub(super) fn of(&self, id: SessionId) -> Option<SessionEnd> {
        self.lock().get(&id).map(|ending| ending.end)
    }

    /// The store knows.
    pub(super) fn written(&self, id: SessionId) {
        let mut waiting = self.lock();
        waiting.remove(&id);
        if waiting.is_empty() {
            waiting.shrink_to_fit();
        }
    }

    /// All that wait.
    pub(super) fn all(&self) -> Vec<(SessionId, Ending)> {
        self.lock().iter().map(|(id, ending)| (*id, *ending)).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Ending>> {
        self.0.lock().expect("nobody panics while holding it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> SessionId {
        SessionId::from_random((n as u128).to_be_bytes())
    }

    #[test]
    fn an_ending_waits_until_it_is_written_and_there_is_an_end_to_them() {
        let endings = Endings::default();
        let ending = Ending { end: SessionEnd::SignedOut, at: Timestamp::from_unix(1) };
        for n in 0..MOST {
            assert!(endings.note(id(n), ending));
        }
        assert!(!endings.note(id(MOST), ending) && endings.of(id(MOST)).is_none());
        assert!(endings.note(id(0), ending), "it is among them already");
        endings.written(id(1));
        assert!(endings.note(id(MOST), ending));
        assert_eq!(endings.of(id(0)), Some(SessionEnd::SignedOut));
        assert_eq!(endings.of(id(1)), None);
    }
}
