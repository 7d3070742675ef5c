//! What both versions of Verify share: how they write numbers, brands and names of requests, and what comes second.

use std::time::Duration;

use crate::crypto;
use crate::domain::channel::Channel;
use crate::domain::phone::PhoneNumber;
use crate::domain::sending::{Pacing, Switch};

/// It looks at three codes for one that was sent.
pub(super) const MAX_CHECKS: u32 = 3;

/// How long a code works: less than it would, so that none ends under a person's hands.
pub(super) const LIFETIME: Duration = Duration::from_secs(600);

/// Seconds of one step of a workflow. The next is taken then without being asked for; a code that nobody typed is
/// cancelled before, once its life is over.
pub(super) const STEP: u16 = 690;

/// A request is cancelled half a minute after its start or later, and not after its second step. A little more, since
/// moments are whole seconds and a start takes its time.
pub(super) const SETTLED: Duration = Duration::from_secs(40);

/// Sooner than a request can be cancelled, all it can do is to take its second step, which ends it.
pub(super) fn pacing(second: Channel, to: Channel) -> Pacing {
    let switch = if to == second { Switch::Last } else { Switch::Waits };
    Pacing { after: SETTLED, switch }
}

/// A number as it wants it: E.164 without the plus.
pub(super) fn digits(number: &PhoneNumber) -> &str {
    number.as_e164().trim_start_matches('+')
}

/// A brand as it takes it: at most sixteen characters, without those it refuses.
pub(super) fn fit(brand: &str) -> String {
    let kept: String = brand.chars().filter(|c| !REFUSED.contains(c)).collect();
    let words: Vec<&str> = kept.split_whitespace().collect();
    let fitted: String = words.join(" ").chars().take(LONGEST_BRAND).collect();
    let fitted = fitted.trim_end();
    // A message must name somebody.
    if fitted.is_empty() { "Vestibule".to_owned() } else { fitted.to_owned() }
}

const REFUSED: [char; 5] = ['/', '{', '}', ':', '$'];
const LONGEST_BRAND: usize = 16;

/// The channel of a workflow's second step: the first other one that is offered, else the same again.
pub(super) fn second(first: Channel, offered: &[Channel]) -> Channel {
    offered.iter().copied().find(|other| *other != first).unwrap_or(first)
}

/// Sixteen random bytes, in hexadecimal digits.
pub(super) fn random_id() -> String {
    crypto::hexadecimal(&crypto::random::<16>())
}

/// A random UUID (RFC 9562 section 5.4).
pub(super) fn random_uuid() -> String {
    let mut bytes = crypto::random::<16>();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let parts = [&bytes[..4], &bytes[4..6], &bytes[6..8], &bytes[8..10], &bytes[10..]];
    parts.map(crypto::hexadecimal).join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brand_is_cut_to_what_it_takes() {
        for (brand, fitted) in [
            ("Acme", "Acme"),
            ("A {brand}: $1/2", "A brand 12"),
            ("An Office With A Long Name", "An Office With A"),
            ("Fifteen letters and more", "Fifteen letters"),
            ("Bürogemeinschaft Müller", "Bürogemeinschaft"),
            ("Acme / Office", "Acme Office"),
            ("{:}", "Vestibule"),
            ("", "Vestibule"),
        ] {
            assert_eq!(fit(brand), fitted, "{brand}");
        }
    }

    #[test]
    fn the_second_step_is_another_way_where_there_is_one() {
        use Channel::{Call, Sms, Whatsapp};
        assert_eq!(second(Sms, &[Sms, Call]), Call);
        assert_eq!(second(Call, &[Sms, Call]), Sms);
        assert_eq!(second(Whatsapp, &[Call, Whatsapp, Sms]), Call);
        assert_eq!(second(Sms, &[Sms]), Sms);
        assert_eq!(second(Call, &[]), Call);
    }

    #[test]
    fn a_random_uuid_is_one() {
        let uuid = random_uuid();
        assert_eq!(uuid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_eq!(&uuid[14..15], "4");
        assert!("89ab".contains(&uuid[19..20]), "{uuid}");
        assert_ne!(uuid, random_uuid());
    }
}
