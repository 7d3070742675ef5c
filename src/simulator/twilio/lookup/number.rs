//! A number as a look-up reads it. It knows few countries, and says so rather than guess.

/// A number, valid or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::simulator::twilio) struct Number {
    /// With its sign, as far as it is a number at all.
    pub(in crate::simulator::twilio) e164: String,
    pub(super) country: Option<&'static Country>,
    pub(super) national: Option<String>,
    /// In the vendor's word, why it cannot be one.
    pub(super) error: Option<&'static str>,
}

/// A country by its calling code. The vendor tells those that share one apart; nothing here depends on it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Country {
    pub(super) calling_code: &'static str,
    pub(super) name: &'static str,
    /// Dialled before a national number.
    trunk: &'static str,
}

/// Reads a path's last segment: a number in E.164, or a North American one without its country.
pub(in crate::simulator::twilio) fn read(segment: &str) -> Number {
    let text = segment.replace("%2B", "+").replace("%2b", "+");
    let e164 = if text.starts_with('+') { text } else { format!("+1{text}") };
    let error = error(&e164[1..]);
    let country = COUNTRIES.iter().find(|country| e164[1..].starts_with(country.calling_code));
    let country = country.filter(|_| error.is_none());
    let national = country.map(|country| national(country, &e164[1 + country.calling_code.len()..]));
    Number { e164, country, national, error }
}

fn error(digits: &str) -> Option<&'static str> {
    let north_american = digits.starts_with('1');
    let (shortest, longest) = if north_american { (11, 11) } else { (7, 15) };
    match digits.len() {
        _ if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) => Some("NOT_A_NUMBER"),
        _ if digits.starts_with('0') => Some("INVALID_COUNTRY_CODE"),
        length if length < shortest => Some("TOO_SHORT"),
        length if length > longest => Some("TOO_LONG"),
        _ => None,
    }
}

/// Only North American numbers are grouped.
fn national(country: &Country, rest: &str) -> String {
    match rest.split_at_checked(6) {
        Some((front, line)) if country.calling_code == "1" => {
            format!("({}) {}-{line}", &front[..3], &front[3..])
        }
        _ => format!("{}{rest}", country.trunk),
    }
}

const fn country(calling_code: &'static str, name: &'static str, trunk: &'static str) -> Country {
    Country { calling_code, name, trunk }
}

const COUNTRIES: &[Country] = &[
    country("1", "US", ""),
    country("31", "NL", "0"),
    country("33", "FR", "0"),
    country("34", "ES", ""),
    country("39", "IT", ""),
    country("41", "CH", "0"),
    country("43", "AT", "0"),
    country("44", "GB", "0"),
    country("45", "DK", ""),
    country("46", "SE", "0"),
    country("47", "NO", ""),
    country("48", "PL", ""),
    country("49", "DE", "0"),
    country("55", "BR", ""),
    country("57", "CO", ""),
    country("61", "AU", "0"),
    country("81", "JP", "0"),
    country("91", "IN", "0"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_in_each_spelling() {
        for spelling in ["+14155550100", "%2B14155550100", "%2b14155550100", "4155550100"] {
            let number = read(spelling);
            assert_eq!((number.e164.as_str(), number.error), ("+14155550100", None), "{spelling}");
            assert_eq!(number.national.as_deref(), Some("(415) 555-0100"));
            assert_eq!(number.country.map(|country| country.name), Some("US"));
        }
        assert_eq!(read("+447772000001").national.as_deref(), Some("07772000001"));
        let far_away = read("+685720000");
        assert_eq!((far_away.country, far_away.national, far_away.error), (None, None, None));
    }

    #[test]
    fn what_cannot_be_a_number_says_why() {
        let error = |text| read(text).error;
        assert_eq!(error("+141599299600"), Some("TOO_LONG"));
        assert_eq!(error("+1415555"), Some("TOO_SHORT"));
        assert_eq!(error("+44777"), Some("TOO_SHORT"));
        assert_eq!(error("+0415555010"), Some("INVALID_COUNTRY_CODE"));
        assert_eq!(error("ada"), Some("NOT_A_NUMBER"));
        assert_eq!(error("+"), Some("NOT_A_NUMBER"));
        assert_eq!(read("+141599299600").country, None);
    }
}
