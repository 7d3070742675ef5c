//! A restart that nobody notices: the next process takes the listening sockets over, and when it says that it is ready
//! this one finishes what is under way.
//!
//! The next process is given the sockets as the service manager would give them, and one more, over which the two speak a
//! byte at a time: it asks for the store, is given it, and says that it is ready. When it ends before that, everything is
//! as it was.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use super::Gateway;
use crate::server::passed::{Passed, WORD};
use crate::service_manager;
use crate::store::StoreError;

/// Give me the store.
const ASK: u8 = b'S';
/// It is yours.
const GIVE: u8 = b'G';
/// I serve.
const READY: u8 = b'R';

/// The next process is ready in so long, or not at all. It may have a large store to look through.
const PATIENCE: Duration = Duration::from_secs(120);

/// The store has so long to take what is only in memory.
const CATCH_UP: Duration = Duration::from_secs(10);

/// It has so long to say why it ends.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Why the gateway goes on by itself.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The next process cannot be started.
    #[error("the next process cannot be started: {0}")]
    Start(io::Error),
    /// It ended.
    #[error("the next process ended before it was ready; its own last lines say why")]
    Ended,
    /// It took too long.
    #[error("the next process was not ready in time and was ended; its own last lines may say why")]
    Late,
    /// The next process did not become ready, and the store is somebody else's by now.
    #[error("the next process did not take over, and the store is not ours any more: {0}")]
    Store(StoreError),
}

impl HandoverError {
    /// Whether the gateway cannot go on: whoever has the store now takes it to be alone with it.
    pub const fn is_the_end(&self) -> bool {
        matches!(self, Self::Store(_))
    }
}

/// How a handover went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandedOver {
    /// The next process serves; this one has to stop.
    Yes,
    /// The gateway was asked to end meanwhile.
    EndsInstead,
}

/// Has `next` (this program, with its arguments) take over.
pub fn hand_over(gateway: &mut Gateway, next: Command) -> Result<HandedOver, HandoverError> {
    let (word, theirs) = UnixStream::pair().map_err(HandoverError::Start)?;
    let mut child = start(gateway, next, theirs.into()).map_err(HandoverError::Start)?;
    let next_id = child.id();
    let spoken = gateway.speak(word);
    match spoken {
        Ok(Spoken::Ready) => {
            // From now on it is the one that is watched, and told.
            service_manager::main_process(next_id);
            Ok(HandedOver::Yes)
        }
        Ok(Spoken::Ended) => {
            end(child);
            Ok(HandedOver::EndsInstead)
        }
        Err(error) => {
            if matches!(error, HandoverError::Ended) {
                gateway.back_office.block_on(hear_out(&mut child));
            }
            end(child);
            gateway.foundation.store.claim_again().map_err(HandoverError::Store)?;
            Err(error)
        }
    }
}

enum Spoken {
    Ready,
    /// We were asked to end.
    Ended,
}

impl Gateway {
    /// Speaks with the next process until it is ready.
    fn speak(&mut self, word: UnixStream) -> Result<Spoken, HandoverError> {
        let (store, trail) =
            (self.foundation.store.clone(), (&self.foundation.sessions, &self.foundation.audit));
        let signals = &mut self.signals;
        let conversation = async {
            word.set_nonblocking(true).map_err(HandoverError::Start)?;
            let mut word = tokio::net::UnixStream::from_std(word).map_err(HandoverError::Start)?;
            hear(&mut word, ASK).await?;
            // What is only in memory is in the store before the next one looks.
            let written = async { trail.0.catch_up().await.and(trail.1.catch_up().await) };
            if !matches!(timeout(CATCH_UP, written).await, Ok(Ok(()))) {
                tracing::warn!("the next process starts without what the store does not take");
            }
            store.let_go();
            word.write_all(&[GIVE]).await.map_err(|_| HandoverError::Ended)?;
            hear(&mut word, READY).await
        };
        self.back_office.block_on(async {
            tokio::select! {
                biased;
                ready = timeout(PATIENCE, conversation) => {
                    ready.map_err(|_| HandoverError::Late)?.map(|()| Spoken::Ready)
                }
                () = signals.end() => Ok(Spoken::Ended),
            }
        })
    }
}

async fn hear(word: &mut tokio::net::UnixStream, expected: u8) -> Result<(), HandoverError> {
    match word.read_u8().await {
        Ok(said) if said == expected => Ok(()),
        Ok(_) | Err(_) => Err(HandoverError::Ended),
    }
}

fn start(gateway: &Gateway, mut next: Command, word: OwnedFd) -> io::Result<Child> {
    let mut names = Vec::new();
    let mut mappings = Vec::new();
    let kept =
        gateway.kept.iter().map(|kept| Ok::<_, io::Error>((kept.name.as_str(), kept.socket.try_clone()?)));
    for entry in kept.chain([Ok((WORD, word))]) {
        let (name, parent_fd) = entry?;
        // sd_listen_fds(3): they begin after standard error.
        let child_fd = 3 + i32::try_from(names.len()).map_err(io::Error::other)?;
        names.push(name);
        mappings.push(FdMapping { parent_fd, child_fd });
    }
    next.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
    // Both name this process.
    next.env_remove("LISTEN_PID").env_remove("WATCHDOG_PID");
    next.fd_mappings(mappings).map_err(io::Error::other)?;
    next.spawn()
}

/// One that ends has let go of the word before it has said why.
async fn hear_out(child: &mut Child) {
    let ended = async {
        while matches!(child.try_wait(), Ok(None)) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let _ = timeout(LAST_LINES, ended).await;
}

fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// The process before this one, which hands over.
#[derive(Debug)]
pub struct Predecessor(UnixStream);

impl Predecessor {
    /// Whoever started this process, if it wants to hand over.
    pub fn of(passed: &mut Passed) -> Option<Self> {
        passed.take_word().map(Self)
    }

    /// Asks for the store and waits until it is free. When the other does not answer, it is not, and opening it fails.
    pub fn ask_for_the_store(&mut self) -> io::Result<()> {
        self.0.set_read_timeout(Some(PATIENCE))?;
        self.0.write_all(&[ASK])?;
        let mut said = [0];
        self.0.read_exact(&mut said)?;
        if said == [GIVE] { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// From now on we serve.
    pub fn may_go(mut self) {
        let said = self.0.write_all(&[READY]).and_then(|()| self.0.shutdown(Shutdown::Both));
        if let Err(error) = said {
            tracing::warn!(%error, "the process before this one cannot be told to go");
        }
    }
}
