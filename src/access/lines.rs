//! What kind of line a number is: asked once, kept, and asked again when it is old.

use std::sync::Arc;

use crate::config::{self, OnFailure};
use crate::crypto::MasterKey;
use crate::domain::channel::Channel;
use crate::domain::line::{Line, LineRefusal, is_fresh};
use crate::domain::phone::PhoneNumber;
use crate::domain::time::Timestamp;
use crate::store::{Store, StoreError};
use crate::verifier::lookup::Lookup;

/// Knows lines.
#[derive(Debug)]
pub struct Lines {
    store: Arc<dyn Store>,
    master: Arc<MasterKey>,
    /// Who is asked, and under which settings; nobody unless it is configured.
    lookup: Option<(Lookup, config::Lookup)>,
}

impl Lines {
    /// Lines as far as anybody is asked about them.
    pub fn new(
        store: Arc<dyn Store>,
        master: Arc<MasterKey>,
        lookup: Option<(Lookup, config::Lookup)>,
    ) -> Self {
        Self { store, master, lookup }
    }

    /// The channel for a code to this number, where `channel` was asked for.
    pub async fn judge(
        &self,
        number: &PhoneNumber,
        channel: Channel,
        offered: &[Channel],
        now: Timestamp,
    ) -> Result<Result<Channel, LineRefusal>, StoreError> {
        let offline = Line { kind: number.kind().map(|kind| (kind, now)), swapped: None };
        let Some((lookup, settings)) = &self.lookup else { return Ok(offline.judge(channel, offered)) };
        let key = self.master.hash("line", number.as_e164());
        let mut line = self.store.line(key.clone()).await?;
        line.kind = line.kind.filter(|(_, at)| is_fresh(*at, settings.line_type_lasts, now));
        // A thief does not swap it back: once swapped, it is asked again only when the answer is old as well.
        line.swapped = line.swapped.filter(|(_, at)| is_fresh(*at, settings.sim_swap_lasts, now));
        let wants_kind = settings.line_type && line.kind.is_none();
        let wants_swap = settings.sim_swap && line.swapped.is_none();
        if wants_kind || wants_swap {
            match lookup.ask(number, wants_kind, wants_swap).await {
                Ok(learned) => {
                    line.kind = line.kind.or_else(|| learned.kind.map(|kind| (kind, now)));
                    line.swapped = line.swapped.or_else(|| learned.swapped.map(|swapped| (swapped, now)));
                    self.store.remember_line(key, line).await?;
                }
                Err(error) => tracing::warn!(%error, "the number look-up could not be asked"),
            }
            let missing = (wants_kind && line.kind.is_none()) || (wants_swap && line.swapped.is_none());
            if missing && settings.on_failure == OnFailure::Refuse {
                return Ok(Err(LineRefusal::Unknown));
            }
        }
        let line = Line { kind: line.kind.or(offline.kind), ..line };
        Ok(line.judge(channel, offered))
    }
}
