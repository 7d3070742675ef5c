//! Messages that are being sent at this moment: whoever asks for the same meanwhile waits for what becomes of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::domain::challenge::Subject;

/// The messages under way, by whose they are.
#[derive(Debug, Default)]
pub(super) struct Pending {
    under_way: Arc<Mutex<HashMap<Subject, watch::Receiver<()>>>>,
}

/// Whether somebody sends already.
#[derive(Debug)]
pub(super) enum Turn {
    /// Nobody: others wait until this is dropped.
    First(#[expect(dead_code, reason = "it works by being held")] Sending),
    /// Somebody: it can be waited for.
    Later(watch::Receiver<()>),
}

/// One message under way; dropping it lets those who wait go on.
#[derive(Debug)]
pub(super) struct Sending {
    under_way: Arc<Mutex<HashMap<Subject, watch::Receiver<()>>>>,
    subject: Subject,
    _ends: watch::Sender<()>,
}

impl Pending {
    pub(super) fn enter(&self, subject: &Subject) -> Turn {
        let mut under_way = self.under_way.lock().expect("nobody panics while holding it");
        if let Some(other) = under_way.get(subject) {
            return Turn::Later(other.clone());
        }
        let (ends, end) = watch::channel(());
        under_way.insert(subject.clone(), end);
        Turn::First(Sending { under_way: self.under_way.clone(), subject: subject.clone(), _ends: ends })
    }
}

impl Turn {
    /// Whether somebody was first.
    pub(super) const fn is_later(&self) -> bool {
        matches!(self, Self::Later(_))
    }

    /// Waits until whoever was first is done; at once for the first.
    pub(super) async fn ended(self) {
        if let Self::Later(mut other) = self {
            while other.changed().await.is_ok() {}
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.under_way.lock().expect("nobody panics while holding it").remove(&self.subject);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_waits_for_the_first_and_others_do_not() {
        let pending = Pending::default();
        let (alice, bob) = (Subject::stranger("a"), Subject::stranger("b"));
        let first = pending.enter(&alice);
        assert!(matches!(first, Turn::First(_)));
        assert!(matches!(pending.enter(&bob), Turn::First(_)));
        let second = tokio::spawn(pending.enter(&alice).ended());
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        second.await.unwrap();
        assert!(matches!(pending.enter(&alice), Turn::First(_)));
    }
}
