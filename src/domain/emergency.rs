//! Emergency codes: what an administrator makes for somebody for whom no other way in is left.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::id::{ALPHABET, NotAnId, in_alphabet};

/// Eighty bits as sixteen characters without look-alikes (Crockford's base 32), `K7QX-2MHD-04ZV-9WJT`. Whoever knows it
/// may use it, once, so `Debug` hides it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EmergencyCode([u8; 16]);

/// How long a code may be good for at most.
pub const LONGEST_VALID: Duration = Duration::from_secs(86_400);

impl EmergencyCode {
    /// From ten bytes of a cryptographic random source.
    pub fn from_random(bytes: [u8; 10]) -> Self {
        let bits = bytes.iter().fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
        Self(std::array::from_fn(|place| ALPHABET[(bits >> (75 - 5 * place) & 31) as usize]))
    }

    /// Its characters in one piece, to be hashed.
    pub fn text(&self) -> String {
        self.0.iter().map(|byte| char::from(*byte)).collect()
    }
}

impl fmt::Display for EmergencyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        write!(f, "{}-{}-{}-{}", &text[..4], &text[4..8], &text[8..12], &text[12..])
    }
}

impl fmt::Debug for EmergencyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmergencyCode(…)")
    }
}

impl FromStr for EmergencyCode {
    type Err = NotAnId;

    /// As people type what was read out to them: any case, with or without dashes and spaces, O for 0 and I or L for 1.
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let kept: Vec<u8> = text
            .chars()
            .filter(|c| !c.is_whitespace() && *c != '-')
            .take(17)
            .map(|c| match c.to_ascii_uppercase() {
                'O' => Ok(b'0'),
                'I' | 'L' => Ok(b'1'),
                other => u8::try_from(other).map_err(|_| NotAnId),
            })
            .collect::<Result<_, _>>()?;
        in_alphabet(kept).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_however_it_is_typed_and_nothing_else_is() {
        let code = EmergencyCode::from_random([0xff, 0x00, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0x01]);
        let text = code.to_string();
        assert_eq!(text.len(), 19);
        assert!(text.parse() == Ok(code) && text.to_lowercase().replace('-', " ").parse() == Ok(code));
        assert_eq!("O0il-0000-0000-0000".parse::<EmergencyCode>(), "0011000000000000".parse());
        for wrong in
            ["", "K7QX-2MHD-04ZV-9WJ", "K7QX-2MHD-04ZV-9WJTT", "K7QX-2MHD-04ZV-9WJU", "éééééééééééééééé"]
        {
            assert_eq!(wrong.parse::<EmergencyCode>(), Err(NotAnId), "{wrong}");
        }
        assert_eq!(format!("{code:?}"), "EmergencyCode(…)");
    }

    #[test]
    fn all_bits_are_used() {
        let code = |bytes: [u8; 10]| EmergencyCode::from_random(bytes).text();
        let all: std::collections::HashSet<_> = (0..80)
            .map(|bit| {
                let mut bytes = [0; 10];
                bytes[bit / 8] = 1 << (bit % 8);
                code(bytes)
            })
            .collect();
        assert_eq!(all.len(), 80);
    }
}
