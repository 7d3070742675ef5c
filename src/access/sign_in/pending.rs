//! Messages that are being sent at this moment: whoever asks for the same meanwhile waits, and hears what became of it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex};

use tokio::sync::{MutexGuard, watch};

use super::Cause;
use crate::domain::challenge::Subject;

/// The messages under way, by whose they are.
#[derive(Debug)]
pub(super) struct Pending {
    under_way: Arc<Mutex<HashMap<Subject, Waiting>>>,
    lanes: [tokio::sync::Mutex<()>; LANES],
}

/// One message under way; dropping it lets those who wait go on.
#[derive(Debug)]
pub(super) struct Sending {
    under_way: Arc<Mutex<HashMap<Subject, Waiting>>>,
    subject: Subject,
    ends: watch::Sender<Option<Cause>>,
}

/// Somebody else's message under way.
#[derive(Clone, Debug)]
pub(super) struct Waiting(watch::Receiver<Option<Cause>>);

/// So many subjects at once are asked for in the store; those of one lane come one after the other.
const LANES: usize = 64;

impl Default for Pending {
    fn default() -> Self {
        Self { under_way: Arc::default(), lanes: std::array::from_fn(|_| tokio::sync::Mutex::default()) }
    }
}

impl Pending {
    /// Held while the store is asked who sends and until that is known here, so that both agree on who is first.
    pub(super) async fn in_turn(&self, subject: &Subject) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        subject.hash(&mut hasher);
        let lane = hasher.finish() % LANES as u64;
        self.lanes[usize::try_from(lane).unwrap_or(0)].lock().await
    }

    /// From now on others wait.
    pub(super) fn begin(&self, subject: &Subject) -> Sending {
        let (ends, end) = watch::channel(None);
        let mut under_way = self.under_way.lock().expect("nobody panics while holding it");
        under_way.insert(subject.clone(), Waiting(end));
        Sending { under_way: self.under_way.clone(), subject: subject.clone(), ends }
    }

    /// What is under way; asked before the store is, it may be over when that has answered.
    pub(super) fn of(&self, subject: &Subject) -> Option<Waiting> {
        self.under_way.lock().expect("nobody panics while holding it").get(subject).cloned()
    }
}

impl Sending {
    /// It is over; why nothing was sent, if nothing was.
    pub(super) fn end(self, failure: Option<Cause>) {
        self.ends.send_replace(failure);
    }
}

impl Waiting {
    /// Waits until it is over; why nothing was sent, if nothing was.
    pub(super) async fn ended(mut self) -> Option<Cause> {
        while self.0.changed().await.is_ok() {}
        self.0.borrow().clone()
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let mut under_way = self.under_way.lock().expect("nobody panics while holding it");
        // A later one of the same subject may have taken its place.
        let mine =
            under_way.get(&self.subject).is_some_and(|Waiting(end)| end.same_channel(&self.ends.subscribe()));
        if mine {
            under_way.remove(&self.subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_who_wait_hear_what_the_first_came_to_and_others_do_not_wait() {
        let pending = Pending::default();
        let (alice, bob) = (Subject::stranger("a"), Subject::stranger("b"));
        let first = pending.begin(&alice);
        assert!(pending.of(&bob).is_none());
        let wait = || tokio::spawn(pending.of(&alice).unwrap().ended());
        let (second, third) = (wait(), wait());
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        first.end(Some(Cause::ProviderDown(None)));
        for heard in [second, third] {
            assert!(matches!(heard.await.unwrap(), Some(Cause::ProviderDown(None))));
        }
        assert!(pending.of(&alice).is_none());
    }

    #[tokio::test]
    async fn one_that_is_dropped_keeps_nobody_and_takes_no_other_away() {
        let pending = Pending::default();
        let alice = Subject::stranger("a");
        let (first, waiting) = (pending.begin(&alice), pending.of(&alice).unwrap());
        let second = pending.begin(&alice);
        drop(first);
        assert!(waiting.ended().await.is_none());
        assert!(pending.of(&alice).is_some());
        drop(second);
        assert!(pending.of(&alice).is_none());
    }
}
