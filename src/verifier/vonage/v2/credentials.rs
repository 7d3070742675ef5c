//! How Vonage knows us: key and secret by HTTP Basic, or a token that the application's key signs for each call.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::RequestBuilder;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use crate::clock::Clock;
use crate::config::VonageCredentials;
use crate::verifier::vonage::common;

/// Key and secret, or an application.
#[derive(Debug)]
pub(super) enum Credentials {
    Key { user: String, secret: SecretString },
    Application(Application),
}

/// The text is no RSA private key.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotAKey;

impl Credentials {
    pub(super) fn new(settings: &VonageCredentials, clock: Arc<dyn Clock>) -> Result<Self, NotAKey> {
        Ok(match settings {
            VonageCredentials::Key(key) => Self::Key { user: key.user.clone(), secret: key.secret.clone() },
            VonageCredentials::Application { id, private_key } => {
                Self::Application(Application::new(id, private_key, clock)?)
            }
        })
    }

    pub(super) fn sign(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Key { user, secret } => request.basic_auth(user, Some(secret.expose_secret())),
            Self::Application(application) => request.bearer_auth(application.token()),
        }
    }
}

/// An application and the key that signs its tokens, read once.
pub(super) struct Application {
    id: String,
    key: RsaKeyPair,
    clock: Arc<dyn Clock>,
}

#[derive(Serialize)]
struct Claims<'a> {
    application_id: &'a str,
    iat: i64,
    exp: i64,
    jti: String,
}

/// How long a token is good.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

impl Application {
    fn new(id: &str, pem: &SecretString, clock: Arc<dyn Clock>) -> Result<Self, NotAKey> {
        let key = rsa_key(pem.expose_secret().as_bytes()).ok_or(NotAKey)?;
        let application = Self { id: id.to_owned(), key, clock };
        // A key that looks like one is only known to be one when it has signed.
        application.try_token().map_err(|_| NotAKey)?;
        Ok(application)
    }

    fn token(&self) -> String {
        self.try_token().expect("a key that has signed signs")
    }

    /// A JWT (RFC 7519) signed with RS256 (RFC 7518 section 3.3).
    fn try_token(&self) -> Result<String, Unspecified> {
        let now = self.clock.now();
        let claims = Claims {
            application_id: &self.id,
            iat: now.unix(),
            exp: (now + LIFETIME).unix(),
            jti: common::random_uuid(),
        };
        let claims = serde_json::to_vec(&claims).expect("texts and numbers are JSON");
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

const HEADER: &str = r#"{"typ":"JWT","alg":"RS256"}"#;

/// The key of a PEM text, in either frame: PKCS #1 (RFC 8017) or PKCS #8 (RFC 5958).
fn rsa_key(pem: &[u8]) -> Option<RsaKeyPair> {
    let key = PrivateKeyDer::from_pem_slice(pem).ok()?;
    if let PrivateKeyDer::Pkcs1(der) = &key {
        return RsaKeyPair::from_der(der.secret_pkcs1_der()).ok();
    }
    let PrivateKeyDer::Pkcs8(der) = &key else { return None };
    RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).ok()
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use aws_lc_rs::signature::KeyPair as _;
    use base64::engine::general_purpose::STANDARD;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};
    use serde_json::Value;

    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::time::Timestamp;

    const ID: &str = "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab";

    fn pem(label: &str, der: &[u8]) -> SecretString {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der)).into()
    }

    fn application(pem: &SecretString) -> Result<Application, NotAKey> {
        Application::new(ID, pem, Arc::new(ManualClock::at(Timestamp::from_unix(1_700_000_000))))
    }

    #[test]
    fn a_token_is_one_that_others_can_check() {
        let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let pkcs8 = key.as_der().unwrap();
        let application = application(&pem("PRIVATE KEY", pkcs8.as_ref())).unwrap();
        let token = application.token();
        assert_eq!(jsonwebtoken::decode_header(&token).unwrap().typ.as_deref(), Some("JWT"));
        let mut validation = Validation::new(Algorithm::RS256);
        validation.validate_exp = false;
        let public = DecodingKey::from_rsa_der(key.public_key().as_ref());
        let claims = jsonwebtoken::decode::<Value>(&token, &public, &validation).unwrap().claims;
        assert_eq!(claims["application_id"], ID);
        assert_eq!(claims["iat"], 1_700_000_000);
        assert_eq!(claims["exp"], 1_700_000_900);
        assert_eq!(claims["jti"].as_str().unwrap().len(), 36);
        assert_ne!(token, application.token(), "each has a name of its own");
        assert!(!format!("{application:?}").contains("key"));
    }

    /// PKCS #8 is a wrapping around PKCS #1 (RFC 5958 section 2).
    #[test]
    fn a_key_may_stand_in_either_frame() {
        let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let pkcs8 = key.as_der().unwrap();
        assert!(application(&pem("RSA PRIVATE KEY", &pkcs8.as_ref()[26..])).is_ok());
        for nonsense in [
            pem("PUBLIC KEY", key.public_key().as_ref()),
            pem("PRIVATE KEY", b"nonsense"),
            pem("RSA PRIVATE KEY", pkcs8.as_ref()),
            "a-secret-token".to_owned().into(),
        ] {
            assert!(application(&nonsense).is_err());
        }
    }
}
