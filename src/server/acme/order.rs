//! One order: who we are to the authority, what it wants to see, and what it issues.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AccountBuilder, AuthorizationHandle, AuthorizationStatus, CertificateIdentifier,
    ChallengeHandle, ChallengeType, Identifier, NewAccount, NewOrder, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use super::files;
use crate::config::{Acme, AcmeChallenge};
use crate::crypto;
use crate::domain::time::Timestamp;
use crate::server::tls::{Kept, Shown};
use crate::tls::TlsError;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum AcmeError {
    /// The authority said no, or is not there.
    #[error("{0}; look whether server.tls.acme.directory_url can be reached, and what it says")]
    Authority(#[from] instant_acme::Error),
    /// It does not offer what we can show.
    #[error("the authority does not offer the challenge {0} for {1}; choose another challenge")]
    NotOffered(&'static str, String),
    /// It looked, and did not see that the name is ours.
    #[error("the authority could not see that the names are ours: {0}; {1}")]
    NotSeen(String, &'static str),
    /// What is kept of our account cannot be read.
    #[error("{0}: {1}; put it back from a backup, or remove it: another account is made then")]
    Account(String, serde_json::Error),
    /// It took too long.
    #[error("the authority took too long")]
    Late,
    /// What is to be shown cannot be made.
    #[error("no certificate for the challenge: {0}")]
    Challenge(rcgen::Error),
    /// The same, by the other library.
    #[error("no certificate for the challenge: {0}")]
    ChallengeKey(rustls::Error),
    /// The state directory cannot be written.
    #[error("what was issued cannot be written down: {0}; look at the state directory")]
    Directory(io::Error),
    /// What was issued cannot be shown.
    #[error(transparent)]
    Certificate(TlsError),
}

/// When an authority wants a certificate renewed (RFC 9773).
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    begin: Timestamp,
    end: Timestamp,
    pub(super) ask_again: Duration,
}

impl Window {
    /// One moment of it, drawn by lot, so that not all come at once.
    pub(super) fn moment(&self, lot: u64) -> Timestamp {
        let width = (self.end.unix() - self.begin.unix()).max(1).unsigned_abs();
        self.begin + Duration::from_secs(lot % width)
    }

    pub(super) fn has(&self, moment: Timestamp) -> bool {
        self.begin <= moment && moment <= self.end
    }
}

/// Asks for the window of a certificate; none where the authority has no such thing.
pub(super) async fn suggested(acme: &Acme, kept: &Kept, shown: &Shown) -> Result<Option<Window>, AcmeError> {
    let leaf = CertificateDer::from(shown.leaf());
    let Ok(id) = CertificateIdentifier::try_from(&leaf) else { return Ok(None) };
    match account(acme, kept).await?.renewal_info(&id).await {
        Ok((info, ask_again)) => {
            let window = info.suggested_window;
            let (begin, end) = (window.start.unix_timestamp(), window.end.unix_timestamp());
            Ok(Some(Window { begin: Timestamp::from_unix(begin), end: Timestamp::from_unix(end), ask_again }))
        }
        Err(instant_acme::Error::Unsupported(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Has a certificate issued: its key and its chain, PEM. `old` is the one that it follows.
pub(super) async fn obtain(acme: &Acme, kept: &Kept, old: Option<&Shown>) -> Result<String, AcmeError> {
    let account = account(acme, kept).await?;
    let names: Vec<_> = acme.domains.iter().map(|name| Identifier::Dns(name.clone())).collect();
    let leaf = old.map(|old| CertificateDer::from(old.leaf()));
    let follows = leaf.as_ref().and_then(|leaf| CertificateIdentifier::try_from(leaf).ok());
    let order = NewOrder::new(&names);
    let mut order = match follows {
        // Where the authority knows how one follows another, it counts for less.
        Some(id) => match account.new_order(&NewOrder::new(&names).replaces(id)).await {
            Err(instant_acme::Error::Unsupported(_)) => account.new_order(&order).await?,
            other => other?,
        },
        None => account.new_order(&order).await?,
    };
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let authorization = authorization?;
        if authorization.status != AuthorizationStatus::Valid {
            show(acme, kept, authorization).await?;
        }
    }
    let ready = order.poll_ready(&RetryPolicy::default().timeout(PATIENCE)).await;
    let status = ready.map_err(|error| of_proof(error, acme.challenge))?;
    if status != OrderStatus::Ready {
        return Err(AcmeError::NotSeen(why(&mut order).await, remedy(acme.challenge)));
    }
    let key = order.finalize().await?;
    let chain = order.poll_certificate(&RetryPolicy::default().timeout(PATIENCE)).await?;
    Ok(format!("{key}{chain}"))
}

/// For the authority to look, and then to issue.
const PATIENCE: Duration = Duration::from_secs(120);

const fn remedy(challenge: AcmeChallenge) -> &'static str {
    match challenge {
        AcmeChallenge::TlsAlpn01 => {
            "its handshakes must reach server.listen from port 443 of each name, with TLS as it is"
        }
        AcmeChallenge::Http01 => "its requests must reach server.redirect_listen from port 80 of each name",
    }
}

/// What the authority says of the challenges that it did not take.
async fn why(order: &mut instant_acme::Order) -> String {
    let mut said = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(authorization)) = authorizations.next().await {
        let errors = authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
        said.extend(errors.map(ToString::to_string));
    }
    if said.is_empty() { "it does not say why".to_owned() } else { said.join("; ") }
}

/// Shows what proves a name, and says so.
async fn show(acme: &Acme, kept: &Kept, authorization: AuthorizationHandle<'_>) -> Result<(), AcmeError> {
    let mut authorization = authorization;
    let (kind, word) = match acme.challenge {
        AcmeChallenge::TlsAlpn01 => (ChallengeType::TlsAlpn01, "tls-alpn-01"),
        AcmeChallenge::Http01 => (ChallengeType::Http01, "http-01"),
    };
    let identified = authorization.identifier();
    let Identifier::Dns(name) = identified.identifier else {
        // Nothing else was asked for.
        return Err(AcmeError::NotOffered(word, "something that is no name".to_owned()));
    };
    let name = name.clone();
    let Some(mut challenge) = authorization.challenge(kind) else {
        return Err(AcmeError::NotOffered(word, name));
    };
    let answer = challenge.key_authorization();
    match acme.challenge {
        AcmeChallenge::TlsAlpn01 => {
            kept.challenges().offer_handshake(&name, handshake(&name, answer.digest().as_ref())?);
        }
        AcmeChallenge::Http01 => kept.challenges().offer_request(token(&challenge), answer.as_str()),
    }
    challenge.set_ready().await.map_err(|error| of_proof(error, acme.challenge))
}

/// What the authority said when it had looked.
fn of_proof(error: instant_acme::Error, challenge: AcmeChallenge) -> AcmeError {
    if let instant_acme::Error::Api(problem) = error {
        return AcmeError::NotSeen(problem.to_string(), remedy(challenge));
    }
    error.into()
}

fn token<'c>(challenge: &'c ChallengeHandle<'_>) -> &'c str {
    &challenge.token
}

/// The certificate of a handshake that proves a name (RFC 8737 section 3).
fn handshake(name: &str, digest: &[u8]) -> Result<Arc<CertifiedKey>, AcmeError> {
    let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(AcmeError::Challenge)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate().map_err(AcmeError::Challenge)?;
    let certificate = params.self_signed(&key).map_err(AcmeError::Challenge)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(key).map_err(AcmeError::ChallengeKey)?;
    // Not looked at once more: an extension that none but authorities know is critical in it, and must be.
    Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)))
}

/// Our account there, made the first time.
async fn account(acme: &Acme, kept: &Kept) -> Result<Account, AcmeError> {
    let file = account_file(acme, kept);
    match std::fs::read_to_string(&file) {
        Ok(text) => {
            let credentials = serde_json::from_str(&text);
            let credentials =
                credentials.map_err(|error| AcmeError::Account(file.display().to_string(), error))?;
            Ok(builder(acme)?.from_credentials(credentials).await?)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let contact: Vec<&str> = acme.contact.iter().map(String::as_str).collect();
            // The configuration does not read without the consent.
            let new =
                NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
            let (account, credentials) =
                builder(acme)?.create(&new, acme.directory_url.clone(), None).await?;
            let text = serde_json::to_string(&credentials).map_err(instant_acme::Error::from)?;
            files::write(&file, &text).map_err(AcmeError::Directory)?;
            tracing::info!(
                directory = acme.directory_url,
                "an account was made at the authority for certificates"
            );
            Ok(account)
        }
        Err(error) => Err(AcmeError::Directory(error)),
    }
}

fn builder(acme: &Acme) -> Result<AccountBuilder, AcmeError> {
    Ok(match &acme.ca {
        Some(file) => Account::builder_with_root(file)?,
        None => Account::builder()?,
    })
}

/// One for each authority.
fn account_file(acme: &Acme, kept: &Kept) -> PathBuf {
    kept.issued()
        .with_file_name(format!("account-{}.json", crypto::short_digest(acme.directory_url.as_bytes())))
}
