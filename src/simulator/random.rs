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
    format!("{prefix}{:032x}", u128::from_be_bytes(bytes()))
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
    fn sid_is_two_letters_and_32_hexadecimal_digits() {
        let sid = sid("VE");
        assert_eq!(sid.len(), 34);
        assert!(sid.starts_with("VE") && sid[2..].bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
