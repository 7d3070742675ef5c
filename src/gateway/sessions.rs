//! Tokens this thread has seen verified, by their bytes: a known one costs a look-up, no parsing and no cryptography.

use std::cell::RefCell;
use std::collections::HashMap;

use super::BackOffice;
use crate::access::sessions::Unusable;
use crate::domain::policy::Cause;
use crate::domain::time::Timestamp;
use crate::pages::problem::Refusal;
use crate::proxy::Proved;

/// One thread's table of verified tokens. The keys are hashed with a random seed: nobody can aim at one bucket.
#[derive(Debug, Default)]
pub(super) struct KnownSessions {
    table: RefCell<HashMap<Box<[u8]>, Proved, ahash::RandomState>>,
}

/// So many tokens are remembered; beyond that all are learned anew.
const MOST: usize = 65_536;

impl KnownSessions {
    /// The session of a token that was verified before, used at `now`; or why it is over. None where that cannot be
    /// said from memory.
    pub(super) fn known(&self, token: &[u8], now: Timestamp) -> Option<Result<Proved, Cause>> {
        let table = self.table.borrow();
        let proved = table.get(token)?;
        let unusable = match proved.session().touch(now) {
            Ok(()) => return Some(Ok(proved.clone())),
            Err(unusable) => unusable,
        };
        drop(table);
        if unusable == Unusable::CutOff {
            return None;
        }
        self.table.borrow_mut().remove(token);
        match unusable {
            Unusable::Over(end) => Some(Err(Cause::SessionEnded(end))),
            Unusable::Unread | Unusable::CutOff => None,
        }
    }

    /// Verifies a token seen for the first time.
    pub(super) async fn learn(
        &self,
        token: &[u8],
        now: Timestamp,
        office: &BackOffice,
    ) -> Result<Result<Proved, Cause>, Refusal> {
        let session = match office.find(token, now).await? {
            Ok(session) => session,
            Err(cause) => return Ok(Err(cause)),
        };
        match session.touch(now) {
            Ok(()) => {}
            Err(Unusable::Over(end)) => return Ok(Err(Cause::SessionEnded(end))),
            Err(Unusable::Unread | Unusable::CutOff) => return Err(Refusal::SessionUnconfirmed),
        }
        let proved = Proved::new(session);
        let mut table = self.table.borrow_mut();
        if table.len() >= MOST {
            table.clear();
        }
        table.insert(token.into(), proved.clone());
        Ok(Ok(proved))
    }

    /// Forgets tokens whose session is over.
    pub(super) fn tidy(&self, now: Timestamp) {
        let is_kept = |proved: &Proved| matches!(proved.session().judge(now), Ok(()) | Err(Unusable::CutOff));
        self.table.borrow_mut().retain(|_, proved| is_kept(proved));
    }
}
