//! Phone numbers: read once from what people type, then only E.164.

use std::fmt;
use std::str::FromStr;

use phonenumber::country;

use super::line::LineKind;

/// An E.164 number, `+14155550100` (ITU-T E.164: at most fifteen digits). `Debug` and [`PhoneNumber::masked`]
/// show the last two digits only; the whole is had by asking for it with [`PhoneNumber::as_e164`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PhoneNumber(String);

/// A country as ISO 3166 writes it, `US`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Region(country::Id);

/// Where a number is from, as far as it tells: a few hundred words at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Country {
    /// The country, `US`.
    Region(Region),
    /// The calling code: of several countries, of none (satellites), or of a number that no plan knows.
    Code(u16),
    /// Neither.
    Unknown,
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Region(region) => write!(f, "{region:?}"),
            Self::Code(code) => write!(f, "+{code}"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// Why a typed number is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhoneError {
    /// It starts with no country and there is no default.
    #[error("the number needs its country, like +1 415 555 0100")]
    NeedsCountry,
    /// It is nothing one can call.
    #[error("not a phone number; write it with its country, like +1 415 555 0100")]
    Invalid,
}

/// Longest text that is looked at; the parser's time grows with its input.
const LONGEST_INPUT: usize = 64;

impl PhoneNumber {
    /// Reads a number as people write it, with spaces, brackets and dashes. Without a leading `+` it is taken to
    /// be of `default_region`.
    ///
    /// Slow (micro- to milliseconds, under a lock of the library's): never on the hot path.
    pub fn parse(text: &str, default_region: Option<Region>) -> Result<Self, PhoneError> {
        let text = text.trim();
        if text.is_empty() || text.len() > LONGEST_INPUT || !text.chars().all(is_phone_character) {
            return Err(PhoneError::Invalid);
        }
        // 00 is how most of the world dials "+".
        let international =
            text.strip_prefix("00").filter(|_| default_region.is_none()).map(|rest| format!("+{rest}"));
        let text = international.as_deref().unwrap_or(text);
        if !text.starts_with('+') && default_region.is_none() {
            return Err(PhoneError::NeedsCountry);
        }
        let number = phonenumber::parse(default_region.map(|region| region.0), text)
            .map_err(|_| PhoneError::Invalid)?;
        if number.extension().is_some() {
            return Err(PhoneError::Invalid);
        }
        number.format().mode(phonenumber::Mode::E164).to_string().parse()
    }

    /// The whole number. For the provider and the store; never for a log.
    pub fn as_e164(&self) -> &str {
        &self.0
    }

    /// What a page may show: the last two digits.
    pub fn masked(&self) -> String {
        mask(&self.0[self.0.len() - 2..])
    }

    /// The country it belongs to, where its code names just one or its digits tell.
    pub fn region(&self) -> Option<Region> {
        phonenumber::parse(None, &self.0).ok()?.country().id().map(Region)
    }

    /// The country it belongs to, or, where its digits do not tell, its calling code.
    pub fn country(&self) -> Country {
        let Ok(number) = phonenumber::parse(None, &self.0) else { return Country::Unknown };
        let country = number.country();
        country.id().map_or_else(|| Country::Code(country.code()), |id| Country::Region(Region(id)))
    }

    /// What kind of line its country's numbering plan says it is, where its digits tell.
    pub fn kind(&self) -> Option<LineKind> {
        use phonenumber::{Type, metadata::DATABASE};
        match phonenumber::parse(None, &self.0).ok()?.number_type(&DATABASE) {
            Type::FixedLine => Some(LineKind::Landline),
            Type::Mobile => Some(LineKind::Mobile),
            Type::PremiumRate
            | Type::SharedCost
            | Type::TollFree
            | Type::Uan
            | Type::Pager
            | Type::Voicemail
            | Type::PersonalNumber => Some(LineKind::Special),
            Type::FixedLineOrMobile
            | Type::Voip
            | Type::Emergency
            | Type::ShortCode
            | Type::StandardRate
            | Type::Carrier
            | Type::NoInternational
            | Type::Unknown => None,
        }
    }
}

/// Has the library read its tables, which its first use does else: 8 MB, and some 50 ms.
pub fn read_tables() {
    let _ = PhoneNumber::parse("+14155550100", None).map(|number| number.region());
}

/// What a page shows of a number that ends with these digits.
pub fn mask(last_digits: &str) -> String {
    format!("••• ••{last_digits}")
}

fn is_phone_character(c: char) -> bool {
    c.is_ascii_digit()
        || matches!(c, '+' | ' ' | '-' | '.' | '(' | ')' | '/' | '\u{a0}' | '\u{2010}'..='\u{2015}')
}

impl FromStr for PhoneNumber {
    type Err = PhoneError;

    /// Reads E.164 and nothing else.
    fn from_str(text: &str) -> Result<Self, PhoneError> {
        let digits = text.strip_prefix('+').ok_or(PhoneError::NeedsCountry)?;
        let well_formed = (7..=15).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit())
            && !digits.starts_with('0');
        if well_formed { Ok(Self(text.to_owned())) } else { Err(PhoneError::Invalid) }
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl FromStr for Region {
    type Err = NotARegion;

    fn from_str(text: &str) -> Result<Self, NotARegion> {
        text.trim().to_ascii_uppercase().parse().map(Self).map_err(|_| NotARegion)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The text is no country.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a country; write its two letters of ISO 3166, like \"US\" or \"DE\"")]
pub struct NotARegion;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn region(text: &str) -> Option<Region> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn people_write_numbers_in_many_ways() {
        for text in [
            "+14155550100",
            "+1 (415) 555-0100",
            " +1.415.555.0100 ",
            "+1\u{a0}415\u{a0}555\u{2011}0100",
            "0014155550100",
        ] {
            assert_eq!(PhoneNumber::parse(text, None).unwrap().as_e164(), "+14155550100", "{text}");
        }
        assert_eq!(PhoneNumber::parse("(415) 555-0100", region("us")).unwrap().as_e164(), "+14155550100");
        assert_eq!(PhoneNumber::parse("0151 23456789", region("DE")).unwrap().as_e164(), "+4915123456789");
        assert_eq!(PhoneNumber::parse("+1 415 555 0100", region("DE")).unwrap().as_e164(), "+14155550100");
    }

    #[test]
    fn a_number_has_a_country_or_a_calling_code() {
        for (number, country) in [
            ("+4915123456789", "DE"),
            ("+12025550123", "US"),
            ("+14165550123", "CA"),
            ("+441534123456", "JE"),
            ("+881612345678", "+881"),
            ("+999123456789", "unknown"),
        ] {
            let number: PhoneNumber = number.parse().unwrap();
            assert_eq!(number.country().to_string(), country, "{number:?}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "",
            "+",
            "12",
            "hello",
            "+1",
            "+0123456789",
            "+1415555010012345678",
            "4155550100;ext=7",
            "<script>",
        ] {
            assert!(PhoneNumber::parse(text, None).is_err(), "{text}");
        }
        assert_eq!(PhoneNumber::parse("4155550100", None), Err(PhoneError::NeedsCountry));
        assert_eq!(PhoneNumber::parse(&"1".repeat(100_000), region("US")), Err(PhoneError::Invalid));
    }

    #[test]
    fn a_page_and_a_log_see_two_digits() {
        let number: PhoneNumber = "+14155550199".parse().unwrap();
        assert_eq!(number.masked(), "••• ••99");
        assert_eq!(format!("{number:?}"), "••• ••99");
    }

    #[test]
    fn a_number_knows_its_country() {
        let number: PhoneNumber = "+4915123456789".parse().unwrap();
        assert_eq!(number.region(), region("DE"));
    }

    #[test]
    fn a_numbering_plan_tells_landlines_where_it_can() {
        let kind = |text: &str| text.parse::<PhoneNumber>().unwrap().kind();
        assert_eq!(kind("+4915123456789"), Some(LineKind::Mobile));
        assert_eq!(kind("+493012345678"), Some(LineKind::Landline));
        assert_eq!(kind("+14155550100"), None, "in North America the digits do not tell");
        assert_eq!(kind("+499001234567"), Some(LineKind::Special));
        assert_eq!(kind("+18005550100"), Some(LineKind::Special));
    }

    proptest! {
        #[test]
        fn no_input_panics_and_what_is_read_is_e164(text in "\\PC{0,70}") {
            if let Ok(number) = PhoneNumber::parse(&text, region("US")) {
                prop_assert_eq!(number.as_e164().parse::<PhoneNumber>().unwrap(), number);
            }
        }
    }
}
