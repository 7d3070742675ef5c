//! What an exchange stands on: a session that may end, or a rule that lets everybody pass.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::access::sessions::{LiveSession, Unusable};
use crate::clock::Clock;
use crate::domain::user::UserName;

/// For as long as it holds, bytes pass.
#[derive(Clone)]
pub(super) enum Standing {
    /// A session, and the clock its timeouts are read on: this thread's own hold of it, since a count that all threads
    /// share would be written by each request.
    /// With it how long it is believed here while the store is away, where that is shorter than elsewhere.
    Session(Arc<LiveSession>, Rc<Arc<dyn Clock>>, Option<Duration>),
    /// Nobody's, and nothing ends it.
    Open,
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(session, ..) => f.debug_tuple("Session").field(session).finish(),
            Self::Open => f.write_str("Open"),
        }
    }
}

impl Standing {
    pub(super) fn new(
        session: Option<&Arc<LiveSession>>,
        clock: &Rc<Arc<dyn Clock>>,
        grace: Option<Duration>,
    ) -> Self {
        session.map_or(Self::Open, |session| Self::Session(session.clone(), clock.clone(), grace))
    }

    /// Whether somebody ended it; timeouts are not looked at.
    pub(super) fn has_ended(&self) -> bool {
        match self {
            Self::Session(session, _, grace) => session.has_ended() || !session.is_believed(*grace),
            Self::Open => false,
        }
    }

    /// Whether it is over, by its timeouts too.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Session(session, clock, grace) => {
                session.is_over(clock.now()) || !session.is_believed(*grace)
            }
            Self::Open => false,
        }
    }

    /// Whose session it is.
    pub(super) fn user(&self) -> Option<&UserName> {
        match self {
            Self::Session(session, ..) => Some(session.user()),
            Self::Open => None,
        }
    }

    /// Uses it, unless it is over.
    pub(super) fn touch(&self) -> Result<(), Unusable> {
        match self {
            Self::Session(session, clock, _) => session.touch(clock.now()),
            Self::Open => Ok(()),
        }
    }

    /// Returns when it is over.
    pub(super) async fn over(&self) {
        match self {
            Self::Session(session, clock, None) => session.over(&***clock).await,
            Self::Session(session, clock, Some(grace)) => tokio::select! {
                () = session.over(&***clock) => {}
                () = session.unbelieved(*grace) => {}
            },
            Self::Open => std::future::pending().await,
        }
    }
}
