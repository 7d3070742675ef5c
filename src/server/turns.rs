//! New connections of one thread take turns. A step of one costs as much as many requests, be it of the TLS handshake or
//! the first frames of HTTP/2, and whoever wants to can begin hundreds at once: one step is taken between two looks at
//! the sockets, so that a request waits for one at most; and clients come one after the other, so that a newcomer waits
//! for as many steps as there are clients, however many connections each has begun.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use tokio::sync::oneshot;
use tokio::task::yield_now;

use super::client::Client;

/// All steps are taken in turn.
pub(super) const ALL: usize = usize::MAX;

/// Who waits; no more than there are connections.
#[derive(Debug, Default)]
pub(super) struct Turns(RefCell<Queue>);

#[derive(Debug, Default)]
struct Queue {
    is_taken: bool,
    waiting: HashMap<Option<Client>, VecDeque<oneshot::Sender<Turn>>>,
    /// The keys of `waiting`, whose turn comes first at the front.
    clients: VecDeque<Option<Client>>,
}

/// The right to take one step, until it is dropped.
#[derive(Debug)]
struct Turn(Rc<Turns>);

impl Drop for Turn {
    fn drop(&mut self) {
        let next = self.0.0.borrow_mut().next();
        if let Some(next) = next {
            // Who has just gone away drops it, and it comes here again.
            let _ = next.send(Self(self.0.clone()));
        }
    }
}

impl Queue {
    /// Who is next; without anybody, the turn is free.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        while let Some(client) = self.clients.pop_front() {
            let Some(waiting) = self.waiting.get_mut(&client) else { continue };
            while waiting.front().is_some_and(oneshot::Sender::is_closed) {
                waiting.pop_front();
            }
            let next = waiting.pop_front();
            if waiting.is_empty() {
                self.waiting.remove(&client);
            } else {
                self.clients.push_back(client);
            }
            if next.is_some() {
                return next;
            }
        }
        self.is_taken = false;
        None
    }

    fn wait(&mut self, client: Option<Client>) -> oneshot::Receiver<Turn> {
        let (sender, receiver) = oneshot::channel();
        let waiting = self.waiting.entry(client).or_default();
        if waiting.is_empty() {
            self.clients.push_back(client);
        }
        waiting.push_back(sender);
        receiver
    }
}

impl Turns {
    /// Drives this client's work to its end: its first steps each in their turn, and the others whenever there is one to
    /// take. Those without a client count as one.
    pub(super) async fn take<F: Future>(
        self: &Rc<Self>,
        client: Option<Client>,
        first: usize,
        work: F,
    ) -> F::Output {
        let mut work = pin!(work);
        for _ in 0..first {
            let turn = self.turn(client).await;
            // After a look at the sockets, and after everything that they have for us.
            yield_now().await;
            let step = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
            drop(turn);
            if let Poll::Ready(output) = step {
                return output;
            }
            woken().await;
        }
        work.await
    }

    async fn turn(self: &Rc<Self>, client: Option<Client>) -> Turn {
        let waits = {
            let mut queue = self.0.borrow_mut();
            let is_taken = std::mem::replace(&mut queue.is_taken, true);
            is_taken.then(|| queue.wait(client))
        };
        match waits {
            // The sender is kept until it has sent.
            Some(waits) => waits.await.expect("whoever waits is handed the turn"),
            None => Turn(self.clone()),
        }
    }
}

/// Waits until the task is woken, by whatever it waits for.
async fn woken() {
    let mut is_first = true;
    poll_fn(|_| if std::mem::replace(&mut is_first, false) { Poll::Pending } else { Poll::Ready(()) }).await;
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::net::{IpAddr, Ipv4Addr};
    use std::pin::Pin;

    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    fn client(last: u8) -> Option<Client> {
        Some(Client::of(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))))
    }

    /// Work of so many steps, each written down under a name; it is woken at once after each.
    async fn steps(name: u8, count: usize, taken: Rc<RefCell<Vec<u8>>>) {
        for left in (0..count).rev() {
            taken.borrow_mut().push(name);
            if left > 0 {
                let mut is_first = true;
                poll_fn(|cx| {
                    cx.waker().wake_by_ref();
                    if std::mem::replace(&mut is_first, false) { Poll::Pending } else { Poll::Ready(()) }
                })
                .await;
            }
        }
    }

    async fn on_one_thread(test: impl Future<Output = ()>) {
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn a_newcomer_does_not_wait_for_all_of_another_client() {
        on_one_thread(async {
            let (turns, taken) = (Rc::<Turns>::default(), Rc::<RefCell<Vec<u8>>>::default());
            let begin = |last| {
                let (turns, taken) = (turns.clone(), taken.clone());
                spawn_local(async move { turns.take(client(last), ALL, steps(last, 2, taken)).await })
            };
            let mut all: Vec<_> = (0..100).map(|_| begin(1)).collect();
            all.extend([begin(2), begin(3)]);
            for one in all {
                one.await.unwrap();
            }
            let taken = taken.borrow();
            assert_eq!(taken.len(), 204);
            for newcomer in [2, 3] {
                let last = taken.iter().rposition(|name| *name == newcomer).unwrap();
                assert!(last < 10, "{newcomer} was done after {last} steps");
            }
            let queue = turns.0.borrow();
            assert!(!queue.is_taken && queue.waiting.is_empty() && queue.clients.is_empty(), "{queue:?}");
        })
        .await;
    }

    #[tokio::test]
    async fn a_network_of_ipv6_is_one_of_those_who_take_turns() {
        on_one_thread(async {
            let (turns, taken) = (Rc::<Turns>::default(), Rc::<RefCell<Vec<u8>>>::default());
            let begin = |name, address: String| {
                let (turns, taken) = (turns.clone(), taken.clone());
                let client = Some(Client::of(address.parse().unwrap()));
                spawn_local(async move { turns.take(client, ALL, steps(name, 1, taken)).await })
            };
            let mut all: Vec<_> = (0..100).map(|n| begin(1, format!("2001:db8::{n}"))).collect();
            all.push(begin(2, "2001:db8:0:1::1".to_owned()));
            for one in all {
                one.await.unwrap();
            }
            let newcomer = taken.borrow().iter().position(|name| *name == 2).unwrap();
            assert!(newcomer < 5, "after {newcomer} steps");
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_ready_runs_between_two_steps() {
        on_one_thread(async {
            let (turns, taken) = (Rc::<Turns>::default(), Rc::<RefCell<Vec<u8>>>::default());
            let ran = Rc::new(Cell::new(0));
            let request = spawn_local({
                let ran = ran.clone();
                async move {
                    loop {
                        ran.set(ran.get() + 1);
                        yield_now().await;
                    }
                }
            });
            let all: Vec<_> = (0..50)
                .map(|_| {
                    let (turns, taken) = (turns.clone(), taken.clone());
                    spawn_local(async move { turns.take(client(1), ALL, steps(1, 2, taken)).await })
                })
                .collect();
            for one in all {
                one.await.unwrap();
            }
            request.abort();
            assert!(ran.get() >= taken.borrow().len(), "{} beside {}", ran.get(), taken.borrow().len());
        })
        .await;
    }

    #[tokio::test]
    async fn later_steps_wait_for_nobody() {
        on_one_thread(async {
            let (turns, taken) = (Rc::<Turns>::default(), Rc::<RefCell<Vec<u8>>>::default());
            let turn = turns.turn(client(2)).await;
            let mut new = Box::pin(turns.take(client(1), 1, steps(1, 3, taken.clone())));
            assert!(is_waiting(new.as_mut()).await);
            assert!(taken.borrow().is_empty(), "it is not its turn");
            drop(turn);
            while taken.borrow().is_empty() {
                assert!(is_waiting(new.as_mut()).await);
                yield_now().await;
            }
            let _turn = turns.turn(client(2)).await;
            new.await;
            assert_eq!(taken.borrow().len(), 3);
        })
        .await;
    }

    async fn is_waiting(mut future: Pin<&mut impl Future>) -> bool {
        poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
    }

    #[tokio::test]
    async fn who_goes_away_keeps_nobody_waiting() {
        on_one_thread(async {
            let turns = Rc::<Turns>::default();
            let first = turns.turn(client(1)).await;
            let mut waiting: Vec<_> = (0..10_000).map(|_| Box::pin(turns.turn(client(1)))).collect();
            for one in &mut waiting {
                assert!(is_waiting(one.as_mut()).await);
            }
            let mut last = Box::pin(turns.turn(client(2)));
            assert!(is_waiting(last.as_mut()).await);
            // One of them goes after it was handed the turn, the others before.
            let handed = waiting.remove(0);
            drop(waiting);
            drop(first);
            drop(handed);
            drop(last.await);
            assert!(!turns.0.borrow().is_taken);
        })
        .await;
    }
}
