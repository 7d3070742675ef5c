//! The people the gateway knows.

use std::fmt;
use std::str::FromStr;

use super::phone::PhoneNumber;
use super::time::Timestamp;

/// A user's number in the store; never shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserId(pub i64);

/// A user's name in its one spelling: trimmed, ASCII, lower case. `Alice`, ` alice` and `ALICE` are one user.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName(String);

impl UserName {
    /// The name as it goes into a header field, a token and the log.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserName {
    type Err = NotAUserName;

    fn from_str(text: &str) -> Result<Self, NotAUserName> {
        let name = text.trim().to_ascii_lowercase();
        let allowed = |c: char| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-' | '@' | '+')
        };
        if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
            Err(NotAUserName)
        } else {
            Ok(Self(name))
        }
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text cannot be a user's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a user name; use 1 to 64 of the letters a to z, digits and . _ - @ +")]
pub struct NotAUserName;

/// One user, as the store holds them.
#[derive(Clone, Debug)]
pub struct User {
    /// Their number in the store.
    pub id: UserId,
    /// Their name, which the application behind gets.
    pub name: UserName,
    /// Where codes go; nobody else's.
    pub phone_number: PhoneNumber,
    /// When they first proved that they hold it.
    pub phone_verified_at: Option<Timestamp>,
    /// Off means that they cannot sign in: there is no second way in, and never a free pass.
    pub two_factor_enabled: bool,
    /// An administrator shut them out.
    pub disabled: bool,
    /// When they were added.
    pub created_at: Timestamp,
}

impl User {
    /// Whether a code may be sent to them.
    pub const fn may_sign_in(&self) -> bool {
        self.two_factor_enabled && !self.disabled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling() {
        for text in ["alice", "Alice", "  ALICE\t"] {
            assert_eq!(text.parse::<UserName>().unwrap().as_str(), "alice");
        }
        for text in ["", " ", "a b", "ａlice", "a\nb", "a:b", "älice", &"a".repeat(65)] {
            assert_eq!(text.parse::<UserName>(), Err(NotAUserName), "{text:?}");
        }
    }
}
