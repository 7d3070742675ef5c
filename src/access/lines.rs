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
use crate::verifier::lookup::{Learned, Lookup};

/// Knows lines.
#[derive(Debug)]
pub struct Lines {
    store: Store,
    master: Arc<MasterKey>,
    /// Who is asked, and under which settings; nobody unless it is configured.
    lookup: Option<(Lookup, config::Lookup)>,
    /// How long an answer takes.
    pace: Pace,
    /// Whether the last question had no answer.
    fails: AtomicBool,
}

/// What became of a number.
#[derive(Clone, Copy, Debug)]
pub struct Judged {
    /// The channel for its code, or why it gets none.
    pub channel: Result<Channel, LineRefusal>,
    /// Whether a question was asked for it, which costs money.
    pub asked: bool,
}

/// What was never asked about a line, or too long ago.
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
    pub fn new(store: Store, master: Arc<MasterKey>, lookup: Option<(Lookup, config::Lookup)>) -> Self {
        Self { store, master, lookup, pace: Pace::default(), fails: AtomicBool::default() }
    }

    /// Whether they are asked about as these settings say.
    pub fn follow(&self, settings: Option<&config::Lookup>) -> bool {
        self.lookup.as_ref().map(|(_, settings)| settings) == settings
    }

    /// The channel for a code to this number, where `channel` was asked for.
    pub async fn judge(
        &self,
        number: &PhoneNumber,
        channel: Channel,
        offered: &[Channel],
        now: Timestamp,
    ) -> Result<Judged, StoreError> {
        let offline = offline(number).await;
        let (line, asked) = match &self.lookup {
            Some((lookup, settings)) => self.learn(number, lookup, settings, now).await?,
            None => (Line::default(), false),
        };
        if self.is_too_little(&line) {
            return Ok(Judged { channel: Err(LineRefusal::Unknown), asked });
        }
        let line = Line { kind: Some((line.kind().or(offline), now)), ..line };
        Ok(Judged { channel: line.judge(channel, offered), asked })
    }

    /// Whether the settings want to know more before a code goes anywhere.
    fn is_too_little(&self, line: &Line) -> bool {
        self.lookup.as_ref().is_some_and(|(_, settings)| {
            let silent = settings.line_type && line.kind().is_none()
                || settings.sim_swap && line.was_swapped().is_none();
            silent && settings.on_failure == OnFailure::Refuse
        })
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
        let line = Line { kind: Some((Some(LineKind::Mobile), now)), swapped: Some((Some(false), now)) };
        self.store.remember_line(key, line).await
    }

    /// What is known of a line once it was asked about, and whether it was.
    async fn learn(
        &self,
        number: &PhoneNumber,
        lookup: &Lookup,
        settings: &config::Lookup,
        now: Timestamp,
    ) -> Result<(Line, bool), StoreError> {
        let key = self.master.hash("line", number.as_e164());
        let known = self.known(&key, settings, now).await?;
        let gaps = Gaps::of(&known, settings);
        if !gaps.any() {
            return Ok((known, false));
        }
        let Some(learned) = self.ask(number, lookup, gaps).await else { return Ok((known, true)) };
        let line = Line {
            kind: known.kind.or_else(|| gaps.kind.then_some((learned.kind, now))),
            swapped: known.swapped.or_else(|| gaps.swap.then_some((learned.swapped, now))),
        };
        self.store.remember_line(key, line).await?;
        Ok((line, true))
    }

    async fn ask(&self, number: &PhoneNumber, lookup: &Lookup, gaps: Gaps) -> Option<Learned> {
        let since = Instant::now();
        let answer = lookup.ask(number, gaps.kind, gaps.swap).await;
        self.pace.note(since.elapsed());
        self.fails.store(answer.is_err(), Ordering::Relaxed);
        answer.inspect_err(|error| tracing::warn!(%error, "the number look-up could not be asked")).ok()
    }

    /// What was learned before and is still good.
    async fn known(&self, key: &str, settings: &config::Lookup, now: Timestamp) -> Result<Line, StoreError> {
        let line = self.store.line(key.to_owned()).await?;
        let lasts = |said: bool, lasts: Duration| if said { lasts } else { IN_VAIN_LASTS };
        Ok(Line {
            kind: line
                .kind
                .filter(|(kind, at)| is_fresh(*at, lasts(kind.is_some(), settings.line_type_lasts), now)),
            // A thief does not swap it back: once swapped, it is asked again only when the answer is old as well.
            swapped: line.swapped.filter(|(swapped, at)| {
                is_fresh(*at, lasts(swapped.is_some(), settings.sim_swap_lasts), now)
            }),
        })
    }
}

/// What the digits alone tell. Parsing takes up to milliseconds under a lock of the library's: not on a thread that
/// others wait for.
async fn offline(number: &PhoneNumber) -> Option<LineKind> {
    let number = number.clone();
    tokio::task::spawn_blocking(move || number.kind()).await.unwrap_or_default()
}
