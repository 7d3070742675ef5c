//! The bearer tokens of version 2: which are taken, and why not the others.

use std::fmt;
use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;

use super::{Options, is_uuid};

/// The public half of an application's key.
#[derive(Clone)]
pub struct PublicKey(DecodingKey);

impl PublicKey {
    /// Reads the key from a PEM file's text.
    pub fn from_pem(pem: &[u8]) -> Result<Self, PublicKeyError> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| PublicKeyError)?;
        Ok(Self(DecodingKey::from_rsa_der(&der)))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey")
    }
}

/// The text is no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no PUBLIC KEY in PEM form")]
pub struct PublicKeyError;

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Invalid,
    Expired,
}

#[derive(Deserialize)]
struct Claims {
    application_id: String,
    iat: u64,
    jti: String,
    exp: u64,
}

/// Takes a token that is well formed, of the pinned application and, when there is a key, signed with it.
pub(super) fn admit(token: &str, options: &Options, now: SystemTime) -> Result<(), Refused> {
    let claims = open(token, options.public_key.as_ref()).ok_or(Refused::Invalid)?;
    let application_fits = options
        .application_id
        .as_deref()
        .is_none_or(|pinned| pinned.eq_ignore_ascii_case(&claims.application_id));
    let lifetime = claims.exp.checked_sub(claims.iat).map(Duration::from_secs);
    let lifetime_fits = lifetime.is_some_and(|lifetime| lifetime <= LONGEST);
    if !(is_uuid(&claims.application_id) && is_uuid(&claims.jti) && application_fits && lifetime_fits) {
        return Err(Refused::Invalid);
    }
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    if now >= Duration::from_secs(claims.exp) { Err(Refused::Expired) } else { Ok(()) }
}

fn open(token: &str, key: Option<&PublicKey>) -> Option<Claims> {
    let header = jsonwebtoken::decode_header(token).ok()?;
    if header.alg != Algorithm::RS256 {
        return None;
    }
    let opened = match key {
        Some(PublicKey(key)) => jsonwebtoken::decode(token, key, &signature_only()),
        None => jsonwebtoken::dangerous::insecure_decode(token),
    };
    opened.ok().map(|opened| opened.claims)
}

/// The claims are judged by the simulator's own rules and time.
fn signature_only() -> Validation {
    let mut validation = Validation::new(Algorithm::RS256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use rcgen::{KeyPair, PKCS_RSA_SHA256, SigningKey as _};
    use serde_json::{Value, json};

    use super::*;

    const APPLICATION: &str = "aaaaaaaa-bbbb-cccc-dddd-0123456789ab";
    const NOW: u64 = 1_700_000_000;

    fn claims() -> Value {
        json!({
            "application_id": APPLICATION, "iat": NOW - 1, "exp": NOW + 900,
            "jti": "c11236f4-00bf-4b89-84ba-88b25df97315",
        })
    }

    fn token(algorithm: &str, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(&json!({"alg": algorithm, "typ": "JWT"})), encode(claims));
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(sign(message.as_bytes())))
    }

    fn unsigned(claims: &Value) -> String {
        token("RS256", claims, |_| vec![0; 256])
    }

    fn judge(token: &str, options: &Options) -> Result<(), Refused> {
        admit(token, options, SystemTime::UNIX_EPOCH + Duration::from_secs(NOW))
    }

    #[test]
    fn without_a_key_the_claims_decide() {
        let open = Options::default();
        assert_eq!(judge(&unsigned(&claims()), &open), Ok(()));
        let with = |name: &str, value: Value| {
            let mut changed = claims();
            changed[name] = value;
            judge(&unsigned(&changed), &open)
        };
        assert_eq!(with("exp", json!(NOW)), Err(Refused::Expired));
        assert_eq!(with("exp", json!(NOW + 86_400)), Err(Refused::Invalid), "longer than a day");
        assert_eq!(with("exp", json!(NOW - 2)), Err(Refused::Invalid), "before it was made");
        assert_eq!(with("exp", Value::Null), Err(Refused::Invalid));
        assert_eq!(with("jti", json!("1")), Err(Refused::Invalid));
        assert_eq!(with("application_id", json!("my application")), Err(Refused::Invalid));
        assert_eq!(judge(&token("HS256", &claims(), |_| vec![0; 32]), &open), Err(Refused::Invalid));
        assert_eq!(judge("a.b.c", &open), Err(Refused::Invalid));
    }

    #[test]
    fn an_application_can_be_pinned() {
        let pinned = |id: &str| Options { application_id: Some(id.to_owned()), ..Options::default() };
        assert_eq!(judge(&unsigned(&claims()), &pinned(APPLICATION)), Ok(()));
        let other = pinned("00000000-bbbb-cccc-dddd-0123456789ab");
        assert_eq!(judge(&unsigned(&claims()), &other), Err(Refused::Invalid));
    }

    #[test]
    fn with_a_key_the_signature_decides() {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key is made");
        let public_key = PublicKey::from_pem(key.public_key_pem().as_bytes()).expect("it is PEM");
        let options = Options { public_key: Some(public_key), ..Options::default() };
        let signed = token("RS256", &claims(), |message| key.sign(message).expect("it signs"));
        assert_eq!(judge(&signed, &options), Ok(()));
        assert_eq!(judge(&unsigned(&claims()), &options), Err(Refused::Invalid));
        let other = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key is made");
        let forged = token("RS256", &claims(), |message| other.sign(message).expect("it signs"));
        assert_eq!(judge(&forged, &options), Err(Refused::Invalid));
    }

    #[test]
    fn only_a_public_key_is_one() {
        assert!(
            PublicKey::from_pem(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").is_err()
        );
        assert!(PublicKey::from_pem(b"").is_err());
    }
}
