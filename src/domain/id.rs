//! Identifiers that nobody can guess, and the short reference people read to their help desk.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// 128 random bits, written as 22 characters of base64url. Whoever knows one may use it, so `Debug` hides it.
macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// From bytes of a cryptographic random source.
            pub const fn from_random(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                if text.len() != 22 {
                    return Err(NotAnId);
                }
                let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotAnId)?;
                bytes.try_into().map(Self).map_err(|_| NotAnId)
            }
        }
    };
}

random_id! {
    /// Names one challenge; who holds it may type a code for it.
    ChallengeId
}
random_id! {
    /// Names one session. Alone it opens nothing: a signature over it does.
    SessionId
}

/// The text is not an identifier of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an identifier")]
pub struct NotAnId;

/// A short id on a page, in the log and in the audit trail, by which a help desk finds what happened.
/// Forty bits as eight characters without look-alikes (Crockford's base 32), `K7QX-2MHD`. It opens nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reference([u8; 8]);

pub(super) const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl Reference {
    /// From five random bytes.
    pub fn from_random(bytes: [u8; 5]) -> Self {
        let bits = bytes.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
        Self(std::array::from_fn(|place| ALPHABET[(bits >> (35 - 5 * place) & 31) as usize]))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = self.0.iter().map(|byte| char::from(*byte)).collect();
        write!(f, "{}-{}", &text[..4], &text[4..])
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Reference {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let kept = text.bytes().filter(|b| *b != b'-').map(|b| b.to_ascii_uppercase()).collect();
        in_alphabet(kept).map(Self)
    }
}

/// So many letters and digits, none of them a look-alike.
pub(super) fn in_alphabet<const LENGTH: usize>(kept: Vec<u8>) -> Result<[u8; LENGTH], NotAnId> {
    if kept.iter().any(|byte| !ALPHABET.contains(byte)) {
        return Err(NotAnId);
    }
    kept.try_into().map_err(|_| NotAnId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_nothing_else_does() {
        let id = ChallengeId::from_random([7; 16]);
        assert_eq!(id.to_string().parse::<ChallengeId>(), Ok(id));
        for text in
            ["", "BwcHBwcHBwcHBwcHBwcHB", "BwcHBwcHBwcHBwcHBwcHBwc", "BwcHBwcHBwcHBwcHBwcH/w", "éééééééééée"]
        {
            assert_eq!(text.parse::<ChallengeId>(), Err(NotAnId), "{text}");
        }
    }

    #[test]
    fn a_reference_is_short_and_reads_back() {
        let reference = Reference::from_random([0xff, 0x00, 0x12, 0x34, 0x56]);
        assert_eq!(reference.to_string().len(), 9);
        assert_eq!(reference.to_string().to_lowercase().parse(), Ok(reference));
        assert_eq!("O000-0000".parse::<Reference>(), Err(NotAnId));
    }

    #[test]
    fn debug_shows_no_id() {
        assert_eq!(format!("{:?}", SessionId::from_random([1; 16])), "SessionId(…)");
    }
}
