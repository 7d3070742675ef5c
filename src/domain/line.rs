//! What kind of line a number is, and whether codes may go to it.

use std::time::Duration;

use super::channel::Channel;
use super::time::Timestamp;

/// What kind of line a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// Gets messages and calls; also every line of which nothing else is known.
    Mobile,
    /// Gets calls only.
    Landline,
    /// A number of an internet telephone company, bound to an address.
    FixedVoip,
    /// A number that anybody gets from an app.
    NonFixedVoip,
    /// A call to it costs more than usual, or somebody else: premium, toll-free, shared cost and their like.
    Special,
}

impl LineKind {
    /// The word for it in store and audit trail.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mobile => "mobile",
            Self::Landline => "landline",
            Self::FixedVoip => "fixed_voip",
            Self::NonFixedVoip => "non_fixed_voip",
            Self::Special => "special",
        }
    }

    /// Reads it back; of what is unknown nothing is known.
    pub fn from_stored(text: &str) -> Option<Self> {
        let all = [Self::Mobile, Self::Landline, Self::FixedVoip, Self::NonFixedVoip, Self::Special];
        all.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What a look-up said of a line, and when; each part is asked for, kept and outdated alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// What kind it is; nothing where that could not be said.
    pub kind: Option<(Option<LineKind>, Timestamp)>,
    /// Whether its SIM was swapped lately; nothing where that could not be said.
    pub swapped: Option<(Option<bool>, Timestamp)>,
}

/// Why no code goes to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineRefusal {
    /// It is of a kind that gets none.
    Kind(LineKind),
    /// It is a landline, and calls are not offered.
    NoCalls,
    /// Its SIM was swapped lately: whoever holds the number now may be a thief.
    SimSwap,
    /// Nothing could be learned of it, and the settings say that it then gets none.
    Unknown,
}

impl LineRefusal {
    /// The words for it in log and audit trail.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kind(LineKind::NonFixedVoip) => "an internet telephone number of an app",
            Self::Kind(_) => "a number that gets no codes: premium, toll-free or the like",
            Self::NoCalls => "a landline, and calls are not offered",
            Self::SimSwap => "its SIM was swapped lately",
            Self::Unknown => "the number look-up could not be asked",
        }
    }
}

impl Line {
    /// What kind it is, where that is known.
    pub fn kind(&self) -> Option<LineKind> {
        self.kind.and_then(|(kind, _)| kind)
    }

    /// Whether its SIM was swapped lately, where that is known.
    pub fn was_swapped(&self) -> Option<bool> {
        self.swapped.and_then(|(swapped, _)| swapped)
    }

    /// The channel to use where `channel` was asked for, of those that are offered.
    pub fn judge(&self, channel: Channel, offered: &[Channel]) -> Result<Channel, LineRefusal> {
        if self.was_swapped() == Some(true) {
            return Err(LineRefusal::SimSwap);
        }
        match self.kind() {
            Some(kind @ (LineKind::NonFixedVoip | LineKind::Special)) => Err(LineRefusal::Kind(kind)),
            Some(LineKind::Landline) if !offered.contains(&Channel::Call) => Err(LineRefusal::NoCalls),
            Some(LineKind::Landline) => Ok(Channel::Call),
            Some(LineKind::Mobile | LineKind::FixedVoip) | None => Ok(channel),
        }
    }
}

/// Whether something learned at `at` is still good.
pub fn is_fresh(at: Timestamp, lasts: Duration, now: Timestamp) -> bool {
    at <= now && now.since(at) < lasts
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &[Channel] = &[Channel::Sms, Channel::Call];
    const THEN: Timestamp = Timestamp::from_unix(1_000);

    fn judge(kind: LineKind, offered: &[Channel]) -> Result<Channel, LineRefusal> {
        Line { kind: Some((Some(kind), THEN)), swapped: None }.judge(Channel::Sms, offered)
    }

    #[test]
    fn a_landline_is_called_and_odd_lines_get_nothing() {
        assert_eq!(judge(LineKind::Mobile, BOTH), Ok(Channel::Sms));
        assert_eq!(judge(LineKind::FixedVoip, BOTH), Ok(Channel::Sms));
        assert_eq!(judge(LineKind::Landline, BOTH), Ok(Channel::Call));
        assert_eq!(judge(LineKind::Landline, &[Channel::Sms]), Err(LineRefusal::NoCalls));
        for kind in [LineKind::NonFixedVoip, LineKind::Special] {
            assert_eq!(judge(kind, BOTH), Err(LineRefusal::Kind(kind)));
        }
        assert_eq!(Line::default().judge(Channel::Whatsapp, BOTH), Ok(Channel::Whatsapp));
    }

    #[test]
    fn a_swapped_sim_gets_no_code_by_any_way() {
        let line = Line { kind: Some((Some(LineKind::Landline), THEN)), swapped: Some((Some(true), THEN)) };
        assert_eq!(line.judge(Channel::Call, BOTH), Err(LineRefusal::SimSwap));
        let line = Line { swapped: Some((Some(false), THEN)), ..line };
        assert_eq!(line.judge(Channel::Sms, BOTH), Ok(Channel::Call));
    }

    #[test]
    fn knowledge_ages_and_none_comes_from_the_future() {
        let hour = Duration::from_secs(3_600);
        assert!(is_fresh(THEN, hour, Timestamp::from_unix(4_599)));
        assert!(!is_fresh(THEN, hour, Timestamp::from_unix(4_600)));
        assert!(!is_fresh(THEN, hour, Timestamp::from_unix(999)));
    }
}
