//! How telephone numbers are written.

/// `^\+[1-9]\d{6,14}$`: E.164 with its sign, as Twilio wants it.
pub(super) fn is_e164(number: &str) -> bool {
    number.strip_prefix('+').is_some_and(is_international)
}

/// The same without the sign, as Vonage wants it.
pub(super) fn is_international(number: &str) -> bool {
    let length_fits = (7..=15).contains(&number.len());
    length_fits && !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_e164_and_nothing_else() {
        assert!(is_e164("+14155550100") && is_e164("+1234567") && is_e164("+123456789012345"));
        for bad in ["14155550100", "+0415555010", "+123456", "+1234567890123456", "+1415555010a", "+", ""] {
            assert!(!is_e164(bad), "{bad}");
        }
        assert!(is_international("14155550100") && !is_international("+14155550100"));
    }
}
