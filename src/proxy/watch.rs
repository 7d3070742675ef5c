//! A time limit that costs next to nothing while it is far away.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is set when it is first needed, and set again when it fires too early. It belongs to a connection, or
/// to what is rarer than requests, such as a body that its client keeps us waiting for: putting a timer up and taking it
/// down for each request costs more than all else that is done for it.
#[derive(Debug, Default)]
pub(super) struct Watch(Option<Pin<Box<Sleep>>>);

impl Watch {
    /// Returns once it is later than `due`, which may move on meanwhile.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, due: impl Fn() -> Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(due())));
        let first = due();
        if sleep.deadline() > first {
            sleep.as_mut().reset(first);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            let due = due();
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_waits_for_what_is_due_now_and_not_for_what_was() {
        let mut watch = Watch::default();
        let begin = Instant::now();
        let seconds = Duration::from_secs;
        poll_fn(|cx| watch.poll(cx, || begin + seconds(5))).await;
        assert_eq!(begin.elapsed().as_secs(), 5);
        // It was set to an earlier time, then to a later one.
        poll_fn(|cx| watch.poll(cx, || begin + seconds(60))).await;
        assert_eq!(begin.elapsed().as_secs(), 60);
        let far = begin + seconds(600);
        assert!(poll_fn(|cx| Poll::Ready(watch.poll(cx, || far))).await.is_pending());
        poll_fn(|cx| watch.poll(cx, || begin + seconds(70))).await;
        assert_eq!(begin.elapsed().as_secs(), 70);
    }
}
