//! The session token: a signed JWT (RFC 7519) that names a session.
//!
//! One algorithm, keys by `kid` from our own keyring, and expiry judged against the `now` that is passed in
//! (RFC 8725 sections 3.1 to 3.11): nothing in the token chooses how it is checked.

use std::fmt;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::id::SessionId;
use super::session::Session;
use super::time::Timestamp;

/// A key that signs tokens.
pub struct SigningKey {
    kid: String,
    retired: bool,
    created_at: Timestamp,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl SigningKey {
    /// A key of 32 random bytes; a retired one opens and no longer signs.
    pub fn new(kid: String, secret: &[u8; 32], created_at: Timestamp, retired: bool) -> Self {
        let (encoding, decoding) = (EncodingKey::from_secret(secret), DecodingKey::from_secret(secret));
        Self { kid, retired, created_at, encoding, decoding }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// The newest key signs; the others still open what they signed, until it has expired.
#[derive(Debug)]
pub struct Keyring {
    keys: Vec<SigningKey>,
    validation: Validation,
}

/// What a token that was opened says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Which session it names.
    pub session: SessionId,
}

/// Why a token opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not one of ours, or changed since.
    #[error("not a token of ours")]
    Invalid,
    /// Its time has passed.
    #[error("the token has expired")]
    Expired,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    sid: String,
    amr: Vec<String>,
    auth_time: i64,
    exp: i64,
}

const ISSUER: &str = "vestibule";

impl Keyring {
    /// A keyring of at least one key.
    pub fn new(mut keys: Vec<SigningKey>) -> Option<Self> {
        // The one in use last: that is what the store says, whatever the clock said when they were made.
        keys.sort_by_key(|key| (!key.retired, key.created_at, key.kid.clone()));
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        validation.set_issuer(&[ISSUER]);
        (!keys.is_empty()).then_some(Self { keys, validation })
    }

    /// Signs a token for a session.
    pub fn sign(&self, session: &Session) -> String {
        let key = self.keys.last().expect("a keyring has a key");
        let header = Header { kid: Some(key.kid.clone()), ..Header::new(Algorithm::HS256) };
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: session.user.to_string(),
            sid: session.id.to_string(),
            amr: vec![session.method.clone()],
            auth_time: session.auth_time.unix(),
            exp: session.expires_at.unix(),
        };
        jsonwebtoken::encode(&header, &claims, &key.encoding).expect("a map of texts and numbers is signed")
    }

    /// Opens a token at `now`.
    pub fn open(&self, token: &[u8], now: Timestamp) -> Result<Opened, TokenError> {
        if token.len() > LONGEST {
            return Err(TokenError::Invalid);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        let kid = header.kid.ok_or(TokenError::Invalid)?;
        let key = self.keys.iter().find(|key| key.kid == kid).ok_or(TokenError::Invalid)?;
        let claims = jsonwebtoken::decode::<Claims>(token, &key.decoding, &self.validation)
            .map_err(|_| TokenError::Invalid)?
            .claims;
        let expires_at = Timestamp::from_unix(claims.exp);
        if now >= expires_at {
            return Err(TokenError::Expired);
        }
        let session = claims.sid.parse().map_err(|_| TokenError::Invalid)?;
        Ok(Opened { session })
    }
}

/// Ours are under 400 bytes.
const LONGEST: usize = 1_024;

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::user::UserId;

    const NOW: Timestamp = Timestamp::from_unix(1_000);

    fn session(user: &str) -> Session {
        Session {
            id: SessionId::from_random([9; 16]),
            user_id: UserId(1),
            user: user.parse().unwrap(),
            method: "sms".to_owned(),
            auth_time: NOW,
            expires_at: Timestamp::from_unix(2_000),
            last_seen_at: NOW,
            ended: None,
            client: String::new(),
        }
    }

    fn key(kid: &str, byte: u8, created: i64) -> SigningKey {
        SigningKey::new(kid.to_owned(), &[byte; 32], Timestamp::from_unix(created), false)
    }

    fn keyring() -> Keyring {
        Keyring::new(vec![key("b", 2, 20), key("a", 1, 10)]).unwrap()
    }

    #[test]
    fn a_token_opens_until_its_second() {
        let token = keyring().sign(&session("alice"));
        let opened = keyring().open(token.as_bytes(), Timestamp::from_unix(1_999)).unwrap();
        assert_eq!(opened.session, session("alice").id);
        assert_eq!(keyring().open(token.as_bytes(), Timestamp::from_unix(2_000)), Err(TokenError::Expired));
    }

    #[test]
    fn the_longest_name_stays_under_400_bytes() {
        let token = keyring().sign(&session(&"a".repeat(64)));
        assert!(token.len() < 400, "{}", token.len());
    }

    #[test]
    fn the_newest_key_signs_and_older_ones_still_open() {
        let old = Keyring::new(vec![key("a", 1, 10)]).unwrap().sign(&session("alice"));
        assert!(keyring().open(old.as_bytes(), NOW).is_ok());
        let new = keyring().sign(&session("alice"));
        let only_old = Keyring::new(vec![key("a", 1, 10)]).unwrap();
        assert_eq!(only_old.open(new.as_bytes(), NOW), Err(TokenError::Invalid));
        assert!(Keyring::new(Vec::new()).is_none());
    }

    #[test]
    fn what_the_token_says_of_its_own_check_is_not_believed() {
        let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let claims = part(
            r#"{"iss":"vestibule","sub":"alice","sid":"CQkJCQkJCQkJCQkJCQkJCQ","amr":["sms"],"auth_time":1,"exp":2000}"#,
        );
        for header in [
            r#"{"alg":"none","kid":"b"}"#,
            r#"{"alg":"None","kid":"b"}"#,
            r#"{"alg":"HS512","kid":"b"}"#,
            r#"{"alg":"RS256","kid":"b","jku":"https://evil.example/"}"#,
            r#"{"alg":"HS256","kid":"../../dev/null"}"#,
            r#"{"alg":"HS256"}"#,
        ] {
            for signature in ["", "AAAA"] {
                let token = format!("{}.{claims}.{signature}", part(header));
                assert_eq!(keyring().open(token.as_bytes(), NOW), Err(TokenError::Invalid), "{header}");
            }
        }
        for (name, value) in [("exp", "\"2000\""), ("exp", "null"), ("iss", "\"other\""), ("sid", "\"x\"")] {
            let mut body: serde_json::Value =
                serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&claims).unwrap()).unwrap();
            body[name] = serde_json::from_str(value).unwrap();
            let header = Header { kid: Some("b".to_owned()), ..Header::new(Algorithm::HS256) };
            let token = jsonwebtoken::encode(&header, &body, &EncodingKey::from_secret(&[2; 32])).unwrap();
            assert_eq!(keyring().open(token.as_bytes(), NOW), Err(TokenError::Invalid), "{name} {value}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_no_changed_token_opens(place in 0usize..250, byte in any::<u8>(), junk in any::<Vec<u8>>()) {
            let keyring = keyring();
            prop_assert!(keyring.open(&junk, NOW).is_err());
            let token = keyring.sign(&session("alice")).into_bytes();
            let mut changed = token.clone();
            let place = place % changed.len();
            changed[place] = byte;
            prop_assert_eq!(keyring.open(&changed, NOW).is_ok(), changed == token);
        }
    }
}
