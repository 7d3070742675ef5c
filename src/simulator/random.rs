//! The simulators' random source: codes and identifiers nobody can guess from earlier ones.

use aws_lc_rs::rand;

/// A code of `length` decimal digits, each equally likely.
pub(super) fn code(length: u8) -> String {
    let mut code = String::new();
    while code.len() < usize::from(length) {
        let [byte] = bytes();
        // 250 is the largest multiple of ten a byte can hold: the rest would favour the low digits.
        if byte < 250 {
            code.push(char::from(b'0' + byte % 10));
        }
    }
    code
}

/// An identifier in Twilio's form: two letters and 32 hexadecimal digits.
pub(super) fn sid(prefix: &str) -> String {
    format!("{prefix}{}", hexadecimal())
}

/// 32 hexadecimal digits.
pub(super) fn hexadecimal() -> String {
    format!("{:032x}", u128::from_be_bytes(bytes()))
}

/// A random UUID, version 4 of RFC 9562.
pub(super) fn uuid() -> String {
    let bits = u128::from_be_bytes(bytes());
    let digits = format!("{:032x}", bits & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62);
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    parts.join("-")
}

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the operating system always has randomness");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_has_the_asked_length_and_every_digit() {
        let codes: String = (0..200).map(|_| code(10)).collect();
        assert_eq!(codes.len(), 2000);
        assert!(('0'..='9').all(|digit| codes.contains(digit)));
        assert_eq!(code(4).len(), 4);
    }

    #[test]
    fn uuid_is_of_version_4() {
        let uuid = uuid();
        let lengths: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert!(uuid[14..15] == *"4" && "89ab".contains(&uuid[19..20]), "{uuid}");
    }

    #[test]
    fn sid_is_two_letters_and_32_hexadecimal_digits() {
        let sid = sid("VE");
        assert_eq!(sid.len(), 34);
        assert!(sid.starts_with("VE") && sid[2..].bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
