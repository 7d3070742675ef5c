//! What kind of line a number is: asked once, kept, and asked again when it is old. For a stranger it is pretended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::pace::Pace;
use crate::config::{self, OnFailure};
use crate::crypto::MasterKey;
use crate::domain::challenge::Subject;
use crate::domain::channel::Channel;
use crate::domain::line::{Line, LineKind, LineRefusal, is_fresh};
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
    /// How long an answer takes.
    pace: Pace,
    /// Whether the last question had no answer.
    fails: AtomicBool,
}

/// What is not known of a line, or no longer.
#[derive(Clone, Copy, Debug)]
struct Gaps {
    kind: bool,
    swap: bool,
}

impl Gaps {
    fn of(line: &Line, settings: &config::Lookup) -> Self {
        Self {
            kind: settings.line_type && line.kind.is_none(),
            swap: settings.sim_swap && line.swapped.is_none(),
        }
    }

    const fn any(self) -> bool {
        self.kind || self.swap
    }
}

/// What could not be said is not asked again for so long: each question costs money.
const IN_VAIN_LASTS: Duration = Duration::from_secs(3_600);

impl Lines {
    /// Lines as far as anybody is asked about them.
    pub fn new(
        store: Arc<dyn Store>,
        master: Arc<MasterKey>,
        lookup: Option<(Lookup, config::Lookup)>,
    ) -> Self {
        Self { store, master, lookup, pace: Pace::default(), fails: AtomicBool::default() }
    }

    /// The channel for a code to this number, where `channel` was asked for.
    pub async fn judge(
        &self,
        number: &PhoneNumber,
        channel: Channel,
        offered: &[Channel],
        now: Timestamp,
    ) -> Result<Result<Channel, LineRefusal>, StoreError> {
        let offline = offline(number).await;
        let known = match &self.lookup {
            Some((lookup, settings)) => self.learn(number, lookup, settings, now).await?,
            None => Some(Line::default()),
        };
        let Some(line) = known else { return Ok(Err(LineRefusal::Unknown)) };
        Ok(Line { kind: line.kind.or_else(|| Some((offline?, now))), ..line }.judge(channel, offered))
    }

    /// What a stranger waits for: as long as an answer takes, when nothing would be known.
    pub async fn pretend(&self, subject: &Subject, now: Timestamp) -> Result<(), StoreError> {
        let Some((_, settings)) = &self.lookup else { return Ok(()) };
        let key = self.master.hash("line", subject.as_str());
        let line = self.known(&key, settings, now).await?;
        if !Gaps::of(&line, settings).any() {
            return Ok(());
        }
        self.pace.imitate(Instant::now()).await;
        if self.fails.load(Ordering::Relaxed) {
            // A known person's is asked about again the next time.
            return Ok(());
        }
        let line = Line { kind: Some((LineKind::Mobile, now)), swapped: Some((false, now)), in_vain: None };
        self.store.remember_line(key, line).await
    }

    /// What is known of a line once it was asked about; `None` when the settings want to know more.
    async fn learn(
        &self,
        number: &PhoneNumber,
        lookup: &Lookup,
        settings: &config::Lookup,
        now: Timestamp,
    ) -> Result<Option<Line>, StoreError> {
        let key = self.master.hash("line", number.as_e164());
        let mut line = self.known(&key, settings, now).await?;
        let gaps = Gaps::of(&line, settings);
        if gaps.any() && line.in_vain.is_none() && self.ask(number, lookup, gaps, &mut line, now).await {
            self.store.remember_line(key, line).await?;
        }
        let enough = settings.on_failure != OnFailure::Refuse || !Gaps::of(&line, settings).any();
        Ok(enough.then_some(line))
    }

    /// Fills the gaps; whether there was an answer.
    async fn ask(
        &self,
        number: &PhoneNumber,
        lookup: &Lookup,
        gaps: Gaps,
        line: &mut Line,
        now: Timestamp,
    ) -> bool {
        let since = Instant::now();
        let answer = lookup.ask(number, gaps.kind, gaps.swap).await;
        self.pace.note(since.elapsed());
        self.fails.store(answer.is_err(), Ordering::Relaxed);
        match answer {
            Ok(learned) => {
                line.kind = line.kind.or_else(|| learned.kind.map(|kind| (kind, now)));
                line.swapped = line.swapped.or_else(|| learned.swapped.map(|swapped| (swapped, now)));
                let silent = gaps.kind && line.kind.is_none() || gaps.swap && line.swapped.is_none();
                line.in_vain = silent.then_some(now);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the number look-up could not be asked");
                false
            }
        }
    }

    /// What was learned before and is still good.
    async fn known(&self, key: &str, settings: &config::Lookup, now: Timestamp) -> Result<Line, StoreError> {
        let line = self.store.line(key.to_owned()).await?;
        Ok(Line {
            kind: line.kind.filter(|(_, at)| is_fresh(*at, settings.line_type_lasts, now)),
            // A thief does not swap it back: once swapped, it is asked again only when the answer is old as well.
            swapped: line.swapped.filter(|(_, at)| is_fresh(*at, settings.sim_swap_lasts, now)),
            in_vain: line.in_vain.filter(|at| is_fresh(*at, IN_VAIN_LASTS, now)),
        })
    }
}

/// What the digits alone tell. Parsing takes up to milliseconds under a lock of the library's: not on a thread that
/// others wait for.
async fn offline(number: &PhoneNumber) -> Option<LineKind> {
    let number = number.clone();
    tokio::task::spawn_blocking(move || number.kind()).await.unwrap_or_default()
}
